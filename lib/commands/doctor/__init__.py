"""Checks of this machine, this study and this cluster."""
