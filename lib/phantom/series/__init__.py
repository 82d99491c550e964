"""Series: a scan as DICOM files, with or without a defect."""
