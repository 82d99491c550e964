"""Review of the masks: masks corrected by hand."""


rule measure_corrected:
    """Volume, mean intensity and length of a mask that a person corrected, and the mask on the scan's grid."""
    input:
        mask=lambda wildcards: CORRECTED[wildcards.scan],
        image="results/cropped/{scan}/image.nii.gz",
        converted="results/converted/{scan}/image.nii.gz",
    output:
        json="results/corrected/{scan}.json",
        full="results/corrected/{scan}_labels_full.nii.gz",
    log:
        "results/logs/measure_corrected/{scan}.log",
    benchmark:
        "results/benchmarks/measure_corrected/{scan}.tsv"
    conda:
        "../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(15),
    params:
        structures=list(STUDY.structures),
        code=code_of("measure_corrected"),
    message:
        "Measure the corrected mask of {wildcards.scan}"
    script:
        "../scripts/measure_corrected.py"
