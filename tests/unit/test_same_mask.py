"""A mask follows the picture, not the scale of its values or the plane in which it was acquired."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from lib.crop_settings import CropConfig
from lib.imaging.binarise import threshold_mask
from lib.imaging.crop import crop_image, middle_of
from lib.imaging.grid import array_zyx
from lib.imaging.intensity_range import find_range
from lib.imaging.model_frame import frame_of
from lib.intensity_scale import IntensityConfig
from lib.learning.architecture import unet_config
from lib.learning.compute import choose_compute
from lib.learning.intensity import to_intensity
from lib.learning.predict import Ensemble, predict_scan
from lib.learning.predict_settings import PredictConfig
from lib.learning.vnet import VNet, initialise_on
from lib.mask_settings import MaskConfig

SPACING_MM = {"z": 2.0, "y": 4.0, "x": 2.0}  # of a coronal scan
SCALE = IntensityConfig(scale="percentile", low=0.5, high=99.5)
CROPS = {"whole": {"method": "none"}, "window": {"method": "centre", "size": [36, 20]}}


def coronal_scan():
    """Return a bone in muscle, fat and air, int16 (z, y, x) in steps of 10."""
    rng = np.random.default_rng(5)
    z, y, x = np.meshgrid(np.arange(30) - 14.5, np.arange(11) - 5.0, np.arange(28) - 13.5, indexing="ij")
    signal = np.full(z.shape, 12.0)
    signal[(x / 13) ** 2 + (y / 5) ** 2 + (z / 20) ** 2 < 1] = 260.0
    signal[(x / 5) ** 2 + (y / 3) ** 2 + ((z - 2) / 11) ** 2 < 1] = 560.0
    return 10 * np.rint(np.abs(signal + rng.normal(0, 14, z.shape)) / 10).astype(np.int16)


def ensemble_of(dimensions):
    """Return a network with fixed random weights, whose logits are spread over the scan."""
    torch.manual_seed(3)
    network = VNet(unet_config(initial_maps=4, levels=2, dimensions=dimensions)).eval()
    values = coronal_scan()
    scale = find_range(sitk.GetImageFromArray(values), SCALE)
    seen = to_intensity(torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, 1, 0))), scale)
    initialise_on(network, seen[None, None])
    compute = choose_compute("cpu", "float32")
    return Ensemble(
        networks=(compute.place(network),),
        structures=("femur",),
        intensity=SCALE,
        window_slices=6,
        slice_axis="y",
        preprocessing={},
        compute=compute,
    )


def mask_of(values_zyx, ensemble, *, acquired="y", side="left", crop="whole"):
    """Crop, predict and mask a scan as the rules do; return probability and mask (z, y, x)."""
    image = sitk.GetImageFromArray(values_zyx)
    axes = {"y": "zyx", "z": "yzx"}[acquired]  # what lies along z, y and x of the array
    image.SetSpacing([SPACING_MM[axis] for axis in axes[::-1]])
    intensity, frame = find_range(image, SCALE), frame_of(side, "acquired", acquired)
    config = CropConfig(**CROPS[crop])
    window, _ = crop_image(image, middle_of(image, side, None), config, None, intensity, frame)
    seen = frame.to_model(array_zyx(window))
    predicted = predict_scan(ensemble, seen, intensity, PredictConfig(step=2)).probability_zyx
    probability_zyx = frame.to_patient(predicted)
    return probability_zyx, threshold_mask(probability_zyx, MaskConfig(low=0.02, high=0.98))


@pytest.fixture(scope="module", params=[2, 3], ids=["2-D", "3-D"])
def ensemble(request):
    return ensemble_of(request.param)


@pytest.mark.parametrize("crop", CROPS)
def test_values_times_3_7_give_the_same_mask(ensemble, crop):
    values = coronal_scan()
    probability, made = mask_of(values, ensemble, crop=crop)
    assert 0.02 < made.mask_zyx.mean() < 0.9 and made.otsu_raw is not None
    other_probability, other = mask_of((values // 10) * 37, ensemble, crop=crop)
    np.testing.assert_array_equal(other.mask_zyx, made.mask_zyx)
    assert other.threshold == made.threshold
    np.testing.assert_allclose(other_probability, probability, atol=2e-6)


def test_values_that_int16_rounds_change_the_mask_at_its_threshold_alone(ensemble):
    values = coronal_scan() // 10 * 4 + np.random.default_rng(0).integers(0, 4, (30, 11, 28), dtype=np.int16)
    probability, made = mask_of(values, ensemble)
    other_probability, other = mask_of(np.rint(values * 3.7).astype(np.int16), ensemble)
    # half a unit after the multiplication, of a range of several hundred units
    np.testing.assert_allclose(other_probability, probability, atol=0.01)
    # before the largest component is chosen, which may turn on one voxel
    moved = (other_probability >= other.threshold) != (probability >= made.threshold)
    assert np.abs(probability[moved] - made.threshold).max(initial=0) < 0.01


@pytest.mark.parametrize("side", ["", "left", "right"])
@pytest.mark.parametrize("crop", CROPS)
def test_the_same_voxels_stored_as_axial_slices_give_the_same_mask(ensemble, side, crop):
    values = coronal_scan()
    probability, made = mask_of(values, ensemble, side=side, crop=crop)
    axial_probability, axial = mask_of(
        np.ascontiguousarray(np.moveaxis(values, 1, 0)), ensemble, acquired="z", side=side, crop=crop
    )
    np.testing.assert_array_equal(axial_probability, np.moveaxis(probability, 1, 0))
    np.testing.assert_array_equal(axial.mask_zyx, np.moveaxis(made.mask_zyx, 1, 0))
    assert axial.threshold == made.threshold


def test_the_mirror_image_of_the_other_side_gives_the_mirrored_mask(ensemble):
    _, left = mask_of(coronal_scan(), ensemble, side="left")
    _, right = mask_of(np.ascontiguousarray(coronal_scan()[..., ::-1]), ensemble, side="right")
    np.testing.assert_array_equal(right.mask_zyx, left.mask_zyx[..., ::-1])
