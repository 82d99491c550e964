"""Screening: a verdict for every scan of the cohort table."""


rule screen_scan:
    """Read one scan completely and decide whether it can be measured; no identifying data is kept."""
    input:
        image=lambda wildcards: SCANS[wildcards.scan].image,
        mask=lambda wildcards: optional(SCANS[wildcards.scan].mask, SCANS[wildcards.scan].mask),
    output:
        json="results/screened/{scan}.json",
    log:
        "results/logs/screen_scan/{scan}.log",
    benchmark:
        "results/benchmarks/screen_scan/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        side=lambda wildcards: SCANS[wildcards.scan].side,
        series_uid=lambda wildcards: SCANS[wildcards.scan].series_uid,
        structures=lambda wildcards: structures_of(wildcards.scan),
        anatomy=lookup("anatomy", within=config),
        center_mm_xy=lambda wildcards: SCANS[wildcards.scan].center_mm_xy,
        screening=lookup("screening", within=config),
        dicom=lookup("dicom", within=config),
        crop=lookup("crop", within=config),
        window_pixel_mm=window_pixel_mm(),
        intensity=lookup("intensity", within=config),
        slice_axis=lookup("model_frame/slice_axis", within=config),
        serves_calibration=lambda wildcards: wildcards.scan in STUDY.calibration_scans,
        code=code_of("screen_scan"),
    message:
        "Screen scan {wildcards.scan}"
    script:
        "../scripts/screen_scan.py"


rule gather_screening:
    """One row for each scan of the cohort table: verdict, reason, what to do."""
    input:
        table=TABLE,
        screened=screened_files(),
    output:
        scans="results/cohort/scans.csv",
        digests="results/cohort/digests.csv",
    log:
        "results/logs/gather_screening/cohort.log",
    benchmark:
        "results/benchmarks/gather_screening/cohort.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        cohort_columns=lookup("cohort_columns", within=config),
        rejected=REJECTED,
        slice_axis=STUDY.acquired_axis,
        anatomy=lookup("anatomy", within=config),
        code=code_of("gather_screening"),
    message:
        "Gather the verdicts of all scans"
    script:
        "../scripts/gather_screening.py"


rule gather_acquisition:
    """One row for each screened scan: its acquisition, and deviations from the protocol."""
    input:
        scans="results/cohort/scans.csv",
        screened=screened_files(),
    output:
        acquisition="results/tables/acquisition.csv",
        protocol="results/cohort/protocol.json",
    log:
        "results/logs/gather_acquisition/cohort.log",
    benchmark:
        "results/benchmarks/gather_acquisition/cohort.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        protocol=lookup("acquisition_protocol", within=config),
        modality=lookup("screening/modality", within=config),
        code=code_of("gather_acquisition"),
    message:
        "Gather the acquisition of all scans"
    script:
        "../scripts/gather_acquisition.py"
