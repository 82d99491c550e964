"""The bones of synthetic spines lie within published sizes, measured on the drawn surfaces."""

import numpy as np
import pytest

from lib.phantom.anatomy.lumbar_shapes import VertebraSize, vertebra_mesh
from lib.phantom.anatomy.spine_parts import cement, discs, rib_meshes, sacral_canal, screws
from lib.phantom.anatomy.spine_shape import build_spine, draw_spine_shape
from lib.phantom.mesh import mesh_volume_mm3, vertex_normals

PEOPLE = [(k, "MF"[k % 2], 27 + 3 * k) for k in range(20)]
LUMBAR = ("L1", "L2", "L3", "L4", "L5")


def spine(seed=1, sex="M", age=50, defect=""):
    return build_spine(draw_spine_shape(np.random.default_rng(seed), sex, age, defect))


@pytest.fixture(scope="module")
def people():
    return [spine(*person) for person in PEOPLE]


def endplate(vertebra, side):
    """Slope along y and height of an endplate's inner part, in the body's frame."""
    local = vertebra.own_frame(vertebra.body.vertices_xyz_mm)
    up = (vertex_normals(vertebra.body) @ vertebra.axes)[:, 2]
    width, depth, _ = vertebra.size_xyz_mm
    inner = (side * up > 0.8) & (np.abs(local[:, 1]) < 0.42 * depth) & (np.abs(local[:, 0]) < 0.4 * width)
    return np.polyfit(local[inner, 1], local[inner, 2], 1)


def canal_mm(vertebra):
    """Depth of the canal at the midline and its width between the pedicles."""
    local = vertebra.own_frame(vertebra.whole.vertices_xyz_mm)
    y = np.sort(local[np.abs(local[:, 0]) < 1.5, 1])
    depth = np.diff(y).max()
    into = (local[:, 1] - vertebra.wall_mm) / depth
    return depth, 2 * np.abs(local[(into > 0.25) & (into < 0.55), 0]).min()


def measured(shape, level):
    """Sizes of a vertebra, as the article names them."""
    vertebra = shape[level]
    body = vertebra.own_frame(vertebra.body.vertices_xyz_mm)
    whole = vertebra.own_frame(vertebra.whole.vertices_xyz_mm)
    anterior, _, posterior = vertebra.heights_mm()
    (upper, _), (lower, _) = endplate(vertebra, 1), endplate(vertebra, -1)
    depth, width = canal_mm(vertebra)
    return {
        "width": np.ptp(body[:, 0]),
        "depth": np.ptp(body[:, 1]),
        "height": 0.5 * (anterior + posterior),
        "wedge": np.degrees(np.arctan(lower) - np.arctan(upper)),
        "canal depth": depth,
        "canal width": width,
        "spinous": whole[:, 1].max() - vertebra.wall_mm,
    }


# smallest and largest of 87 patients (Clouthier et al., J Biomech 2023;146:111421)
RANGES = {
    "width": (39.4, 58.8),
    "depth": (29.5, 42.0),
    "height": (23.5, 32.4),
    "wedge": (-3.5, 8.7),
    "canal depth": (13.0, 20.4),
    "canal width": (21.5, 31.8),
    "spinous": (43.0, 61.0),
}


@pytest.mark.parametrize("size", RANGES)
def test_every_lumbar_vertebra_lies_within_published_sizes(people, size):
    low, high = RANGES[size]
    found = [measured(shape, level)[size] for shape in people for level in LUMBAR]
    assert low <= min(found) and max(found) <= high
    assert np.ptp(found) > 0.3 * (high - low)  # people and levels differ


def test_mean_volumes_of_vertebrae_are_those_published(people):
    for level in LUMBAR[1:]:
        volumes = [mesh_volume_mm3(shape[level].whole) / 1000 for shape in people]
        assert 55.0 < np.mean(volumes) < 65.0
    bodies = [mesh_volume_mm3(shape[level].body) for shape in people for level in LUMBAR]
    wholes = [mesh_volume_mm3(shape[level].whole) for shape in people for level in LUMBAR]
    assert np.mean(bodies) / np.mean(wholes) == pytest.approx(0.57, abs=0.05)


def test_disc_heights_are_those_published(people):
    found = []
    for shape in people:
        for upper, lower in zip(shape.vertebrae[1:], shape.vertebrae[2:], strict=False):
            middle = np.zeros((1, 2))
            gap = upper.plate_rim(-1, middle, 0.0) - lower.plate_rim(1, middle, 0.0)
            found.append(float(np.linalg.norm(gap)))
    assert min(found) >= 3.1 and max(found) <= 11.4


def test_women_are_smaller_than_men(people):
    volumes = {sex: [] for sex in "MF"}
    for (_, sex, _), shape in zip(PEOPLE, people, strict=True):
        volumes[sex].append(mesh_volume_mm3(shape["L3"].body))
    assert np.mean(volumes["F"]) < 0.9 * np.mean(volumes["M"])


