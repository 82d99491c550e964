"""The results for readers: agreement, figures, the report."""

from pathlib import Path

from lib.catalog.calibration import PHANTOM


rule summarize_agreement:
    """Agreement for each group, network, protocol and sex, and for folds, people, repeated scans and readers."""
    input:
        metrics="results/tables/metrics.csv",
        unscored="results/tables/unscored.csv",
        volumes="results/tables/volumes.csv",
        measurements="results/tables/measurements.csv",
        folds="results/folds/folds.csv",
        acquisition="results/tables/acquisition.csv",
        scans="results/cohort/scans.csv",
        readers=reader_files,
        runs=fold_files("run.json"),
    output:
        scores=report(
            "results/tables/scores.csv",
            category="Agreement",
            labels={"table": "Overlap and surface distances"},
            caption="../report/captions/scores_table.rst",
        ),
        agreement=report(
            "results/tables/agreement.csv",
            category="Agreement",
            labels={"table": "Agreement of measurements with their references"},
            caption="../report/captions/agreement.rst",
        ),
        folds=report(
            "results/tables/folds.csv",
            category="Agreement",
            labels={"table": "Fold by fold"},
            caption="../report/captions/folds.rst",
        ),
        paired=report(
            "results/tables/paired.csv",
            category="Agreement",
            labels={"table": "Sex-specific models against the model of everybody"},
            caption="../report/captions/paired.rst",
        ),
        ages="results/tables/ages.csv",
        levels="results/tables/levels.csv",
        spread="results/tables/spread.csv",
        subgroups=report(
            "results/tables/subgroups.csv",
            category="Agreement",
            labels={"table": "One sex, site or scanner against the others"},
            caption="../report/captions/subgroups.rst",
        ),
        precision=report(
            "results/tables/precision.csv",
            category="Agreement",
            labels={"table": "Precision of repeated scans"},
            caption="../report/captions/precision_table.rst",
        ),
        readers=report(
            "results/tables/readers.csv",
            category="Agreement",
            labels={"table": "Two readers and the model"},
            caption="../report/captions/readers_table.rst",
        ),
        coverage=report(
            "results/tables/coverage.csv",
            category="Agreement",
            labels={"table": "Coverage of the intervals of volumes"},
            caption="../report/captions/coverage.rst",
        ),
        partitions=report(
            "results/tables/partitions.csv",
            category="Scans",
            labels={"table": "People of each partition"},
            caption="../report/captions/partitions.rst",
        ),
        density_precision=report(
            optional("results/tables/density_precision.csv", regional_density_settings()),
            category="Bone mineral density",
            labels={"table": "Precision of calibrated densities in repeated scans"},
            caption="../report/captions/density_precision.rst",
        ),
        density_by_age=report(
            optional("results/tables/density_by_age.csv", regional_density_settings()),
            category="Bone mineral density",
            labels={"table": "Calibrated density against age, by region and sex"},
            caption="../report/captions/density_by_age_table.rst",
        ),
    log:
        "results/logs/summarize_agreement/cohort.log",
    benchmark:
        "results/benchmarks/summarize_agreement/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        report=lookup("report", within=config),
        structures=list(STUDY.structures),
        code=code_of("summarize_agreement"),
    message:
        "Summarize the agreement"
    script:
        "../scripts/summarize_agreement.py"


rule compare_networks:
    """The networks of a study beside each other, by overlap, cost and tests on the same people."""
    input:
        metrics="results/tables/metrics.csv",
        runs=fold_files("run.json"),
        batches=scored_batches,
        measured=figure_inputs("results/measured/{path}.json"),
    output:
        networks=report(
            "results/tables/networks.csv",
            category="Networks",
            labels={"table": "Networks beside each other"},
            caption="../report/captions/networks.rst",
        ),
        network_pairs=report(
            "results/tables/network_pairs.csv",
            category="Networks",
            labels={"table": "Each network against the control"},
            caption="../report/captions/network_pairs.rst",
        ),
        dimension_pair=report(
            "results/tables/dimension_pair.csv",
            category="Networks",
            labels={"table": "The stated pair of a 2-D and a 3-D network"},
            caption="../report/captions/dimension_pair.rst",
        ),
        selection=report(
            "results/tables/selection.csv",
            category="Networks",
            labels={"table": "The best networks, chosen inside the resampling"},
            caption="../report/captions/selection.rst",
        ),
    log:
        "results/logs/compare_networks/cohort.log",
    benchmark:
        "results/benchmarks/compare_networks/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        networks=lookup("networks", within=config),
        asked=lookup("network_comparison", within=config),
        stated={key: entry["stated"] for key, entry in STUDY.comparison.items()},
        confidence=lookup("report/confidence", within=config),
        seed=lookup("seed", within=config),
        code=code_of("compare_networks"),
    message:
        "Compare the networks"
    script:
        "../scripts/compare_networks.py"


