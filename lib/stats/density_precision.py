"""Short-term precision of calibrated densities from repeated scans: see `lib.stats.precision` for the equations."""

from dataclasses import asdict

import pandas as pd

from lib.catalog.bone_parts import PREDICTED, REFERENCE, TABLE_REGIONS
from lib.catalog.measures import QUANTITY_COLUMNS
from lib.report_settings import AgreementConfig
from lib.stats.grouping import first_or_own, subsets_by_name
from lib.stats.precision import COUNTS, ERRORS, measure_precision
from lib.stats.undefined import explain

KEYS = ("group", "network", "protocol", "structure")
DENSITY_PRECISION_COLUMNS = (
    *(*KEYS, *QUANTITY_COLUMNS, "mask", "people", *COUNTS[:2], *ERRORS, "enough", "undefined"),
)


def density_precision_table(measurements: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return DENSITY_PRECISION_COLUMNS: a row for each quantity of a calibrated femur, in each of the two masks.

    A scan and its repetitions count if the same models predicted at least two of them; a repetition without a
    reference has the protocol of its first scan. Scales are never pooled: each is a measure of its own.
    """
    of_regions = measurements[measurements["region"].isin(TABLE_REGIONS.values())]
    scans = with_first_protocol(of_regions.assign(first_scan=first_or_own(of_regions)))
    rows = []
    for key, subset in subsets_by_name(scans, *KEYS):
        for quantity, measured in subset.groupby(QUANTITY_COLUMNS, sort=False):
            for mask in (PREDICTED, REFERENCE):
                known = measured[measured[mask].notna()]
                known = known[known.duplicated("first_scan", keep=False)]
                if len(known):
                    repeated = pd.factorize(known["first_scan"])[0]
                    precision = measure_precision(known[mask].to_numpy(float), repeated, config.confidence)
                    told = dict(zip(QUANTITY_COLUMNS, quantity, strict=True))
                    row = (
                        key | told | {"mask": mask, "people": known["subject"].nunique()} | asdict(precision)
                    )
                    rows.append(explain(row, {}, "a mean is not above 0"))
    return pd.DataFrame(rows, columns=list(DENSITY_PRECISION_COLUMNS))


def with_first_protocol(scans: pd.DataFrame) -> pd.DataFrame:
    """Return the scans; those that are only applied have the protocol of the scan that they repeat."""
    scored = scans["protocol"].where(scans["protocol"] != "apply")
    keys = [scans[name] for name in ("group", "network", "members", "structure", "first_scan")]
    return scans.assign(protocol=scored.groupby(keys).transform("first").fillna("apply"))
