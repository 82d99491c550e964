"""Job script of checkpoint split_folds: draw test people and folds once, and keep them from then on."""

from pathlib import Path

from lib.atomic import read_json
from lib.cohort.folds import Split, place_scans
from lib.cohort.placement import OUTCOMES
from lib.cohort.scans import read_folds, read_records, require_slice_axis, write_folds
from lib.fold_settings import FoldsConfig
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    former = [] if snakemake.params.redraw else read_folds(snakemake.output.folds)
    split = Split(
        folds=FoldsConfig(**snakemake.params.folds),
        seed=snakemake.params.seed,
        batch_scans=snakemake.params.batch_scans,
        draw=snakemake.params.draw,
        groups=snakemake.params.groups,
        structures=snakemake.params.structures,
    )
    records = read_records(snakemake.input.scans)
    require_slice_axis(records, {Path(path).stem: read_json(path) for path in snakemake.input.screened})
    placements = place_scans(records, former, split)
    write_folds(placements, snakemake.output.folds)
    logger.info("kept %d scans, placed %d new ones", len(former), len(placements) - len(former))
    for name in OUTCOMES:
        logger.info("%s: %d scans", name, sum(placement.set == name for placement in placements))
