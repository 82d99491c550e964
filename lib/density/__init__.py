"""Bone density: phantoms in view, calibration of HU, density by region and compartment, areal projection."""
