"""The lumbar spine: the search for its column, its levels, and checks of reference masks."""
