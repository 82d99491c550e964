"""Checks of this machine: packages, GPU, memory, cores. Standard library only; PyTorch runs in a separate process."""

import json
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lib.commands.doctor.findings import LOOK, OK, WRONG, Finding
from lib.commands.doctor.programs import ask
from lib.commands.planning.workflow import CACHE_ADVICE, ROOT
from lib.processors import usable_processors

OTHER_BUILD = "remove .venv, then make setup TORCH_INDEX=URL with the build for"
ASK_TORCH = """
import json, warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import torch
    there = torch.cuda.is_available()
devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())] if there else []
print(json.dumps({
    "torch": torch.__version__, "cuda": torch.version.cuda, "said": [str(one.message) for one in said],
    "devices": [[device.name, device.total_memory / 1e9] for device in devices],
}))
"""


def check_packages(requirements: Path) -> list[Finding]:
    """Compare installed packages with the tested versions."""
    pins = read_lock(requirements)
    found = {name: installed_version(name) for name in pins}
    missing = [name for name in pins if not found[name]]
    other = [
        f"{name} {found[name]} (tested: {pin})" for name, pin in pins.items() if found[name] not in ("", pin)
    ]
    findings = []
    if missing:
        findings.append(Finding(WRONG, f"packages are missing: {', '.join(missing)}", how_to_install()))
    if other:
        text = f"other versions than those tested: {', '.join(other)}"
        findings.append(Finding(LOOK, text, how_to_install()))
    return findings or [Finding(OK, f"{len(pins)} packages, each in the tested version")]


def read_lock(requirements: Path) -> dict[str, str]:
    """Return the tested version of each package; a plugin in the project's folder states its own."""
    pins = {}
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line.startswith("./"):
            stated = tomllib.loads(
                (requirements.parent / line / "pyproject.toml").read_text(encoding="utf-8")
            )
            pins[stated["project"]["name"]] = stated["project"]["version"]
        elif "==" in line:
            name, pins[name] = line.split("==")
    return pins


def check_cache() -> list[Finding]:
    """Check that Snakemake can write to its cache, which every run needs. Empty if Snakemake is not installed."""
    try:
        from snakemake.common import get_appdirs
    except ImportError:
        return []
    return explain_cache(Path(get_appdirs().user_cache_dir))


