"""What an article printed, as data: its tables, numbers, footnotes and protocol. It imports only lib.errors."""
