"""Reading NIfTI, NRRD and MetaImage files of unknown origin, or refusing them with a reason.

NIfTI is read with nibabel, which follows the standard where ITK does not: ITK turns NaN into zeros, adds an intercept
even if the slope disables scaling, loses the handedness of a qform, fills truncated files with zeros, and opens
`scan.nii` instead of the `scan.nii.gz` beside it. Other formats are read with ITK.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from isal import igzip, igzip_lib

from lib.errors import ScanError
from lib.imaging.grid import GRID_TOLERANCE_VOXELS, axis_letters, image_like, to_patient_axes
from lib.imaging.nifti import open_reader, run_itk, unreadable
from lib.structures import Structures

if TYPE_CHECKING:
    import nibabel

_NIFTI_SUFFIXES = (".nii", ".nii.gz")
_NRRD_SUFFIXES = (".nrrd", ".nhdr")
_OTHER_SUFFIXES = (*_NRRD_SUFFIXES, ".mha", ".mhd")
_HEADER_BYTES = 1 << 16  # at the start of a file, within which a text header must have all needed fields
_FIELD = re.compile(r"(?P<name>[A-Za-z][\w ]*)(?::=?|=)(?P<value>.*)")
# Spaces of NRRD that refer to the patient; ITK converts all of them to LPS.
_NRRD_SPACES = (
    *("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las"),
)
# MetaImage names the side from which an axis starts.
_WHERE_FROM = str.maketrans("LRPASI", "RLAPIS")
_PERPENDICULAR = 1e-4  # products of unit vectors: 0.02 mm over 200 mm
_UNITS_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}  # of NIfTI's xyzt_units
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_LABELS = 256  # in one label map; the largest in common use has about 200 structures
_TRAILING_BYTES = 1 << 20  # data after the voxels of a NIfTI file that is not read

# NIfTI axes point to the right, front and head, ITK axes to the left, back and head.
_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def read_image_file(path: str | Path, max_gb: float = math.inf) -> tuple[sitk.Image, str]:
    """Read a 3-D image of any format and return it on patient axes, with letters of its stored axes (as RAS).

    Scaled values are float32, with NaN and infinities where the file has them.

    Raises:
        ScanError: `unreadable_file`, `too_large`, `not_a_volume`, `no_orientation` (a NIfTI without qform and sform,
            or another header without orientation) or `contradictory_orientation` (forms that differ, axes that are
            not perpendicular).
    """
    path = Path(path)
    read = _read_nifti if path.name.lower().endswith(_NIFTI_SUFFIXES) else _read_other
    stored = read(path, max_gb)
    return to_patient_axes(stored), axis_letters(stored)


def read_labels(path: str | Path, structures: Structures, max_gb: float = math.inf) -> sitk.Image:
    """Read a label map of any values as one of the study (uint8) on patient axes: 0, and 1 to n, its structures.

    Args:
        path: the file.
        structures: values of each structure in the file. Voxels of other values belong to none, as do those
            without a value (NaN).
        max_gb: largest size of the voxels.

    Raises:
        ScanError: as `read_image_file`, and `mask_not_labels` if values are not whole numbers, or so many that they
            must be intensities.
    """
    return number_structures(read_values(path, max_gb), structures)


def read_values(path: str | Path, max_gb: float = math.inf) -> sitk.Image:
    """Read a label map with the values of the file, on patient axes; 0 where it has no value (NaN).

    Raises:
        ScanError: as `read_labels`.
    """
    image, _ = read_image_file(path, max_gb)
    values_zyx = sitk.GetArrayViewFromImage(image)
    if values_zyx.dtype.kind == "f":
        values_zyx = np.nan_to_num(values_zyx, nan=0.0, posinf=0.5, neginf=0.5)
        if not np.array_equal(values_zyx, np.rint(values_zyx)):
            raise ScanError("mask_not_labels", "the mask holds values that are not whole numbers")
        image = image_like(values_zyx, image)
    _require_labels(values_zyx)
    return image


def number_structures(values: sitk.Image, structures: Structures) -> sitk.Image:
    """Return the study's label map (uint8) of a label map with the values of its file (see `read_labels`)."""
    values_zyx = sitk.GetArrayViewFromImage(values)
    labels_zyx = np.zeros(values_zyx.shape, np.uint8)
    for number, chosen in enumerate(structures.values(), start=1):
        labels_zyx[np.isin(values_zyx, chosen) if chosen else values_zyx > 0] = number
    return image_like(labels_zyx, values)


def _require_labels(values_zyx: np.ndarray) -> None:
    """Refuse a mask with so many different values that they must be intensities, for example the CT itself."""
    lowest, highest = values_zyx.min(), values_zyx.max()
    if lowest >= 0 and highest <= _MOST_LABELS:
        return
    kinds: set[float] = set()
    for values_yx in values_zyx:
        kinds.update(np.unique(values_yx).tolist())
        if len(kinds) > _MOST_LABELS:
            raise ScanError(
                "mask_not_labels",
                f"the mask holds more than {_MOST_LABELS} different values, from {lowest:g} to {highest:g}: they "
                "look like intensities",
                "Check that `mask` names the label map and not an image.",
            )


