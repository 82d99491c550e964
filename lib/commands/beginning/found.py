"""What `osteoflow init` finds in a folder: its scans and masks, and what was left out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MASK_WORDS = frozenset(
    [
        *("mask", "masks", "label", "labels", "labelmap", "labelmaps", "labelstr", "labelsts", "seg", "segs"),
        *("segmentation", "segmentations", "gt", "truth", "annotation", "annotations", "roi", "rois"),
        *("msk", "dseg"),
    ]
)


@dataclass(kw_only=True)
class FoundScan:
    """One scan. Nothing here is printed or written but what the table holds.

    Attributes:
        path: its folder, archive or file.
        person: identifies the person (such as PatientID); empty: not known. Never written.
        examination: identifies the examination. Never written.
        institution: name of the institution. Never written.
        series_uid: its series.
        shares_path: whether `path` holds further series that could be the scan.
        modality: CT or MR; empty: not known.
        slices: number of slices; 0: not known.
        size: number of voxels along its three axes, sorted; empty: not known.
        middle_x_mm: LPS coordinate of the middle of the image; None: not known.
        width_mm: field of view from left to right; 0: not known.
        body_part: term of the header, in capitals. Never written.
        mask: its label map.
        mask_label: the value of the bone in the label map; empty: all.
        set: one of `lib.cohort.table.SETS`.
        exclude: why the table leaves the scan out.
    """

    path: Path
    person: str = ""
    examination: str = ""
    institution: str = ""
    series_uid: str = ""
    shares_path: bool = False
    modality: str = ""
    slices: int = 0
    size: tuple[int, ...] = ()
    middle_x_mm: float | None = None
    width_mm: float = 0.0
    sex: str = ""
    age: str = ""
    vendor: str = ""
    body_part: str = ""
    side: str = ""
    mask: Path | None = None
    mask_label: str = ""
    set: str = ""
    exclude: str = ""


@dataclass(kw_only=True)
class Found:
    """Everything that was found.

    Attributes:
        scans: those for the table.
        kind: `DICOM series` or `image files`.
        seen: number of series or image files, also of those that are left out.
        folders: number of folders, archives and files that hold them.
        left_out: how many series or files were left out, by what they are.
        notes: what the user should know or decide, one sentence each.
        masks: label maps that belong to no scan.
        names: value of a label map -> its name, where a file names its values.
    """

    scans: list[FoundScan] = field(default_factory=list)
    kind: str = "DICOM series"
    seen: int = 0
    folders: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    @property
    def used(self) -> list[FoundScan]:
        """Return the scans that the table does not exclude."""
        return [scan for scan in self.scans if not scan.exclude]


def most_common(words: Iterable[str]) -> str:
    """Return the most frequent word that is not empty; empty if there is none."""
    counts = Counter(filter(None, words))
    return counts.most_common(1)[0][0] if counts else ""


def number_of(count: int, things: str) -> str:
    """Return a number with what is counted, given in the plural: `1 damaged file`, `2 damaged files`."""
    words = things.split(" ")
    for place, word in enumerate(words if count == 1 else ()):
        if word == "series":
            break
        if word == "people" or word.endswith("s"):
            words[place] = "person" if word == "people" else word[:-1]
            break
    return f"{count} {' '.join(words)}"