rule tabulate_table1:
    """Table 1 of the paper, for this study."""
    input:
        agreement="results/tables/agreement.csv",
        metrics="results/tables/metrics.csv",
        unscored="results/tables/unscored.csv",
    output:
        table1=report(
            "results/tables/table1.csv",
            category="Tables of the paper",
            labels={"table": "Table 1"},
            caption="../report/captions/table1.rst",
        ),
    log:
        "results/logs/tabulate_table1/cohort.log",
    benchmark:
        "results/benchmarks/tabulate_table1/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        published=not SYNTHETIC,
        code=code_of("tabulate_table1"),
    message:
        "Tabulate Table 1"
    script:
        "../scripts/tabulate_table1.py"


rule tabulate_table2:
    """Table 2 of the paper, with this study's row."""
    input:
        metrics="results/tables/metrics.csv",
        unscored="results/tables/unscored.csv",
        runs=fold_files("run.json"),
    output:
        table2=report(
            "results/tables/table2.csv",
            category="Tables of the paper",
            labels={"table": "Table 2"},
            caption="../report/captions/table2.rst",
        ),
    log:
        "results/logs/tabulate_table2/cohort.log",
    benchmark:
        "results/benchmarks/tabulate_table2/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        published=not SYNTHETIC,
        code=code_of("tabulate_table2"),
    message:
        "Tabulate Table 2"
    script:
        "../scripts/tabulate_table2.py"


rule describe_tables:
    """The data dictionary: type, unit and meaning of every column of the study's tables."""
    input:
        tables=described_tables(),
    output:
        dictionary=report(
            "results/tables/data-dictionary.csv",
            category="Data dictionary",
            labels={"table": "Type, unit and meaning of every column"},
            caption="../report/captions/data_dictionary.rst",
        ),
    log:
        "results/logs/describe_tables/cohort.log",
    benchmark:
        "results/benchmarks/describe_tables/cohort.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(15),
    params:
        structures=list(STUDY.structures),
        added=lookup("cohort_columns", within=config),
        code=code_of("describe_tables", Path(workflow.basedir, "docs/columns.yaml")),
    message:
        "Describe the tables"
    script:
        "../scripts/describe_tables.py"


rule draw_crop:
    """Picture of the window in the whole scan, with side, source of its centre, doubts and flags."""
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
        runtime=grow(15),
    params:
        anatomy=lookup("anatomy", within=config),
        modality=lookup("screening/modality", within=config),
        crop=lookup("crop", within=config),
        code=code_of("draw_crop"),
    message:
        "Draw the crop of {wildcards.scan}"
    script:
        "../scripts/draw_crop.py"