def explain_cache(cache: Path) -> list[Finding]:
    """Check whether a folder can be written to, or created."""
    there = next(path for path in (cache, *cache.parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return [Finding(OK, "Snakemake can write to its cache")]
    text = f"Snakemake cannot write to its cache {cache}: {there} cannot be written"
    return [Finding(WRONG, text, CACHE_ADVICE)]


def how_to_install() -> str:
    """Return the command that installs the packages: into .venv if it exists, else creating it."""
    if Path(ROOT, ".venv").exists():
        return ".venv/bin/pip install --requirement requirements.txt"
    return "make setup"


def installed_version(package: str) -> str:
    """Return the version of a package without its build (2.13.0+cpu is 2.13.0); empty if it is not installed."""
    try:
        return version(package).split("+")[0]
    except PackageNotFoundError:
        return ""


def check_gpu(device: str) -> list[Finding]:
    """Report the device that PyTorch computes on; `device` is the setting train.device."""
    driver = ask("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    torch, problem = ask_torch()
    if problem:
        return [Finding(WRONG, f"PyTorch cannot be used: {problem}", how_to_install())]
    cards = [] if driver.problem else driver.text.strip().splitlines()
    return explain_gpu(torch, cards, device)


def ask_torch() -> tuple[dict, str]:
    """Return the output of ASK_TORCH and an empty text, or nothing and the reason why PyTorch cannot be used."""
    answer = ask(sys.executable, "-c", ASK_TORCH, seconds=120)
    if answer.problem:
        return {}, _last(answer.text) or answer.problem
    return json.loads(answer.text.splitlines()[-1]), ""


def check_build(device: str, rules: Sequence[str]) -> list[Finding]:
    """Check whether PyTorch is built for the GPUs of cluster nodes if this machine has none; nothing if not needed.

    Args:
        device: the setting train.device.
        rules: names of the rules whose jobs ask for GPUs.
    """
    if device == "cpu" or not rules:
        return []
    torch, problem = ask_torch()
    if problem:
        text = f"whether PyTorch can use the GPUs of the nodes is not known: {problem}"
        return [Finding(LOOK, text, how_to_install())]
    if torch["cuda"]:
        return [Finding(OK, f"PyTorch {torch['torch']} is a build for CUDA {torch['cuda']}")]
    would = "fail" if device == "cuda" else "hold a GPU and compute on the CPU"
    text = f"PyTorch {torch['torch']} is a build for CPUs: jobs of {', '.join(rules)} would {would}"
    mark = WRONG if device == "cuda" else LOOK
    return [Finding(mark, text, f"{OTHER_BUILD} the CUDA version of the nodes")]


def explain_gpu(torch: Mapping, cards: list[str], device: str) -> list[Finding]:
    """Compare in words the GPUs seen by PyTorch (`torch`, from ASK_TORCH) with those seen by the driver (`cards`)."""
    if torch["devices"]:
        names = ", ".join(f"{name} ({gigabytes:.0f} GB)" for name, gigabytes in torch["devices"])
        unused = "; train.device: cpu leaves it unused" if device == "cpu" else ""
        return [Finding(OK, f"GPU: {names}; PyTorch {torch['torch']} for CUDA {torch['cuda']}{unused}")]
    mark = WRONG if device == "cuda" else LOOK
    if cards and not torch["cuda"]:
        return [
            Finding(
                mark,
                f"this machine has a GPU ({cards[0]}), but PyTorch {torch['torch']} is a build for CPUs",
                f"{OTHER_BUILD} your CUDA version",
            )
        ]
    if cards:
        said = " ".join(" ".join(torch["said"]).split())[:300]
        return [
            Finding(
                mark,
                f"PyTorch {torch['torch']} for CUDA {torch['cuda']} cannot use the GPU ({cards[0]}) {said}".strip(),
                "update the NVIDIA driver, or install a PyTorch build for an older CUDA: make setup TORCH_INDEX=URL",
            )
        ]
    advice = "set train.device to auto" if device == "cuda" else "train on a machine or a cluster with a GPU"
    return [
        Finding(
            mark, f"no GPU here (PyTorch {torch['torch']}): training at full size would take weeks", advice
        )
    ]


def check_room(requests: Sequence[tuple[str, int, int]], cores: int | None) -> list[Finding]:
    """Compare cores and memory with the requests of the largest jobs: (rule, threads, MB) of each rule."""
    here, memory_mb = usable_processors(), total_memory_mb()
    findings = []
    used = cores or here
    if used > here:
        findings.append(
            Finding(LOOK, f"--cores {used}, but only {here} are available on this machine", f"--cores {here}")
        )
    wide = [rule for rule, threads, _ in requests if threads > used]
    limited = f"; {', '.join(wide)} would use more and will run on {used}" if wide else ""
    findings.append(Finding(OK, f"{used} cores{limited}"))
    large = [f"{rule} ({mem_mb} MB)" for rule, _, mem_mb in requests if mem_mb > memory_mb]
    if not requests:
        findings.append(Finding(OK, f"{memory_mb} MB of memory"))
    elif large:
        findings.append(
            Finding(
                LOOK,
                f"{memory_mb} MB of memory: {', '.join(large)} may not fit at full size",
                "nothing limits memory on one machine; watch the first such job",
            )
        )
    else:
        findings.append(Finding(OK, f"{memory_mb} MB of memory: the largest job fits"))
    return findings


def total_memory_mb() -> int:
    """Return the memory of this machine, MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
