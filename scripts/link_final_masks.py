"""Job script of rule link_final_masks: the mask to use of each scan, and the colours of its labels.

input: people (table), corrected (masks); output: masks (folder); params: structures (names)
"""

from pathlib import Path

from lib.atomic import whole_folder
from lib.figures.label_colors import SLICER_FILE, SNAP_FILE, slicer_color_table, snap_label_descriptions
from lib.imaging.linked import link_file
from lib.joblog import job_log
from lib.stats.cohort_people import final_mask_name, final_mask_sources
from lib.stats.tables import read_table

with job_log(snakemake.log[0]) as logger:
    structures = snakemake.params.structures
    sources = final_mask_sources(read_table(snakemake.input.people))
    with whole_folder(snakemake.output.masks) as folder:
        for scan, source in sources.items():
            link_file(Path("results", source), folder / final_mask_name(scan))
        (folder / SLICER_FILE).write_text(slicer_color_table(structures), encoding="utf-8")
        (folder / SNAP_FILE).write_text(snap_label_descriptions(structures), encoding="utf-8")
    logger.info("%d masks", len(sources))
