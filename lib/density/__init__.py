"""Bone density: so far, whether the rods of a calibration phantom are in view."""
