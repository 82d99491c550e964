"""Osteoflow's library: one package for each subject; scripts/ combine them, they do not import each other."""
