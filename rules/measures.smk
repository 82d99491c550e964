"""Numbers and pictures of each predicted scan, and their tables."""

MASKS = "results/masks/{cohort}/{network}/{members}/{scan}"


rule measure_volume:
    """Volume of a predicted mask, HU in it, truncation, and what to look at."""
    input:
        batch=batch_folder,
        mask=f"{MASKS}/mask.nii.gz",
        full=f"{MASKS}/mask_full.nii.gz",
        otsu=f"{MASKS}/otsu.json",
        image="results/cropped/{scan}/image.nii.gz",
        record="results/cropped/{scan}/crop.json",
        screened="results/screened/{scan}.json",
    output:
        json="results/volumes/{cohort}/{network}/{members}/{scan}.json",
    log:
        "results/logs/measure_volume/{cohort}/{network}/{members}/{scan}.log",
    benchmark:
        "results/benchmarks/measure_volume/{cohort}/{network}/{members}/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=15,
    params:
        otsu=lookup("otsu", within=config),
        code=code_of("measure_volume"),
    script:
        "../scripts/measure_volume.py"


rule measure_overlap:
    """Overlap and surface distances between a predicted mask and the reference, on both grids."""
    input:
        mask=f"{MASKS}/mask.nii.gz",
        full=f"{MASKS}/mask_full.nii.gz",
        reference="results/cropped/{scan}/mask.nii.gz",
        reference_native=lambda wildcards: SCANS[wildcards.scan].mask,
    output:
        json="results/overlaps/{cohort}/{network}/{members}/{scan}.json",
    log:
        "results/logs/measure_overlap/{cohort}/{network}/{members}/{scan}.log",
    benchmark:
        "results/benchmarks/measure_overlap/{cohort}/{network}/{members}/{scan}.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=15,
    params:
        measure=lookup("measure", within=config),
        mask_labels=lambda wildcards: list(SCANS[wildcards.scan].mask_labels),
        code=code_of("measure_overlap"),
    script:
        "../scripts/measure_overlap.py"


rule draw_contours:
    """Contours of the predicted mask, and of the reference where there is one, on the scan's slices."""
    input:
        image="results/cropped/{scan}/image.nii.gz",
        mask=f"{MASKS}/mask.nii.gz",
        reference=lambda wildcards: optional(
            f"results/cropped/{wildcards.scan}/mask.nii.gz", SCANS[wildcards.scan].mask
        ),
    output:
        montage="results/contours/{cohort}/{network}/{members}/{scan}.webp",
        thumbnail="results/contours/{cohort}/{network}/{members}/{scan}-small.webp",
    log:
        "results/logs/draw_contours/{cohort}/{network}/{members}/{scan}.log",
    benchmark:
        "results/benchmarks/draw_contours/{cohort}/{network}/{members}/{scan}.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=15,
    params:
        code=code_of("draw_contours"),
    script:
        "../scripts/draw_contours.py"
