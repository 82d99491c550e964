"""The bias field of an image is found and divided out; an image without one stays nearly as it is."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.bias_field import correct_bias, find_log_field
from lib.imaging.grid import image_like

SHAPE_ZYX = (30, 64, 64)
SIGNALS = {"fat": 800.0, "muscle": 320.0, "marrow": 700.0}
_Z, _Y, _X = np.meshgrid(*(np.linspace(-1, 1, count) for count in SHAPE_ZYX), indexing="ij")
BODY = (_X / 0.85) ** 2 + (_Y / 0.8) ** 2 + (_Z / 1.2) ** 2 < 1
MARROW = (_X + 0.1) ** 2 + (_Y - 0.1) ** 2 < 0.08
MUSCLE = BODY & ((_X / 0.7) ** 2 + (_Y / 0.65) ** 2 < 1) & ~MARROW
TISSUES = {"fat": BODY & ~MUSCLE & ~MARROW, "muscle": MUSCLE, "marrow": MARROW & BODY}
FIELD = np.exp(0.35 * _X - 0.25 * _Y**2 + 0.2 * _X * _Y + 0.2 * _Z)


def scene(field_zyx=1.0, gain=1.0):
    """Return a scan of a leg: three tissues in air, with Rician noise."""
    rng = np.random.default_rng(1)
    signal_zyx = np.full(SHAPE_ZYX, 5.0)
    for name, inside in TISSUES.items():
        signal_zyx[inside] = SIGNALS[name]
    parts = rng.normal(0, 12.0, (2, *SHAPE_ZYX))
    parts[0] += signal_zyx * field_zyx
    image = sitk.GetImageFromArray(np.rint(gain * np.hypot(*parts)).astype(np.int16))
    image.SetSpacing((1.8, 1.8, 3.0))
    image.SetOrigin((-57.0, -40.0, 300.0))
    return image


def variation(image, tissue):
    values = sitk.GetArrayFromImage(image)[TISSUES[tissue]]
    return values.std() / values.mean()


def test_a_known_field_is_found_and_divided_out():
    image = scene(FIELD)
    log_field_zyx, corrected = sitk.GetArrayFromImage(find_log_field(image)), correct_bias(image)
    assert np.corrcoef(log_field_zyx[BODY], np.log(FIELD[BODY]))[0, 1] > 0.95
    assert abs(log_field_zyx[BODY].mean()) < 0.02
    for tissue in TISSUES:
        assert variation(corrected, tissue) < 0.5 * variation(image, tissue), tissue
    assert corrected.GetPixelID() == sitk.sitkInt16
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(corrected, what)() == getattr(image, what)()
    expected = np.rint(sitk.GetArrayFromImage(image) / np.exp(log_field_zyx))
    assert np.abs(sitk.GetArrayFromImage(corrected) - expected).max() <= 1


def test_an_image_without_a_field_is_changed_by_little():
    image = scene()
    assert np.abs(sitk.GetArrayFromImage(find_log_field(image))[BODY]).max() < 0.1
    corrected = correct_bias(image)
    for tissue, inside in TISSUES.items():
        means = [sitk.GetArrayFromImage(each)[inside].mean() for each in (image, corrected)]
        assert means[1] == pytest.approx(means[0], rel=0.05), tissue
        assert variation(corrected, tissue) < 0.06


def test_the_number_of_threads_changes_no_bit():
    image, before = scene(FIELD), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        fields = []
        for threads in (1, 2, 3):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            fields.append(sitk.GetArrayFromImage(find_log_field(image)))
            assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert np.array_equal(fields[0], fields[1]) and np.array_equal(fields[0], fields[2])


def test_no_value_is_cut_off(caplog):
    image = scene(FIELD, gain=25.0)
    values_zyx = sitk.GetArrayFromImage(image)
    values_zyx[TISSUES["fat"] & (_X < -0.6)] = 31000  # bright where the field is low
    image = image_like(values_zyx, image)
    corrected_zyx = sitk.GetArrayFromImage(correct_bias(image))
    exact_zyx = values_zyx / np.exp(sitk.GetArrayFromImage(find_log_field(image)))
    assert exact_zyx.max() > 33000 and corrected_zyx.max() == 32767
    assert np.allclose(corrected_zyx * (exact_zyx.max() / 32767), exact_zyx, atol=2.0)
    assert "stored values are to be multiplied by" in caplog.text


@pytest.mark.parametrize("value", [-20, 0, 300])
def test_an_image_without_contrast_is_refused(value):
    flat = sitk.GetImageFromArray(np.full((8, 32, 32), value, np.int16))
    with pytest.raises(ScanError, match="no positive values, or only one") as caught:
        correct_bias(flat)
    assert caught.value.code == "flat_image" and "bias_field.method: none" in caught.value.action


def test_a_slab_of_few_slices_is_corrected():
    image = scene(FIELD)[:, :, 12:17]
    inside = np.s_[12:17]
    log_field_zyx = sitk.GetArrayFromImage(find_log_field(image))
    body = BODY[inside]
    assert np.corrcoef(log_field_zyx[body], np.log(FIELD[inside][body]))[0, 1] > 0.9
