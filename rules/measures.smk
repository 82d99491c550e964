"""Numbers and pictures of each predicted scan, and their tables."""

MASKS = "results/masks/{group}/{network}/{members}/{scan}"


rule measure_prediction:
    """Labels of a predicted scan, their volume and flags, and their agreement with the readers' masks."""
    input:
        batch=batch_folder,
        image="results/cropped/{scan}/image.nii.gz",
        record="results/cropped/{scan}/crop.json",
        converted="results/converted/{scan}/image.nii.gz",
        screened="results/screened/{scan}.json",
        runs=lambda wildcards: there(run_beside(model) for model in member_models(wildcards)),
        reference=lambda wildcards: optional(
            f"results/cropped/{wildcards.scan}/labels.nii.gz", SCANS[wildcards.scan].mask
        ),
        reference_native=lambda wildcards: optional(SCANS[wildcards.scan].mask, is_scored(wildcards)),
        second_reference=second_reference,
        calibrated=lambda wildcards: optional(
            f"results/calibrated/{wildcards.scan}.json", SCANS[wildcards.scan].is_calibrated
        ),
    output:
        labels=f"{MASKS}/labels.nii.gz",
        full=f"{MASKS}/labels_full.nii.gz",
        json="results/measured/{group}/{network}/{members}/{scan}.json",
        crops=optional(directory("results/structure_crops/{group}/{network}/{members}/{scan}"), REGRESSIONS),
        # also of scans without a projection: the picture says why
        projected=optional(
            "results/projected/{group}/{network}/{members}/{scan}.webp", regional_density_settings()
        ),
    log:
        "results/logs/measure_prediction/{group}/{network}/{members}/{scan}.log",
    benchmark:
        "results/benchmarks/measure_prediction/{group}/{network}/{members}/{scan}.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        mask=lookup("mask", within=config),
        settings={
            "anatomy": lookup("anatomy", within=config),
            "measure": lookup("measure", within=config),
            "review_member_dice": lookup("predict/review_member_dice", within=config),
            "spacing_factor": lookup("predict/spacing_factor", within=config),
            "erode_mm": lookup("regression/baseline/erode_mm", within=config),
        },
        density=regional_density_settings(),
        regression=regression_of_crops(),
        structures=lambda wildcards: structures_of(wildcards.scan),
        contrast=lambda wildcards: SCANS[wildcards.scan].contrast,
        code=code_of("measure_prediction"),
    message:
        "Measure {wildcards.scan} ({wildcards.group}/{wildcards.network}/{wildcards.members})"
    script:
        "../scripts/measure_prediction.py"


rule gather_volume_errors:
    """The out-of-fold volume errors of a network, without ids; intervals of further volumes are computed from them."""
    input:
        measured=out_of_fold("results/measured/{path}.json"),
        runs=lambda wildcards: there(
            run_beside(model) for model in models_of(wildcards.group, wildcards.network)
        ),
    output:
        # beside the models, so that it is shared with them
        errors="results/models/{group}/{network}/volume_errors.json",
    log:
        "results/logs/gather_volume_errors/{group}/{network}.log",
    benchmark:
        "results/benchmarks/gather_volume_errors/{group}/{network}.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        structures=list(STUDY.structures),
        subjects=lambda wildcards: {
            row.placement.scan: row.placement.subject
            for row in out_of_fold_predictions(wildcards.group, wildcards.network)
        },
        code=code_of("gather_volume_errors"),
    message:
        "Gather the out-of-fold errors of {wildcards.group}/{wildcards.network}"
    script:
        "../scripts/gather_volume_errors.py"


rule gather_metrics:
    """One row for each scored prediction; predictions that could not be scored are listed in a separate table."""
    input:
        folds="results/folds/folds.csv",
        scans="results/cohort/scans.csv",
        measured=lambda wildcards: measured_files(),
        errors=lambda wildcards: volume_error_files(),
        acquisition="results/tables/acquisition.csv",
    output:
        metrics=report(
            "results/tables/metrics.csv",
            category="Scans",
            labels={"table": "Scores of every prediction"},
            caption="../report/captions/metrics.rst",
        ),
        unscored="results/tables/unscored.csv",
    log:
        "results/logs/gather_metrics/cohort.log",
    benchmark:
        "results/benchmarks/gather_metrics/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        structures=list(STUDY.structures),
        groups=GROUPS,
        networks=NETWORKS,
        heldout_weights=lookup("predict/heldout_weights", within=config),
        seen=seen_in_training,
        needs_edit=NEEDS_EDIT,
        confidence=lookup("report/confidence", within=config),
        code=code_of("gather_metrics"),
    message:
        "Gather the scores of all scans"
    script:
        "../scripts/gather_metrics.py"


