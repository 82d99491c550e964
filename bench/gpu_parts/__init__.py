"""The parts of gpu.py: each is a module with `measure(options, request)`, which yields results as they come."""
