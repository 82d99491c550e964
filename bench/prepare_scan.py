"""Measure the cost of preparing one scan for the network: screening, conversion, resampling, crop.

    python bench/prepare_scan.py [SERIES_FOLDER] [--slices N] [--repeats N] [--results FILE]

Each stage runs in a process of its own, as its rule does, so that its start and imports are included. The peers, in
turn with ours, are dcm2niix (conversion to compressed NIfTI) where it is installed, and a read and write of the same
series by ITK, which checks nothing. Without a folder a synthetic 512 x 512 series is made first; `--slices` extends a
series to any length by repeating its slices forwards and backwards. The last lines printed are one JSON object a row.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

ROOT = Path(__file__).parents[1]
STAGES = {
    "screen_scan": """
from lib.atomic import write_json
from lib.crop_settings import CropConfig
from lib.screening.screen_scan import ScanRequest, screen_scan_guarded
from lib.screening_settings import ScreeningConfig
write_json("screened.json", screen_scan_guarded(series, ScanRequest(), ScreeningConfig(), CropConfig()))
""",
    "convert_scan": """
from lib.reading.dicom import read_scan
from lib.imaging.nifti import write_image
write_image(read_scan(series).image, "converted.nii.gz")
""",
    "resample_image": """
from lib.imaging.nifti import read_image, write_image
from lib.imaging.resample import ResampleConfig, resample_image
write_image(resample_image(read_image("converted.nii.gz"), ResampleConfig()), "resampled.nii.gz")
""",
    "crop_image": """
from lib.atomic import read_json
from lib.crop_settings import CropConfig
from lib.imaging.crop import crop_image
from lib.anatomy.locate import WindowRequest, margins_of, window_center
from lib.anatomy.protocol import Location
from lib.imaging.model_frame import ModelFrame
from lib.imaging.nifti import read_image, write_image
from lib.imaging.intensity_range import find_range
from lib.intensity_scale import IntensityConfig
image, crop, hip = read_image("resampled.nii.gz"), CropConfig(), read_json("screened.json")["location"]
asked = WindowRequest(anatomy="proximal-femur", side="left")
center, margins = window_center(image, asked, crop, Location.from_json(hip)), margins_of(asked.anatomy, crop)
intensity = find_range(image, IntensityConfig())
write_image(crop_image(image, center, crop, margins, intensity, ModelFrame())[0], "cropped.nii.gz")
""",
}
PHANTOM = """
from pathlib import Path
from lib.phantom.people import PhantomConfig
from lib.phantom.scan import make_phantom_scan
folder = Path(series).parent
make_phantom_scan(PhantomConfig(people=1), "P001", folder / "dicom", folder / "mask.nii.gz", folder / "truth.json")
"""
ITK = """
import SimpleITK as sitk
names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(series)
sitk.WriteImage(sitk.ReadImage(names, sitk.sitkInt16), 'itk.nii.gz')
"""
MANY = 500  # slices; the goals of a usual scan apply below, that of a long one above
# what Snakemake sets for a job of one thread and what NumPy and SciPy read: more threads spend CPU at their start
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
DCM2NIIX = ("dcm2niix", "-z", "y", "-b", "n", "-f", "dcm2niix")


@dataclass(frozen=True)
class Cost:
    """Cost of a process: elapsed seconds, CPU seconds, peak memory in GB."""

    wall_s: float
    cpu_s: float
    peak_gb: float


def measure(command: Sequence[str], folder: Path) -> Cost:
    """Run a command in `folder` and return its cost, child processes included."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder, env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    if status:
        raise SystemExit(printed)
    # where the command has children of its own, it prints their peak in its last line
    inner_kb = int(printed.split()[-1]) if printed.startswith("children ") else 0
    return Cost(wall_s, used.ru_utime + used.ru_stime, max(used.ru_maxrss, inner_kb) / 1e6)


