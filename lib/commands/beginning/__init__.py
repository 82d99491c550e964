"""The beginning of a study: a settings file and a cohort table from a folder of scans (`osteoflow init`)."""
