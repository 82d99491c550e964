"""Checks of reference masks that hold for any bone: slices without a structure, and parts apart from it."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.anatomy.bodies import judge_bodies

NAMES = ("L1", "L2")


def boxes():
    """Return a label map (z, y, x) of two boxes, one on the other."""
    labels_zyx = np.zeros((44, 20, 20), np.uint8)
    labels_zyx[2:22, 5:15, 5:15], labels_zyx[22:42, 5:15, 5:15] = 1, 2
    return labels_zyx


def judged(labels_zyx, acquired_axis="z"):
    reasons = judge_bodies(sitk.GetImageFromArray(labels_zyx), NAMES, acquired_axis)
    return [(reason.code, reason.found) for reason in reasons]


def turned(labels_zyx, axis):
    """Return the label map with its z axis as another axis of the patient."""
    return np.moveaxis(labels_zyx, 0, "zyx".index(axis))


def test_solid_structures_are_good():
    assert judged(boxes()) == []


def test_a_structure_that_the_mask_lacks_is_not_judged():
    labels_zyx = boxes()
    labels_zyx[labels_zyx == 1] = 0
    assert judged(labels_zyx) == []


@pytest.mark.parametrize(("axis", "plane"), [("z", "axial"), ("y", "coronal"), ("x", "sagittal")])
@pytest.mark.parametrize(("slices", "code"), [([30], "mask_not_solid"), (range(23, 41, 2), "mask_gaps")])
def test_empty_slices_are_flagged_and_many_refused_along_the_acquired_axis(slices, code, axis, plane):
    labels_zyx = boxes()
    labels_zyx[slices] = 0
    found = judged(turned(labels_zyx, axis), axis)
    assert (code, f"L2: {len(slices)} of 20 {plane} slices between its ends are empty") in found
    assert sum("between its ends" in words for _, words in found) == 1


@pytest.mark.parametrize(("axis", "plane"), [("z", "axial"), ("y", "coronal"), ("x", "sagittal")])
@pytest.mark.parametrize("acquired_axis", "zyx")
def test_a_mask_drawn_on_every_fifth_slice_is_refused_along_every_axis(axis, plane, acquired_axis):
    """Readers also draw on the slices of another view, and an image file does not say how it was acquired."""
    labels_zyx = boxes()
    labels_zyx[[slice_ for slice_ in range(2, 22) if slice_ % 5]] = 0
    found = judged(turned(labels_zyx, axis), acquired_axis)
    assert ("mask_gaps", f"L1: 12 of 16 {plane} slices between its ends are empty") in found
    assert [code for code, _ in found].count("mask_gaps") == 1


@pytest.mark.parametrize("axis", "zyx")
def test_bones_of_one_structure_may_lie_apart_across_the_acquired_slices(axis):
    """Three solid bones, 6 slices high and 4 apart; only where each slice was acquired must each be drawn."""
    labels_zyx = np.zeros((30, 20, 20), np.uint8)
    for begin in (2, 12, 22):
        labels_zyx[begin : begin + 6, 5:15, 5:15] = 1
    for acquired_axis in "zyx":
        codes = {code for code, _ in judged(turned(labels_zyx, axis), acquired_axis)}
        assert codes == {"mask_not_solid", *(["mask_gaps"] if acquired_axis == axis else [])}


@pytest.mark.parametrize(("size", "told"), [(2, False), (4, True)])
def test_a_part_apart_from_its_structure_is_flagged_and_not_refused(size, told):
    labels_zyx = boxes()
    labels_zyx[5 : 5 + size, :size, :size] = 1
    words = f"L1: {size**3 / (2000 + size**3):.1%} of it lies apart from its largest piece"
    assert judged(labels_zyx) == ([("mask_not_solid", words)] if told else [])


def test_structures_that_touch_are_judged_one_by_one():
    labels_zyx = boxes()
    labels_zyx[41, 0, 0] = 1  # a slip of the pen in the other one's slices
    assert judged(labels_zyx) == [
        ("mask_gaps", "L1: 19 of 40 axial slices between its ends are empty"),
    ]
