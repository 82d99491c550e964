import numpy as np
import pytest

from lib.phantom.anatomy.shape import build_hip_shape, femur_axes
from lib.phantom.scanner import ct_effects
from lib.phantom.scanner.machines import CtScanner
from lib.phantom.voxelize import VoxelGrid

GRID = VoxelGrid(origin_xyz_mm=(-102.0, -102.0, 0.0), spacing_xyz_mm=(0.8, 0.8, 2.0), size_xyz=(256, 256, 9))
HEADS = tuple(
    femur_axes(femur).head_center_xyz_mm
    for femur in build_hip_shape(np.zeros(15), 1.0, np.zeros((2, 3))).femurs
)
FIELD = ct_effects.CtField(grid=GRID, kernel_mm=0.54, dense_xyz_mm=HEADS)


def point_image():
    image = np.zeros((9, 65, 65), np.float32)
    image[4, 32, 32] = 1000.0
    return image


def test_blur_has_the_kernel_in_millimetres():
    grid = VoxelGrid(origin_xyz_mm=(0, 0, 0), spacing_xyz_mm=(0.25, 0.25, 2.0), size_xyz=(65, 65, 9))
    image = point_image()
    ct_effects.blur(image, grid, 0.54)
    offset_mm = (np.arange(65) - 32) * 0.25
    weight = image.sum(axis=(0, 1)) / image.sum()
    assert image.sum() == pytest.approx(1000, rel=1e-4)
    assert np.sqrt((weight * offset_mm**2).sum()) == pytest.approx(0.54, rel=0.01)
    along_z = image.sum(axis=(1, 2)) / image.sum()
    assert (along_z * (2.0 * (np.arange(9) - 4)) ** 2).sum() == pytest.approx(0.4**2, rel=1e-3)
    assert image.min() >= 0


def test_noise_spectrum_is_a_ramp_with_a_soft_kernel():
    spectrum = ct_effects.noise_filter(GRID, 0.54)
    power = spectrum[0] ** 2
    f = np.fft.rfftfreq(256, 0.8)
    assert power[0] == 0
    assert f[np.argmax(power)] == pytest.approx(0.208, abs=1 / (256 * 0.8))
    # white noise of unit variance gets the mean power as its variance
    full = np.concatenate([power[None], spectrum[1:] ** 2])
    weights = np.where((np.arange(129) == 0) | (np.arange(129) == 128), 1, 2)
    assert (full * weights).sum() / 256**2 == pytest.approx(1.0, abs=0.02)


def test_noise_has_the_drawn_sd_in_the_middle_of_the_body():
    hu = np.zeros(GRID.shape_zyx, np.float32)
    draw = ct_effects.CtDraw(noise_hu=20.0, hardening_hu=0.0, streak_hu=0.0)
    ct_effects.add_artefacts(hu, np.ones_like(hu), FIELD, draw, np.random.default_rng(3))
    assert hu[:, 108:148, 108:148].std() == pytest.approx(20.0, rel=0.05)


def test_beam_hardening_darkens_the_line_between_the_heads():
    hu = np.zeros(GRID.shape_zyx, np.float32)
    draw = ct_effects.CtDraw(noise_hu=0.0, hardening_hu=24.0, streak_hu=0.0)
    ct_effects.add_artefacts(hu, np.ones_like(hu), FIELD, draw, np.random.default_rng(3))
    assert -24.0 <= hu[0, 128, 128] < -20
    assert abs(hu[:, 10]).max() < 0.5


def test_density_rods_show_their_published_hu():
    grid = VoxelGrid(
        origin_xyz_mm=(-150.0, -100.0, 0.0), spacing_xyz_mm=(1.0, 1.0, 2.0), size_xyz=(301, 201, 1)
    )
    hu = ct_effects.image_hardware(grid, 0.0, 0.0)
    centers = [round(150 + step * 32) for step in (-2, -1, 0, 1, 2)]
    row = round(100 + 4 + 13.5)
    assert [hu[row, x] for x in centers] == pytest.approx(ct_effects.DENSITY_RODS_HU)
    assert hu[:90].max() == hu[:90].min() == -1000


def test_stored_values_are_twelve_bits():
    stored = ct_effects.to_stored_hu(np.array([-5000.0, -1024.4, 0.6, 9000.0]))
    assert stored.dtype == np.int16
    assert stored.tolist() == [-1024, -1024, 1, 3071]


def test_hard_scans_have_twice_the_noise():
    usual, hard = (
        ct_effects.draw_ct(np.random.default_rng(1), CtScanner(), variant) for variant in ("standard", "hard")
    )
    assert hard.noise_hu == 2 * usual.noise_hu
    assert 12 <= usual.noise_hu <= 25


def test_noise_follows_the_scanner():
    usual, loud = (
        ct_effects.draw_ct(np.random.default_rng(1), CtScanner(noise_hu=noise), "standard")
        for noise in (18.5, 37.0)
    )
    assert loud.noise_hu == 2 * usual.noise_hu
    assert (loud.hardening_hu, loud.streak_hu) == (usual.hardening_hu, usual.streak_hu)


def test_a_soft_kernel_moves_the_noise_to_lower_frequencies():
    f = np.fft.rfftfreq(256, 0.8)
    peaks = [f[np.argmax(ct_effects.noise_filter(GRID, kernel_mm)[0])] for kernel_mm in (0.5, 1.0)]
    assert peaks[1] == pytest.approx(peaks[0] / 2, abs=2 / (256 * 0.8))


def test_gain_and_drift_act_about_water_and_offset_shifts():
    hu = np.array([-1000.0, 0.0, 1000.0], np.float32)
    scanner = CtScanner(scale=1.02, offset_hu=3.0, drift_per_year=0.01)
    assert ct_effects.calibrated(hu, scanner, 2.0) == pytest.approx(3.0 + 1.02 * 1.02 * hu, rel=1e-6)
    assert np.array_equal(ct_effects.calibrated(hu, CtScanner(), 4.5), hu)
