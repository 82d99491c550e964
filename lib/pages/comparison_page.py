"""The page of a comparison of two runs: one file, readable offline."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from lib.atomic import write_text
from lib.catalog.measures import MEASURES, SUMMARIES
from lib.catalog.protocols import PROTOCOLS
from lib.compare_settings import ComparisonConfig
from lib.pages.templates import content_policy, page_asset, page_environment
from lib.stats.comparison import NUMBERS as COMPARED
from lib.stats.comparison import Run, count_moved, differences
from lib.stats.formats import records

MOST_ROWS = 500  # scans.csv holds all rows
# numbers of a scan: name, label, form
NUMBERS = tuple(
    # volumes with one digit more than in the report, because both runs are similar
    (
        name,
        MEASURES[name].heading,
        MEASURES[name].form.finer() if name.endswith("_mm3") else MEASURES[name].form,
    )
    for name in COMPARED
)
# labels of what moved; other names are shown unchanged
KINDS = {name: MEASURES[name].in_words for name in COMPARED} | {
    "predicted_mask": "predicted mask",
    "reference_mask": "reference mask",
    "prediction": "predicted in one run only",
}
WORDS = ("subject", "verdict", "set", "fold", "review", "protocol", "members", "flags")


def write_comparison(
    runs: tuple[Run, Run],
    table: pd.DataFrame,
    summary: pd.DataFrame,
    config: ComparisonConfig,
    path: str | Path,
) -> None:
    """Render the comparison of this run with another and write it atomically to `path` (index.html)."""
    style = page_asset("style.css")
    context = comparison_context(runs, table, summary) | {
        "tolerances": asdict(config),
        "style": Markup(style),
        "policy": content_policy("", style),
    }
    write_text(path, page_environment().get_template("page/comparison.html.j2").render(context))


def comparison_context(runs: tuple[Run, Run], table: pd.DataFrame, summary: pd.DataFrame) -> dict:
    """Return the variables of the template by name."""
    here, there = runs
    predicted = table[table["group"] != ""]
    both, moved = table[table["status"] == "both"], table[table["moved"] != ""]
    return {
        "here": here,
        "there": there,
        "common": both["scan"].nunique(),
        "moved": moved["scan"].nunique(),
        "counts": {KINDS.get(kind, kind): count for kind, count in count_moved(table).items()},
        "rows": [_shown(row) for row in records(moved.head(MOST_ROWS))],
        "left_out": max(0, len(moved) - MOST_ROWS),
        "only": {
            status: list(dict.fromkeys(table.loc[table["status"] == status, "scan"]))
            for status in ("only here", "only there")
        },
        "summary": records(summary),
        "differences": differences(here, there),
        "numbers": NUMBERS,
        # one digit more than in the report, because both runs are similar
        "digits": {name: summary.form.finer() for name, summary in SUMMARIES.items()},
        "protocols": PROTOCOLS,
        "several": len(predicted[["group", "network"]].drop_duplicates()) > 1,
    }


def _shown(row: dict) -> dict:
    """Return a row with the texts that changed, as (name, there, here)."""
    moved = row["moved"].split()
    words = [(name, row[f"other_{name}"], row[name]) for name in WORDS if name in moved]
    told = ", ".join(KINDS.get(name, name) for name in moved)
    return row | {"names": moved, "told": told, "words": words}
