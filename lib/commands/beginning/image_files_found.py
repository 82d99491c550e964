"""The image files (NIfTI, NRRD, MetaImage) below a folder, from their headers: which are scans, which label maps."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.commands.beginning.found import MASK_WORDS, Found, FoundScan

SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
CT_BELOW_HU = -200.0  # no MR has values below this
_LABEL_TYPES = (sitk.sitkUInt8, sitk.sitkInt8, sitk.sitkLabelUInt8)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_BIDS_SUBJECT = re.compile(r"(?:^|[_/])sub-([A-Za-z0-9]+)")
_SCAN_ENDS = frozenset(["ct", "mr", "mri", "image", "img", "t1w", "t2w", "t1", "t2"])  # also of BIDS
_CHANNEL = re.compile(r"_\d{4}$")  # of nnU-Net


def is_image_file(path: Path) -> bool:
    """Return whether a path is named like an image file."""
    return path.name.lower().endswith(SUFFIXES)


def stem_of(path: Path) -> str:
    """Return a file's name without the suffixes of image files."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def words_in_name(name: str) -> list[str]:
    """Return the words of a name in lower case: parts between signs, digits and capitals."""
    return [word.lower() for word in _WORD.findall(name)]


def is_named_mask(path: Path) -> bool:
    """Return whether a file, or the folder it lies in, is named like a label map."""
    name = path.name.lower()
    if name.endswith(".seg.nrrd") or path.parent.name.lower() in ("labelstr", "labelsts"):
        return True
    if not MASK_WORDS.isdisjoint(words_in_name(path.parent.name)):
        return True
    if re.split(r"[^a-z0-9]", stem_of(path).lower())[-1] in _SCAN_ENDS:
        return False
    return not MASK_WORDS.isdisjoint(words_in_name(stem_of(path)))


def find_image_files(
    files: Sequence[Path], root: Path, modality: str, tell: Callable[[int], object]
) -> Found:
    """Return the scans and label maps among image files.

    Args:
        files: the image files.
        root: the folder that is looked through.
        modality: CT or MR; empty: told from the values of a few.
        tell: called with the number of files that were read so far.
    """
    found = Found(kind="image files", seen=len(files), folders=len({path.parent for path in files}))
    for number, path in enumerate(files, start=1):
        tell(number)
        header = read_image_header(path)
        if header is None:
            found.left_out["damaged files"] += 1
        elif _is_further_channel(path):
            found.left_out["further channels of a scan (nnU-Net)"] += 1
        elif is_named_mask(path) or header.GetPixelID() in _LABEL_TYPES:
            found.masks.append(path)
        elif _is_volume(header):
            found.scans.append(_scan(path, root, header))
        else:
            found.left_out["files of several volumes or of one slice"] += 1
    told = modality or _guess_modality(found.scans)
    for scan in found.scans:
        scan.modality = told
    _read_nnunet(found, files)
    if found.scans and not any(scan.person for scan in found.scans):
        found.notes.append(
            "image files do not say whose they are: each counts as a person. Give scans of one person the same "
            "`subject`, or scores will be too good (leakage); fill in sex and age"
        )
    for number, scan in enumerate(found.scans):
        scan.person = scan.person or f"\0{number}"
    return found


def read_image_header(path: Path) -> sitk.ImageFileReader | None:
    """Return a reader that has read the header; None if it cannot be read."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    return reader


def _is_volume(header: sitk.ImageFileReader) -> bool:
    size = header.GetSize()
    return (
        len(size) >= 3
        and all(count == 1 for count in size[3:])
        and min(size[:3]) > 1
        and header.GetNumberOfComponents() == 1
    )


def _scan(path: Path, root: Path, header: sitk.ImageFileReader) -> FoundScan:
    low_mm, high_mm = _extent_x_mm(header)
    bids = _BIDS_SUBJECT.search(path.relative_to(root).as_posix())
    return FoundScan(
        path=path,
        person=bids[1] if bids else "",
        examination=str(path),
        slices=min(header.GetSize()[:3]),
        size=tuple(sorted(header.GetSize()[:3])),
        middle_x_mm=(low_mm + high_mm) / 2,
        width_mm=high_mm - low_mm,
        set="test" if path.parent.name == "imagesTs" and (path.parents[1] / "labelsTs").is_dir() else "",
    )


def _extent_x_mm(header: sitk.ImageFileReader) -> tuple[float, float]:
    """Return the lowest and highest LPS coordinate x of a volume's corners, mm."""
    count = header.GetDimension()
    directions = np.reshape(header.GetDirection(), (count, count))[0, :3]
    steps_mm = directions * np.array(header.GetSpacing()[:3]) * (np.array(header.GetSize()[:3]) - 1)
    start_mm = header.GetOrigin()[0]
    return (
        float(start_mm + np.minimum(steps_mm, 0).sum()),
        float(start_mm + np.maximum(steps_mm, 0).sum()),
    )


def _is_further_channel(path: Path) -> bool:
    return (
        path.parent.name in ("imagesTr", "imagesTs")
        and bool(_CHANNEL.search(stem_of(path)))
        and not stem_of(path).endswith("_0000")
    )


def _guess_modality(scans: Sequence[FoundScan]) -> str:
    """Return CT or MR by the lowest values of up to three scans; empty if none can be read."""
    lowest = [value for scan in scans[:3] if (value := _lowest_value(scan.path)) is not None]
    return ("CT" if min(lowest) < CT_BELOW_HU else "MR") if lowest else ""


def _lowest_value(path: Path) -> float | None:
    try:
        image = sitk.ReadImage(str(path))  # the view below is of its memory
    except RuntimeError:
        return None
    return float(sitk.GetArrayViewFromImage(image).min())


def _read_nnunet(found: Found, files: Iterable[Path]) -> None:
    """Take modality and names of label values from the dataset.json of nnU-Net, if there is one."""
    folders = {path.parent.parent for path in files if path.parent.name in ("imagesTr", "labelsTr")}
    for path in (folder / "dataset.json" for folder in folders):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            channels = content.get("channel_names") or content.get("modality") or {}
            labels = content.get("labels") or {}
            told = str(next(iter(channels.values()), "")).upper()
            for left, right in labels.items():
                value, name = (left, right) if str(left).isdigit() else (right, left)
                if isinstance(value, str | int) and int(value) > 0:
                    found.names[int(value)] = str(name)
        except (OSError, ValueError, AttributeError, TypeError):
            continue
        for scan in found.scans:
            scan.modality = {"CT": "CT", "MRI": "MR", "MR": "MR", "T1": "MR", "T2": "MR"}.get(
                told, scan.modality
            )
