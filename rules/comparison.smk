"""Comparison of this run with another one: provenance and changes."""

from lib.catalog.stages import recorded_rules
from lib.model_record import model_digests
from lib.provenance import describe_software


rule record_run:
    """Settings, versions and code of this run, for comparisons with later ones."""
    output:
        record="results/cohort/run.json",
    log:
        "results/logs/record_run/cohort.log",
    benchmark:
        "results/benchmarks/record_run/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(500),
        runtime=grow(5),
    params:
        settings=SETTINGS,
        software=lambda wildcards: describe_software(),
        models=lambda wildcards: model_digests(config["model"]) if FINISHED else {},
        digests={rule: code_of(rule) for rule in recorded_rules() if rule not in UNUSED},
        code=code_of("record_run"),
    message:
        "Record the settings and versions of this run"
    script:
        "../scripts/record_run.py"


rule compare_runs:
    """Changes between this run and the run named by `other`, scan by scan."""
    input:
        volumes="results/tables/volumes.csv",
        metrics="results/tables/metrics.csv",
        flow="results/tables/flow.csv",
        record="results/cohort/run.json",
        other=other_tables,
    output:
        scans="results/comparison/scans.csv",
        summary="results/comparison/summary.csv",
        page="results/comparison/index.html",
    log:
        "results/logs/compare_runs/cohort.log",
    benchmark:
        "results/benchmarks/compare_runs/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 2
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        other=OTHER,
        compare=lookup("compare", within=config),
        report=lookup("report", within=config),
        code=code_of("compare_runs"),
    message:
        "Compare this run with another one"
    script:
        "../scripts/compare_runs.py"
