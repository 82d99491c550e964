"""All figures of a study in one folder: SVG, PNG and a table of the data of each figure.

The same tables give the same bytes. A figure without data is left out.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from lib.atomic import whole_file, write_json
from lib.catalog.groups import ALL
from lib.catalog.protocols import PROTOCOL_ORDER, PROTOCOLS
from lib.catalog.scales import CALIBRATED_SCALES
from lib.catalog.stages import PICTURE_FIGURES
from lib.figures.age_figure import draw_density_by_age
from lib.figures.calibration_figures import draw_calibration_drift
from lib.figures.compared_networks import (
    draw_network_costs,
    draw_network_examples,
    draw_network_pair,
    draw_network_scores,
)
from lib.figures.covariates import draw_error_by_age, draw_error_by_pixel, draw_error_by_scanner
from lib.figures.density_figures import (
    draw_confusion,
    draw_density_calibration,
    draw_density_differences,
    draw_density_scatter,
    draw_structure_dice,
)
from lib.figures.examples import Example, draw_examples, draw_solids
from lib.figures.learning_curves import draw_fold_spread, draw_learning_curves
from lib.figures.measured_scans import draw_measured_scans
from lib.figures.precision_recall import draw_precision_recall
from lib.figures.repeats import draw_precision, draw_readers, repeated_pairs
from lib.figures.segmentation import (
    LEVEL_COLUMNS,
    draw_dice_by_distance,
    draw_error_by_distance,
    draw_levels,
    draw_scores,
)
from lib.figures.style import (
    MUTED,
    RED,
    STYLE,
    Drawing,
    count_people,
    darken,
    groups_of,
    places_of,
    points_of,
)
from lib.figures.volumes import (
    draw_bland_altman,
    draw_regression,
    draw_relative_error,
    draw_sex_specific,
)
from lib.stats.agreement_units import volumes_of
from lib.stats.density_by_age import densities_of_people
from lib.stats.density_people import without_repeated
from lib.stats.density_plan import NETWORK
from lib.stats.density_scale import scale_in_words, scale_of, without_scale
from lib.stats.grouping import without_repeats
from lib.stats.primary import primary_rows
from lib.stats.tables import WHOLE_MASK, write_table

# all kinds of figures in reading order; report/captions holds a caption for each. {bone}: words of the anatomy
TITLES = {
    "examples": "Reference and prediction, slice by slice",
    "solid": "Where the prediction misses or adds bone",
    "measured_scans": "Measures of every scan",
    "network_scores": "Dice of every person by each network",
    "network_costs": "Dice against what a network takes",
    "network_pair": "The stated pair, person by person",
    "network_examples": "Best, median and worst person of the stated pair",
    "scores": "Overlap with the reference",
    "precision_recall": "Precision and recall at every threshold",
    "levels": "Dice by part of {bone}",
    "error_by_distance": "Where along the bone errors lie",
    "dice_by_distance": "Dice of single slices along the bone",
    "density_scatter": "Predicted and reference density, by vendor",
    "density_bland_altman": "Difference of densities against mean, by vendor",
    "density_calibration": "Bias and slope of densities, by vendor and method",
    "density_confusion": "Classes of density, by vendor",
    "density_dice": "Dice by structure and vendor",
    "density_by_age": "Density against age, by region and sex",
    "calibration_drift": "Calibration of the scanners, scan by scan",
    "relative_error": "Relative error of volume",
    "regression": "Predicted and reference volume",
    "bland_altman": "Difference against mean",
    "sex_specific": "Sex-specific against the model of everybody",
    "error_by_age": "Error against age",
    "error_by_pixel": "Error against pixel size",
    "error_by_scanner": "Error by scanner and its settings",
    "precision": "Repeated scans",
    "readers": "Two readers and the model",
    "fold_spread": "Spread between folds and between people",
    "learning_curves": "Learning curves of all folds",
}
# figures whose points open the page of their scan; those of figures with too many points do not
LINKED_KINDS = (
    *("measured_scans", "relative_error", "regression", "bland_altman"),
    *("density_scatter", "density_bland_altman"),
)
# above this number of points an SVG holds them as pixels: thousands of vector markers are slow to open
_MOST_VECTOR_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """The results of a study from which figures are drawn.

    Attributes:
        metrics, volumes, agreement, paired, spread, precision, readers, acquisition: the study's tables of these
            names; an empty frame if there is none.
        histories: learning curves by (group, network, fold): epoch, loss, validation_dice.
        slices: errors along z of each scored prediction (`by_slice` of `measure_overlap`), by `structure_key`.
        curves: voxels by their probability of each scored prediction (`VoxelCounts.to_json`), by `structure_key`.
        examples: scans for the figures of contours and solids.
        networks, dimension_pair: tables that compare the networks of a study with several; else empty.
        densities: the tables of densities by name (`lib.catalog.stages.DENSITY_TABLES`); empty without a regression.
        calibration: the table of this name; empty in a study without calibrations.
        measurements: the table of this name; empty in a study without calibrated densities by region.
        pair_examples: scans as each network of the stated pair predicted them, with a word for each row.
        detailed: the networks with figures of their own; empty: all.
        synthetic: whether the cohort is synthetic; every figure then says so.
        bone: the bone of the study's anatomy, in words.
        value_unit: unit of the images' values; empty: they have none.
    """

    metrics: pd.DataFrame
    agreement: pd.DataFrame
    volumes: pd.DataFrame = field(default_factory=pd.DataFrame)
    paired: pd.DataFrame = field(default_factory=pd.DataFrame)
    spread: pd.DataFrame = field(default_factory=pd.DataFrame)
    precision: pd.DataFrame = field(default_factory=pd.DataFrame)
    readers: pd.DataFrame = field(default_factory=pd.DataFrame)
    acquisition: pd.DataFrame = field(default_factory=pd.DataFrame)
    histories: Mapping[tuple[str, str, int], pd.DataFrame] = field(default_factory=dict)
    slices: Mapping[str, Mapping] = field(default_factory=dict)
    curves: Mapping[str, Mapping] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    networks: pd.DataFrame = field(default_factory=pd.DataFrame)
    dimension_pair: pd.DataFrame = field(default_factory=pd.DataFrame)
    densities: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    measurements: pd.DataFrame = field(default_factory=pd.DataFrame)
    pair_examples: Sequence[tuple[str, Sequence[Example]]] = ()
    detailed: Sequence[str] = ()
    synthetic: bool = False
    bone: str = "the bone"
    value_unit: str = ""


def draw_figures(results: StudyResults, folder: str | Path) -> list[dict]:
    """Draw every figure that the results allow into `folder`, and list them in `figures.json`.

    Each entry holds `name` (of the .svg and .png files), `csv` (file name of the figure's data), `kind` (of the
    caption), `network`, `protocol`, `structure` (empty if the study has one), `title`, `n`, `alt` (text for screen
    readers), and `width` and `height` in CSS pixels. Those of LINKED_KINDS hold `points`: scan, x and y of each point
    in CSS pixels, none of a figure with more than 400. Those of PICTURE_FIGURES hold `dark`: file name of the figure
    on a dark sheet.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    several = len({structure for *_, structure in _keys(results.metrics, results.volumes)}) > 1
    with mpl.rc_context(STYLE):
        for kind, (network, protocol, structure), draw in _all_figures(results):
            drawing = draw()
            if drawing is not None:
                entry = {"kind": kind, "network": network, "protocol": protocol}
                title = TITLES[kind].format(bone=results.bone)
                entry |= {"title": ", ".join(filter(None, (title, drawing.told)))}
                entry |= {"structure": structure if several else ""}
                entries.append(_save(drawing, folder, entry, results.synthetic))
    write_json(folder / "figures.json", {"figures": entries})
    return entries