rule draw_figures:
    """All figures of the study, as SVG and PNG, each with a table of its data."""
    input:
        metrics="results/tables/metrics.csv",
        volumes="results/tables/volumes.csv",
        agreement="results/tables/agreement.csv",
        paired="results/tables/paired.csv",
        spread="results/tables/spread.csv",
        precision="results/tables/precision.csv",
        readers="results/tables/readers.csv",
        acquisition="results/tables/acquisition.csv",
        networks=network_tables(),
        densities=density_tables(),
        calibrations=calibration_tables(),
        measurements=regional_density_table("measurements"),
        histories=fold_files("history.csv"),
        measured=figure_inputs("results/measured/{path}.json"),
        masks=figure_inputs("results/masks/{path}/labels.nii.gz"),
        images=lambda wildcards: scored_scans("results/cropped/{scan}/image.nii.gz"),
        references=lambda wildcards: scored_scans("results/cropped/{scan}/labels.nii.gz"),
        records=lambda wildcards: scored_scans("results/cropped/{scan}/crop.json"),
    output:
        figures=report(
            directory("results/figures"),
            patterns=["{figure}.png"],
            category="Figures",
            labels=figure_labels,
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
        runtime=grow(30),
    params:
        structures=list(STUDY.structures),
        anatomy=lookup("anatomy", within=config),
        modality=lookup("screening/modality", within=config),
        synthetic=SYNTHETIC,
        pair=lookup("network_comparison/pair", within=config),
        detailed=STUDY.detailed_networks,
        # only for Snakemake's report; a function of `output` does not cause a rerun
        captions=lambda wildcards, output: captions(),
        code=code_of("draw_figures"),
    message:
        "Draw the figures"
    script:
        "../scripts/draw_figures.py"


rule write_scan_pages:
    """A page for each scan of a batch: contours on all slices, three planes, 3-D view, numbers, flags, decisions."""
    input:
        images=of_shown_scans("results/cropped/{scan}/image.nii.gz"),
        records=of_shown_scans("results/cropped/{scan}/crop.json"),
        references=of_shown_scans("results/cropped/{scan}/labels.nii.gz", lambda scan: SCANS[scan].mask),
        screened=of_shown_scans("results/screened/{scan}.json"),
        crops=of_shown_scans("results/crops/{scan}.webp"),
        rods=of_shown_scans("results/calibrated/{scan}.webp", lambda scan: SCANS[scan].calibration == PHANTOM),
        femurs=projections_of_shown_scans,
        masks=of_shown_predictions("results/masks/{path}/labels.nii.gz"),
        measured=of_shown_predictions("results/measured/{path}.json"),
        calibrated=calibrations_of_shown_scans,
        estimates=estimates_of_shown_scans,
        errors=lambda wildcards: volume_error_files(),
    output:
        pages=directory("results/report/scans/batch-{batch}"),
    log:
        "results/logs/write_scan_pages/batch-{batch}.log",
    benchmark:
        "results/benchmarks/write_scan_pages/batch-{batch}.tsv"
    conda:
        "../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=grow(1500),
        runtime=grow(30),
    params:
        structures=list(STUDY.structures),
        scans=shown_scans,
        known=known_of_shown_scans,
        density=shown_densities(),
        shown={
            # quoted in the meanings of flags and in the note on intervals
            "settings": {
                "anatomy": lookup("anatomy", within=config),
                "screening": {"modality": lookup("screening/modality", within=config)},
                "resample": {"method": lookup("resample/method", within=config)},
                "report": {"confidence": lookup("report/confidence", within=config)},
                "measure": {"distal_cut_mm": lookup("measure/distal_cut_mm", within=config)},
                "predict": {
                    key: lookup(f"predict/{key}", within=config)
                    for key in ("review_member_dice", "spacing_factor")
                },
            },
            "synthetic": SYNTHETIC,
        },
        code=code_of("write_scan_pages", *page_files("page/scan.*", "page/style.css")),
    message:
        "Write the scan pages of batch {wildcards.batch}"
    script:
        "../scripts/write_scan_pages.py"


rule gather_notes:
    """Notes for the top of the report: missing parts, models older than the study, invalid intervals."""
    input:
        scans="results/cohort/scans.csv",
        folds="results/folds/folds.csv",
        flow="results/tables/flow.csv",
        volumes="results/tables/volumes.csv",
        coverage="results/tables/coverage.csv",
        runs=fold_files("run.json") + fold_files("run.json", REGRESSIONS),
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
        runtime=grow(15),
    params:
        configured={network: configured(network) for network in config["networks"]}
        | {network: configured_regression(network) for network in REGRESSIONS if not FINISHED},
        secrets=SECRETS,
        training_codes={"segment": code_of("train_fold")}
        | ({"regress": code_of("train_regression")} if REGRESSIONS else {}),
        seed=lookup("seed", within=config),
        finished=FINISHED is not None,
        synthetic=SYNTHETIC,
        partial=lookup("partial", within=config),
        untrained=untrained_folds,
        networks=NETWORKS,
        groups=GROUPS,
        folds=len(GROUPS) * len(NETWORKS) * len(FOLDS),
        reviews=REVIEWS,
        confidence=lookup("report/confidence", within=config),
        targets=list(STUDY.targets),
        densities={scan: list(row.targets) for scan, row in SCANS.items() if row.targets},
        code=code_of("gather_notes"),
    message:
        "Gather the notes for the top of the report"
    script:
        "../scripts/gather_notes.py"


rule write_report:
    """The report: all results of the study on one page, readable offline."""
    input:
        metrics="results/tables/metrics.csv",
        volumes="results/tables/volumes.csv",
        scores="results/tables/scores.csv",
        agreement="results/tables/agreement.csv",
        folds="results/tables/folds.csv",
        paired="results/tables/paired.csv",
        ages="results/tables/ages.csv",
        levels="results/tables/levels.csv",
        spread="results/tables/spread.csv",
        subgroups="results/tables/subgroups.csv",
        precision="results/tables/precision.csv",
        readers="results/tables/readers.csv",
        coverage="results/tables/coverage.csv",
        partitions="results/tables/partitions.csv",
        article=(
            ["results/tables/table1.csv", "results/tables/table2.csv"] if STUDY.follows("zhao-2020") else []
        ),
        networks=network_tables(),
        densities=density_tables(),
        calibrations=calibration_tables(),
        by_age=regional_density_table("density_by_age"),
        rods=lambda wildcards: rod_pictures(),
        flow="results/tables/flow.csv",
        acquisition="results/tables/acquisition.csv",
        protocol="results/cohort/protocol.json",
        figures="results/figures",
        notes="results/cohort/notes.json",
        pages=lambda wildcards: scan_page_folders(),
        crops=lambda wildcards: made("results/crops/{scan}.webp"),
        screened=screened_files(),
        runs=fold_files("run.json"),
        regressions=fold_files("run.json", REGRESSIONS),
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
        runtime=grow(30),
    params:
        study=STUDY.identity["study"],
        synthetic=SYNTHETIC,
        settings=SETTINGS,
        reviews=REVIEWS,
        comparison=STUDY.comparison if len(NETWORKS) > 1 else {},
        detailed=STUDY.detailed_networks,
        code=code_of("write_report", *page_files("page/*", "captions/*")),
    message:
        "Write the report"
    script:
        "../scripts/write_report.py"
