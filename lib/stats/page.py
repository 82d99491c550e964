"""The report: one page with everything a study found, readable without network, from a file or a server.

`build_context` turns tables into what the template shows (pure data, tested); `write_page` renders it. Text from
tables is escaped by the template engine; the page loads nothing from elsewhere.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lib.ages import age_years, printed_age
from lib.atomic import write_text
from lib.stats.tables import (
    PAPER_TABLE1,
    PROTOCOL_ORDER,
    STAGES,
    TABLE1_NUMBERS,
    score_table,
)

REPORT_FOLDER = Path(__file__).resolve().parents[2] / "report"
TABLES = ("metrics", "volumes", "agreement", "folds", "paired", "ages", "table1", "flow", "acquisition")
DASH = "–"
# the page must stay usable for cohorts of thousands; the tables beside it hold every row
MOST_ROWS = 1000
MOST_PICTURES = 200

PROTOCOLS = {
    "cv": (
        "Cross-validation",
        "out-of-fold people, each predicted by the one fold model that never saw them",
    ),
    "test": ("Test", "test people, predicted by the ensemble of all folds (mean probability)"),
    "test-single": (
        "Test, single model",
        "test people, predicted by the one fold model with the best validation Dice",
    ),
    "external": (
        "External",
        "people with a reference who played no part in training, predicted by the ensemble",
    ),
    "apply": ("Apply", "people without a reference: measured, not scored"),
}
WEIGHTS = {
    "last": "last weights of the training (or their running average); nothing was chosen on validation people",
    "best": "weights with the best Dice on the fold's validation people",
}
# flags of crop.json, otsu.json and uncertainty.json, {section[key]} stands for a setting; those of screening bring
# their own words
FLAG_MEANINGS = {
    "bone_at_border": "bone lies nearer to the window's border than crop.min_margin_mm; the window may cut it.",
    "components_dropped": "parts that hang apart from the largest one were more than 1 % of it and were left out.",
    "crop_uncertain": "the hip was not found without doubt. Look at its crop; if the window is wrong, read its "
    "centre from the scales and give it in the table (crop_x_mm, crop_y_mm).",
    "cut_not_reached": "the mask ends above the plane {measure[distal_cut_mm]} mm below the lesser trochanter.",
    "empty_mask": "no bone was found at all.",
    "members_disagree": "the mean Dice between the fold models' masks (member DSC) is below "
    "{predict[review_member_dice]}. Often the image is unlike the training people, or damaged. Members can also be "
    "wrong together: no flag is no proof.",
    "no_bone": "the window holds no bone of a femur.",
    "no_lesser_trochanter": "the lesser trochanter was not found in the mask, so there is no volume above the cut.",
    "off_protocol": "the scan was not made as the protocol says; the section Acquisition names the differences.",
    "otsu_out_of_range": "Otsu's threshold lay outside otsu.low to otsu.high; otsu.fallback was used.",
    "otsu_undefined": "the probability map holds one value only and has no Otsu threshold; otsu.fallback was used.",
    "override": "the centre of the window was given in the table, not found.",
    "padded": "the window reaches beyond the scan; it was filled with air there.",
}
# where the protocol of the section Acquisition comes from
PROTOCOL_SOURCES = {
    "configuration": "The protocol is the one that the configuration names (acquisition_protocol).",
    "majority": "The configuration names no protocol, so it is what most accepted scans share: a field is judged if "
    "at least five scans state it and more than half of these agree. A CT header that names no contrast medium "
    "counts as one without.",
}
SEX_NAMES = {"all": "everybody", "M": "men", "F": "women"}
# the network of Zhao et al. 2020: each choice but the channels, and the words for another one
NETWORK_CHOICES = {
    "dimensions": ("3", ""),  # always told
    "encoder_convolutions": ("1-2-3-3", "{} convolutions on the encoder's levels"),
    "decoder_convolutions": ("2-2-2", "{} convolutions on the decoder's levels"),
    "kernel": ("3", "kernels with an edge of {}"),
    "transposed_kernel": ("3", "transposed kernels with an edge of {}"),
    "skip": ("concat", "skip connections that add"),
    "residual": ("False", "residual shortcuts"),
    "normalisation": ("none", "{} normalisation"),
    "activation": ("relu", "{} activation"),
    "bottleneck_dilation": ("1", "a dilation of {} in the bottleneck"),
    "dropout": ("0.2", "a dropout of {}"),
    "classes": ("1", "{} kinds of bone"),
}
# text of the column `undefined` (lib.stats.tables): "name, name: reason; name: reason"
UNDEFINED = re.compile(r"(\w+(?:, \w+)*): (.+?)(?=; \w+(?:, \w+)*: |$)")


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """What the page shows.

    Attributes:
        study: the study's name.
        synthetic: the people are made up: the page says so, and shows no paper beside them.
        tables: the tables TABLES by name (see `lib.stats.tables`).
        table_paths: files to download, by the same names.
        figures: entries of `figures.json`.
        figure_folder: where these figures lie.
        contours: montage `….webp` of each predicted scan by prediction key; a thumbnail `…-small.webp` lies beside.
        crops: picture of each scan's window in the whole scan, by scan.
        protocol: content of `cohort/protocol.json`: how scans should have been made, and how many were.
        screened: contents of the screening files.
        runs: contents of the `run.json` of every trained fold.
        settings: the configuration.
        provenance: what this was made with, line by line: versions, digests.
        notes: what a reader must know first: models older than the configuration, parts that are missing.
    """

    study: str
    synthetic: bool
    tables: Mapping[str, pd.DataFrame]
    table_paths: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Mapping] = ()
    figure_folder: str = ""
    contours: Mapping[str, str] = field(default_factory=dict)
    crops: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping = field(default_factory=lambda: {"source": "majority", "fields": []})
    screened: Sequence[Mapping] = ()
    runs: Sequence[Mapping] = ()
    settings: Mapping = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_page(data: ReportData, path: str | Path) -> None:
    """Render the report to `path` (index.html), whole or not at all; links are relative to its folder."""
    environment = Environment(
        loader=FileSystemLoader(REPORT_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": show_number, "interval": show_interval, "pvalue": show_p_value}
    environment.globals["link"] = lambda target: os.path.relpath(target, Path(path).parent).replace(
        os.sep, "/"
    )
    environment.globals["asset"] = lambda name: Markup(
        (REPORT_FOLDER / "page" / name).read_text(encoding="utf-8")
    )
    write_text(path, environment.get_template("page/index.html.j2").render(build_context(data)))


def build_context(data: ReportData) -> dict:
    """Return everything the template shows, by name."""
    tables = data.tables
    return {
        "data": data,
        "settings": data.settings,
        "protocols": PROTOCOLS,
        "weights": WEIGHTS,
        "sex_names": SEX_NAMES,
        "headlines": headlines(tables["metrics"], tables["agreement"]),
        "flow": summarize_flow(tables["flow"]),
        "people": describe_people(tables["flow"]),
        "agreement": records(tables["agreement"]),
        "folds": fold_groups(tables["folds"]),
        "paired": records(tables["paired"]),
        "ages": records(tables["ages"]),
        "table1": table1_rows(tables["table1"]),
        "figures": figure_groups(data),
        "scores": scan_rows(tables["metrics"]),
        "score_count": len(tables["metrics"]),
        "pictures": picture_groups(data),
        "flags": flag_rows(tables["volumes"]),
        "flag_meanings": flag_meanings(tables["volumes"], data.screened, data.settings),
        "refused": refused_rows(tables["flow"], data.screened),
        "acquisition_counts": acquisition_counts(tables["acquisition"]),
        "acquisitions": acquisition_rows(data.screened),
        "protocol_source": PROTOCOL_SOURCES[data.protocol["source"]],
        "off_protocol": off_protocol_rows(tables["acquisition"]),
        "trainings": training_rows(data.runs),
        "networks": network_texts(data.runs),
        "follows_paper": follows_paper(data.runs),
        "loss_text": loss_text,
        "most_rows": MOST_ROWS,
    }


def show_number(value: object, digits: int = 2, *, why: str = "not defined for this sample") -> Markup | str:
    """Format a number with thousands separators and a true minus; an en dash that says why if there is none."""
    if value is None or pd.isna(value):
        return Markup('<span class="none" title="{}">{}</span>').format(why, DASH)
    return f"{float(value):,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def show_interval(row: Mapping, name: str, digits: int = 2, scale: float = 1.0) -> Markup | str:
    """Format `name`_ci_low to `name`_ci_high of a row; an en dash if the sample allows no interval."""
    ends = [row[f"{name}_ci_{end}"] for end in ("low", "high")]
    if any(end is None or pd.isna(end) for end in ends):
        return show_number(None, why="no interval: too few people, or several scans of one person")
    return " to ".join(show_number(end * scale, digits) for end in ends)


def show_p_value(value: object) -> Markup | str:
    """Format a p-value as papers do."""
    if value is None or pd.isna(value):
        return show_number(None, why="no test: too few people, or several scans of one person")
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def records(table: pd.DataFrame) -> list[dict]:
    """Return the rows of a table as dictionaries with None for what is missing."""
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in table.astype(object).where(table.notna(), None).to_dict("records")
    ]


def headlines(metrics: pd.DataFrame, agreement: pd.DataFrame) -> list[dict]:
    """Return the numbers of the first cohort for each model and protocol: never pooled with one another."""
    scores = {(r["cohort"], r["model"], r["protocol"]): r for r in records(score_table(metrics))}
    rows = [row for row in records(agreement) if row["sex"] == "all"]
    first = rows[0]["cohort"] if rows else ""
    return [
        scores[row["cohort"], row["model"], row["protocol"]] | row for row in rows if row["cohort"] == first
    ]


def summarize_flow(flow: pd.DataFrame) -> list[dict]:
    """Return for each stage how many scans and people reached it, and why others went no further."""
    position = flow["stage"].map({stage: number for number, stage in enumerate(STAGES)})
    steps = []
    for number, stage in enumerate(STAGES):
        there, stopped = flow[position >= number], flow[(position == number) & (flow["reason"] != "")]
        reasons = Counter(code for codes in stopped["reason"] for code in codes.split()[:1])
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


def describe_people(flow: pd.DataFrame) -> dict:
    """Return counts by sex and set and the range of age of the people whose scans were accepted."""
    accepted = flow[flow["verdict"] == "ok"].drop_duplicates("subject")
    ages = sorted(years for years in map(age_years, accepted["age"]) if years is not None)
    return {
        "count": len(accepted),
        "women": int((accepted["sex"] == "F").sum()),
        "men": int((accepted["sex"] == "M").sum()),
        "ages": [printed_age(ages[0]), printed_age(ages[-1])] if ages else [],
        "sets": {
            name: int((accepted["set"] == name).sum()) for name in ("train", "test", "external", "apply")
        },
    }


def fold_groups(folds: pd.DataFrame) -> list[dict]:
    """Return the rows of each cohort and model with mean and range of R2 over the folds."""
    groups = []
    for (cohort, model), part in folds.groupby(["cohort", "model"], sort=False):
        known = part["r2"].dropna()
        spread = {"low": known.min(), "mean": known.mean(), "high": known.max()} if len(known) else None
        groups.append({"cohort": cohort, "model": model, "rows": records(part), "r2": spread})
    return groups


def table1_rows(table: pd.DataFrame) -> list[dict]:
    """Return Table 1 row by row, each cohort's paper row (where the table holds the paper) after the last of ours."""
    rows = records(table)
    result = []
    for number, row in enumerate(rows):
        result.append(row | {"source": "this study"})
        last = number + 1 == len(rows) or rows[number + 1]["cohort"] != row["cohort"]
        if last and "paper_r2" in row:
            paper = dict(zip(TABLE1_NUMBERS, PAPER_TABLE1[row["cohort"]], strict=True))
            result.append(
                paper | {"cohort": row["cohort"], "source": "Zhao 2020", "n": None, "protocol": "paper"}
            )
    return result


