"""Pictures: the figures of a study, contours on slices, views of a scan and of the bone surface."""
