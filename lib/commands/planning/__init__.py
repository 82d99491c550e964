"""What a study asks for, before anything runs: its jobs, their requests, their costs."""
