"""The report: one page with all results of a study, readable offline from a file or from a server.

`build_context` turns tables into the template's variables (pure data, tested); `write_page` renders them. The
template engine escapes text from tables. The page loads nothing from elsewhere; its security policy forbids it.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from lib.acquired_slices import PLANES, pixel_of, plane_of, slice_distance_of
from lib.ages import age_years, printed_age
from lib.atomic import write_text
from lib.catalog.anatomies import ANATOMIES
from lib.catalog.groups import ALL
from lib.catalog.measures import ABOVE_CUT
from lib.catalog.modalities import FIELD_TITLES, MODALITIES, Modality
from lib.catalog.protocols import CARD_PROTOCOLS, FOLDED_PROTOCOLS, PROTOCOL_ORDER, PROTOCOLS, SETS
from lib.catalog.stages import CALIBRATED_FIGURES, DENSITY_FIGURES, PICTURE_FIGURES, flow_steps
from lib.density_settings import CORTICAL_DEPTH_MM
from lib.network_comparison_settings import explain_changes
from lib.pages.calibrated_section import calibrated_section
from lib.pages.density_methods import calibration_methods, regression_methods
from lib.pages.density_section import density_section
from lib.pages.first_screen import found_sentences, primary_headlines, shown_cases
from lib.pages.network_tables import (
    dimension_pair_view,
    network_costs_view,
    network_pairs_view,
    network_scores_view,
    published_scores_view,
    selection_view,
)
from lib.pages.protocol_text import paper_text
from lib.pages.references import Citations
from lib.pages.region_tables import region_meanings, region_tables
from lib.pages.report_tables import (
    PageTable,
    age_view,
    agreement_tables,
    coverage_view,
    cut_table,
    flag_view,
    fold_view,
    headline_tables,
    level_view,
    of_first_cohort,
    paired_view,
    partition_view,
    precision_view,
    reader_view,
    score_tables,
    spread_view,
    subgroup_view,
    table1_view,
    table2_view,
    training_view,
)
from lib.pages.scan_table import scan_data, script_json
from lib.pages.templates import REPORT_FOLDER, content_policy, page_asset, page_environment
from lib.pages.wording import (
    FEW_NETWORKS,
    PROTOCOL_SOURCES,
    WEIGHTS,
    augmentation_text,
    counted,
    flag_meanings,
    joined,
    loss_text,
    network_texts,
    people_text,
    training_text,
)
from lib.publications.article import Publication, score_rows
from lib.publications.followed import followed_publication
from lib.stats.agreement_units import volumes_of
from lib.stats.formats import (
    records,
    show_range,
    show_setting,
    show_text,
    undefined_reasons,
)
from lib.stats.grouping import scores_by_group, without_repeats
from lib.stats.scan_counts import USED_STAGES, count_flagged, count_scans, first_reasons

SCRIPTS = ("scans.js", "review.js", "points.js", "page.js", "wide.js")
TABLES = (
    *("metrics", "volumes", "scores", "agreement", "folds", "paired", "ages"),
    *("levels", "spread", "subgroups", "precision", "readers", "coverage", "partitions"),
    *("flow", "acquisition"),
)
OF_DENSITY = "density"  # the section that only a study with a regression of densities has
OF_CALIBRATION = "calibration"  # the section that only a study with calibrated scans has
OF_NETWORKS = "networks"  # the section that only a study of several networks has
OF_ARTICLE = "papers"  # the section that only a study has whose publication has tables
# sections in reading order: name in links, title
SECTIONS = (
    *(("numbers", "Headline numbers"), ("methods", "What was run"), ("flow", "Flow of scans")),
    ("partitions", "People by partition"),
    (OF_CALIBRATION, "Calibrated density"),
    (OF_DENSITY, "Bone mineral density"),
    *((OF_NETWORKS, "Networks"), ("overlap", "Overlap"), ("agreement", "Agreement of volumes")),
    (OF_ARTICLE, "Tables 1 and 2"),
    *(("figures", "Figures"), ("scans", "Scans"), ("gallery", "Worst first"), ("flags", "Flags")),
    *(("ages", "Ages"), ("refused", "Refused"), ("acquisition", "Acquisition"), ("provenance", "Provenance")),
    ("definitions", "Definitions"),
)
# figures made of pixels: their SVG files hold the same pixels in more bytes, so the page shows the PNG
PIXEL_FIGURES = ("examples", "solid")
# keeps the page usable for cohorts of thousands; the table files hold all rows
MOST_ROWS = 1000
MOST_LINES = 30  # a longer table scrolls by itself
WIDE_PERCENT = 25.0  # an interval of a volume that is wider, to either side, tells little


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """The content of the page.

    Attributes:
        study: the study's name.
        synthetic: whether the cohort is synthetic; the page then says so and shows no published numbers.
        tables: the tables TABLES by name (see `lib.stats.tables`); also `table1` and `table2` of a study that follows
            an article with such tables (`lib.publications`), NETWORK_TABLES of a study of several networks,
            DENSITY_TABLES of one whose regression reads densities, CALIBRATION_TABLES of one with calibrated scans,
            and `density_by_age` of one that measures calibrated densities by region.
        table_paths: table files to download, by the same names.
        figures: entries of `figures.json`.
        figure_folder: folder of these figures.
        pages: page `{scan}.html` of each predicted scan, with its thumbnail `{scan}-small.webp` and its planes
            `{scan}-planes.webp` in the same folder.
        crops: picture of each scan's window in the whole scan, by scan.
        reviews: verdict, comment and reviewed volume (`seen_mm3`) from the review that this run used, by scan.
        protocol: content of `cohort/protocol.json`: the expected acquisition, and how many scans agree with it.
        screened: contents of the screening files.
        runs: contents of the `run.json` of every fold of the networks that segment.
        regressions: those of the networks that read densities.
        settings: the configuration.
        provenance: versions and digests by name.
        detailed: the networks with figures of their own; empty: all.
        comparison: which comparison of networks was stated when (`state_comparison`).
        notes: warnings at the top of the page: models older than the configuration, missing parts.
    """

    study: str
    synthetic: bool
    tables: Mapping[str, pd.DataFrame]
    table_paths: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Mapping] = ()
    figure_folder: str = ""
    pages: Mapping[str, str] = field(default_factory=dict)
    crops: Mapping[str, str] = field(default_factory=dict)
    reviews: Mapping[str, Mapping] = field(default_factory=dict)
    protocol: Mapping = field(default_factory=lambda: {"source": "majority", "fields": []})
    screened: Sequence[Mapping] = ()
    runs: Sequence[Mapping] = ()
    regressions: Sequence[Mapping] = ()
    settings: Mapping = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    detailed: Sequence[str] = ()
    comparison: Mapping[str, Mapping] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_page(data: ReportData, path: str | Path) -> None:
    """Render the report and write it atomically to `path` (index.html); links are relative to its folder."""
    script = "".join(page_asset(name) for name in SCRIPTS)
    style = page_asset("style.css")
    context = build_context(data, lambda target: link_from(path, target)) | {"citations": Citations()}
    context |= {"script": Markup(script), "style": Markup(style), "policy": content_policy(script, style)}
    write_text(path, page_environment().get_template("page/index.html.j2").render(context))


def link_from(page: str | Path, target: str | Path) -> str:
    """Return the relative link from a page to a file."""
    return os.path.relpath(target, Path(page).parent).replace(os.sep, "/")


def build_context(data: ReportData, link: Callable[[str], str] = str) -> dict:
    """Return the variables of the template by name; `link` turns a path into a link from the page."""
    tables = data.tables
    pages = {scan: link(path) for scan, path in data.pages.items()}
    first_group = headlines(tables, data.settings["report"])
    networks = list(dict.fromkeys(row["network"] for row in first_group))
    many = len(networks) > FEW_NETWORKS
    modality = data.settings["screening"]["modality"]
    anatomy, publication = data.settings["anatomy"], followed_publication(data.settings)
    return {
        "data": data, "link": link,
        "sections": sections_of(publication, tables),
        "density": density_section(tables, data.settings["classes"]["means"] or {}),
        "calibrated": calibrated_section(tables),
        "publication": publication,
        "detailed": data.detailed,
        "restated": explain_changes(data.comparison),
        "definitions": publication.definitions if publication else {},
        "modality": modality,
        "plane": slice_plane(data),
        "value_unit": MODALITIES[modality].unit, "padding": MODALITIES[modality].padding,
        "cut": cut_in_words(data.settings),
        "subject": ANATOMIES[anatomy].subject or joined(data.settings["structures"]),
        "settings": data.settings,
        "protocols": PROTOCOLS, "set_words": SETS, "weights": WEIGHTS,
        "headlines": first_group,
        **headline_section(first_group),
        "first": first_screen(data, first_group, pages),
        "many_networks": many,
        "flow": summarize_flow(tables["flow"]),
        "people": accepted_people(tables["flow"]),
        "views": page_views(data, pages),
        "widest_interval": widest_interval(tables["coverage"]),
        "intervals": bool(tables["volumes"]["interval_percent"].notna().any()),
        "region_meanings": region_meanings(records(tables["agreement"]), data.settings),
        "fold_r2": fold_ranges(tables["folds"]),
        "figures": figure_groups(data), "density_figures": figure_groups(data, OF_DENSITY),
        "calibrated_figures": figure_groups(data, OF_CALIBRATION),
        "points_json": script_json(figure_points(data.figures, pages)),
        "scan_json": script_json(
            scan_data(
                tables, study=data.study, networks=configured_networks(data.settings), pages=pages,
                reviews=data.reviews, structures=data.settings["report"].get("structures") or (),
            )
        ),
        "scans": tables["volumes"]["scan"].nunique(),
        "flagged": int((tables["volumes"]["flags"] != "").sum()),
        "flag_meanings": flag_meanings(tables["volumes"], data.screened, data.settings),
        "refused": refused_rows(tables["flow"], data.screened),
        **acquisition_section(data),
        "mirrored_anatomies": [name for name, anatomy in ANATOMIES.items() if anatomy.has_sides],
        **methods_section(data),
        "cortical_depth_mm": CORTICAL_DEPTH_MM,
        "counted": counted,
        "most_rows": MOST_ROWS, "most_lines": MOST_LINES,
        "structures": list(data.tables["volumes"]["structure"].unique()),
    }  # fmt: skip


def methods_section(data: ReportData) -> dict:
    """Return the variables of the methods paragraphs that no other section has."""
    publication = followed_publication(data.settings)
    return {
        "networks": network_texts(data.runs),
        "paper_text": partial(paper_text, publication, data.settings, data.runs),
        "training_text": training_text(data.runs),
        "calibration_methods": calibration_methods(data.tables),
        "regression_methods": regression_methods(data.regressions),
        "loss_text": loss_text,
        "augmentation_text": augmentation_text,
    }


def widest_interval(coverage: pd.DataFrame) -> float:
    """Return the largest median half-width of intervals, in percent, if it is too wide to tell much; else 0."""
    widest = coverage["interval_percent_median"].max() if len(coverage) else 0.0
    return float(widest) if widest > WIDE_PERCENT else 0.0


def first_screen(data: ReportData, rows: Sequence[Mapping], pages: Mapping[str, str]) -> dict:
    """Return the variables of the first screen.

    These are `found` (sentences), `scans` (`ScanCounts`), `flagged` (number of scans), `cases` (pictures of scans)
    and `planes_through` (where the planes of the pictures cross).

    `rows` are the headlines, and `pages` links to the scans' pages. A picture of a case lies beside its page.
    """
    networks, tables = configured_networks(data.settings), data.tables
    cases = shown_cases(tables["metrics"], primary_headlines(rows, networks), pages)
    return {
        "found": found_sentences(rows, tables, networks, data.settings["classes"]["means"] or {}),
        "scans": count_scans(tables["flow"]),
        "flagged": count_flagged(tables["volumes"], networks),
        "cases": [(case, pages[case.scan], pages[case.scan].removesuffix(".html")) for case in cases],
        "planes_through": ANATOMIES[data.settings["anatomy"]].planes_through,
    }


def headline_section(rows: Sequence[Mapping]) -> dict:
    """Return the headlines as `cards` or, of many networks or structures, as `headline_tables`.

    Both hold what is `shown`, in the order of CARD_PROTOCOLS, and what is `folded`.
    """
    kinds = {"shown": CARD_PROTOCOLS, "folded": FOLDED_PROTOCOLS}
    many = any(len({row[name] for row in rows}) > FEW_NETWORKS for name in ("network", "structure"))
    return {
        "cards": {
            kind: [row for protocol in protocols for row in rows if row["protocol"] == protocol]
            for kind, protocols in kinds.items()
        },
        "headline_tables": {
            kind: headline_tables(rows, protocols) if many else [] for kind, protocols in kinds.items()
        },
    }


def sections_of(publication: Publication | None, tables: Collection[str]) -> list[tuple[str, str]]:
    """Return name and title of the sections of the page of a study that follows an article or none.

    `tables` are the names of its tables: a section on networks or densities needs theirs.
    """
    left_out = set() if publication is not None and publication.tables else {OF_ARTICLE}
    left_out |= set() if OF_NETWORKS in tables else {OF_NETWORKS}
    left_out |= set() if "bmd_agreement" in tables else {OF_DENSITY}
    left_out |= set() if "calibration" in tables else {OF_CALIBRATION}
    return [section for section in SECTIONS if section[0] not in left_out]


def page_views(data: ReportData, pages: Mapping[str, str]) -> dict[str, list[PageTable]]:
    """Return the tables of the page by subject; a subject without rows has no tables."""
    kept = [name for name in data.tables if name not in ("metrics", "volumes", "flow")]
    rows = {name: records(data.tables[name]) for name in kept}
    value_unit = MODALITIES[data.settings["screening"]["modality"]].unit
    rows["agreement"] = records(volumes_of(data.tables["agreement"]))
    views = {
        "folds": fold_view,
        "spread": spread_view,
        "paired": paired_view,
        "precision": partial(precision_view, value_unit=value_unit),
        "readers": reader_view,
        "coverage": coverage_view,
        "levels": partial(level_view, bone=f"the {ANATOMIES[data.settings['anatomy']].bone}"),
        "table1": table1_view,
        "table2": table2_view,
        "ages": age_view,
        "subgroups": subgroup_view,
        "partitions": partition_view,
        "network_scores": network_scores_view,
        "network_costs": network_costs_view,
        "network_pairs": network_pairs_view,
        "dimension_pair": dimension_pair_view,
        "selection": selection_view,
    }
    rows |= {view: rows.get("networks") for view in ("network_scores", "network_costs")}
    made = {name: [view(rows[name])] if rows.get(name) else [] for name, view in views.items()}
    publication = followed_publication(data.settings)
    printed = score_rows(publication) if publication and not data.synthetic else []
    for section in (OF_NETWORKS, OF_DENSITY):
        here = printed if publication and publication.about == section else []
        made[f"published_{section}"] = [published_scores_view(here)] if here else []
    made["scores"] = score_tables(rows["scores"]) if rows["scores"] else []
    made["agreement"] = agreement_tables(rows["agreement"]) if rows["agreement"] else []
    cut = records(volumes_of(data.tables["agreement"], ABOVE_CUT))
    made["agreement_cut"] = [cut_table(rows["agreement"], cut)] if cut else []
    made["regions"] = region_tables(records(data.tables["agreement"]))
    flags, trainings = flagged_predictions(data.tables["volumes"]), training_rows(data.runs)
    made["flags"] = [flag_view(flags, pages)] if flags else []
    made["trainings"] = [training_view(trainings)] if trainings else []
    return made


def cut_in_words(settings: Mapping) -> str:
    """Return where the fixed distal cut lies, such as "20 mm below the lesser trochanter"; empty if there is none."""
    below, cut_mm = ANATOMIES[settings["anatomy"]].cut_below, settings["measure"]["distal_cut_mm"]
    return "" if cut_mm is None or not below else f"{show_setting(cut_mm)} mm below {below}"


def slice_plane(data: ReportData) -> str:
    """Return the plane of the slices that the networks see; `acquired` if no model says it yet."""
    axes = [run["slice_axis"] for run in data.runs if "slice_axis" in run]
    return PLANES.get((axes or [data.settings["model_frame"]["slice_axis"]])[0], "acquired")


def configured_networks(settings: Mapping) -> list[str]:
    """Return the networks in the order of the configuration."""
    return list(settings.get("networks", ()))


def headlines(tables: Mapping[str, pd.DataFrame], settings: Mapping) -> list[dict]:
    """Return scores and agreement of the first group for each model, protocol and structure, never pooled.

    Each has `flagged`: how many of its scans have a flag. `settings` are the section `report`, whose `structures` the
    report leads with; none named: all.
    """
    structures = settings.get("structures")
    keys = ("group", "network", "protocol", "stratum", "structure")
    by_key = {
        tuple(group[key] for key in keys): group for group in scores_by_group(records(tables["scores"]))
    }
    rows = [
        row
        for row in records(volumes_of(tables["agreement"]))
        if row["stratum"] == ALL and (not structures or row["structure"] in structures)
    ]
    scored = without_repeats(tables["metrics"]).dropna(subset=["dsc"])
    of_model = [key for key in keys if key != "stratum"]
    flagged = Counter(
        tuple(row[key] for key in of_model) for row in scored[scored["flags"] != ""].to_dict("records")
    )
    return [
        by_key[tuple(row[key] for key in keys)]
        | row
        | {"flagged": flagged[tuple(row[key] for key in of_model)]}
        for row in of_first_cohort(rows)
    ]


def summarize_flow(flow: pd.DataFrame) -> list[dict]:
    """Return, for each stage, the number of scans and people that reached it and the reasons why others did not."""
    position = flow["stage"].map({stage: number for number, stage in enumerate(flow_steps())})
    steps = []
    for number, stage in enumerate(flow_steps()):
        there, stopped = flow[position >= number], flow[(position == number) & (flow["reason"] != "")]
        reasons = first_reasons(stopped["reason"])
        steps.append(
            {
                "stage": stage,
                "scans": len(there),
                "people": there["subject"].nunique(),
                "stopped": len(stopped),
                "reasons": [(code.replace("_", " "), count) for code, count in reasons.most_common()],
            }
        )
    return steps


def accepted_people(flow: pd.DataFrame) -> dict:
    """Return counts of accepted scans, of their people and of sets, and the people's sex and age in words."""
    scans = flow[flow["verdict"] == "ok"]
    people = scans.drop_duplicates("subject")
    ages = sorted(years for years in map(age_years, people["age"]) if years is not None)
    women, men = (int((people["sex"] == sex).sum()) for sex in "FM")
    return {
        "count": len(people),
        "scans": len(scans),
        "unpredicted": int((~scans["stage"].isin(USED_STAGES)).sum()),
        "words": people_text(len(people), women, men, [printed_age(years) for years in ages]),
        "sets": {name: int((people["set"] == name).sum()) for name in SETS},
    }


