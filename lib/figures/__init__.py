"""Pictures: the figures of a study, contours, views of a scan and of the surface of bone."""
