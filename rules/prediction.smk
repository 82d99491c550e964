"""Probability maps, and estimates of a regression, in batches of scans."""

from lib.cohort.predictions import weights_of


rule predict_scans:
    """Predict a batch of scans with one set of models (sliding window): mean and disagreement."""
    input:
        images=lambda wildcards: expand("results/cropped/{scan}/image.nii.gz", scan=batch_scans(wildcards)),
        records=lambda wildcards: expand("results/cropped/{scan}/crop.json", scan=batch_scans(wildcards)),
        models=member_models,
    output:
        batch=directory("results/predictions/{group}/{network}/{members}/batch-{batch}"),
    log:
        "results/logs/predict_scans/{group}/{network}/{members}/batch-{batch}.log",
    benchmark:
        "results/benchmarks/predict_scans/{group}/{network}/{members}/batch-{batch}.tsv"
    wildcard_constraints:
        network=one_of(NETWORKS),
    conda:
        "../envs/learning.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=grow(8000),
        runtime=grow(120),
    params:
        scans=batch_scans,
        predict=lambda wildcards: {  # the other keys do not affect the maps
            key: config["predict"][key] for key in ("step", "z_padding", "batch_windows")
        },
        weights=lambda wildcards: weights_of(wildcards.members, config["predict"]["heldout_weights"]),
        device=lookup("train/device", within=config),
        precision=lookup("train/precision", within=config),
        reproducible=lookup("reproducible", within=config),
        code=code_of("predict_scans"),
    message:
        "Predict batch {wildcards.batch} with {wildcards.group}/{wildcards.network}/{wildcards.members}"
    script:
        "../scripts/predict_scans.py"


rule predict_regression:
    """Estimate the crops of a batch of scans with one set of models of a regression: mean and spread of the folds."""
    input:
        crops=estimated_crops,
        models=member_models,
    output:
        batch=directory("results/predictions/{group}/{network}/{members}/batch-{batch}"),
    log:
        "results/logs/predict_regression/{group}/{network}/{members}/batch-{batch}.log",
    benchmark:
        "results/benchmarks/predict_regression/{group}/{network}/{members}/batch-{batch}.tsv"
    wildcard_constraints:
        network=one_of(REGRESSIONS),
    conda:
        "../envs/learning.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=grow(4000),
        runtime=grow(60),
    params:
        scans=estimated_scans,
        targets=config["regression"]["targets"],
        crop=config["regression"]["crop"],
        weights=lambda wildcards: weights_of(wildcards.members, config["predict"]["heldout_weights"]),
        device=lookup("train/device", within=config),
        reproducible=lookup("reproducible", within=config),
        code=code_of("predict_regression"),
    message:
        "Estimate batch {wildcards.batch} with {wildcards.group}/{wildcards.network}/{wildcards.members}"
    script:
        "../scripts/predict_regression.py"
