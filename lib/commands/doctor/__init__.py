"""What is right and what is wrong with this machine, this study and this cluster, in plain words."""