# network, protocol, structure
_Key = tuple[str, str, str]
# kind, key, function that draws it
_Plan = Iterator[tuple[str, _Key, Callable[[], Drawing | None]]]


def _all_figures(results: StudyResults) -> _Plan:
    if results.examples:
        yield "examples", ("", "", ""), lambda: draw_examples(results.examples)
        yield "solid", ("", "", ""), lambda: draw_solids(results.examples)
    people = without_repeats(results.metrics)
    yield from _scan_figures(results)
    yield from _network_figures(people, results)
    # as in `agreement_table`: a repeated scan replaces a first scan without volumes
    measured = without_repeats(results.metrics.dropna(subset=list(WHOLE_MASK)))
    pairs = repeated_pairs(results.volumes) if len(results.volumes) else results.volumes
    for key in _keys(results.metrics, results.volumes, results.readers):
        if results.detailed and key[0] not in results.detailed:
            continue
        of_key = _of(people, key)
        yield from _overlap_figures(of_key, results, key)
        yield from _volume_figures(of_key, _of(measured, key), results, key)
        yield from _covariate_figures(of_key, results.acquisition, key)
        yield from _repeat_figures(_of(pairs, key), results, key)
        if key[1] == "cv" and len(of_key):
            spread = _of(results.spread, (key[0], "", key[2]))
            if len(spread):
                yield (
                    "fold_spread",
                    key,
                    lambda of_key=of_key, spread=spread: draw_fold_spread(of_key, spread),
                )
    yield from _density_figures(results)
    yield from _age_figures(results)
    if len(results.calibration):
        yield "calibration_drift", ("", "", ""), lambda: draw_calibration_drift(results.calibration)
    for network in sorted({key[1] for key in results.histories}):
        curves = {(key[0], key[2]): curve for key, curve in results.histories.items() if key[1] == network}
        yield "learning_curves", (network, "", ""), lambda curves=curves: draw_learning_curves(curves)


