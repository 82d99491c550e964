"""The estimate counts every job; its hours are units of work times the cost of a unit."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lib.catalog.stages import STAGES
from lib.commands.estimate import (
    RuleEstimate,
    duration_text,
    elapsed_hours,
    estimate_rule,
    estimate_rules,
    estimate_text,
    main,
    other_size,
    remarks,
    report_text,
    untimed,
)
from lib.commands.planning.costs import CLUSTER_JOB, LOCAL_JOB, Cost, shipped_costs, unit_costs
from lib.commands.planning.jobs import Job, is_done, plan_jobs
from lib.commands.planning.workflow import Request, Rule, read_workflow
from lib.errors import ConfigError
from lib.learning.finished import FinishedModels

PEOPLE, TEST, FOLDS, EPOCHS = 10, 2, 2, 10  # beside one person without a mask and a broken scan
CONFIG = ["--config", "groups={all: {}}", "phantom={people: 10, unlabelled_people: 1}"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the small study in an empty folder, all people in one cohort."""
    folder = tmp_path_factory.mktemp("small")
    arguments = ["--configfile", "studies/ci.yaml", "--directory", str(folder), *CONFIG]
    return read_workflow(arguments)


@pytest.fixture
def workflow(small, tmp_path):
    """Return the small study in a folder that a test may fill."""
    return replace(small, study=replace(small.study, folder=tmp_path))


def rule(name="screen_scan", gpus=0, threads=1):
    request = Request(threads=threads, resources={"gpu": gpus})
    return Rule(
        name=name, wildcards=frozenset(["scan"]), outputs=("results/{scan}.json", "results/{scan}.txt"),
        benchmark="benchmarks/{scan}.tsv", log="logs/{scan}.log", is_local=False, first=request, last=request,
    )  # fmt: skip


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def measure(folder, scan, seconds, cpu_time, log=""):
    write(folder / f"benchmarks/{scan}.tsv", f"s\tmax_rss\tcpu_time\n{seconds}\t100\t{cpu_time}\n")
    write(folder / f"logs/{scan}.log", log)
    write(folder / f"results/{scan}.json", "x" * 1000)
    write(folder / f"results/{scan}.txt", "x" * 1000)


def test_jobs_before_anything_was_screened(workflow):
    jobs = plan_jobs(workflow.study, workflow.rules)
    counts = {name: len(found) for name, found in jobs.items()}
    scans, with_mask = PEOPLE + 2, PEOPLE + 1
    assert counts["screen_scan"] == counts["convert_scan"] == counts["make_phantom_scan"] == scans
    assert counts["resample_labels"] == counts["crop_labels"] == with_mask
    assert counts["resample_labels2"] == counts["measure_corrected"] == 0
    assert counts["train_fold"] == FOLDS
    assert counts["write_report"] == counts["split_folds"] == 1
    assert "compare_runs" not in counts
    # test people twice: by the ensemble and by the single best fold
    assert counts["measure_prediction"] > scans


def test_units_of_training_and_prediction(workflow):
    jobs = plan_jobs(workflow.study, workflow.rules)
    trained = sum(job.units for job in jobs["train_fold"])
    cv = [job for job in jobs["predict_scans"] if job.wildcards["members"].startswith("fold-")]
    # each training scan is used by all folds but its own, in every epoch
    assert trained == EPOCHS * (FOLDS - 1) * sum(job.scans for job in cv)
    for job in jobs["predict_scans"]:
        models = FOLDS if job.wildcards["members"] == "ensemble" else 1
        assert job.units == models * job.scans / workflow.study.config["predict"]["step"]


def test_finished_models_are_not_trained(workflow):
    models = FinishedModels(
        folder="models",
        group="all",
        takes={},
        network="vnet",
        structures=("femur",),
        folds=(0, 1),
        preprocessing={},
        slice_axis="z",
        window_slices=32,
    )
    finished = replace(workflow.study, finished=models)
    assert plan_jobs(finished, workflow.rules)["train_fold"] == []


