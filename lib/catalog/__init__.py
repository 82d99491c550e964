"""Data shared by rules, imaging and statistics. It imports only the standard library and nothing of lib."""
