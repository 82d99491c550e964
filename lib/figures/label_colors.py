"""Names and colours of a study's structures as other programs read them.

3D Slicer: https://slicer.readthedocs.io/en/latest/developer_guide/modules/colors.html (color table file).
ITK-SNAP: its label description file, which *Segmentation > Import Label Descriptions* reads.
"""

from collections.abc import Iterable

from lib.figures.palette import structure_color

SLICER_FILE, SNAP_FILE = "labels.ctbl", "labels.txt"


def slicer_color_table(structures: Iterable[str]) -> str:
    """Return the colour table of label maps (1 to n in the order of the structures) for 3D Slicer.

    A line is value, name without blanks, red, green, blue and opacity, each 0 to 255.
    """
    names = list(structures)
    lines = [f"# Color table file {SLICER_FILE}", f"# {len(names) + 1} values", "0 background 0 0 0 0"]
    for number, name in enumerate(names, start=1):
        red, green, blue = structure_color(number - 1)
        lines.append(f"{number} {name} {red} {green} {blue} 255")
    return "\n".join(lines) + "\n"


def snap_label_descriptions(structures: Iterable[str]) -> str:
    """Return the descriptions of the labels for ITK-SNAP.

    A line is value, red, green, blue (0 to 255), opacity (0 to 1), shown in slices, shown in 3-D (1 or 0), and name.
    """
    lines = [
        "# ITK-SnAP Label Description File",
        "# IDX -R- -G- -B- -A- VIS MSH LABEL",
        '0 0 0 0 0 0 0 "Clear Label"',
    ]
    for number, name in enumerate(structures, start=1):
        red, green, blue = structure_color(number - 1)
        lines.append(f'{number} {red} {green} {blue} 1 1 1 "{name}"')
    return "\n".join(lines) + "\n"
