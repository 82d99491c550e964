"""The model frame: how a scan lies before a network. Nothing else knows of it.

A right side is mirrored to a left one, and the slice axis comes first: windows, 2-D slices, padding and truncation
run along axis 0 of an array, whatever axis of the patient that is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from lib.errors import ConfigError, TrainingError
from lib.imaging.grid import SIDES

AXES = ("z", "y", "x")  # of an array in memory


@dataclass(frozen=True, kw_only=True)
class ModelFrame:
    """How one scan is turned for a network.

    Attributes:
        mirrored: the array is mirrored along x.
        slice_axis: patient axis along which slices follow one another: z (axial slices), y (coronal), x (sagittal).
    """

    mirrored: bool = False
    slice_axis: str = "z"

    def __post_init__(self) -> None:
        if self.slice_axis not in AXES:
            raise ConfigError(
                f"model_frame.slice_axis must be one of z, y, x, acquired; got {self.slice_axis!r}"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """Return the patient axes of an array in the model frame: the slice axis, then the others as in memory."""
        return (self.slice_axis, *(axis for axis in AXES if axis != self.slice_axis))

    def to_model(self, array_zyx: np.ndarray) -> np.ndarray:
        """Return an array (z, y, x) in the model frame, contiguous; one that lies so already is returned uncopied."""
        turned = np.moveaxis(array_zyx[..., ::-1] if self.mirrored else array_zyx, self._position, 0)
        return np.ascontiguousarray(turned)

    def to_patient(self, array: np.ndarray) -> np.ndarray:
        """Return an array in the model frame as (z, y, x), contiguous: the inverse of `to_model`."""
        array_zyx = np.moveaxis(array, 0, self._position)
        return np.ascontiguousarray(array_zyx[..., ::-1] if self.mirrored else array_zyx)

    def spacing(self, spacing_mm_zyx: Sequence[float]) -> tuple[float, ...]:
        """Return the voxel spacing (z, y, x) in the order of the model frame's axes, mm."""
        return tuple(spacing_mm_zyx[AXES.index(axis)] for axis in self.axes)

    def to_json(self) -> dict:
        """Return the frame as a JSON object, the part `frame` of crop.json."""
        return asdict(self)

    @property
    def _position(self) -> int:
        """Return the position of the slice axis in an array (z, y, x)."""
        return AXES.index(self.slice_axis)


def frame_of(side: str, slice_axis: str, acquired_axis: str) -> ModelFrame:
    """Return the frame of a scan.

    Args:
        side: left, right, or empty for an anatomy without sides.
        slice_axis: config `model_frame.slice_axis`: z, y, x, or acquired.
        acquired_axis: patient axis along which the scan's slices were acquired.
    """
    if side and side not in SIDES:
        raise ConfigError(f"side must be one of {', '.join(SIDES)}; got {side!r}")
    return ModelFrame(
        mirrored=side == "right", slice_axis=acquired_axis if slice_axis == "acquired" else slice_axis
    )


def common_frame(records: Iterable[Mapping]) -> ModelFrame:
    """Return the frame of left sides that training scans share, from their crop.json.

    Raises:
        TrainingError: they have different slice axes, so that one network cannot learn from all of them.
    """
    found = sorted({record["frame"]["slice_axis"] for record in records})
    if len(found) != 1:
        raise TrainingError(
            f"the slices of the training scans run along different axes ({', '.join(found)}); set "
            "model_frame.slice_axis to one of z, y, x, or exclude the scans that differ"
        )
    return ModelFrame(slice_axis=found[0])
