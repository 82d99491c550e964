"""`osteoflow status`: what is done, running, failed and left is told from files, logs and locks."""

import os
from base64 import urlsafe_b64encode

from lib.commands.planning.jobs import Job
from lib.commands.planning.workflow import Request, Rule
from lib.commands.status import rule_status, started_files
from lib.study import active_run, lock_study

RULE = Rule(
    name="crop_image", wildcards=frozenset({"scan"}), outputs=("results/cropped/{scan}.txt", "results/{scan}.json"),
    benchmark="", log="results/logs/crop_image/{scan}.log", is_local=False,
    first=Request(threads=1, resources={}), last=Request(threads=1, resources={}),
)  # fmt: skip


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_jobs_are_counted_by_what_they_left(tmp_path):
    for name in ("cropped/S1.txt", "S1.json", "cropped/S2.txt"):
        write(tmp_path / "results" / name)
    failure = "2026-01-01 10:00:00,000 ERROR the crop leaves the image\n"
    write(tmp_path / "results/logs/crop_image/S3.log", failure)
    write(tmp_path / "results/logs/crop_image/S4.log", failure)  # an earlier try
    jobs = [Job(wildcards={"scan": f"S{number}"}) for number in range(1, 7)]
    row = rule_status(RULE, jobs, tmp_path, {"results/cropped/S4.txt"})
    assert (row.jobs, row.done, row.running, row.left) == (6, 1, 1, 3)
    assert row.failures == {"results/logs/crop_image/S3.log": "the crop leaves the image"}


def test_marks_of_snakemake_are_read(tmp_path):
    long = f"results/cropped/{'x' * 300}.txt"
    packed = urlsafe_b64encode(long.encode()).decode()
    marks = tmp_path / ".snakemake/incomplete"
    write(marks / urlsafe_b64encode(b"results/a.txt").decode())
    write(marks / f"@{packed[:254]}" / packed[254:])
    write(marks / "not base64 !")
    assert {"results/a.txt", long} <= started_files(tmp_path)
    assert started_files(tmp_path / "nowhere") == frozenset()


def test_an_active_run_is_seen_by_its_lock(tmp_path):
    assert active_run(tmp_path) == ""
    lock = lock_study(tmp_path)
    assert active_run(tmp_path).startswith(f"process {os.getpid()} on ")
    os.close(lock)
    assert active_run(tmp_path) == ""
