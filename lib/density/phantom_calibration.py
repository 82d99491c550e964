"""Calibration of a scan by the phantom in it."""

import numpy as np
import SimpleITK as sitk

from lib.calibrated import Calibration
from lib.calibration_settings import CalibrationConfig
from lib.catalog.calibration import FLAGGED, OK, PHANTOM, REFUSED, is_physical
from lib.certificates import Certificate
from lib.density.rod_line import RodLine, fit_rods
from lib.density.rod_places import NoPhantom, RodPlaces, find_rods
from lib.density.rod_values import CLIPPED, CUT, UNEVEN, RodSlices, change_along_z, measure_slices
from lib.density.rod_view import PARTS, WHOLE, view_along_rods
from lib.imaging.grid import spacing_zyx

# refusals after which parts of the scan are looked at: the phantom may be short
_PERHAPS_SHORT = ("no_rods", "too_few_rods")
# clipped shares of a rod's voxels: it is left out, or flagged. With white noise of 20 HU a tenth of clipped voxels
# moves the mean by 1 HU, and 0.5 % of them by 0.03 HU
_CLIPPED_SHARE, _FLAGGED_SHARE = 0.1, 0.005


def calibrate_by_phantom(
    image: sitk.Image, certificate: Certificate, config: CalibrationConfig
) -> Calibration:
    """Calibrate a CT by the rods of the phantom that lies in it.

    Args:
        image: HU on patient axes, as converted.
        certificate: of the phantom.
        config: limits.

    Returns:
        The calibration with a line for each rod, or a refusal with its reason. Bad scans raise no error.
    """
    common = {"method": PHANTOM, "phantom": certificate.name, "scale": certificate.scale}
    if (listed := len(certificate.rods)) < config.min_rods:
        found = f"the certificate lists {listed} rods; needed are {config.min_rods}"
        return Calibration(**common, verdict=REFUSED, reason="certificate_too_short", found=found)
    refusals = []
    for part in (WHOLE, *PARTS):
        try:
            view = view_along_rods(image, certificate.rod_radius_mm, part)
            return _calibrated(
                image, certificate, config, (find_rods(view, certificate, config), view.slices)
            )
        except NoPhantom as refusal:
            refusals.append(refusal)
            if refusal.code not in _PERHAPS_SHORT:
                break
    told = next((refusal for refusal in refusals if refusal.code not in _PERHAPS_SHORT), refusals[0])
    return Calibration(**common, verdict=REFUSED, reason=told.code, found=told.found)


def _calibrated(
    image: sitk.Image,
    certificate: Certificate,
    config: CalibrationConfig,
    seen: tuple[RodPlaces, tuple[int, int]],
) -> Calibration:
    """Return the calibration by rods that were found, measured from a first to a last slice."""
    places, within = seen
    slices = measure_slices(
        image, places.places_mm_yx, config.roi_radius_share * certificate.rod_radius_mm, within
    )
    left_out = {int(rod): CUT for rod in np.flatnonzero(places.cut)}
    left_out |= {int(rod): UNEVEN for rod in np.flatnonzero(places.uneven)}
    left_out |= slices.disturbed(~places.cut & ~places.uneven)
    clipped = np.array([slices.clipped_share(rod) for rod in range(len(certificate.rods))])
    left_out |= {int(rod): CLIPPED for rod in np.flatnonzero(clipped > _CLIPPED_SHARE) if rod not in left_out}
    used = [rod for rod in range(len(certificate.rods)) if rod not in left_out]
    if len(used) < config.min_rods or len({certificate.rods[rod].density_mg_cm3 for rod in used}) < 2:
        raise NoPhantom("too_few_rods", _describe(certificate, left_out, places))
    line = fit_rods([slices.hu(rod) for rod in used], [certificate.rods[rod] for rod in used])
    worst = float(np.abs(line.residuals_hu).max()) / line.slope
    change = change_along_z(slices, certificate.rods, used)
    residuals_hu = dict(zip(used, line.residuals_hu, strict=True))
    flags = ["rods_left_out"] if left_out else []
    flags += ["drifts_along_z"] if change is not None and abs(change) > config.max_drift_z_mg_cm3 else []
    is_clipped = CLIPPED in left_out.values() or (clipped[used] > _FLAGGED_SHARE).any()
    flags += ["hu_clipped"] if is_clipped else []
    found = _describe(certificate, left_out, places)
    told = {
        "method": PHANTOM,
        "phantom": certificate.name,
        "scale": certificate.scale,
        "reversed": places.is_reversed,
        "slices_used": int(slices.kept[used].sum(axis=1).min()),
        "rods": _rods(image, certificate, places, (slices, left_out, residuals_hu)),
        "r2": line.r2,
        "residual_max_mg_cm3": worst,
        "z_slope_mg_cm3": change,
    }
    if refusal := _refusal(line, worst, config):
        code, why = refusal
        return Calibration(**told, verdict=REFUSED, reason=code, found=f"{found}; {why}", flags=tuple(flags))
    return Calibration(
        **told,
        verdict=FLAGGED if flags else OK,
        found=found,
        slope_hu_per_mg_cm3=line.slope,
        intercept_hu=line.intercept_hu,
        slope_se=line.slope_se,
        intercept_se=line.intercept_se,
        density_se_at_100_mg_cm3=line.density_se_at_100,
        flags=tuple(flags),
    )


