"""The model frame: a scan turned for a network, and its prediction turned back."""

import numpy as np
import pytest

from lib.errors import ConfigError, TrainingError
from lib.imaging.model_frame import ModelFrame, common_frame, frame_of

ARRAY_ZYX = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("axis", "axes", "shape"), [("z", "zyx", (2, 3, 4)), ("y", "yzx", (3, 2, 4)), ("x", "xzy", (4, 2, 3))]
)
def test_the_slice_axis_comes_first_and_the_way_back_is_exact(axis, axes, shape, mirrored):
    frame = ModelFrame(mirrored=mirrored, slice_axis=axis)
    turned = frame.to_model(ARRAY_ZYX)
    assert (turned.shape, "".join(frame.axes), turned.flags.c_contiguous) == (shape, axes, True)
    np.testing.assert_array_equal(frame.to_patient(turned), ARRAY_ZYX)
    assert frame.to_patient(turned).flags.c_contiguous
    assert frame.spacing((3.0, 2.0, 1.0)) == tuple({"z": 3.0, "y": 2.0, "x": 1.0}[name] for name in axes)
    # the voxel at z 1, y 2, x 0 of the patient, which lies at the other end of x in a mirrored scan
    place = {"z": 1, "y": 2, "x": 3 if mirrored else 0}
    assert turned[tuple(place[name] for name in axes)] == ARRAY_ZYX[1, 2, 0]


def test_a_left_side_in_axial_slices_is_not_copied():
    assert np.shares_memory(ModelFrame().to_model(ARRAY_ZYX), ARRAY_ZYX)


def test_the_right_side_is_mirrored_and_the_slices_as_acquired():
    assert frame_of("right", "z", "y") == ModelFrame(mirrored=True, slice_axis="z")
    assert frame_of("left", "acquired", "y") == ModelFrame(slice_axis="y")
    assert frame_of("", "x", "z") == ModelFrame(slice_axis="x")
    with pytest.raises(ConfigError, match="left, right"):
        frame_of("L", "z", "z")
    with pytest.raises(ConfigError, match="slice_axis"):
        frame_of("left", "w", "z")


def test_training_scans_share_a_slice_axis():
    records = [{"frame": ModelFrame(mirrored=side, slice_axis="y").to_json()} for side in (True, False)]
    assert common_frame(records) == ModelFrame(slice_axis="y")
    with pytest.raises(TrainingError, match="different axes \\(x, y\\)"):
        common_frame([*records, {"frame": ModelFrame(slice_axis="x").to_json()}])
