"""The jobs of a study, their resource requests and their costs, known before anything runs."""
