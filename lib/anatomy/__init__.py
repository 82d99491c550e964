"""What a study looks at: where it lies in a scan, its landmarks, its parts, what can be a reference of it."""
