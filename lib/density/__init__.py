"""Bone density: currently only the detection of a calibration phantom."""
