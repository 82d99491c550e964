"""Draw docs/images/chain.svg (what follows what) and architecture.svg (who imports whom) from the texts below.

python docs/drawings.py
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
LIB = Path(__file__).parents[1] / "lib"
FONT = "system-ui, 'DejaVu Sans', sans-serif"
FILL = {"": "#ffffff", "person": "#fff3d6", "scan": "#e3eef8", "cohort": "#e6f2e4", "model": "#f3e6f2"}
INK, LINE, PAPER = "#1f2933", "#7b8794", "#f8fafc"


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle with a title and lines of text; places and sizes in pixels."""

    x: float
    y: float
    width: float
    height: float
    title: str
    lines: Sequence[str] = ()
    kind: str = ""

    def svg(self) -> str:
        """Return the box as SVG."""
        middle = self.x + self.width / 2
        top = self.y + self.height / 2 - 8.5 * len(self.lines) + 5
        texts = [text(middle, top, self.title, size=14, bold=True)]
        texts += [text(middle, top + 17 * (row + 1), line) for row, line in enumerate(self.lines)]
        return (
            f'<rect x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" height="{self.height:g}" rx="6" '
            f'fill="{FILL[self.kind]}" stroke="{LINE}"/>\n' + "\n".join(texts)
        )


def text(
    x: float, y: float, words: str, *, size: int = 12, bold: bool = False, anchor: str = "middle"
) -> str:
    """Return a line of text as SVG."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'
    )


def arrow(*points: tuple[float, float]) -> str:
    """Return a line through points that ends in a head, as SVG."""
    path = " ".join(f"{'ML'[bool(index)]}{x:g} {y:g}" for index, (x, y) in enumerate(points))
    return f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.6" marker-end="url(#head)"/>'


def drawing(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """Return a whole SVG file."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'font-family="{FONT}" fill="{INK}">\n<title>{escape(title)}</title>\n'
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{LINE}"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


# a box of the chain: column, row, title, lines, kind
CHAIN = (
    (0, 0, "your table", ("cohort.csv",), "person"),
    (1, 0, "screen_scan", ("a verdict for each scan",), "scan"),
    (2, 0, "split_folds", ("test people and folds,", "drawn once and kept"), "cohort"),
    (0, 1, "your images", ("DICOM, NIfTI, NRRD", "and reference masks"), "person"),
    (1, 1, "convert_scan", ("int16, axes in LPS",), "scan"),
    (2, 1, "resample_image", ("slices of 3 mm",), "scan"),
    (3, 1, "crop_image", ("the window that", "networks see"), "scan"),
    (3, 2, "train_fold", ("a network for each fold",), "model"),
    (2, 2, "predict_scans", ("by models that never", "saw the person"), "scan"),
    (1, 2, "measure_prediction", ("mask, volume, flags,", "overlap with the readers"), "scan"),
    (0, 2, "gather_…", ("tables of the cohort",), "cohort"),
    (0, 3, "summarize_agreement", ("scores and agreement,", "with intervals"), "cohort"),
    (1, 3, "draw_figures", ("SVG, PNG and their data",), "cohort"),
    (2, 3, "write_report", ("report/index.html and", "a page for each scan"), "cohort"),
)
CHAIN_ARROWS = (
    *((0, 0, 1, 0), (1, 0, 2, 0), (0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 2, 1), (2, 1, 3, 1), (2, 0, 2, 1)),
    *((3, 1, 3, 2), (3, 2, 2, 2), (2, 2, 1, 2), (1, 2, 0, 2), (0, 2, 0, 3), (0, 3, 1, 3), (1, 3, 2, 3)),
)

# packages of lib, from the top of the layers to the bottom
PACKAGES = {
    "commands": "programs beside the workflow: osteoflow, doctor, estimate, parts",
    "pages": "HTML of report, scans, comparison",
    "figures": "pictures",
    "screening": "a scan's verdict",
    "measuring": "a prediction's masks, and all that is measured of them",
    "anatomy": "window, landmarks, regions, checks of references",
    "density": "calibration rods, compartments, areal density",
    "reading": "DICOM and image files in",
    "learning": "networks, training, prediction",
    "stats": "numbers alone: overlap, agreement, precision",
    "imaging": "grids, resampling, crops, masks",
    "cohort": "table, folds, leakage, review",
    "phantom": "the synthetic cohort",
    "publications": "what articles printed, as data",
    "catalog": "data that all of them share",
}


