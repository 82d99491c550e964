"""Job script of rule make_phantom_scan: make one synthetic scan as a DICOM series, with mask and truth."""

from lib.joblog import job_log
from lib.phantom.people import PhantomConfig
from lib.phantom.scan import make_phantom_scan

with job_log(snakemake.log[0]):
    make_phantom_scan(
        PhantomConfig(**snakemake.params.phantom),
        snakemake.wildcards.scan,
        snakemake.output.series,
        snakemake.output.mask,
        snakemake.output.truth,
    )
