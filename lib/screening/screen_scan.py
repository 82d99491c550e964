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

from lib.anatomy.locate import Located, WindowRequest, locate_anatomy, locator_of, window_center
from lib.anatomy.methods import METHODS
from lib.anatomy.protocol import Location
from lib.catalog.anatomies import ANATOMIES
from lib.catalog.reasons import Reason, is_rejected
from lib.catalog.vendors import vendor_of
from lib.crop_settings import CropConfig
from lib.density.rods import density_phantom_in_view
from lib.errors import ConfigError, ScanError
from lib.imaging.crop import find_window, ranges_around
from lib.imaging.grid import SIDES, require_laid_on, volumes_mm3
from lib.imaging.intensity_range import find_range
from lib.imaging.model_frame import frame_of
from lib.intensity_scale import IntensityConfig
from lib.reading.acquisition import Acquisition, MrAcquisition
from lib.reading.dicom import Scan, survey_scan
from lib.reading.geometry import Geometry
from lib.reading.image_files import number_structures, read_values
from lib.reading.sandbox import guarded
from lib.reading.verdicts import reason_of
from lib.screening_settings import ScreeningConfig
from lib.structures import Structures, describe_structures

# A landmark such as the lesser trochanter is about 15 mm high: at larger slice distances it appears on three slices
# at most.
COARSE_SLICES_MM = 5.0

# Voxel edges that a scanner can produce, mm.
_VOXEL_MM = (0.05, 20.0)

# A mask with more than this fraction away from the located bone is not of this bone alone; for a mask of both sides
# it is half.
_MAX_FAR_SHARE = 0.25

_AIR_HU = np.int16(-1000)

DEFAULT_INTENSITY = IntensityConfig()
_LISTED = 10  # most values of a mask that are listed

# Advice for a mask that cannot be read, by error code.
_MASK_ADVICE = {
    "not_a_volume": "Export the segmentation as one label map, with the scan as reference volume: segments that "
    "overlap are stored as several volumes.",
    "no_orientation": "Save the mask with the header of the scan (niftiwrite: with its niftiinfo; nibabel: with its "
    "affine); without it left and right are unknown.",
    "contradictory_orientation": "Save the mask with the header of the scan, so that qform, sform and pixdim agree.",
    "too_large": "Check that the file is a label map; if it is, raise screening.max_gb (and the memory of the job).",
    "unreadable_file": "Save the mask again as NIfTI, NRRD or MetaImage.",
}


# what a scan of a phantom without a person is rejected for
_WITHOUT_PERSON = frozenset(["not_in_view", "too_short"])


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """The cohort table's request for a scan.

    `structures` are those of the study, with their values in the mask. `window_pixel_mm` is the pixel size in which
    the crop's window is counted, if the scan will be resampled in the slice; None: the scan's own pixels.
    `slice_axis` is that of the configuration. `serves_calibration`: the table names it as the `calibration_scan` of
    another one, so it may show a phantom alone.
    """

    side: str = "left"
    series_uid: str = ""
    mask: Path | None = None
    structures: Structures = field(default_factory=lambda: {"femur": ()})
    anatomy: str = "proximal-femur"
    crop_center_mm_xy: tuple[float, float] | None = None
    window_pixel_mm: float | None = None
    slice_axis: str = "z"
    serves_calibration: bool = False

    def __post_init__(self) -> None:
        if self.side and self.side not in SIDES:
            raise ConfigError(f"side must be one of {', '.join(SIDES)}; got {self.side!r}")

    @property
    def window(self) -> WindowRequest:
        """The window that is asked for."""
        return WindowRequest(anatomy=self.anatomy, side=self.side, center_mm_xy=self.crop_center_mm_xy)


