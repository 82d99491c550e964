"""Screening of a scan: decides once, from headers, all pixels and the reference mask, whether it can be processed.

Everything that depends on the content of an image is decided here: an accepted scan passes conversion, resampling and
cropping, and a refused one has a reason and advice. The limits that were applied are part of the verdict; conversion
reads them from there.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from lib.anatomy.femur.location import HEAD_EVIDENCE, OTHER_HEAD_EVIDENCE, HipLocation, locate_hip
from lib.anatomy.femur.window import crop_center
from lib.anatomy.methods import METHODS
from lib.catalog.reasons import Reason, is_rejected
from lib.crop_settings import HIP, CropConfig
from lib.density.rods import density_phantom_in_view
from lib.errors import ConfigError, ScanError
from lib.imaging.crop import find_window, kept_slices, middle_of, window_start
from lib.imaging.grid import SIDES, column_index, column_mm, require_laid_on, volumes_mm3
from lib.imaging.intensity_range import find_range
from lib.imaging.model_frame import frame_of
from lib.intensity_scale import IntensityConfig
from lib.reading.acquisition import Acquisition
from lib.reading.dicom import Scan, survey_scan
from lib.reading.geometry import Geometry
from lib.reading.image_files import number_structures, read_values
from lib.reading.sandbox import guarded
from lib.reading.verdicts import reason_of
from lib.screening_settings import ScreeningConfig
from lib.structures import Structures, describe_structures

# The lesser trochanter is about 15 mm high: at larger slice distances it appears on three slices at most.
COARSE_SLICES_MM = 5.0

# Voxel edges that a scanner can produce, mm.
_VOXEL_MM = (0.05, 20.0)

# Voxels within this distance of the hip's centre in the slice are near it: half the paper's window (192 pixels of
# 0.78 mm); the other hip is about 200 mm away.
NEAR_MM = 75.0

# A mask with more than this fraction away from the hip is not of this hip alone; for a mask of both femurs it is
# half. A whole femur, down to the knee of a straight leg, stays within NEAR_MM of its upper part.
_MAX_FAR_SHARE = 0.25

# Least bone near the centre of a hip, mm3; the automatic search has the same limit for a femur.
_MIN_BONE_MM3 = 3000.0

_AIR_HU = np.int16(-1000)

DEFAULT_INTENSITY = IntensityConfig()
_LISTED = 10  # most values of a mask that are listed

# Advice for a mask that cannot be read, by error code.
_MASK_ADVICE = {
    "not_a_volume": "Export the segmentation as one label map, with the CT as reference volume: segments that "
    "overlap are stored as several volumes.",
    "no_orientation": "Save the mask with the header of the scan (niftiwrite: with its niftiinfo; nibabel: with its "
    "affine); without it left and right are unknown.",
    "contradictory_orientation": "Save the mask with the header of the scan, so that qform, sform and pixdim agree.",
    "too_large": "Check that the file is a label map; if it is, raise screening.max_gb (and the memory of the job).",
    "unreadable_file": "Save the mask again as NIfTI, NRRD or MetaImage.",
}


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """The cohort table's request for a scan.

    `structures` are those of the study, with their values in the mask. `window_pixel_mm` is the pixel size in which
    the crop's window is counted, if the scan will be resampled in the slice; None: the scan's own pixels.
    `slice_axis` is that of the configuration.
    """

    side: str = "left"
    series_uid: str = ""
    mask: Path | None = None
    structures: Structures = field(default_factory=lambda: {"femur": ()})
    anatomy: str = "proximal-femur"
    crop_center_mm_xy: tuple[float, float] | None = None
    window_pixel_mm: float | None = None
    slice_axis: str = "z"

    def __post_init__(self) -> None:
        if self.side and self.side not in SIDES:
            raise ConfigError(f"side must be one of {', '.join(SIDES)}; got {self.side!r}")


@dataclass(frozen=True, kw_only=True)
class Screening:
    """The verdict on a scan with its reasons, and its properties. Contains no identifying data."""

    reasons: tuple[Reason, ...]
    limits: ScreeningConfig
    geometry: Geometry | None = None
    acquisition: Acquisition | None = None
    hip: HipLocation | None = None
    density_phantom_in_view: bool | None = None
    structures: tuple[str, ...] = ()  # those in the reference mask
    voxels: str | None = None  # digest of the intensities: scans with the same digest are the same image

    @property
    def verdict(self) -> str:
        """`ok` (there may be warnings) or `rejected`."""
        return "rejected" if is_rejected(self.reasons) else "ok"

    def to_json(self) -> dict:
        """Return the screening as a JSON object without NaN."""
        return {
            "verdict": self.verdict,
            "reasons": [reason.to_json() for reason in self.reasons],
            "geometry": self.geometry.to_json() if self.geometry else None,
            "acquisition": self.acquisition.to_json() if self.acquisition else None,
            "hip": _hip_json(self.hip) if self.hip else None,
            "density_phantom_in_view": self.density_phantom_in_view,
            "structures": list(self.structures),
            "voxels": self.voxels,
            "limits": asdict(self.limits),
        }


def screen_scan(
    path: str | Path,
    request: ScanRequest,
    config: ScreeningConfig,
    crop: CropConfig,
    intensity: IntensityConfig = DEFAULT_INTENSITY,
) -> Screening:
    """Read the scan at `path` completely and judge it.

    Args:
        path: Folder, zip archive or file, as `lib.reading.dicom.survey_scan` reads it.
        request: Side, series, mask and crop centre that the cohort table names.
        config: Limits.
        crop: Settings of the search for the hip and of the window.
        intensity: The network's scale; percentiles are tried on the scan.

    Returns:
        The verdict. Bad data gives reasons and never raises an exception.
    """
    survey = survey_scan(path, request.series_uid, config)
    reasons = list(survey.findings)
    if survey.scan is None:
        return Screening(reasons=tuple(reasons), limits=config, acquisition=survey.acquisition)
    image, geometry = survey.scan.image, survey.scan.geometry
    reasons += _check_extent(geometry, config)
    hip, in_view = None, None
    # no search for a hip if this is of another modality or not a volume
    if not is_rejected(reasons):
        hip, more = _place(image, request, crop)
        reasons += more
        reasons += _check_contrast(image, intensity)
        in_view = bool(density_phantom_in_view(image)) if config.modality == "CT" else None
    if hip:
        reasons += _check_metal(image, _near(hip, image, _window_mm(request, image, crop)), config)
    named: tuple[str, ...] = ()
    if request.mask is not None:
        labels, more = _read_mask(request, image, config)
        reasons += more
        if labels is not None:
            named = tuple(name for name, mm3 in volumes_mm3(labels, request.structures).items() if mm3)
            reasons += _check_structures(named, request)
            reasons += _check_mask(labels, survey.scan, hip, request, crop, config)
    return Screening(
        reasons=tuple(reasons),
        limits=config,
        geometry=geometry,
        acquisition=survey.acquisition,
        hip=hip,
        density_phantom_in_view=in_view,
        structures=named,
        voxels=digest_voxels(image, config.modality),
    )


def digest_voxels(image: sitk.Image, modality: str = "CT") -> str:
    """Return 32 hex digits that identify an image by its size and intensities, whatever its position and file format.

    Values of a CT below air count as air: they fill the area outside the image, and programs choose them differently.

    Args:
        image: int16 on patient axes, as scans are read.
        modality: CT or MR.
    """
    digest = hashlib.blake2b(str(image.GetSize()).encode(), digest_size=16)
    for values_yx in sitk.GetArrayViewFromImage(image):
        known_yx = np.maximum(values_yx, _AIR_HU) if modality == "CT" else values_yx
        digest.update(known_yx.astype("<i2", copy=False))
    return digest.hexdigest()


def screen_scan_guarded(
    path: str | Path,
    request: ScanRequest,
    config: ScreeningConfig,
    crop: CropConfig,
    intensity: IntensityConfig = DEFAULT_INTENSITY,
) -> Mapping[str, Any]:
    """Return `screen_scan` as a JSON object; a crash, a timeout or too much memory becomes a reason."""
    try:
        return guarded(
            lambda: screen_scan(path, request, config, crop, intensity).to_json(),
            max_minutes=config.max_minutes,
            max_gb=config.max_gb,
        )
    except ScanError as error:
        return Screening(reasons=(reason_of(error),), limits=config).to_json()


def _check_extent(geometry: Geometry, config: ScreeningConfig) -> list[Reason]:
    reasons = []
    if geometry.length_mm < config.min_length_mm:
        found = f"{geometry.length_mm:.1f} mm from feet to head; {config.min_length_mm:.1f} mm are needed"
        reasons.append(Reason("too_short", found))
    edges = "x".join(f"{edge_mm:.4g}" for edge_mm in geometry.spacing_mm_xyz)
    smallest_mm, largest_mm = min(geometry.spacing_mm_xyz), max(geometry.spacing_mm_xyz)
    if smallest_mm < _VOXEL_MM[0] or largest_mm > _VOXEL_MM[1]:
        reasons.append(Reason("implausible_spacing", f"voxels of {edges} mm"))
    elif largest_mm > COARSE_SLICES_MM:
        reasons.append(Reason("coarse_slices", f"voxels of {edges} mm"))
    return reasons


def _check_contrast(image: sitk.Image, intensity: IntensityConfig) -> list[Reason]:
    """Return why the intensity range of a scan cannot be found, if it cannot."""
    try:
        find_range(image, intensity)
    except ScanError as error:
        return [reason_of(error)]
    return []


def _place(
    image: sitk.Image, request: ScanRequest, crop: CropConfig
) -> tuple[HipLocation | None, list[Reason]]:
    """Return the hip around which the window lies, for a crop of this method, and findings on the centre."""
    if crop.method == HIP:
        return _find_hip(image, request, crop)
    return None, _given_hip(image, request)[1] if request.crop_center_mm_xy else []


def _find_hip(
    image: sitk.Image, request: ScanRequest, crop: CropConfig
) -> tuple[HipLocation | None, list[Reason]]:
    """Return the position of the requested hip from the table, else from the image."""
    if request.crop_center_mm_xy is not None:
        hip, reasons = _given_hip(image, request)
        if hip:
            reasons += _check_given(hip, image, crop)
        return hip, reasons
    try:
        hip = locate_hip(image, request.side, crop)
    except ScanError as error:
        return None, [reason_of(error)]
    if not hip.uncertain:
        return hip, []
    return hip, [Reason("crop_uncertain", f"{request.side} hip found, but {'; '.join(hip.doubts)}")]


def _given_hip(image: sitk.Image, request: ScanRequest) -> tuple[HipLocation | None, list[Reason]]:
    center_mm_xy = request.crop_center_mm_xy
    inside = zip(column_index(image, center_mm_xy), image.GetSize(), strict=False)
    if not all(0 <= index <= count - 1 for index, count in inside):
        corners_mm = np.array([column_mm(image, ij) for ij in _corner_columns(image)])
        low_mm, high_mm = corners_mm.min(axis=0), corners_mm.max(axis=0)
        found = (
            f"({center_mm_xy[0]:.1f}, {center_mm_xy[1]:.1f}) mm; the scan lies from ({low_mm[0]:.1f}, "
            f"{low_mm[1]:.1f}) to ({high_mm[0]:.1f}, {high_mm[1]:.1f}) mm"
        )
        return None, [Reason("crop_center_outside", found)]
    return HipLocation(side=request.side, center_mm_xy=tuple(center_mm_xy), evidence={"given": 1.0}), []


def _check_given(hip: HipLocation, image: sitk.Image, crop: CropConfig) -> list[Reason]:
    """Compare the table's centre with the hip found in the image, if one is found."""
    try:
        found = locate_hip(image, hip.side, crop)
    except ScanError:
        return []
    apart_mm = math.dist(hip.center_mm_xy, found.center_mm_xy)
    if apart_mm <= NEAR_MM:
        return []
    x_mm, y_mm = found.center_mm_xy
    place = f"the {hip.side} hip found at ({x_mm:.0f}, {y_mm:.0f}) mm"
    words = f"the given centre lies {apart_mm:.0f} mm from {place}"
    to_head_mm, to_other_mm = (
        math.dist(hip.center_mm_xy, [found.evidence.get(name, math.inf) for name in names[:2]])
        for names in (HEAD_EVIDENCE, OTHER_HEAD_EVIDENCE)
    )
    if not found.uncertain and to_other_mm < to_head_mm:
        return [Reason("crop_center_elsewhere", f"{words}, nearer to the other hip")]
    bone_mm3 = _volume_above(image, _window(hip, image, [2 * NEAR_MM] * 2), crop.bone_hu)
    if not found.uncertain and bone_mm3 < _MIN_BONE_MM3:
        return [Reason("crop_center_elsewhere", f"{words}, with {1e-3 * bone_mm3:.1f} ml of bone around it")]
    return [Reason("crop_uncertain", words)]


