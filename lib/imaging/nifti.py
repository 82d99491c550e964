"""Writing and reading the NIfTI files of this workflow, whose only metadata is geometry.

Files of unknown origin are read by `lib.reading.image_files`.
"""

import math
import os
import struct
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from isal import igzip

from lib.atomic import whole_file
from lib.errors import ScanError
from lib.imaging.grid import array_zyx, image_like, to_patient_axes

# Probabilities are stored as whole multiples of this step. 65535 steps keep every comparison with a threshold
# that differs from a stored value by more than 1e-5, at half the size of float32 and far better compression.
PROBABILITY_STEP = 1.0 / 65535.0

# Level of Intel's ISA-L, which writes gzip files five times faster than zlib's level 1; files are 3 % larger, because
# noise does not compress.
GZIP_LEVEL = 2

_HEADER_BYTES = 352  # of NIfTI-1, including the four bytes that declare no extension
_DIM_OFFSET = 42  # bytes; fields dim[1] to dim[3] (int16)
_BITPIX_OFFSET = 72  # int16: bits of a voxel
_VOXELS_OFFSET = 108  # float32: byte at which voxels begin
_SCL_SLOPE_OFFSET = 112  # bytes; fields scl_slope and scl_inter (float32) of the NIfTI-1 header


def read_image(path: str | Path) -> sitk.Image:
    """Read a volume that this workflow wrote, stored scaling (NIfTI scl_slope) applied.

    Raises:
        ScanError: `unreadable_file`.
    """
    reader = open_reader(path)
    _require_whole(Path(path))
    return to_patient_axes(run_itk(reader.Execute))


def read_result(path: str | Path) -> sitk.Image:
    """Return `read_image` of a file below results/, whose path identifies nobody, so that an error may name it.

    Raises:
        ScanError: `unreadable_file`.
    """
    try:
        return read_image(path)
    except ScanError as error:
        advice = "Remove the file, so that it is made again."
        raise ScanError(error.code, f"{path}: {error}", advice) from None


def read_grid(path: str | Path) -> sitk.Image:
    """Return an empty image (uint8) on the grid of a volume that this workflow wrote; its voxels are not read.

    Raises:
        ScanError: `unreadable_file`.
    """
    reader = open_reader(path)
    empty = sitk.Image(reader.GetSize(), sitk.sitkUInt8)
    empty.SetSpacing(reader.GetSpacing())
    empty.SetOrigin(reader.GetOrigin())
    empty.SetDirection(reader.GetDirection())
    return to_patient_axes(empty)


def read_mask(path: str | Path) -> sitk.Image:
    """Read a mask that this workflow wrote, as uint8: 0 or 1.

    Raises:
        ScanError: `unreadable_file`.
    """
    image = read_image(path)
    return image_like(array_zyx(image) != 0, image)


def read_label_map(path: str | Path, structures: Collection[str]) -> sitk.Image:
    """Read a label map that this workflow wrote, as uint8: 0, and 1 to n, the structures.

    Raises:
        ScanError: `unreadable_file`; `mask_not_labels`, it holds other values.
    """
    image = read_image(path)
    labels_zyx = array_zyx(image)
    if labels_zyx.dtype != np.uint8 or labels_zyx.max() > len(structures):
        raise ScanError(
            "mask_not_labels",
            f"{Path(path).name} holds {labels_zyx.dtype} values up to {labels_zyx.max():g}; expected are uint8 "
            f"values up to {len(structures)} ({', '.join(structures)}). Remove the file, so that it is made again",
        )
    return image


