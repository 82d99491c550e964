"""The lumbar spine: checks of reference masks."""