def _corner_columns(image: sitk.Image) -> list[tuple[int, int]]:
    columns, rows, _ = image.GetSize()
    return [(0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)]


@dataclass(frozen=True)
class _Window:
    """Index ranges of the in-plane window around the hip, clipped to the image; all slices belong to it."""

    x: slice
    y: slice


def _window_mm(request: ScanRequest, image: sitk.Image, crop: CropConfig) -> list[float]:
    """Return the size (x, y) in mm of the window that cropping will cut out."""
    edges_mm = [request.window_pixel_mm] * 2 if request.window_pixel_mm else image.GetSpacing()
    return [count * edge_mm for count, edge_mm in zip(crop.size, edges_mm, strict=False)]


def _window(hip: HipLocation, image: sitk.Image, size_mm_xy: Sequence[float]) -> _Window:
    """Return the window of this size around the hip."""
    size_xy = [round(size / step) for size, step in zip(size_mm_xy, image.GetSpacing(), strict=False)]
    starts = window_start(image, hip.center_mm_xy, size_xy)
    ranges = (slice(max(first, 0), max(first + n, 0)) for first, n in zip(starts, size_xy, strict=True))
    return _Window(*ranges)


def _near(hip: HipLocation, image: sitk.Image, size_mm_xy: Sequence[float]) -> _Window:
    """Return the window limited to NEAR_MM: a wider one would reach the other hip."""
    return _window(hip, image, [min(size, 2 * NEAR_MM) for size in size_mm_xy])


