"""The densities of one scan without those of other scans: read by networks, and by the calibration of the scan.

They are the rows that the scan has in tables/bmd.csv and tables/bmd_people.csv. Lines on HU are left out: they are
fitted to the whole cohort.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.calibrated import Calibration, read_calibration
from lib.classes_settings import ClassesConfig
from lib.stats.density_people import bmd_people_table
from lib.stats.density_plan import NETWORK, PHANTOM, DensityPlan
from lib.stats.density_rows import DensityInputs, bmd_table, read_estimates
from lib.stats.density_scale import without_scale
from lib.stats.formats import records


@dataclass(frozen=True, kw_only=True)
class ScanDensities:
    """What is known of the densities of one scan.

    Attributes:
        plan: how densities are tabulated; None in a study without a regression.
        calibration: that of the scan; None if it has none.
        absent: structures that do not count (`levels_absent`).
        prediction: the prediction whose structures were read; empty: none of the network that is measured.
        structures: rows of `lib.stats.density_rows.bmd_table` of this prediction, without the scale in their names.
        means: rows of `lib.stats.density_people.bmd_people_table`, likewise.
    """

    plan: DensityPlan | None = None
    calibration: Calibration | None = None
    absent: Collection[str] = ()
    prediction: Mapping[str, str] | None = None
    structures: Sequence[Mapping] = ()
    means: Sequence[Mapping] = ()


def scan_inputs(
    known: Mapping[str, Mapping],
    files: tuple[Iterable[str | Path], Iterable[str | Path]],
    measured: tuple[Mapping[str, Mapping], Mapping[str, Mapping]],
) -> DensityInputs:
    """Return what is known of the densities of some scans.

    Args:
        known: `references` and `absent`, by scan (`DensityInputs`).
        files: folders of estimates (`read_estimates`), and calibrations `{scan}.json`.
        measured: sections `levels` and `overlap` of `lib.measured.read_measured`.
    """
    estimates, calibrated = files
    levels, overlaps = measured
    return DensityInputs(
        levels=levels,
        overlaps=overlaps,
        estimates=read_estimates(estimates),
        references=known["references"],
        absent=known["absent"],
        vendors={},  # only lines on HU know vendors
        repeats={},
        calibrations={Path(path).stem: read_calibration(path) for path in calibrated},
    )


def scan_densities(row: Mapping, inputs: DensityInputs, settings: Mapping) -> ScanDensities:
    """Return the densities of the first prediction of a scan by the network whose masks are measured.

    Args:
        row: `placement` (scan, subject, sex, age, fold, trains) and `predictions` (group, network, members, protocol,
            weights) of the scan; those of the single model have no density.
        inputs: what is known of the scans; those of other scans are ignored.
        settings: arguments of `DensityPlan`, with those of `ClassesConfig` as `classes`; empty without a regression.
    """
    scan = row["placement"]["scan"]
    calibrations = {name: found for name, found in inputs.calibrations.items() if name == scan}
    calibration, absent = calibrations.get(scan), inputs.absent.get(scan, ())
    if not settings:
        return ScanDensities(calibration=calibration, absent=absent)
    plan = DensityPlan(**{**settings, "classes": ClassesConfig(**settings["classes"])})
    known = {"plan": plan, "calibration": calibration, "absent": absent}
    read = next(
        (
            one
            for one in row["predictions"]
            if one["network"] == plan.segmentation and one["protocol"] != "test-single"
        ),
        None,
    )
    if read is None:
        return ScanDensities(**known)
    planned, own = [{**row["placement"], **read}], replace(inputs, calibrations=calibrations)
    structures = without_scale(bmd_table(planned, own, plan, (NETWORK, PHANTOM)))
    means = without_scale(bmd_people_table(structures, plan))
    return ScanDensities(**known, prediction=read, structures=records(structures), means=records(means))