def fold_ranges(folds: pd.DataFrame) -> list[dict]:
    """Return mean and range of R2 over the folds of each group, network and structure with folds."""
    ranges, keys = [], ["group", "network", "structure"]
    for key, part in folds.dropna(subset=["r2"]).groupby(keys, sort=False):
        values = part["r2"]
        spread = {"low": values.min(), "mean": values.mean(), "high": values.max()}
        ranges.append(dict(zip(keys, key, strict=True)) | spread)
    return ranges


def figure_groups(data: ReportData, section: str = "figures") -> list[dict]:
    """Return the figures of a section with captions, by network and protocol in order; general figures come first.

    Those of densities stand in their own sections, OF_DENSITY and OF_CALIBRATION. Each group has `figures` (all of
    them), `general` (those of no single structure) and `structures`: `structure` and `figures` of each of several.
    """
    groups: dict[tuple[str, str], list[dict]] = {}
    publication = followed_publication(data.settings)
    for entry in (one for one in data.figures if _section_of(one["kind"]) == section):
        kinds = ("svg", "png", "csv") if entry.get("csv") else ("svg", "png")
        shown = dict(entry) | {
            "title": _figure_title(entry),
            "caption": _caption(entry["kind"], publication),
            "alt": entry.get("alt") or entry["title"],
        }
        shown["files"] = {kind: f"{data.figure_folder}/{entry['name']}.{kind}" for kind in kinds}
        shown["pictures"] = entry["kind"] in PICTURE_FIGURES
        shown["linked"] = any(scan in data.pages for scan, *_ in entry.get("points", ()))
        shown["dark"] = f"{data.figure_folder}/{entry['dark']}" if entry.get("dark") else ""
        shown["image"] = shown["files"]["png" if entry["kind"] in PIXEL_FIGURES else "svg"]
        groups.setdefault((entry["network"] if entry["protocol"] else "", entry["protocol"]), []).append(
            shown
        )
    order = {"": -1} | {name: number for number, name in enumerate(PROTOCOL_ORDER)}
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], order[item[0][1]]))
    return [
        {"network": network, "protocol": protocol} | _by_structure(figures)
        for (network, protocol), figures in ordered
    ]


