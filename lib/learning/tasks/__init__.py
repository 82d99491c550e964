"""What networks learn: each task tells the engine (`lib.learning.train`) how to prepare, score and judge."""
