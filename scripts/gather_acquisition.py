"""Job script of rule gather_acquisition: tabulate how scans were acquired and which deviate from the protocol.

input: scans (scans.csv), screened (list of .json); output: acquisition (table), protocol (.json)
params: protocol (the section acquisition_protocol of the configuration), modality
"""

from pathlib import Path

from lib.atomic import read_json, write_json
from lib.cohort.acquisitions import (
    acquisition_columns,
    choose_protocol,
    describe_protocol,
    gather_acquisition,
    judge_acquisition,
)
from lib.cohort.scans import read_records, write_records
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    given, made = snakemake.input, snakemake.output
    screened = {Path(path).stem: read_json(path) for path in given.screened}
    modality = snakemake.params.modality
    records = gather_acquisition(read_records(given.scans), screened, modality)
    protocol = choose_protocol(snakemake.params.protocol, records, modality)
    judged = judge_acquisition(records, protocol)
    write_records(judged, acquisition_columns(modality), made.acquisition)
    write_json(made.protocol, describe_protocol(records, protocol))
    off = sum(bool(record["off_protocol"]) for record in judged)
    logger.info("%d of %d scans off protocol (by %s)", off, len(judged), protocol.source)
