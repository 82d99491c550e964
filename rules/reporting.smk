"""What a reader gets: agreement, figures, the page."""


rule summarize_agreement:
    """Agreement of volumes for each cohort, network, protocol and sex, with intervals."""
    input:
        metrics="results/tables/metrics.csv",
    output:
        agreement=report(
            "results/tables/agreement.csv", category="Tables", caption="../report/captions/agreement.rst"
        ),
        folds="results/tables/folds.csv",
        paired="results/tables/paired.csv",
        ages="results/tables/ages.csv",
    log:
        "results/logs/summarize_agreement/cohort.log",
    benchmark:
        "results/benchmarks/summarize_agreement/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=30,
    params:
        report=lookup("report", within=config),
        seed=lookup("seed", within=config),
        code=code_of("summarize_agreement"),
    message:
        "Summarize the agreement of volumes"
    script:
        "../scripts/summarize_agreement.py"


rule tabulate_table1:
    """Table 1 of the paper, for this study."""
    input:
        agreement="results/tables/agreement.csv",
        metrics="results/tables/metrics.csv",
    output:
        table1=report("results/tables/table1.csv", category="Tables", caption="../report/captions/table1.rst"),
    log:
        "results/logs/tabulate_table1/cohort.log",
    benchmark:
        "results/benchmarks/tabulate_table1/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=30,
    params:
        synthetic=SYNTHETIC,
        code=code_of("tabulate_table1"),
    message:
        "Tabulate Table 1"
    script:
        "../scripts/tabulate_table1.py"


rule draw_crop:
    """Where the window of the hip lies in the whole scan, with side, source of its centre, doubts and flags."""
    input:
        image="results/resampled/{scan}/image.nii.gz",
        record="results/cropped/{scan}/crop.json",
        screened="results/screened/{scan}.json",
    output:
        picture="results/crops/{scan}.webp",
    log:
        "results/logs/draw_crop/{scan}.log",
    benchmark:
        "results/benchmarks/draw_crop/{scan}.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=15,
    params:
        code=code_of("draw_crop"),
    message:
        "Draw the crop of {wildcards.scan}"
    script:
        "../scripts/draw_crop.py"


rule draw_figures:
    """All figures of the study, as SVG and PNG."""
    input:
        metrics="results/tables/metrics.csv",
        agreement="results/tables/agreement.csv",
        histories=fold_files("history.csv"),
        overlaps=figure_inputs("results/overlaps/{path}.json"),
        masks=figure_inputs("results/masks/{path}/mask.nii.gz"),
        images=lambda wildcards: scored_scans("results/cropped/{scan}/image.nii.gz"),
        references=lambda wildcards: scored_scans("results/cropped/{scan}/mask.nii.gz"),
    output:
        figures=report(
            directory("results/figures"),
            patterns=["{figure}.png"],
            category="Figures",
            caption="../report/captions/figure.rst",
        ),
    log:
        "results/logs/draw_figures/cohort.log",
    benchmark:
        "results/benchmarks/draw_figures/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(3000),
        runtime=30,
    params:
        synthetic=SYNTHETIC,
        code=code_of("draw_figures"),
    message:
        "Draw the figures"
    script:
        "../scripts/draw_figures.py"


rule gather_notes:
    """What a reader must know first: models older than code, settings or cohort; parts that are missing."""
    input:
        folds="results/folds/folds.csv",
        flow="results/tables/flow.csv",
        runs=fold_files("run.json"),
    output:
        notes="results/cohort/notes.json",
    log:
        "results/logs/gather_notes/cohort.log",
    benchmark:
        "results/benchmarks/gather_notes/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=15,
    params:
        configured={network: configured(network) for network in config["models"]},
        secrets=SECRETS,
        training_code=code_of("train_fold"),
        seed=lookup("seed", within=config),
        finished=FINISHED is not None,
        partial=lookup("partial", within=config),
        code=code_of("gather_notes"),
    message:
        "Gather what a reader must know first"
    script:
        "../scripts/gather_notes.py"


rule write_report:
    """The page: everything the study found, readable without a network."""
    input:
        metrics="results/tables/metrics.csv",
        volumes="results/tables/volumes.csv",
        agreement="results/tables/agreement.csv",
        folds="results/tables/folds.csv",
        paired="results/tables/paired.csv",
        ages="results/tables/ages.csv",
        table1="results/tables/table1.csv",
        flow="results/tables/flow.csv",
        acquisition="results/tables/acquisition.csv",
        protocol="results/cohort/protocol.json",
        figures="results/figures",
        notes="results/cohort/notes.json",
        contours=lambda wildcards: [f"results/contours/{path}.webp" for path in predicted_paths()],
        crops=lambda wildcards: made("results/crops/{scan}.webp"),
        screened=screened_files(),
        runs=fold_files("run.json"),
    output:
        page="results/report/index.html",
    log:
        "results/logs/write_report/cohort.log",
    benchmark:
        "results/benchmarks/write_report/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=30,
    params:
        study=STUDY["study"],
        synthetic=SYNTHETIC,
        # where the table and the models lie is the source's business
        settings={key: value for key, value in config.items() if key not in ("cohort", "model")},
        code=code_of("write_report"),
    message:
        "Write the report"
    script:
        "../scripts/write_report.py"
