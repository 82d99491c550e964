"""Shared by all pages: templates, styles and scripts in report/page, number formats, the content security policy."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lib.catalog.measures import MEASURES, SUMMARIES
from lib.pages.terms import term_link
from lib.stats.formats import (
    WITHIN_VOXEL,
    WITHIN_VOXEL_MEANING,
    gaps_told,
    scans_told,
    show_codes,
    show_interval,
    show_number,
    show_p_value,
    show_percent,
    show_setting,
)

REPORT_FOLDER = Path(__file__).resolve().parents[2] / "report"


def page_environment() -> Environment:
    """Return the template engine of the pages, which escapes all text and refuses undefined names."""
    environment = Environment(
        loader=FileSystemLoader(REPORT_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": show_number, "interval": show_interval, "pvalue": show_p_value}
    environment.filters |= {"codes": show_codes, "scans_told": scans_told, "gaps_told": gaps_told}
    environment.filters |= {"setting": show_setting, "percent": show_percent}
    environment.filters |= {"term": term_link, "unbroken": keep_intervals_whole}
    environment.globals |= {"within_voxel": WITHIN_VOXEL, "within_voxel_meaning": WITHIN_VOXEL_MEANING}
    environment.globals |= {"measures": MEASURES, "summaries": SUMMARIES}
    environment.globals["asset"] = lambda name: Markup(page_asset(name))
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def keep_intervals_whole(text: str) -> str:
    """Return a text, or markup, whose intervals "0.1 to 0.2" and deviations "± 0.1" stay on one line."""
    return text.replace(" to ", "\u00a0to\u00a0").replace("± ", "±\u00a0")


def page_asset(name: str) -> str:
    """Return the text of a style sheet or script of the pages."""
    return (REPORT_FOLDER / "page" / name).read_text(encoding="utf-8")


def content_policy(script: str, style: str) -> str:
    """Return the content security policy of a page: its own script and style, files next to it, no network.

    `file:` is needed because 'self' matches nothing on a page opened from a file.
    """
    allowed = {
        "default-src": "'none'",
        "script-src": _hash_source(script),
        "style-src": _hash_source(style),
        "img-src": "'self' file: data:",
        "frame-src": "'self' file:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in allowed.items())


def _hash_source(text: str) -> str:
    """Return the source expression that allows exactly this inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