def _scan_figures(results: StudyResults) -> _Plan:
    """Yield the measures of every scan in the first group, for each structure, by the first network."""
    if results.volumes.empty:
        return
    group = _of_group(results.volumes, groups_of(results.volumes)[0])
    network = next(iter(results.detailed), group["network"].iloc[0])
    primary = primary_rows(group[group["network"] == network])
    for structure in primary["structure"].drop_duplicates():
        own = primary[primary["structure"] == structure]
        yield (
            "measured_scans",
            (network, "", structure),
            lambda own=own: draw_measured_scans(own, results.value_unit),
        )


def _network_figures(people: pd.DataFrame, results: StudyResults) -> _Plan:
    """Yield the figures that set networks beside each other, of the first group."""
    if results.pair_examples:
        yield "network_examples", ("", "", ""), lambda: draw_network_examples(results.pair_examples)
    if results.networks.empty:
        return
    group = groups_of(results.networks)[0]
    tables = (people, results.networks, results.dimension_pair)
    for protocol, structure in dict.fromkeys((key[1], key[2]) for key in _keys(results.networks)):
        key = ("", protocol, structure)
        scored, networks, pairs = (_of(_of_group(table, group), key) for table in tables)
        if scored["dsc"].isna().all():
            continue
        counted = count_people(scored)
        yield "network_scores", key, lambda m=scored, n=networks: draw_network_scores(m, n)
        yield "network_costs", key, lambda n=networks, c=counted: draw_network_costs(n, c)
        for pair in pairs[pairs["measure"] == "dsc"].to_dict("records") if len(pairs) else ():
            yield "network_pair", key, lambda m=scored, p=pair: draw_network_pair(m, p)
        yield (
            "precision_recall",
            key,
            lambda m=scored: draw_precision_recall(m, results.curves, by="network"),
        )


def _density_figures(results: StudyResults) -> _Plan:
    """Yield the figures of densities of the first group and mean, for each network that reads them and protocol."""
    if not results.densities:
        return
    unit = scale_in_words(scale_of(results.densities["bmd_agreement"]))
    tables = {name: without_scale(table) for name, table in results.densities.items()}
    agreement = tables["bmd_agreement"]
    for group, network, protocol in agreement[["group", "network", "protocol"]].drop_duplicates().to_numpy():
        if group != groups_of(agreement)[0]:
            continue
        key = (network, protocol, "")
        of_key = {
            name: _of_group(_of(tables[name], key), group)
            for name in ("bmd_people", "bmd_agreement", "confusion")
        }
        found = _of_group(_of(tables["levels_found"], ("", protocol, "")), group)
        of_key = {name: _of_first_mean(table) for name, table in of_key.items()}
        yield from _density_plan(key, of_key, found, unit)


