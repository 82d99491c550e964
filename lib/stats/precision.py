"""Repeatability: short-term precision from repeated scans of the same bone.

Source: Glüer et al., Osteoporos Int 1995;5:262. With n_j scans of bone j, SD_j (ddof 1) and mean m_j:

    RMS-SD   sqrt(sum((n_j - 1) SD_j^2) / sum(n_j - 1)); for equal n_j, the root mean square of SD_j
    RMS-CV   the same for SD_j / m_j, in percent
    df       sum(n_j - 1), the degrees of freedom; the interval of the RMS-SD follows from chi-square with df
    LSC      2.77 RMS-SD, the least significant change: a smaller change between two scans may be due to chance
             (95 %); its interval is that of the RMS-SD times 2.77. The International Society for Clinical
             Densitometry asks for 30 degrees of freedom (ISCD Official Positions, Adult, 2019): `enough` tells
             whether this number is reached.
"""

import math
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd
from scipy import stats

from lib.catalog.measures import ENOUGH_FREEDOM, MEASURES, columns_of, followed
from lib.report_settings import AgreementConfig
from lib.stats.grouping import first_or_own, subsets_by_name
from lib.stats.undefined import NAN, Interval, explain

# 1.96 sqrt(2), rounded as by the International Society for Clinical Densitometry
LSC_FACTOR = 2.77
PRECISION_MEASURES = followed(
    ("predicted_mm3", "predicted_cut_mm3"),
    (name for name, measure in MEASURES.items() if measure.is_repeated),
)


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Precision error of repeated measurements, in their unit and in percent of the mean."""

    scans: int
    degrees_of_freedom: int
    mean: float
    rms_sd: float
    rms_sd_ci_low: float
    rms_sd_ci_high: float
    rms_cv_percent: float
    rms_cv_percent_ci_low: float
    rms_cv_percent_ci_high: float
    lsc: float
    lsc_percent: float
    lsc_ci_low: float
    lsc_ci_high: float
    lsc_percent_ci_low: float
    lsc_percent_ci_high: float
    enough: bool


COUNTS = ("scans", "degrees_of_freedom", "enough")
ERRORS = tuple(field.name for field in fields(Precision) if field.name not in COUNTS)
PRECISION_COLUMNS = (
    *(
        "group",
        "network",
        "protocol",
        "structure",
        "measure",
        "people",
        *COUNTS[:2],
        *ERRORS,
        "enough",
        "undefined",
    ),
)


def measure_precision(values: np.ndarray, repeated: np.ndarray, confidence: float) -> Precision:
    """Return the precision of values (n,); `repeated` (n,) numbers the measured bones from 0 without a gap.

    Bones measured only once are left out. All results are NaN if no bone was measured twice; the CV is NaN if a mean
    is not positive. `mean` is the mean of the means m_j.
    """
    counts = np.bincount(repeated)
    twice = counts > 1
    freedom = int(np.sum(counts[twice] - 1))
    if not freedom:
        return Precision(**dict.fromkeys(COUNTS, 0), **dict.fromkeys(ERRORS, NAN))
    means = np.bincount(repeated, values) / counts
    squares = np.bincount(repeated, (values - means[repeated]) ** 2)[twice]
    means = means[twice]
    rms_sd = math.sqrt(squares.sum() / freedom)
    rms_cv = 100 * math.sqrt(np.sum(squares / means**2) / freedom) if np.all(means > 0) else NAN
    low, high = _chi_square_factors(freedom, confidence)
    return Precision(
        scans=int(counts[twice].sum()),
        degrees_of_freedom=freedom,
        mean=float(means.mean()),
        rms_sd=rms_sd,
        rms_sd_ci_low=low * rms_sd,
        rms_sd_ci_high=high * rms_sd,
        rms_cv_percent=rms_cv,
        rms_cv_percent_ci_low=low * rms_cv,
        rms_cv_percent_ci_high=high * rms_cv,
        lsc=LSC_FACTOR * rms_sd,
        lsc_percent=LSC_FACTOR * rms_cv,
        lsc_ci_low=LSC_FACTOR * low * rms_sd,
        lsc_ci_high=LSC_FACTOR * high * rms_sd,
        lsc_percent_ci_low=LSC_FACTOR * low * rms_cv,
        lsc_percent_ci_high=LSC_FACTOR * high * rms_cv,
        enough=freedom >= ENOUGH_FREEDOM,
    )


def precision_table(metrics: pd.DataFrame, volumes: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return PRECISION_COLUMNS: the precision of each of PRECISION_MEASURES.

    A row is for a group, network, protocol and structure.

    A scan and its repetitions count if the same models predicted at least two of them; a repetition without a
    reference has the protocol of its first scan. `people` and `scans` count those with a repetition.
    """
    rows, scans = [], _repeated_scans(metrics, volumes)
    for key, subset in subsets_by_name(scans, "group", "network", "protocol", "structure"):
        for measure in PRECISION_MEASURES:
            measured = subset[subset[measure].notna()]
            measured = measured[measured.duplicated("first_scan", keep=False)]
            if len(measured):
                repeated = pd.factorize(measured["first_scan"])[0]
                precision = measure_precision(measured[measure].to_numpy(float), repeated, config.confidence)
                row = key | {"measure": measure, "people": measured["subject"].nunique()} | asdict(precision)
                rows.append(explain(row, {}, "a mean is not above 0"))
    return pd.DataFrame(rows, columns=list(PRECISION_COLUMNS))


def _repeated_scans(metrics: pd.DataFrame, volumes: pd.DataFrame) -> pd.DataFrame:
    """Return all predicted scans with PRECISION_MEASURES and `first_scan`; repetitions share one protocol."""
    models = ["group", "network", "members", "structure"]
    only_scored = [name for name in PRECISION_MEASURES if name not in columns_of("volumes")]
    references = metrics[[*models, "scan", *only_scored]]
    scans = volumes.merge(references, how="left", on=[*models, "scan"])
    scans = scans.assign(first_scan=first_or_own(scans))
    scored = scans["protocol"].where(scans["protocol"] != "apply")
    shared = scored.groupby([scans[name] for name in (*models, "first_scan")]).transform("first")
    return scans.assign(protocol=shared.fillna("apply"))


def _chi_square_factors(freedom: int, confidence: float) -> Interval:
    """Return the factors by which an SD with these degrees of freedom is multiplied for the ends of its interval."""
    tail = (1 - confidence) / 2
    low, high = (math.sqrt(freedom / stats.chi2.ppf(share, freedom)) for share in (1 - tail, tail))
    return low, high
