import numpy as np
import pytest

from lib.phantom.anatomy.bone import (
    BoneCanvas,
    BoneState,
    bone_texture,
    draw_bone_state,
    femur_cortex_mm,
    femur_red_marrow,
    femur_trabecular,
    hip_bones,
    joint_capsule,
    seat_head,
)
from lib.phantom.anatomy.shape import build_hip_shape, femur_axes, load_shape_model
from lib.phantom.anatomy.specimen import Tissue
from lib.phantom.mesh import mesh_volume_above_mm3
from lib.phantom.voxelize import VoxelGrid

STATE = BoneState(
    density=0.8,
    superoposterior_mm=1.0,
    inferoanterior_mm=3.6,
    head_cortex_mm=0.7,
    cortex=1.0,
    gap_mm=3.0,
    cortical_hu=1400.0,
    red_marrow=0.8,
)
SHAPE = build_hip_shape(np.zeros(15), 1.0, np.zeros((2, 3)))
AXES = femur_axes(SHAPE.femurs[0])
GRID = VoxelGrid(origin_xyz_mm=(-152.0, -70.0, -85.0), spacing_xyz_mm=(2.0, 2.0, 4.0), size_xyz=(153, 83, 29))


@pytest.fixture(scope="module")
def bones():
    texture = bone_texture(GRID, np.random.default_rng(0))
    canvas = BoneCanvas(grid=GRID, supersampling=3, state=STATE, texture=texture)
    return {part.name: part for part in hip_bones(SHAPE, canvas)}


def test_cortex_by_region_of_the_femur():
    thickness = femur_cortex_mm(SHAPE.femurs[0], STATE)
    points = SHAPE.femurs[0].vertices_xyz_mm
    head = points[:, 2] > AXES.head_center_xyz_mm[2] + 0.6 * AXES.head_radius_mm
    shaft = points[:, 2] < AXES.head_center_xyz_mm[2] - 105
    assert thickness[head & (points[:, 0] < 95)] == pytest.approx(0.7, abs=1e-6)
    assert thickness[shaft].min() >= 5 and thickness[shaft].max() <= 7
    along = AXES.neck_base_xyz_mm - AXES.head_center_xyz_mm
    share = ((points - AXES.head_center_xyz_mm) @ along) / (along @ along)
    neck = (share > 0.6) & (share < 0.7)
    above = points[:, 2] - (AXES.head_center_xyz_mm + share[:, None] * along)[:, 2]
    superior, inferior = thickness[neck & (above > 8)], thickness[neck & (above < -12)]
    assert np.median(superior) < 1.4 < 2.0 < np.median(inferior) < inferior.max() <= 3.6


def test_trabecular_bone_by_region_of_the_femur():
    to_neck = AXES.neck_base_xyz_mm - AXES.head_center_xyz_mm
    ward, trochanter = AXES.head_center_xyz_mm + 0.74 * to_neck, AXES.neck_base_xyz_mm + [8.0, 4.0, -4.0]
    points = np.array([AXES.head_center_xyz_mm, ward, trochanter, AXES.shaft_xyz_mm])
    head, neck, trochanteric, canal = femur_trabecular(points, SHAPE.femurs[0], STATE.density)
    assert 260 < head < 410
    assert 80 < neck < 180 and 80 < trochanteric < 150
    assert canal == 0
    # with no bone left there is marrow everywhere
    assert femur_trabecular(points, SHAPE.femurs[0], 0.0) == pytest.approx(0)
    # red marrow remains in the neck, while the epiphysis of the head turns yellow early
    of_head, of_neck, _, of_canal = femur_red_marrow(points, SHAPE.femurs[0])
    assert of_neck > 0.5 and of_head < 0.15 and of_canal == pytest.approx(0.05)


def test_femurs_have_their_exact_volume(bones):
    for side, mesh in zip(("left", "right"), SHAPE.femurs, strict=True):
        share = bones[f"{side} femur"].outer
        assert share.sum() * 16.0 == pytest.approx(mesh_volume_above_mm3(mesh, GRID.bottom_mm), rel=2e-3)


def test_no_voxel_is_filled_twice(bones):
    share = sum(part.outer + part.cartilage for part in bones.values())
    assert share.min() >= 0 and share.max() <= 1 + 1e-5
    for part in bones.values():
        assert np.all(part.inner <= part.outer) and len(part.trabecular) == np.count_nonzero(part.inner)
        assert part.trabecular.min() >= 0 and part.trabecular.max() < 1000
        assert part.red_marrow().max() <= 0.8 * 0.6 + 1e-9
        assert np.all(part.fluid() <= part.cartilage)


