"""The synthetic cohort: people with real bone shape, as DICOM series (only if no cohort table is given)."""

from lib.checked_study import PHANTOM_TABLE
from lib.phantom.density_phantoms import CERTIFICATES
from lib.phantom.people import PhantomConfig


localrules:
    make_phantom_table,


rule make_phantom_table:
    """Write the synthetic people as a cohort table, which is also an example of one, and their phantoms' certificates."""
    output:
        table=PHANTOM_TABLE,
        certificates=optional(
            f"results/phantom/{CERTIFICATES}", PhantomConfig(**config["phantom"]).has_density_phantom
        ),
    log:
        "results/logs/make_phantom_table/cohort.log",
    benchmark:
        "results/benchmarks/make_phantom_table/cohort.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(500),
        runtime=grow(5),
    params:
        phantom=lookup("phantom", within=config),
        code=code_of("make_phantom_table"),
    message:
        "Write the table of the synthetic cohort"
    script:
        "../scripts/make_phantom_table.py"


rule make_phantom_scan:
    """Scan one synthetic person: DICOM series, reference mask and the exact volume."""
    output:
        series=directory("results/phantom/{scan}/dicom"),
        mask="results/phantom/{scan}/mask.nii.gz",
        truth="results/phantom/{scan}/truth.json",
    log:
        "results/logs/make_phantom_scan/{scan}.log",
    benchmark:
        "results/benchmarks/make_phantom_scan/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(15),
    params:
        phantom=lookup("phantom", within=config),
        code=code_of("make_phantom_scan"),
    message:
        "Make synthetic scan {wildcards.scan}"
    script:
        "../scripts/make_phantom_scan.py"
