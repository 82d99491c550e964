"""Job script of rule correct_bias: divide one converted scan by its bias field."""

from lib.imaging.bias_field import correct_bias
from lib.imaging.nifti import read_image, write_image
from lib.joblog import job_log

with job_log(snakemake.log[0]):
    write_image(correct_bias(read_image(snakemake.input.image)), snakemake.output.image)
