"""The bones of a person, drawn from a shape model of 26 real hips, levelled, scaled by sex and posed.

The person frame has the midline at x = 0 and the mean person's left head centre at y = z = 0, in LPS mm
(x = left, y = posterior, z = up).
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lib.phantom.mesh import Mesh, mirror, move, vertex_normals
from lib.rotations import rotation_matrix

MODEL_PATH = Path(__file__).with_name("hip_shape_model.npz")

# linear size relative to the model's mean; men / women = 1.111, so that volumes are 1.373 : 1
LINEAR_SIZE = {"M": 1.047, "F": 0.9424}
# together with modes and scan ends this gives a coefficient of variation of 17.4 % within a sex
_SIZE_SD = 0.026
_MODE_LIMIT = 2.0
_SYMPHYSIS_HALF_GAP_MM = 2.5
# range in which landmarks of the model's mean femur are searched, mm below the head's top
_NECK_BASE_BELOW_TOP_MM = (46.0, 64.0)
_SHAFT_BELOW_TOP_MM = (118.0, 140.0)


@dataclass(frozen=True, kw_only=True)
class ShapeModel:
    """Mean and modes of the left femur, the left hip bone and the sacrum, levelled into the person frame.

    `modes_xyz_mm` has shape (modes, vertices, 3) with the vertices of all three bones; `parts` are the
    three vertex ranges; `head`, `neck_base`, `shaft` index vertices of the femur, `socket` of the hip bone.
    """

    mean_xyz_mm: np.ndarray
    modes_xyz_mm: np.ndarray
    parts: tuple[slice, slice, slice]
    faces: tuple[np.ndarray, np.ndarray, np.ndarray]
    head: np.ndarray
    neck_base: np.ndarray
    shaft: np.ndarray
    socket: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FemurAxes:
    """Landmarks of a femur: centre and radius of the head, where neck and shaft meet, a point in the shaft."""

    head_center_xyz_mm: np.ndarray
    head_radius_mm: float
    neck_base_xyz_mm: np.ndarray
    shaft_xyz_mm: np.ndarray


@dataclass(frozen=True, kw_only=True)
class HipShape:
    """The bones of one person; `femurs` and `hips` are (left, right), `size` is relative to the model's mean."""

    femurs: tuple[Mesh, Mesh]
    hips: tuple[Mesh, Mesh]
    sacrum: Mesh
    size: float

    def moved(self, rotation: np.ndarray, shift_xyz_mm: np.ndarray) -> "HipShape":
        """Return the same bones rotated about the origin and shifted."""
        return HipShape(
            femurs=tuple(move(m, rotation, shift_xyz_mm) for m in self.femurs),
            hips=tuple(move(m, rotation, shift_xyz_mm) for m in self.hips),
            sacrum=move(self.sacrum, rotation, shift_xyz_mm),
            size=self.size,
        )


@lru_cache(maxsize=1)
def load_shape_model() -> ShapeModel:
    """Read the shape model next to this file and level it; NOTICE.md gives its origin and licence."""
    with np.load(MODEL_PATH, allow_pickle=False) as stored:
        data = {key: stored[key] for key in stored.files}
    pelvis_mean = data["pelvis_mean_mm"].astype(float)
    hip, sacrum, right_hip = _pelvis_parts(data["pelvis_faces"], pelvis_mean)
    meshes = [
        Mesh(vertices_xyz_mm=data["femur_mean_mm"].astype(float), faces=data["femur_faces"]),
        _submesh(pelvis_mean, data["pelvis_faces"], hip),
        _submesh(pelvis_mean, data["pelvis_faces"], sacrum),
    ]
    modes = np.concatenate(
        [data["femur_modes_mm"], data["pelvis_modes_mm"][:, hip], data["pelvis_modes_mm"][:, sacrum]], axis=1
    ).astype(float)
    level, middle = _levelling(meshes[1].vertices_xyz_mm, pelvis_mean[right_hip])
    mean = (np.concatenate([m.vertices_xyz_mm for m in meshes]) - middle) @ level.T
    ends = np.cumsum([0, *(len(m.vertices_xyz_mm) for m in meshes)])
    parts = tuple(slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))
    head, neck_base, shaft = _femur_landmarks(mean[parts[0]])
    center, radius = _fit_sphere(mean[parts[0]][head])
    hip_mesh = Mesh(vertices_xyz_mm=mean[parts[1]], faces=meshes[1].faces)
    return ShapeModel(
        mean_xyz_mm=mean - [0.0, center[1], center[2]],
        modes_xyz_mm=modes @ level.T,
        parts=parts,
        faces=tuple(m.faces for m in meshes),
        head=head,
        neck_base=neck_base,
        shaft=shaft,
        socket=_socket(hip_mesh, center, radius),
    )


def draw_hip_shape(rng: np.random.Generator, sex: str) -> HipShape:
    """Draw the bones of a person: shape modes N(0, 1) clipped to +-2, size by sex, small turns of the femurs."""
    model = load_shape_model()
    weights = np.clip(rng.standard_normal(len(model.modes_xyz_mm)), -_MODE_LIMIT, _MODE_LIMIT)
    size = LINEAR_SIZE[sex] * float(np.exp(_SIZE_SD * rng.standard_normal()))
    turns = rng.uniform(-1, 1, (2, 3)) * [3.0, 3.0, 6.0]
    return build_hip_shape(weights, size, turns)


