"""Axial, coronal and sagittal plane through the bone with the contours of the masks, at one scale in mm."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from lib.figures.contours import GAP_PX, HEADER_PX, PAPER, Sight, View, draw_view, write_legend, write_words

WIDTH_PX, MOST_HEIGHT_PX = 1080, 560
LINE_COLOR = (150, 160, 170)


def choose_point(
    bone_zyx: np.ndarray, step_mm: float, below_top_mm: float | None = None
) -> tuple[int, int, int]:
    """Return the voxel (z, y, x) in which the planes cross.

    It is the middle of the largest component on the slice `below_top_mm` below the top of the bone (on the lowest
    slice of shorter bone), or the middle of the scan if there is no bone.

    Args:
        bone_zyx: the mask of the bone, (z, y, x), z towards the head.
        step_mm: distance of slices.
        below_top_mm: None takes the middle of the slices with bone.
    """
    slices = np.flatnonzero(bone_zyx.any(axis=(1, 2)))
    if not slices.size:
        return tuple(count // 2 for count in bone_zyx.shape)
    below = len(slices) // 2 if below_top_mm is None else round(below_top_mm / step_mm)
    z = int(slices[max(0, len(slices) - 1 - below)])
    parts, _ = ndimage.label(bone_zyx[z])
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    y, x = (round(float(index.mean())) for index in np.nonzero(largest))
    return z, y, x


def label_centers(labels_zyx: np.ndarray, count: int) -> list[tuple[float, float, float] | None]:
    """Return the centre (z, y, x) of each label 1 to `count` of a label map; None of one without a voxel."""
    numbers = np.arange(1, count + 1)
    known = np.bincount(labels_zyx.ravel(), minlength=count + 1)[1 : count + 1] > 0
    centers = iter(ndimage.center_of_mass(labels_zyx > 0, labels_zyx, numbers[known]))
    return [next(centers) if is_known else None for is_known in known]


def draw_planes(
    grey_zyx: np.ndarray,
    masks: Mapping[str, np.ndarray],
    spacing_mm_zyx: tuple[float, float, float],
    sight: Sight,
    point_zyx: tuple[int, int, int],
    names: Mapping[str, tuple[float, float, float]] | None = None,
) -> Image.Image:
    """Return the axial, coronal and sagittal planes through a voxel, side by side.

    The coronal plane is seen from the front, the sagittal plane from the patient's left; up is towards the head. Thin
    lines show the positions of the other planes.

    Args:
        grey_zyx: grey levels (`lib.figures.contours.grey_levels`), (z, y, x), z towards the head, x to the patient's
            left.
        masks: boolean masks on the same grid by name (see `lib.figures.contours.named_masks`).
        spacing_mm_zyx: voxel spacing.
        sight: the part of the slices that is shown.
        point_zyx: the voxel in which the planes cross.
        names: written on the coronal and the sagittal plane, at these voxels (z, y, x).
    """
    views = _views(grey_zyx, masks, spacing_mm_zyx, sight, point_zyx)
    height = HEADER_PX + max(view.size_px[1] for view, _, _ in views) + GAP_PX
    width = sum(view.size_px[0] + GAP_PX for view, _, _ in views) + GAP_PX
    picture, left = Image.new("RGB", (width, height), PAPER), GAP_PX
    for view, cross, (name, first, last) in views:
        drawn = draw_view(view)
        _draw_cross(drawn, view, cross)
        middle = drawn.height // 2 - 8
        write_words(drawn, (6, middle), first)
        write_words(drawn, (drawn.width - 16, middle), last)
        write_words(drawn, (6, 4), name)
        if name != "axial":
            _write_names(drawn, view, name, names or {})
        picture.paste(drawn, (left, HEADER_PX))
        left += drawn.width + GAP_PX
    write_legend(picture, width - GAP_PX - 4, list(masks))
    return picture


def _views(
    grey_zyx: np.ndarray,
    masks: Mapping[str, np.ndarray],
    spacing_mm_zyx: tuple[float, float, float],
    sight: Sight,
    point_zyx: tuple[int, int, int],
) -> list[tuple[View, tuple[int, int], tuple[str, str, str]]]:
    """Return each plane with the (column, row) of the point, its name and the letters of its edges."""
    slices = len(grey_zyx)
    (z, y, x), (top, left), edge = point_zyx, sight.start_yx, sight.edge
    up = slice(None, None, -1)
    planes = [
        ((z, slice(None), slice(None)), (top, left), (edge, edge), (1, 2), (x, y), ("axial", "R", "L")),
        ((up, y, slice(None)), (0, left), (slices, edge), (0, 2), (x, slices - 1 - z), ("coronal", "R", "L")),
        ((up, slice(None), x), (0, top), (slices, edge), (0, 1), (y, slices - 1 - z), ("sagittal", "A", "P")),
    ]
    shapes_mm = [
        tuple(spacing_mm_zyx[axis] * n for axis, n in zip(axes, count, strict=True))
        for _, _, count, axes, _, _ in planes
    ]
    px_per_mm = min(
        (WIDTH_PX - 4 * GAP_PX) / sum(width for _, width in shapes_mm),
        MOST_HEIGHT_PX / max(height for height, _ in shapes_mm),
    )
    return [
        (
            View(
                plane=grey_zyx[cut],
                masks={name: mask[cut] for name, mask in masks.items()},
                start=start,
                count=count,
                size_px=(round(width * px_per_mm), round(height * px_per_mm)),
            ),
            cross,
            words,
        )
        for (cut, start, count, _, cross, words), (height, width) in zip(planes, shapes_mm, strict=True)
    ]


def _draw_cross(picture: Image.Image, view: View, cross: tuple[int, int]) -> None:
    """Mark the positions of the two other planes with short lines at the borders, which do not cover the bone."""
    ((x, y),) = view.place(np.array([cross], float)).tolist()
    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    reach = round(0.06 * min(width, height))
    for ends in (
        ((x, 0), (x, reach)),
        ((x, height - reach), (x, height)),
        ((0, y), (reach, y)),
        ((width - reach, y), (width, y)),
    ):
        pen.line(ends, fill=LINE_COLOR)


def _write_names(
    picture: Image.Image, view: View, plane: str, names: Mapping[str, tuple[float, float, float]]
) -> None:
    """Write names at the places of their voxels in a coronal or sagittal plane, whose first row is the top slice."""
    slices = view.count[0]
    for name, (z, y, x) in names.items():
        across = x if plane == "coronal" else y
        ((column, row),) = view.place(np.array([[across, slices - 1 - z]])).tolist()
        write_words(picture, (round(column) - 4 * len(name), round(row) - 8), name)
