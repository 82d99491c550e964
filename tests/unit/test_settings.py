"""The configuration: defaults, schema and dataclasses agree; mistakes are explained."""

import copy
import inspect
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_config

from lib.bias_settings import BiasFieldConfig
from lib.calibration_settings import CalibrationConfig
from lib.catalog.modalities import MODALITIES
from lib.crop_settings import CropConfig
from lib.errors import ConfigError
from lib.fold_settings import FoldsConfig
from lib.intensity_scale import IntensityConfig
from lib.learning.architecture import VNetConfig, read_network, unet_config
from lib.learning.network_grid import GridConfig
from lib.learning.predict_settings import PredictConfig
from lib.learning.train_settings import AugmentConfig, TrainConfig
from lib.mask_settings import MaskConfig
from lib.measure_settings import DistalEndConfig, OverlapConfig
from lib.network_comparison_settings import NetworkComparisonConfig
from lib.phantom.people import PhantomConfig
from lib.phantom.scanner.machines import SCANNERS, MrProtocol
from lib.resample_settings import ResampleConfig
from lib.settings import check_settings, check_texts, check_words, in_order_of, keep_names, read_words

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text())
DEFAULTS = yaml.safe_load((ROOT / "config.yaml").read_text())
NETWORK = SCHEMA["properties"]["networks"]["additionalProperties"]
FULL_FORM = NETWORK["else"]
SHORT_FORM = NETWORK["then"]["then"]["properties"]["unet"]


def merged(base, overlay):
    result = copy.deepcopy(base)
    for key, value in overlay.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


@pytest.mark.parametrize("overlay", [None, *sorted((ROOT / "studies").glob("*.yaml"))], ids=str)
def test_defaults_and_overlays_follow_the_schema(overlay):
    settings = merged(DEFAULTS, yaml.safe_load(overlay.read_text())) if overlay else DEFAULTS
    check_settings(settings, SCHEMA)


def objects(schema, path=""):
    if schema.get("type") == "object":
        yield path, schema
        for key, value in schema.get("properties", {}).items():
            yield from objects(value, f"{path}.{key}" if path else key)


def test_schema_refuses_unknown_keys_and_describes_every_key():
    named = (
        "structures",
        "groups",
        "networks",
        "phantom.scanners",
        "phantom.training_defects",
        "classes.means",
        "regression.targets",
        "regression.networks",
    )  # the keys are names
    settings = [(path, schema) for path, schema in objects(SCHEMA) if path not in named]
    for path, schema in [*settings, ("networks.full", FULL_FORM), ("networks.unet", SHORT_FORM)]:
        assert schema["additionalProperties"] is False, path
        optional = schema is SHORT_FORM or path == "acquisition_protocol"
        assert optional or set(schema["required"]) == set(schema["properties"]), path
        for key, value in schema["properties"].items():
            assert value.get("description"), f"{path}.{key}"


def test_the_short_form_of_a_network_takes_the_arguments_of_its_function():
    arguments = inspect.signature(unet_config).parameters.values()
    assert set(SHORT_FORM["properties"]) == {argument.name for argument in arguments}
    needed = {argument.name for argument in arguments if argument.default is argument.empty}
    assert set(SHORT_FORM["required"]) == needed


def test_the_protocol_of_the_schema_has_the_fields_that_can_be_judged():
    assert set(SCHEMA["properties"]["acquisition_protocol"]["properties"]) == {
        name for modality in MODALITIES.values() for name in modality.fields
    }


def test_a_network_may_be_written_in_the_short_form():
    overlay = {"networks": {"unet-2d": {"unet": {"initial_maps": 16, "levels": 3, "dimensions": 2}}}}
    settings = DEFAULTS | {"networks": DEFAULTS["networks"] | overlay["networks"]}
    check_settings(settings, SCHEMA)
    network = read_network(settings["networks"]["unet-2d"], 1)
    assert (network.channels, network.dimensions) == ((16, 32, 64), 2)


