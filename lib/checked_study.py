"""A study before its first job: settings, cohort table, review and models, read and checked together.

The Snakefile runs this at each parse (standard library, YAML and its schema only), and so do the programs beside the
workflow. Paths are relative to the working directory, which Snakemake has changed to the study's.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

from lib.bias_settings import NONE, BiasFieldConfig
from lib.calibration_settings import CalibrationConfig
from lib.catalog.anatomies import ANATOMIES, usual_side
from lib.certificates import Certificate
from lib.classes_settings import ClassesConfig, check_classes, check_cut_offs
from lib.cohort.acquisitions import check_strata, read_protocol
from lib.cohort.other_run import find_results
from lib.cohort.placement import Takes
from lib.cohort.review import Review, read_review, rejected
from lib.cohort.sheet import read_sheet, read_text
from lib.cohort.table import ScanRow, planned_cohort, read_cohort, require_phantoms
from lib.compare_settings import ComparisonConfig
from lib.crop_settings import HIP, CropConfig
from lib.density_settings import DensityConfig
from lib.errors import ConfigError, ModelError
from lib.fold_settings import CROPS_NEED_NO_FOLDS, FoldsConfig
from lib.intensity_scale import IntensityConfig
from lib.learning.architecture import read_network
from lib.learning.finished import (
    FinishedModels,
    FinishedRegression,
    check_preprocessing,
    check_structures,
    folders_by_task,
    other_task,
    read_finished,
    read_finished_regression,
)
from lib.learning.network_grid import GridConfig, networks_of_study
from lib.learning.predict_settings import PredictConfig
from lib.learning.train_settings import TrainConfig
from lib.mask_settings import MaskConfig
from lib.measure_settings import DistalEndConfig, OverlapConfig
from lib.model_record import REGRESS, SEGMENT
from lib.network_comparison_settings import NetworkComparisonConfig, check_compared_networks, state_comparison
from lib.phantom.density_phantoms import CERTIFICATES, certificates
from lib.phantom.people import PhantomConfig, phantom_table
from lib.phantom_file import check_certificates, read_certificates
from lib.publications.article import Publication
from lib.publications.followed import followed_publication
from lib.regression_settings import RegressionConfig, check_regression, refuse_forbidden
from lib.report_settings import AgreementConfig, check_reported
from lib.resample_settings import ResampleConfig
from lib.screening_settings import ScreeningConfig
from lib.settings import check_settings, check_texts, check_words, in_order_of, in_use, keep_names, read_words
from lib.structures import Structures, check_method, read_structures
from lib.study import check_paths, check_study, read_comparison, study_identity
from lib.target_columns import check_targets

PROJECT = Path(__file__).parents[1]
PHANTOM_TABLE = "results/phantom/cohort.csv"
STUDY_FILE = "results/study.json"
MOST_DETAILED = 3  # of so many networks each has figures of its own
MEASURED_FOLDER = "results/measured"
NO_COHORT = """no cohort is given. Either
  set `cohort` to your cohort table:  snakemake --cores 4 --config cohort=cohort.csv
  or try the synthetic demo:          make demo   (snakemake --cores 2 --configfile studies/demo.yaml)
README.md describes the table under "Your own cohort"."""


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What was typed after `snakemake`.

    Attributes:
        words: the KEY=VALUE words after --config.
        overlays: the files after --configfile.
        settings: the settings of both, as Snakemake has merged them.
    """

    words: Sequence[str]
    overlays: Sequence[str | Path]
    settings: Mapping