def test_known_verdicts_are_used(workflow):
    scan = next(iter(workflow.study.scans))
    write(workflow.study.folder / "results/cohort/scans.csv", f"scan,verdict\n{scan},rejected\n")
    jobs = plan_jobs(workflow.study, workflow.rules)
    assert len(jobs["screen_scan"]) == len(jobs["convert_scan"]) + 1


def test_a_rule_that_is_not_known_is_refused(workflow):
    with pytest.raises(ConfigError, match="new_rule"):
        plan_jobs(workflow.study, workflow.rules | {"new_rule": rule("new_rule")})


def test_a_job_is_done_when_all_its_files_are_there(tmp_path):
    job = Job(wildcards={"scan": "A"})
    write(tmp_path / "results/A.json")
    assert not is_done(job, rule(), tmp_path)
    write(tmp_path / "results/A.txt")
    assert is_done(job, rule(), tmp_path)


def test_every_rule_has_a_shipped_cost(workflow):
    shipped = shipped_costs()
    assert {stage.costs_of or rule for rule, stage in STAGES.items() if not stage.is_on_demand} <= set(
        shipped
    )
    assert all(cost.cpu_seconds > 0 for name, cost in shipped.items())


def test_own_benchmarks_replace_the_shipped_cost(tmp_path):
    jobs = [Job(wildcards={"scan": f"S{number}"}) for number in range(6)]
    for number in range(4):
        measure(tmp_path, f"S{number}", seconds=10 + number, cpu_time="NA")
    costs = unit_costs({"screen_scan": jobs}, {"screen_scan": rule()}, tmp_path)
    assert costs["screen_scan"] == shipped_costs()["screen_scan"]
    measure(tmp_path, "S4", seconds=100, cpu_time=200)
    cost = unit_costs({"screen_scan": jobs}, {"screen_scan": rule()}, tmp_path)["screen_scan"]
    assert cost.cpu_seconds == 12 and cost.source == "5 jobs of this study"
    assert 0.002 <= cost.disk_mb < 0.1  # two files of 1,000 bytes, in whole blocks
    assert cost.gpu_seconds is None


def test_one_fold_of_the_study_is_enough_and_tells_its_gpu(tmp_path):
    measure(tmp_path, "A", seconds=50, cpu_time=80, log="trained on cuda:0")
    jobs, rules = (
        {"train_fold": [Job(wildcards={"scan": "A"}, units=10)]},
        {"train_fold": rule("train_fold", gpus=1)},
    )
    cost = unit_costs(jobs, rules, tmp_path)["train_fold"]
    assert (cost.cpu_seconds, cost.gpu_seconds) == (8, 5)
    write(tmp_path / "logs/A.log", "trained on cpu")
    assert unit_costs(jobs, rules, tmp_path)["train_fold"].gpu_seconds is None


def test_hours_and_disk_of_a_rule():
    jobs = [Job(wildcards={}, units=3, scans=2)] * 4
    cost = Cost(cpu_seconds=100, disk_mb=5, mem_mb=0, gpu_seconds=10)
    overhead = Cost(cpu_seconds=60, disk_mb=1, mem_mb=0)
    row = estimate_rule(rule(gpus=1), jobs, jobs[:2], cost, overhead)
    assert (row.jobs, row.done, row.left) == (4, 2, 2)
    assert row.cpu_hours == pytest.approx((2 * 3 * 100 + 2 * 60) / 3600)
    assert row.gpu_hours == pytest.approx(2 * 3 * 10 / 3600)
    assert row.disk_gb == pytest.approx((2 * 2 * 5 + 2 * 1) / 1000)


def test_elapsed_time_is_bound_by_jobs_cores_and_gpus():
    row = RuleEstimate(
        rule="a", jobs=4, done=0, cpu_hours=8, gpu_hours=None, disk_gb=0, threads=1, gpus=0, source=""
    )
    assert elapsed_hours([row], cores=2, gpus=0) == 4
    assert elapsed_hours([row], cores=100, gpus=0) == 2
    on_gpu = replace(row, gpus=1, gpu_hours=6.0)
    assert elapsed_hours([on_gpu], cores=100, gpus=3) == 2
    assert elapsed_hours([row, on_gpu], cores=2, gpus=1) == 10


