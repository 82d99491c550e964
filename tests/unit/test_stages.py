"""A stage is defined once, in lib/catalog/stages.py, and all code that needs it reads it there."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lib.catalog import stages
from lib.catalog.renamed import RULES
from lib.catalog.stages import (
    CALIBRATION_TABLES,
    DENSITY_TABLES,
    NETWORK_TABLES,
    PARTS,
    REGIONAL_DENSITY_TABLES,
    STAGES,
    STUDY_TABLES,
    Stage,
    flow_steps,
    recorded_rules,
    rerun_stages,
    rules_that_run,
    stages_of,
    unused_stages,
)
from lib.cohort.failures import explain_failures
from lib.cohort.placement import Placement
from lib.cohort.predictions import plan_predictions
from lib.commands.planning.costs import SHIPPED, unit_costs
from lib.commands.planning.jobs import Job, plan_jobs
from lib.commands.planning.workflow import Request, Rule, read_workflow
from lib.commands.rerun import main
from lib.errors import ConfigError, ScanError
from lib.joblog import job_log
from lib.settings import check_rules

ROOT = Path(__file__).parents[2]
CALIBRATION = Stage("calibrated/{scan}.json", "scan", part="crop", costs_of="crop_image", is_recorded=True)


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """Return the small study in an empty folder."""
    folder = tmp_path_factory.mktemp("small")
    return read_workflow(["--configfile", "studies/ci.yaml", "--directory", str(folder)])


def arrays_of_profile():
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    (listed,) = (value for key, value in profile.items() if key.endswith("array-jobs"))
    assert max(map(len, listed.split("/"))) <= 255  # of a file's name, for which Snakemake takes the list
    return [name for name in listed.split(",") if name != "/"]


def local_rules_of_snakefile():
    block = re.search(r"^localrules:\n((?:    .*\n)+)", (ROOT / "Snakefile").read_text(), re.M).group(1)
    return re.findall(r"^    (\w+),$", block, re.M)


def check_profile():
    assert sorted(arrays_of_profile()) == sorted(rules_that_run("array"))


def test_the_catalog_has_every_rule_and_no_other(workflow):
    assert set(workflow.rules) == set(STAGES)


def test_the_profile_sends_the_short_jobs_in_arrays():
    check_profile()


def test_the_snakefile_runs_local_rules_itself():
    assert {name for name in local_rules_of_snakefile() if name in STAGES} == set(rules_that_run("local"))


def test_files_of_the_catalog_are_those_of_the_rules(workflow):
    fields = {"group": "G", "network": "N", "members": "fold-1", "fold": "1", "scan": "A", "batch": "2"}
    for name, stage in STAGES.items():
        file = stage.file.format(folder="G/N/fold-1", **fields)
        assert f"results/{file}" in [out.format_map(fields) for out in workflow.rules[name].outputs], name


def test_wildcards_of_the_rules_fit_what_a_job_works_on(workflow):
    fields = {
        "scan": {"scan"},
        "prediction": {"group", "network", "members", "scan"},
        "batch": {"group", "network", "members", "batch"},
        "page batch": {"batch"},
        "fold": {"group", "network", "fold"},
        "network": {"group", "network"},
        "study": set(),
    }
    for name, stage in STAGES.items():
        assert workflow.rules[name].wildcards == fields[stage.work], name


def test_shipped_costs_hold_for_the_units_of_the_catalog():
    with open(SHIPPED, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        units = {row["rule"]: row["per"] for row in rows}
    assert {name: units[name] for name in STAGES if name in units} == {
        name: stage.unit for name, stage in STAGES.items() if name in units
    }


def test_parts_and_costs_name_what_there_is():
    assert {stage.part for stage in STAGES.values()} - {""} == set(PARTS)
    assert {stage.costs_of for stage in STAGES.values()} - {""} <= set(STAGES)


def test_steps_of_a_scan():
    assert flow_steps() == ("listed", "screened", "converted", "cropped", "predicted", "scored")


def rule(name, file):
    request = Request(threads=1, resources={})
    return Rule(
        name=name, wildcards=frozenset(["scan"]), outputs=(f"results/{file}",), benchmark="b/{scan}.tsv",
        log="l/{scan}.log", is_local=False, first=request, last=request,
    )  # fmt: skip


def test_a_stage_added_in_one_place_is_known_everywhere(monkeypatch, workflow, tmp_path, capsys):
    name, rules = (
        "calibrate_scan",
        workflow.rules | {"calibrate_scan": rule("calibrate_scan", CALIBRATION.file)},
    )
    with pytest.raises(ConfigError, match=r"calibrate_scan: no such stage in lib/catalog/stages\.py"):
        plan_jobs(workflow.study, rules)
    monkeypatch.setitem(stages.STAGES, name, CALIBRATION)
    assert name in rerun_stages() and name in recorded_rules() and name in rules_that_run("array")
    # the estimate
    jobs = plan_jobs(workflow.study, rules)
    assert jobs[name] == jobs["crop_image"] and len(jobs[name]) > 5
    costs = unit_costs(jobs, rules, tmp_path)
    assert costs[name] == costs["crop_image"]
    # the check of the profile
    with pytest.raises(AssertionError):
        check_profile()
    # a rerun
    (tmp_path / "results/cohort").mkdir(parents=True)
    (tmp_path / "results/cohort/scans.csv").write_text("scan,subject\nA,P\n")
    (tmp_path / "results/calibrated").mkdir()
    (tmp_path / "results/calibrated/A.json").touch()
    assert main(["P", name, str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == ["results/calibrated/A.json"]
    # its failure
    with pytest.raises(SystemExit), job_log(tmp_path / f"results/logs/{name}/B.log"):
        raise ScanError("no_rods", "no rods of the phantom")
    person = {
        "subject": "B",
        "sex": "F",
        "age": None,
        "site": "",
        "has_mask": True,
        "set": "train",
        "fold": 0,
    }
    row = Placement(scan="B", batch=0, **person)
    planned = plan_predictions([row], {"all": {}}, ["vnet"], "best")
    told = explain_failures([row], planned, ((), ()), {}, tmp_path / "results")
    assert told == {"B": "no rods of the phantom"}


def test_a_step_that_a_stage_reaches_is_part_of_the_flow(monkeypatch):
    monkeypatch.setitem(stages.STAGES, "calibrate_scan", CALIBRATION._replace(reaches=("calibrated",)))
    assert flow_steps()[-1] == "calibrated"


def test_a_stage_has_a_job_for_each_chosen_unit(workflow):
    jobs = plan_jobs(workflow.study, workflow.rules)
    kinds = {(stage.work, stage.chosen): [] for stage in STAGES.values()}
    for name, found in jobs.items():
        kinds[STAGES[name].work, STAGES[name].chosen].append(found)
    for found in kinds["scan", "listed"], kinds["scan", "accepted"]:
        assert len(found) > 1 and all(one == found[0] for one in found)
    assert jobs["gather_flow"] == [Job(wildcards={})] and "compare_runs" not in jobs
    assert jobs["resample_labels2"] == jobs["measure_corrected"] == []
    # with the user's own scans there is no table and no scan to make
    others = plan_jobs(
        replace(workflow.study, config={**workflow.study.config, "cohort": "others.csv"}), workflow.rules
    )
    assert jobs.keys() - others.keys() == {"make_phantom_table", "make_phantom_scan"}


def test_a_stage_of_a_setting_has_jobs_only_with_it(workflow):
    study, jobs = workflow.study, plan_jobs(workflow.study, workflow.rules)
    with_n4 = {**study.config, "bias_field": {"method": "n4"}}
    more = plan_jobs(replace(study, config=with_n4), workflow.rules)
    assert more.keys() - jobs.keys() == {"correct_bias"} and jobs.keys() <= more.keys()
    assert more["correct_bias"] == jobs["resample_image"]
    regression = {name for name, stage in STAGES.items() if stage.is_regression}
    assert unused_stages(study.config, calibrates=True) == {"correct_bias", *regression}
    assert unused_stages(with_n4, calibrates=True) == regression
    unused = unused_stages(study.config, calibrates=False)
    assert set(stages_of("crop")) - set(stages_of("crop", unused)) == {"correct_bias"}
    assert unused == {"correct_bias", "calibrate_density", "draw_rods", "gather_calibration", *regression}
    # every setting of the catalog is one of the configuration
    for section, key, value in (stage.only_with for stage in STAGES.values() if stage.only_with):
        assert isinstance(value, type(study.config[section][key]))


def test_calibrations_have_jobs_only_where_a_row_asks_for_them(workflow):
    study, jobs = workflow.study, plan_jobs(workflow.study, workflow.rules)
    first, second, third, *_ = study.scans
    asked = {
        first: {"calibration": "phantom", "phantom": "p"},
        second: {"calibration": "asynchronous", "calibration_scan": third},
        third: {},
    }
    cohort = {scan: replace(row, **asked.get(scan, {})) for scan, row in study.cohort.items()}
    more = plan_jobs(replace(study, cohort=cohort), workflow.rules)
    assert more.keys() - jobs.keys() == {"calibrate_density", "draw_rods", "gather_calibration"}
    assert {name: more[name] for name in jobs} == jobs
    assert {job.wildcards["scan"] for job in more["calibrate_density"]} == {first, second, third}
    assert {job.wildcards["scan"] for job in more["draw_rods"]} == {first}


def test_a_regression_has_jobs_only_with_targets(workflow):
    study, jobs = workflow.study, plan_jobs(workflow.study, workflow.rules)
    section = study.config["regression"] | {"targets": {"femur": "bmd_femur_k2hpo4_mg_cm3"}}
    asked = replace(study, config={**study.config, "regression": section})
    more = plan_jobs(asked, workflow.rules)
    regression = {"train_regression", "predict_regression", "gather_bmd", "summarize_bmd"}
    assert more.keys() - jobs.keys() == regression
    assert {name: more[name] for name in jobs} == jobs
    assert [job.wildcards for job in more["train_regression"]] == [
        {"group": "all", "network": "densenet", "fold": fold} for fold in (0, 1)
    ]
    # epochs and scans of the regression; an estimate has no `single`
    epochs = study.config["regression"]["train"]["epochs"], study.config["train"]["epochs"]
    for one, other in zip(more["train_regression"], jobs["train_fold"], strict=True):
        assert one.units / epochs[0] == other.units / epochs[1] > 0
    assert {job.wildcards["members"] for job in more["predict_regression"]} == {
        "fold-0",
        "fold-1",
        "ensemble",
    }
    assert all(job.wildcards["network"] == "densenet" for job in more["predict_regression"])
    assert unused_stages(asked.config, calibrates=True) == {"correct_bias"}


def test_a_rerun_names_the_batches_of_its_own_network(tmp_path, capsys):
    (tmp_path / "results/cohort").mkdir(parents=True)
    (tmp_path / "results/folds").mkdir()
    (tmp_path / "results/cohort/scans.csv").write_text("scan,subject\nA,P\n")
    row = "scan,subject,sex,age,site,has_mask,set,fold,batch,trains\nA,P,F,,,1,test,-1,3,0\n"
    (tmp_path / "results/folds/folds.csv").write_text(row)
    folders = {
        "predict_scans": "results/predictions/all/unet/ensemble/batch-3",
        "predict_regression": "results/predictions/all/densenet/ensemble/batch-3",
    }
    for folder in folders.values():
        (tmp_path / folder / "A").mkdir(parents=True)
    (tmp_path / folders["predict_regression"] / "A/estimate.json").write_text("{}")
    for stage, folder in folders.items():
        assert main(["P", stage, str(tmp_path)]) == 0
        assert capsys.readouterr().out.split() == [folder]


def test_tables_of_an_article_have_jobs_only_in_a_study_that_follows_it(workflow):
    jobs = plan_jobs(workflow.study, workflow.rules)
    free = replace(workflow.study, config={**workflow.study.config, "publication": "none"})
    assert jobs.keys() - plan_jobs(free, workflow.rules).keys() == {"tabulate_table1", "tabulate_table2"}


@pytest.mark.parametrize(("old", "new"), RULES.items())
def test_an_old_rule_is_refused_with_the_new_one(old, new, capsys):
    assert new in STAGES and old not in STAGES
    for typed in (old, f"--until={old}"):
        with pytest.raises(ConfigError, match=f"rule {old} is now called {new}"):
            check_rules(["--cores", "2", typed])
    check_rules(["--forcerun", new, f"study={old}", f"results/{old}"])
    with pytest.raises(SystemExit):
        main(["P", old])
    assert f"{old} is now called {new}" in capsys.readouterr().err


def test_an_unknown_stage_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        main(["P", "train_fold"])
    assert "'train_fold' is none of make_phantom_scan, screen_scan" in capsys.readouterr().err


def test_the_catalog_lists_every_table_that_a_rule_makes():
    rules = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "rules").glob("*.smk")))
    listed = {*STUDY_TABLES, *NETWORK_TABLES, *DENSITY_TABLES, *CALIBRATION_TABLES, *REGIONAL_DENSITY_TABLES}
    assert set(re.findall(r'"results/tables/([\w-]+)\.csv"', rules)) == listed | {
        *("table1", "table2", "data-dictionary")
    }