def _require_size(voxel_bytes: int, max_gb: float) -> None:
    if voxel_bytes > 1e9 * max_gb:
        raise ScanError(
            "too_large", f"{1e-9 * voxel_bytes:.3g} GB of voxels; at most {max_gb:g} GB is allowed"
        )


def _require_volume(size: Sequence[int], components: int) -> None:
    if len(size) < 3 or any(count != 1 for count in size[3:]) or min(size, default=0) < 1 or components != 1:
        shape = "x".join(str(count) for count in size)
        raise ScanError("not_a_volume", f"{shape} voxels with {components} value(s) each")


def _read_other(path: Path, max_gb: float) -> sitk.Image:
    """Return the image with its axes as stored.

    ITK raises if voxels are missing, but assumes a size and position of voxels if the header omits them.
    """
    suffix = path.suffix.lower()
    if suffix not in _OTHER_SUFFIXES:
        known = ", ".join((*_NIFTI_SUFFIXES, *_OTHER_SUFFIXES))
        raise ScanError(
            "unreadable_file",
            f"an image file must be of one of the kinds {known}",
            "Save it as one of these kinds; for a DICOM series name the folder.",
        )
    reader = open_reader(path)
    header = _header_fields(path)
    (_require_nrrd if suffix in _NRRD_SUFFIXES else _require_metaimage)(header)
    _require_volume(reader.GetSize(), reader.GetNumberOfComponents())
    voxel = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID())
    _require_size(math.prod(reader.GetSize()) * voxel.GetSizeOfPixelComponent(), max_gb)
    image = run_itk(reader.Execute)
    if image.GetDimension() > 3:
        image = image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]
    _require_perpendicular(image)
    letters = header.get("anatomicalorientation", "?").upper()
    if "?" not in letters and letters != axis_letters(image).translate(_WHERE_FROM):
        raise ScanError("contradictory_orientation", "AnatomicalOrientation and TransformMatrix differ")
    return sitk.Cast(image, sitk.sitkFloat32) if image.GetPixelID() == sitk.sitkFloat64 else image


def _header_fields(path: Path) -> dict[str, str]:
    """Return the fields of a text header, `name: value` (NRRD) or `Name = value` (MetaImage), names in lower case."""
    with open(path, "rb") as file:
        lines = file.read(_HEADER_BYTES).split(b"\n")
    fields = {}
    for line in lines:
        if found := _FIELD.match(line.decode("latin-1").strip()):
            fields.setdefault(found["name"].strip().lower(), found["value"].strip())
    return fields


def _require_nrrd(header: Mapping[str, str]) -> None:
    """Refuse an NRRD that does not state its orientation in the patient, or not in mm."""
    if header.get("space", "").lower() not in _NRRD_SPACES or "space directions" not in header:
        raise ScanError(
            "no_orientation", "the NRRD header names no space of the patient, or no space directions"
        )
    units = re.findall(r'"([^"]*)"', header.get("space units", ""))
    if any(unit.lower() not in ("mm", "millimeter", "millimeters") for unit in units):
        raise ScanError("no_orientation", "the space units of the NRRD header are not mm")


def _require_metaimage(header: Mapping[str, str]) -> None:
    """Refuse a MetaImage that does not state its orientation in the patient and its voxel size."""
    for names in (("transformmatrix", "orientation", "rotation"), ("elementspacing", "elementsize")):
        if not any(name in header for name in names):
            raise ScanError("no_orientation", f"the MetaImage header has no {names[0]}")


def _require_perpendicular(image: sitk.Image) -> None:
    axes = np.reshape(image.GetDirection(), (3, 3))
    # this form also refuses NaN
    if not np.abs(axes.T @ axes - np.eye(3)).max() <= _PERPENDICULAR:
        raise ScanError(
            "contradictory_orientation", "the axes of the file are not perpendicular unit vectors"
        )


def _read_nifti(path: Path, max_gb: float) -> sitk.Image:
    """Return the image with its axes as stored."""
    # imported here: only foreign files need it, and the import takes half the time of a conversion
    import nibabel

    nibabel.imageglobals.logger.disabled = True  # it would print repairs to the terminal
    _require_compression_of_name(path)
    try:
        nifti = nibabel.load(path)  # voxels are not read yet
        header, proxy = nifti.header, nifti.dataobj
        size, kind = header.get_data_shape(), header.get_data_dtype()
        _require_volume(size, 1 if kind.names is None and kind.kind in "iuf" else kind.itemsize)
        _require_size(math.prod(size) * kind.itemsize, max_gb)
        affine = _affine(header, size[:3])
        # by the standard, a vox_offset of 0 (or any before the end of the header) means the end of the header
        offset = max(proxy.offset, header.single_vox_offset)
        stored = _stored_values(path, offset, math.prod(size), kind)
        values_zyx = _scaled(stored.reshape(size[2::-1]), proxy.slope, proxy.inter)
    except (ScanError, MemoryError):
        raise
    except Exception:
        # on damaged headers nibabel and numpy raise any exception, whose text may quote the header
        raise unreadable() from None
    image = sitk.GetImageFromArray(values_zyx)
    spacing_mm = np.linalg.norm(affine[:, :3], axis=0)
    image.SetSpacing(spacing_mm.tolist())
    image.SetDirection((_TO_LPS @ affine[:, :3] / spacing_mm).ravel().tolist())
    image.SetOrigin((_TO_LPS @ affine[:, 3]).tolist())
    return image


