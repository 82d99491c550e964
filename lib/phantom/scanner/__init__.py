"""Scanners: what CT and MR make of tissues."""
