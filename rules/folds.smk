"""Test people and cross-validation folds."""


checkpoint split_folds:
    """Draw test people and folds once; later scans are added, former rows never change."""
    input:
        scans="results/cohort/scans.csv",
        # tell along which axis slices were acquired, where the scans decide which one the study uses
        screened=screened_files() if STUDY.acquired_axis == "acquired" else [],
    output:
        folds=update("results/folds/folds.csv"),
    log:
        "results/logs/split_folds/cohort.log",
    benchmark:
        "results/benchmarks/split_folds/cohort.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        folds=lookup("folds", within=config),
        seed=lookup("seed", within=config),
        batch_scans=lookup("predict/batch_scans", within=config),
        draw=FINISHED is None,
        groups=GROUPS,
        structures=list(STUDY.structures),
        redraw=lookup("redraw", within=config),
        code=code_of("split_folds"),
    message:
        "Draw test people and folds, or keep them"
    script:
        "../scripts/split_folds.py"