def _require_compression_of_name(path: Path) -> None:
    """Refuse a file whose name and first bytes disagree on whether it is compressed."""
    try:
        if not path.is_file():  # reading a pipe would never end
            raise unreadable()
        with open(path, "rb") as file:
            start = file.read(2)
    except (OSError, ValueError):  # ValueError: an invalid path
        raise unreadable() from None
    is_gzip, named_gzip = start == _GZIP_MAGIC, path.name.lower().endswith(".gz")
    if named_gzip and start and not is_gzip:
        raise ScanError(
            "unreadable_file",
            "the file is named .nii.gz but is not compressed",
            "Rename it to .nii if it is an uncompressed NIfTI file; else save it again.",
        )
    if is_gzip and not named_gzip:
        raise ScanError(
            "unreadable_file", "the file is named .nii but is compressed", "Rename it to .nii.gz."
        )


def _stored_values(path: Path, offset: int, count: int, kind: np.dtype) -> np.ndarray:
    """Return `count` voxels as they are stored, in this machine's byte order; a gzip file's checksum is compared.

    Only a megabyte after the voxels is read, because a small gzip file may unpack to any amount.

    Raises:
        ScanError: `unreadable_file`, voxels are missing or the file is damaged.
    """
    values = np.empty(count, kind)
    room = memoryview(values).cast("B")
    with open(path, "rb") as file:
        is_gzip = file.read(2) == _GZIP_MAGIC
    try:
        with igzip.open(path, "rb") if is_gzip else open(path, "rb") as content:
            content.read(offset)
            filled = 0
            while filled < len(room) and (read := content.readinto(room[filled:])):
                filled += read
            content.read(_TRAILING_BYTES)
    except (OSError, EOFError, igzip_lib.IsalError):
        raise unreadable() from None
    if filled < len(room):
        raise ScanError(
            "unreadable_file", f"the image file is truncated: {filled} of {len(room)} bytes of voxels"
        )
    return values.astype(kind.newbyteorder("="), copy=False)


def _scaled(values_zyx: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """Return values with the header's scaling applied, as float32; unscaled floats also become float32."""
    if (slope, inter) != (1.0, 0.0):
        return np.stack([np.float32(slope) * value_yx + np.float32(inter) for value_yx in values_zyx])
    return values_zyx.astype(np.float32, copy=False) if values_zyx.dtype.kind == "f" else values_zyx


def _affine(header: "nibabel.Nifti1Header", size_xyz: Sequence[int]) -> np.ndarray:
    """Return the 3x4 matrix from indices to mm, in NIfTI's axes, if the header's statements agree.

    Raises:
        ScanError: `no_orientation` or `contradictory_orientation`.
    """
    forms = {"sform": header.get_sform(coded=True)[0], "qform": header.get_qform(coded=True)[0]}
    stated = {name: form[:3] for name, form in forms.items() if form is not None}
    if not stated:
        raise ScanError("no_orientation", "qform_code and sform_code of the NIfTI header are both 0")
    name, affine = next(iter(stated.items()))
    if not all(np.isfinite(form).all() for form in stated.values()):
        raise ScanError("contradictory_orientation", "qform or sform holds values that are not numbers")
    unit_mm = _UNITS_MM[header.get_xyzt_units()[0]]
    affine, edges_mm = unit_mm * affine, unit_mm * np.array(header.get_zooms()[:3], dtype=float)
    stated = {form: unit_mm * matrix for form, matrix in stated.items()}
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
        # this form also refuses NaN (of pixdim)
        if not apart_mm <= tolerance_mm:
            raise ScanError(
                "contradictory_orientation", f"{words}: voxels would lie up to {apart_mm:.3g} mm apart"
            )
    return upright


def _largest_distance_mm(one: np.ndarray, other: np.ndarray, size_xyz: Sequence[int]) -> float:
    """Return the largest distance between two affines' positions of a voxel, which is at a corner."""
    corners = np.array(list(itertools.product(*((0, count - 1) for count in size_xyz))))
    difference = one - other
    return float(np.linalg.norm(corners @ difference[:, :3].T + difference[:, 3], axis=1).max())
