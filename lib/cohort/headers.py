"""The grid of a NIfTI file from its first 348 bytes: cheap enough to check a table before anything runs."""

import gzip
import struct
import zlib
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

GRID_TOLERANCE_MM = 0.01


@dataclass(frozen=True)
class Grid:
    """Size in voxels and spacing in mm along the file's own axes."""

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def matches(self, other: "Grid") -> bool:
        """Say whether both grids hold the same axes, in any order (files may store them differently)."""
        mine, theirs = (sorted(zip(grid.size, grid.spacing_mm, strict=True)) for grid in (self, other))
        return all(
            a[0] == b[0] and abs(a[1] - b[1]) <= GRID_TOLERANCE_MM for a, b in zip(mine, theirs, strict=True)
        )

    def __str__(self) -> str:
        """Return size and spacing as a user reads them."""
        size = " x ".join(str(count) for count in self.size)
        spacing = " x ".join(f"{step:.3g}" for step in self.spacing_mm)
        return f"{size} voxels of {spacing} mm"

    def may_hold(self, part: "Grid") -> bool:
        """Say whether `part` may be a crop of this grid: no axis longer, its voxels of the same size."""
        edges = [*zip(self.size, self.spacing_mm, strict=True)]
        return any(
            all(
                count <= whole and abs(edge - whole_edge) <= GRID_TOLERANCE_MM
                for (count, edge), (whole, whole_edge) in zip(order, edges, strict=True)
            )
            for order in permutations(zip(part.size, part.spacing_mm, strict=True))
        )


def image_header(path: str) -> Grid | None:
    """Return the grid of a NIfTI-1 file (`.nii`, `.nii.gz`); None for anything else or a damaged header."""
    if not path.endswith((".nii", ".nii.gz")) or not Path(path).is_file():
        return None
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            header = file.read(348)
        order = "<" if struct.unpack_from("<i", header)[0] == 348 else ">"
        size = struct.unpack_from(f"{order}3h", header, 42)
        spacing_mm = struct.unpack_from(f"{order}3f", header, 80)
    except (OSError, EOFError, zlib.error, struct.error):
        return None
    return Grid(size, spacing_mm)