def test_the_commented_example_of_the_short_form_is_one():
    lines = (ROOT / "config.yaml").read_text().splitlines()
    start = lines.index("  # unet-2d:")
    example = yaml.safe_load("\n".join(line.replace("# ", "", 1) for line in lines[start : start + 2]))
    check_settings(DEFAULTS | {"networks": example}, SCHEMA)
    assert read_network(example["unet-2d"], 1).dimensions == 2


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {"unet": {"initial_maps": 16, "level": 3}},
            "networks.mine.unet: unknown key 'level'; did you mean levels?",
        ),
        ({"unet": {"initial_maps": 16}}, "needs initial_maps and levels"),
        ({"unet": {"initial_maps": 16, "levels": 1}}, "networks.mine.unet.levels: 1; expected integer, >= 2"),
        ({"unet": 3}, "networks.mine.unet: 3; expected object"),
        ({"unet": {"initial_maps": 16, "levels": 3}, "dropout": 0.1}, "it must be the only key of its entry"),
        (
            DEFAULTS["networks"]["vnet"] | {"drop": 0.1},
            "networks.mine: unknown key 'drop'; did you mean dropout?",
        ),
        (
            DEFAULTS["networks"]["vnet"] | {"classes": 2},
            "networks.mine: unknown key 'classes'; it is now decided by the number of `structures`",
        ),
        ({"channels": [8, 8]}, "all fields of vnet in config.yaml, or only the short form"),
    ],
)
def test_a_network_in_neither_form_is_explained(entry, words):
    with pytest.raises(ConfigError) as caught:
        check_settings(DEFAULTS | {"networks": {"mine": entry}}, SCHEMA)
    assert words in str(caught.value)


def test_a_short_form_beside_the_fields_of_a_network_is_one_problem():
    both = DEFAULTS["networks"]["vnet"] | {"unet": {"initial_maps": 16, "levels": 3}}
    with pytest.raises(ConfigError, match="1 problem"):
        check_settings(DEFAULTS | {"networks": {"vnet": both}}, SCHEMA)


def test_scanners_of_the_schema_have_the_settings_of_either_modality():
    schema = SCHEMA["properties"]["phantom"]["properties"]["scanners"]["additionalProperties"]
    assert schema["additionalProperties"] is False
    known = {field.name for kind in SCANNERS.values() for field in fields(kind)}
    assert set(schema["properties"]) == known
    assert all(value["description"] for value in schema["properties"].values())


def test_the_section_measure_is_shared_by_two_dataclasses():
    names = {field.name for part in (OverlapConfig, DistalEndConfig) for field in fields(part)}
    assert set(DEFAULTS["measure"]) == names


def test_every_key_has_a_default_with_a_comment():
    lines = (ROOT / "config.yaml").read_text().splitlines()
    keys = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    leaves = [line for line in keys if not line.split("#")[0].rstrip().endswith(":")]
    assert [line for line in leaves if "#" not in line] == []


@pytest.mark.parametrize(
    ("section", "dataclass"),
    [
        ("folds", FoldsConfig),
        ("phantom", PhantomConfig),
        ("phantom.mr", MrProtocol),
        ("bias_field", BiasFieldConfig),
        ("resample", ResampleConfig),
        ("crop", CropConfig),
        ("mask", MaskConfig),
        ("intensity", IntensityConfig),
        ("train", TrainConfig),
        ("predict", PredictConfig),
        ("train.augment", AugmentConfig),
        ("networks.vnet", VNetConfig),
        ("grid", GridConfig),
        ("calibration", CalibrationConfig),
        ("network_comparison", NetworkComparisonConfig),
    ],
)
def test_sections_are_the_fields_of_their_dataclass(section, dataclass):
    values = DEFAULTS
    for part in section.split("."):
        values = values[part]
    # the number of structures decides how many classes a network has
    assert set(values) == {field.name for field in fields(dataclass)} - {"classes"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"epoch": 3}}, "train: unknown key 'epoch'; did you mean epochs?"),
        ({"train": {"epochs": "many"}}, 'train.epochs: "many"; expected integer, >= 1'),
        ({"folds": {"folds": 1}}, "folds.folds: 1; expected integer, >= 2"),
        ({"bias_field": {"method": "n3"}}, 'bias_field.method: "n3"; expected one of "none", "n4"'),
        ({"resample": {"method": "cubic"}}, 'expected one of "fourier", "area", "none"'),
        ({"groups": {"male": {"sex": "boy"}}}, 'groups.male.sex: "boy"; expected one of "M", "F"'),
        ({"phantom": {"modality": "PET"}}, 'phantom.modality: "PET"; expected one of "CT", "MR"'),
        ({"phantom": {"mr": {"slice": 3}}}, "phantom.mr: unknown key 'slice'"),
        ({"phantom": {"scanners": {"A": {"noise": 3}}}}, "phantom.scanners.A: unknown key 'noise'"),
        ({"phantom": {"scanners": {"A B": {}}}}, "phantom.scanners"),
        ({"groups": ["all"]}, 'groups: ["all"]; expected object'),
        ({"cohorts": ["all"]}, "unknown key 'cohorts'; it is now groups, such as groups: {all: {}"),
        (
            {"intensity": {"low_hu": -1000}},
            "intensity: unknown key 'low_hu'; it is now low, beside scale: range",
        ),
        ({"otsu": [0.2]}, "unknown key 'otsu'; it is now mask, such as mask: {method: otsu"),
        ({"models": ["vnet"]}, "unknown key 'models'; it is now networks"),
        ({"networks": {"vnet": {"depth": 4}}}, "networks.vnet: unknown key 'depth'"),
        (
            {"acquisition_protocol": {"kvpp": 120}},
            "acquisition_protocol: unknown key 'kvpp'; did you mean kvp?",
        ),
        ({"acquisition_protocol": {"kvp": "high"}}, 'acquisition_protocol.kvp: "high"; '),
        (
            {"acquisition_protocol": {"kernel": 30}},
            "kernel: 30; expected a text or a list of texts",
        ),
    ],
)
def test_mistakes_name_key_and_allowed_values(change, words):
    settings = copy.deepcopy(DEFAULTS)
    for key, value in change.items():
        if isinstance(value, dict):
            for inner, setting in value.items():
                if isinstance(setting, dict):
                    settings[key][inner].update(setting)
                else:
                    settings[key][inner] = setting
        else:
            settings[key] = value
    with pytest.raises(ConfigError) as caught:
        check_settings(settings, SCHEMA)
    assert words in str(caught.value)