def figure_groups(data: ReportData) -> list[dict]:
    """Return figures with captions, grouped by model and protocol in reading order; the general ones come first."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for entry in data.figures:
        shown = dict(entry) | {"caption": _caption(entry["kind"])}
        shown |= {kind: f"{data.figure_folder}/{entry['name']}.{kind}" for kind in ("svg", "png")}
        groups.setdefault((entry["model"] if entry["protocol"] else "", entry["protocol"]), []).append(shown)
    order = {"": -1} | {name: number for number, name in enumerate(PROTOCOL_ORDER)}
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], order[item[0][1]]))
    return [
        {"model": model, "protocol": protocol, "figures": figures} for (model, protocol), figures in ordered
    ]


def scan_rows(metrics: pd.DataFrame) -> list[dict]:
    """Return scored scans, the lowest Dice first, at most MOST_ROWS of them."""
    return _with_reasons(metrics.sort_values(["dsc", "scan"], na_position="first").head(MOST_ROWS))


def picture_groups(data: ReportData) -> list[dict]:
    """Return contours grouped by protocol, test people first and open; lowest Dice first, MOST_PICTURES of a group.

    Only the first cohort's models are shown: the others predict the same people.
    """
    volumes = data.tables["volumes"]
    if volumes.empty:
        return []
    keys = ["cohort", "model", "members", "scan"]
    scored = data.tables["metrics"][[*keys, "dsc", "re_percent"]]
    table = volumes[volumes["cohort"] == volumes["cohort"].iloc[0]].merge(scored, on=keys, how="left")
    table["path"] = [data.contours.get("/".join(key)) for key in table[keys].itertuples(index=False)]
    table = table.dropna(subset=["path"])
    table["small"] = [path.removesuffix(".webp") + "-small.webp" for path in table["path"]]
    groups = []
    for (model, protocol), part in table.groupby(["model", "protocol"]):
        pictures = records(part.sort_values(["dsc", "scan"]).head(MOST_PICTURES))
        group = {
            "model": model,
            "protocol": protocol,
            "total": len(part),
            "open": protocol in ("test", "external"),
        }
        groups.append(group | {"pictures": pictures})
    first = ("test", "external", "cv", "apply", "test-single")
    return sorted(groups, key=lambda group: (group["model"], first.index(group["protocol"])))


def flag_rows(volumes: pd.DataFrame) -> list[dict]:
    """Return predictions with flags."""
    return _with_reasons(volumes[volumes["flags"] != ""].head(MOST_ROWS)) if len(volumes) else []


def flag_meanings(
    volumes: pd.DataFrame, screened: Iterable[Mapping], settings: Mapping
) -> list[tuple[str, str]]:
    """Return the flags that occur, by name, each with what it means under `settings` (the configuration)."""
    raised = {flag for flags in volumes["flags"] for flag in flags.split()}
    reasons = (reason for record in screened for reason in record["reasons"])
    known = {reason["code"]: f"{reason['rule']} {reason['action']}" for reason in reasons}
    known |= {flag: FLAG_MEANINGS[flag].format_map(settings) for flag in raised & FLAG_MEANINGS.keys()}
    return [(flag, known[flag]) for flag in sorted(raised & known.keys())]


def undefined_reasons(text: str) -> dict[str, str]:
    """Return the reason for each value that a scan does not define, by name, from the text of `undefined`."""
    return {name: reason for names, reason in UNDEFINED.findall(text) for name in names.split(", ")}


def refused_rows(flow: pd.DataFrame, screened: Iterable[Mapping]) -> list[dict]:
    """Return scans that were rejected, excluded or got stuck: what was found, which rule, what to do."""
    found = {record["scan"]: record["reasons"] for record in screened}
    rows = []
    for row in records(flow[(flow["reason"] != "") & (flow["reason"] != "no_reference")].head(MOST_ROWS)):
        reasons = [reason for reason in found.get(row["scan"], ()) if reason["severity"] == "rejected"]
        plain = [{"code": row["reason"], "found": row["explanation"], "rule": "", "action": ""}]
        rows.append(row | {"reasons": reasons or plain})
    return rows


def acquisition_counts(acquisition: pd.DataFrame) -> list[dict]:
    """Return for scanner, kernel and voltage which there are and how many accepted scans each has, most first."""
    accepted = records(acquisition[acquisition["verdict"] == "ok"])
    kinds = {"Scanner": ("manufacturer", "model"), "Kernel": ("kernel",), "kVp": ("kvp",)}
    return [
        {
            "kind": kind,
            "rows": Counter(_together(row, names) for row in accepted).most_common(),
        }
        for kind, names in kinds.items()
    ]


def off_protocol_rows(acquisition: pd.DataFrame) -> list[dict]:
    """Return the accepted scans that differ from the protocol, each with the list of its differences."""
    return [
        row | {"differences": row["off_protocol"].split("; ")}
        for row in records(acquisition[acquisition["verdict"] == "ok"])
        if row["off_protocol"]
    ]


def acquisition_rows(screened: Iterable[Mapping]) -> list[dict]:
    """Return accepted scans grouped by scanner, voltage and kernel, with the range of their voxel sizes."""
    groups: dict[tuple, list[Mapping]] = {}
    for record in screened:
        if record["verdict"] == "ok":
            values = record.get("acquisition") or {}
            key = tuple(
                _text(values.get(name)) for name in ("manufacturer", "model", "kvp", "kernel", "contrast")
            )
            groups.setdefault(key, []).append(record["geometry"])
    rows = []
    for (manufacturer, model, kvp, kernel, contrast), shapes in sorted(groups.items()):
        names = {
            "manufacturer": manufacturer,
            "model": model,
            "kvp": kvp,
            "kernel": kernel,
            "contrast": contrast,
        }
        rows.append(
            names
            | {"scans": len(shapes), "pixel_mm": _range([shape["spacing_mm_xyz"][0] for shape in shapes], 3)}
            | {"slice_mm": _range([shape["spacing_mm_xyz"][2] for shape in shapes], 2)}
            | {"length_mm": _range([shape["length_mm"] for shape in shapes], 0)}
        )
    return rows


def training_rows(runs: Iterable[Mapping]) -> list[dict]:
    """Return one row for each cohort and network: folds, people, updates, best validation Dice, time, device."""
    groups: dict[tuple[str, str], list[Mapping]] = {}
    for run in runs:
        groups.setdefault((run["cohort"], run["model"]), []).append(run)
    rows = []
    for (cohort, model), folds in sorted(groups.items()):
        dice = [
            fold["best_validation_dice"] for fold in folds if fold.get("best_validation_dice") is not None
        ]
        rows.append(
            {
                "cohort": cohort,
                "model": model,
                "folds": len(folds),
                "parameters": folds[0].get("parameters"),
                "scans": _range([len(fold.get("training", ())) for fold in folds], 0),
                "updates": _range([fold.get("updates", 0) for fold in folds], 0),
                "dice": _range(dice, 4) if dice else None,
                "hours": sum(fold.get("seconds", 0.0) for fold in folds) / 3600,
                "device": ", ".join(sorted({_text(fold.get("device")) for fold in folds})),
                "precision": ", ".join(sorted({_text(fold.get("precision")) for fold in folds})),
            }
        )
    return rows


def network_texts(runs: Iterable[Mapping]) -> dict[str, str]:
    """Return for each model what its network is: dimensions, feature maps, and what the paper's has otherwise."""
    return {model: _network_text(network) for model, network in _networks(runs).items()}


