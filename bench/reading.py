"""Compare which series our reader, SimpleITK and dcm2niix read, and which they read correctly.

    python bench/reading.py [--out RESULTS.jsonl]

Every variant of tests/unit/good_variants.py and bad_variants.py, and every real series beside the checkout
(../shared/data/real). SimpleITK is asked as its examples do (GetGDCMSeriesFileNames, ImageSeriesReader), dcm2niix as
`dcm2niix -z n -b n`. A volume is right when each voxel has the correct HU at the correct place (0.01 mm): those of
the scan that a variant was made from, or of the headers of a real series. Any other volume counts as wrong, either
silently or with a printed warning. Prints a table and the disagreements; with --out also a line of JSON each.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.pixels import pixel_array

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit")]

from bad_variants import BAD  # noqa: E402
from good_variants import GOOD  # noqa: E402
from series_variants import Misfit, Variant, misfit, misfit_at, voxel_places_mm  # noqa: E402

from lib.catalog.reasons import is_rejected  # noqa: E402
from lib.reading.dicom import survey_scan  # noqa: E402
from lib.reading.sources import is_dicom_source  # noqa: E402
from lib.screening_settings import ScreeningConfig  # noqa: E402

REAL = ROOT.parent / "shared" / "data" / "real"
TIMEOUT_S = 60
OUTCOMES = (
    "right",
    "right, with a warning",
    "wrong, silently",
    "wrong, with a warning",
    "refused",
    "not offered",
)

# Real series that cannot form an even volume of upright slices, and the reason.
REAL_BAD = {
    "dcm_qa_ct/GE": "tilt of 18.5 degrees and two slice distances",
    "dicom2nifti/failing/gantrytilting": "tilt of 14 degrees",
    "dicom2nifti/failing/notavolume": "four slices at one position",
    "dicom2nifti/failing/sliceincrement": "a slice is missing",
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Result of a reader for a source: volumes (several where it split the series) and messages."""

    images: Sequence[sitk.Image] = ()
    said: str = ""  # reason codes, or the first warning
    offered: bool = True  # whether the reader takes sources of this kind at all


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source for all readers. `truth` compares a volume with the correct one."""

    kind: str  # good, bad or real
    name: str
    path: Path
    series_uid: str
    truth: Callable[[sitk.Image], Misfit]
    limits: dict = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outcome of one reader on one case."""

    kind: str
    name: str
    reader: str
    outcome: str
    said: str
    position_mm: float | None
    differing: int | None


def read_ours(case: Case) -> Reading:
    """Read as the workflow does; a refusal gives no volume."""
    survey = survey_scan(case.path, case.series_uid, ScreeningConfig(**case.limits))
    codes = ", ".join(reason.code for reason in survey.findings)
    if is_rejected(survey.findings):
        return Reading(said=codes)
    return Reading(images=[survey.scan.image], said=codes)


def read_simpleitk(case: Case) -> Reading:
    """Read as SimpleITK's examples do: the first series of a folder (or the named one), or an image file."""
    if case.path.suffix == ".zip":
        return Reading(offered=False)
    with tempfile.TemporaryFile() as printed:
        try:
            with _printing_into(printed.fileno()):
                image = _simpleitk_image(case)
        except (RuntimeError, TypeError) as error:
            return Reading(said=str(error).splitlines()[-1])
        printed.seek(0)
        return Reading(images=[image], said=_first_warning(printed.read().decode(errors="replace")))


def _simpleitk_image(case: Case) -> sitk.Image:
    if case.path.is_file():
        image = sitk.ReadImage(str(case.path))
    else:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(case.path), case.series_uid))
        image = reader.Execute()
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    return image


def read_dcm2niix(case: Case) -> Reading:
    """Convert with dcm2niix, which takes DICOM folders and files; return all volumes that it writes."""
    if case.path.suffix == ".zip" or not is_dicom_source(case.path):
        return Reading(offered=False)
    with tempfile.TemporaryDirectory() as folder:
        command = ["dcm2niix", "-z", "n", "-b", "n", "-f", "%j", "-o", folder, str(case.path)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
        )
        written = {path.stem: _nifti_volumes(path) for path in sorted(Path(folder).glob("*.nii"))}
    images = [
        image for name, volumes in written.items() if name.startswith(case.series_uid) for image in volumes
    ]
    said = _first_warning(done.stdout + done.stderr)
    if done.returncode and images:
        said = said or f"exit code {done.returncode}"
    return Reading(images=images, said=said)


