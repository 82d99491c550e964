"""Job script of rule compare_runs: the changes between this run and another one.

input: volumes, metrics, flow, record of this run, and the tables of the other
output: scans, summary (csv), page (html); params: other (results folder of the other run), compare and report
    (sections of the configuration)
"""

from lib.compare_settings import ComparisonConfig
from lib.imaging.mask_pairs import compare_masks
from lib.joblog import job_log
from lib.pages.comparison_page import write_comparison
from lib.report_settings import AgreementConfig
from lib.stats.comparison import compare_runs, mask_files, pair_runs, read_compared_run, summarize_comparison
from lib.stats.tables import write_table

with job_log(snakemake.log[0], hide=[snakemake.params.other]) as logger:
    params, made = snakemake.params, snakemake.output
    runs = read_compared_run("results"), read_compared_run(params.other)
    pairs = pair_runs(*runs)
    files = mask_files(pairs, "results", params.other)
    masks = {name: compare_masks(both, snakemake.threads) for name, both in files.items()}
    config = ComparisonConfig(**params.compare)
    table = compare_runs(pairs, masks, config)
    summary = summarize_comparison(table, AgreementConfig(**params.report))
    write_table(table, made.scans)
    write_table(summary, made.summary)
    write_comparison(runs, table, summary, config, made.page)
    moved = table.loc[table["moved"] != "", "scan"]
    logger.info("%d of %d scans changed", moved.nunique(), table["scan"].nunique())
