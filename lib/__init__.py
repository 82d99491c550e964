"""Osteoflow's library: one package a subject; the packages meet in scripts/, never in each other."""
