"""The calibration of a scan by the method that the cohort table asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import SimpleITK as sitk

from lib.calibrated import Calibration
from lib.calibration_settings import CalibrationConfig
from lib.catalog.calibration import ASYNCHRONOUS, FLAGGED, MICHALSKI, OK, PHANTOM, REFERENCED, REFUSED
from lib.certificates import Certificate
from lib.density.internal_calibration import (
    calibrate_by_references,
    calibrate_by_tables,
    tissues_if_found,
)
from lib.density.phantom_calibration import calibrate_by_phantom
from lib.errors import ConfigError

_SAME_KVP = 1.0
_SAME_HEIGHT_MM = 50.0


@dataclass(frozen=True, kw_only=True)
class CalibrationScan:
    """The scan of the phantom whose calibration another scan takes: id, calibration and acquisition (converted/)."""

    scan: str
    calibration: Calibration
    acquisition: Mapping


@dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """What the calibration of a scan needs.

    Attributes:
        method: one of `lib.catalog.calibration.METHODS`.
        acquisition: of the scan (`acquisition` of converted/{scan}/image.json).
        certificate: of the phantom in the scan.
        source: the scan with the phantom, for `asynchronous`.
        references: calibrations of the cohort's scans with a phantom, for `referenced`.
        with_tissues: also measure the tissues of a scan with a phantom, for the `referenced` ones.
    """

    method: str
    acquisition: Mapping
    certificate: Certificate | None = None
    source: CalibrationScan | None = None
    references: Sequence[Calibration] = ()
    with_tissues: bool = False


def calibrate_scan(
    image: sitk.Image | None, request: CalibrationRequest, config: CalibrationConfig
) -> Calibration:
    """Return the calibration of a scan.

    Args:
        image: HU on patient axes; not needed for `asynchronous`.
        request: method, and what it needs.
        config: limits.

    Raises:
        ConfigError: the method is unknown.
    """
    kvp = request.acquisition.get("kvp")
    if request.method == PHANTOM:
        found = calibrate_by_phantom(image, request.certificate, config)
        found = replace(found, tissues=tissues_if_found(image)) if request.with_tissues else found
    elif request.method == ASYNCHRONOUS:
        found = calibrate_by_other_scan(request.source, request.acquisition)
    elif request.method == MICHALSKI:
        found = calibrate_by_tables(image)
    elif request.method == REFERENCED:
        found = calibrate_by_references(image, kvp, request.references)
    else:
        raise ConfigError(f"calibration by {request.method} is not known")
    return replace(found, kvp=kvp)


def calibrate_by_other_scan(source: CalibrationScan, acquisition: Mapping) -> Calibration:
    """Return the calibration of a scan by that of another one, which shows the phantom.

    Both must be of one tube voltage. A voltage that is not stated, and another height of the table, are flagged.

    Args:
        source: the other scan.
        acquisition: of the scan.
    """
    first = source.calibration
    common = {
        "method": ASYNCHRONOUS,
        "phantom": first.phantom,
        "scale": first.scale,
        "calibration_scan": source.scan,
    }
    if not first.is_usable:
        found = f"{source.scan} was refused: {first.reason}"
        return Calibration(**common, verdict=REFUSED, reason="no_calibration_scan", found=found)
    kvp, other_kvp = acquisition.get("kvp"), source.acquisition.get("kvp")
    if None not in (kvp, other_kvp) and abs(kvp - other_kvp) > _SAME_KVP:
        found = f"{kvp:g} kV, and {source.scan} {other_kvp:g} kV"
        return Calibration(**common, verdict=REFUSED, reason="other_kvp", found=found)
    flags = [*first.flags, *(["kvp_unknown"] if None in (kvp, other_kvp) else [])]
    heights = [told.get("table_height_mm") for told in (acquisition, source.acquisition)]
    if None not in heights and abs(heights[0] - heights[1]) > _SAME_HEIGHT_MM:
        flags.append("table_height_differs")
    found = f"the line of {source.scan} ({first.found})"
    return replace(
        first,
        **common,
        found=found,
        rods=(),
        tissues=None,
        flags=tuple(flags),
        verdict=FLAGGED if flags else OK,
    )
