"""The small study on a SLURM with accounting, with the profile filled in as by a user of such a cluster."""

import re
from pathlib import Path

import pytest
from accounting import ACCOUNT, AccountedCluster, why_none
from cluster import user_name
from diagnosis import diagnose

from tests.study import ROOT

pytest_plugins = ["clustered"]
pytestmark = [pytest.mark.workflow, pytest.mark.faults]
PICTURE = "draw_crop:scan=P001"


@pytest.fixture(scope="module")
def accounted(tmp_path_factory):
    """Return a running cluster of two nodes with accounting."""
    if reason := why_none():
        pytest.skip(reason)
    with AccountedCluster(tmp_path_factory.mktemp("accounted")) as running:
        yield running


def fill_in(folder: Path) -> Path:
    """Write the project's profile into `folder`, filled in by its comments: account, partitions, `sacct`."""
    yours, heading, rest = (ROOT / "profiles/slurm/config.yaml").read_text().partition("# ---- how Snakemake")
    yours = re.sub(r"^( *)# (.*[:\"])$", r"\1\2", yours, flags=re.MULTILINE)
    for word, mine in {"account": ACCOUNT, "cpu-partition": "cpu", "gpu-partition": "gpu"}.items():
        yours = yours.replace(f"'your-{word}'", f"'{mine}'")
    folder.mkdir()
    status = "slurm-arrays-status-command: "
    (folder / "config.yaml").write_text(yours + heading + rest.replace(f"{status}squeue", f"{status}sacct"))
    return folder


def test_a_filled_in_profile_on_a_cluster_that_keeps_accounts(sent, accounted, reference, tmp_path):
    _, _, *options = sent[0].study.options  # all but --profile slurm
    options = ("--profile", str(fill_in(tmp_path / "profile")), *options)
    one = sent[0].elsewhere(tmp_path / "study", options=options).on(accounted)
    one.folder.mkdir()
    one.tell(PICTURE, "killed")
    one.study.run()
    assert one.started(PICTURE) == 2
    one.check_once()
    results = one.sums()
    # models, and thus the report, hold run times and pseudonyms of this study; their predictions are the same
    others = {
        name
        for name in reference
        if results.get(name) != reference[name]
        and not (name.startswith("models/") or name.endswith("/timing.json"))
    }
    assert others <= {"report/index.html"}
    fields = ("Account", "Partition", "State", "AllocTRES", "Comment")
    printed = accounted.call(
        "sacct", "--allocations", "--noheader", "--parsable2", f"--format={','.join(fields)}"
    )
    jobs = [dict(zip(fields, line.split("|"), strict=True)) for line in printed.splitlines()]
    assert {job["Account"] for job in jobs} == {ACCOUNT}
    failed = [job["Comment"] for job in jobs if job["State"] != "COMPLETED"]
    assert len(failed) == 1 and "draw_crop" in failed[0]
    on_gpus = [job for job in jobs if "gres/gpu=1" in job["AllocTRES"]]
    rules = {re.search("train_fold|predict_scans", job["Comment"])[0] for job in on_gpus}
    assert rules == {"train_fold", "predict_scans"}
    assert {job["Partition"] for job in on_gpus} == {"gpu"}
    assert {job["Partition"] for job in jobs if job not in on_gpus} == {"cpu"}


def test_more_jobs_than_a_user_may_have_in_the_queue(again, accounted, reference):
    one, user = again.on(accounted), ("modify", "user", "where", f"name={user_name()}")
    accounted.call("sacctmgr", "--immediate", *user, "set", "MaxSubmitJobs=4")
    try:
        one.study.run()
    finally:
        accounted.call("sacctmgr", "--immediate", *user, "set", "MaxSubmitJobs=-1")
    said = one.study.logged()
    assert "Submitted 3 jobs of rule draw_crop" in said  # there are six
    assert "SLURM accepts no job now" in said and "Error in rule" not in said
    one.check(reference)


def test_the_doctor_finds_that_accounts_are_kept(accounted, tmp_path):
    options = ("--set-threads", "train_fold=2", "predict_scans=2", "--retries", "0")
    profile = str(fill_in(tmp_path / "profile"))
    status, findings = diagnose(accounted, tmp_path, *options, profile=profile)
    assert status == 0 and findings["train_fold"].startswith("ok")
    assert f"sbatch -A {ACCOUNT} -p gpu" in findings["train_fold"]
    assert "accounting is on; slurm-arrays-status-command: sacct works" in findings
