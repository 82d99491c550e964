"""T-scores from areal densities of a CT, by the user's own line to DXA."""

from collections.abc import Mapping
from dataclasses import dataclass

from lib.catalog.bone_parts import ROIS
from lib.density_settings import DxaLine

# White women of 20 to 29 years in NHANES III, mean and SD in g/cm2 (Hologic; Looker et al. 1998, as several public
# analysis scripts cite the article). The ISCD's positions of 2023 ask for them in both sexes and all ethnic groups.
NHANES_III: Mapping[str, tuple[float, float]] = {"neck": (0.858, 0.120), "total": (0.942, 0.122)}

NO_REFERENCE = "T-scores are defined for femoral neck and total hip only"


@dataclass(frozen=True, kw_only=True)
class TScore:
    """A T-score, and the areal density on the scale of DXA behind it.

    Attributes:
        abmd_dxa_g_cm2: the line's value, g/cm2; None with `undefined`.
        t_score: None with `undefined`.
        undefined: why they are None; empty if they are not.
    """

    abmd_dxa_g_cm2: float | None = None
    t_score: float | None = None
    undefined: str = ""


def t_scores(areal: Mapping[str, Mapping], scale: str, line: DxaLine | None) -> dict[str, TScore]:
    """Return the T-score of each region of interest; empty without a line, because a T-score needs one.

    T = (aBMD on the scale of DXA - mean) / SD of NHANES_III, for both sexes. A line holds for densities of its scale
    only.

    Args:
        areal: region of interest -> `abmd_g_cm2` and `undefined`, as `lib.density.areal.project` returns them.
        scale: of these densities.
        line: `density.areal.t_score`.
    """
    if line is None:
        return {}
    return {roi: _t_score(roi, areal[roi], scale, line) for roi in ROIS if roi in areal}


def _t_score(roi: str, measured: Mapping, scale: str, line: DxaLine) -> TScore:
    value = measured["abmd_g_cm2"]
    if value is None:
        return TScore(undefined=measured["undefined"]["abmd_g_cm2"])
    if roi not in NHANES_III:
        return TScore(undefined=NO_REFERENCE)
    if scale != line.scale:
        return TScore(
            undefined=f"the line to DXA holds for {line.scale}, and the scan is calibrated in {scale}"
        )
    mean, sd = NHANES_III[roi]
    dxa = line.slope * value + line.intercept
    return TScore(abmd_dxa_g_cm2=dxa, t_score=(dxa - mean) / sd)