def test_an_unknown_time_on_a_gpu_is_left_out_and_its_jobs_are_counted_by_gpus():
    row = RuleEstimate(
        rule="a", jobs=4, done=0, cpu_hours=8, gpu_hours=None, disk_gb=0, threads=1, gpus=0, source=""
    )
    training = replace(row, rule="train_fold", jobs=12, done=2, cpu_hours=700.0, gpus=1)
    assert elapsed_hours([row, training], cores=2, gpus=4) == elapsed_hours([row], cores=2, gpus=4)
    assert elapsed_hours([row, training], cores=2, gpus=0) == 4 + 350
    assert [found.rule for found in untimed([row, training], 4)] == ["train_fold"]
    assert untimed([row, training], 0) == untimed([replace(training, gpu_hours=3.0)], 4) == []
    workflow = SimpleNamespace(study=SimpleNamespace(config={}))
    words = [remarks(workflow, [row, training], gpus)[1] for gpus in (1, 4, 40)]
    for text, count in zip(words, (10, 3, 1), strict=True):
        assert f": {count} rounds). Their CPU hours are those without a GPU" in text
        assert "is not in the elapsed time" in text
    assert "train_fold (10 jobs, 4 at once: 3 rounds)" in words[1]
    assert "elapsed" not in remarks(workflow, [row, training], 0)[1]


def test_jobs_of_a_cluster_cost_more(small, tmp_path):
    arguments = ["--configfile", "studies/ci.yaml", "--directory", str(tmp_path), *CONFIG]
    local = {row.rule: row for row in estimate_rules(small)}
    cluster = {row.rule: row for row in estimate_rules(read_workflow(["--profile", "slurm", *arguments]))}
    shipped = shipped_costs()
    more = shipped[CLUSTER_JOB].cpu_seconds - shipped[LOCAL_JOB].cpu_seconds
    row = "screen_scan"
    assert cluster[row].cpu_hours - local[row].cpu_hours == pytest.approx(local[row].jobs * more / 3600)
    assert cluster["split_folds"].cpu_hours == local["split_folds"].cpu_hours  # Snakemake runs it itself


def test_rules_ask_for_twice_the_memory_that_was_measured(small):
    nested_mb, floor_mb = 200, 500  # Snakemake runs inside each job of a cluster
    for name, rule in small.rules.items():
        measured_mb = shipped_costs()[name].mem_mb if name in shipped_costs() else 0
        assert rule.first.mem_mb >= max(2 * measured_mb + nested_mb, floor_mb), name


def test_the_table_adds_up(small):
    rows = estimate_rules(small)
    head, *lines, total = estimate_text(rows).splitlines()
    assert head.split()[:3] == ["rule", "jobs", "done"] and len(lines) == len(rows)
    assert total.split()[1] == str(sum(row.jobs for row in rows)) and not re.search(
        r"\bcompare_runs\b", str(lines)
    )


def test_what_is_assumed_is_said(small):
    text = " ".join(report_text(small, cores=4, gpus=1).split())
    assert "assumed to be accepted" in text and "GPU time was not measured" in text
    assert "networks, crop.size" in text  # the costs were measured with another network
    assert "Elapsed with 4 cores and 1 GPU for" in text


def test_other_sizes_are_told(small):
    assert other_size(small.study.config) == ["networks", "crop.size"]


def test_durations():
    told = [duration_text(hours) for hours in (0, 0.5, 30, 80)]
    assert told == ["less than a minute", "about 30 minutes", "about 30 hours", "about 3 days"]


def test_a_split_that_cannot_be_drawn_is_told_before_anything_runs(tmp_path, capsys):
    arguments = [
        "--configfile",
        "studies/ci.yaml",
        "--directory",
        str(tmp_path),
        "--config",
        "folds={folds: 50}",
    ]
    assert main(arguments) == 1
    assert "folds.folds is 50" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
