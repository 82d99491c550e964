"""A real spine of another origin than the synthetic people, not in the repository: the Visible Human Male."""

from pathlib import Path

import numpy as np
import pytest

from lib.phantom.given_spine import GivenSpine
from lib.phantom.mesh import Mesh

SHAPES = Path(__file__).parents[2] / "shared/data/shapes/lumbar_spine_vhm.npz"
LUMBAR = ("L1", "L2", "L3", "L4", "L5")
DENSITIES = dict(zip(LUMBAR, (150.0, 145.0, 140.0, 135.0, 138.0), strict=True))

needs_shapes = pytest.mark.skipif(
    not SHAPES.is_file(), reason="the folder shared/data/shapes beside the checkout is absent"
)


def read_real_spine() -> GivenSpine:
    """Return its surfaces with made-up densities."""
    with np.load(SHAPES) as data:
        meshes = {
            name.removesuffix("_faces"): Mesh(
                vertices_xyz_mm=data[name.replace("_faces", "_vertices_mm")].astype(float), faces=data[name]
            )
            for name in data.files
            if name.endswith("_faces")
        }
    return GivenSpine(
        whole={level: meshes[level] for level in LUMBAR},
        bodies={level: meshes[f"{level}_body"] for level in LUMBAR},
        sacrum=meshes["sacrum"],
        others=(meshes["pelvis"],),
        densities_mg_cm3=DENSITIES,
    )