@dataclass(frozen=True, kw_only=True)
class Study:
    """Settings, cohort, review and models that fit together.

    Attributes:
        folder: the study's.
        config: settings as the schema has them, with their keys in the order of config.yaml.
        typed: what was typed after `snakemake`.
        table: path of the cohort table.
        cohort: its rows by scan, including excluded scans.
        certificates: those of the calibration phantoms, by name.
        review: rows of the review by scan; empty without one.
        finished: finished models to predict with; None if the study trains its own.
        finished_regression: those of a regression beside them; None if there are none.
        other: results of the run to compare with; empty without one.
        identity: what identifies the study (study.json).
    """

    folder: Path
    config: Mapping
    typed: Typed = field(repr=False)
    table: str
    cohort: Mapping[str, ScanRow]
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    review: Mapping[str, Review]
    finished: FinishedModels | None
    finished_regression: FinishedRegression | None = None
    other: str
    identity: Mapping

    @property
    def synthetic(self) -> bool:
        """Return whether the workflow makes a synthetic cohort."""
        return not self.config["cohort"]

    @property
    def publication(self) -> Publication | None:
        """Return the article that the study follows; None: it follows none."""
        return followed_publication(self.config)

    def follows(self, name: str) -> bool:
        """Return whether the study follows the article with this name."""
        return self.publication is not None and self.publication.name == name

    @cached_property
    def scans(self) -> Mapping[str, ScanRow]:
        """Return the rows of the cohort that are not excluded, by scan."""
        return {scan: row for scan, row in self.cohort.items() if not row.exclude}

    @cached_property
    def calibrates(self) -> bool:
        """Return whether any scan asks for a calibration of its density."""
        return any(row.is_calibrated for row in self.scans.values())

    @cached_property
    def calibration_scans(self) -> frozenset[str]:
        """Return the scans whose calibration others take."""
        return frozenset(row.calibration_scan for row in self.scans.values()) - {""}

    def calibrated(self, accepted: Iterable[str]) -> list[str]:
        """Return those of the accepted scans that are calibrated, and the scans of phantoms that they name.

        A named scan is calibrated whether it is accepted or not.
        """
        own = {scan for scan in accepted if self.scans[scan].is_calibrated}
        own |= {self.scans[scan].calibration_scan for scan in own}
        return [scan for scan in self.scans if scan in own]

    @property
    def groups(self) -> Mapping[str, Takes]:
        """Return who belongs to each group."""
        return {self.finished.group: self.finished.takes} if self.finished else self.config["groups"]

    @property
    def structures(self) -> Structures:
        """Return the values of each structure in reference files, by name."""
        return read_structures(self.config["structures"])

    @property
    def targets(self) -> Mapping[str, str]:
        """Return structure -> column of the cohort table with its reference density; empty without a regression."""
        return _target_columns(self.config)

    @property
    def networks(self) -> Sequence[str]:
        """Return the names of the networks."""
        return [self.finished.network] if self.finished else list(self.config["networks"])

    @cached_property
    def regression(self) -> RegressionConfig:
        """Return the settings of the regression; without targets there is none."""
        return RegressionConfig(**self.config["regression"])

    @property
    def regression_networks(self) -> Sequence[str]:
        """Return the names of the networks that regress; none without targets."""
        if not self.regression.is_asked:
            return []
        return (
            [self.finished_regression.network] if self.finished_regression else list(self.regression.networks)
        )

    @property
    def crop_network(self) -> str:
        """Return the network whose masks the regression's crops are cut around."""
        return self.networks[0] if self.finished else self.regression.network or self.networks[0]

    @property
    def detailed_networks(self) -> Sequence[str]:
        """Return the networks with figures of their own, if the study has too many to draw them of all; else none.

        They are the stated pair and the control, or the first network.
        """
        if len(self.networks) <= MOST_DETAILED:
            return []
        asked = NetworkComparisonConfig(**self.config["network_comparison"])
        wanted = {*asked.pair, asked.control_among(self.networks)}
        return [name for name in self.networks if name in wanted] or self.networks[:1]

    @cached_property
    def comparison(self) -> Mapping[str, Mapping]:
        """Return which comparison of networks was stated when (`state_comparison`).

        A run of some of the networks, or with finished models, states nothing.
        """
        former = read_comparison(STUDY_FILE)
        if former is not None and (self.finished or self.config["only_networks"]):
            return former
        return state_comparison(
            former,
            NetworkComparisonConfig(**self.config["network_comparison"]),
            self.networks,
            results_exist=any(Path(MEASURED_FOLDER).glob("*/*/*/*.json")),
        )

    @property
    def folds(self) -> Sequence[int]:
        """Return the numbers of the folds that have or will have a model."""
        return self.finished.folds if self.finished else tuple(range(self.config["folds"]["folds"]))

    @property
    def acquired_axis(self) -> str:
        """Return the axis along which all slices must have been acquired; `acquired`: that of most; empty: any."""
        if self.config["model_frame"]["slice_axis"] != "acquired":
            return ""
        return self.finished.slice_axis if self.finished else "acquired"

    @property
    def rejected(self) -> Mapping[str, str]:
        """Return the comments on scans that were rejected in review, by scan."""
        return rejected(self.review)

    @property
    def corrected(self) -> Mapping[str, str]:
        """Return the paths of masks that were corrected by hand, by scan."""
        return {scan: row.corrected_mask for scan, row in self.review.items() if row.corrected_mask}

    @property
    def preprocessing(self) -> Mapping:
        """Return the preprocessing settings on which finished models and this study must agree."""
        return {
            "bias_field": self.config["bias_field"],
            "resample": self.config["resample"],
            "crop": {key: self.config["crop"][key] for key in ("method", "size")},
            "intensity": self.config["intensity"],
        }


