"""Numbers and pages: overlap, agreement, tables, figures, the report."""
