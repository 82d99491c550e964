"""Former names of settings and rules; an old name is refused with a hint to the new one."""

SETTINGS = {
    "cohorts": "groups, such as groups: {all: {}, male: {sex: M}, female: {sex: F}}",
    "size_xy": "size",
    "low_hu": "low, beside scale: range",
    "high_hu": "high, beside scale: range",
    "classes": "decided by the number of `structures`; leave it out",
    "otsu": "mask, such as mask: {method: otsu, low: 0.2}",
    "models": "networks; a list of names is no longer needed: an overlay uses the networks that it names",
}
RULES = {
    "convert_dicom": "convert_scan",
    "resample_ct": "resample_image",
    "resample_mask": "resample_labels",
    "resample_mask2": "resample_labels2",
    "crop_ct": "crop_image",
    "crop_mask": "crop_labels",
    "crop_mask2": "crop_labels2",
    "otsu_mask": "measure_prediction",
    "measure_volume": "measure_prediction",
    "measure_overlap": "measure_prediction",
    "measure_readers": "measure_prediction",
}
