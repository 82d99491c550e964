"""The parts of gpu.py, each a module with `measure(options, request)`, which yields results as it has them."""