def _by_structure(figures: Sequence[Mapping]) -> dict:
    """Return `figures`, `general` and `structures` of a group; a kind is explained at its first structure only."""
    first: dict[str, str] = {}
    by_name: dict[str, list[dict]] = {}
    told = []
    for figure in figures:
        structure = figure.get("structure", "")
        again = structure != first.setdefault(figure["kind"], structure)
        told.append(figure | {"again": again})
        if again:
            told[-1]["caption"] = f"As above, for {structure}."
        by_name.setdefault(structure, []).append(told[-1])
    general = by_name.pop("", [])
    structures = [{"structure": name, "figures": own} for name, own in by_name.items()]
    return {"figures": told, "general": general, "structures": structures}


def figure_points(figures: Iterable[Mapping], pages: Mapping[str, str]) -> dict:
    """Return the points of figures that open the page of a scan.

    Returns:
        `scans`: their names; `figures`: name of a figure -> its points, each with the position of its scan in
        `scans`, and x and y in CSS pixels of the figure.
    """
    positions: dict[str, int] = {}
    found = {}
    for entry in figures:
        points = [
            [positions.setdefault(scan, len(positions)), x, y]
            for scan, x, y in entry.get("points", ())
            if scan in pages
        ]
        if points:
            found[entry["name"]] = points
    return {"scans": list(positions), "figures": found}


