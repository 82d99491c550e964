"""A cohort cut into parts that run apart, and their results in one."""
