"""Training of one network for one group and fold, on a GPU if available."""

from lib.cohort.placement import trains_fold, validates_fold
from lib.learning.regression_recipe import full_recipe


rule train_fold:
    """Train one fold on the people of the other folds, and validate it on the people of this fold."""
    input:
        folds="results/folds/folds.csv",
        digests="results/cohort/digests.csv",
        train_images=scans_of_fold(trains_fold, "results/cropped/{scan}/image.nii.gz"),
        train_labels=scans_of_fold(trains_fold, "results/cropped/{scan}/labels.nii.gz"),
        train_records=scans_of_fold(trains_fold, "results/cropped/{scan}/crop.json"),
        validation_images=scans_of_fold(validates_fold, "results/cropped/{scan}/image.nii.gz"),
        validation_labels=scans_of_fold(validates_fold, "results/cropped/{scan}/labels.nii.gz"),
        validation_records=scans_of_fold(validates_fold, "results/cropped/{scan}/crop.json"),
    output:
        model="results/models/{group}/{network}/fold-{fold}/model.pt",
        history="results/models/{group}/{network}/fold-{fold}/history.csv",
        run="results/models/{group}/{network}/fold-{fold}/run.json",
        card="results/models/{group}/{network}/fold-{fold}/MODEL_CARD.md",
    log:
        "results/logs/train_fold/{group}/{network}/fold-{fold}.log",
    benchmark:
        "results/benchmarks/train_fold/{group}/{network}/fold-{fold}.tsv"
    wildcard_constraints:
        group=untrained(NETWORKS),
    conda:
        "../envs/learning.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=grow(16000),
        runtime=2880,
    params:
        fold=lambda wildcards: {
            "group": wildcards.group,
            "takes": GROUPS[wildcards.group],
            "network": wildcards.network,
            "fold": int(wildcards.fold),
            "synthetic": SYNTHETIC,
            "anatomy": config["anatomy"],
            "modality": config["screening"]["modality"],
            "preprocessing": STUDY.preprocessing,
            "configured": configured(wildcards.network),
        },
        settings={"predict": config["predict"], "structures": list(STUDY.structures)},
        reproducible=lookup("reproducible", within=config),
        seed=lookup("seed", within=config),
        # a path and not an input, so that a change of it never causes a new training
        secret=SECRET_FILE,
        # a finished fold is trained again only with retrain=true
        again=RETRAINED_AT,
        # outside the declared outputs, which Snakemake removes when a job is killed
        state="results/state/{group}/{network}/fold-{fold}.pt",
    message:
        "Train fold {wildcards.fold} of {wildcards.group}/{wildcards.network}"
    script:
        "../scripts/train_fold.py"


rule train_regression:
    """Train one fold of a regression on the crops of the people of the other folds; validate on this fold's people."""
    input:
        folds="results/folds/folds.csv",
        digests="results/cohort/digests.csv",
        train_crops=crops_of_fold(trains_fold),
        validation_crops=crops_of_fold(validates_fold),
    output:
        model="results/models/{group}/{network}/fold-{fold}/model.pt",
        history="results/models/{group}/{network}/fold-{fold}/history.csv",
        run="results/models/{group}/{network}/fold-{fold}/run.json",
        card="results/models/{group}/{network}/fold-{fold}/MODEL_CARD.md",
    log:
        "results/logs/train_regression/{group}/{network}/fold-{fold}.log",
    benchmark:
        "results/benchmarks/train_regression/{group}/{network}/fold-{fold}.tsv"
    wildcard_constraints:
        group=untrained(REGRESSIONS),
    conda:
        "../envs/learning.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=grow(8000),
        runtime=1440,
    params:
        fold=lambda wildcards: {
            "group": wildcards.group,
            "takes": GROUPS[wildcards.group],
            "network": wildcards.network,
            "fold": int(wildcards.fold),
            "synthetic": SYNTHETIC,
            "anatomy": config["anatomy"],
            "modality": config["screening"]["modality"],
            "preprocessing": STUDY.preprocessing,
            "segmentation": CROP_NETWORK,
            "configured": configured_regression(wildcards.network),
        },
        settings=lambda wildcards: {
            "architecture": config["regression"]["networks"][wildcards.network],
            "train": full_recipe(config["train"], config["regression"]["train"]),
            "crop": config["regression"]["crop"],
            "targets": config["regression"]["targets"],
        },
        references=reference_values,
        reproducible=lookup("reproducible", within=config),
        seed=lookup("seed", within=config),
        # the next three: as in train_fold
        secret=SECRET_FILE,
        again=RETRAINED_AT,
        state="results/state/{group}/{network}/fold-{fold}.pt",
    message:
        "Train fold {wildcards.fold} of the regression {wildcards.group}/{wildcards.network}"
    script:
        "../scripts/train_regression.py"
