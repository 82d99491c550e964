"""Job script of rule gather_bmd: tabulate the density of each structure, and the structures that were found.

input: folds, scans (.csv); lists measured (.../{group}/{network}/{members}/{scan}.json) and estimates
    (folders .../{group}/{network}/{members}/batch-{b} with {scan}/estimate.json), calibrated (.../{scan}.json)
output: bmd (by network, structure and method), levels_found; params: structures (names), groups, networks (names),
    heldout_weights, seen (paths of predictions by models that were trained on their person), density (arguments of
    `lib.stats.density_plan.DensityPlan`: targets, segmentation, regressors), references (density by scan and
    structure), absent (structures that do not count, by scan)
"""

from dataclasses import asdict
from pathlib import Path

from lib.calibrated import read_calibration
from lib.cohort.leakage import mark_seen
from lib.cohort.predictions import plan_predictions
from lib.cohort.scans import read_folds, read_records
from lib.joblog import job_log
from lib.measured import read_measured
from lib.stats.density_plan import DensityPlan
from lib.stats.density_rows import DensityInputs, bmd_table, read_estimates
from lib.stats.grouping import first_scans
from lib.stats.levels_found import levels_found_table
from lib.stats.tables import flat_prediction, write_table

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    plan = plan_predictions(read_folds(given.folds), params.groups, params.networks, params.heldout_weights)
    planned = [flat_prediction(asdict(row)) for row in mark_seen(plan, params.seen)]
    scans, (levels, overlaps) = read_records(given.scans), read_measured(given.measured, "levels", "overlap")
    inputs = DensityInputs(
        levels=levels,
        overlaps=overlaps,
        estimates=read_estimates(given.estimates),
        references=params.references,
        absent=params.absent,
        vendors={record["scan"]: record["vendor"] for record in scans},
        repeats=first_scans({record["scan"]: record["repeat_of"] for record in scans}),
        calibrations={Path(path).stem: read_calibration(path) for path in given.calibrated},
    )
    bmd = bmd_table(planned, inputs, DensityPlan(**params.density))
    found = levels_found_table(planned, params.structures, (levels, overlaps), inputs.vendors)
    write_table(bmd, snakemake.output.bmd)
    write_table(found, snakemake.output.levels_found)
    logger.info("%d densities, %d structures of %d predictions", len(bmd), len(found), len(planned))