def _check_metal(image: sitk.Image, window: _Window, config: ScreeningConfig) -> list[Reason]:
    metal_mm3 = _volume_above(image, window, config.metal_hu)
    if metal_mm3 <= config.max_metal_mm3:
        return []
    found = (
        f"{metal_mm3:.0f} mm3 above {config.metal_hu:.0f} HU near the hip; "
        f"at most {config.max_metal_mm3:.0f} mm3 is allowed"
    )
    return [Reason("metal", found)]


def _volume_above(image: sitk.Image, window: _Window, hu: float) -> float:
    """Return the volume brighter than `hu` in a window, mm3."""
    near_zyx = sitk.GetArrayViewFromImage(image)[:, window.y, window.x]
    return np.count_nonzero(near_zyx > hu) * math.prod(image.GetSpacing())


def _read_mask(
    request: ScanRequest, image: sitk.Image, config: ScreeningConfig
) -> tuple[sitk.Image | None, list[Reason]]:
    """Return the study's label map of the mask, on the scan's grid, or None and why it cannot be used."""
    try:
        values = read_values(request.mask, config.max_gb)
        labels = number_structures(values, request.structures)
        labels = require_laid_on(labels, image, "the mask", "the scan")
    except ScanError as error:
        if error.code in ("mask_off_grid", "mask_not_labels"):
            return None, [reason_of(error)]
        return None, [Reason("mask_unreadable", str(error), error.action or _MASK_ADVICE.get(error.code, ""))]
    if not sitk.GetArrayViewFromImage(labels).any():
        return None, [_empty_mask(values, request.structures)]
    return labels, []