def _refusal(line: RodLine, worst_mg_cm3: float, config: CalibrationConfig) -> tuple[str, str] | None:
    """Return why a line cannot be used, as code and words; None if it can."""
    if not is_physical(line.slope, line.intercept_hu):
        return "not_physical", f"slope {line.slope:.3f} HU per mg/cm3, intercept {line.intercept_hu:.1f} HU"
    if worst_mg_cm3 > config.max_residual_mg_cm3:
        return "large_residuals", f"a rod lies {worst_mg_cm3:.1f} mg/cm3 from the line"
    return None


def _describe(certificate: Certificate, left_out: dict[int, str], places: RodPlaces) -> str:
    """Return in words which rods were found, and in which order."""
    count = len(certificate.rods)
    order = "from left to right (reversed)" if places.is_reversed else "from right to left"
    words = f"{count - len(left_out)} of {count} rods, {order}"
    return "; ".join([words, *(f"rod {rod + 1} {why}" for rod, why in sorted(left_out.items()))])


def _rods(
    image: sitk.Image,
    certificate: Certificate,
    places: RodPlaces,
    measured: tuple[RodSlices, dict[int, str], dict[int, float]],
) -> tuple[dict, ...]:
    """Return a record for each rod of the certificate; places are LPS mm on the middle slice."""
    slices, left_out, residuals_hu = measured
    records = []
    for number, rod in enumerate(certificate.rods):
        in_view = not places.cut[number] and slices.kept[number].any()
        x_mm, y_mm = _in_patient(image, places.places_mm_yx[number])
        records.append(
            {
                "rod": number + 1,
                "density_mg_cm3": rod.density_mg_cm3,
                "water_mg_cm3": rod.water_mg_cm3,
                "x_mm": x_mm,
                "y_mm": y_mm,
                "hu_mean": slices.hu(number) if in_view else None,
                "hu_sd": slices.sd(number) if in_view else None,
                "voxels": int(slices.kept[number].sum() * slices.disc_voxels[number]) if in_view else 0,
                "residual_hu": float(residuals_hu[number]) if number in residuals_hu else None,
                "used": number not in left_out,
                "why_not": left_out.get(number, ""),
            }
        )
    return tuple(records)


def _in_patient(image: sitk.Image, place_mm_yx: np.ndarray) -> tuple[float, float]:
    """Return the position (x, y) in LPS mm of a place on the middle slice."""
    _, *pixel_mm_yx = spacing_zyx(image)
    row, column = np.asarray(place_mm_yx) / pixel_mm_yx
    middle = 0.5 * (image.GetSize()[2] - 1)
    x_mm, y_mm, _ = image.TransformContinuousIndexToPhysicalPoint((float(column), float(row), middle))
    return x_mm, y_mm