def _age_figures(results: StudyResults) -> _Plan:
    """Yield density against age of everybody in the first group, for each network, structure and scale."""
    if results.measurements.empty:
        return
    people = densities_of_people(_of_group(results.measurements, groups_of(results.measurements)[0]))
    people = people[people["protocol"] == ALL]
    for network, structure in people[["network", "structure"]].drop_duplicates().to_numpy():
        if results.detailed and network not in results.detailed:
            continue
        key = (network, "", structure)
        own = _of(people, key)
        for scale in CALIBRATED_SCALES:
            yield "density_by_age", key, lambda own=own, scale=scale: draw_density_by_age(own, scale)


def _density_plan(key: _Key, tables: Mapping[str, pd.DataFrame], found: pd.DataFrame, unit: str) -> _Plan:
    """Yield the figures of densities of one network and protocol."""
    people, agreement, confusion = (tables[name] for name in ("bmd_people", "bmd_agreement", "confusion"))
    if len(agreement):
        people = without_repeated(people)
        yield "density_scatter", key, lambda: draw_density_scatter(people, agreement, unit)
        yield "density_bland_altman", key, lambda: draw_density_differences(people, agreement, unit)
        yield "density_calibration", key, lambda: draw_density_calibration(agreement, unit)
    if len(confusion):
        yield "density_confusion", key, lambda: draw_confusion(confusion[confusion["method"] == NETWORK])
    trained = dict(zip(agreement["vendor"], agreement["vendor_trained"], strict=True))
    if len(found):
        yield "density_dice", key, lambda: draw_structure_dice(found, trained)


