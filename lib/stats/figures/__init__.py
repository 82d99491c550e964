"""The study's figures: how they look, what is drawn from which table, the folder of files that readers get."""