@dataclass(frozen=True, kw_only=True)
class Screening:
    """The verdict on a scan with its reasons, and its properties. Contains no identifying data.

    `vendor` is one of `lib.catalog.vendors.VENDORS`, `contrast` yes or no; empty, and None for `kvp`: the header does
    not state it.
    """

    reasons: tuple[Reason, ...]
    anatomy: str  # in whose words the reasons are written
    limits: ScreeningConfig
    geometry: Geometry | None = None
    acquisition: Acquisition | MrAcquisition | None = None
    vendor: str = ""
    contrast: str = ""
    kvp: float | None = None
    location: Location | None = None  # of the anatomy, if the crop's method searches for it
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
            "reasons": [reason.to_json(self.anatomy, self.limits.modality) for reason in self.reasons],
            "geometry": self.geometry.to_json() if self.geometry else None,
            "acquisition": self.acquisition.to_json() if self.acquisition else None,
            "vendor": self.vendor,
            "contrast": self.contrast,
            "kvp": self.kvp,
            "location": self.location.to_json() if self.location else None,
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
        crop: Settings of the window and of the search for it.
        intensity: The network's scale; percentiles are tried on the scan.

    Returns:
        The verdict. Bad data gives reasons and never raises an exception.
    """
    survey = survey_scan(path, request.series_uid, config)
    made_with = _acquired_with(survey.acquisition)
    reasons = list(survey.findings)
    if survey.scan is None:
        return Screening(reasons=tuple(reasons), anatomy=request.anatomy, limits=config, **made_with)
    image, geometry = survey.scan.image, survey.scan.geometry
    reasons += _check_extent(geometry, config)
    located, in_view = Located(), None
    # no search if this is of another modality or not a volume
    if not is_rejected(reasons):
        located = _locate(image, request, crop)
        reasons += located.reasons
        reasons += _check_contrast(image, intensity)
        in_view = bool(density_phantom_in_view(image)) if config.modality == "CT" else None
    if request.serves_calibration:
        reasons = _of_phantom_alone(reasons)
    location = located.location
    if location and config.modality == "CT":
        reasons += _check_metal(survey.scan, location, request, crop, config)
    named: tuple[str, ...] = ()
    if request.mask is not None:
        labels, more = _read_mask(request, image, config)
        reasons += more
        if labels is not None:
            named = tuple(name for name, mm3 in volumes_mm3(labels, request.structures).items() if mm3)
            reasons += _check_structures(named, request)
            reasons += _check_mask(labels, survey.scan, location, request, crop, config)
    return Screening(
        reasons=tuple(reasons),
        anatomy=request.anatomy,
        limits=config,
        geometry=geometry,
        **made_with,
        location=location,
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
        refused = Screening(reasons=(reason_of(error),), anatomy=request.anatomy, limits=config)
        return refused.to_json()


def _acquired_with(acquisition: Acquisition | MrAcquisition | None) -> dict[str, Any]:
    """Return the fields of a screening that tell how a scan was acquired."""
    stated = acquisition or Acquisition()
    return {
        "acquisition": acquisition,
        "vendor": vendor_of(stated.manufacturer),
        "contrast": "" if stated.contrast == "unknown" else stated.contrast,
        "kvp": getattr(stated, "kvp", None),
    }


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


def _of_phantom_alone(reasons: list[Reason]) -> list[Reason]:
    """Return the reasons of a scan that serves the calibration of others; of a phantom alone they are one."""
    rejected = [reason for reason in reasons if is_rejected([reason])]
    if not rejected or any(reason.code not in _WITHOUT_PERSON for reason in rejected):
        return reasons
    found = "; ".join(reason.found for reason in rejected)
    return [Reason("calibration_only", found), *(reason for reason in reasons if reason not in rejected)]


def _check_contrast(image: sitk.Image, intensity: IntensityConfig) -> list[Reason]:
    """Return why the intensity range of a scan cannot be found, if it cannot."""
    try:
        find_range(image, intensity)
    except ScanError as error:
        return [reason_of(error)]
    return []


def _locate(image: sitk.Image, request: ScanRequest, crop: CropConfig) -> Located:
    """Return where the anatomy lies for the window, or why it is not found."""
    try:
        return locate_anatomy(image, request.window, crop)
    except ScanError as error:
        return Located(reasons=(reason_of(error),))


def _window(
    scan: Scan, location: Location | None, request: ScanRequest, crop: CropConfig
) -> tuple[slice, slice, slice]:
    """Return the index ranges (x, y, z) in the scan of the window that cropping will cut out."""
    frame = frame_of("", request.slice_axis, scan.geometry.acquired_axis)
    own_mm = scan.image.GetSpacing()
    edges_mm = (*[request.window_pixel_mm or edge for edge in own_mm[:2]], own_mm[2])
    across = [axis for axis in range(3) if "xyz"[axis] != frame.slice_axis]
    size = [round(n * edges_mm[axis] / own_mm[axis]) for n, axis in zip(crop.size, across, strict=True)]
    center = window_center(scan.image, request.window, crop, location)
    start_xyz, size_xyz = find_window(scan.image, center, replace(crop, size=size), frame)
    x, y, z = (slice(max(first, 0), max(first + n, 0)) for first, n in zip(start_xyz, size_xyz, strict=True))
    return x, y, z


def _near(scan: Scan, location: Location, request: ScanRequest, crop: CropConfig) -> tuple[slice, slice]:
    """Return the index ranges (x, y) of the window without what is not near the bone: a wide one reaches others."""
    near_mm = locator_of(request.anatomy, crop).near_mm
    near = ranges_around(scan.image, location.center_mm_xy, [2 * near_mm] * 2)
    x, y = (
        slice(max(one.start, other.start), min(one.stop, other.stop))
        for one, other in zip(_window(scan, location, request, crop), near, strict=False)
    )
    return x, y


def _check_metal(
    scan: Scan, location: Location, request: ScanRequest, crop: CropConfig, config: ScreeningConfig
) -> list[Reason]:
    x, y = _near(scan, location, request, crop)
    near_zyx = sitk.GetArrayViewFromImage(scan.image)[:, y, x]
    metal_mm3 = np.count_nonzero(near_zyx > config.metal_hu) * math.prod(scan.image.GetSpacing())
    if metal_mm3 <= config.max_metal_mm3:
        return []
    found = (
        f"{metal_mm3 / 1000:.3g} cm³ above {config.metal_hu:.0f} HU near the {ANATOMIES[request.anatomy].part}; "
        f"at most {config.max_metal_mm3 / 1000:g} cm³ is allowed"
    )
    return [Reason("metal", found)]


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
    location: Location | None,
    request: ScanRequest,
    crop: CropConfig,
    config: ScreeningConfig,
) -> list[Reason]:
    """Check that the mask can be a reference of the anatomy, and lies in the window."""
    if location is None and locator_of(request.anatomy, crop):
        return []
    hu = scan.image if config.modality == "CT" else None
    axis = scan.geometry.acquired_axis
    reasons = METHODS[request.anatomy].judge_reference(mask, hu, request.structures, axis)
    mask_zyx = _without_helpers(sitk.GetArrayViewFromImage(mask), request)
    x, y, z = _window(scan, location, request, crop)
    if location:
        near_xyz = (*_near(scan, location, request, crop), z)
        elsewhere = _check_place(mask_zyx, near_xyz, request)
        if elsewhere:
            # other findings would only follow from the wrong position
            return [reason for reason in reasons if reason.code == "mask_implausible"] + elsewhere
    share = _share_outside(mask_zyx[z, y, x], mask_zyx)
    return reasons + (
        [Reason("mask_cut_by_crop", f"{share:.1%} of the mask lies outside the crop")] if share else []
    )


def _without_helpers(labels_zyx: np.ndarray, request: ScanRequest) -> np.ndarray:
    """Return a label map without the structures that a window may cut, unless it has no others."""
    helpers = ANATOMIES[request.anatomy].helpers
    numbers = [number for number, name in enumerate(request.structures, start=1) if name in helpers]
    others_zyx = np.where(np.isin(labels_zyx, numbers), 0, labels_zyx) if numbers else labels_zyx
    return others_zyx if others_zyx.any() else labels_zyx


def _check_place(
    mask_zyx: np.ndarray, near_xyz: tuple[slice, slice, slice], request: ScanRequest
) -> list[Reason]:
    """Return `mask_elsewhere` if too much of a mask lies above the slices that are kept, or away from the bone."""
    x, y, z = near_xyz
    above_share = _share_outside(mask_zyx[: z.stop], mask_zyx)
    if above_share > _MAX_FAR_SHARE:
        return [
            Reason(
                "mask_elsewhere",
                f"{above_share:.1%} of the mask lies above the slices that the crop keeps",
                "Lay the mask over the scan in a viewer. Correct `mask_label` if it shows another bone; if it is "
                "upside down, save it again from the program that drew it.",
            )
        ]
    far_share = _share_outside(mask_zyx[z, y, x], mask_zyx)
    if far_share > _MAX_FAR_SHARE:
        return [
            Reason("mask_elsewhere", f"{far_share:.1%} of the mask lies away from the {request.window.part}")
        ]
    return []


def _share_outside(part_zyx: np.ndarray, mask_zyx: np.ndarray) -> float:
    """Return the share of a mask's voxels that are not in a part of it."""
    return 1.0 - np.count_nonzero(part_zyx) / np.count_nonzero(mask_zyx)