def read_study(config: Mapping, typed: Typed, folder: str | Path) -> Study:
    """Read and check everything that defines a study; nothing is written.

    Args:
        config: settings as Snakemake has merged them, or as this function has returned them.
        typed: what was typed after `snakemake`.
        folder: name of the study's folder for messages; files are read from the working directory.

    Raises:
        OsteoflowError: settings, cohort table, review, finished models or folder are wrong or do not fit together;
            the text lists every problem of the first of these.
    """
    config = _read_config(config, typed, folder)
    finished, finished_regression = _read_finished(config)
    table = config["cohort"] or PHANTOM_TABLE
    cohort = _read_cohort(config, table, [finished.takes] if finished else config["groups"].values())
    certificates = _read_certificates(config, table)
    _check_calibrations(config, table, cohort, certificates)
    study = Study(
        folder=Path(folder),
        config=config,
        typed=typed,
        table=table,
        cohort=cohort,
        certificates=certificates,
        review=read_review(config["review"], cohort) if config["review"] else {},
        finished=finished,
        finished_regression=finished_regression,
        other=find_results(config["other"], "results") if config["other"] else "",
        identity=study_identity(
            study=config["study"], table=table, synthetic=not config["cohort"], model=config["model"]
        ),
    )
    check_study(STUDY_FILE, study.identity)
    _check_models(study)
    return study


def words_of_jobs(study: Study, project: str | Path) -> dict[str, tuple[str, ...]]:
    """Return the paths and settings that appear on the command lines of submitted jobs, by what they are."""
    tables = {
        column: tuple(getattr(row, column) for row in study.scans.values())
        for column in ("image", "mask", "mask2")
    }
    return {
        "the project's folder": (str(project),),
        "--configfile": tuple(str(path) for path in study.typed.overlays),
        "--config": tuple(study.typed.words),
        "cohort": (study.table,),
        "model": (study.config["model"],),
        "other": (study.other,),
        "corrected_mask": tuple(study.corrected.values()),
        **tables,
    }


def _read_yaml(name: str) -> dict:
    """Return the content of a YAML file of the project."""
    return yaml.load((PROJECT / name).read_text(encoding="utf-8"), yaml.CSafeLoader)