def follows_paper(runs: Iterable[Mapping]) -> bool:
    """Return whether there are networks and all of them are the paper's, whatever their number of feature maps."""
    networks = _networks(runs).values()
    return bool(networks) and not any(_other_choices(network) for network in networks)


def loss_text(train: Mapping) -> str:
    """Return the words for the loss that the section `train` of the configuration chooses, without its L2 term."""
    weight = train["bone_weight"]
    entropy = "cross-entropy" + ("" if weight == 1 else f" (each voxel of bone counted {weight:g} times)")
    words = {"dice": "soft Dice", "cross_entropy": entropy}
    words["dice_cross_entropy"] = f"the sum of soft Dice and {entropy}"
    return words[train["loss"]]


def _networks(runs: Iterable[Mapping]) -> dict[str, Mapping]:
    return {run["model"]: run["network"] for run in runs}


def _network_text(network: Mapping) -> str:
    others = _other_choices(network)
    dimensions = others.pop("dimensions", NETWORK_CHOICES["dimensions"][0])
    words = [NETWORK_CHOICES[name][1].format(value) for name, value in others.items()]
    return ", ".join([f"{dimensions}-D", f"{_choice_text(network['channels'])} feature maps", *words])


def _other_choices(network: Mapping) -> dict[str, str]:
    """Return the choices of a network, as text, that are not the paper's."""
    made = {name: _choice_text(network[name]) for name in NETWORK_CHOICES}
    return {name: value for name, value in made.items() if value != NETWORK_CHOICES[name][0]}


def _choice_text(value: object) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")


def _with_reasons(table: pd.DataFrame) -> list[dict]:
    """Return the rows of a table whose `undefined` becomes a mapping from names to reasons."""
    return [row | {"undefined": undefined_reasons(row["undefined"])} for row in records(table)]


def _caption(kind: str) -> str:
    return (
        (REPORT_FOLDER / "captions" / f"{kind}.rst").read_text(encoding="utf-8").strip().replace(" -", " −")
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "not stated" if value in (None, "") else str(value)


def _together(row: Mapping, names: Iterable[str]) -> str:
    """Return the values of a row as one text, without those that are not stated."""
    return " ".join(_text(row[name]) for name in names if row[name] not in (None, "")) or _text(None)


def _range(values: Sequence[float], digits: int) -> str:
    low, high = (f"{end(values):.{digits}f}" for end in (min, max))
    return low if low == high else f"{low} to {high}"
