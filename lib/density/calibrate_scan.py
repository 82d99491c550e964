"""The calibration of a scan by the method that the cohort table asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import SimpleITK as sitk

from lib.calibrated import Calibration
from lib.calibration_settings import CalibrationConfig
from lib.catalog.calibration import (
    ASYNCHRONOUS,
    FLAGGED,
    MICHALSKI,
    OK,
    PHANTOM,
    REFERENCED,
    REFUSED,
    is_same_kvp,
)
from lib.certificates import Certificate
from lib.density.internal_calibration import (
    calibrate_by_references,
    calibrate_by_tables,
    tissues_if_found,
)
from lib.density.phantom_calibration import calibrate_by_phantom
from lib.errors import ConfigError

_SAME_HEIGHT_MM = 50.0


@dataclass(frozen=True, kw_only=True)
class CalibrationScan:
    """The scan of the phantom whose calibration another scan takes.

    Attributes:
        scan: its id.
        calibration: of that scan.
        acquisition: likewise, as in converted/.
        refusal: why the cohort table forbids it (`lib.cohort.calibration_scans`): `reason` and `found`, or empty.
        is_one_scanner: whether the table says that both were made with one scanner, whatever their headers say.
    """

    scan: str
    calibration: Calibration
    acquisition: Mapping
    refusal: Mapping[str, str] = field(default_factory=dict)
    is_one_scanner: bool = False


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

    Both must be of one scanner and one tube voltage, and the cohort table may forbid it. A voltage that is not
    stated, another height of the table, and another kernel (Giambini et al., J Biomech Eng 2015;137:114502) are
    flagged.

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
    if refusal := _refusal(source, acquisition):
        return Calibration(**common, verdict=REFUSED, **refusal)
    flags = [*first.flags, *_differences(acquisition, source.acquisition)]
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


def _refusal(source: CalibrationScan, acquisition: Mapping) -> Mapping[str, str]:
    """Return why a scan cannot take the calibration of another one, as `reason` and `found`; empty if it can."""
    if not source.calibration.is_usable:
        found = f"{source.scan} was refused: {source.calibration.reason}"
        return {"reason": "no_calibration_scan", "found": found}
    if source.refusal:
        return source.refusal
    models = [told.get("model") for told in (acquisition, source.acquisition)]
    if not source.is_one_scanner and all(models) and models[0].casefold() != models[1].casefold():
        return {"reason": "other_scanner", "found": f"model {models[0]}, and {source.scan} {models[1]}"}
    kvp, other = acquisition.get("kvp"), source.acquisition.get("kvp")
    if None not in (kvp, other) and not is_same_kvp(kvp, other):
        return {"reason": "other_kvp", "found": f"{kvp:g} kV, and {source.scan} {other:g} kV"}
    return {}


def _differences(acquisition: Mapping, other: Mapping) -> list[str]:
    """Return flags of what differs between two acquisitions, or is not known of them."""
    flags = ["kvp_unknown"] if None in (acquisition.get("kvp"), other.get("kvp")) else []
    heights = [told.get("table_height_mm") for told in (acquisition, other)]
    if None not in heights and abs(heights[0] - heights[1]) > _SAME_HEIGHT_MM:
        flags.append("table_height_differs")
    kernels = [told.get("kernel") for told in (acquisition, other)]
    if all(kernels) and kernels[0].casefold() != kernels[1].casefold():
        flags.append("kernel_differs")
    return flags
