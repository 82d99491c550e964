"""Densities that a regression reads, beside lines of HU: of each structure, of people, by vendor, by class."""


rule gather_bmd:
    """One row for each density, by network, structure and method; one for each structure that was looked for."""
    input:
        folds="results/folds/folds.csv",
        scans="results/cohort/scans.csv",
        measured=lambda wildcards: measured_files(),
        estimates=lambda wildcards: there(estimate_batches()),
        calibrated=lambda wildcards: calibrated_files(),
    output:
        bmd=report(
            "results/tables/bmd.csv",
            category="Bone mineral density",
            labels={"table": "Density of every structure"},
            caption="../report/captions/bmd.rst",
        ),
        levels_found=report(
            "results/tables/levels_found.csv",
            category="Bone mineral density",
            labels={"table": "Structures found, with their flags"},
            caption="../report/captions/levels_found.rst",
        ),
    log:
        "results/logs/gather_bmd/cohort.log",
    benchmark:
        "results/benchmarks/gather_bmd/cohort.tsv"
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
        density=density_settings(),
        references=lambda wildcards: {scan: dict(row.targets) for scan, row in SCANS.items() if row.targets},
        absent=lambda wildcards: {
            scan: list(row.levels_absent) for scan, row in SCANS.items() if row.levels_absent
        },
        code=code_of("gather_bmd"),
    message:
        "Gather the densities of all scans"
    script:
        "../scripts/gather_bmd.py"


rule summarize_bmd:
    """Densities of people, their agreement with the references by method and vendor, vendors, classes."""
    input:
        bmd="results/tables/bmd.csv",
    output:
        bmd_people=report(
            "results/tables/bmd_people.csv",
            category="Bone mineral density",
            labels={"table": "Mean densities and classes of people"},
            caption="../report/captions/bmd_people.rst",
        ),
        bmd_agreement=report(
            "results/tables/bmd_agreement.csv",
            category="Bone mineral density",
            labels={"table": "Agreement of densities by method and vendor"},
            caption="../report/captions/bmd_agreement.rst",
        ),
        vendors=report(
            "results/tables/vendors.csv",
            category="Bone mineral density",
            labels={"table": "Differences between vendors"},
            caption="../report/captions/vendors.rst",
        ),
        classes=report(
            "results/tables/classes.csv",
            category="Bone mineral density",
            labels={"table": "Classes of density"},
            caption="../report/captions/classes.rst",
        ),
        confusion=report(
            "results/tables/confusion.csv",
            category="Bone mineral density",
            labels={"table": "Class by the reference and by the prediction"},
            caption="../report/captions/confusion.rst",
        ),
    log:
        "results/logs/summarize_bmd/cohort.log",
    benchmark:
        "results/benchmarks/summarize_bmd/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        density=density_settings()
        | {"confidence": lookup("report/confidence", within=config), "seed": lookup("seed", within=config)},
        classes=lookup("classes", within=config),
        code=code_of("summarize_bmd"),
    message:
        "Summarize the densities"
    script:
        "../scripts/summarize_bmd.py"
