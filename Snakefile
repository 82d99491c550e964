"""Osteoflow: from DICOM series and a table of people to bone masks, volumes and a report.

This file is the table of contents. Settings are in config.yaml, the steps in rules/, the methods in lib/.
"""

from pathlib import Path

from snakemake.logging import logger
from snakemake.utils import min_version

min_version("9.0")


HINT = """What failed, job by job: results/logs/RULE/ (a scan can be left out by `exclude` in the cohort table).
A report on the results so far: the same command with --config partial=true
(once more, if it fails at a job that was not tried before)"""


configfile: str(Path(workflow.basedir) / "config.yaml")


report: "report/workflow.rst"


include: "rules/study.smk"
include: "rules/start.smk"
include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/pages.smk"
include: "rules/phantom.smk"
include: "rules/cohort.smk"
include: "rules/folds.smk"
include: "rules/imaging.smk"
include: "rules/calibration.smk"
include: "rules/training.smk"
include: "rules/prediction.smk"
include: "rules/measures.smk"
include: "rules/density.smk"
include: "rules/review.smk"
include: "rules/reporting.smk"
include: "rules/comparison.smk"
include: "rules/end.smk"


localrules:
    all,
    screened,
    converted,
    cropped,
    trained,
    predicted,
    measured,
    report,
    compare,
    # seconds of work on tables: not worth a job of a cluster
    make_phantom_table,
    split_folds,
    gather_volume_errors,
    link_final_masks,
    gather_flow,
    describe_tables,
    gather_notes,
    tabulate_table1,
    tabulate_table2,
    record_run,


rule all:
    """The whole chain, up to the report, and what to go on with: the final masks and a dictionary of the tables."""
    default_target: True
    input:
        "results/report/index.html",
        "results/cohort/run.json",
        "results/masks/final",
        "results/tables/data-dictionary.csv",


rule screened:
    """A verdict for every scan."""
    input:
        "results/cohort/scans.csv",
        "results/tables/acquisition.csv",


rule converted:
    """Every accepted scan as int16 in LPS order."""
    input:
        lambda wildcards: [f"results/converted/{scan}/image.nii.gz" for scan in to_crop()],


rule cropped:
    """Every accepted scan on the study's slices, cut to its window, with a picture of that window."""
    input:
        lambda wildcards: [f"results/crops/{scan}.webp" for scan in to_crop()],
        lambda wildcards: [f"results/cropped/{scan}/image.nii.gz" for scan in to_crop()],
        lambda wildcards: [f"results/cropped/{scan}/labels.nii.gz" for scan in to_crop() if SCANS[scan].mask],


rule trained:
    """Every fold of every network and group."""
    input:
        lambda wildcards: [
            model
            for group in GROUPS
            for network in [*NETWORKS, *REGRESSIONS]
            for model in models_of(group, network)
        ],


rule predicted:
    """A mask of every predicted scan, and what a regression estimates of it."""
    input:
        lambda wildcards: [f"results/masks/{path}/labels.nii.gz" for path in predicted_paths()],
        lambda wildcards: estimate_batches() if REGRESSIONS else [],


rule measured:
    """Volumes and overlaps of every predicted scan, as tables."""
    input:
        "results/tables/metrics.csv",
        "results/tables/volumes.csv",
        "results/tables/people.csv",
        "results/tables/acquisition.csv",
        "results/tables/flow.csv",
        density_tables(),
        calibration_tables(),


rule report:
    """The page."""
    input:
        "results/report/index.html",
        "results/cohort/run.json",


rule compare:
    """Changes since another run, scan by scan: snakemake compare --config other=FOLDER."""
    input:
        "results/comparison/index.html",


onstart:
    begin_run()


onsuccess:
    tell_results()


onerror:
    logger.error(HINT)