def test_all_mistakes_are_listed_at_once():
    settings = merged(DEFAULTS, {"seed": -1, "reproducible": "yes", "otsu": {"low": 2}})
    with pytest.raises(ConfigError, match="3 problems"):
        check_settings(settings, SCHEMA)


def test_words_of_a_command_line_are_read_as_the_schema_means_them():
    given = DEFAULTS | {"partial": "true", "retrain": "False", "model": None, "study": "true", "seed": 3}
    read = read_words(given, SCHEMA)
    assert (read["partial"], read["retrain"], read["model"], read["seed"]) == (True, False, "", 3)
    assert read["study"] == "true"
    check_settings(read, SCHEMA)


def test_words_of_a_section_on_the_command_line_are_read_as_the_schema_means_them():
    section = {"correct_tilt": "true", "resample_uneven": False}
    folds = {"folds": "5", "test_fraction": "0.2", "age_bands": 3}
    read = read_words(DEFAULTS | {"dicom": section, "folds": folds}, SCHEMA)
    assert read["dicom"] == {"correct_tilt": True, "resample_uneven": False}
    assert read["folds"] == {"folds": 5, "test_fraction": 0.2, "age_bands": 3}
    check_settings(read, SCHEMA)
    assert read_words(DEFAULTS, SCHEMA) == DEFAULTS


@pytest.mark.parametrize(
    ("section", "given", "meant"),
    [
        ("measure", {"distal_cut_mm": "10"}, {"distal_cut_mm": 10}),
        ("measure", {"distal_cut_mm": "null"}, {"distal_cut_mm": None}),
        ("resample", {"inplane_mm": "0.8", "method": "area"}, {"inplane_mm": 0.8, "method": "area"}),
        ("crop", {"size": ["96", "96"]}, {"size": [96, 96]}),
        ("train", {"learning_rate": "1e-3", "epochs": "5"}, {"learning_rate": 0.001, "epochs": 5}),
        (
            "acquisition_protocol",
            {"kvp": "120", "kernel": "30", "mas": {"min": "100"}, "contrast": "no"},
            {"kvp": 120, "kernel": "30", "mas": {"min": 100}, "contrast": "no"},
        ),
    ],
)
def test_texts_of_a_section_become_what_the_schema_takes(section, given, meant):
    read = read_words(merged(DEFAULTS, {section: given}), SCHEMA)
    assert {key: read[section][key] for key in meant} == meant
    check_settings(read, SCHEMA)


def test_settings_come_in_the_order_of_the_defaults():
    written = {"otsu": {"high": 0.9, "low": 0.1}, "networks": {"b": {}, "a": {}}, "seed": 1}
    ordered = in_order_of(written, {"seed": 0, "networks": {"vnet": {}}, "otsu": {"low": 0.2, "high": 0.8}})
    assert ordered == written
    assert list(ordered) == ["seed", "networks", "otsu"] and list(ordered["otsu"]) == ["low", "high"]
    assert list(ordered["networks"]) == ["b", "a"]  # the order in reports