def _empty_mask(values: sitk.Image, structures: Structures) -> Reason:
    """Return the refusal of a mask without a voxel of any structure, with the values that it has."""
    held = [value for value in np.unique(sitk.GetArrayViewFromImage(values)).tolist() if value > 0]
    listed = ", ".join(f"{value:g}" for value in held[:_LISTED]) + ", ..." * (len(held) > _LISTED)
    holds = f"the values {listed}" if held else "only 0"
    action = "Correct `mask`, or the values in `structures`." if len(structures) > 1 else ""
    found = f"no voxel of {describe_structures(structures)}; the mask holds {holds}"
    return Reason(
        "mask_empty", found, action if held else "Correct `mask`, or leave it empty: nothing is drawn."
    )


def _check_structures(named: Sequence[str], request: ScanRequest) -> list[Reason]:
    """Report structures that the mask lacks."""
    missing = {name: values for name, values in request.structures.items() if name not in named}
    return [Reason("structure_missing", f"no voxel of {describe_structures(missing)}")] if missing else []


def _check_mask(
    mask: sitk.Image,
    scan: Scan,
    hip: HipLocation | None,
    request: ScanRequest,
    crop: CropConfig,
    config: ScreeningConfig,
) -> list[Reason]:
    """Check that the mask can be a reference of the anatomy, and lies in the window."""
    if crop.method == HIP and hip is None:
        return []
    hu = scan.image if config.modality == "CT" else None
    axis = scan.geometry.acquired_axis
    reasons = METHODS[request.anatomy].judge_reference(mask, hu, request.structures, axis)
    if hip:
        return _check_at_hip(mask, reasons, scan.image, hip, request, crop)
    return reasons + _cut_by_crop(_share_outside(mask, scan, request, crop))


