"""Files of scans in: DICOM and image files, the verdict on what they hold, and the sandbox they are read in."""
