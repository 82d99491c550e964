"""One scan at a time: DICOM to HU, 3 mm slices, the hip's window."""


rule convert_dicom:
    """Bring one accepted scan to int16 HU with axes left, posterior, superior."""
    input:
        image=lambda wildcards: SCANS[wildcards.scan].image,
        screened="results/screened/{scan}.json",
    output:
        image="results/converted/{scan}/image.nii.gz",
        json="results/converted/{scan}/image.json",
    log:
        "results/logs/convert_dicom/{scan}.log",
    benchmark:
        "results/benchmarks/convert_dicom/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        series_uid=lambda wildcards: SCANS[wildcards.scan].series_uid,
        code=code_of("convert_dicom"),
    message:
        "Convert scan {wildcards.scan}"
    script:
        "../scripts/convert_dicom.py"


rule resample_ct:
    """Put one converted CT onto 3 mm slices (Fourier interpolation, Zhao 2020)."""
    input:
        image="results/converted/{scan}/image.nii.gz",
    output:
        image="results/resampled/{scan}/image.nii.gz",
    log:
        "results/logs/resample_ct/{scan}.log",
    benchmark:
        "results/benchmarks/resample_ct/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        resample=lookup("resample", within=config),
        code=code_of("resample_ct"),
    message:
        "Resample scan {wildcards.scan}"
    script:
        "../scripts/resample_ct.py"


rule resample_mask:
    """Put a reference mask onto the grid of the resampled CT, as coverage cut at one half."""
    input:
        mask=lambda wildcards: SCANS[wildcards.scan].mask,
        image="results/converted/{scan}/image.nii.gz",
    output:
        mask="results/resampled/{scan}/mask.nii.gz",
    log:
        "results/logs/resample_mask/{scan}.log",
    benchmark:
        "results/benchmarks/resample_mask/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        resample=lookup("resample", within=config),
        mask_labels=lambda wildcards: list(SCANS[wildcards.scan].mask_labels),
        code=code_of("resample_mask"),
    message:
        "Resample the reference mask of {wildcards.scan}"
    script:
        "../scripts/resample_mask.py"


use rule resample_mask as resample_mask2 with:
    input:
        mask=lambda wildcards: SCANS[wildcards.scan].mask2,
        image="results/converted/{scan}/image.nii.gz",
    output:
        mask="results/resampled/{scan}/mask2.nii.gz",
    log:
        "results/logs/resample_mask2/{scan}.log",
    benchmark:
        "results/benchmarks/resample_mask2/{scan}.tsv"
    message:
        "Resample the second reader's mask of {wildcards.scan}"


rule crop_ct:
    """Cut the in-plane window of the requested hip, around the found centre or the table's override."""
    input:
        image="results/resampled/{scan}/image.nii.gz",
        screened="results/screened/{scan}.json",
    output:
        image="results/cropped/{scan}/image.nii.gz",
        json="results/cropped/{scan}/crop.json",
    log:
        "results/logs/crop_ct/{scan}.log",
    benchmark:
        "results/benchmarks/crop_ct/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        side=lambda wildcards: SCANS[wildcards.scan].side,
        center_mm_xy=lambda wildcards: SCANS[wildcards.scan].center_mm_xy,
        crop=lookup("crop", within=config),
        code=code_of("crop_ct"),
    message:
        "Crop the hip of {wildcards.scan}"
    script:
        "../scripts/crop_ct.py"


rule crop_mask:
    """Cut the same window out of the reference mask."""
    input:
        mask="results/resampled/{scan}/mask.nii.gz",
        record="results/cropped/{scan}/crop.json",
    output:
        mask="results/cropped/{scan}/mask.nii.gz",
    log:
        "results/logs/crop_mask/{scan}.log",
    benchmark:
        "results/benchmarks/crop_mask/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        code=code_of("crop_mask"),
    message:
        "Crop the reference mask of {wildcards.scan}"
    script:
        "../scripts/crop_mask.py"


use rule crop_mask as crop_mask2 with:
    input:
        mask="results/resampled/{scan}/mask2.nii.gz",
        record="results/cropped/{scan}/crop.json",
    output:
        mask="results/cropped/{scan}/mask2.nii.gz",
    log:
        "results/logs/crop_mask2/{scan}.log",
    benchmark:
        "results/benchmarks/crop_mask2/{scan}.tsv"
    message:
        "Crop the second reader's mask of {wildcards.scan}"