def _section_of(kind: str) -> str:
    """Return the section of SECTIONS in which a kind of figure stands."""
    if kind in CALIBRATED_FIGURES:
        return OF_CALIBRATION
    return OF_DENSITY if kind.startswith(DENSITY_FIGURES) else "figures"


def flagged_predictions(volumes: pd.DataFrame) -> list[dict]:
    """Return predictions with flags."""
    return _with_reasons(volumes[volumes["flags"] != ""].head(MOST_ROWS)) if len(volumes) else []


def refused_rows(flow: pd.DataFrame, screened: Iterable[Mapping]) -> list[dict]:
    """Return the rejected, excluded and unfinished scans with their reasons: what was found, the rule, what to do."""
    found = {record["scan"]: record["reasons"] for record in screened}
    rows = []
    for row in records(flow[(flow["reason"] != "") & (flow["reason"] != "no_reference")]):
        reasons = [reason for reason in found.get(row["scan"], ()) if reason["severity"] == "rejected"]
        plain = [{"code": row["reason"], "found": row["explanation"], "rule": "", "action": ""}]
        rows.append(row | {"reasons": reasons or plain})
    return rows


def acquisition_section(data: ReportData) -> dict:
    """Return the variables of the section on acquisition."""
    modality = MODALITIES[data.settings["screening"]["modality"]]
    acquisition = data.tables["acquisition"]
    return {
        "acquisition_counts": acquisition_counts(acquisition, modality),
        "acquisition_heads": [FIELD_TITLES[name] for name in modality.shown],
        "acquisition_dependence": modality.dependence,
        "acquisitions": acquisition_rows(data.screened, modality),
        "protocol_source": f"{PROTOCOL_SOURCES[data.protocol['source']]} {modality.silence}".strip()
        if data.protocol["source"] == "majority"
        else PROTOCOL_SOURCES[data.protocol["source"]],
        "off_protocol": off_protocol_rows(acquisition),
    }


