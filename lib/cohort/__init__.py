"""The cohort: its table, the split into test people and folds, and the status of each scan."""
