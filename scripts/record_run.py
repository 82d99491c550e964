"""Job script of rule record_run: record the settings and versions of this run, for later comparisons.

output: record (json); params: settings, software (versions), digests (of the code, by rule), models (digests of
    finished ones, by fold)
"""

from lib.atomic import write_json
from lib.joblog import job_log
from lib.learning.finished import flat

with job_log(snakemake.log[0]) as logger:
    params = snakemake.params
    record = {"settings": flat(params.settings), "software": params.software, "code": params.digests}
    record["models"] = params.models
    write_json(snakemake.output.record, record)
    logger.info("%d settings recorded", len(record["settings"]))
