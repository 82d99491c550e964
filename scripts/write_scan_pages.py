"""Job script of rule write_scan_pages: write a page with pictures for each predicted scan of a batch.

input: by scan: images (cropped), references (cropped mask, if there is one), records (crop.json), screened,
    crops (picture of the window), rods (picture of the density phantom), femurs (picture of the projected
    femur of its first prediction), calibrated (.json, of a scan that is calibrated); by prediction: masks, measured
    (.json); estimates (folders .../{group}/{network}/{members}/batch-{b} with {scan}/estimate.json); errors (list of
    volume_errors.json)
output: pages (folder with {scan}.html and {scan}-*.webp)
params: structures (names), scans (placement, review and predictions of each, the primary one first), known
    (references and absent structures by scan), density (arguments of `lib.stats.density_plan.DensityPlan`; empty
    without a regression), shown (settings, synthetic)
"""

from pathlib import Path

from lib.atomic import read_json, whole_folder
from lib.imaging.grid import array_zyx, require_same_grid, spacing_zyx
from lib.imaging.nifti import read_result
from lib.joblog import job_log
from lib.measured import by_name, path_key, read_measured
from lib.pages.scan_numbers import shown_predictions
from lib.pages.scan_page import ScanPage, write_scan_page
from lib.stats.intervals import read_volume_errors, with_intervals
from lib.stats.scan_densities import scan_densities, scan_inputs
from lib.stats.tables import by_scan, by_stem, by_structure, prediction_key


def read_on_grid(path, image):
    """Return a label map that lies on the grid of the cropped scan, (z, y, x)."""
    labels = read_result(path)
    require_same_grid(image, labels, "the cropped scan", "the label map")
    return array_zyx(labels)


with job_log(snakemake.log[0]) as logger:
    given, params, structures = snakemake.input, snakemake.params, snakemake.params.structures
    images, references, records = (by_scan(given[name]) for name in ("images", "references", "records"))
    named = {name: by_stem(given[name]) for name in ("screened", "crops", "rods", "femurs")}
    masks = {path_key(Path(path).parent): path for path in given.masks}
    volumes, overlaps, *more = read_measured(given.measured, "volume", "overlap", "levels", "density")
    plans = by_structure((plan for row in params.scans for plan in row["predictions"]), structures)
    errors, report = read_volume_errors(given.errors), params.shown["settings"]["report"]
    volumes = with_intervals(volumes, plans, errors, report["confidence"])
    inputs = scan_inputs(params.known, (given.estimates, given.calibrated), (more[0], overlaps))
    with whole_folder(snakemake.output.pages) as folder:
        for row in params.scans:
            scan, image = row["placement"]["scan"], read_result(images[row["placement"]["scan"]])
            shown = {**row, **params.shown, "predictions": []}
            for plan in row["predictions"]:
                labels = read_on_grid(masks[prediction_key(plan)], image)
                shown["predictions"] += shown_predictions(plan, labels, structures, (volumes, overlaps))
            reference_zyx = read_on_grid(references[scan], image) if scan in references else None
            levels, density = (by_name(found, prediction_key(row["predictions"][0])) for found in more)
            shown |= {"reference_zyx": reference_zyx, "levels": levels, "density": density}
            shown |= {"screened": read_json(named["screened"][scan]), "crop": read_json(records[scan])}
            shown |= {"image_zyx": array_zyx(image), "spacing_mm_zyx": spacing_zyx(image)}
            shown |= {f"{name}_picture": scan in named[f"{name}s"] for name in ("crop", "rod", "femur")}
            write_scan_page(ScanPage(**shown, read=scan_densities(row, inputs, params.density)), folder)
    logger.info("pages of %d scans written", len(params.scans))
