"""The end of a run."""

from pathlib import Path

from snakemake.logging import logger


def tell_results() -> None:
    """Log the results in one line, after the last job: scans, scores, flags, where the report is."""
    from lib.stats.run_summary import summarize_results  # not in every job: it takes a second

    structures, partial = config["report"]["structures"], config["partial"]
    try:
        told = summarize_results(Path("results"), list(NETWORKS), structures, partial=partial)
    except Exception as error:  # a run that has succeeded must not fail here
        logger.warning(f"The results cannot be told in one line ({type(error).__name__}: {error})")
        return
    if told:
        logger.info(told)
