"""Screening: whether a scan can be processed. Combines reading, imaging and anatomy."""
