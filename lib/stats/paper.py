"""Tables 1 and 2 of Zhao et al. 2020: published results and those of this study."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from lib.catalog.groups import ALL
from lib.publications.zhao_2020 import FEMUR, PRINTED_TABLE1, PRINTED_TABLE2
from lib.stats.agreement_units import volumes_of
from lib.stats.grouping import subsets, without_repeats
from lib.stats.undefined import counted_reasons, reasons_of
from lib.stats.unscored import find_gaps

_NOT_PRINTED = (math.nan,) * 7  # for a group or structure that the paper does not have
TABLE1_NUMBERS = (
    *("reference_mean_mm3", "reference_sd_mm3", "mae_mm3", "rmse_mm3", "r2", "re_min_percent"),
    "re_max_percent",
)
TABLE2_COLUMNS = (
    *("authors", "method", "data", "sex", "dsc", "sensitivity", "specificity", "source", "footnote"),
    *("slice_thickness", "structure"),
)
TEST = ("test", "test-single")
OUR_PEOPLE = {
    "test": "{people} test people{missing}, predicted by the ensemble of folds",
    "cv": "{people} cross-validated people{missing}, each predicted by the fold model that was not trained on them",
}
OUR_FOOTNOTE = (
    "; mean±SD over scans (ddof 1); other people than in the rows above; specificity depends on the crop"
)


def tabulated_protocols(metrics: pd.DataFrame, unscored: pd.DataFrame) -> tuple[str, ...]:
    """Return the protocols in Tables 1 and 2: those of test people, or cross-validation if the study has none."""
    has_test = (set(metrics["protocol"]) | set(unscored["protocol"])) & set(TEST)
    return TEST if has_test else ("cv",)


def table1(
    agreement: pd.DataFrame, metrics: pd.DataFrame, unscored: pd.DataFrame, *, published: bool
) -> pd.DataFrame:
    """Return the paper's Table 1 for this study, one row for each group, network and protocol.

    The rows are of test people or, in a study without any, of cross-validated people (`tabulated_protocols`).
    Columns: reference volume (mean, population SD), MAE, RMSE, R2, smallest and largest relative error, p of
    Pearson's r, number of scans without a score and the reasons (`lib.stats.unscored`). With `published`,
    columns `paper_*` hold the paper's numbers; for a synthetic cohort such a comparison would be meaningless.
    """
    protocols, volumes = tabulated_protocols(metrics, unscored), volumes_of(agreement)
    whole = volumes[(volumes["stratum"] == ALL) & volumes["protocol"].isin(protocols)]
    used = metrics.groupby(["group", "network", "protocol"])["weights"].first()
    keys = ["group", "network", "protocol"]
    columns = [*keys, "structure", "n", *TABLE1_NUMBERS, "pearson_p_value", "not_scored", "not_scored_reason"]
    table = whole[[name for name in columns if name in whole]].copy()
    table["undefined"] = [reasons_of(text, columns) for text in whole["undefined"]]
    table.insert(4, "weights", [used[tuple(row)] for row in whole[keys].itertuples(index=False)])
    if published:
        for position, name in enumerate(TABLE1_NUMBERS):
            rows = zip(table["group"], table["structure"], strict=True)
            table[f"paper_{name}"] = [
                (PRINTED_TABLE1.get(group, _NOT_PRINTED) if structure == FEMUR else _NOT_PRINTED)[position]
                for group, structure in rows
            ]
    return table.reset_index(drop=True)


def table2(
    metrics: pd.DataFrame, unscored: pd.DataFrame, runs: Iterable[Mapping], *, published: bool
) -> pd.DataFrame:
    """Return TABLE2_COLUMNS: the rows of the paper, then this study's rows, one for each network and structure.

    A row of this study is for the test people of group `all`, predicted by the ensemble, or for its cross-validated
    people in a study without test people; without that group there is a row for each sex. `data` counts the people
    used for training, validation or test, without later and external people. The remark counts scans of these people
    without a score (`unscored`). `runs` are the records of the trained folds
    (run.json). Without `published` there is no row: agreement on simulated people cannot be compared with that on
    real people.
    """
    rows: list[Mapping] = []
    if published:
        rows = [*PRINTED_TABLE2, *_own_rows(metrics, unscored, runs)]
    return pd.DataFrame(rows, columns=list(TABLE2_COLUMNS)).fillna("")


def _own_rows(metrics: pd.DataFrame, unscored: pd.DataFrame, runs: Iterable[Mapping]) -> list[dict]:
    trained = {(run["group"], run["network"]): run for run in runs}
    protocol = tabulated_protocols(metrics, unscored)[0]
    scored = without_repeats(metrics[metrics["protocol"] == protocol])
    if "all" in set(scored["group"]):
        scored = scored[scored["group"] == "all"]
    drawn = metrics[metrics["protocol"].isin(["cv", "test"])]
    people = drawn.groupby(["group", "network"])["subject"].nunique()
    lost = find_gaps(metrics, unscored)
    lost = lost[lost["protocol"] == protocol]
    rows = []
    for key, subset in subsets(scored, "group", "network", "structure"):
        missing = lost[(lost[["group", "network", "structure"]] == list(key)).all(axis=1)]
        row = _own_row(subset, int(people[key[:2]]), trained.get(key[:2], {}), key[1])
        rows.append(row | {"structure": key[2], "footnote": _footnote(subset, missing)})
    return rows


def _own_row(scored: pd.DataFrame, people: int, run: Mapping, network: str) -> dict:
    dimensions = run.get("configured", {}).get("architecture", {}).get("dimensions")
    thickness = run.get("preprocessing", {}).get("resample", {}).get("thickness_mm")
    return {
        "authors": "This study",
        "method": f"{dimensions}D CNN ({network})" if dimensions else network,
        "data": f"{people} {run.get('modality', 'people')}",
        "sex": "&".join(sorted(set(scored["sex"]) & {"M", "F"}, reverse=True)),
        **{name: _mean_and_sd(scored[name]) for name in ("dsc", "sensitivity", "specificity")},
        "source": "this study",
        "slice_thickness": f"{thickness:g} mm" if thickness else "",
    }


def _footnote(scored: pd.DataFrame, lost: pd.DataFrame) -> str:
    """Return the remark on the study's row: number of people, number of scans without a score and reasons."""
    reasons = counted_reasons(lost["without_reason"])
    missing = (
        f" ({len(lost)} of {len(scored) + len(lost)} scans without a score: {reasons})" if len(lost) else ""
    )
    told = OUR_PEOPLE[scored["protocol"].iloc[0]] + OUR_FOOTNOTE
    return told.format(people=scored["subject"].nunique(), missing=missing)


def _mean_and_sd(scores: pd.Series) -> str:
    """Return mean±SD (ddof 1) with four decimals, as in the paper; only the mean for one scan."""
    scores = scores.dropna().astype(float)
    if scores.empty:
        return ""
    return f"{scores.mean():.4f}" + (f"±{scores.std(ddof=1):.4f}" if len(scores) > 1 else "")
