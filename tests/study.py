"""A study in a folder of its own, run as a user runs it."""

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk
from pydicom import dcmread
from pydicom.misc import is_dicom

ROOT = Path(__file__).parents[1]
OVERRIDDEN, OFF_PROTOCOL = "P004", "P006"
SECOND_READ = "P001"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # jobs cache byte code and code digests, as a user's jobs do


@dataclass(frozen=True)
class Study:
    """A folder with results, and its overlay, settings, options of Snakemake and environment.

    `seconds` is the time limit of a run, `code` the project's root, which may be that of a changed copy.
    """

    folder: Path
    overlay: str = "studies/ci.yaml"
    settings: tuple[str, ...] = ()
    options: tuple[str, ...] = ("--cores", str(os.cpu_count()))
    environment: Mapping[str, str] | None = None
    seconds: float | None = None
    code: Path = ROOT

    def command(self, *arguments: str, settings: tuple[str, ...] = ()) -> list[str]:
        """Return the command that runs Snakemake in this study."""
        command = [sys.executable, "-m", "snakemake", *arguments, *self.options, "--nocolor"]
        command += ["--directory", str(self.folder), "--configfile", self.overlay]
        every = (*self.settings, *settings)
        return [*command, "--config", *every] if every else command

    def call(self, *arguments: str, settings: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        """Run Snakemake from the project's root and return its output."""
        return subprocess.run(
            self.command(*arguments, settings=settings),
            cwd=self.code, env=self.environment, timeout=self.seconds, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *arguments: str, settings: tuple[str, ...] = ()) -> str:
        """Run and expect success; return the output."""
        ended = self.call(*arguments, settings=settings)
        assert ended.returncode == 0, ended.stdout[-6000:]
        return ended.stdout

    def logged(self) -> str:
        """Return Snakemake's log files, in which every job is, whatever the terminal shows."""
        return "".join(path.read_text() for path in sorted(self.folder.glob(".snakemake/log/*.log")))

    def refuse(self, *arguments: str, settings: tuple[str, ...] = ()) -> str:
        """Run and expect a refusal before any job; return the message."""
        ended = self.call(*arguments, settings=settings)
        assert ended.returncode != 0 and "Job stats" not in ended.stdout, ended.stdout[-6000:]
        return ended.stdout

    def planned(self, *arguments: str, settings: tuple[str, ...] = ()) -> Counter:
        """Return how many jobs of each rule a dry run announces."""
        printed = self.run("--dry-run", *arguments, settings=settings)
        stats = printed.split("Job stats:")[1].split("\n\n")[0] if "Job stats:" in printed else ""
        counts = Counter({rule: int(n) for rule, n in re.findall(r"^(\w+)\s+(\d+)\s*$", stats, re.M)})
        del counts["total"], counts["all"]
        return counts


def make_another_image(folder: Path) -> None:
    """Change the middle pixel of each DICOM image below a folder, so that a copy counts as another image."""
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink() or not is_dicom(path):
            continue
        dataset = dcmread(path)
        if "PixelData" in dataset:
            pixels = bytearray(dataset.PixelData)
            pixels[dataset.Rows // 2 * dataset.Columns * 2 + dataset.Columns // 2 * 2] ^= 1
            dataset.PixelData = bytes(pixels)
            dataset.save_as(path)


def make_unusual(source: Path) -> None:
    """Add to one scan a given crop centre, to another a tube voltage, and to a third a second reader's mask."""
    rows = read_rows(source / "cohort.csv")
    for row in rows:
        row |= {"crop_x_mm": "", "crop_y_mm": "", "mask2": ""}
        if row["scan"] == OVERRIDDEN:
            mask = sitk.ReadImage(str(source / row["mask"]))
            shape = sitk.LabelShapeStatisticsImageFilter()
            shape.Execute(mask)
            row["crop_x_mm"], row["crop_y_mm"] = (round(place_mm, 1) for place_mm in shape.GetCentroid(1)[:2])
        if row["scan"] == SECOND_READ:
            row["mask2"] = f"{row['scan']}/second.nii.gz"
            mask = sitk.ReadImage(str(source / row["mask"]))
            sitk.WriteImage(sitk.BinaryErode(mask, (1, 1, 0)), str(source / row["mask2"]))
        if row["scan"] == OFF_PROTOCOL:
            for path in (source / row["image"]).glob("*.dcm"):
                dataset = dcmread(path)
                dataset.KVP = 80
                dataset.save_as(path)
    write_rows(source / "cohort.csv", rows)


def read_rows(table: Path) -> list[dict[str, str]]:
    """Read the rows of a table."""
    with open(table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(table: Path, rows: list[dict]) -> None:
    """Write rows of the same columns as a table."""
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