def typed(tmp_path, text):
    path = tmp_path / "overlay.yaml"
    path.write_text(text, encoding="utf-8")
    check_texts([path])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {epochs: 3}\ntrain: {device: cpu}\n", "line 2: train is already in line 1"),
        ("train:\n  epochs: 3\n  epochs: 4\n", "line 3: train.epochs is already in line 2"),
        (
            "models:\n  a:\n    unet: {levels: 3}\n  b: {}\n  a: {}\n",
            "line 5: models.a is already in line 2",
        ),
        (
            "train: {augment: {gamma: [1, 2],\n  gamma: [1, 1]}}\n",
            "line 2: train.augment.gamma is already in line 1",
        ),
        ("seed: 1\n'seed': 2\n", "line 2: seed is already in line 1"),
        ("list:\n- {a: 1, a: 2}\n", "line 2: list.a is already in line 2"),
        ("one: &x {a: 1, a: 2}\ntwo: *x\n", "1 problem;"),
        ("train: &t {epochs: *t}\n", "line 1: train.epochs contains itself (*)"),
        ("a: &a\n  b: [1, *a]\n", "a.b contains itself (*)"),
        ("study: 001\n", "line 1: study: YAML reads 001 as 1; write the number plainly, or in quotes"),
        ("train:\n  epochs: 0300\n", "line 2: train.epochs: YAML reads 0300 as 192"),
        ("screening: {max_minutes: 1:30}\n", "YAML reads 1:30 as 90"),
        ("networks: [012]\n", "networks: YAML reads 012 as 10"),
        ("train:\n\tepochs: 3\n", "line 2: this is not YAML"),
        ("study: 'a\n", "this is not YAML"),
        ("study: a\n---\nstudy: b\n", "this is not YAML"),
        ("- study\n", "line 1: no keys found"),
        ("study\n", "line 1: no keys found"),
    ],
)
def test_what_yaml_would_lose_or_read_otherwise_is_told_with_its_line(tmp_path, text, words):
    with pytest.raises(ConfigError, match="configuration: 1 problem; nothing was run") as caught:
        typed(tmp_path, text)
    assert words in str(caught.value) and "overlay.yaml, line" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "a: {x: 1}\nb: {x: 1}\n",
        "a: &a {x: 1}\nb: {<<: *a, x: 2}\nc:\n  <<: *a\n  <<: {y: 3}\n",
        "a: '001'\nb: \"1:30\"\nc: 1_000\nd: 0\ne: -3\nf: 0x10\ng: 1e-4\nh: 0.5\ni: 08\nj: 2024-01-01\n",
        '{"a": 1,\n\t"b": {"a": 2}}\n',
        "\ufeffstudy: x\n",
    ],
)
def test_unambiguous_yaml_is_accepted(tmp_path, text):
    typed(tmp_path, text)


def test_the_project_s_own_yaml_is_unambiguous():
    check_texts([ROOT / "config.yaml", *(ROOT / "studies").glob("*.yaml")])