def test_the_spine_is_stacked_with_lordosis(people):
    for shape in people:
        centers = np.array([vertebra.center_xyz_mm for vertebra in shape.vertebrae])
        assert np.all(np.diff(centers[:, 2]) < -22)
        assert [vertebra.level for vertebra in shape.vertebrae] == ["T12", *LUMBAR]
        leans = [np.degrees(np.arctan2(-v.axes[1, 2], v.axes[2, 2])) for v in shape.vertebrae]
        slope = np.degrees(np.arctan2(-shape.plate_axes[1, 2], shape.plate_axes[2, 2]))
        assert 20 < slope < 58 and 15 < slope - leans[1] < 80
        # the fifth body stands on the sacrum
        lowest = shape["L5"].plate_rim(-1, np.zeros((1, 2)), 0.0)[0]
        assert np.linalg.norm(lowest - shape.plate_xyz_mm) == pytest.approx(9.0, abs=4.5)


def test_the_body_is_what_lies_in_front_of_the_canal():
    vertebra = spine()["L3"]
    body = vertebra.own_frame(vertebra.body.vertices_xyz_mm)
    whole = vertebra.own_frame(vertebra.whole.vertices_xyz_mm)
    assert body[:, 1].max() == pytest.approx(vertebra.wall_mm, abs=1e-6)
    assert whole[:, 1].max() > vertebra.wall_mm + 40
    assert mesh_volume_mm3(vertebra.body) < mesh_volume_mm3(vertebra.whole)


def test_sizes_are_drawn_as_asked():
    size = VertebraSize(
        width_mm=46.0,
        depth_mm=34.0,
        height_mm=28.0,
        wedge_degrees=5.0,
        canal_depth_mm=16.0,
        canal_width_mm=26.0,
        spinous_mm=52.0,
        spread_mm=84.0,
    )
    vertices = vertebra_mesh("L4", size).vertices_xyz_mm
    assert vertices[:, 1].min() == pytest.approx(-17.0, abs=0.1)
    assert vertices[:, 1].max() == pytest.approx(17.0 + 52.0, abs=0.1)
    assert np.ptp(vertices[:, 0]) == pytest.approx(84.0, abs=0.5)


def test_old_people_have_osteophytes():
    def rim(age):
        widest = []
        for seed in range(12):
            shape = spine(seed, "M", age)
            for level in LUMBAR:
                vertebra = shape[level]
                local = vertebra.own_frame(vertebra.body.vertices_xyz_mm)
                plate = np.abs(local[:, 2]) > 0.4 * vertebra.size_xyz_mm[2]
                widest.append(-local[plate, 1].min() - 0.5 * vertebra.size_xyz_mm[1])
        return np.mean(widest)

    assert rim(85) > rim(30) + 0.3


def test_the_fractured_body_is_a_wedge():
    shape = spine(4, "F", 70, "fracture")
    for level in LUMBAR:
        anterior, middle, posterior = shape[level].heights_mm()
        if level == "L2":
            assert anterior / posterior < 0.75 and middle / posterior < 0.85
        else:
            assert min(anterior, middle) / posterior > 0.85


def test_scoliosis_is_a_bow_to_one_side():
    def bow(defect):
        return [
            np.ptp([v.center_xyz_mm[0] for v in spine(seed, "F", 50, defect).vertebrae]) for seed in range(8)
        ]

    assert min(bow("scoliosis")) > 14 and np.median(bow("")) < 10


def test_six_lumbar_vertebrae_have_one_more_above_the_sacrum():
    shape = spine(2, defect="six_lumbar")
    assert [vertebra.level for vertebra in shape.vertebrae] == ["T12", *LUMBAR, "L6"]


def test_parts_are_closed_and_of_sane_size():
    shape = spine(3)
    volumes = {level: mesh_volume_mm3(disc) for level, disc in discs(shape)}
    assert list(volumes) == ["L5", "L4", "L3", "L2", "L1", "T12"]
    # a disc of 8 mm with what it reaches into two bodies
    assert all(8_000 < volume < 34_000 for volume in volumes.values())
    assert 3_000 < mesh_volume_mm3(sacral_canal(shape)) < mesh_volume_mm3(sacral_canal(shape, 1.0))
    outer, inner = (mesh_volume_mm3(rib_meshes(shape, 120.0, 80.0, thinner)) for thinner in (0.0, 0.9))
    assert 0 < inner < 0.75 * outer
    assert 5_000 < mesh_volume_mm3(screws(shape)) < 25_000
    assert 2_000 < mesh_volume_mm3(cement(shape["L3"], np.random.default_rng(1))) < 14_000
