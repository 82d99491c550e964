"""Bone density: detection of a calibration phantom, density by region and compartment, areal projection."""
