"""Bone density: calibration phantoms in view, and the calibration of HU."""
