"""Reading scans: DICOM and image files, findings on their content, and the sandbox in which they are read."""