def build_hip_shape(weights: np.ndarray, size: float, turns_degrees: np.ndarray) -> HipShape:
    """Return the bones for given mode weights (n,), linear size and turns (left and right femur; x, y, z)."""
    model = load_shape_model()
    vertices = (model.mean_xyz_mm + np.tensordot(weights, model.modes_xyz_mm, axes=1)) * size
    femur, hip, sacrum = (
        Mesh(vertices_xyz_mm=vertices[part], faces=faces)
        for part, faces in zip(model.parts, model.faces, strict=True)
    )
    # modes shift the bones, so the head is put back into its socket, the hip bones to the symphysis and the sacrum on
    # the midline; the head's centre is the origin in y and z
    femur = move(femur, np.eye(3), _into_socket(femur, hip, size))
    center = femur_axes(femur).head_center_xyz_mm
    to_middle_mm = _SYMPHYSIS_HALF_GAP_MM * size - hip.vertices_xyz_mm[:, 0].min()
    femur, hip = (move(m, np.eye(3), np.array([to_middle_mm, -center[1], -center[2]])) for m in (femur, hip))
    sacrum_mm = -sacrum.vertices_xyz_mm[:, 0].mean()
    sacrum = move(sacrum, np.eye(3), np.array([sacrum_mm, -center[1], -center[2]]))
    center = femur_axes(femur).head_center_xyz_mm
    left, right = (move(femur, rotation_matrix(turn), np.zeros(3), center) for turn in turns_degrees)
    return HipShape(femurs=(left, mirror(right)), hips=(hip, mirror(hip)), sacrum=sacrum, size=size)


def femur_axes(femur: Mesh) -> FemurAxes:
    """Return the landmarks of a left or right femur with the model's topology."""
    model = load_shape_model()
    points = femur.vertices_xyz_mm
    center, radius = _fit_sphere(points[model.head])
    return FemurAxes(
        head_center_xyz_mm=center,
        head_radius_mm=radius,
        neck_base_xyz_mm=points[model.neck_base].mean(axis=0),
        shaft_xyz_mm=points[model.shaft].mean(axis=0),
    )


def head_top_mm(femur: Mesh) -> float:
    """Return the height (LPS z, mm) of the highest point of the femoral head."""
    return float(femur.vertices_xyz_mm[load_shape_model().head, 2].max())


def _pelvis_parts(faces: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the vertex indices of the left hip bone, the sacrum and the right hip bone."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    links = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(mean), len(mean)))
    _, part_of = connected_components(links, directed=False)
    parts = [np.flatnonzero(part_of == k) for k in range(part_of.max() + 1)]
    right, sacrum, left = sorted(parts, key=lambda part: mean[part, 0].mean())
    return left, sacrum, right


def _submesh(vertices: np.ndarray, faces: np.ndarray, part: np.ndarray) -> Mesh:
    new_index = np.full(len(vertices), -1)
    new_index[part] = np.arange(len(part))
    return Mesh(vertices_xyz_mm=vertices[part], faces=new_index[faces[np.isin(faces[:, 0], part)]])


def _levelling(left_hip: np.ndarray, right_hip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotation that turns the line between the hip bones to x, and the midpoint between them.

    The model's pelvis is tilted by about 4 degrees against the model's axes.
    """
    left, right = ((hip.min(axis=0) + hip.max(axis=0)) / 2 for hip in (left_hip, right_hip))
    x = (left - right) / np.linalg.norm(left - right)
    y = np.array([0.0, 1.0, 0.0]) - x[1] * x
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)]), (left + right) / 2


def _socket(hip: Mesh, center: np.ndarray, radius: float) -> np.ndarray:
    """Return the vertices of a hip bone that are close to the femoral head and face it."""
    radial = hip.vertices_xyz_mm - center
    distance = np.linalg.norm(radial, axis=1)
    facing = -(vertex_normals(hip) * radial).sum(axis=1) / distance
    return np.flatnonzero((facing > 0.4) & (distance < radius + 9.0))


def _into_socket(femur: Mesh, hip: Mesh, size: float) -> np.ndarray:
    """Return the shift (mm) that gives head and socket the same relative position as in the model's mean."""
    model = load_shape_model()
    mean_femur, mean_hip = (model.mean_xyz_mm[part] for part in model.parts[:2])
    wanted = _fit_sphere(mean_femur[model.head])[0] - mean_hip[model.socket].mean(axis=0)
    found = _fit_sphere(femur.vertices_xyz_mm[model.head])[0] - hip.vertices_xyz_mm[model.socket].mean(axis=0)
    return size * wanted - found


def _femur_landmarks(femur: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertex indices of the head's sphere, of the base of the neck and of the upper shaft."""
    below = femur[:, 2].max() - femur[:, 2]
    head = np.flatnonzero(below < 15.0)
    for _ in range(20):
        center, radius = _fit_sphere(femur[head])
        off = np.abs(np.linalg.norm(femur - center, axis=1) - radius)
        head = np.flatnonzero((off < 1.0) & (femur[:, 0] < center[0] + 0.5 * radius))
    bases = (
        np.flatnonzero((below > a) & (below < b)) for a, b in (_NECK_BASE_BELOW_TOP_MM, _SHAFT_BELOW_TOP_MM)
    )
    return (head, *bases)


def _fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Return centre and radius of the least-squares sphere through points (n, 3)."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    center = solution[:3]
    return center, float(np.sqrt(solution[3] + center @ center))