def test_fluid_lies_between_the_cartilages_and_the_scar_across_the_head(bones):
    socket, femur = bones["left hip bone"], bones["left femur"]
    fluid, cartilage = socket.fluid().sum(), socket.cartilage.sum()
    assert 0.1 < fluid / cartilage < 0.35  # 0.5 mm of 3 mm or less
    scar = femur.scar()
    points = np.stack([GRID.centers_mm(axis)[femur.voxels[2 - axis]] for axis in range(3)], axis=1)
    along = AXES.neck_base_xyz_mm - AXES.head_center_xyz_mm
    along_radii = (points - AXES.head_center_xyz_mm) @ (along / np.linalg.norm(along)) / AXES.head_radius_mm
    assert 0.3 < scar.max() <= 0.45
    assert along_radii[scar > 0.2].min() > 0 and along_radii[scar > 0.2].max() < 0.8
    assert scar[along_radii > 1.2].max() < 0.01


def test_capsule_wraps_the_neck_and_leaves_shaft_and_trochanter_bare(bones):
    canvas = BoneCanvas(grid=GRID, supersampling=3, state=STATE, texture=np.ones(1))
    (capsule, tendon), (recess, fluid) = joint_capsule(SHAPE.femurs[0], canvas)
    assert (tendon, fluid) == (Tissue.TENDON, Tissue.FLUID)
    bone = bones["left femur"].outer
    beyond = np.clip(capsule - bone, 0, None)
    heights = GRID.centers_mm(2)[np.argwhere(beyond > 0.3)[:, 0]]
    head_mm = AXES.head_center_xyz_mm[2]
    assert (
        heights.min() > head_mm - 2.2 * AXES.head_radius_mm and heights.max() < head_mm + AXES.head_radius_mm
    )
    assert beyond.sum() * 16.0 == pytest.approx(2.6 * 4500, rel=0.5)  # mm3, over about 45 cm2
    assert np.clip(recess - capsule, 0, None).max() < 0.05


def test_sides_mirror_each_other(bones):
    assert np.abs(bones["left femur"].outer - bones["right femur"].outer[:, :, ::-1]).max() < 1e-5


def test_socket_lies_at_the_joint_space():
    seated = seat_head(SHAPE.hips[0], AXES, 3.0)
    before = SHAPE.hips[0].vertices_xyz_mm - AXES.head_center_xyz_mm
    after = np.linalg.norm(seated.vertices_xyz_mm - AXES.head_center_xyz_mm, axis=1) - AXES.head_radius_mm
    roof = [k for k in load_shape_model().socket if before[k, 2] > 10 and before[k, 0] < 10]
    assert np.median(after[roof]) == pytest.approx(3.0, abs=0.05)
    far = np.linalg.norm(before, axis=1) > AXES.head_radius_mm + 15
    assert np.array_equal(seated.vertices_xyz_mm[far], SHAPE.hips[0].vertices_xyz_mm[far])


def drawn(sex, age, variant="standard"):
    return [draw_bone_state(np.random.default_rng(k), sex, age, variant) for k in range(60)]


def test_bone_is_lost_with_age_and_faster_by_women():
    density = {
        key: np.mean([state.density for state in drawn(*key)]) for key in (("F", 30), ("F", 80), ("M", 80))
    }
    assert density["F", 80] < density["M", 80] < density["F", 30]
    thin = {
        key: np.mean([state.superoposterior_mm for state in drawn(*key)]) for key in (("F", 25), ("F", 85))
    }
    # Poole 2010: 1.63 mm at 25 and 0.33 mm at 85 years
    assert thin["F", 25] == pytest.approx(1.63, rel=0.05)
    assert thin["F", 85] == pytest.approx(0.33, rel=0.05)


def test_hard_people_have_less_of_the_same_bone():
    for usual, hard in zip(drawn("F", 50), drawn("F", 50, "hard"), strict=True):
        assert hard.inferoanterior_mm == pytest.approx(0.6 * usual.inferoanterior_mm)
        assert hard.density < usual.density
        assert hard.gap_mm == usual.gap_mm
        assert 2 <= hard.gap_mm <= 4
