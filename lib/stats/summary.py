"""The tables that summarize a study, by file name."""

from collections.abc import Iterable, Mapping

import pandas as pd

from lib.report_settings import AgreementConfig
from lib.stats.agreement_tables import agreement_table, fold_table
from lib.stats.coverage import coverage_table
from lib.stats.fold_variance import level_table, spread_table
from lib.stats.paired import paired_table
from lib.stats.precision import precision_table
from lib.stats.readers import readers_table
from lib.stats.scores import score_table
from lib.stats.scores_by_age import age_table
from lib.stats.subgroups import subgroup_table
from lib.stats.unscored import find_gaps, with_gaps


def summary_tables(
    tables: Mapping[str, pd.DataFrame],
    readers: Mapping[str, Mapping],
    runs: Iterable[Mapping],
    config: AgreementConfig,
) -> dict[str, pd.DataFrame]:
    """Return the tables that summarize a study.

    Args:
        tables: tables by file name: `metrics`; `unscored`, the rows missing in it; `measurements`; `volumes`, of
            which only repeated scans are used; `acquisition`, which names the scanner of each scan.
        readers: comparisons of readers by `structure_key` (see `readers_table`).
        runs: records of the trained folds (run.json).
        config: level of the intervals.

    Returns:
        scores (overlap and surface distances), agreement (of measurements with their references), folds (fold by
        fold), paired (models of one sex against the model of everybody), ages (scores by age band), levels (Dice by
        region of the femur), spread (variance of folds and of people), subgroups (one sex, site or scanner against
        the others), precision (repeated scans), readers (two readers and the model), coverage (how often intervals of
        volumes contained the reference).
    """
    metrics = tables["metrics"]
    gaps = find_gaps(metrics, tables["unscored"])
    return {
        "scores": score_table(metrics, config, gaps),
        "agreement": with_gaps(agreement_table(tables["measurements"], config), gaps, config.strata),
        "folds": fold_table(metrics, config),
        "paired": paired_table(metrics, config, runs),
        "ages": age_table(metrics, config),
        "levels": level_table(metrics, config),
        "spread": spread_table(metrics, config),
        "subgroups": subgroup_table(metrics, tables["acquisition"], config),
        "precision": precision_table(metrics, tables["volumes"], config),
        "readers": readers_table(metrics, readers, config),
        "coverage": coverage_table(metrics, config),
    }
