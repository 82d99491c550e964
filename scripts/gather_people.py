"""Job script of rule gather_people: one row for each scan, with the values to go on with.

input: scans, folds (.csv); volumes, measurements (tables); corrected (list of .../{scan}.json); output: people
params: networks (names), reviews (verdicts by scan)
"""

from pathlib import Path

from lib.atomic import read_json
from lib.cohort.scans import read_folds, read_records
from lib.joblog import job_log
from lib.stats.cohort_people import all_people
from lib.stats.measurements import people_table
from lib.stats.tables import read_table, write_table

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    corrected = {Path(path).stem: read_json(path) for path in given.corrected}
    measurements, volumes = read_table(given.measurements), read_table(given.volumes)
    values = people_table(measurements, volumes, corrected, params.networks)
    sets = {row.scan: row.set for row in read_folds(given.folds)}
    scans = read_records(given.scans)
    accepted = {record["scan"] for record in scans if record["verdict"] == "ok"}
    sets = {scan: name for scan, name in sets.items() if scan in accepted}
    people = all_people(values, scans, sets, params.reviews)
    write_table(people, snakemake.output.people)
    logger.info("%d scans, %d with values", len(people), len(values))
