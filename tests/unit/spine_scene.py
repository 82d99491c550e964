"""A hand-made lumbar spine of boxes and cylinders with labels, for tests of its search and of its levels."""

from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk

from lib.anatomy.protocol import JudgedLabels
from lib.imaging.grid import array_zyx, image_like

NAMES = ["L1", "L2", "L3", "L4", "L5", "sacrum"]
SPACING_MM_XYZ = (2.0, 2.0, 2.0)
SHAPE_ZYX = (130, 90, 120)
MIDDLE_XY_MM, BACK_MM = (119.0, 110.0), 0.0
APART_MM, HALF_MM_XYZ = 36.0, (22.0, 16.0, 13.0)
LOWEST_MM = 66.0  # the centre of L5
BODY_HU, TISSUE_HU = 150, 40


@dataclass(frozen=True, kw_only=True)
class Spine:
    """Centres (x, y, z; mm along the axes) of the bodies by name, and what is drawn beside them."""

    centers: dict = field(
        default_factory=lambda: {
            name: (*MIDDLE_XY_MM, LOWEST_MM + APART_MM * (4 - k)) for k, name in enumerate(NAMES[:5])
        }
    )
    halves: dict = field(default_factory=dict)  # other half edges of a body
    sacrum: bool = True
    ribs: bool = True
    aorta_hu: float = TISSUE_HU

    def without(self, *names):
        return replace(self, centers={name: at for name, at in self.centers.items() if name not in names})

    def moved(self, name, by_mm):
        moved = tuple(np.add(self.centers[name], by_mm))
        return replace(self, centers=self.centers | {name: moved})


def positions():
    z, y, x = (np.arange(n) * edge for n, edge in zip(SHAPE_ZYX, SPACING_MM_XYZ[::-1], strict=True))
    return x, y[:, None], z[:, None, None]


def box(center, half):
    x, y, z = positions()
    return np.logical_and(
        np.logical_and(abs(x - center[0]) < half[0], abs(y - center[1]) < half[1]),
        abs(z - center[2]) < half[2],
    )


def draw(spine=None):
    """Return a CT (int16) and its label map (uint8)."""
    spine = spine or Spine()
    x, y, _ = positions()
    hu = np.full(SHAPE_ZYX, -1000.0)
    hu[:, ((x - MIDDLE_XY_MM[0]) / 116) ** 2 + ((y - 92) / 84) ** 2 < 1] = TISSUE_HU
    labels = np.zeros(SHAPE_ZYX, np.uint8)
    for name, center in spine.centers.items():
        body = box(center, spine.halves.get(name, HALF_MM_XYZ))
        hu[body], labels[body] = BODY_HU, NAMES.index(name) + 1
        hu[box((center[0], 146.0, center[2]), (5.0, 15.0, 16.5))] = 300  # its arch
    if spine.sacrum:
        block = box((MIDDLE_XY_MM[0], 126.0, 22.0), (40.0, 20.0, 21.0))
        hu[block], labels[block] = BODY_HU, 6
    if spine.ribs:
        top = LOWEST_MM + 4 * APART_MM
        for side in (-1, 1):
            hu[box((MIDDLE_XY_MM[0] + side * 78, 130.0, top), (18.0, 6.0, 10.0))] = 400
    aorta = np.broadcast_to((x - MIDDLE_XY_MM[0] - 8) ** 2 + (y - 78) ** 2 < 11**2, hu.shape[1:])
    hu[:, aorta] = spine.aorta_hu
    image = sitk.GetImageFromArray(np.rint(hu).astype(np.int16))
    image.SetSpacing(SPACING_MM_XYZ)
    image.SetOrigin((-120.0, -80.0, 500.0))
    return image, image_like(labels, image)


def judged(image, labels, **given):
    """Return the labels as a prediction that consists of them."""
    labels_zyx = array_zyx(labels)
    settings = {
        "structures": NAMES,
        "labels": labels,
        "raw_zyx": [labels_zyx == number for number in range(1, len(NAMES) + 1)],
        "full": labels,
        "image": image,
        "erode_mm": 5.0,
        "metal_hu": 2500.0,
        "contrast": "",
        "kvp": 120.0,
    }
    return JudgedLabels(**settings | given)