def acquisition_counts(acquisition: pd.DataFrame, modality: Modality) -> list[dict]:
    """Return the number of accepted scans by scanner and settings, most frequent first."""
    accepted = records(acquisition[acquisition["verdict"] == "ok"])
    return [
        {
            "kind": kind,
            "rows": Counter(_together(row, names) for row in accepted).most_common(),
        }
        for kind, names in modality.counted.items()
    ]


def off_protocol_rows(acquisition: pd.DataFrame) -> list[dict]:
    """Return the accepted scans that differ from the acquisition protocol, each with a list of its differences."""
    return [
        row | {"differences": row["off_protocol"].split("; ")}
        for row in records(acquisition[acquisition["verdict"] == "ok"])
        if row["off_protocol"]
    ]


def acquisition_rows(screened: Iterable[Mapping], modality: Modality) -> list[dict]:
    """Return accepted scans grouped by scanner and settings (`values`), with the range of their voxel sizes."""
    groups: dict[tuple, list[Mapping]] = {}
    for record in screened:
        if record["verdict"] == "ok":
            values = (record.get("acquisition") or {}) | {"plane": plane_of(record["geometry"])}
            key = tuple(show_text(values.get(name)) for name in modality.shown)
            groups.setdefault(key, []).append(record["geometry"])
    return [
        {
            "values": values,
            "scans": len(shapes),
            "pixel_mm": show_range([pixel_of(shape) for shape in shapes], 3),
            "slice_mm": show_range([slice_distance_of(shape) for shape in shapes], 2),
            "length_mm": show_range([shape["length_mm"] for shape in shapes], 0),
        }
        for values, shapes in sorted(groups.items())
    ]