def python(code: str, series: Path) -> list[str]:
    """Return the command that runs code on a series in a fresh interpreter."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); series = {str(series)!r}\n{code}"
    program += "\nassert 'torch' not in sys.modules, 'preparation must not import torch'"
    program += "\nimport resource; print('children', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    return [sys.executable, "-c", program]


def pile_up(series: Path, folder: Path, slices: int) -> Path:
    """Write a series of `slices` slices, repeating those of `series` from the feet to the head and back."""
    files = [pydicom.dcmread(path) for path in series.iterdir() if path.suffix]
    files.sort(key=lambda dataset: dataset.ImagePositionPatient[2])
    first_mm, second_mm = (dataset.ImagePositionPatient[2] for dataset in files[:2])
    there_and_back = [*range(len(files)), *range(len(files) - 2, 0, -1)]
    folder.mkdir()
    for index in range(slices):
        dataset = files[there_and_back[index % len(there_and_back)]]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ImagePositionPatient[2] = round(first_mm + index * (second_mm - first_mm), 3)
        dataset.InstanceNumber = index + 1
        dataset.save_as(folder / f"{index:04d}.dcm")
    return folder


def rows(series: Path, folder: Path, repeats: int) -> list[dict]:
    """Return one row a stage, with the peers, each the median of `repeats` rounds in turn."""
    commands = {stage: python(code, series) for stage, code in STAGES.items()}
    commands["ITK"] = python(ITK, series)
    if shutil.which(DCM2NIIX[0]):
        commands["dcm2niix"] = [*DCM2NIIX, "-o", str(folder), str(series)]
    costs = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            costs[name].append(measure(command, folder))
    files = [path for path in series.iterdir() if path.suffix]
    few = len(files) < MANY
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    size = f"{header.Columns} x {header.Rows} x {len(files)}"

    def median(name: str, what: str) -> float:
        return round(statistics.median(getattr(cost, what) for cost in costs[name]), 3)

    def row(what: str, name: str, unit: str, **more: object) -> dict:
        return {
            "what": what,
            "size": size,
            "device": "cpu",
            "precision": None,
            "ours_s": median(name, unit),
            **more,
        }

    found = []
    for peer in ("dcm2niix", "ITK"):
        if peer in costs:
            peer_s = median(peer, "wall_s")
            ours = row("conversion, whole process, clock", "convert_scan", "wall_s", peer=peer, peer_s=peer_s)
            ours |= {
                "ratio": round(peer_s / ours["ours_s"], 3),
                "ours_gb": median("convert_scan", "peak_gb"),
            }
            goals = [["ratio", ">=", 1 / 1.2]] if few and peer == "dcm2niix" else []
            goals += [["ours_gb", "<=", 0.25]] if few else []
            found.append(ours | {"peer_gb": median(peer, "peak_gb"), "goals": goals})
    for stage in STAGES:
        ours = row(f"{stage}, whole process, CPU", stage, "cpu_s", peer=None, peer_s=None, ratio=None)
        found.append(ours | {"ours_gb": median(stage, "peak_gb")})
    total = row("all four stages, CPU", "crop_image", "cpu_s", peer="ITK", peer_s=median("ITK", "cpu_s"))
    total["ours_s"] = round(sum(median(stage, "cpu_s") for stage in STAGES), 3)
    total["ratio"] = round(total["peer_s"] / total["ours_s"], 3)
    total["ours_gb"] = max(median(stage, "peak_gb") for stage in STAGES)
    total["goals"] = [["ours_s", "<=", 4.5]] if few else [["ours_gb", "<=", 1.5]]
    return [*found, total]


def main() -> None:
    """Measure and print; append the rows to a file if one is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("series", nargs="?", type=Path, help="folder of DICOM files")
    parser.add_argument("--slices", type=int, help="extend the series to this many slices")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, of which the median is taken")
    parser.add_argument("--results", type=Path, help="append the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = options.series.resolve() if options.series else folder / "dicom"
        if not series.exists():
            # in a process of its own: a child's peak memory begins with that of its parent
            measure(python(PHANTOM, series), folder)
        if options.slices:
            series = pile_up(series, folder / "piled", options.slices)
        lines = [json.dumps(row | facts()) for row in rows(series, folder, options.repeats)]
    print("\n".join(lines))
    if options.results:
        with open(options.results, "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def facts() -> dict[str, object]:
    """Return the date and the machine of the measurement."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next((line.split(":")[1] for line in lines if line.startswith("model name")), "?")
    machine = f"{os.cpu_count()} cores of {' '.join(processor.split()[:2])}"
    versions = {"simpleitk": version("simpleitk")}
    if shutil.which(DCM2NIIX[0]):
        printed = subprocess.run([DCM2NIIX[0], "--version"], capture_output=True, text=True).stdout
        versions["dcm2niix"] = printed.split()[-1]
    return {"date": date.today().isoformat(), "machine": machine, **versions}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