def open_reader(path: str | Path) -> sitk.ImageFileReader:
    """Return ITK's reader with the header of `path` read.

    Raises:
        ScanError: `unreadable_file`.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    run_itk(reader.ReadImageInformation)
    return reader


def run_itk(step: Callable[[], Any]) -> Any:
    """Return the result of a reading step; ITK's errors and warnings are suppressed, because they name the path.

    Raises:
        ScanError: `unreadable_file`.
    """
    warns = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return step()
    except (RuntimeError, ValueError):  # ValueError: an invalid path
        raise unreadable() from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warns)


def unreadable() -> ScanError:
    """Return the error for a file that a reader refuses."""
    return ScanError("unreadable_file", "the image file is damaged, truncated or not an image")


def write_image(image: sitk.Image, path: str | Path) -> None:
    """Write `image` to `path` (.nii.gz), atomically.

    The file contains only voxels and geometry: no description, time or name. The same image gives the same bytes.
    """
    _write_nifti(image, path, slope=1.0)


def write_probability(probability_zyx: np.ndarray, reference: sitk.Image, path: str | Path) -> None:
    """Write probabilities in [0, 1] on the grid of `reference` to `path` (.nii.gz), atomically.

    They are stored as uint16 with NIfTI's scl_slope = 1/65535, so that any reader sees values in [0, 1],
    exact to PROBABILITY_STEP / 2.

    Raises:
        ValueError: a value is not a number or lies outside [0, 1].
    """
    # this form also refuses NaN
    if not (probability_zyx.min(initial=0.0) >= 0.0 and probability_zyx.max(initial=0.0) <= 1.0):
        raise ValueError("probabilities must be numbers from 0 to 1")
    _write_nifti(image_like(probability_levels(probability_zyx), reference), path, slope=PROBABILITY_STEP)


def probability_levels(probability_zyx: np.ndarray) -> np.ndarray:
    """Return probabilities in [0, 1] as multiples of PROBABILITY_STEP, uint16 (z, y, x), as they are stored."""
    return np.rint(probability_zyx.astype(np.float32) * np.float32(65535.0)).astype(np.uint16)


def write_map(map_zyx: np.ndarray, reference: sitk.Image, path: str | Path) -> None:
    """Write a predicted map on the grid of `reference` to `path` (.nii.gz), atomically.

    Labels (uint8) are written as they are, probabilities (float32) as `write_probability` does.
    """
    if map_zyx.dtype == np.uint8:
        write_image(image_like(map_zyx, reference), path)
    else:
        write_probability(map_zyx, reference, path)


def read_probability(path: str | Path) -> np.ndarray:
    """Read what `write_probability` wrote: float32 (z, y, x) in [0, 1]. `read_image` gives an image."""
    return np.clip(array_zyx(read_image(path)).astype(np.float32), 0.0, 1.0)


def _write_nifti(image: sitk.Image, path: str | Path, slope: float) -> None:
    header = _header(image)
    struct.pack_into("<ff", header, _SCL_SLOPE_OFFSET, slope, 0.0)
    with (
        whole_file(path) as temporary,
        open(temporary, "wb") as file,
        igzip.IGzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=0) as content,
    ):
        content.write(header)
        # slice by slice, to avoid a second copy
        for slice_yx in sitk.GetArrayViewFromImage(image):
            content.write(slice_yx.tobytes())


def _require_whole(path: Path) -> None:
    """Refuse a truncated compressed file, which ITK reads without an error.

    A gzip file ends with the length of its content (modulo 2^32), which also follows from the NIfTI header.
    """
    if path.suffix != ".gz":
        return
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        (ending,) = struct.unpack("<I", file.read(4))
        file.seek(0)
        with igzip.IGzipFile(fileobj=file, mode="rb") as content:
            header = content.read(_HEADER_BYTES)
    rank, *size = struct.unpack_from("<8h", header, _DIM_OFFSET - 2)
    (bits,), (start,) = (
        struct.unpack_from("<h", header, _BITPIX_OFFSET),
        struct.unpack_from("<f", header, _VOXELS_OFFSET),
    )
    if ending != (int(start) + math.prod(size[:rank]) * bits // 8) % 2**32:
        raise unreadable()


def _header(image: sitk.Image) -> bytearray:
    """Return the NIfTI header that ITK writes for the grid of `image`, without any of its metadata."""
    voxel = sitk.Image([1, 1, 1], image.GetPixelID())
    voxel.CopyInformation(image[:1, :1, :1])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "header.nii"
        sitk.WriteImage(voxel, str(file))
        header = bytearray(file.read_bytes()[:_HEADER_BYTES])
    struct.pack_into("<3h", header, _DIM_OFFSET, *image.GetSize())
    return header
