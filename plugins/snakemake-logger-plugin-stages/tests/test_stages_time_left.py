"""The time left: answers that can be computed by hand."""

import pytest

from snakemake_logger_plugin_stages.time_left import Priors, TimeLeft, in_words, read_priors


def ran(jobs, priors=Priors()):  # noqa: B008
    """Return the account of jobs (number, rule, begin, end); without an end they still run."""
    account = TimeLeft(priors)
    events = [(begin, 1, number, rule) for number, rule, begin, _ in jobs]
    events += [(end, 0, number, rule) for number, rule, _, end in jobs if end is not None]
    for now, begins, number, rule in sorted(events):
        if begins:
            account.start(number, rule, now)
        else:
            account.end(number, now)
    return account


def test_jobs_one_after_the_other():
    account = ran([(1, "a", 0, 10), (2, "a", 10, 20)])
    assert account.estimate({"a": 3}, 20).seconds == pytest.approx(30)


def test_two_jobs_at_once_take_half_the_time_each():
    account = ran([(1, "a", 0, 10), (2, "a", 0, 10), (3, "a", 10, 20), (4, "a", 10, 20)])
    assert account.estimate({"a": 4}, 20).seconds == pytest.approx(20)


def test_a_job_that_runs_alone_is_not_thought_to_share():
    """Eight short jobs run at once, a long one alone: its time is not divided by eight."""
    account = ran([*((n, "short", 0, 4) for n in range(8)), (9, "long", 4, 104)])
    assert account.estimate({"long": 2}, 104).seconds == pytest.approx(200)
    assert account.estimate({"short": 8, "long": 0}, 104).seconds == pytest.approx(4)


def test_what_a_running_job_has_done_is_not_left():
    account = ran([(1, "a", 0, 10), (2, "a", 10, None)])
    assert account.estimate({"a": 2}, 14).seconds == pytest.approx(10 - 4 + 10)
    late = account.estimate({"a": 1}, 60).seconds
    assert 0 < late < 50


def test_no_time_passes_while_nothing_runs():
    account = ran([(1, "a", 0, 10), (2, "a", 100, 110)])
    assert account.estimate({"a": 1}, 110).seconds == pytest.approx(10)


def test_a_failed_job_tells_nothing():
    account = TimeLeft()
    account.start(1, "a", 0)
    account.end(1, 1, well=False)
    account.start(2, "a", 1)
    account.end(2, 11)
    assert account.estimate({"a": 1}, 11).seconds == pytest.approx(10)


def test_priors_are_corrected_by_the_speed_of_this_run():
    """The machine is half as fast as that of the table, and one job runs at a time."""
    account = ran([(1, "a", 0, 4)], Priors(seconds={"a": 2.0, "b": 30.0}))
    assert account.estimate({"b": 2}, 4).seconds == pytest.approx(120)


def test_priors_are_divided_by_the_jobs_at_once_but_no_more_than_there_are():
    account = ran([(n, "a", 0, 2) for n in range(4)], Priors(seconds={"a": 2.0, "b": 30.0}))
    assert account.estimate({"b": 8}, 2).seconds == pytest.approx(8 * 30 / 4)
    assert account.estimate({"b": 1}, 2).seconds == pytest.approx(30)


def test_without_a_prior_a_job_is_like_the_others():
    assert ran([(1, "a", 0, 6)]).estimate({"b": 3}, 6).seconds == pytest.approx(18)
    assert TimeLeft().estimate({"b": 3}, 0).seconds == pytest.approx(30)


def test_a_rule_of_unknown_length_is_named_until_a_job_says_how_far_it_is():
    account = ran([(1, "a", 0, 5), (2, "train", 5, None)], Priors(unknown=frozenset({"train"})))
    told = account.estimate({"train": 2}, 25)
    assert told.without == ("train",) and told.seconds == 0
    told = account.estimate({"train": 2}, 25, {2: 0.25})
    assert told.without == () and told.seconds == pytest.approx(60 + 80)
    account.end(2, 85)
    assert account.estimate({"train": 1}, 85).seconds == pytest.approx(80)


def test_a_table_of_unit_costs(tmp_path):
    table = tmp_path / "costs.csv"
    table.write_text("# measured\nrule,per,cpu_seconds\na,job,1.5\ntrain,scan and epoch,4.5\n")
    priors = read_priors(table)
    assert priors.seconds == {"a": 1.5} and priors.unknown == {"train"}
    table.write_text("rule,seconds\na,2\n")
    assert read_priors(table).seconds == {"a": 2.0}
    table.write_text("name,minutes\na,2\n")
    with pytest.raises(ValueError, match="expected the columns rule and cpu_seconds"):
        read_priors(table)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute left"),
        (44, "less than a minute left"),
        (45, "about 1 min left"),
        (175, "about 3 min left"),
        (5340, "about 89 min left"),
        (2 * 3600 + 120, "about 2 h left"),
        (60 * 3600, "about 2 days left"),
    ],
)
def test_words(seconds, words):
    assert in_words(seconds) == words
