"""The steps of the chain that can be made again for one scan."""

# a file of each rule's job, below results/; {folder} is {group}/{network}/{members}
STAGE_FILES = {
    "make_phantom_scan": "phantom/{scan}/truth.json",
    "screen_scan": "screened/{scan}.json",
    "convert_scan": "converted/{scan}/image.nii.gz",
    "resample_image": "resampled/{scan}/image.nii.gz",
    "resample_labels": "resampled/{scan}/mask.nii.gz",
    "crop_image": "cropped/{scan}/image.nii.gz",
    "crop_labels": "cropped/{scan}/mask.nii.gz",
    "predict_scans": "predictions/{folder}/batch-{batch}",
    "otsu_mask": "masks/{folder}/{scan}/mask.nii.gz",
    "measure_volume": "volumes/{folder}/{scan}.json",
    "measure_overlap": "overlaps/{folder}/{scan}.json",
    "draw_crop": "crops/{scan}.webp",
    "resample_labels2": "resampled/{scan}/mask2.nii.gz",
    "crop_labels2": "cropped/{scan}/mask2.nii.gz",
    "measure_readers": "readers/{folder}/{scan}.json",
    "measure_corrected": "corrected/{scan}.json",
    "write_scan_pages": "report/scans/batch-{batch}",
}