def _check_at_hip(
    mask: sitk.Image,
    reasons: list[Reason],
    image: sitk.Image,
    hip: HipLocation,
    request: ScanRequest,
    crop: CropConfig,
) -> list[Reason]:
    """Return the reasons against a mask, with those against its position."""
    mask_zyx = sitk.GetArrayViewFromImage(mask)
    center = crop_center(request.side, _hip_json(hip), request.crop_center_mm_xy)
    kept_zyx = mask_zyx[: kept_slices(image, center, crop)]
    size_mm_xy = _window_mm(request, image, crop)
    voxels = np.count_nonzero(mask_zyx)
    elsewhere = _check_place(request, voxels, kept_zyx, _near(hip, image, size_mm_xy))
    if elsewhere:
        # other findings would only follow from the wrong position
        return [reason for reason in reasons if reason.code == "mask_implausible"] + elsewhere
    return reasons + _cut_by_crop(1.0 - _voxels_in(kept_zyx, _window(hip, image, size_mm_xy)) / voxels)


def _cut_by_crop(share: float) -> list[Reason]:
    return [Reason("mask_cut_by_crop", f"{share:.1%} of the mask lies outside the crop")] if share else []


def _share_outside(mask: sitk.Image, scan: Scan, request: ScanRequest, crop: CropConfig) -> float:
    """Return the share of a mask outside a window around the middle of the image, or around the table's centre."""
    frame = frame_of("", request.slice_axis, scan.geometry.acquired_axis)
    own_mm = scan.image.GetSpacing()
    edges_mm = (*[request.window_pixel_mm or edge for edge in own_mm[:2]], own_mm[2])
    across = [axis for axis in range(3) if "xyz"[axis] != frame.slice_axis]
    size = [round(n * edges_mm[axis] / own_mm[axis]) for n, axis in zip(crop.size, across, strict=True)]
    center = middle_of(scan.image, "", request.crop_center_mm_xy)
    start_xyz, size_xyz = find_window(scan.image, center, replace(crop, size=size), frame)
    x, y, z = (slice(max(first, 0), max(first + n, 0)) for first, n in zip(start_xyz, size_xyz, strict=True))
    mask_zyx = sitk.GetArrayViewFromImage(mask)
    return 1.0 - np.count_nonzero(mask_zyx[z, y, x]) / np.count_nonzero(mask_zyx)


def _check_place(request: ScanRequest, voxels: int, kept_zyx: np.ndarray, near: _Window) -> list[Reason]:
    """Return `mask_elsewhere` if too much of a mask lies above the slices that are kept, or away from the hip."""
    above_share = 1.0 - np.count_nonzero(kept_zyx) / voxels
    if above_share > _MAX_FAR_SHARE:
        return [
            Reason(
                "mask_elsewhere",
                f"{above_share:.1%} of the mask lies above the slices that the crop keeps",
                "Lay the mask over the scan in a viewer. Correct `mask_label` if it shows another bone; if it is "
                "upside down, save it again from the program that drew it.",
            )
        ]
    far_share = 1.0 - _voxels_in(kept_zyx, near) / voxels
    if far_share > _MAX_FAR_SHARE:
        return [
            Reason("mask_elsewhere", f"{far_share:.1%} of the mask lies away from the {request.side} hip")
        ]
    return []


def _voxels_in(mask_zyx: np.ndarray, window: _Window) -> int:
    return np.count_nonzero(mask_zyx[:, window.y, window.x])


def _hip_json(hip: HipLocation) -> dict:
    return {
        "side": hip.side,
        "center_mm_xy": [_rounded(position) for position in hip.center_mm_xy],
        "uncertain": hip.uncertain,
        "doubts": list(hip.doubts),
        "evidence": {name: _rounded(value) for name, value in sorted(hip.evidence.items())},
    }


def _rounded(value: float) -> float | None:
    """Return `value` rounded, or None if it is not a number (JSON has no NaN)."""
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None
