"""The stages of the workflow: each rule that makes files, defined once, with the facts that other parts need.

Reruns, explanations of failures, estimates, comparisons of runs, the flow of scans and the list of job arrays in
profiles/slurm read this table. The inputs of a rule are defined in rules/; the cost of a stage is measured
(lib/commands/planning/unit_costs.csv).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

# what a scan lacks when a stage of a part has failed, in the words of tables/flow.csv; a scan that is not cropped
# comes no further, so that its failure says everything
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "crop": "not cropped",
        "mask": "not predicted",
        "volume": "not predicted",
        "score": "not scored",
        "second reader": "not set beside the second reader",
        "corrected mask": "not measured",
    }
)
# what a job works on, as wildcards of its files; {folder} is {group}/{network}/{members}
Work = Literal["scan", "prediction", "batch", "page batch", "fold", "network", "study"]
# the scans, or the predictions, that a stage has a job for
Chosen = Literal["listed", "accepted", "with reference", "predicted", "scored", "read twice", "corrected"]


class Stage(NamedTuple):
    """The jobs of one rule.

    Attributes:
        file: one of the files that a job makes, below results/. Fields: scan; folder, which is
            {group}/{network}/{members}, for a fold with fold-{fold} as its members; batch; group and network.
        work: what one job works on.
        chosen: of a stage per scan or prediction, those that it has a job for.
        runs: `array` of a short job that SLURM gets in arrays, `job` of one that is sent alone, `local` of seconds of
            work on tables that Snakemake does itself.
        part: of PARTS, what a scan lacks if the job fails; empty: nothing that tables tell.
        reaches: the step of tables/flow.csv that a scan has reached when this stage is done; empty: none.
        unit: what the costs of a unit of its work hold for.
        costs_of: the stage whose measured costs stand for it; empty: its own.
        few: it has few and long jobs; one benchmark in a study is enough to go by.
        is_recorded: its code decides the numbers of a run: the record of a run holds its digest.
        is_synthetic: it belongs to the synthetic cohort alone.
        is_on_demand: it runs only when it is asked for by name.
    """

    file: str
    work: Work
    chosen: Chosen = "accepted"
    runs: Literal["array", "job", "local"] = "array"
    part: str = ""
    reaches: str = ""
    unit: str = "job"
    costs_of: str = ""
    few: bool = False
    is_recorded: bool = False
    is_synthetic: bool = False
    is_on_demand: bool = False


def _gathers(file: str, **known: object) -> Stage:
    """Return the stage of a rule with one job for the study."""
    return Stage(file, "study", **{"runs": "job"} | known)


# in the order of the chain
STAGES: dict[str, Stage] = {
    "make_phantom_table": _gathers("phantom/cohort.csv", runs="local", is_synthetic=True),
    "make_phantom_scan": Stage("phantom/{scan}/truth.json", "scan", "listed", is_synthetic=True),
    "screen_scan": Stage("screened/{scan}.json", "scan", "listed", reaches="screened"),
    "gather_screening": _gathers("cohort/scans.csv"),
    "gather_acquisition": _gathers("tables/acquisition.csv"),
    "split_folds": _gathers("folds/folds.csv", runs="local"),
    "convert_scan": Stage(
        "converted/{scan}/image.nii.gz", "scan", part="crop", reaches="converted", is_recorded=True
    ),
    "resample_image": Stage("resampled/{scan}/image.nii.gz", "scan", part="crop", is_recorded=True),
    "crop_image": Stage(
        "cropped/{scan}/image.nii.gz", "scan", part="crop", reaches="cropped", is_recorded=True
    ),
    "draw_crop": Stage("crops/{scan}.webp", "scan"),
    "resample_labels": Stage(
        "resampled/{scan}/mask.nii.gz", "scan", "with reference", part="volume", is_recorded=True
    ),
    "crop_labels": Stage(
        "cropped/{scan}/mask.nii.gz", "scan", "with reference", part="volume", is_recorded=True
    ),
    "train_fold": Stage(
        "models/{folder}/model.pt", "fold", runs="job", unit="scan and epoch", few=True, is_recorded=True
    ),
    "predict_scans": Stage(
        "predictions/{folder}/batch-{batch}",
        "batch",
        runs="job",
        part="mask",
        unit="scan and model",
        is_recorded=True,
    ),
    "otsu_mask": Stage(
        "masks/{folder}/{scan}/mask.nii.gz", "prediction", "predicted", part="mask", is_recorded=True
    ),
    "measure_volume": Stage(
        "volumes/{folder}/{scan}.json",
        "prediction",
        "predicted",
        part="volume",
        reaches="predicted",
        is_recorded=True,
    ),
    "measure_overlap": Stage(
        "overlaps/{folder}/{scan}.json",
        "prediction",
        "scored",
        part="score",
        reaches="scored",
        is_recorded=True,
    ),
    "resample_labels2": Stage(
        "resampled/{scan}/mask2.nii.gz",
        "scan",
        "read twice",
        part="second reader",
        costs_of="resample_labels",
    ),
    "crop_labels2": Stage(
        "cropped/{scan}/mask2.nii.gz", "scan", "read twice", part="second reader", costs_of="crop_labels"
    ),
    "measure_readers": Stage(
        "readers/{folder}/{scan}.json",
        "prediction",
        "read twice",
        part="second reader",
        costs_of="measure_overlap",
    ),
    "measure_corrected": Stage(
        "corrected/{scan}.json", "scan", "corrected", part="corrected mask", costs_of="measure_volume"
    ),
    "gather_volume_errors": Stage(
        "models/{group}/{network}/volume_errors.json", "network", runs="local", costs_of="gather_metrics"
    ),
    "gather_metrics": _gathers("tables/metrics.csv"),
    "gather_volumes": _gathers("tables/volumes.csv"),
    "gather_flow": _gathers("tables/flow.csv", runs="local"),
    "summarize_agreement": _gathers("tables/agreement.csv"),
    "tabulate_table1": _gathers("tables/table1.csv", runs="local"),
    "tabulate_table2": _gathers("tables/table2.csv", runs="local"),
    "draw_figures": _gathers("figures"),
    "write_scan_pages": Stage("report/scans/batch-{batch}", "page batch", unit="scan"),
    "gather_notes": _gathers("cohort/notes.json", runs="local"),
    "write_report": _gathers("report/index.html"),
    "record_run": _gathers("cohort/run.json", runs="local"),
    "compare_runs": _gathers("comparison/index.html", is_on_demand=True),
}


def stages_of(part: str) -> list[str]:
    """Return the rules whose failure leaves a scan without a part of PARTS, in the order of the chain."""
    if part not in PARTS:
        raise ValueError(f"{part!r} is no part of a scan's results; parts are {', '.join(PARTS)}")
    return [rule for rule, stage in STAGES.items() if stage.part == part]


def rerun_stages() -> list[str]:
    """Return the rules that can be made again for one scan; a trained model never is."""
    return [
        rule for rule, stage in STAGES.items() if stage.work in ("scan", "prediction", "batch", "page batch")
    ]


def flow_steps() -> tuple[str, ...]:
    """Return the steps of a scan through the study, as tables/flow.csv names them."""
    return ("listed", *(stage.reaches for stage in STAGES.values() if stage.reaches))


def rules_that_run(where: str) -> list[str]:
    """Return the rules whose jobs run so: `array`, `job` or `local` (see `Stage.runs`)."""
    return [rule for rule, stage in STAGES.items() if stage.runs == where]


def recorded_rules() -> list[str]:
    """Return the rules whose code a run records, for comparisons with other runs."""
    return [rule for rule, stage in STAGES.items() if stage.is_recorded]
