"""A lumbar spine through screening: its window, and what of the reference the window may cut."""

from dataclasses import replace

import numpy as np
import pytest
from spine_scene import NAMES, Spine, draw

from lib.crop_settings import CropConfig
from lib.imaging.grid import array_zyx, image_like
from lib.imaging.nifti import write_image
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig

STRUCTURES = {name: (number,) for number, name in enumerate(NAMES, start=1)}


def screened(tmp_path, image, labels, size):
    paths = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    for each, path in zip((image, labels), paths, strict=True):
        write_image(each, path)
    request = ScanRequest(side="", mask=paths[1], structures=STRUCTURES, anatomy="lumbar-spine")
    limits = ScreeningConfig(min_length_mm=100.0)
    found = screen_scan(paths[0], request, limits, CropConfig(method="spine", size=size))
    return {reason.code: reason.found for reason in found.reasons}, found


def test_a_window_may_cut_the_sacrum(tmp_path):
    reasons, found = screened(
        tmp_path, *draw(), (38, 50)
    )  # 76 mm: the bodies are 44 mm wide, the sacrum 80 mm
    assert found.verdict == "ok" and "mask_cut_by_crop" not in reasons
    assert found.location is not None and found.structures == tuple(NAMES)


def test_a_window_that_cuts_a_vertebra_is_told(tmp_path):
    reasons, _ = screened(tmp_path, *draw(), (18, 50))  # 36 mm
    assert reasons["mask_cut_by_crop"].endswith("of the mask lies outside the crop")


def test_a_reference_of_the_sacrum_alone(tmp_path):
    image, labels = draw(replace(Spine()))
    alone = image_like(np.where(array_zyx(labels) == 6, 6, 0).astype(np.uint8), labels)
    reasons, found = screened(tmp_path, image, alone, (38, 50))
    assert found.structures == ("sacrum",)
    assert float(reasons["mask_cut_by_crop"].split("%")[0]) == pytest.approx(5, abs=4)


def test_metal_in_the_column_is_told(tmp_path):
    image, labels = draw()
    hu_zyx = array_zyx(image)
    hu_zyx[40:60, 60:64, 58:62] = 3000
    reasons, _ = screened(tmp_path, image_like(hu_zyx, image), labels, (38, 50))
    assert "near the spine" in reasons["metal"]
