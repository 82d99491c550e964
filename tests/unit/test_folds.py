"""The split: nested, stratified, by person, frozen."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lib.cohort.folds import Split, place_scans, split_folds
from lib.cohort.placement import Placement, in_group
from lib.cohort.predictions import plan_predictions
from lib.cohort.trained_people import describe_group
from lib.errors import ConfigError
from lib.fold_settings import CROPS_NEED_NO_FOLDS, FoldsConfig


def people(men, women, site="", **changes):
    rng = np.random.default_rng(3)
    return [
        Placement(
            scan=f"{sex}{number:03}",
            subject=f"{sex}{number:03}",
            sex=sex,
            age=float(rng.integers(27, 90)),
            site=site,
            has_mask=True,
            **changes,
        )
        for sex, count in (("M", men), ("F", women))
        for number in range(count)
    ]


def split(scans, former=(), draw=True, batch_scans=16, **config):
    settings = Split(folds=FoldsConfig(**config), seed=2020, batch_scans=batch_scans, draw=draw)
    return split_folds(scans, former, settings)


def test_sizes_of_the_paper():
    rows = split(people(181, 216))
    test = Counter(row.sex for row in rows if row.set == "test")
    assert test == {"M": 18, "F": 22}
    folds = Counter((row.sex, row.fold) for row in rows if row.set == "train")
    assert set(folds) == {(sex, fold) for sex in "MF" for fold in range(10)}
    assert max(folds.values()) - min(folds.values()) <= 4
    for sex in "MF":
        counts = [folds[sex, fold] for fold in range(10)]
        assert max(counts) - min(counts) <= 1


def test_age_bands_are_balanced_over_folds():
    rows = split(people(90, 0), folds=3, age_bands=3)
    ages = [np.mean([row.age for row in rows if row.fold == fold]) for fold in range(3)]
    assert max(ages) - min(ages) < 3.0


def test_all_scans_of_a_person_stay_together():
    scans = people(20, 20)
    again = [replace(row, scan=f"{row.scan}-again") for row in scans[:30]]
    rows = {row.scan: row for row in split(scans + again, folds=4)}
    for row in again:
        first = rows[row.subject]
        assert (rows[row.scan].set, rows[row.scan].fold) == (first.set, first.fold)


def test_same_seed_same_split_whatever_the_order():
    scans = people(15, 15)
    forwards = {row.scan: (row.set, row.fold) for row in split(scans, folds=3)}
    backwards = {row.scan: (row.set, row.fold) for row in split(scans[::-1], folds=3)}
    assert forwards == backwards


def test_sets_given_in_the_table_are_kept():
    scans = people(12, 12)
    scans[0] = replace(scans[0], set="test")
    scans[1] = replace(scans[1], set="train")
    scans[2] = replace(scans[2], set="apply")
    scans[3] = replace(scans[3], has_mask=False)
    rows = {row.scan: row for row in split(scans, folds=3)}
    assert rows["M000"].set == "test"
    assert rows["M001"].set == "train" and rows["M001"].trains
    assert rows["M002"].set == "later" and not rows["M002"].trains
    assert rows["M003"].set == "apply"


def test_former_rows_never_move_and_new_people_play_no_part():
    first = split(people(12, 12), folds=3)
    newcomers = [replace(row, scan=f"N{row.scan}", subject=f"N{row.subject}") for row in people(2, 2)]
    newcomers[0] = replace(newcomers[0], has_mask=False)
    later = split(people(12, 12) + newcomers, former=first, folds=3)
    assert later[: len(first)] == first
    assert [row.set for row in later[len(first) :]] == ["apply", "later", "later", "later"]
    assert not {row.batch for row in later[len(first) :]} & {row.batch for row in first}


def test_a_later_scan_of_a_training_person_follows_without_training():
    first = split(people(12, 12), folds=3)
    person = next(row for row in first if row.set == "train")
    late = replace(person, scan="late", set="auto", trains=False)
    row = split([*people(12, 12), late], former=first, folds=3)[-1]
    assert (row.scan, row.set, row.fold, row.trains) == ("late", "train", person.fold, False)
    members = {plan.members for plan in plan_predictions([row], {"all": {}}, ["vnet"], "best")}
    assert members == {f"fold-{person.fold}"}


def test_a_repeat_marked_apply_is_predicted_by_the_fold_that_never_saw_the_person():
    scans = people(12, 12)
    repeats = [replace(row, scan=f"{row.scan}-r", set="apply") for row in scans]
    rows = split(scans + repeats, folds=3)
    by_scan = {row.scan: row for row in rows}
    for row in rows:
        assert by_scan[row.subject].fold == row.fold
        assert row.trains == (row.set == "train" and not row.scan.endswith("-r"))


def test_removed_scans_stay_and_corrected_details_are_taken():
    first = split(people(12, 12), folds=3)
    changed = [replace(row, site="B") for row in people(12, 12)[1:]]
    later = split(changed, former=first, folds=3)
    assert [(row.scan, row.set, row.fold, row.batch) for row in later] == [
        (row.scan, row.set, row.fold, row.batch) for row in first
    ]
    assert {row.scan: row.site for row in later} == {row.scan: "B" for row in first} | {"M000": ""}


def late(first, newcomers):
    """The sets of people who are added to the table after the draw `first` of `people(12, 12)` at site A."""
    rows = split([*people(12, 12, site="A"), *newcomers], former=first, folds=3)
    return [row.set for row in rows[len(first) :]]


def newcomer(name, **changes):
    return replace(people(1, 0)[0], scan=name, subject=name, **changes)


def test_external_is_who_the_table_places_in_another_institution():
    first = split(people(12, 12, site="A"), folds=3)
    assert late(first, [newcomer("N1", site="A"), newcomer("N2", site="B"), newcomer("N3")]) == [
        *("later", "external", "later")
    ]
    assert late(first, [newcomer("N1", site="A", set="external")]) == ["external"]
    assert late(first, [newcomer("N1", site="B", has_mask=False, set="external")]) == ["apply"]
    # a person who was also scanned at the own site is not of another institution
    both = [newcomer("N1", site="B"), replace(newcomer("N2", site="A"), subject="N1")]
    assert late(first, both) == ["later", "later"]


def test_nobody_is_of_another_institution_while_a_site_of_the_draw_is_unknown():
    scans = people(12, 12, site="A")
    scans[0] = replace(scans[0], site="")
    first = split(scans, folds=3)
    added = newcomer("N1", site="B")
    assert split([*scans, added], former=first, folds=3)[-1].set == "later"
    corrected = [replace(row, site="A") for row in scans]
    assert split([*corrected, added], former=first, folds=3)[-1].set == "external"


def test_people_of_another_institution_are_never_drawn():
    scans = people(12, 12)
    scans[0] = replace(scans[0], set="external")
    again = replace(scans[0], scan="again", set="auto")
    rows = {row.scan: row for row in split([*scans, again], folds=3)}
    assert {rows[name].set for name in ("M000", "again")} == {"external"}
    assert not rows["M000"].trains and not rows["again"].trains


def test_external_rows_of_an_older_table_are_named_anew_and_keep_their_batch():
    scans = [*people(12, 12, site="A"), newcomer("N1", site="A"), newcomer("N2", site="B")]
    drawn = split(scans[:24], folds=3)
    rows = split(scans, former=drawn, folds=3)
    assert [row.set for row in rows[24:]] == ["later", "external"]
    gone = replace(newcomer("N9", site="A"), set="external", batch=99)
    older = [*(replace(row, set="external") if row.set == "later" else row for row in rows), gone]
    assert split(scans, former=older, folds=3) == [*rows, gone]


def test_finished_models_make_everybody_later_external_or_apply():
    scans = people(3, 3)
    scans[0] = replace(scans[0], has_mask=False)
    scans[1] = replace(scans[1], set="external")
    scans[2] = replace(scans[2], site="B")  # the site of the training people is unknown
    assert [row.set for row in split(scans, draw=False)] == ["apply", "external"] + ["later"] * 4


def test_batches_hold_scans_of_the_same_models():
    rows = split(people(30, 30), folds=3, batch_scans=7)
    for batch in {row.batch for row in rows}:
        members = [row for row in rows if row.batch == batch]
        assert len(members) <= 7
        assert len({row.fold for row in members}) == 1


def test_too_few_people_is_a_clear_error():
    with pytest.raises(ConfigError, match=r"3 people .* folds\.folds is 5; lower folds\.folds, give more"):
        split(people(2, 1), folds=5, test_fraction=0.0)
    with pytest.raises(ConfigError, match=r"lower folds\.folds or folds\.test_fraction, give more"):
        split(people(2, 2), folds=5, test_fraction=0.2)


def test_a_table_without_references_says_what_to_do():
    with pytest.raises(ConfigError, match="model=FOLDER"):
        split([replace(row, has_mask=False) for row in people(8, 8)], folds=3)


def test_a_group_too_small_for_its_folds_is_named():
    folds, groups = FoldsConfig(folds=3, test_fraction=0.0), {"all": {}, "male": {"sex": "M"}}
    settings = Split(folds=folds, seed=1, batch_scans=4, draw=True, groups=groups)
    with pytest.raises(ConfigError, match="group male has 2 people for training"):
        split_folds(people(2, 12), [], settings)


def test_another_number_of_folds_after_the_draw_is_refused():
    first = split(people(12, 12), folds=3)
    with pytest.raises(ConfigError, match="folds.folds is 4, but 3 folds were drawn"):
        split(people(12, 12), former=first, folds=4)


def test_a_person_on_both_sides_of_the_split_is_refused():
    first = split(people(12, 12), folds=3)
    test = next(row for row in first if row.set == "test")
    train = next(row for row in first if row.set == "train")
    corrected = [
        replace(row, subject=train.subject) if row.scan == test.scan else row for row in people(12, 12)
    ]
    with pytest.raises(ConfigError, match=f"the scans of {train.subject} are in different folds"):
        split(corrected, former=first, folds=3)


def test_a_training_scan_that_lost_its_mask_trains_no_more():
    first = split(people(12, 12), folds=3)
    train = next(row for row in first if row.trains)
    changed = [replace(row, has_mask=row.scan != train.scan) for row in people(12, 12)]
    later = {row.scan: row for row in split(changed, former=first, folds=3)}
    assert later[train.scan].set == "train" and not later[train.scan].trains


def test_few_people_of_one_sex_are_dealt_out():
    rows = split(people(12, 2), folds=3, test_fraction=0.0)
    women = [row.fold for row in rows if row.sex == "F"]
    assert len(set(women)) == 2


def test_a_fold_without_people_of_one_sex_goes_on():
    rows = split(people(6, 2), folds=4, test_fraction=0.0)
    by_fold = [describe_group([row for row in rows if row.fold == fold], bytes(32)) for fold in range(4)]
    assert sorted("F" in fold["sexes"] for fold in by_fold) == [False, False, True, True]
    plan = plan_predictions(rows, {"all": {}}, ["unet2d-f4-l2", "unet3d-f4-l2"], "best")
    assert {row.placement.scan for row in plan} == {row.scan for row in rows}


def test_cohorts_nest():
    rows = split(people(10, 10), folds=3)
    by_cohort = {
        name: {row.scan for row in rows if in_group(row, takes)}
        for name, takes in {"all": {}, "male": {"sex": "M"}, "female": {"sex": "F"}}.items()
    }
    assert by_cohort["male"] | by_cohort["female"] == by_cohort["all"]
    assert not by_cohort["male"] & by_cohort["female"]


def test_protocols_and_weights():
    rows = split(people(8, 8), folds=2, test_fraction=0.25)
    plan = plan_predictions(rows, {"all": {}, "male": {"sex": "M"}}, ["vnet"], "best")
    for row in plan:
        if row.protocol == "cv":
            assert row.members == f"fold-{row.placement.fold}" and row.weights == "last"
        else:
            assert row.weights == "best" and row.placement.fold == -1
    assert {
        row.protocol for row in plan_predictions([newcomer("N1", set="later")], {"all": {}}, ["vnet"], "best")
    } == {"later"}
    test = [row for row in plan if row.placement.set == "test" and row.group == "all"]
    assert Counter(row.protocol for row in test) == {"test": 4, "test-single": 4}
    assert all(row.placement.sex == "M" for row in plan if row.group == "male")


def screened_records(accepted, **refused):
    """Return rows of cohort/scans.csv: accepted people, and for each reason how many were refused."""
    verdicts = [("ok", "")] * accepted
    verdicts += [("rejected", reason) for reason, count in refused.items() for _ in range(count)]
    base = {"sex": "M", "age": "60", "site": "", "set": "auto", "has_mask": "1"}
    return [
        base | {"scan": f"S{k:02}", "subject": f"S{k:02}", "verdict": verdict, "reason": reason}
        for k, (verdict, reason) in enumerate(verdicts)
    ]


def place(records, **config):
    return place_scans(records, (), Split(folds=FoldsConfig(**config), seed=1, batch_scans=16, draw=True))


def test_too_few_references_are_told_with_what_was_refused_and_why():
    records = screened_records(4, mask_off_bone=9, missing_slices=2) + [
        screened_records(1)[0] | {"scan": "U1", "subject": "U1", "has_mask": "0"}
    ]
    with pytest.raises(ConfigError) as caught:
        place(records, folds=5)
    assert "4 people with a usable reference" in str(caught.value)
    words = "Of 15 scans with a reference 11 were not accepted (9 mask_off_bone, 2 missing_slices)"
    assert words in str(caught.value) and CROPS_NEED_NO_FOLDS in str(caught.value)


def test_nothing_is_said_of_refusals_where_there_are_none_or_enough_is_left():
    with pytest.raises(ConfigError) as caught:
        place(screened_records(3), folds=5)
    assert "not accepted" not in str(caught.value)
    assert len(place(screened_records(12, mask_gaps=3), folds=3)) == 12


def with_structures(records, structures):
    """Return rows of cohort/scans.csv with the structures of each reference."""
    return [record | {"structures": text} for record, text in zip(records, structures, strict=True)]


def place_structures(records, **settings):
    split = {"seed": 1, "batch_scans": 16, "draw": True, "structures": ["L1", "L2"]} | settings
    return place_scans(records, (), Split(folds=FoldsConfig(folds=3, test_fraction=0.0), **split))


def test_a_structure_may_be_missing_in_some_scans():
    records = with_structures(screened_records(9), ["L1 L2"] * 7 + ["L1", "L2"])
    assert len(place_structures(records)) == 9


def test_a_structure_that_no_scan_has_is_refused_before_training():
    records = with_structures(screened_records(9), ["L1"] * 9)
    with pytest.raises(ConfigError, match="L2 of group all is in no scan") as caught:
        place_structures(records)
    assert "cohort/scans.csv" in str(caught.value) and CROPS_NEED_NO_FOLDS in str(caught.value)
    assert len(place_structures(records, draw=False)) == 9  # finished models predict them
    assert len(place_structures(records, structures=["L1"])) == 9


def test_a_structure_of_one_fold_is_refused_because_its_network_never_sees_it():
    records = with_structures(screened_records(9), ["L1 L2"] + ["L1"] * 8)
    fold = next(row.fold for row in place(records, folds=3, test_fraction=0.0) if row.scan == "S00")
    with pytest.raises(ConfigError, match=f"L2 of group all is only in fold {fold}"):
        place_structures(records)


def test_every_group_needs_every_structure():
    records = with_structures(screened_records(12), ["L1 L2"] * 6 + ["L1"] * 6)
    records = [record | {"sex": "FM"[k < 6]} for k, record in enumerate(records)]
    with pytest.raises(ConfigError, match="training: L2 of group female is in no scan. Each"):
        place_structures(records, groups={"all": {}, "female": {"sex": "F"}, "male": {"sex": "M"}})
