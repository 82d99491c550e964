"""Cropped scans with their references, as a network is trained on them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lib.atomic import read_json
from lib.imaging.grid import array_zyx, spacing_zyx
from lib.imaging.model_frame import ModelFrame
from lib.imaging.nifti import read_image, read_mask
from lib.intensity_scale import IntensityRange
from lib.learning.scan_store import TrainingScan


def read_training_scans(
    images: Iterable[str | Path], masks: Iterable[str | Path], records: Iterable[str | Path]
) -> Iterator[TrainingScan]:
    """Yield scans in the model frame, one at a time, from their files in `cropped/{scan}/` (records: crop.json)."""
    for image_path, mask_path, record in zip(images, masks, map(read_json, records), strict=True):
        image, mask, frame = read_image(image_path), read_mask(mask_path), ModelFrame(**record["frame"])
        yield TrainingScan(
            scan=Path(image_path).parent.name,
            image_zyx=frame.to_model(array_zyx(image)),
            mask_zyx=frame.to_model(array_zyx(mask)),
            spacing_mm_zyx=frame.spacing(spacing_zyx(image)),
            intensity=IntensityRange(**record["intensity"]),
        )
