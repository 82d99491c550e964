"""Synthetic people: hip shapes of real bone turned into CT and MR series."""
