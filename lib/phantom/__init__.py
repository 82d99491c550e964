"""Synthetic people: hip shapes of real bone turned into QCT series."""
