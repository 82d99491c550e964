"""NIfTI, NRRD and MetaImage files of unknown origin: read as they say, or refused with a reason.

NIfTI goes through nibabel, which keeps to the standard where ITK does not: ITK makes zeros of what is not a number,
adds an intercept where the slope says that nothing is scaled, loses the handedness of a qform, fills cut off files
with zeros, and opens `scan.nii` where it is asked for the `scan.nii.gz` beside it. Other formats go through ITK.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import SimpleITK as sitk
from isal import igzip, igzip_lib

from lib.errors import ScanError
from lib.imaging.grid import GRID_TOLERANCE_VOXELS, array_zyx, axis_letters, image_like, to_patient_axes
from lib.imaging.nifti import open_reader, run_itk, unreadable

if TYPE_CHECKING:
    import nibabel

_NIFTI_SUFFIXES = (".nii", ".nii.gz")
_CHUNK_BYTES = 1 << 20
_TRAILING_BYTES = 1 << 20  # what may follow the voxels of a NIfTI file without being looked at

# NIfTI counts towards right, front and head where ITK counts towards left, back and head.
_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def read_image_file(path: str | Path, max_gb: float = math.inf) -> tuple[sitk.Image, str]:
    """Read a 3-D image of any format and return it on patient axes, with letters of its stored axes (as RAS).

    Scaled values are float32, with NaN and infinities where the file has them.

    Raises:
        ScanError: `unreadable_file`, `too_large`, `not_a_volume`, `no_orientation` (a NIfTI without qform and sform)
            or `contradictory_orientation` (forms or pixdim that differ, axes that are not perpendicular).
    """
    if str(path).lower().endswith(_NIFTI_SUFFIXES):
        stored = _read_nifti(Path(path), max_gb)
    else:
        stored = _read_other(path, max_gb)
    return to_patient_axes(stored), axis_letters(stored)


def read_labels(path: str | Path, labels: Sequence[int] = (), max_gb: float = math.inf) -> sitk.Image:
    """Read a label map as a binary uint8 mask on patient axes: voxels of `labels`, or all non-zero if empty.

    Voxels without value (NaN) belong to no label.

    Raises:
        ScanError: as `read_image_file`, and `mask_not_labels` where values are not whole numbers.
    """
    image, _ = read_image_file(path, max_gb)
    values_zyx = array_zyx(image)
    if values_zyx.dtype.kind == "f":
        values_zyx = np.nan_to_num(values_zyx, nan=0.0, posinf=0.5, neginf=0.5)
        if not np.array_equal(values_zyx, np.rint(values_zyx)):
            raise ScanError("mask_not_labels", "the mask holds values that are not whole numbers")
    chosen_zyx = np.isin(values_zyx, list(labels)) if len(labels) else values_zyx != 0
    return image_like(chosen_zyx, image)


def _require_size(voxel_bytes: int, max_gb: float) -> None:
    if voxel_bytes > 1e9 * max_gb:
        raise ScanError("too_large", f"{1e-9 * voxel_bytes:.3g} GB of voxels; {max_gb:g} GB pass")


def _require_volume(size: Sequence[int], components: int) -> None:
    if len(size) < 3 or any(count != 1 for count in size[3:]) or min(size, default=0) < 1 or components != 1:
        shape = "x".join(str(count) for count in size)
        raise ScanError("not_a_volume", f"{shape} voxels with {components} value(s) each")


# ---- formats of ITK -------------------------------------------------------------------------------------------


def _read_other(path: str | Path, max_gb: float) -> sitk.Image:
    """Return the image with its axes as stored; ITK raises where a part of these formats is missing."""
    reader = open_reader(path)
    _require_volume(reader.GetSize(), reader.GetNumberOfComponents())
    voxel = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID())
    _require_size(math.prod(reader.GetSize()) * voxel.GetSizeOfPixelComponent(), max_gb)
    image = run_itk(reader.Execute)
    if image.GetDimension() > 3:
        image = image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]
    return sitk.Cast(image, sitk.sitkFloat32) if image.GetPixelID() == sitk.sitkFloat64 else image


# ---- NIfTI ----------------------------------------------------------------------------------------------------


def _read_nifti(path: Path, max_gb: float) -> sitk.Image:
    """Return the image with its axes as stored."""
    # only foreign files need it, and loading it costs as much as converting a scan
    import nibabel

    nibabel.imageglobals.logger.disabled = True  # what it repairs it says on the terminal
    try:
        nifti = nibabel.load(path, mmap=False)
        header = nifti.header
        size, kind = header.get_data_shape(), header.get_data_dtype()
        _require_volume(size, 1 if kind.names is None and kind.kind in "iuf" else kind.itemsize)
        _require_size(math.prod(size) * kind.itemsize, max_gb)
        _require_complete(path, header.get_data_offset() + math.prod(size) * kind.itemsize)
        affine = _affine(header, size[:3])
        values_xyz = _values(nifti).reshape(size[:3])
    except ScanError:
        raise
    except Exception:
        # of damaged headers nibabel and numpy raise whatever comes, in words that may quote them
        raise unreadable() from None
    image = sitk.GetImageFromArray(values_xyz.transpose())
    spacing_mm = np.linalg.norm(affine[:, :3], axis=0)
    image.SetSpacing(spacing_mm.tolist())
    image.SetDirection((_TO_LPS @ affine[:, :3] / spacing_mm).ravel().tolist())
    image.SetOrigin((_TO_LPS @ affine[:, 3]).tolist())
    return image


def _values(nifti: "nibabel.Nifti1Image") -> np.ndarray:
    """Return the voxels (x, y, z): scaled ones as float32, others as stored, in this machine's byte order."""
    stored = nifti.dataobj
    if (stored.slope, stored.inter) == (1.0, 0.0):
        values = stored.get_unscaled()
        values = values.astype(np.float32) if values.dtype.kind == "f" else values
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    return np.asarray(stored, dtype=np.float32)


