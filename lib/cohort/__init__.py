"""The people: the cohort table, the split into test people and folds, what happened to each scan."""
