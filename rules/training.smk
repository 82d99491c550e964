"""One network, one cohort, one fold at a time, on a GPU where there is one."""


def untrained():
    """Return a pattern of the folds that may be trained: none that has a model.pt, unless retrain=true.

    A finished model is a leaf of the workflow: neither new code nor a changed cohort trains it again by itself.
    """
    folds = [
        f"{cohort}/{network}/fold-{fold}"
        for cohort in COHORTS
        for network in NETWORKS
        for fold in FOLDS
        if not FINISHED
        and (
            config["retrain"] or not os.path.exists(f"results/models/{cohort}/{network}/fold-{fold}/model.pt")
        )
    ]
    # a look-ahead in the first wildcard's pattern holds for the three wildcards together
    return f"(?=(?:{'|'.join(folds)})/)[a-z]+" if folds else "(?!)"


def scans_of_fold(chosen, pattern):
    """Return the function that lists a file of each scan that `chosen` picks for a fold."""
    return lambda wildcards: [
        pattern.format(scan=row.scan)
        for row in placements()
        if chosen(row, wildcards.cohort, int(wildcards.fold))
    ]


rule train_fold:
    """Train one fold: people of the other folds teach, people of this fold validate."""
    input:
        train_images=scans_of_fold(trains_fold, "results/cropped/{scan}/image.nii.gz"),
        train_masks=scans_of_fold(trains_fold, "results/cropped/{scan}/mask.nii.gz"),
        train_records=scans_of_fold(trains_fold, "results/cropped/{scan}/crop.json"),
        validation_images=scans_of_fold(validates_fold, "results/cropped/{scan}/image.nii.gz"),
        validation_masks=scans_of_fold(validates_fold, "results/cropped/{scan}/mask.nii.gz"),
        validation_records=scans_of_fold(validates_fold, "results/cropped/{scan}/crop.json"),
    output:
        model="results/models/{cohort}/{network}/fold-{fold}/model.pt",
        history="results/models/{cohort}/{network}/fold-{fold}/history.csv",
        run="results/models/{cohort}/{network}/fold-{fold}/run.json",
    log:
        "results/logs/train_fold/{cohort}/{network}/fold-{fold}.log",
    benchmark:
        "results/benchmarks/train_fold/{cohort}/{network}/fold-{fold}.tsv"
    wildcard_constraints:
        cohort=untrained(),
    conda:
        "../envs/learning.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=grow(16000),
        runtime=2880,
    params:
        network=lambda wildcards: config["models"][wildcards.network],
        train=lookup("train", within=config),
        intensity=lookup("intensity", within=config),
        predict=lookup("predict", within=config),
        preprocessing=PREPROCESSING,
        reproducible=lookup("reproducible", within=config),
        seed=lookup("seed", within=config),
        # outside the declared outputs, which Snakemake removes when a job is killed
        state="results/state/{cohort}/{network}/fold-{fold}.pt",
    message:
        "Train fold {wildcards.fold} of {wildcards.cohort}/{wildcards.network}"
    script:
        "../scripts/train_fold.py"