def imports_of(package: str) -> list[str]:
    """Return the packages of lib that a package imports, apart from itself and the catalog, as its code says."""
    named = set()
    for path in (LIB / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lib."):
                named.add(node.module.split(".")[1])
    return [name for name in PACKAGES if name in named - {package, "catalog"}]


def chain() -> str:
    """Return the drawing of the chain."""
    width, height, across, down, left, top = 190, 74, 236, 112, 24, 24
    boxes = [
        Box(
            x=left + across * column, y=top + down * row, width=width, height=height,
            title=title, lines=lines, kind=kind,
        ).svg()
        for column, row, title, lines, kind in CHAIN
    ]  # fmt: skip
    arrows = []
    for column, row, to_column, to_row in CHAIN_ARROWS:
        x, y = left + across * column, top + down * row
        to_x, to_y = left + across * to_column, top + down * to_row
        if row == to_row:
            start, end = (x + width, to_x - 2) if to_column > column else (x, to_x + width + 2)
            arrows.append(arrow((start, y + height / 2), (end, y + height / 2)))
        else:
            arrows.append(arrow((x + width / 2, y + height), (x + width / 2, to_y - 2)))
    legend = (("person", "yours"), ("scan", "a job for each scan"), ("model", "a job for each fold"))
    legend += (("cohort", "one job for the cohort"),)
    notes = []
    for place, (kind, words) in enumerate(legend):
        x, y = left + across * 3 + 8, top + down * 3 + 4 + 19 * place
        notes.append(f'<rect x="{x}" y="{y}" width="14" height="12" fill="{FILL[kind]}" stroke="{LINE}"/>')
        notes.append(text(x + 22, y + 10, words, anchor="start"))
    return drawing(946, 462, "What follows what in the workflow", [*arrows, *boxes, *notes])


def architecture() -> str:
    """Return the drawing of the tree: Snakefile and rules, scripts, packages of lib."""
    parts = [
        Box(
            x=24, y=20, width=210, height=62, title="Snakefile, rules/", lines=("what depends on what",)
        ).svg(),
        Box(
            x=264,
            y=20,
            width=210,
            height=62,
            title="scripts/",
            lines=("one for each rule:", "read, call, write"),
        ).svg(),
        Box(
            x=504, y=20, width=300, height=62, title="config.yaml, schemas/, studies/", lines=("settings",)
        ).svg(),
        arrow((234, 51), (262, 51)),
        arrow((504, 51), (476, 51)),
        arrow((369, 82), (369, 106)),
        text(24, 128, "lib/", size=15, bold=True, anchor="start"),
        text(
            64,
            128,
            "a package imports catalog and, of the other packages, only those that stand at its right",
            anchor="start",
        ),
    ]
    for row, (name, words) in enumerate(PACKAGES.items()):
        y = 140 + 37 * row
        parts.append(f'<rect x="24" y="{y}" width="780" height="31" rx="5" fill="#ffffff" stroke="{LINE}"/>')
        parts.append(text(38, y + 20, name, size=14, bold=True, anchor="start"))
        parts.append(text(148, y + 20, words, anchor="start"))
        if below := imports_of(name):
            parts.append(text(790, y + 20, "imports " + ", ".join(below), anchor="end"))
    return drawing(828, 140 + 37 * len(PACKAGES) + 14, "Where things live, and who imports whom", parts)


def drawings() -> dict[str, str]:
    """Return each drawing by the name of its file in docs/images."""
    return {"chain.svg": chain(), "architecture.svg": architecture()}


if __name__ == "__main__":
    for name, content in drawings().items():
        (IMAGES / name).write_text(content, encoding="utf-8")
