"""Prepare simulated people from the scanner to the crop, and score predictions, by the functions of the rules.

Runs in processes of one core each and does not import torch. It skips the sandbox of screening, the screening of the
reference mask (which needs nibabel), pictures, levels of the femur and the distal cut.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from lib.anatomy.locate import margins_of, window_center
from lib.atomic import read_json, write_json
from lib.crop_settings import CropConfig
from lib.imaging.binarise import threshold_mask
from lib.imaging.crop import crop_image, crop_labels
from lib.imaging.full_mask import full_mask
from lib.imaging.grid import array_zyx, require_same_grid, spacing_zyx
from lib.imaging.model_frame import frame_of
from lib.imaging.nifti import read_image, read_mask, write_image
from lib.imaging.resample import resample_image, resample_labels
from lib.intensity_scale import IntensityConfig, fixed_range
from lib.mask_settings import MaskConfig
from lib.measure_settings import OverlapConfig
from lib.phantom.people import PhantomConfig, find_person
from lib.phantom.scan import make_phantom_scan
from lib.reading.dicom import read_scan
from lib.resample_settings import ResampleConfig
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig
from lib.stats.overlap import measure_native, measure_overlap

SCORES = ("dsc", "re_percent", "reference_mm3", "predicted_mm3", "hd95_mm", "assd_mm")


def prepare_person(config: Mapping[str, Any], scan: str, folder: Path) -> Path:
    """Simulate a person's series, read it, find the hip, resample, crop; return the folder with the cropped scan.

    Args:
        config: the configuration; its sections phantom, screening, dicom, resample and crop are used.
        scan: id of a scan of the synthetic cohort.
        folder: folder of all people.
    """
    home = folder / scan
    series, native = home / "series", home / "native.nii.gz"
    phantom = PhantomConfig(**config["phantom"])
    make_phantom_scan(phantom, scan, series, native, home / "truth.json")
    side, crop = find_person(phantom, scan).side, CropConfig(**config["crop"])
    limits = ScreeningConfig(**config["screening"], **config["dicom"])
    pixel = config["resample"]["inplane_mm"]
    asked = ScanRequest(side=side, window_pixel_mm=None if pixel == "native" else pixel)
    location = screen_scan(series, asked, limits, crop).location
    image, reference = read_scan(series, config=limits).image, read_mask(native)
    require_same_grid(image, reference, "the series", "its reference mask")
    resample = ResampleConfig(**config["resample"])
    mask = resample_labels(reference, image, resample)
    center = window_center(image, asked.window, crop, location)
    intensity = fixed_range(IntensityConfig(**config["intensity"]))
    frame = frame_of(side, "z", "z")
    cropped, record = crop_image(
        resample_image(image, resample), center, crop, margins_of(asked.anatomy, crop), intensity, frame
    )
    write_image(cropped, home / "image.nii.gz")
    write_image(crop_labels(mask, record.to_json()), home / "labels.nii.gz")
    write_json(home / "crop.json", record.to_json())
    return home


def score_person(config: Mapping[str, Any], home: Path, probability: Path) -> dict[str, Any]:
    """Return the agreement of a probability map with the reference: mask by Otsu, on the crop and the native grid.

    Args:
        config: the configuration; its sections otsu and measure are used.
        home: the folder that `prepare_person` made.
        probability: file of the map, on the grid of the crop.
    """
    image, native, reference = (
        read_image(probability),
        read_mask(home / "native.nii.gz"),
        read_mask(home / "labels.nii.gz"),
    )
    otsu = threshold_mask(array_zyx(image), MaskConfig(**config["mask"]))
    tolerance = OverlapConfig(nsd_tolerance_mm=config["measure"]["nsd_tolerance_mm"])
    overlap = measure_overlap(array_zyx(reference), otsu.mask_zyx, spacing_zyx(reference), tolerance)
    full = full_mask(image, otsu, native)
    own = measure_native(array_zyx(native), array_zyx(full), spacing_zyx(native))
    exact = read_json(home / "truth.json")["exact_mm3"]
    return {
        "scan": home.name,
        **{name: overlap[name] for name in SCORES},
        "dsc_native": own["dsc_native"],
        "exact_mm3": exact,
        "otsu_threshold": otsu.threshold,
        "flags": list(otsu.flags),
    }


def stay_on_one_core() -> None:
    """Keep this worker process to one thread."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