def _of_first_mean(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first mean of people, without scans with contrast medium."""
    means = table[table["mean_of"] != ""]
    if "contrast" in means:
        means = means[means["contrast"] == "no"]
    return means[means["mean_of"] == means["mean_of"].iloc[0]] if len(means) else means


def _of_group(table: pd.DataFrame, group: str) -> pd.DataFrame:
    return table[table["group"] == group] if len(table) else table


def _overlap_figures(people: pd.DataFrame, results: StudyResults, key: _Key) -> _Plan:
    """Yield the figures of overlap; figures along the bone show only the first group."""
    scored = people.dropna(subset=["dsc"])
    if scored.empty:
        return
    yield "scores", key, lambda: draw_scores(scored)
    yield "precision_recall", key, lambda: draw_precision_recall(people, results.curves)
    if scored[LEVEL_COLUMNS].notna().any(axis=None):
        yield "levels", key, lambda: draw_levels(scored, results.bone)
    first, slices = people[people["group"] == groups_of(people)[0]], results.slices
    names = first[["group", "network", "members", "scan", "structure"]].agg("/".join, axis=1)
    first = first[[bool(slices.get(name, {}).get("distance_mm")) for name in names]]
    along, counted = [slices[name] for name in names[first.index]], count_people(first)
    if along:
        yield "error_by_distance", key, lambda: draw_error_by_distance(along, counted)
        yield "dice_by_distance", key, lambda: draw_dice_by_distance(along, counted)


def _volume_figures(people: pd.DataFrame, measured: pd.DataFrame, results: StudyResults, key: _Key) -> _Plan:
    """Yield the figures of volume: agreement of the `measured` scans, comparisons of models on `people`."""
    if measured.empty:
        return
    agreement = _of(volumes_of(results.agreement), key)
    agreement = agreement[agreement["stratum"] == ALL]
    paired = _of(results.paired, key)
    relative = measured.dropna(subset=["re_percent"])
    if len(relative):
        yield "relative_error", key, lambda: draw_relative_error(relative)
    yield "regression", key, lambda: draw_regression(measured, agreement)
    yield "bland_altman", key, lambda: draw_bland_altman(measured, agreement)
    if len(paired):
        yield "sex_specific", key, lambda: draw_sex_specific(people, paired)


def _covariate_figures(people: pd.DataFrame, acquisition: pd.DataFrame, key: _Key) -> _Plan:
    known = people.dropna(subset=["re_percent", "dsc"], how="all")
    if known.empty:
        return
    first = known[known["group"] == groups_of(known)[0]]
    yield "error_by_age", key, lambda: draw_error_by_age(first)
    if len(acquisition):
        yield "error_by_pixel", key, lambda: draw_error_by_pixel(first, acquisition)
        yield "error_by_scanner", key, lambda: draw_error_by_scanner(first, acquisition)


def _repeat_figures(pairs: pd.DataFrame, results: StudyResults, key: _Key) -> _Plan:
    readers = _of(results.readers, key)
    if len(pairs):
        yield "precision", key, lambda: draw_precision(pairs, _of(results.precision, key))
    if len(readers):
        yield "readers", key, lambda: draw_readers(readers)


def _keys(*tables: pd.DataFrame) -> list[_Key]:
    """Return network, protocol and structure of all rows of the tables, in reading order."""
    names = ["network", "protocol", "structure"]
    rows = (table[names].itertuples(index=False) for table in tables if len(table))
    keys = dict.fromkeys(tuple(row) for row in itertools.chain(*rows))
    return sorted(keys, key=lambda key: (key[0], (*PROTOCOL_ORDER, key[1]).index(key[1])))


def _of(table: pd.DataFrame, key: _Key) -> pd.DataFrame:
    """Return the rows of a network, protocol and structure; "" stands for all of them."""
    for name, value in zip(("network", "protocol", "structure"), key, strict=True):
        if value and name in table:
            table = table[table[name] == value]
    return table


def _save(drawing: Drawing, folder: Path, entry: dict, synthetic: bool) -> dict:
    """Save a figure as SVG and PNG without metadata, and its data; return its entry for `figures.json`."""
    figure = drawing.figure
    said = ["synthetic cohort"] if synthetic else []
    said += [PROTOCOLS[entry["protocol"]].on_figures] if entry["protocol"] else []
    said += [entry["structure"]] if entry["structure"] else []
    if said:
        figure.suptitle("  ·  ".join(said), x=0.99, ha="right", fontsize=8, color=RED if synthetic else MUTED)
    parts = (entry["kind"].replace("_", "-"), entry["network"], entry["protocol"], entry["structure"])
    parts = (*parts, drawing.part.replace("_", "-"))
    name = "-".join(part for part in parts if part)
    points = points_of(figure)
    many = _keep_light(figure)
    # computing the layout here once avoids computing it at every saving; with the engine "none" instead of None every
    # saving would draw the figure twice
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine(None)
    with whole_file(folder / f"{name}.svg") as temporary:
        figure.savefig(temporary, metadata={"Date": None, "Creator": None})
    with whole_file(folder / f"{name}.png") as temporary:
        figure.savefig(temporary, metadata={"Software": None}, pil_kwargs={"compress_level": 2})
    further = {}
    if entry["kind"] in LINKED_KINDS:
        further["points"] = [] if many else places_of(figure, points)
    if entry["kind"] in PICTURE_FIGURES:
        further["dark"] = f"{name}-dark.webp"
        darken(figure)
        with whole_file(folder / further["dark"]) as temporary:
            figure.savefig(temporary, pil_kwargs={"quality": 85})
    write_table(drawing.data, folder / f"{name}.csv")
    width, height = (round(100 * float(inches)) for inches in figure.get_size_inches())
    shown = {"csv": f"{name}.csv", "n": drawing.n, "alt": drawing.alt, "width": width, "height": height}
    return {"name": name, **entry, **shown, **further}


def _keep_light(figure: Figure) -> bool:
    """Rasterise the points of a figure with many points in its SVG; lines and texts stay vectors.

    Returns whether the figure has that many.
    """
    # not figure.findobj, which makes the ticks of all axes
    points = [part for axes in figure.axes for part in axes.collections if isinstance(part, PathCollection)]
    many = sum(len(part.get_offsets()) for part in points) > _MOST_VECTOR_POINTS
    for part in points if many else ():
        part.set_rasterized(True)
    return many
