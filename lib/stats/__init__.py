"""Numbers: overlap, agreement, precision, intervals, and the tables that hold them."""