def _read_config(config: Mapping, typed: Typed, folder: str | Path) -> dict:
    """Return the settings as the schema has them, with only the `structures`, `groups` and `networks` in use."""
    check_texts(typed.overlays)
    check_words(typed.words)
    schema = _read_yaml("schemas/config.schema.yaml")
    named = keep_names(config, schema, typed.words)
    config = in_order_of(read_words(named, schema), _read_yaml("config.yaml"))
    _refuse_forbidden(config)
    check_settings(config, schema)
    check_paths(
        str(folder), sys.executable, {key: config[key] for key in ("cohort", "model", "review", "other")}
    )
    for name in ("structures", "groups", "networks"):
        config[name] = in_use(config[name], typed.settings.get(name))
    typed_regression = typed.settings.get("regression") or {}
    config["regression"] = config["regression"] | {
        "targets": config["regression"]["targets"] or {},
        "networks": in_use(config["regression"]["networks"], typed_regression.get("networks")),
    }
    config["classes"] = config["classes"] | {"means": config["classes"]["means"] or {}}
    _check_structures(config)
    followed_publication(config)
    named = typed.settings.get("networks") or ()
    config["networks"] = networks_of_study(
        config["networks"], named, GridConfig(**config["grid"]), config["only_networks"]
    )
    check_method(config["mask"]["method"], config["structures"])
    check_strata(config["report"]["strata"], config["cohort_columns"], config["screening"]["modality"])
    _check_networks(config)
    read_protocol(config["acquisition_protocol"], config["screening"]["modality"])
    check_cut_offs(typed.settings.get("classes") or {})
    _check_sections(config)
    if config["partial"] and not os.path.exists("results/folds/folds.csv"):
        raise ConfigError(
            "partial=true reports on the results so far, but people have not been split yet; "
            f"run once without it. {CROPS_NEED_NO_FOLDS}"
        )
    return config


def _check_sections(config: Mapping) -> None:
    """Refuse values that a job would refuse: each section is read as its job will read it.

    Raises:
        ConfigError: a value is not allowed, or two keys contradict each other.
    """
    IntensityConfig(**config["intensity"])
    CalibrationConfig(**config["calibration"])
    _check_bias_field(config)
    _check_crop(config)
    MaskConfig(**config["mask"])
    ScreeningConfig(**config["screening"], **config["dicom"])
    ResampleConfig(**config["resample"])
    FoldsConfig(**config["folds"])
    train, predict = TrainConfig(**config["train"]), PredictConfig(**config["predict"])
    if not config["model"]:
        predict.require_overlap(train.window_slices, "train.window_slices")
    _check_measure(config)
    check_regression(
        RegressionConfig(**config["regression"]),
        anatomy=config["anatomy"],
        networks=list(config["networks"]),
        modality=config["screening"]["modality"],
    )
    AgreementConfig(**config["report"])
    check_reported(config["report"]["structures"], config["structures"])
    scale = check_targets(_target_columns(config), config["structures"])
    check_classes(ClassesConfig(**config["classes"]), _target_columns(config), scale)
    DensityConfig(**config["density"])
    ComparisonConfig(**config["compare"])
    _check_phantom(config)


def _target_columns(config: Mapping) -> Mapping[str, str]:
    """Return structure -> column of the cohort table with its reference density; empty without a regression."""
    return config.get("regression", {}).get("targets", {})


def _refuse_forbidden(config: Mapping) -> None:
    """Refuse augmentations that a regression of density must not have, with the reason, before the schema does."""
    section = config.get("regression")
    train = section.get("train") if isinstance(section, Mapping) else None
    refuse_forbidden(train if isinstance(train, Mapping) else {})


def _check_measure(config: Mapping) -> None:
    """Refuse a cut that the anatomy does not have."""
    measure, anatomy = config["measure"], config["anatomy"]
    OverlapConfig(nsd_tolerance_mm=measure["nsd_tolerance_mm"])
    cut_mm = DistalEndConfig(distal_cut_mm=measure["distal_cut_mm"]).distal_cut_mm
    if cut_mm is not None and not ANATOMIES[anatomy].cut_below:
        raise ConfigError(
            f"measure.distal_cut_mm: {cut_mm:g} cuts a femur below its lesser trochanter, and anatomy is {anatomy}; "
            "set measure.distal_cut_mm: null"
        )