def training_rows(runs: Iterable[Mapping]) -> list[dict]:
    """Return one row for each group and network: folds, people, updates, best validation Dice, time, device."""
    groups: dict[tuple[str, str], list[Mapping]] = {}
    for run in runs:
        groups.setdefault((run["group"], run["network"]), []).append(run)
    rows = []
    for (group, network), folds in sorted(groups.items()):
        dice = [
            fold["best_validation_dice"] for fold in folds if fold.get("best_validation_dice") is not None
        ]
        rows.append(
            {
                "group": group,
                "network": network,
                "folds": len(folds),
                "parameters": folds[0].get("parameters"),
                "scans": show_range([len(fold.get("training", ())) for fold in folds], 0),
                "updates": show_range([fold.get("updates", 0) for fold in folds], 0),
                "dice": show_range(dice, 4) if dice else None,
                "hours": sum(fold.get("seconds", 0.0) for fold in folds) / 3600,
                "device": ", ".join(sorted({show_text(fold.get("device")) for fold in folds})),
                "precision": ", ".join(sorted({show_text(fold.get("precision")) for fold in folds})),
            }
        )
    return rows


def _with_reasons(table: pd.DataFrame) -> list[dict]:
    """Return the rows of a table whose `undefined` becomes a mapping from names to reasons."""
    return [row | {"undefined": undefined_reasons(row["undefined"])} for row in records(table)]


def _figure_title(entry: Mapping) -> str:
    """Return the title of a figure, with its structure if the study has several."""
    return " · ".join(filter(None, (entry["title"], entry.get("structure"))))


def _caption(kind: str, publication: Publication | None) -> str:
    """Return the caption of a kind of figure, with the article's figure after which it is drawn."""
    text = (REPORT_FOLDER / "captions" / f"{kind}.rst").read_text(encoding="utf-8").strip()
    return text.replace(" -", " −") + (publication.after_figure(kind) if publication else "")


def _together(row: Mapping, names: Iterable[str]) -> str:
    """Return the values of a row as one text, without missing ones."""
    return " ".join(show_text(row[name]) for name in names if row[name] not in (None, "")) or show_text(None)
