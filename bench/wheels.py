"""Download wheels of the packages that a bare GPU machine lacks, to copy there: python bench/wheels.py

That machine has an interpreter of its own (Linux, x86-64, Python 3.12) with PyTorch, numpy, scipy, pandas,
statsmodels, matplotlib, PyYAML and pytest, and no network. The wheels of the rest go to bench/wheels/, in the locked
versions, recompressed and without test data. `gpu.py` unpacks those that fit. This module needs only the standard
library.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "bench/wheels"
NAMES = ("simpleitk", "pydicom", "isal", "monai")  # what a machine with PyTorch and numpy usually lacks
PYTHON = "3.12"
PLATFORMS = [f"manylinux{kind}_x86_64" for kind in ("_2_28", "_2_27", "_2_17", "2014", "2010", "1")]
MOST_MB = 56.0
TEST_DATA = "/test_files/"
PATH_VARIABLE = "OSTEOFLOW_BENCH_PACKAGES"  # the folder of unpacked wheels, for the processes of a run


def main() -> None:
    """Download and repack the wheels; the folder is left empty if they are too large together."""
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--python-version", PYTHON, "--implementation", "cp", "--dest", downloads]
        command += [part for name in PLATFORMS for part in ("--platform", name)]
        subprocess.run([*command, *pinned(NAMES)], check=True)
        FOLDER.mkdir(exist_ok=True)
        for former in FOLDER.glob("*.whl"):
            former.unlink()
        for wheel in sorted(Path(downloads).glob("*.whl")):
            pack(wheel, FOLDER / wheel.name)
    sizes_mb = {wheel.name: wheel.stat().st_size / 1e6 for wheel in sorted(FOLDER.glob("*.whl"))}
    for name, size_mb in sizes_mb.items():
        print(f"{size_mb:6.2f} MB  {name}")
    if sum(sizes_mb.values()) > MOST_MB:
        for name in sizes_mb:
            (FOLDER / name).unlink()
        sys.exit(
            f"the wheels take {sum(sizes_mb.values()):.1f} MB in all, more than {MOST_MB:g}. "
            "Pin a smaller version of the largest in requirements.txt, or leave one out of NAMES"
        )


def pinned(names: Iterable[str]) -> list[str]:
    """Return `name==version` of each name, from the requirements of the project."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pins = dict(line.split("==") for line in text.splitlines() if "==" in line)
    return [f"{name}=={pins[name]}" for name in names]


def pack(wheel: Path, target: Path) -> None:
    """Rewrite a wheel with the best zip compression and without the package's test data."""
    with (
        zipfile.ZipFile(wheel) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
    ):
        for entry in old.infolist():
            if TEST_DATA not in entry.filename:
                new.writestr(entry.filename, old.read(entry))


def unpack(wheels: Sequence[Path], folder: Path) -> list[str]:
    """Unpack wheels that this interpreter can use and whose package is missing; return a sentence for each wheel."""
    said = []
    for wheel in wheels:
        name, version, *_, python, abi, system = wheel.stem.split("-")
        present = installed_version(name)
        if present:
            said.append(f"{name} {present} is installed here")
        elif not fits(python, abi, system):
            said.append(f"{name} {version} is for {python}-{abi}-{system}, which this interpreter is not")
        else:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
            said.append(f"{name} {version} unpacked")
    return said


def fits(python: str, abi: str, system: str) -> bool:
    """Tell whether a wheel of these tags runs in this interpreter: pure, built for it, or of the stable ABI."""
    here = sys.version_info[:2]
    minor = {int(tag[3:]) for tag in python.split(".") if tag.startswith("cp3")}
    built = python == f"cp{here[0]}{here[1]}" and abi == python
    stable = "abi3" in abi.split(".") and any(number <= here[1] for number in minor)
    pure = "py3" in python.split(".") and abi == "none"
    runs = system == "any" or (sys.platform == "linux" and system.endswith(platform.machine()))
    return runs and (built or stable or pure)


def installed_version(name: str) -> str:
    """Return the version of a package that this interpreter finds; empty if there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def add_unpacked() -> None:
    """Append the folder of unpacked wheels to the module path, so that the machine's own packages come first."""
    folder = os.environ.get(PATH_VARIABLE)
    if folder and folder not in sys.path:
        sys.path.append(folder)


if __name__ == "__main__":
    main()
