"""Volumes in files: any 3-D image read onto patient axes, NIfTI written with nothing but geometry."""

import gzip
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from lib.atomic import whole_file
from lib.errors import ScanError
from lib.imaging.grid import array_zyx, image_like, to_patient_axes

# Probabilities are stored as whole multiples of this step. 65535 steps keep every comparison with a threshold
# that differs from a stored value by more than 1e-5, at half the size of float32 and far better compression.
PROBABILITY_STEP = 1.0 / 65535.0

# Level 1 is five times faster than level 6 and, as noise does not compress, leaves CT files no larger.
GZIP_LEVEL = 1

_CHUNK_BYTES = 1 << 20
_FORM_TOLERANCE = 0.01  # fraction of a voxel edge by which two forms may differ (0.6 degrees)
_SCL_SLOPE_OFFSET = 112  # bytes; fields scl_slope and scl_inter (float32) of the NIfTI-1 header


def read_image(path: str | Path) -> sitk.Image:
    """Read a 3-D image of any format that ITK knows and bring it to index axes +L, +P, +S.

    Stored scaling (NIfTI scl_slope) is applied; values stored as float64 come as float32.

    Raises:
        ScanError: `unreadable_file`, `not_a_volume`, `no_orientation` (a NIfTI without qform and sform),
            `contradictory_orientation` or `oblique_orientation`.
    """
    reader = _open(path)
    _require_volume(reader)
    _require_orientation(reader)
    image = _run(reader.Execute)
    return to_patient_axes(_plain(image))


def require_complete(path: str | Path) -> None:
    """Read a NIfTI file of unknown origin once through and refuse it if a part is missing or damaged.

    ITK fills what is missing with zeros, and takes no notice of gzip's checksum. Other formats pass: for them ITK
    raises.

    Raises:
        ScanError: `unreadable_file`.
    """
    reader = _open(path)
    if not reader.HasMetaDataKey("nifti_type") or reader.GetMetaData("nifti_type") != "1":
        return
    voxel_bytes = math.prod(reader.GetSize()) * int(reader.GetMetaData("bitpix")) // 8
    expected_bytes = int(float(reader.GetMetaData("vox_offset"))) + voxel_bytes
    try:
        found_bytes = _content_bytes(Path(path))
    except (OSError, EOFError, zlib.error):
        raise _unreadable() from None
    if found_bytes < expected_bytes:
        raise ScanError(
            "unreadable_file", f"the image file is cut off: {found_bytes} bytes of {expected_bytes}"
        )


def stored_axes(path: str | Path) -> str:
    """Return letters of the patient directions in which the axes of an image file count up, for example RAS.

    Raises:
        ScanError: `unreadable_file`.
    """
    reader = _open(path)
    direction = np.asarray(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:3, :3]
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction.ravel().tolist())


def read_mask(path: str | Path, labels: Sequence[int] = ()) -> sitk.Image:
    """Read a label map as a binary uint8 mask on patient axes: voxels of `labels`, or all non-zero if empty.

    Raises:
        ScanError: as `read_image`, and `mask_not_labels` where values are not whole numbers.
    """
    image = read_image(path)
    values_zyx = array_zyx(image)
    if values_zyx.dtype.kind == "f" and not np.array_equal(values_zyx, np.rint(values_zyx)):
        raise ScanError("mask_not_labels", "the mask holds values that are not whole numbers")
    chosen_zyx = np.isin(values_zyx, list(labels)) if len(labels) else values_zyx != 0
    return image_like(chosen_zyx, image)


def write_image(image: sitk.Image, path: str | Path) -> None:
    """Write `image` to `path` (.nii.gz), whole or not at all.

    The file holds voxels and geometry and nothing else: no description, no time, no name; the same image
    gives the same bytes.
    """
    _write_nifti(image, path, slope=1.0)


def write_probability(probability_zyx: np.ndarray, reference: sitk.Image, path: str | Path) -> None:
    """Write probabilities in [0, 1] on the grid of `reference` to `path` (.nii.gz), whole or not at all.

    They are stored as uint16 with NIfTI's scl_slope = 1/65535, so that any reader sees values in [0, 1],
    exact to PROBABILITY_STEP / 2.

    Raises:
        ValueError: a value is not a number or lies outside [0, 1].
    """
    # written so that NaN fails too
    if not (probability_zyx.min(initial=0.0) >= 0.0 and probability_zyx.max(initial=0.0) <= 1.0):
        raise ValueError("probabilities must be numbers from 0 to 1")
    steps_zyx = np.rint(probability_zyx.astype(np.float32) * np.float32(65535.0)).astype(np.uint16)
    _write_nifti(image_like(steps_zyx, reference), path, slope=PROBABILITY_STEP)


