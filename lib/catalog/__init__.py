"""What rules, imaging and statistics must agree on, as data. Standard library only; nothing of lib is imported."""
