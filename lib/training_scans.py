"""Cropped scans with their references, as a network is trained on them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lib.atomic import read_json
from lib.imaging.grid import array_zyx, spacing_zyx
from lib.imaging.model_frame import ModelFrame
from lib.imaging.nifti import read_image
from lib.intensity_scale import IntensityRange
from lib.learning.scan_store import TrainingScan


def read_training_scans(
    images: Iterable[str | Path], labels: Iterable[str | Path], records: Iterable[str | Path]
) -> Iterator[TrainingScan]:
    """Yield scans in the model frame, one at a time, from their files in `cropped/{scan}/` (records: crop.json)."""
    for image_path, labels_path, record in zip(images, labels, map(read_json, records), strict=True):
        image, reference, frame = (
            read_image(image_path),
            read_image(labels_path),
            ModelFrame(**record["frame"]),
        )
        yield TrainingScan(
            scan=Path(image_path).parent.name,
            image_zyx=frame.to_model(array_zyx(image)),
            labels_zyx=frame.to_model(array_zyx(reference)),
            spacing_mm_zyx=frame.spacing(spacing_zyx(image)),
            intensity=IntensityRange(**record["intensity"]),
        )