rule gather_volumes:
    """One row for each predicted scan."""
    input:
        folds="results/folds/folds.csv",
        scans="results/cohort/scans.csv",
        measured=lambda wildcards: measured_files(),
        errors=lambda wildcards: volume_error_files(),
        corrected=lambda wildcards: corrected_files(),
        acquisition="results/tables/acquisition.csv",
    output:
        volumes=report(
            "results/tables/volumes.csv",
            category="Scans",
            labels={"table": "Volumes of every prediction"},
            caption="../report/captions/volumes.rst",
        ),
        measurements=report(
            "results/tables/measurements.csv",
            category="Scans",
            labels={"table": "Measurements of every prediction"},
            caption="../report/captions/measurements.rst",
        ),
        geometry=report(
            optional("results/tables/geometry.csv", regional_density_settings()),
            category="Bone mineral density",
            labels={"table": "Landmarks and axes of every bone"},
            caption="../report/captions/geometry.rst",
        ),
    log:
        "results/logs/gather_volumes/cohort.log",
    benchmark:
        "results/benchmarks/gather_volumes/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        structures=list(STUDY.structures),
        groups=GROUPS,
        networks=NETWORKS,
        modality=lookup("screening/modality", within=config),
        heldout_weights=lookup("predict/heldout_weights", within=config),
        seen=seen_in_training,
        needs_edit=NEEDS_EDIT,
        confidence=lookup("report/confidence", within=config),
        code=code_of("gather_volumes"),
    message:
        "Gather the volumes of all scans"
    script:
        "../scripts/gather_volumes.py"


rule gather_people:
    """One row for each scan of the cohort table, with the values to go on with."""
    input:
        scans="results/cohort/scans.csv",
        folds="results/folds/folds.csv",
        volumes="results/tables/volumes.csv",
        measurements="results/tables/measurements.csv",
        corrected=lambda wildcards: corrected_files(),
    output:
        people=report(
            "results/tables/people.csv",
            category="Scans",
            labels={"table": "Values of every scan, to join with other data"},
            caption="../report/captions/people.rst",
        ),
    log:
        "results/logs/gather_people/cohort.log",
    benchmark:
        "results/benchmarks/gather_people/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        networks=NETWORKS,
        # without comments, so that a comment reruns nothing here
        reviews={scan: row.verdict for scan, row in STUDY.review.items() if row.verdict},
        code=code_of("gather_people"),
    message:
        "Gather the values of all scans"
    script:
        "../scripts/gather_people.py"


rule link_final_masks:
    """The mask to use of each scan, on the grid of the converted scan: corrected by a person, or predicted."""
    input:
        # every mask is made by the job that measures it, so that the table is newer than all of them
        people="results/tables/people.csv",
        corrected=lambda wildcards: [
            f"{file.removesuffix('.json')}_labels_full.nii.gz" for file in corrected_files()
        ],
    output:
        masks=directory("results/masks/final"),
    log:
        "results/logs/link_final_masks/cohort.log",
    benchmark:
        "results/benchmarks/link_final_masks/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(30),
    params:
        structures=list(STUDY.structures),
        code=code_of("link_final_masks"),
    message:
        "Link the final mask of every scan"
    script:
        "../scripts/link_final_masks.py"


rule gather_flow:
    """One row for each scan of the cohort table: the last step it reached, and why it stopped there."""
    input:
        scans="results/cohort/scans.csv",
        folds="results/folds/folds.csv",
        converted=lambda wildcards: made("results/converted/{scan}/image.json"),
        cropped=lambda wildcards: made("results/cropped/{scan}/crop.json"),
        volumes="results/tables/volumes.csv",
        metrics="results/tables/metrics.csv",
    output:
        flow=report(
            "results/tables/flow.csv",
            category="Scans",
            labels={"table": "Last step of every scan"},
            caption="../report/captions/flow.rst",
        ),
    log:
        "results/logs/gather_flow/cohort.log",
    benchmark:
        "results/benchmarks/gather_flow/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        failures=failures,
        reviews=REVIEWS,
        code=code_of("gather_flow"),
    message:
        "List the last step of every scan"
    script:
        "../scripts/gather_flow.py"
