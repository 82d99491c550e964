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


def judged(labels_zyx):
    return [(reason.code, reason.found) for reason in judge_bodies(sitk.GetImageFromArray(labels_zyx), NAMES)]


def test_solid_structures_are_good():
    assert judged(boxes()) == []


def test_a_structure_that_the_mask_lacks_is_not_judged():
    labels_zyx = boxes()
    labels_zyx[labels_zyx == 1] = 0
    assert judged(labels_zyx) == []


@pytest.mark.parametrize(("slices", "code"), [([30], "mask_not_solid"), (range(23, 41, 2), "mask_gaps")])
def test_empty_slices_are_flagged_and_many_refused(slices, code):
    labels_zyx = boxes()
    labels_zyx[slices] = 0
    (found,) = [words for found_code, words in judged(labels_zyx) if found_code == code and "slices" in words]
    assert found == f"L2: {len(slices)} of 20 slices between its ends are empty"


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
        ("mask_gaps", "L1: 19 of 40 slices between its ends are empty"),
    ]
