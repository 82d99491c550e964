"""Job script of rule write_report: write the report of the study as one page, readable offline.

input: the tables (see `lib.pages.report.TABLES`); article (tables 1 and 2, if the study has them), networks (tables
    that compare networks, if it has several), densities (if it has a regression), calibrations (if scans are
    calibrated), by_age (if densities are measured by region); figures (directory); protocol, notes (.json); lists
    pages (directories), crops (.webp), screened, runs, regressions (.json)
output: page
params: study, synthetic, settings, reviews, comparison (of networks: what was stated when),
    detailed (networks with figures of their own)
"""

from pathlib import Path

from lib.atomic import read_json
from lib.joblog import job_log
from lib.model_record import read_run
from lib.pages.report import TABLES, ReportData, write_page
from lib.provenance import describe_software, settings_digest
from lib.stats.tables import read_table

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    listed = (*given.article, *given.networks, *given.densities, *given.calibrations, *given.by_age)
    further = {Path(path).stem: path for path in listed}
    paths = {name: given[name] for name in TABLES} | further
    data = ReportData(
        **{
            name: params[name]
            for name in ("study", "synthetic", "settings", "reviews", "comparison", "detailed")
        },
        tables={name: read_table(path) for name, path in paths.items()},
        table_paths=paths,
        figures=read_json(Path(given.figures, "figures.json"))["figures"],
        figure_folder=given.figures,
        pages={page.stem: str(page) for folder in given.pages for page in Path(folder).glob("*.html")},
        crops={Path(path).stem: path for path in given.crops},
        protocol=read_json(given.protocol),
        screened=[read_json(path) for path in given.screened],
        runs=[read_run(path) for path in given.runs],
        regressions=[read_run(path) for path in given.regressions],
        provenance=describe_software() | {"settings": settings_digest(params.settings)},
        notes=read_json(given.notes)["notes"],
    )
    write_page(data, snakemake.output.page)
    logger.info("report of %s written", params.study)
