"""What networks learn: each task tells the engine (`lib.learning.engine`) how to prepare, score and judge."""
