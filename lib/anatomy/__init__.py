"""The anatomy that a study measures: its location in a scan, landmarks, parts, and checks of references."""