def _nifti_volumes(path: Path) -> list[sitk.Image]:
    """Return the volumes of a file of dcm2niix, placed by its sform; ITK crashes on some of these files."""
    nifti = nibabel.load(path, mmap=False)
    colours = nifti.get_data_dtype().names
    if colours:
        packed = nifti.dataobj.get_unscaled()
        volumes_zyx = [np.stack([packed[colour].transpose() for colour in colours], axis=-1)]
    else:
        values = np.asarray(nifti.dataobj)
        volumes_zyx = values.reshape(*values.shape[:3], -1).transpose()
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ nifti.affine[:3]
    spacing_mm = np.linalg.norm(to_lps[:, :3], axis=0)
    volumes = []
    for volume_zyx in volumes_zyx:
        image = sitk.GetImageFromArray(np.ascontiguousarray(volume_zyx), isVector=bool(colours))
        # slices that are all at one place form no volume, and ITK has no grid for them
        if spacing_mm.all():
            image.SetSpacing(spacing_mm.tolist())
            image.SetDirection((to_lps[:, :3] / spacing_mm).ravel().tolist())
            image.SetOrigin(to_lps[:, 3].tolist())
        volumes.append(image)
    return volumes


READERS = {"ours": read_ours, "SimpleITK": read_simpleitk, "dcm2niix": read_dcm2niix}


def _first_warning(text: str) -> str:
    """Return the first warning of dcm2niix, ITK or GDCM, without messages that are printed for every series."""
    words = ("warning", "error", "unsupported", "slice-order", "tilt", "not equidistant", "varies")
    always = ("determine manufacturer", "protocol name", "slice timing")
    lines = (line.strip() for line in text.splitlines() if not any(part in line for part in always))
    return next((line for line in lines if any(word in line.lower() for word in words)), "")


@contextmanager
def _printing_into(descriptor: int) -> Iterator[None]:
    """Redirect the C++ output of libraries to a file."""
    sys.stdout.flush()
    saved = {target: os.dup(target) for target in (1, 2)}
    try:
        for target in saved:
            os.dup2(descriptor, target)
        yield
    finally:
        for target, original in saved.items():
            os.dup2(original, target)
            os.close(original)


def variant_case(kind: str, variant: Variant, folder: Path) -> Case:
    """Write a variant into `folder`."""
    source = variant.write(folder)
    return Case(
        kind=kind,
        name=variant.name,
        path=source.path,
        series_uid=source.series_uid,
        truth=partial(misfit, expected=source.expected),
        limits=dict(variant.limits),
    )


def real_cases() -> Iterator[Case]:
    """Yield every real series and image file; none if the folder is absent."""
    for folder in sorted({path.parent for path in REAL.rglob("*.dcm")}):
        yield from _real_series(folder)
    for path in sorted(REAL.rglob("*.nii.gz")):
        name = str(path.relative_to(REAL))
        if "_seg" not in name and "vertebrae" not in name and "label.nii" not in name:
            limits = {"modality": "MR"} if "mr" in path.name or "t1" in path.name else {}
            truth = partial(misfit, expected=nifti_as_stored(path))
            yield Case(kind="real", name=name, path=path, series_uid="", truth=truth, limits=limits)


def _real_series(folder: Path) -> Iterator[Case]:
    series: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(path)
        series.setdefault(str(dataset.SeriesInstanceUID), []).append(dataset)
    name = str(folder.relative_to(REAL)).removesuffix("/001")
    for number, (uid, datasets) in enumerate(series.items(), start=1):
        yield Case(
            kind="real bad" if name in REAL_BAD else "real",
            name=f"{name}, series {number}" if len(series) > 1 else name,
            path=folder,
            series_uid=uid if len(series) > 1 else "",
            truth=partial(misfit_of_headers, datasets=datasets),
            limits={"modality": str(datasets[0].Modality), "min_slices": 2},
        )


def misfit_of_headers(image: sitk.Image, datasets: Sequence[pydicom.Dataset]) -> Misfit:
    """Compare a volume with the headers of each single slice (DICOM PS3.3, C.7.6.2.1.1)."""
    places, values = [], []
    for dataset in datasets:
        row, column = np.reshape(np.array(dataset.ImageOrientationPatient, float), (2, 3))
        row_mm, column_mm = (float(edge) for edge in dataset.PixelSpacing)
        y, x = np.indices((dataset.Rows, dataset.Columns)).reshape(2, -1, 1)
        places.append(
            np.array(dataset.ImagePositionPatient, float) + x * column_mm * row + y * row_mm * column
        )
        slope, intercept = (
            float(dataset.get(f"Rescale{name}", n)) for name, n in (("Slope", 1), ("Intercept", 0))
        )
        values.append(pixel_array(dataset, raw=True).ravel() * slope + intercept)
    return misfit_at(image, np.concatenate(places), np.rint(np.concatenate(values)))


def nifti_as_stored(path: Path) -> sitk.Image:
    """Return a NIfTI file as ITK reads it, in int16; it has no independent reference."""
    return sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkInt16)


