"""The grid of a NIfTI-1 file from its first 348 bytes: cheap enough to check a table before anything runs.

The image reader (`lib.reading.image_files`) decides; this check reports nothing where the reader might disagree.
"""

import gzip
import itertools
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

# as lib.imaging.grid has it: two grids are the same when no voxel lies further apart than this share of an edge
GRID_TOLERANCE_VOXELS = 0.05

_HEADER_BYTES = 348
_UNIT_MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # of xyzt_units: unknown, metre, millimetre, micrometre


@dataclass(frozen=True)
class Grid:
    """Size in voxels and spacing in mm along the file's own axes."""

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def may_hold(self, part: "Grid") -> bool:
        """Return whether `part` may be this grid or a crop of it.

        Axes may be in any order, because files store them differently. The position of a crop is not compared.
        """
        tolerance_mm = GRID_TOLERANCE_VOXELS * min(*self.spacing_mm, *part.spacing_mm)
        edges = [*zip(self.size, self.spacing_mm, strict=True)]
        return any(
            all(
                # with the centres aligned, the voxels at the ends are furthest apart
                count <= whole and 0.5 * (count - 1) * abs(edge - whole_edge) <= tolerance_mm
                for (count, edge), (whole, whole_edge) in zip(order, edges, strict=True)
            )
            for order in itertools.permutations(zip(part.size, part.spacing_mm, strict=True))
        )

    def __str__(self) -> str:
        """Return size and spacing as a user reads them."""
        size = " x ".join(str(count) for count in self.size)
        spacing = " x ".join(f"{step:.6g}" for step in self.spacing_mm)
        return f"{size} voxels of {spacing} mm"


def image_header(path: str) -> Grid | None:
    """Return the grid of a NIfTI-1 file (`.nii`, `.nii.gz`).

    None for any other file (including NIfTI-2), and for a header that is damaged or does not define the grid.
    """
    if not path.endswith((".nii", ".nii.gz")) or not Path(path).is_file():
        return None
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
        order = next(order for order in "<>" if struct.unpack_from(f"{order}i", header)[0] == _HEADER_BYTES)
        dimensions, *size = struct.unpack_from(f"{order}8h", header, 40)
        edges = struct.unpack_from(f"{order}3f", header, 80)
        unit_mm, magic = _UNIT_MM.get(header[123] % 8), header[344:347]
    except (OSError, EOFError, IndexError, StopIteration, zlib.error, struct.error):
        return None
    is_volume = 3 <= dimensions <= 7 and min(size[:3]) > 0 and all(count == 1 for count in size[3:dimensions])
    is_sized = all(edge and math.isfinite(edge) for edge in edges)
    if magic != b"n+1" or unit_mm is None or not is_volume or not is_sized:
        return None
    # a negative size has no meaning, and readers ignore the sign
    return Grid(tuple(size[:3]), tuple(unit_mm * abs(edge) for edge in edges))
