"""Calibration by a person's own tissues, without a phantom in the scan."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import SimpleITK as sitk

from lib.calibrated import Calibration
from lib.catalog.calibration import (
    FLAGGED,
    MICHALSKI,
    PHANTOM,
    REFERENCED,
    REFUSED,
    is_physical,
    is_same_kvp,
)
from lib.catalog.scales import MICHALSKI_SCALE, REFERENCED_SCALES
from lib.density.michalski import fit_tissues
from lib.density.tissues import SOFT_TISSUES, MissingTissue, clipped_share_of_air, measure_tissues

FEWEST_REFERENCES = 10
# share of the air at the lowest HU: in bodies with noise of 8 to 40 HU, slopes were off by 0.2 to 3 % beyond it
_CLIPPED_AIR = 0.2


def calibrate_by_tables(image: sitk.Image) -> Calibration:
    """Calibrate a CT by its tissues and tables of attenuation (Michalski et al. 2020), without blood.

    Args:
        image: HU on patient axes.

    Returns:
        The calibration, with its curve, or a refusal.
    """
    common = {"method": MICHALSKI, "scale": MICHALSKI_SCALE}
    try:
        tissues = measure_tissues(image)
    except MissingTissue as missing:
        return Calibration(**common, verdict=REFUSED, reason="no_tissues", found=str(missing))
    curve = asdict(fit_tissues(tissues))
    found = f"{tissues_in_words(tissues)}; {curve['kev']:g} keV"
    common |= _flagged(image)
    return Calibration(**common, found=found, r2=curve["r2"], curve=curve, tissues=tissues)


def calibrate_by_references(
    image: sitk.Image, kvp: float | None, references: Iterable[Calibration]
) -> Calibration:
    """Calibrate a CT by its air, fat and muscle, which a line brings to those of scans with a phantom.

    The line HU' = p HU + q of least squares brings the tissues to their medians in the references of the same tube
    voltage. The mean line of the references then holds for HU': slope = mean slope / p, intercept =
    (mean intercept - q) / p. Densities are on a scale of their own (REFERENCED_SCALES).

    Args:
        image: HU on patient axes.
        kvp: tube voltage; None: not stated.
        references: calibrations of the cohort by phantoms, with tissues; one for each acquisition.

    Returns:
        The calibration, or a refusal.
    """
    alike = _alike(references, kvp)
    if len(alike) < FEWEST_REFERENCES:
        voltage = f"of {kvp:g} kV" if kvp else "(this scan does not state its voltage)"
        found = f"{len(alike)} scans with a phantom and tissues {voltage}; {FEWEST_REFERENCES} are needed"
        return Calibration(method=REFERENCED, verdict=REFUSED, reason="too_few_references", found=found)
    common = {"method": REFERENCED, "scale": REFERENCED_SCALES[alike[0].scale]}
    try:
        tissues = measure_tissues(image, SOFT_TISSUES)
    except MissingTissue as missing:
        return Calibration(**common, verdict=REFUSED, reason="no_tissues", found=str(missing))
    usual = {name: statistics.median(found.tissues[name] for found in alike) for name in SOFT_TISSUES}
    gain, offset = np.polyfit([tissues[name] for name in SOFT_TISSUES], list(usual.values()), 1)
    slope = statistics.fmean(found.slope_hu_per_mg_cm3 for found in alike) / gain
    intercept_hu = (statistics.fmean(found.intercept_hu for found in alike) - offset) / gain
    found = f"{tissues_in_words(tissues)}; {len(alike)} scans with a phantom: {tissues_in_words(usual)}"
    if not is_physical(slope, intercept_hu):
        why = f"{found}; slope {slope:.3f}, intercept {intercept_hu:.1f} HU"
        return Calibration(**common, verdict=REFUSED, reason="not_physical", found=why, tissues=tissues)
    line = {"slope_hu_per_mg_cm3": float(slope), "intercept_hu": float(intercept_hu)}
    return Calibration(**common, **_flagged(image), found=found, tissues=tissues, **line)


def tissues_if_found(image: sitk.Image) -> dict[str, float] | None:
    """Return the HU of air, fat and muscle of a scan with a phantom; None if one is missing."""
    try:
        return measure_tissues(image, SOFT_TISSUES)
    except MissingTissue:
        return None


def tissues_in_words(tissues: Mapping[str, float]) -> str:
    """Return tissues with their HU in words."""
    return ", ".join(f"{name} {hu:.0f} HU" for name, hu in tissues.items())


def _flagged(image: sitk.Image) -> dict[str, str | tuple[str, ...]]:
    """Return verdict and flags of a calibration by the tissues of an image."""
    if clipped_share_of_air(image) <= _CLIPPED_AIR:
        return {}
    return {"verdict": FLAGGED, "flags": ("air_clipped",)}


def _alike(references: Iterable[Calibration], kvp: float | None) -> Sequence[Calibration]:
    """Return the references of one tube voltage and of the scale that most of them have."""
    usable = [
        found
        for found in references
        if found.method == PHANTOM and found.is_usable and found.tissues and is_same_kvp(kvp, found.kvp)
    ]
    scales = Counter(found.scale for found in usable).most_common(1)
    return [found for found in usable if found.scale == scales[0][0]]
