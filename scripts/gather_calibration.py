"""Job script of rule gather_calibration: tabulate the calibrations of all scans, and the rods behind them.

input: acquisition (acquisition.csv), digests (of the scans' voxels), calibrated (list of .json)
output: calibration, rods (tables)
params: scanners (scanner and scan_order of each scan), drift_sd
"""

from pathlib import Path

from lib.calibrated import read_calibration
from lib.cohort.scans import read_digests, read_records
from lib.joblog import job_log
from lib.stats.calibration_tables import ScanFacts, calibration_tables, count_verdicts
from lib.stats.tables import write_table

with job_log(snakemake.log[0]) as logger:
    given, made = snakemake.input, snakemake.output
    calibrations = {Path(path).stem: read_calibration(path) for path in given.calibrated}
    acquisition = {row["scan"]: row for row in read_records(given.acquisition)}
    facts = ScanFacts(
        scanners=snakemake.params.scanners, acquisition=acquisition, digests=read_digests(given.digests)
    )
    calibration, rods = calibration_tables(calibrations, facts, snakemake.params.drift_sd)
    write_table(calibration, made.calibration)
    write_table(rods, made.rods)
    counts = count_verdicts(calibrations.values())
    logger.info("calibrations: %s", ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