def judge(case: Case, reader: str) -> Result:
    """Read a case with one of READERS and compare."""
    reading = READERS[reader](case)
    found = None
    if not reading.offered:
        outcome = "not offered"
    elif not reading.images:
        outcome = "refused"
    else:
        # of several volumes the best one counts, because a person would choose it
        found = min((_compare(case, image) for image in reading.images), key=lambda one: not one.fits)
        split = " and several volumes" if len(reading.images) > 1 and not found.fits else ""
        warned = bool(reading.said or split)
        if found.fits:
            outcome = "right, with a warning" if warned else "right"
        else:
            outcome = "wrong, with a warning" if warned else "wrong, silently"
    return Result(
        kind=case.kind,
        name=case.name,
        reader=reader,
        outcome=outcome,
        said=reading.said,
        position_mm=found and found.position_mm,
        differing=found and found.differing,
    )


def _compare(case: Case, image: sitk.Image) -> Misfit:
    # colour, a single picture, several time points: no volume of HU
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        return Misfit(position_mm=float("inf"), differing=image.GetNumberOfPixels(), invented=0)
    return case.truth(image)


def agreement(case: Case) -> tuple[bool, float] | None:
    """Return whether our HU are dcm2niix's, and the largest distance in mm; None unless both accept one volume."""
    ours, peer = read_ours(case).images, read_dcm2niix(case).images
    if len(ours) != 1 or len(peer) != 1 or peer[0].GetDimension() != 3:
        return None
    if peer[0].GetNumberOfComponentsPerPixel() != 1:
        return None
    values = np.rint(sitk.GetArrayFromImage(peer[0])).ravel()
    found = misfit_at(ours[0], voxel_places_mm(peer[0]), values)
    return not found.differing and not found.invented, found.position_mm


def all_cases(folder: Path) -> Iterator[Case]:
    """Yield all cases; the files of a variant exist until the next case is requested."""
    for kind, variants in (("good", GOOD), ("bad", BAD)):
        for variant in variants.values():
            place = folder / kind / variant.name
            place.mkdir(parents=True)
            yield variant_case(kind, variant, place)
            shutil.rmtree(place)
    yield from real_cases()


def table(results: Sequence[Result]) -> str:
    """Return a Markdown table of the outcomes of each reader by kind of case."""
    lines = [f"| cases | reader | {' | '.join(OUTCOMES)} |", "| --- " * (2 + len(OUTCOMES)) + "|"]
    for kind in dict.fromkeys(result.kind for result in results):
        for reader in READERS:
            count = Counter(one.outcome for one in results if one.kind == kind and one.reader == reader)
            cells = " | ".join(str(count[outcome]) for outcome in OUTCOMES)
            lines.append(f"| {kind} ({count.total()}) | {reader} | {cells} |")
    return "\n".join(lines)


def disagreements(results: Sequence[Result]) -> Iterator[str]:
    """Yield a line for each case on which the outcomes of the readers differ."""
    by_case: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.outcome != "not offered":
            by_case.setdefault((result.kind, result.name), []).append(result)
    for (kind, name), of_case in by_case.items():
        if len({one.outcome.removesuffix(", with a warning") for one in of_case}) > 1:
            yield f"{kind}: {name}: " + "; ".join(_described(one) for one in of_case)


def _described(result: Result) -> str:
    off = ""
    if result.outcome.startswith("wrong"):
        off = f", {result.position_mm:.3g} mm, {result.differing} voxels differ"
    return f"{result.reader} {result.outcome}{off}" + (f" ({result.said[:90]})" if result.said else "")


def main() -> None:
    """Run every case through every reader and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="file for the results, one line of JSON each")
    out = parser.parse_args().out
    if shutil.which("dcm2niix") is None:
        print("dcm2niix is not installed (Debian: apt-get install dcm2niix): its column is left out")
        del READERS["dcm2niix"]
    if not REAL.is_dir():
        print("no real series: the folder shared/data/real beside the checkout is absent")
    results, agreements = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for case in all_cases(Path(folder)):
            results += [judge(case, reader) for reader in READERS]
            if "dcm2niix" in READERS:
                agreements[case.name] = agreement(case)
    print(table(results))
    print_agreement({name: found for name, found in agreements.items() if found})
    print("\n".join(["", "Disagreements:", *disagreements(results)]))
    if out:
        out.write_text("".join(json.dumps(asdict(result)) + "\n" for result in results), encoding="utf-8")


def print_agreement(found: dict[str, tuple[bool, float]]) -> None:
    """Print on how many cases that both accept our voxels equal those of dcm2niix."""
    same = [name for name, (equal, mm) in found.items() if equal and mm <= 0.01]
    print(
        f"\nVoxels as dcm2niix's (HU identical, within 0.01 mm): {len(same)} of {len(found)} that both accept"
    )
    for name in found.keys() - set(same):
        print(f"  not in {name}: HU identical {found[name][0]}, {found[name][1]:.3g} mm")


if __name__ == "__main__":
    main()
