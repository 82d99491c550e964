"""The settings of the crop. Standard library only (read at each parse)."""

from dataclasses import dataclass

from lib.catalog.anatomies import ANATOMIES
from lib.errors import ConfigError

HIP, SPINE, CENTRE, WHOLE = "hip", "spine", "centre", "none"


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Keys of config `crop`.

    Attributes:
        method: `centre` (a window around the middle of the image, or the table's centre), `none` (the whole image),
            or a search of the anatomy: `hip` (a window around the hip, found in a CT) or `spine`.
        size: voxels of the window across the slice axis: along x and y for axial slices, x and z for coronal ones, y
            and z for sagittal ones. Along the slice axis nothing is cut, but see `above_head_mm`.
        bone_hu: intensity above which a voxel counts as bone in a search, HU.
        min_margin_mm: bone nearer than this to the window's border is flagged, if the anatomy measures margins.
        above_head_mm: of the method `hip`: slices further than this above the centre of the femoral head are cut off.
    """

    method: str = HIP
    size: tuple[int, int] = (192, 192)
    bone_hu: float = 200.0
    min_margin_mm: float = 10.0
    above_head_mm: float = 60.0

    def __post_init__(self) -> None:
        if self.method not in (known := crop_methods()):
            raise ConfigError(f"crop.method must be one of {', '.join(known)}; got {self.method!r}")
        object.__setattr__(self, "size", tuple(self.size))
        if len(self.size) != 2 or not all(isinstance(n, int) and n >= 1 for n in self.size):
            raise ConfigError(f"crop.size must be two whole numbers >= 1 (voxels); got {list(self.size)}")
        if not self.bone_hu > 0:
            raise ConfigError(f"crop.bone_hu must be a number > 0 (HU); got {self.bone_hu!r}")
        if not self.min_margin_mm >= 0:
            raise ConfigError(f"crop.min_margin_mm must be a number >= 0 (mm); got {self.min_margin_mm!r}")
        if not self.above_head_mm >= 40:  # the largest heads have a radius of 30 mm
            raise ConfigError(f"crop.above_head_mm must be a number >= 40 (mm); got {self.above_head_mm!r}")


def crop_methods() -> tuple[str, ...]:
    """Return what the windows of any anatomy may lie around, by the entries of the catalog."""
    return tuple(dict.fromkeys(method for anatomy in ANATOMIES.values() for method in anatomy.crop_methods))