def _check_phantom(config: Mapping) -> None:
    """Refuse a synthetic cohort of another modality than the one that screening accepts, or of another anatomy."""
    if config["cohort"]:
        return
    phantom, anatomy = PhantomConfig(**config["phantom"]), config["anatomy"]
    made, accepted = phantom.modality, config["screening"]["modality"]
    if phantom.people and made != accepted:
        raise ConfigError(
            f"phantom.modality: {made} makes scans that screening.modality: {accepted} refuses; set both to the same"
        )
    if phantom.people and anatomy != "generic" and phantom.anatomy != anatomy:
        raise ConfigError(
            f"phantom.anatomy: {phantom.anatomy} is not the anatomy of the study, {anatomy}; set both to the same"
        )


def _check_networks(config: Mapping) -> None:
    """Refuse what the schema cannot express: levels that do not fit together, comparisons of unknown networks."""
    structures = len(config["structures"])
    dimensions = {
        name: read_network(entry, structures).dimensions for name, entry in config["networks"].items()
    }
    asked = NetworkComparisonConfig(**config["network_comparison"])
    if not config["only_networks"]:  # with it the networks to compare may be left out for now
        check_compared_networks(asked, dimensions)


def _check_bias_field(config: Mapping) -> None:
    """Refuse a correction that the modality does not need."""
    method, modality = BiasFieldConfig(**config["bias_field"]).method, config["screening"]["modality"]
    if method != NONE and modality != "MR":
        raise ConfigError(
            f"bias_field.method: {method} corrects the shading of MR images, and screening.modality is {modality}; "
            "set bias_field.method: none"
        )


def _check_crop(config: Mapping) -> None:
    """Refuse a window that the anatomy or the slice axis does not admit."""
    crop, axis = CropConfig(**config["crop"]), config["model_frame"]["slice_axis"]
    modality = config["screening"]["modality"]
    if crop.method == HIP and modality != "CT":
        raise ConfigError(
            f"crop.method: hip finds bone in a CT, not in {modality}; use crop.method: centre or none"
        )
    if crop.method == HIP and axis != "z":
        raise ConfigError(
            f"crop.method: hip cuts axial slices, so it needs model_frame.slice_axis: z; got {axis}. "
            "Use crop.method: centre or none"
        )
    if axis != "z" and config["resample"]["method"] != "none":
        raise ConfigError(
            f"resample.method: {config['resample']['method']} makes axial slices of another thickness, but "
            f"model_frame.slice_axis is {axis}; set resample: {{method: none}}"
        )
    if modality != "CT" and config["intensity"]["scale"] != "percentile":
        raise ConfigError(
            f"intensity.scale: range needs values of one scale, but {modality} images each have their own; "
            "set intensity: {scale: percentile, low: 0.5, high: 99.5}"
        )
    methods = ANATOMIES[config["anatomy"]].crop_methods
    if crop.method not in methods:
        raise ConfigError(
            f"crop.method: the anatomy {config['anatomy']} has {', '.join(methods)}; got {crop.method}"
        )


def _check_structures(config: Mapping) -> None:
    """Refuse structures that cannot be read, or that the anatomy does not have."""
    named, known = read_structures(config["structures"]), ANATOMIES[config["anatomy"]].structures
    unknown = [name for name in named if known and name not in known]
    if unknown:
        raise ConfigError(
            f"structures: the anatomy {config['anatomy']} has {', '.join(known)}; got {', '.join(unknown)}. "
            "For other bones set anatomy: generic"
        )


def _read_cohort(config: Mapping, table: str, groups: Sequence[Takes]) -> dict[str, ScanRow]:
    """Return the cohort of the table, or the synthetic one, by scan."""
    if config["cohort"]:
        sex_required = any("sex" in takes for takes in groups)
        return read_cohort(
            table,
            extra_columns=config["cohort_columns"],
            sex_required=sex_required,
            usual_side=usual_side(config["anatomy"]),
            structures=list(config["structures"]),
            targets=_targets_in_table(config, table),
        )
    phantom = PhantomConfig(**config["phantom"])
    if not phantom.people:
        raise ConfigError(NO_COHORT)
    return planned_cohort(
        phantom_table(phantom),
        table,
        usual_side(config["anatomy"]),
        structures=list(config["structures"]),
        targets=_target_columns(config),
    )


