"""One scan at a time: DICOM or image file to int16, slices of one thickness, the window."""


rule convert_scan:
    """Bring one accepted scan to int16 (a CT: HU) with axes left, posterior, superior."""
    input:
        image=lambda wildcards: SCANS[wildcards.scan].image,
        screened="results/screened/{scan}.json",
    output:
        image="results/converted/{scan}/image.nii.gz",
        json="results/converted/{scan}/image.json",
    log:
        "results/logs/convert_scan/{scan}.log",
    benchmark:
        "results/benchmarks/convert_scan/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        series_uid=lambda wildcards: SCANS[wildcards.scan].series_uid,
        code=code_of("convert_scan"),
    message:
        "Convert scan {wildcards.scan}"
    script:
        "../scripts/convert_scan.py"


rule correct_bias:
    """Divide one converted MR image by its bias field (N4, Tustison 2010); only with bias_field.method: n4."""
    input:
        image="results/converted/{scan}/image.nii.gz",
    output:
        image="results/bias_corrected/{scan}/image.nii.gz",
    log:
        "results/logs/correct_bias/{scan}.log",
    benchmark:
        "results/benchmarks/correct_bias/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        code=code_of("correct_bias"),
    message:
        "Correct the bias field of {wildcards.scan}"
    script:
        "../scripts/correct_bias.py"


rule resample_image:
    """Put one converted scan onto slices of one thickness (resample.method; fourier: Zhao 2020)."""
    input:
        image=image_to_resample(),
    output:
        image="results/resampled/{scan}/image.nii.gz",
    log:
        "results/logs/resample_image/{scan}.log",
    benchmark:
        "results/benchmarks/resample_image/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        resample=lookup("resample", within=config),
        modality=lookup("screening/modality", within=config),
        code=code_of("resample_image"),
    message:
        "Resample scan {wildcards.scan}"
    script:
        "../scripts/resample_image.py"


rule resample_labels:
    """Put a reference mask onto the grid of the resampled scan: the label that covers most of each voxel."""
    input:
        mask=lambda wildcards: SCANS[wildcards.scan].mask,
        image="results/converted/{scan}/image.nii.gz",
    output:
        labels="results/resampled/{scan}/labels.nii.gz",
    log:
        "results/logs/resample_labels/{scan}.log",
    benchmark:
        "results/benchmarks/resample_labels/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        resample=lookup("resample", within=config),
        structures=lambda wildcards: structures_of(wildcards.scan),
        code=code_of("resample_labels"),
    message:
        "Resample the reference mask of {wildcards.scan}"
    script:
        "../scripts/resample_labels.py"


use rule resample_labels as resample_labels2 with:
    input:
        mask=lambda wildcards: SCANS[wildcards.scan].mask2,
        image="results/converted/{scan}/image.nii.gz",
    output:
        labels="results/resampled/{scan}/labels2.nii.gz",
    log:
        "results/logs/resample_labels2/{scan}.log",
    benchmark:
        "results/benchmarks/resample_labels2/{scan}.tsv"
    message:
        "Resample the second reader's mask of {wildcards.scan}"


rule crop_image:
    """Cut the window out of a scan: around its anatomy, the middle, or the centre that the table gives."""
    input:
        image="results/resampled/{scan}/image.nii.gz",
        screened="results/screened/{scan}.json",
    output:
        image="results/cropped/{scan}/image.nii.gz",
        json="results/cropped/{scan}/crop.json",
    log:
        "results/logs/crop_image/{scan}.log",
    benchmark:
        "results/benchmarks/crop_image/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        anatomy=lookup("anatomy", within=config),
        side=lambda wildcards: SCANS[wildcards.scan].side,
        center_mm_xy=lambda wildcards: SCANS[wildcards.scan].center_mm_xy,
        crop=lookup("crop", within=config),
        intensity=lookup("intensity", within=config),
        slice_axis=lookup("model_frame/slice_axis", within=config),
        code=code_of("crop_image"),
    message:
        "Crop {wildcards.scan}"
    script:
        "../scripts/crop_image.py"


rule crop_labels:
    """Cut the same window out of the reference mask."""
    input:
        labels="results/resampled/{scan}/labels.nii.gz",
        record="results/cropped/{scan}/crop.json",
    output:
        labels="results/cropped/{scan}/labels.nii.gz",
    log:
        "results/logs/crop_labels/{scan}.log",
    benchmark:
        "results/benchmarks/crop_labels/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        structures=list(STUDY.structures),
        code=code_of("crop_labels"),
    message:
        "Crop the reference mask of {wildcards.scan}"
    script:
        "../scripts/crop_labels.py"


use rule crop_labels as crop_labels2 with:
    input:
        labels="results/resampled/{scan}/labels2.nii.gz",
        record="results/cropped/{scan}/crop.json",
    output:
        labels="results/cropped/{scan}/labels2.nii.gz",
    log:
        "results/logs/crop_labels2/{scan}.log",
    benchmark:
        "results/benchmarks/crop_labels2/{scan}.tsv"
    message:
        "Crop the second reader's mask of {wildcards.scan}"
