"""HTML pages: the report, the pages of scans, the comparison of two runs."""