def read_probability(path: str | Path) -> np.ndarray:
    """Read what `write_probability` wrote: float32 (z, y, x) in [0, 1]. `read_image` gives an image."""
    return np.clip(array_zyx(read_image(path)).astype(np.float32), 0.0, 1.0)


def _open(path: str | Path) -> sitk.ImageFileReader:
    """Return a reader that has read the header of `path`."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    _run(reader.ReadImageInformation)
    return reader


def _run(step: Callable[[], Any]) -> Any:
    """Return what a step of reading gives; ITK's errors and warnings name the path, so neither gets out."""
    warns = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return step()
    except RuntimeError:
        raise _unreadable() from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warns)


def _content_bytes(path: Path) -> int:
    """Return the length of a file, of a gzip file that of its content, whose checksum is compared on the way."""
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if not is_gzip:
        return path.stat().st_size
    with gzip.open(path, "rb") as content:
        return sum(len(chunk) for chunk in iter(lambda: content.read(_CHUNK_BYTES), b""))


def _unreadable() -> ScanError:
    """Return the error for a file that ITK refuses."""
    return ScanError("unreadable_file", "the image file is damaged, cut off or not an image")


def _require_volume(reader: sitk.ImageFileReader) -> None:
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if len(size) < 3 or any(count != 1 for count in size[3:]) or components != 1:
        shape = "x".join(str(count) for count in size)
        raise ScanError("not_a_volume", f"{shape} voxels with {components} value(s) each")


def _require_orientation(reader: sitk.ImageFileReader) -> None:
    """Refuse a NIfTI that says nothing, or two things, on how it lies in the patient: ITK would choose."""
    if not reader.HasMetaDataKey("sform_code"):
        return
    has_qform, has_sform = (reader.GetMetaData(key).strip() != "0" for key in ("qform_code", "sform_code"))
    if not (has_qform or has_sform):
        raise ScanError("no_orientation", "qform_code and sform_code of the NIfTI header are both 0")
    if not has_sform:
        return
    sform = _sform(reader)
    # ITK takes edges from pixdim, directions from a form: all of them must tell the same
    edges_mm = np.array([float(reader.GetMetaData(f"pixdim[{axis}]")) for axis in (1, 2, 3)])
    if np.abs(np.linalg.norm(sform, axis=0) / edges_mm - 1).max() > _FORM_TOLERANCE:
        raise ScanError("contradictory_orientation", "voxel edges of sform and pixdim differ")
    if has_qform and np.abs((sform - _qform(reader)) / edges_mm).max() > _FORM_TOLERANCE:
        raise ScanError("contradictory_orientation", "axes of sform and qform differ")


def _sform(reader: sitk.ImageFileReader) -> np.ndarray:
    """Return the 3x3 part of the sform: columns are the steps of the index axes, mm."""
    rows = [reader.GetMetaData(key).split()[:3] for key in ("srow_x", "srow_y", "srow_z")]
    return np.array(rows, dtype=float)


def _qform(reader: sitk.ImageFileReader) -> np.ndarray:
    """Return the 3x3 part of the qform (nifti1.h, method 2): rotation by a quaternion, edges, handedness."""
    b, c, d = (float(reader.GetMetaData(f"quatern_{letter}")) for letter in "bcd")
    a = math.sqrt(max(1.0 - b * b - c * c - d * d, 0.0))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    edges_mm = [float(reader.GetMetaData(f"pixdim[{axis}]")) for axis in (1, 2, 3)]
    handedness = -1.0 if float(reader.GetMetaData("pixdim[0]")) < 0 else 1.0
    return rotation * np.array([*edges_mm[:2], handedness * edges_mm[2]])


def _plain(image: sitk.Image) -> sitk.Image:
    """Return `image` as three-dimensional, without metadata, float64 as float32."""
    if image.GetDimension() > 3:
        image = image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]
    if image.GetPixelID() == sitk.sitkFloat64:
        image = sitk.Cast(image, sitk.sitkFloat32)
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    return image


def _write_nifti(image: sitk.Image, path: str | Path, slope: float) -> None:
    bare = sitk.Image(image)
    for key in bare.GetMetaDataKeys():
        bare.EraseMetaData(key)
    with whole_file(path) as temporary:
        plain = temporary.with_name(temporary.name.removesuffix(".gz"))
        try:
            sitk.WriteImage(bare, str(plain))
            content = bytearray(plain.read_bytes())
        finally:
            plain.unlink(missing_ok=True)
        struct.pack_into("<ff", content, _SCL_SLOPE_OFFSET, slope, 0.0)
        temporary.write_bytes(gzip.compress(content, GZIP_LEVEL, mtime=0))
