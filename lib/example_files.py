"""The files of scans that figures may show, read when a figure needs them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import read_json
from lib.catalog.modalities import MODALITIES
from lib.figures.examples import Example
from lib.imaging.grid import array_zyx, spacing_zyx
from lib.imaging.nifti import read_image
from lib.measured import path_key
from lib.stats.tables import by_scan, prediction_key


@dataclass(frozen=True, kw_only=True)
class ExampleFiles:
    """Paths of the files on the grid of the crop, and what is needed to show them.

    Attributes:
        images, references, records: by scan; records are the files crop.json.
        masks: label maps of the predictions, by `prediction_key`.
        modality: of the images.
        structures: names of the labels, if there are several; else empty.
    """

    images: Mapping[str, str]
    references: Mapping[str, str]
    records: Mapping[str, str]
    masks: Mapping[str, str]
    modality: str
    structures: tuple[str, ...]

    def read(self, row: Mapping, title: str) -> Example:
        """Return the prediction of a row of the metrics, with its scan and reference."""
        scan = row["scan"]
        image, reference, mask = map(
            read_image, (self.images[scan], self.references[scan], self.masks[prediction_key(row)])
        )
        record = read_json(self.records[scan])
        window = MODALITIES[self.modality].window(record["intensity"])
        arrays = map(array_zyx, (image, reference, mask))
        axis = record["frame"]["slice_axis"]
        return Example(scan, title, *arrays, spacing_zyx(image), window, self.structures, axis)


def example_files(
    files: Mapping[str, Iterable[str]], structures: Iterable[str], modality: str
) -> ExampleFiles:
    """Return the files that a job was given.

    Args:
        files: lists `images`, `references`, `records` (.../{scan}/name) and `masks`
            (.../{group}/{network}/{members}/{scan}/name).
        structures: names of the study's structures.
        modality: of the images.
    """
    names, several = ("images", "references", "records"), tuple(structures)
    return ExampleFiles(
        **{name: by_scan(files[name]) for name in names},
        masks={path_key(Path(path).parent): path for path in files["masks"]},
        modality=modality,
        structures=several if len(several) > 1 else (),
    )
