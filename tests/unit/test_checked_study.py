"""What the parse reads: every section of the settings as its job will read it, and nothing heavy is imported."""

import ast
import copy
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lib.atomic import write_json
from lib.checked_study import Typed, read_study
from lib.errors import ConfigError, TableError

ROOT = Path(__file__).parents[2]
DEFAULTS = yaml.safe_load((ROOT / "config.yaml").read_text())
# settings of a job that are made of those of sections
MADE_OF_SECTIONS = {"MeasuringConfig"}
HEAVY = ("numpy", "pandas", "pydicom", "scipy", "SimpleITK", "sklearn", "statsmodels", "torch")


def merged(base, overlay):
    result = copy.deepcopy(base)
    for key, value in overlay.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


def parse(text):
    """Read a study of three synthetic people with the settings of an overlay, as the Snakefile does."""
    settings = merged({"phantom": {"people": 3}}, yaml.safe_load(text))
    return read_study(
        merged(DEFAULTS, settings), Typed(words=(), overlays=(), settings=settings), "the study's folder"
    )


def settings_classes():
    """Yield each settings dataclass of lib with its module."""
    for path in sorted((ROOT / "lib").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            own = isinstance(node, ast.ClassDef) and node.name not in MADE_OF_SECTIONS
            if own and node.name.endswith("Config"):
                yield node.name, ".".join(path.relative_to(ROOT).with_suffix("").parts)


def built_in_scripts():
    """Return the names of what job scripts build from a whole section of the settings."""
    return {
        node.func.id
        for path in (ROOT / "scripts").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        for keyword in node.keywords
        if keyword.arg is None and re.search(r"\bparams\.|\blimits\b", ast.unparse(keyword.value))
    }


def test_every_section_is_read_at_the_parse_as_its_job_reads_it(tmp_path, monkeypatch):
    built, classes = set(), dict(settings_classes())
    for name, module in classes.items():
        kind = getattr(importlib.import_module(module), name)

        def noted(self, *, name=name, check=kind.__post_init__):
            built.add(name)
            check(self)

        monkeypatch.setattr(kind, "__post_init__", noted)
    monkeypatch.chdir(tmp_path)
    parse("{}")
    assert built == set(classes)
    assert len(classes) > 10 and {"ScreeningConfig", "CropConfig", "PredictConfig"} <= built_in_scripts()
    assert {name for name in built_in_scripts() if name.endswith("Config")} <= built


def test_the_parse_imports_no_library_of_the_jobs():
    snakefiles = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    modules = {
        module
        for path in snakefiles
        for module in re.findall(r"^from (lib\.\S+) import", path.read_text(), re.M)
    }
    assert "lib.checked_study" in modules
    program = f"import sys, {', '.join(sorted(modules))}\nprint(*{set(HEAVY)} & {{*sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []


@pytest.mark.parametrize(
    ("overlay", "told"),
    [
        (
            "train: {early_stop_epochs: 5, schedule: cosine}",
            "train.early_stop_epochs: 5 may end a training before train.schedule: cosine has lowered the learning "
            "rate to 0; set train.early_stop_epochs: 0, or train.schedule: constant",
        ),
        (
            "train: {validate_step: 9, window_slices: 8}",
            "train.validate_step: 9 slices would lie between the starts of windows of train.window_slices: 8, so "
            "that slices between them are not predicted; set train.validate_step to 8 or less",
        ),
        (
            "{predict: {step: 33}, train: {window_slices: 32}}",
            "predict.step: 33 slices would lie between the starts of windows of 32 (train.window_slices), so that "
            "slices between them are not predicted; set predict.step to 32 or less",
        ),
        (
            "train: {augment: {gamma: [1.5, 0.7]}}",
            "train.augment.gamma: (1.5, 0.7) is not allowed; expected two exponents above 0, the smaller first",
        ),
        (
            "screening: {max_gb: 1.0e-7}",
            "screening.max_gb must be a number from 1e-06 to below inf; got 1e-07",
        ),
        (
            "phantom: {pixel_mm: [0.9, 0.8]}",
            "phantom.pixel_mm is [0.9, 0.8]: the smallest size comes first",
        ),
        (
            "phantom: {modality: MR, defects: [metal_nail]}",
            "phantom.defects holds 'metal_nail', which only a CT cohort has: remove it, or set phantom.modality to "
            "CT",
        ),
        (
            "phantom: {modality: MR}",
            "phantom.modality: MR makes scans that screening.modality: CT refuses; set both to the same",
        ),
        (
            "{anatomy: generic, crop: {method: centre}, measure: {distal_cut_mm: 10}}",
            "measure.distal_cut_mm: 10 cuts a femur below its lesser trochanter, and anatomy is generic; set "
            "measure.distal_cut_mm: null",
        ),
        ("mask: {low: 0.9, high: 0.2}", "mask.low and mask.high must be 0 <= low < high <= 1; got 0.9, 0.2"),
        ("intensity: {low: 9, high: 9}", "intensity.high must be more than intensity.low; got 9, 9"),
        ("bias_field: {method: n4}", "bias_field.method: n4 corrects the shading of MR images"),
    ],
)
def test_keys_that_contradict_each_other_are_refused_at_the_parse(tmp_path, monkeypatch, overlay, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        parse(overlay)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "overlay",
    [
        "train: {early_stop_epochs: 5}",
        "train: {schedule: cosine}",
        "{predict: {step: 8}, train: {validate_step: 8, window_slices: 8}}",
        "{anatomy: generic, crop: {method: centre}}",
        "measure: {distal_cut_mm: 0}",
        "train: {augment: {gamma: [1.0, 1.0]}}",
    ],
)
def test_keys_at_the_limit_of_each_other_are_accepted(tmp_path, monkeypatch, overlay):
    monkeypatch.chdir(tmp_path)
    assert parse(overlay)


def test_the_step_of_a_prediction_is_compared_with_the_windows_of_finished_models(tmp_path, monkeypatch):
    """The section `train` says nothing of models that are finished."""
    monkeypatch.chdir(tmp_path)
    study = parse("{}")
    for fold, window_slices in enumerate((32, 8)):
        folder = tmp_path / f"models/fold-{fold}"
        folder.mkdir(parents=True)
        folder.joinpath("model.pt").touch()
        run = {"format": 3, "group": "all", "network": "vnet", "takes": {}, "structures": ["femur"]}
        run |= {"architecture": {}, "preprocessing": study.preprocessing, "slice_axis": "z"}
        write_json(folder / "run.json", run | {"window_slices": window_slices})
    given = "model: models\ntrain: {window_slices: 8}\npredict: {step: %d}"
    assert parse(given % 8).finished.window_slices == 8
    with pytest.raises(ConfigError) as caught:
        parse(given.replace("8}", "32}") % 9)
    assert "windows of 8 (the windows of the models in models)" in str(caught.value)


def calibrated_study(folder, rows, overlay=""):
    """Read a study of two images whose rows (phantom, calibration) are given, with a certificate of p-1."""
    for name in ("a", "b"):
        (folder / name).mkdir(exist_ok=True)
    lines = (f"S{k},{name},{row}" for k, (name, row) in enumerate(zip("ab", rows, strict=True)))
    (folder / "cohort.csv").write_text("\n".join(["scan,image,phantom,calibration", *lines, ""]))
    rods = [{"density_mg_cm3": density} for density in (0, 100, 200)]
    entry = {"scale": "caha", "rods": rods, "rod_radius_mm": 9, "rod_distance_mm": 30}
    (folder / "phantoms.yaml").write_text(yaml.safe_dump({"p-1": entry}))
    return parse(
        f"{{cohort: cohort.csv, calibration: {{phantoms: phantoms.yaml}}, groups: {{all: {{}}}}, {overlay}}}"
    )


def test_certificates_lie_beside_the_cohort_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = calibrated_study(tmp_path, ["p-1,", ","])
    assert study.calibrates and study.certificates["p-1"].scale == "caha"
    assert [row.calibration for row in study.scans.values()] == ["phantom", "none"]
    assert not calibrated_study(tmp_path, ["p-1,none", ","]).calibrates


def test_a_phantom_without_certificate_and_a_calibration_of_mr_are_refused_at_the_parse(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        TableError, match=r"row 3, column phantom: 'p-2'; phantoms.yaml has p-1: correct the name"
    ):
        calibrated_study(tmp_path, ["p-1,", "p-2,"])
    mr = (
        "anatomy: generic, screening: {modality: MR}, crop: {method: centre}, "
        "intensity: {scale: percentile, low: 0.5, high: 99.5}"
    )
    with pytest.raises(
        ConfigError, match=r"row 2 of the cohort table asks for a .* screening.modality is MR"
    ):
        calibrated_study(tmp_path, ["p-1,", ","], mr)
    assert not calibrated_study(tmp_path, [",", ","], mr).calibrates
    with pytest.raises(ConfigError, match=r"calibration.phantoms: there is no file .*other.yaml"):
        parse("{cohort: cohort.csv, calibration: {phantoms: other.yaml}}")


def test_a_study_without_phantoms_has_no_calibration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = parse("{}")
    assert not study.calibrates and study.certificates == {}
