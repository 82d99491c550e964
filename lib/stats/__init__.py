"""Statistics: overlap, agreement, precision, intervals, and the tables with the results."""