def test_a_configuration_file_that_is_not_there_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check_texts(["studies/hip.yaml"])
    assert f"studies/hip.yaml does not exist (it was looked for at {tmp_path}/studies/hip.yaml)" in str(
        caught.value
    )
    assert "put targets before it, or after --" in str(caught.value)
    (tmp_path / "latin.yaml").write_bytes("study: Köln".encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        check_texts(["latin.yaml"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("screening: {min_length_mm: 60,5}", "screening: unknown key 5; decimals are written with a point"),
        (
            "screening: {max_gb: '4,5'}",
            'screening.max_gb: "4,5"; expected number, > 0 (largest scan and largest',
        ),
        ("screening: {max_gb: '4,5'}", "; write decimals with a point"),
        ("1: x", "top level: unknown key 1; keys are names; known keys: acquisition_protocol"),
        ("{1: x, b: y, 2.5: z}", "3 problems"),
        ("on: x", "top level: unknown key True; YAML reads yes, no, on and off as true and false"),
        ("~: x", "top level: unknown key None"),
        ("2024-01-01: x", "top level: unknown key datetime.date(2024, 1, 1); keys are names"),
        ("train: {2: x, 3: y}", "train: unknown key 2; keys are names; known keys: accumulate"),
        ("train: {learning-rate: 0.1}", "train: unknown key 'learning-rate'; did you mean learning_rate?"),
        ("train: {Learning Rate: 0.1}", "train: unknown key 'Learning Rate'; did you mean learning_rate?"),
        ("TRAIN: {epochs: 3}", "top level: unknown key 'TRAIN'; did you mean train?"),
        (
            "epochs: 3",
            "top level: unknown key 'epochs'; did you mean train.epochs or regression.train.epochs?",
        ),
        ("distal_cut_mm: 3", "unknown key 'distal_cut_mm'; did you mean measure.distal_cut_mm?"),
        ("train:\nepochs: 3", "train: null; expected object"),
        ("train:\nepochs: 3", "; indent its keys below it"),
        (
            "study: no",
            "study: false; expected string (name of the study; empty takes the file name of the cohort",
        ),
        ("study: 12", "study: 12; expected string (name of the study"),
        ("study: 1e3.5", ""),
        ("study: 2024-01-01", "; put it in quotes"),
        (
            "groups: {yes: {}}",
            "groups: true; expected string (a name; not final, a folder of masks); put it in quotes",
        ),
        ("groups: {final: {}}", 'groups: "final"; expected string (a name; not final'),
        ("cohort_columns: [2020]", "cohort_columns.0: 2020; expected string; put it in quotes"),
        ("reproducible: maybe", 'reproducible: "maybe"; expected boolean'),
        ("seed: 3,5", 'seed: "3,5"; expected integer, >= 0'),
        ("networks: {3: {}}", "networks.3"),
        ("train: {'5': ~}", "decimals are written with a point"),  # as the command line passes it
        ("phantom: {defects: localizer}", "; write a list: [one, two]"),
        ("train: {epochs: '1,000'}", "; write it without a comma"),
        ("train: {seed: 1}", "train: unknown key 'seed'; did you mean seed or phantom.seed?"),
        ("train: {learning_rate: .nan}", "train.learning_rate: nan; expected a finite number"),
        ("otsu: {low: -.inf}", "expected a finite number"),
        ("acquisition_protocol: {kvp: .inf}", "acquisition_protocol.kvp: inf; expected a finite number"),
    ],
)
def test_what_people_type_is_explained(text, words):
    settings = merged(DEFAULTS, yaml.safe_load(text))
    read = in_order_of(read_words(settings, SCHEMA), DEFAULTS)
    if not words:
        check_settings(read, SCHEMA)
        return
    with pytest.raises(ConfigError) as caught:
        check_settings(read, SCHEMA)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["train={epochs: 3}", "train={device: cpu}"], "--config: train is given twice"),
        (["train={epochs: 3, epochs: 5}"], "--config, line 1: train.epochs is already in line 1"),
        (["train={augment: {gamma: [1, 2], gamma: [1, 1]}}"], "train.augment.gamma is already in line 1"),
    ],
)
def test_what_a_command_line_would_lose_is_told(entries, words):
    with pytest.raises(ConfigError, match="1 problem") as caught:
        check_words(["study=a", *entries])
    assert words in str(caught.value)


def test_unambiguous_words_are_accepted():
    check_words(
        [
            "train={epochs: 0300}",
            "report={confidence: 0.9}",
            "seed=1",
            "seed=2",
            "study={",
            "x",
            "groups={all: {}}",
        ]
    )


@pytest.mark.parametrize("text", ["train: {epochs: 3e2}", "train: {epochs: 300.0}", "train: {epochs: '3e2'}"])
def test_whole_numbers_are_whole_however_they_are_written(text):
    read = read_words(merged(DEFAULTS, yaml.safe_load(text)), SCHEMA)
    check_settings(read, SCHEMA)
    assert read["train"]["epochs"] == 300 and isinstance(read["train"]["epochs"], int)


@pytest.mark.parametrize(
    "name", ["001", "1e5", "12", "0.50", "true", "1_000", "inf", "a: b", "[x]", "null", ""]
)
def test_names_on_the_command_line_that_look_like_something_else_are_names(name):
    entry = f"study={name}"
    settings = DEFAULTS | parse_config([entry, "seed=7", "folds={folds: 5}"])
    read = read_words(keep_names(settings, SCHEMA, [entry, "seed=7", "folds={folds: 5}"]), SCHEMA)
    assert read["study"] == name and read["seed"] == 7 and read["folds"] == {"folds": 5}
    assert keep_names(DEFAULTS | {"study": "001"}, SCHEMA, ["study='001'"])["study"] == "001"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"min_rods": 2}, "calibration.min_rods must be at least 3, because a line fits any two rods; got 2"),
        ({"roi_radius_share": 1.0}, "calibration.roi_radius_share must be a number from 0.2 to 0.9; got 1.0"),
        (
            {"max_scan_order_gap": -1},
            "calibration.max_scan_order_gap must be a number of at least 0, or null for no limit; got -1",
        ),
        ({"max_drift_z_mg_cm3": 0.0}, "calibration.max_drift_z_mg_cm3 must be a number > 0; got 0.0"),
    ],
)
def test_calibration_limits_that_cannot_be_used(wrong, told):
    with pytest.raises(ConfigError) as caught:
        CalibrationConfig(**wrong)
    assert told in str(caught.value)
