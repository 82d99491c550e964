"""The stages of the workflow: each rule that makes files, defined once, with the facts that other parts need.

Reruns, explanations of failures, estimates, comparisons of runs, the flow of scans and the list of job arrays in
profiles/slurm use this table. The inputs of a rule are defined in rules/; the cost of a stage is measured
(lib/commands/planning/unit_costs.csv).
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

# part -> what a scan lacks if a stage of the part has failed, as worded in tables/flow.csv. A scan that is not
# cropped goes no further, so the description of its failure is enough.
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "crop": "not cropped",
        "prediction": "not predicted",
        "second reader": "not set beside the second reader",
        "corrected mask": "not measured",
        "estimate": "not estimated",
    }
)
# names of the tables of every study
STUDY_TABLES = (
    *("people", "measurements", "volumes", "metrics", "unscored", "flow", "acquisition", "partitions"),
    *("scores", "agreement", "folds", "spread", "ages", "levels", "subgroups", "paired"),
    *("precision", "readers", "coverage"),
)
# names of the tables that compare the networks of a study
NETWORK_TABLES = ("networks", "network_pairs", "dimension_pair", "selection")
# names of the tables of densities, of a study with a regression
DENSITY_TABLES = (*("bmd", "levels_found", "bmd_people", "bmd_agreement", "vendors", "classes", "confusion"),)
CALIBRATION_TABLES = ("calibration", "calibration_rods")
# names of the tables of calibrated densities by region
REGIONAL_DENSITY_TABLES = ("geometry", "density_by_age", "density_precision")
# kinds of figures with pictures of scans, which the report shows on a dark sheet in dark mode; it inverts the others
PICTURE_FIGURES = ("examples", "solid", "network_examples")
DENSITY_FIGURES = "density_"  # kinds of their figures begin with it
# kinds of figures of densities by region, of a study that calibrates them; none of DENSITY_TABLES is drawn
CALIBRATED_FIGURES = ("density_by_age",)
# unit of work of a job -> wildcards of its files; {folder} is {group}/{network}/{members}
Work = Literal["scan", "prediction", "batch", "page batch", "fold", "network", "study"]
# the scans for which a stage has a job
Chosen = Literal[
    "listed", "accepted", "with reference", "read twice", "corrected", "calibrated", "with phantom"
]


class Stage(NamedTuple):
    """The jobs of one rule.

    Attributes:
        file: one of the files that a job makes, below results/. Fields: scan; folder, which is
            {group}/{network}/{members}, for a fold with fold-{fold} as its members; batch; group and network.
        work: unit of work of one job.
        chosen: for a stage per scan, the scans for which it has a job.
        runs: `array` for short jobs that SLURM gets in arrays, `job` for jobs submitted one by one, `local` for
            seconds of work on tables that Snakemake does itself.
        part: key of PARTS for what a scan lacks if the job fails; empty: nothing that is reported in tables.
        reaches: steps of tables/flow.csv that a scan reaches with this stage.
        unit: unit for which the costs are given.
        costs_of: the stage whose measured costs are used; empty: its own.
        few: whether it has few and long jobs, so that one benchmark of a study is enough for an estimate.
        is_recorded: whether its code determines the numbers of a run; the record of a run then holds its digest.
        is_synthetic: whether it belongs only to the synthetic cohort.
        publication: the article that a study must follow to have it (`lib.publications`); empty: all studies have it.
        is_of_networks: whether it belongs only to a study of several networks.
        is_on_demand: whether it runs only when it is requested by name.
        only_with: section, key and value of the setting without which it never runs; empty: no setting excludes it.
        is_regression: whether it belongs only to a study with a regression (`regression.targets`).
        is_calibration: whether it belongs only to a study in which a scan asks for a calibration of density.
    """

    file: str
    work: Work
    chosen: Chosen = "accepted"
    runs: Literal["array", "job", "local"] = "array"
    part: str = ""
    reaches: tuple[str, ...] = ()
    unit: str = "job"
    costs_of: str = ""
    few: bool = False
    is_recorded: bool = False
    is_synthetic: bool = False
    publication: str = ""
    is_of_networks: bool = False
    is_on_demand: bool = False
    only_with: tuple[str, ...] = ()
    is_regression: bool = False
    is_calibration: bool = False


def _gathers(file: str, **known: object) -> Stage:
    """Return the stage of a rule with one job for the study."""
    return Stage(file, "study", **{"runs": "job"} | known)


# in the order of the workflow
STAGES: dict[str, Stage] = {
    "make_phantom_table": _gathers("phantom/cohort.csv", runs="local", is_synthetic=True),
    "make_phantom_scan": Stage("phantom/{scan}/truth.json", "scan", "listed", is_synthetic=True),
    "screen_scan": Stage("screened/{scan}.json", "scan", "listed", reaches=("screened",)),
    "gather_screening": _gathers("cohort/scans.csv"),
    "gather_acquisition": _gathers("tables/acquisition.csv"),
    "split_folds": _gathers("folds/folds.csv", runs="local"),
    "convert_scan": Stage(
        "converted/{scan}/image.nii.gz", "scan", part="crop", reaches=("converted",), is_recorded=True
    ),
    "correct_bias": Stage(
        "bias_corrected/{scan}/image.nii.gz",
        "scan",
        part="crop",
        is_recorded=True,
        only_with=("bias_field", "method", "n4"),
    ),
    "resample_image": Stage("resampled/{scan}/image.nii.gz", "scan", part="crop", is_recorded=True),
    "crop_image": Stage(
        "cropped/{scan}/image.nii.gz", "scan", part="crop", reaches=("cropped",), is_recorded=True
    ),
    "calibrate_density": Stage(
        "calibrated/{scan}.json",
        "scan",
        "calibrated",
        part="prediction",
        is_recorded=True,
        is_calibration=True,
    ),
    "draw_crop": Stage("crops/{scan}.webp", "scan"),
    "resample_labels": Stage(
        "resampled/{scan}/labels.nii.gz", "scan", "with reference", part="prediction", is_recorded=True
    ),
    "crop_labels": Stage(
        "cropped/{scan}/labels.nii.gz", "scan", "with reference", part="prediction", is_recorded=True
    ),
    "train_fold": Stage(
        "models/{folder}/model.pt", "fold", runs="job", unit="scan and epoch", few=True, is_recorded=True
    ),
    "predict_scans": Stage(
        "predictions/{folder}/batch-{batch}",
        "batch",
        part="prediction",
        unit="scan and model",
        is_recorded=True,
    ),
    "resample_labels2": Stage(
        "resampled/{scan}/labels2.nii.gz",
        "scan",
        "read twice",
        part="second reader",
        costs_of="resample_labels",
    ),
    "crop_labels2": Stage(
        "cropped/{scan}/labels2.nii.gz", "scan", "read twice", part="second reader", costs_of="crop_labels"
    ),
    "measure_prediction": Stage(
        "measured/{folder}/{scan}.json",
        "prediction",
        part="prediction",
        reaches=("predicted", "scored"),
        is_recorded=True,
    ),
    "train_regression": Stage(
        "models/{folder}/model.pt",
        "fold",
        runs="job",
        unit="scan and epoch",
        few=True,
        is_recorded=True,
        is_regression=True,
    ),
    "predict_regression": Stage(
        "predictions/{folder}/batch-{batch}",
        "batch",
        part="estimate",
        unit="scan and model",
        is_recorded=True,
        is_regression=True,
    ),
    "measure_corrected": Stage(
        "corrected/{scan}.json", "scan", "corrected", part="corrected mask", costs_of="measure_prediction"
    ),
    "gather_volume_errors": Stage(
        "models/{group}/{network}/volume_errors.json", "network", runs="local", costs_of="gather_metrics"
    ),
    "gather_metrics": _gathers("tables/metrics.csv"),
    "gather_volumes": _gathers("tables/volumes.csv"),
    "gather_people": _gathers("tables/people.csv", costs_of="gather_volumes"),
    "link_final_masks": _gathers("masks/final", runs="local", costs_of="gather_flow"),
    "gather_bmd": _gathers("tables/bmd.csv", costs_of="gather_metrics", is_regression=True),
    "draw_rods": Stage(
        "calibrated/{scan}.webp", "scan", "with phantom", costs_of="draw_crop", is_calibration=True
    ),
    "gather_calibration": _gathers("tables/calibration.csv", costs_of="gather_metrics", is_calibration=True),
    "gather_flow": _gathers("tables/flow.csv", runs="local"),
    "summarize_agreement": _gathers("tables/agreement.csv"),
    "summarize_bmd": _gathers("tables/bmd_agreement.csv", costs_of="summarize_agreement", is_regression=True),
    "compare_networks": _gathers("tables/networks.csv", costs_of="summarize_agreement", is_of_networks=True),
    "tabulate_table1": _gathers("tables/table1.csv", runs="local", publication="zhao-2020"),
    "tabulate_table2": _gathers("tables/table2.csv", runs="local", publication="zhao-2020"),
    "describe_tables": _gathers("tables/data-dictionary.csv", runs="local", costs_of="gather_flow"),
    "draw_figures": _gathers("figures"),
    "write_scan_pages": Stage("report/scans/batch-{batch}", "page batch", unit="scan"),
    "gather_notes": _gathers("cohort/notes.json", runs="local"),
    "write_report": _gathers("report/index.html"),
    "record_run": _gathers("cohort/run.json", runs="local"),
    "compare_runs": _gathers("comparison/index.html", is_on_demand=True),
}


def unused_stages(config: Mapping[str, Mapping], *, calibrates: bool) -> frozenset[str]:
    """Return the rules that never run in a study (see `Stage.only_with`, `is_regression`, `is_calibration`).

    Args:
        config: its settings.
        calibrates: whether a scan asks for a calibration of density.
    """
    needs = {rule: stage.only_with for rule, stage in STAGES.items() if stage.only_with}
    unused = {rule for rule, (section, key, value) in needs.items() if config[section][key] != value}
    if not config["regression"]["targets"]:
        unused |= {rule for rule, stage in STAGES.items() if stage.is_regression}
    if not calibrates:
        unused |= {rule for rule, stage in STAGES.items() if stage.is_calibration}
    return frozenset(unused)


def stages_of(part: str, unused: Collection[str] = ()) -> list[str]:
    """Return the rules whose failure leaves a scan without a part of PARTS, in the order of the workflow.

    Those that are `unused` in a study are left out: a log of theirs is from a time with other settings.
    """
    if part not in PARTS:
        raise ValueError(f"{part!r} is no part of a scan's results; parts are {', '.join(PARTS)}")
    return [rule for rule, stage in STAGES.items() if stage.part == part and rule not in unused]


def rerun_stages() -> list[str]:
    """Return the rules that can be run again for one scan; trained models are never made again."""
    return [
        rule for rule, stage in STAGES.items() if stage.work in ("scan", "prediction", "batch", "page batch")
    ]


def flow_steps() -> tuple[str, ...]:
    """Return the steps of a scan through the study, as tables/flow.csv names them."""
    return ("listed", *(step for stage in STAGES.values() for step in stage.reaches))


def rules_that_run(where: str) -> list[str]:
    """Return the rules whose jobs run as `array`, `job` or `local` (see `Stage.runs`)."""
    return [rule for rule, stage in STAGES.items() if stage.runs == where]


def recorded_rules() -> list[str]:
    """Return the rules whose code a run records, for comparisons with other runs."""
    return [rule for rule, stage in STAGES.items() if stage.is_recorded]