def _read_certificates(config: Mapping, table: str) -> dict[str, Certificate]:
    """Return the certificates of the study's calibration phantoms, by name; none if no file is named.

    Those of a synthetic cohort are known before their file is made.
    """
    file = config["calibration"]["phantoms"]
    if not file:
        return {}
    synthetic = PhantomConfig(**config["phantom"])
    if not config["cohort"] and synthetic.has_density_phantom and file == CERTIFICATES:
        return check_certificates(certificates(), file)
    return read_certificates(Path(table).parent / file)


def _check_calibrations(
    config: Mapping, table: str, cohort: Mapping[str, ScanRow], certificates: Mapping[str, Certificate]
) -> None:
    """Refuse phantoms without a certificate, and calibrations of images that have no HU.

    Raises:
        TableError: a row names a phantom without a certificate.
        ConfigError: the study is not of CT.
    """
    asked = [row for row in cohort.values() if row.is_calibrated and not row.exclude]
    modality = config["screening"]["modality"]
    if asked and modality != "CT":
        raise ConfigError(
            f"calibration: row {asked[0].line} of the cohort table asks for a calibration of density, which needs "
            f"HU, and screening.modality is {modality}; write `none` in its column calibration, or leave it empty"
        )
    require_phantoms(table, asked, certificates, Path(config["calibration"]["phantoms"]).name)


def _targets_in_table(config: Mapping, table: str) -> Mapping[str, str]:
    """Return the columns of reference densities; finished models need none, so that only those of the table count."""
    targets = _target_columns(config)
    if not config["model"] or not targets:
        return targets
    names = read_sheet(read_text(Path(table), "cohort table", "cohort"), "cohort table").names
    return {structure: column for structure, column in targets.items() if column in names}


def _read_finished(config: Mapping) -> tuple[FinishedModels | None, FinishedRegression | None]:
    """Return the finished models of the setting `model` that segment, and if the study asks, those that regress.

    Raises:
        ModelError: one of both is missing.
    """
    folder, asked = config["model"], bool(config["regression"]["targets"])
    if not folder:
        return None, None
    folders = folders_by_task(folder)
    if SEGMENT not in folders:
        raise ModelError(other_task(str(folder), REGRESS, SEGMENT))
    if asked and REGRESS not in folders:
        raise ModelError(
            f"{folder} holds no network that regresses, and regression.targets asks for one; put its folder and "
            "that of the network that segments into one folder, and give that, or set regression: {targets: null}"
        )
    return read_finished(folders[SEGMENT]), read_finished_regression(folders[REGRESS]) if asked else None


def _trained_folders() -> dict[Path, str]:
    """Return the folders of this study's own finished models, with the task of each."""
    folders = sorted(Path("results/models").glob("*/*"))
    with_models = [
        path for path in folders if list(path.glob("fold-*/run.json")) and list(path.glob("fold-*/model.pt"))
    ]
    return {path: next(iter(folders_by_task(path))) for path in with_models}


def _check_models(study: Study) -> None:
    """Refuse models of other structures or targets, or trained on images preprocessed with other settings."""
    axis, found, regressions = study.config["model_frame"]["slice_axis"], {}, []
    if study.finished:
        found[study.finished.folder] = study.finished
        regressions = [study.finished_regression] if study.finished_regression else []
    elif not study.config["retrain"]:
        for folder, task in _trained_folders().items():
            if task == SEGMENT:
                found[str(folder)] = read_finished(folder)
            elif study.regression.is_asked and folder.name in study.regression_networks:
                regressions.append(read_finished_regression(folder))
    for models in regressions:
        models.require(study.targets, study.config["regression"]["crop"])
    for where, models in found.items():
        check_structures(models, study.structures, where)
        PredictConfig(**study.config["predict"]).require_overlap(
            models.window_slices, f"the windows of the models in {where}"
        )
        check_preprocessing(models, study.preprocessing, axis, where)
