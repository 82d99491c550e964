"""Calibration of HU to bone density, for the scans whose row of the cohort table asks for it."""

from lib.catalog.calibration import PHANTOM


rule calibrate_density:
    """Find how HU of one scan become density: by a phantom in it, by another scan of a phantom, or by its tissues."""
    input:
        image=lambda wildcards: optional(
            f"results/converted/{wildcards.scan}/image.nii.gz", not calibration_scan(wildcards.scan)
        ),
        acquisition="results/converted/{scan}/image.json",
        source=lambda wildcards: optional(
            f"results/calibrated/{calibration_scan(wildcards.scan)}.json", calibration_scan(wildcards.scan)
        ),
        source_acquisition=lambda wildcards: optional(
            f"results/converted/{calibration_scan(wildcards.scan)}/image.json",
            calibration_scan(wildcards.scan),
        ),
        references=lambda wildcards: reference_calibrations(wildcards.scan),
    output:
        json="results/calibrated/{scan}.json",
    log:
        "results/logs/calibrate_density/{scan}.log",
    benchmark:
        "results/benchmarks/calibrate_density/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        method=lambda wildcards: SCANS[wildcards.scan].calibration,
        # the values of its own certificate: another phantom's do not matter
        certificate=lambda wildcards: certificate_of(wildcards.scan),
        with_tissues=lambda wildcards: SCANS[wildcards.scan].calibration == PHANTOM
        and bool(referenced_scans()),
        source_scan=lambda wildcards: calibration_scan(wildcards.scan),
        # what the table's order and scanners mean for this scan: a change that means nothing runs nothing
        source_refusal=lambda wildcards: calibration_scan_refusal(wildcards.scan),
        is_one_scanner=lambda wildcards: has_scanner_of_its_calibration(wildcards.scan),
        limits={
            key: value
            for key, value in lookup("calibration", within=config).items()
            if key not in ("phantoms", "max_scan_order_gap", "drift_sd")
        },
        code=code_of("calibrate_density"),
    message:
        "Calibrate the density of {wildcards.scan}"
    script:
        "../scripts/calibrate_density.py"


rule draw_rods:
    """Picture of the rods of the phantom in a scan, with the discs that were measured."""
    input:
        image="results/converted/{scan}/image.nii.gz",
        calibrated="results/calibrated/{scan}.json",
    output:
        picture="results/calibrated/{scan}.webp",
    log:
        "results/logs/draw_rods/{scan}.log",
    benchmark:
        "results/benchmarks/draw_rods/{scan}.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        radius_mm=lambda wildcards: measured_radius_mm(wildcards.scan),
        code=code_of("draw_rods"),
    message:
        "Draw the rods of {wildcards.scan}"
    script:
        "../scripts/draw_rods.py"


rule gather_calibration:
    """One row for each calibrated scan, with the control limits of its scanner; one for each rod."""
    input:
        acquisition="results/tables/acquisition.csv",
        digests="results/cohort/digests.csv",
        calibrated=lambda wildcards: calibrated_files(),
    output:
        calibration=report(
            "results/tables/calibration.csv",
            category="Bone mineral density",
            labels={"table": "Calibration of every scan"},
            caption="../report/captions/calibration.rst",
        ),
        rods=report(
            "results/tables/calibration_rods.csv",
            category="Bone mineral density",
            labels={"table": "Rods of the calibration phantoms"},
            caption="../report/captions/calibration_rods.rst",
        ),
    log:
        "results/logs/gather_calibration/cohort.log",
    benchmark:
        "results/benchmarks/gather_calibration/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        scanners=lambda wildcards: {
            scan: {"scanner": SCANS[scan].scanner, "scan_order": SCANS[scan].scan_order}
            for scan in calibrated_scans()
        },
        drift_sd=lookup("calibration/drift_sd", within=config),
        code=code_of("gather_calibration"),
    message:
        "Gather the calibrations of all scans"
    script:
        "../scripts/gather_calibration.py"
