"""Splitting a cohort into parts that run separately, and merging their results."""