def _affine(header: "nibabel.Nifti1Header", size_xyz: Sequence[int]) -> np.ndarray:
    """Return the 3x4 matrix from indices to mm, in NIfTI's axes, if all that the header says of it agrees.

    Raises:
        ScanError: `no_orientation` or `contradictory_orientation`.
    """
    forms = {"sform": header.get_sform(coded=True)[0], "qform": header.get_qform(coded=True)[0]}
    stated = {name: form[:3] for name, form in forms.items() if form is not None}
    if not stated:
        raise ScanError("no_orientation", "qform_code and sform_code of the NIfTI header are both 0")
    name, affine = next(iter(stated.items()))
    if not all(np.isfinite(form).all() for form in stated.values()):
        raise ScanError("contradictory_orientation", "qform or sform holds what is not a number")
    edges_mm = np.array(header.get_zooms()[:3], dtype=float)
    directions = affine[:, :3] / np.linalg.norm(affine[:, :3], axis=0)
    left, _, right = np.linalg.svd(directions)
    upright = np.column_stack([left @ right * np.linalg.norm(affine[:, :3], axis=0), affine[:, 3]])
    tolerance_mm = GRID_TOLERANCE_VOXELS * edges_mm.min()
    for other, words in (
        (stated.get("qform", affine), "qform and sform differ"),
        (np.column_stack([directions * edges_mm, affine[:, 3]]), f"pixdim and {name} differ"),
        (upright, f"the axes of {name} are not perpendicular"),
    ):
        apart_mm = _largest_distance_mm(affine, other, size_xyz)
        # written so that NaN (of pixdim) fails too
        if not apart_mm <= tolerance_mm:
            raise ScanError(
                "contradictory_orientation", f"{words}: voxels would lie up to {apart_mm:.3g} mm apart"
            )
    return upright


def _largest_distance_mm(one: np.ndarray, other: np.ndarray, size_xyz: Sequence[int]) -> float:
    """Return how far apart two affines put a voxel: no voxel further than a corner."""
    corners = np.array(list(itertools.product(*((0, count - 1) for count in size_xyz))))
    difference = one - other
    return float(np.linalg.norm(corners @ difference[:, :3].T + difference[:, 3], axis=1).max())


def _require_complete(path: Path, expected_bytes: int) -> None:
    """Read a file once through, as far as its voxels and the checksum of a gzip file.

    What follows the voxels is looked at for a megabyte only: a small gzip file may hold any amount of it.

    Raises:
        ScanError: `unreadable_file`.
    """
    found_bytes = 0
    try:
        with _content(path) as content:
            while found_bytes < expected_bytes + _TRAILING_BYTES and (chunk := content.read(_CHUNK_BYTES)):
                found_bytes += len(chunk)
    except (OSError, EOFError, igzip_lib.IsalError):
        raise unreadable() from None
    if found_bytes < expected_bytes:
        raise ScanError(
            "unreadable_file", f"the image file is cut off: {found_bytes} bytes of {expected_bytes}"
        )


def _content(path: Path) -> BinaryIO:
    """Open a file, of a gzip file its content."""
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return igzip.open(path, "rb") if is_gzip else open(path, "rb")
