"""The report: missing results are stated, texts escaped, nothing loaded, each number has its n."""

import html
import html.parser
import json
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import yaml
from markupsafe import Markup

from lib.catalog.modalities import MODALITIES
from lib.catalog.protocols import PROTOCOLS
from lib.figures.gallery import TITLES
from lib.learning.architecture import read_network
from lib.learning.network_grid import GridConfig, expand_grid
from lib.learning.order import INITIAL_WINDOWS
from lib.learning.train_settings import LOSSES
from lib.learning.vnet import NORMALISED_GROUPS, START_LOGIT
from lib.pages.references import REFERENCES, Citations
from lib.pages.report import (
    MOST_ROWS,
    SCRIPTS,
    TABLES,
    ReportData,
    accepted_people,
    acquisition_counts,
    acquisition_rows,
    figure_groups,
    figure_points,
    flagged_predictions,
    fold_ranges,
    off_protocol_rows,
    refused_rows,
    summarize_flow,
    write_page,
)
from lib.pages.report_tables import (
    coverage_view,
    cut_table,
    deviation,
    flag_view,
    people_name,
    precision_view,
    table1_view,
)
from lib.pages.scan_table import NUMBERS, scan_data, script_json
from lib.pages.templates import REPORT_FOLDER, content_policy, keep_intervals_whole, page_asset
from lib.pages.wording import (
    augmentation_text,
    flag_meanings,
    loss_text,
    network_texts,
    people_text,
    told_flags,
)
from lib.report_settings import AgreementConfig
from lib.stats.agreement_tables import agreement_table, fold_table
from lib.stats.agreement_units import volumes_of
from lib.stats.coverage import coverage_table
from lib.stats.flow import flow_table
from lib.stats.fold_variance import level_table, spread_table
from lib.stats.formats import (
    fixed,
    show_interval,
    show_number,
    show_p_value,
    show_range,
    show_setting,
    undefined_reasons,
)
from lib.stats.paired import paired_table
from lib.stats.paper import table1, table2
from lib.stats.partitions import partition_table
from lib.stats.precision import precision_table
from lib.stats.readers import READER_COLUMNS
from lib.stats.scores import score_table
from lib.stats.scores_by_age import age_table
from lib.stats.subgroups import subgroup_table
from lib.stats.tables import VOLUME_COLUMNS, read_table, volumes_table, write_table
from lib.stats.unscored import find_gaps, with_gaps
from tests.unit.study_tables import (
    measured,
    measurements,
    no_metrics,
    none_unscored,
    people,
    predictions,
    tables,
    unscored,
)

CONFIG = AgreementConfig()
SETTINGS = yaml.safe_load((REPORT_FOLDER.parent / "config.yaml").read_text(encoding="utf-8"))
REJECTED = {
    "scan": "X01",
    "verdict": "rejected",
    "reasons": [
        {
            "code": "missing_slices",
            "severity": "rejected",
            "found": "a step of 4.00 mm",
            "rule": "equal steps",
        }
        | {"action": "export the series again"},
        {
            "code": "no_kernel",
            "severity": "warning",
            "found": "no kernel",
            "rule": "",
            "action": "Use a kernel.",
        },
    ],
    "geometry": None,
    "acquisition": None,
}


def accepted(scan, pixel_mm=0.8, **values):
    acquisition = {
        "manufacturer": "Siemens",
        "model": "Sensation 64",
        "kvp": 120.0,
        "kernel": "B30s",
        "contrast": None,
    }
    geometry = {"spacing_mm_xyz": [pixel_mm, pixel_mm, 2.0], "length_mm": 110.0}
    geometry |= {"stored_axes": "LPS", "acquired_axis": "z"}
    return {
        "scan": scan,
        "verdict": "ok",
        "reasons": [],
        "geometry": geometry,
        "acquisition": acquisition | values,
    }


PROTOCOL = {
    "source": "configuration",
    "fields": [{"field": "kvp", "protocol": "100 to 120", "agree": 20, "differ": 3, "not_stated": 1}],
}


def acquisition(placed, **differences):
    """The acquisition table: Siemens scans, some with the given texts in `off_protocol`."""
    stated = {"manufacturer": "SIEMENS", "model": "Sensation 64", "kvp": 120.0, "kernel": "B30s"}
    rows = [
        {name: row[name] for name in ("scan", "subject", "site")}
        | {"verdict": "ok"}
        | stated
        | {"contrast": "", "off_protocol": differences.get(row["scan"], "")}
        for row in placed
    ]
    columns = ("scan", "subject", "site", "verdict", *stated, "contrast", "off_protocol")
    return pd.DataFrame(rows, columns=columns)


def study_tables(metrics, volumes, scans, placed, *, synthetic=False):
    agreement = with_gaps(agreement_table(measurements(metrics), CONFIG), none_unscored(), CONFIG.strata)
    through = {
        name: [row["scan"] for row in placed] for name in ("converted", "cropped", "predicted", "scored")
    }
    made = {
        "metrics": metrics,
        "volumes": volumes,
        "scores": score_table(metrics, CONFIG),
        "agreement": agreement,
        "folds": fold_table(metrics, CONFIG),
        "paired": paired_table(metrics, CONFIG, []),
        "ages": age_table(metrics, CONFIG),
        "levels": level_table(metrics, CONFIG),
        "spread": spread_table(metrics, CONFIG),
        "coverage": coverage_table(metrics, CONFIG),
        "precision": precision_table(metrics, volumes, CONFIG),
        "subgroups": subgroup_table(metrics, acquisition(placed), CONFIG),
        "readers": pd.DataFrame(columns=list(READER_COLUMNS)),
        "table2": table2(metrics, none_unscored(), [], published=not synthetic),
        "table1": table1(agreement, metrics, none_unscored(), published=not synthetic),
        "flow": flow_table(
            pd.DataFrame(scans), pd.DataFrame(placed, columns=["scan", "set", "fold"]), through
        ),
        "acquisition": acquisition(placed),
        "partitions": partition_table(
            pd.DataFrame(placed, columns=list(people(1, 0)[0])),
            {"acquisition": acquisition(placed), "metrics": metrics, "unscored": none_unscored()},
            ["femur"],
        ),
    }
    assert set(made) == {*TABLES, "table1", "table2"}
    return made


@pytest.fixture(scope="module")
def full():
    metrics, volumes, _ = tables(24, 4)
    placed = people(24, 4)
    fine = {"verdict": "ok", "reason": "", "explanation": ""}
    scans = [row | fine | {"has_mask": "1"} for row in placed]
    odd = scans[0] | {"verdict": "rejected", "reason": "missing_slices", "explanation": "a step of 4.00 mm"}
    out = {"verdict": "excluded", "reason": "excluded", "explanation": "<script>alert(1)</script>"}
    scans += [odd | {"scan": "X01", "subject": "X01"}, scans[0] | out | {"scan": "X02", "subject": "X02"}]
    return study_tables(metrics, volumes, scans, placed), scans, placed


def report(made, **values):
    figure = {
        "name": "scores-vnet-test",
        "kind": "scores",
        "network": "vnet",
        "protocol": "test",
        "title": "Overlap",
    }
    defaults = {
        "study": "Hips <of> 2020",
        "synthetic": False,
        "tables": made,
        "table_paths": {"metrics": "results/tables/metrics.csv"},
        "figures": [figure | {"n": 4, "width": 740, "height": 350}],
        "figure_folder": "results/figures",
        "pages": {"P000": "results/report/scans/batch-0/P000.html"},
        "screened": [accepted("P000"), REJECTED],
        "settings": SETTINGS,
        "provenance": {"Osteoflow": "0.1.0"},
    }
    return ReportData(**(defaults | values))


def render(data, folder):
    page = folder / "results" / "report" / "index.html"
    write_page(data, page)
    return page.read_text(encoding="utf-8")


def without_terms(page):
    """The page without the links that lead from terms to their definitions."""
    return re.sub(r'<a class="term" href="#def-[a-z0-9-]+">(.*?)</a>', r"\1", page)


def section_of(page, name):
    """The section of the page with this name."""
    return page[page.index(f'<section id="{name}"') :].split("</section>")[0]


class Checker(html.parser.HTMLParser):
    """Parser that collects links and ids, and checks that tags close in order."""

    VOID = {"meta", "link", "br", "img", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(full, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return render(report(full[0]), tmp_path)


def test_the_page_is_sound_html_with_links_that_lead_somewhere(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    inside = [link[1:] for link in checker.links if link.startswith("#")]
    assert inside
    assert set(inside) <= set(checker.ids)
    outside = {link for link in checker.links if not link.startswith(("#", "data:"))}
    assert outside == {
        "../tables/metrics.csv",
        "../figures/scores-vnet-test.svg",
        "../figures/scores-vnet-test.png",
        "scans/batch-0/P000.html",
        "scans/batch-0/P000-planes.webp",
    }


def test_the_page_needs_no_network(page):
    assert not re.search(r"https?:|//cdn|@import|url\(", page)


def test_text_from_tables_is_escaped(page):
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Hips &lt;of&gt; 2020" in page


def test_protocols_are_explained_and_carry_their_people(page):
    for protocol, count in (("cv", 20), ("test", 4), ("test-single", 4)):
        name, who = PROTOCOLS[protocol][:2]
        shown = rf"<h3>{name}: n = (\d+)(?:, <a .*?</a>)?</h3>\s*<p class=\"who\">{re.escape(who)}; ([^.]*)\."
        card = re.search(shown, without_terms(page))
        assert int(card.group(1)) == count
        assert ("last weights" in card.group(2)) == (protocol == "cv")


def test_a_synthetic_cohort_is_announced_and_not_compared_with_a_paper(full, tmp_path):
    metrics, volumes, _ = tables(24, 4)
    made = study_tables(metrics, volumes, full[1], full[2], synthetic=True)
    text = render(report(made, synthetic=True), tmp_path)
    assert "Synthetic cohort." in text
    assert "not accuracy in real people" in re.sub(r"\s+", " ", text)
    assert "No published numbers here." in text
    assert "Zhao 2020</td>" not in text
    assert "89,999.59" not in text
    assert "Multi-atlas" not in text


def test_a_real_cohort_stands_beside_the_paper(page):
    assert "Synthetic cohort." not in page
    assert page.count("Zhao 2020<small>other people, one model</small>") == 3
    assert "Multi-atlas" in page
    assert "No published numbers" not in page
    assert "89,999.59 ± 21,325.23" in page
    assert "not stated in the paper" in page  # the number of people


def test_notes_stand_at_the_top_only_if_there_are_any(full, tmp_path, page):
    text = render(report(full[0], notes=["fold 3 of all/vnet is not trained"]), tmp_path)
    assert text.index("fold 3 of all/vnet is not trained") < text.index("<main>")
    assert "Read this first" not in page


def test_a_rejected_scan_says_what_was_found_and_what_to_do(page):
    section = section_of(page, "refused")
    assert "missing slices" in section
    assert "export the series again" in section
    assert "no kernel" not in section


def test_cards_and_tables_tell_scans_without_a_distance_and_those_within_a_voxel(full, tmp_path):
    made, scans, placed = full
    metrics = made["metrics"].copy()
    failed = metrics.index[(metrics["protocol"] == "test") & (metrics["group"] == "all")][0]
    metrics.loc[failed, ["hd95_mm", "nsd", "undefined"]] = [
        np.nan,
        0.0,
        "hd95_mm: the predicted mask is empty",
    ]
    page = without_terms(render(report(study_tables(metrics, made["volumes"], scans, placed)), tmp_path))
    told = '<span class="why">1 of 4 without: the predicted mask is empty</span>'
    known = (metrics.loc[metrics.index != failed]).query("group == 'all' and protocol == 'test'")["hd95_mm"]
    within = f"{(known <= 3).sum()} of 3 within a voxel"
    card = (
        page.split(f"<h3>{PROTOCOLS['test'].title}: n = 4")[1]
        .split("<dt>HD95, mean, mm</dt>")[1]
        .split("</dd>")[0]
    )
    assert card == f"<dd>{known.mean():.2f}<small>n = 3<br>{told}<br>{within}</small>"
    assert page.count(told) == 2  # the card, and the table's row for everybody
    assert page.count(told.replace("of 4", "of 2")) == 1  # the row for the person's sex
    assert "<dt>NSD, mean</dt>" in page


def test_a_failed_prediction_stands_on_the_card_and_in_the_tables(full, tmp_path):
    made, scans, placed = full
    metrics = made["metrics"]
    lost = (metrics["protocol"] == "test") & (metrics["scan"] == "P001")
    kept, missing = metrics[~lost], unscored(metrics[lost])
    gaps = find_gaps(kept, missing)
    tables = study_tables(kept, made["volumes"], scans, placed)
    tables["scores"] = score_table(kept, CONFIG, gaps)
    tables["agreement"] = with_gaps(agreement_table(measurements(kept), CONFIG), gaps, CONFIG.strata)
    tables["table1"] = table1(tables["agreement"], kept, missing, published=True)
    page = without_terms(render(report(tables), tmp_path))
    card = page.split(f"<h3>{PROTOCOLS['test'].title}: n = 3")[1].split("</article>")[0]
    told = '<span class="why">1 scan not scored: not predicted</span>'
    assert f'<p class="lost">{told}</p>' in card
    assert "n = " not in card  # every distance is of the people of the card
    assert card.count("1 of 4 without: not predicted") == 2  # HD95 and NSD
    for name in ("agreement", "papers"):
        assert told in section_of(page, name)
    assert "1 of 4 without: not predicted" in section_of(page, "overlap")
    assert "not scored: not" not in page.split(f"<h3>{PROTOCOLS['cv'].title}")[1].split("</article>")[0]


def test_limits_that_do_not_fit_every_size_say_which_do(full, tmp_path):
    made, scans, placed = full
    tables = study_tables(made["metrics"], made["volumes"], scans, placed)
    for advice, words in (
        ("percent", "use the limits in %"),
        ("neither", "no one limit fits all sizes"),
        ("mm3", ""),
    ):
        tables["agreement"] = tables["agreement"].assign(limits_to_use=advice)
        section = section_of(render(report(tables), tmp_path), "agreement")
        assert ("spread changes with size" in section, words in section) == (bool(words), True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "0.00001"), (0.1 + 0.2, "0.3"), (100 * 0.07, "7"), (1500.0, "1500"), (2e-8, "2 × 10⁻⁸"), (0.0, "0"),
        (-1.5, "−1.5"), (20201234567, "20201234567"), (True, "True"), ("last", "last"), (None, "None"),
    ],
)  # fmt: skip
def test_settings_read_as_people_write_them(value, text):
    assert show_setting(value) == text


def test_the_methods_write_no_number_as_a_programmer_does(full, tmp_path):
    settings = SETTINGS | {"train": SETTINGS["train"] | {"l2_alpha": 1e-05, "learning_rate": 3e-05}}
    section = section_of(render(report(full[0], settings=settings), tmp_path), "methods")
    assert "α = 0.00001)" in section and "learning rate of 0.00003" in section
    assert not re.search(r"\de[-+]\d", section)


def test_an_interval_of_r2_that_says_nothing_below_0_says_so():
    row = {"r2_ci_low": -4366.6, "r2_ci_high": 0.98, "ccc_ci_low": -0.5, "ccc_ci_high": 0.5}
    assert show_interval(row, "r2", 4) == "below 0 to 0.9800"
    assert show_interval(row, "ccc", 2) == "−0.50 to 0.50"


def test_people_of_each_partition_have_a_section(page):
    section = section_of(page, "partitions")
    assert re.findall(r'<th scope="row">([\w -]+)</th>', section) == [
        "cross-validated",
        *(f"fold {k}" for k in range(5)),
        "test",
    ]
    assert "SIEMENS Sensation 64: 20" in section


def test_tables_read_back_from_files_give_the_same_page(full, tmp_path, page):
    again = {}
    for name, table in full[0].items():
        write_table(table, tmp_path / f"{name}.csv")
        again[name] = read_table(tmp_path / f"{name}.csv")
    assert render(report(again), tmp_path) == page


def test_cards_say_how_many_of_their_scans_are_flagged(full, tmp_path):
    metrics = full[0]["metrics"].copy()
    chosen = (metrics["protocol"] == "cv") & (metrics["group"] == "all")
    first, second = metrics.loc[chosen, "scan"].unique()[:2]
    metrics["flags"] = ""
    metrics.loc[chosen & metrics["scan"].isin([first, second]), "flags"] = "metal"
    cards = re.findall(
        r'<article class="card">\s*<h3>(.+?)</h3>', render(report(full[0] | {"metrics": metrics}), tmp_path)
    )
    told = [re.sub("<[^>]+>", "", card) for card in cards]
    assert [card for card in told if "flagged" in card] == ["Cross-validation: n = 20, 2 flagged"]


def test_a_study_where_nothing_ran_still_has_a_page(tmp_path):
    scans = [people(1, 0)[0] | {"verdict": "missing", "reason": "not_screened", "explanation": "see the log"}]
    made = study_tables(no_metrics(), pd.DataFrame(columns=list(VOLUME_COLUMNS)), scans, [])
    text = render(report(made, figures=[], pages={}, screened=[]), tmp_path)
    for said in (
        "so there are no scores",
        "none has been scored here",
        "There are no figures",
        "No scan has been scored",
        "see the log",
    ):
        assert said in text
    assert not re.search(r"[>\s]nan[<\s]", re.sub(r"<script.*?</script>", "", text, flags=re.S).lower())
    again = {}
    for name, table in made.items():
        write_table(table, tmp_path / f"{name}.csv")
        again[name] = read_table(tmp_path / f"{name}.csv")
    assert render(report(again, figures=[], pages={}, screened=[]), tmp_path) == text


def test_a_missing_value_is_a_dash_that_says_why(full, tmp_path):
    volumes = full[0]["volumes"].assign(flags="", member_dice=np.nan)
    volumes.loc[volumes.index[0], ["flags", "undefined"]] = ["padded", "member_dice: one model only"]
    text = render(report(full[0] | {"volumes": volumes}), tmp_path)
    assert 'title="one model only">–' in section_of(text, "flags")
    assert str(show_number(None, why='"odd"')).startswith('<span class="none" title="&#34;odd&#34;">–')


def test_the_text_of_undefined_values_reads_back_as_the_reasons_of_each():
    planned = predictions(people(1, 0))[:1]
    reasons = {
        "mean_value": "no bone: none at all; see the log",
        "sd_value": "no bone: none at all; see the log",
    }
    reasons |= {"member_dice": "one model only"}
    volume = measured(planned[0], np.random.default_rng(0))[1] | {"undefined": reasons}
    key = "/".join(planned[0][name] for name in ("group", "network", "members", "scan", "structure"))
    assert undefined_reasons(volumes_table(planned, {key: volume})["undefined"][0]) == reasons
    assert undefined_reasons("") == {}


def test_flags_are_explained_where_they_occur(full, tmp_path):
    made = dict(full[0])
    volumes = made["volumes"].assign(flags="")
    shown = ["flags", "member_dice", "mean_entropy_bits"]
    volumes.loc[volumes.index[0], shown] = ["members_disagree no_kernel", 0.8125, 0.375]
    text = render(report(made | {"volumes": volumes}), tmp_path)
    section = section_of(text, "flags")
    assert re.search(r'<td class="n">0\.8125</td>\s*<td class="n">0\.375</td>', section)
    explained = re.findall(r"<p><b>(.+?)</b>: ", section)
    assert explained == ["Members disagree", "No kernel"]
    assert "(member DSC) is below 0.9." in section
    assert 'href="#def-member-dsc"' in section and 'href="#def-mean-entropy"' in section
    assert "Use a kernel" in section  # the action that screening names


def test_meanings_of_flags_hold_the_settings_values():
    volumes = pd.DataFrame({"flags": ["members_disagree", "", "no_kernel members_disagree"]})
    settings = SETTINGS | {"predict": {"review_member_dice": 0.875, "spacing_factor": 1.5}}
    braces = REJECTED | {"reasons": [REJECTED["reasons"][1] | {"action": "Use {one}."}]}
    meanings = dict(flag_meanings(volumes, [braces], settings))
    assert "is below 0.875. Often" in meanings["members_disagree"]
    assert "may still be wrong" in meanings["members_disagree"]
    assert meanings["no_kernel"].endswith("Use {one}.")
    for flag, meaning in flag_meanings(pd.DataFrame({"flags": list(told_flags(SETTINGS))}), [], SETTINGS):
        assert "{" not in meaning, flag


def test_disagreement_is_explained_where_nothing_is_scored(full, tmp_path):
    volumes = full[0]["volumes"].assign(flags="members_disagree")
    made = study_tables(no_metrics(), volumes, full[1], full[2])
    text = render(report(made, pages={}), tmp_path)
    explained = section_of(text, "definitions")
    assert "at least one member labels as bone" in explained
    assert "all other fold models were trained on that person" in explained


def test_every_flag_of_crop_threshold_and_prediction_has_a_meaning():
    lib = REPORT_FOLDER.parent / "lib" / "imaging"
    raised = set()
    for name in ("crop", "binarise"):
        text = (lib / f"{name}.py").read_text(encoding="utf-8")
        for block in re.findall(r"raised = \{(.+?)\n    \}", text, re.S):
            raised |= set(re.findall(r'"(\w+)":', block))
    assert {"padded", "otsu_undefined"} < raised
    volume = (lib.parent / "anatomy/femur/distal_end.py").read_text(encoding="utf-8")
    raised |= {flag for flag in ("cut_not_reached", "no_lesser_trochanter") if f'"{flag}"' in volume}
    told_later = {
        "members_disagree",
        "off_protocol",
        "needs_edit",
        "corrected",
        "seen_in_training",
        "interval_wide",
        "spacing_unusual",
    }
    assert raised | told_later == set(told_flags(SETTINGS))


def test_numbers_are_written_as_papers_write_them():
    assert show_number(-1234.567, 1) == "\N{MINUS SIGN}1,234.6"
    assert [show_number(value, 2) for value in (-0.004, -0.0, 0.004, -0.006)] == [*["0.00"] * 3, "−0.01"]
    assert [fixed(value, 1, sign="+") for value in (-0.04, 0.04, 0.06)] == ["0.0", "0.0", "+0.1"]
    assert show_range([-0.001, 1234.5], 2) == "0.00 to 1234.50"
    assert show_interval({"r2_ci_low": 0.9, "r2_ci_high": 0.99}, "r2", 2) == "0.90 to 0.99"
    assert "no interval" in show_interval({"r2_ci_low": None, "r2_ci_high": np.nan}, "r2")
    told = {"r2_ci_low": None, "undefined": "ccc: one; r2_ci, mae_mm3_ci: the reference does not vary"}
    assert "no interval: the reference does not vary" in show_interval(told, "r2")
    both = {"r2_ci_low": 0.9, "r2_ci_high": 0.99, "r2_fold_ci_low": 0.8, "r2_fold_ci_high": 0.995}
    assert show_interval(both, "r2", 2) == "0.90 to 0.99<br>with folds 0.80 to 0.99"
    assert (show_p_value(0.0004), show_p_value(0.0417)) == ("< 0.001", "0.042")


def test_flow_counts_what_is_left_and_what_was_lost(full):
    steps = {step["stage"]: step for step in summarize_flow(full[0]["flow"])}
    assert (steps["listed"]["scans"], steps["screened"]["scans"], steps["converted"]["scans"]) == (26, 25, 24)
    assert steps["listed"]["reasons"] == [("excluded", 1)]
    assert steps["screened"]["reasons"] == [("missing slices", 1)]
    assert (steps["scored"]["scans"], steps["scored"]["stopped"]) == (24, 0)


def test_the_papers_row_follows_ours(full):
    rows = full[0]["table1"].astype(object).to_dict("records")
    sources = [line[1][0] for line in table1_view(rows).lines]
    assert sources == ["Test", "Test, single model", "Zhao 2020"] * 3


def test_acquisitions_are_grouped_with_their_ranges():
    screened = [accepted("a", 0.742), accepted("b", 0.977), accepted("c", kernel="B60f", kvp=None), REJECTED]
    soft, hard = acquisition_rows(screened, MODALITIES["CT"])
    assert (soft["scans"], soft["pixel_mm"], soft["slice_mm"]) == (2, "0.742 to 0.977", "2.00")
    assert (soft["values"][2], hard["values"][2:]) == ("120", ("not stated", "B60f", "not stated"))


def test_a_coronal_series_is_grouped_by_sequence_and_plane_with_its_own_slice_distance():
    record = accepted("a")
    record["acquisition"] = {"sequence": "GR", "variant": "SP", "tr_ms": 37.0, "field_tesla": 3.0}
    record["geometry"] |= {"stored_axes": "LSP", "acquired_axis": "y", "spacing_mm_xyz": [0.5, 1.5, 0.6]}
    (row,) = acquisition_rows([record], MODALITIES["MR"])
    assert (row["pixel_mm"], row["slice_mm"]) == ("0.500", "1.50")
    assert [row["values"][place] for place in (2, 3, 4, 5, -1)] == ["3", "GR", "SP", "37", "coronal"]


def test_scanners_kernels_and_voltages_of_accepted_scans_are_counted():
    table = acquisition(people(5, 0))
    table.loc[0, ["model", "kernel", "kvp"]] = ["", None, np.nan]
    table.loc[1, "kernel"] = "B60s"
    table.loc[4, "verdict"] = "rejected"
    counts = {count["kind"]: count["rows"] for count in acquisition_counts(table, MODALITIES["CT"])}
    assert counts == {
        "Scanner": [("SIEMENS Sensation 64", 3), ("SIEMENS", 1)],
        "Kernel": [("B30s", 2), ("not stated", 1), ("B60s", 1)],
        "kVp": [("120", 3), ("not stated", 1)],
    }


def test_the_protocol_and_the_scans_off_it_are_shown(full, tmp_path):
    differences = {"P001": "kvp 140 (protocol 100 to 120); kernel <B60s> (protocol B30s)", "P003": "no"}
    table = acquisition(full[2], **differences)
    table.loc[table["scan"] == "P003", "verdict"] = "rejected"
    text = render(report(full[0] | {"acquisition": table}, protocol=PROTOCOL), tmp_path)
    section = section_of(text, "acquisition")
    assert "set in the configuration (acquisition_protocol)" in section
    cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.+?)</tr>", section)]
    assert ["kvp", "100 to 120", "20", "3", "1"] in cells
    assert ["P001", "north", "kvp 140 (protocol 100 to 120)<br>kernel &lt;B60s&gt; (protocol B30s)"] in cells
    assert [row["scan"] for row in off_protocol_rows(table)] == ["P001"]


def test_a_study_without_a_protocol_says_so(page, full, tmp_path):
    section = section_of(page, "acquisition")
    assert "values that most accepted scans share" in section
    assert "no scan was compared" in section
    judged = render(report(full[0], protocol=PROTOCOL), tmp_path)
    assert "No accepted scan differs from it" in judged


def test_a_large_study_keeps_the_page_small(full):
    volumes = full[0]["volumes"].assign(flags="padded")
    many = pd.concat([volumes] * (MOST_ROWS // len(volumes) + 1), ignore_index=True)
    assert len(flagged_predictions(many)) == MOST_ROWS < len(many)


def test_lists_that_are_cut_say_so_and_name_the_file(full, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.pages.report.MOST_ROWS", 1)
    table = acquisition(full[2], P001="kvp 140", P003="kvp 140")
    made = full[0] | {"volumes": full[0]["volumes"].assign(flags="padded"), "acquisition": table}
    paths = {name: f"{name}.csv" for name in TABLES}
    text = render(report(made, table_paths=paths, protocol=PROTOCOL), tmp_path)
    refused = len(refused_rows(full[0]["flow"], []))
    assert refused > 1
    for section, count, what, name in (
        ("refused", refused, "scans", "flow"),
        ("flags", len(made["volumes"]), "predictions", "volumes"),
        ("acquisition", 2, "scans", "acquisition"),
    ):
        said = section_of(text, section)
        assert f"The first 1 of {count} {what}; all of them:" in said
        assert f'{name}.csv" download' in said
    assert section_of(text, "refused").count("<tr>") == 2  # the head and one scan


def of_scans(made, **values):
    given = {"study": "Hips", "networks": ["vnet"], "pages": {}, "reviews": {}}
    return scan_data(made, **(given | values))


def test_the_first_row_of_a_scan_is_its_primary_prediction(full):
    shown = of_scans(full[0])
    first = {}
    for scan, chosen, *_ in shown["rows"]:
        first.setdefault(shown["scans"][scan][0], shown["sets"][chosen])
    assert first["P000"] == ("all", "vnet", "test", "femur")
    assert first["P010"] == ("all", "vnet", "cv", "femur")
    assert len(shown["rows"]) == len(full[0]["volumes"])


def of_structures(made, dice, **values):
    """The tables with a structure for each entry of `dice`, whose Dice and other values it sets, scan by scan."""
    several = {
        table: pd.concat([made[table].assign(structure=name) for name in dice], ignore_index=True)
        for table in ("metrics", "volumes")
    }
    for name, by_scan in dice.items():
        for scan, value in by_scan.items():
            metrics = several["metrics"]
            metrics.loc[(metrics["structure"] == name) & (metrics["scan"] == scan), "dsc"] = value
    for (table, column, name, scan), value in values.get("further", {}).items():
        of = several[table]
        of.loc[(of["structure"] == name) & (of["scan"] == scan), column] = value
    return several


def worst_structures(made, **values):
    shown = of_scans(made, **values)
    worst = [shown["rows"][place] for place in shown["worst"]]
    return {shown["scans"][row[0]][0]: shown["sets"][row[1]] for row in worst}


def test_the_gallery_shows_a_scan_by_its_worst_structure(full):
    dice = {"L1": {"P000": 0.9, "P001": 0.9, "P010": 0.9}, "L2": {"P000": 0.3, "P001": 0.95, "P010": np.nan}}
    made = of_structures(full[0], dice | {"sacrum": {"P000": 0.1, "P001": 0.2, "P010": 0.99}})
    worst = worst_structures(made, structures=["L1", "L2"])
    assert worst["P000"] == ("all", "vnet", "test", "L2")
    assert worst["P001"] == ("all", "vnet", "test", "L1")
    assert worst["P010"] == ("all", "vnet", "cv", "L1")  # a Dice stands before an unknown one
    assert worst_structures(made)["P000"][-1] == worst_structures(made)["P001"][-1] == "sacrum"
    assert len(worst) == full[0]["volumes"]["scan"].nunique()
    # a scan without any of the named structures counts with the others
    assert worst_structures(made, structures=["L5"])["P010"][-1] == "L1"


def test_without_a_dice_the_worst_structure_has_most_flags_or_least_agreement(full):
    further = {
        ("volumes", "flags", "L2", "P000"): "level_gap bone_at_border",
        ("volumes", "flags", "L1", "P000"): "level_gap",
        ("volumes", "flags", "L1", "P001"): "",
        ("volumes", "flags", "L2", "P001"): "",
        ("volumes", "member_dice", "L1", "P001"): 0.9,
        ("volumes", "member_dice", "L2", "P001"): 0.8,
    }
    made = of_structures(full[0], {"L1": {}, "L2": {}}, further=further) | {"metrics": no_metrics()}
    worst = worst_structures(made)
    assert (worst["P000"][-1], worst["P001"][-1]) == ("L2", "L2")
    empty = {name: table.iloc[:0] for name, table in made.items()}
    assert of_scans(empty)["worst"] == []


def test_the_configurations_first_network_comes_first(full):
    other = {name: full[0][name].assign(network="another") for name in ("metrics", "volumes")}
    both = {name: pd.concat([full[0][name], table], ignore_index=True) for name, table in other.items()}
    for networks in (["vnet", "another"], ["another", "vnet"]):
        shown = of_scans(both, networks=networks)
        assert [network for group, network, *_ in shown["sets"] if group == "all"][::3] == networks


def test_the_table_of_scans_carries_the_numbers_and_reasons_of_the_tables(full):
    made = dict(full[0])
    metrics = made["metrics"].copy()
    metrics.loc[0, ["hd95_mm", "undefined"]] = [np.nan, "hd95_mm, assd_mm: no surface"]
    shown = of_scans(made | {"metrics": metrics}, pages={"P004": "scans/batch-1/P004.html"})
    place = {name: 5 + position for position, name in enumerate(NUMBERS)}
    rows = {(shown["scans"][row[0]][0], shown["sets"][row[1]]): row for row in shown["rows"]}
    record = metrics.loc[0]
    row = rows[record["scan"], (record["group"], record["network"], record["protocol"], "femur")]
    assert row[place["dsc"]] == pytest.approx(record["dsc"], rel=1e-6)
    assert row[place["hd95_mm"]] is None
    assert shown["reasons"][row[4]] == {"hd95_mm": "no surface", "assd_mm": "no surface"}
    folders = {scan: folder for scan, *_, folder in shown["scans"]}
    assert (shown["folders"][folders["P004"]], folders["P005"]) == ("scans/batch-1", -1)


def test_scans_without_a_reference_are_in_the_table(full):
    shown = of_scans(full[0] | {"metrics": no_metrics()})
    dsc = 5 + NUMBERS.index("dsc")
    assert {row[dsc] for row in shown["rows"]} == {None}
    assert len(shown["scans"]) == 24


def test_the_digest_changes_with_what_a_reviewer_sees(full):
    volumes = full[0]["volumes"]
    moved = volumes.assign(predicted_mm3=volumes["predicted_mm3"] * 1.1)
    same = volumes.assign(sd_value=1.0)
    digests = [of_scans(full[0] | {"volumes": table})["digest"] for table in (volumes, moved, same)]
    assert digests[0] == digests[2] != digests[1]


def test_earlier_verdicts_are_in_the_page_also_those_of_scans_that_are_gone(full):
    reviews = {
        "X02": {"verdict": "rejected", "comment": "a nail", "seen_mm3": 1.5},
        "P001": {"verdict": "", "comment": "?"},
    }
    nothing_said = {"P002": {"verdict": "", "comment": ""}}
    assert of_scans(full[0], reviews=reviews | nothing_said)["reviews"] == reviews


HOSTILE = "</script><script>alert(2)</script><!--\u2028 & \"'"


def test_json_cannot_break_out_of_its_script(full, tmp_path):
    made = dict(full[0])
    volumes = made["volumes"].assign(site=HOSTILE, flags="<img/src=x>")
    reviews = {"P000": {"verdict": "rejected", "comment": HOSTILE, "seen_mm3": 1.0}}
    text = render(report(made | {"volumes": volumes}, study=HOSTILE, reviews=reviews), tmp_path)
    assert "alert(2)</script>" not in text
    assert "<img/src" not in text
    inside = re.search(r'<script type="application/json" id="scan-data">(.*?)</script>', text, re.S).group(1)
    shown = json.loads(inside)
    assert shown["study"] == shown["reviews"]["P000"]["comment"] == HOSTILE
    assert shown["scans"][0][3] == HOSTILE
    assert text.count("</script>") == 3  # data of the scans, points of the figures, the page's own script


def test_json_holds_no_character_that_html_or_old_scripts_read():
    assert not set("<>&\u2028\u2029") & set(script_json({"a": HOSTILE}))
    assert json.loads(script_json({"a": HOSTILE})) == {"a": HOSTILE}
    with pytest.raises(ValueError, match="JSON"):
        script_json(float("nan"))


def test_ten_thousand_scans_make_a_page_of_a_few_megabytes(full):
    made = {}
    for name in ("metrics", "volumes"):
        own = full[0][name][full[0][name]["group"] == "all"]
        parts = [own.assign(scan=own["scan"] + f"-{number}") for number in range(10)]
        made[name] = pd.concat(parts, ignore_index=True)
    rows = len(made["volumes"])
    assert len(script_json(of_scans(made))) / rows < 300  # bytes a prediction


def test_the_policy_allows_the_pages_own_script_and_nothing_from_a_network(page):
    script = "".join(page_asset(name) for name in SCRIPTS)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.+?)"', page).group(1)
    assert html.unescape(policy) == content_policy(script, page_asset("style.css"))
    assert f'<script type="module">{script}</script>' in page
    assert "default-src 'none'" in html.unescape(policy)
    assert not re.search(r"unsafe|https?:|\*", policy)
    assert not re.search(r"<[^>]+\s(on\w+|style)=", page)


def test_sections_come_in_order_and_can_be_linked(page):
    found = re.findall(r'<section id="(\w+)" aria-labelledby="\1-title">', page)
    assert found == re.findall(r'<li><a href="#(\w+)">', page)
    assert found[:6] == ["numbers", "methods", "flow", "partitions", "overlap", "agreement"]
    assert found[-2:] == ["provenance", "definitions"]


def test_every_table_has_heads_with_a_scope(page):
    for table in re.findall(r"<table.*?</table>", page, re.S):
        assert not re.search(r"<th(?![^>]*scope)[ >]", table.replace("<thead", ""))


def test_tables_name_the_file_that_holds_them(full, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {name: f"results/tables/{name}.csv" for name in TABLES}
    text = render(report(full[0], table_paths=paths), tmp_path)
    shown = {name for name in TABLES if f'href="../tables/{name}.csv" download' in text}
    assert set(TABLES) - shown == {"precision", "readers"}  # empty in this study


def test_values_at_the_cut_stand_beside_those_of_the_whole_mask(full):
    whole = volumes_of(full[0]["agreement"]).query("protocol == 'cv' and group == 'all'").to_dict("records")
    cut = [row | {"n": row["n"] - 1, "mae_mm3": 12.0} for row in whole]
    lines = cut_table(whole, cut).lines
    assert lines[0] == "Cross-validation · all"
    everybody = [shown for shown, _ in lines[1]]
    assert everybody[:5] == ["everybody", "20", "19", f"{whole[0]['mae_mm3'] / 1000:,.2f}", "0.01"]


def test_intervals_and_deviations_stay_on_one_line():
    told = keep_intervals_whole(Markup("0.1 to 0.2<br>with folds 0.0 to 0.3"))
    assert told == Markup("0.1\u00a0to\u00a00.2<br>with folds 0.0\u00a0to\u00a00.3")
    assert keep_intervals_whole("± 0.03") == "±\u00a00.03"


def test_rules_for_narrow_and_wide_screens_do_not_reach_paper():
    for name in ("style.css", "scan.css"):
        queries = re.findall(r"@media ([^{]*width[^{]*) {", page_asset(name))
        assert queries and all(query.startswith("screen and ") for query in queries), name


def test_paper_leaves_out_further_protocols_unless_they_are_all_there_is(full, tmp_path):
    drawn = report(full[0]).figures[0]
    others = [
        drawn | {"name": f"scores-vnet-{name}", "protocol": name} for name in ("external", "test-single")
    ]
    both = section_of(render(report(full[0], figures=[drawn, *others]), tmp_path), "figures")
    assert both.count('<details class="screen">') == both.count("1 figure not printed") == 2
    assert "<details" not in both.split("only-print")[0]  # that of the test people is printed
    alone = section_of(render(report(full[0], figures=others), tmp_path), "figures")
    assert alone.count('<details class="print">') == 2 and "not printed" not in alone


def test_intervals_say_what_they_hold_for(full, tmp_path):
    page = render(report(full[0]), tmp_path)
    section = section_of(page, "agreement")
    cv = (
        volumes_of(full[0]["agreement"])
        .query("protocol == 'cv' and group == 'all' and stratum == 'all'")
        .iloc[0]
    )
    ends = [f"{cv[f'ccc_fold_ci_{end}']:.4f}" for end in ("low", "high")]
    assert keep_intervals_whole(f"<br>with folds {' to '.join(ends)}") in section
    assert "further people and models trained this way" in section_of(page, "definitions")
    assert "Agreement in percent of the reference" in section and "Subgroups against the others" in section
    women = (
        full[0]["subgroups"]
        .query("protocol == 'test' and group == 'all' and measure == 're_percent'")
        .iloc[0]
    )
    ends = [f"{women[f'difference_ci_{end}']:.2f}".replace("-", "−") for end in ("low", "high")]
    assert keep_intervals_whole(" to ".join(ends)) in section


def test_people_are_called_by_their_stratum_or_their_group():
    strata = (("all", "all"), ("all", "sex=M"), ("female", "all"), ("young", "all"))
    names = [people_name({"group": group, "stratum": stratum}) for group, stratum in strata]
    assert names == ["everybody", "men", "women", "young"]


def test_coverage_tells_counts_and_interval_or_why_there_is_none():
    row = {
        "group": "all",
        "network": "vnet",
        "protocol": "test",
        "structure": "femur",
        "people": 8,
        "n": 7,
        "covered": 6,
        "wide": 1,
    }
    row |= {
        "coverage": 6 / 7,
        "coverage_ci_low": 0.421,
        "coverage_ci_high": 0.996,
        "undefined": "n: an empty mask",
    }
    few = {"protocol": "external", "n": 0, "covered": 0, "coverage": None, "undefined": "coverage: 18 people"}
    heading, first, second = coverage_view(
        [row | {"interval_percent_median": 4.25}, row | few | {"interval_percent_median": None}]
    ).lines
    assert heading == "all"
    assert [shown for shown, _ in first] == ["Test", "8", "6 of 7", "4.25", "1"]
    assert first[2][1] == "42.1 to 99.6 %"
    assert second[0][0] == "External" and "18 people" in second[2][0] and ">18 people<" in second[2][1]


def test_a_flagged_volume_stands_with_its_interval():
    row = {"scan": "P1", "group": "all", "network": "vnet", "members": "ensemble", "flags": "interval_wide"}
    row |= {"structure": "femur"}
    row |= dict.fromkeys(("otsu_threshold", "predicted_at_half_mm3", "member_dice", "mean_entropy_bits"), 0.5)
    row |= {"predicted_mm3": 91000.0, "undefined": {}}
    both = row | {"interval_low_mm3": 84000.4, "interval_high_mm3": 98000.0}
    lines = flag_view([both, row | {"interval_low_mm3": None, "interval_high_mm3": None}], {}).lines
    assert [line[4] for line in lines] == [("91.00", "84.00 to 98.00"), ("91.00", "")]


def test_the_report_says_where_no_interval_holds(page):
    assert "It does not hold for scanners or populations that are not in the cohort" in page
    assert "Intervals of single volumes" in page


def test_intervals_of_people_without_a_reference_are_explained_where_nothing_is_scored(full, tmp_path):
    volumes = full[0]["volumes"].assign(interval_low_mm3=8e4, interval_high_mm3=9e4, interval_percent=5.9)
    made = full[0] | {"volumes": volumes}
    level = {"report": {"confidence": 0.975}}
    unscored = study_tables(no_metrics(), volumes, full[1], full[2])
    page = render(report(unscored, settings=SETTINGS | level), tmp_path)
    assert "for 97.5 % of people like those of cross-validation" in page
    assert "The coverage guaranteed for any distribution of errors is 95 %" in page
    assert "its coverage for these scans is unknown" in section_of(page, "definitions")
    assert "Single volumes got 97.5 % intervals" in methods(unscored, tmp_path, **level)
    assert html.escape(str(REFERENCES["cv_plus"])) in page
    assert "Single volumes got" not in methods(full[0], tmp_path)
    assert "its coverage for these scans is unknown" not in render(report(made), tmp_path)


def test_precision_shows_the_units_of_its_measures():
    names = ("mean", "rms_sd", "rms_sd_ci_low", "rms_sd_ci_high", "lsc", "lsc_ci_low", "lsc_ci_high")
    row: dict = dict.fromkeys(names, 12.345)
    names = ("rms_cv_percent", "lsc_percent")
    row |= dict.fromkeys((f"{name}{end}" for name in names for end in ("", "_ci_low", "_ci_high")), 1.5)
    row |= {"enough": False, "undefined": ""}
    row |= {
        "group": "all",
        "network": "vnet",
        "protocol": "cv",
        "structure": "femur",
        "people": 3,
        "scans": 6,
        "degrees_of_freedom": 3,
    }
    lines = precision_view([row | {"measure": "predicted_mm3"}, row | {"measure": "mean_value"}], "HU").lines
    assert [line[0][0] for line in lines[1:]] == ["Predicted volume, cm³", "Mean intensity in the mask, HU"]
    assert [line[4][0] for line in lines[1:]] == ["0.01", "12.3"]
    assert lines[1][2] == ("3", "below 30") and lines[1][6][1] == "0.01 to 0.01"


def test_the_range_of_the_folds_is_that_of_their_r2():
    folds = pd.DataFrame(
        {"group": "all", "network": "vnet", "structure": "femur", "r2": [0.9, 0.98, np.nan, 0.97]}
    )
    (spread,) = fold_ranges(folds)
    assert (spread["low"], spread["high"], spread["mean"]) == (0.9, 0.98, pytest.approx(0.95))


def test_figures_offer_what_was_made_and_say_what_they_show(full):
    entry = {
        "name": "solid-vnet-test",
        "kind": "scores",
        "network": "vnet",
        "protocol": "test",
        "title": "Solid",
    }
    with_data = entry | {"csv": "solid-vnet-test.csv", "alt": "Two femurs."}
    old, new = figure_groups(report(full[0], figures=[entry, with_data]))[0]["figures"]
    assert (list(old["files"]), old["alt"]) == (["svg", "png"], "Solid")
    assert (new["files"]["csv"], new["alt"]) == ("results/figures/solid-vnet-test.csv", "Two femurs.")


def figure_of(kind, structure="", protocol="cv", **values):
    entry = {
        "kind": kind,
        "network": "vnet",
        "protocol": protocol,
        "structure": structure,
        "title": TITLES[kind],
    }
    name = "-".join(filter(None, (kind, protocol, structure)))
    return entry | {"name": name, "n": 20, "width": 740, "height": 350} | values


SPINE_FIGURES = [
    figure_of("solid", protocol=""),
    *(figure_of("measured_scans", name, protocol="", points=[["P000", 5, 6]]) for name in ("L1", "L2")),
    *(figure_of(kind, name) for name in ("L1", "L2", "L3") for kind in ("scores", "regression")),
    figure_of("readers", "L3"),
    figure_of("learning_curves", protocol=""),
]


def test_figures_of_several_structures_are_grouped_by_structure(full):
    general, cv = figure_groups(report(full[0], figures=SPINE_FIGURES))
    assert [figure["kind"] for figure in general["general"]] == ["solid", "learning_curves"]
    assert [part["structure"] for part in general["structures"]] == ["L1", "L2"]
    kinds = {part["structure"]: [figure["kind"] for figure in part["figures"]] for part in cv["structures"]}
    both = ["scores", "regression"]
    assert kinds == {"L1": both, "L2": both, "L3": [*both, "readers"]}
    captions = {(figure["kind"], figure["structure"]): figure["caption"] for figure in cv["figures"]}
    assert (
        captions["scores", "L2"] == "As above, for L2."
        and captions["regression", "L3"] == "As above, for L3."
    )
    # the first structure of a kind has its caption, whatever structures came before
    assert captions["scores", "L1"].startswith("Dice similarity coefficient")
    assert captions["readers", "L3"] not in ("", "As above, for L3.")


def test_structures_after_the_first_are_folded_on_a_screen(full, tmp_path):
    page = render(report(full[0], figures=SPINE_FIGURES), tmp_path)
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    text = section_of(page, "figures")
    folded = re.findall(
        r'<details class="print"( open)?><summary>([^<]*)</summary>(.*?)</details>', text, re.S
    )
    assert [(opened != "", words) for opened, words, _ in folded] == [
        (True, "Measures of every scan · L1"), (False, "Measures of every scan · L2"),
        (True, "L1: 2 figures"), (False, "L2: 2 figures"), (False, "L3: 3 figures"),
    ]  # fmt: skip
    assert [part.count('<div class="figures">') for *_, part in folded] == [1] * 5
    assert text.count("Each point opens the page of its scan") == 1
    assert "<b>Overlap with the reference · L2</b> (n = 20). As above, for L2." in text
    outside = re.sub(r"<details.*?</details>", "", text, flags=re.S)
    assert re.findall(r"<b>([^<]*)</b>", outside) == [TITLES["solid"], TITLES["learning_curves"]]


def test_figures_of_one_structure_are_not_folded(full, tmp_path):
    figures = [figure | {"structure": ""} for figure in SPINE_FIGURES if figure["structure"] in ("", "L1")]
    text = section_of(render(report(full[0], figures=figures), tmp_path), "figures")
    assert "<details" not in text and "As above" not in text
    assert text.count("<figcaption") == len(figures)


def test_points_of_figures_are_those_of_scans_with_a_page(full, tmp_path):
    entry = {"kind": "regression", "network": "vnet", "protocol": "test", "title": "Regression", "n": 2}
    entry |= {"width": 400, "height": 300}
    some = entry | {"name": "some", "points": [["P001", 5, 6], ["P000", 7, 8]]}
    none, many = entry | {"name": "none", "points": [["P001", 5, 6]]}, entry | {"name": "many", "points": []}
    assert figure_points([some, none, many], {"P000": "a.html"}) == {
        "scans": ["P000"],
        "figures": {"some": [[0, 7, 8]]},
    }
    text = section_of(render(report(full[0], figures=[some, none, many]), tmp_path), "figures")
    assert re.findall(r'data-points="(\w+)"', text) == ["some"]
    assert text.count("Each point opens the page of its scan") == 1
    assert text.count("Too many points to open one by one") == 1


def test_every_kind_of_figure_has_a_caption():
    captions = {path.stem for path in (REPORT_FOLDER / "captions").glob("*.rst")}
    assert set(TITLES) <= captions


def fold_run(network="vnet", structures=1, **entry):
    """The part of a run.json that the page reads; `entry` is one of config `networks`."""
    return {"group": "all", "network": network, "architecture": asdict(read_network(entry, structures))}


def methods(made, folder, *, runs=(), train=None, **settings):
    """The methods paragraphs as plain text, with changed keys of `train` and changed sections of the settings."""
    settings = SETTINGS | settings | {"train": SETTINGS["train"] | (train or {})}
    text = render(report(made, settings=settings, runs=runs), folder)
    block = text[text.index('id="methods-text">') :].split(">", 1)[1].split("</blockquote>")[0]
    plain = re.sub(r" \[[\d,]+\]", "", re.sub(r"<[^>]+>", "", block))
    return re.sub(r"\s+", " ", html.unescape(plain)).strip()


def test_methods_follow_the_configuration(full, tmp_path):
    said = methods(full[0], tmp_path, resample=SETTINGS["resample"] | {"method": "none"})
    assert "Slices were used as acquired" in said
    assert "Fourier" not in said
    assert (
        "for 1000 epochs. The loss was soft Dice, with an L2 term (α = 0.00001), minimised by Adam with a "
        "batch size of 1 and a constant learning rate of 0.0001. Training windows were changed at random by "
        "rotation (up to 15° about each axis), mirroring (y), a change of brightness (up to ±0.1), a change of gamma "
        "(0.7 to 1.5) and Gaussian noise (SD up to 0.02), each with a probability of 0.5." in said
    )
    assert "24 people (12 women, 12 men; 27 to 90+ years)" in said
    for unused in (
        "bias field",
        "at most",
        "made one update",
        "rose linearly",
        "running average",
        "ended early",
    ):
        assert unused not in said


def test_methods_tell_a_correction_of_the_bias_field(full, tmp_path):
    said = methods(full[0], tmp_path, bias_field={"method": "n4"})
    assert "Images were divided by their bias field, which was found by N4." in said


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"loss": "cross_entropy"}, "The loss was cross-entropy, with an L2 term"),
        (
            {"loss": "dice_cross_entropy", "bone_weight": 3.0, "l2_alpha": 0},
            "The loss was the sum of soft Dice and cross-entropy (each voxel of bone counted 3 times), minimised",
        ),
        (
            {"batch_size": 2, "accumulate": 4},
            "with a batch size of 2 (the gradients of 4 batches made one update of 8 windows) and a constant",
        ),
        (
            {"schedule": "cosine", "learning_rate": 0.005},
            "a batch size of 1 and a learning rate of 0.005 that fell to 0 along a cosine. Training",
        ),
        (
            {"schedule": "cosine", "warm_up": 0.07},
            "rose linearly over the first 7 % of the updates and fell to 0 along a cosine.",
        ),
        ({"warm_up": 0.1}, "over the first 10 % of the updates and was constant from then on."),
        (
            {"weight_average": 0.999},
            "Predictions used a running average of the weights (0.999 of it kept in each update).",
        ),
        ({"early_stop_epochs": 50}, "for at most 1000 epochs. The loss"),
        (
            {"early_stop_epochs": 50},
            "mean training loss of 50 epochs was no lower than that of the 50 before;",
        ),
        ({"samples_per_scan": 2}, "for 1000 epochs (2 windows of each scan in an epoch). The loss"),
        ({"window_slices": 1}, "windows of 1 axial slice at random positions"),
    ],
)
def test_methods_tell_how_the_networks_were_trained(full, tmp_path, train, words):
    said = methods(full[0], tmp_path, train=train)
    assert words in said
    assert not re.search(r"\(\s|\)\w|\s[.,;)]|[.,;]{2}", said)


def test_works_are_numbered_as_they_are_cited_and_listed_in_that_order(page):
    block = page[page.index('id="methods-text">') : page.index('<ol class="references"')]
    cited = [int(number) for mark in re.findall(r"\[([\d,]+)\]", block) for number in mark.split(",")]
    works = re.findall(r"<li>(.+?)</li>", page[page.index('<ol class="references"') :].split("</ol>")[0])
    assert list(dict.fromkeys(cited)) == list(range(1, len(works) + 1))
    # nobody was scanned twice, no volume has an interval, no bias field was corrected, another article is followed,
    # and there are no densities
    uncited = {"precision", "cv_plus", "n4", "deniz-2018", "fang-2021"}
    uncited |= {"michalski", "ctxa", "looker", "densenet", "adamw", "bca"}
    cited = {str(work) for name, work in REFERENCES.items() if name not in uncited}
    assert {html.unescape(work) for work in works} == cited


def test_a_work_keeps_its_number():
    citations = Citations()
    marks = [citations.cite("otsu"), citations.cite("adam", "otsu"), citations.cite("adam")]
    assert marks == ["[1]", "[2,1]", "[2]"]
    with pytest.raises(KeyError):
        citations.cite("unknown")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"dicom": {"correct_tilt": True, "resample_uneven": False}},
            "Gantry tilt was corrected",
        ),
        (
            {"dicom": {"correct_tilt": False, "resample_uneven": True}},
            "Unevenly spaced slices were interpolated",
        ),
        (
            {"measure": {"nsd_tolerance_mm": 2.0, "distal_cut_mm": 10}},
            "a plane 10 mm below the lesser trochanter",
        ),
        (
            {"measure": {"nsd_tolerance_mm": 2.0, "distal_cut_mm": None}},
            "both surfaces within 2 mm. Volumes were",
        ),
        (
            {"predict": SETTINGS["predict"] | {"z_padding": 16}},
            "by 1 slice (with 16 replicated slices at each end)",
        ),
        (
            {"predict": SETTINGS["predict"] | {"heldout_weights": "last"}},
            "each with its last weights, and test people also by the fold model",
        ),
        ({"seed": 77}, "derive from the seed 77."),
        (
            {"crop": SETTINGS["crop"] | {"method": "spine"}},
            "192 × 192 pixels around the column of vertebrae was located automatically, unless",
        ),
        ({"crop": SETTINGS["crop"] | {"method": "none"}}, "Whole images were used."),
    ],
)
def test_methods_tell_the_choices_of_the_configuration(full, tmp_path, changes, words):
    assert words in methods(full[0], tmp_path, **changes)


def test_methods_with_repeated_scans_cite_how_precision_is_measured(full, tmp_path):
    volumes = full[0]["volumes"]
    repeats = volumes.assign(repeat_of=volumes["scan"], scan=volumes["scan"] + "b", predicted_mm3=9e4)
    both = pd.concat([volumes, repeats], ignore_index=True)
    precision = precision_table(full[0]["metrics"], both, CONFIG)
    said = methods(full[0] | {"volumes": both, "precision": precision}, tmp_path)
    assert "root mean square over people. The settings are" in said


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((24, 12, 12, ["27"] * 23 + ["90+"]), "12 women, 12 men; 27 to 90+ years"),
        ((1, 1, 0, ["45"]), "1 woman; 45 years"),
        ((5, 2, 1, ["30", "60"]), "2 women, 1 man, 2 of unstated sex; 30 to 60 years, age of 3 not stated"),
        ((3, 0, 0, []), "sex not stated"),
    ],
)
def test_people_are_told_as_far_as_they_are_known(counts, words):
    assert people_text(*counts) == words


def test_people_are_those_whose_scans_were_accepted(full):
    flow = full[0]["flow"].copy()
    flow.loc[flow["scan"] == "P001", "stage"] = "cropped"
    told = accepted_people(flow)
    assert (told["count"], told["scans"], told["unpredicted"]) == (24, 24, 1)
    assert told["sets"] == {"train": 20, "test": 4, "later": 0, "external": 0, "apply": 0}


def in_sets(made, **sets):
    """The tables with the sets of some scans changed."""
    flow = made["flow"]
    return made | {"flow": flow.assign(set=flow["scan"].map(sets).fillna(flow["set"]))}


def test_methods_count_everybody_who_was_not_trained_on(full, tmp_path):
    apart = in_sets(full[0], P000="later", P001="external", P010="apply")
    assert (
        "Of these, 2 test people were set aside (drawn within each sex, unless chosen in the cohort table); 19 "
        "people with a reference entered 10-fold cross-validation"
    ) in methods(apart, tmp_path)
    assert (
        "Of the others, 1 with a reference was added after the draw or kept out of it (later people); 1 with a "
        "reference was from another institution (external); 1 without a reference was measured only."
    ) in methods(apart, tmp_path)


def test_methods_name_no_people_that_are_not_there(full, tmp_path):
    everybody = dict.fromkeys((f"P{number:03d}" for number in range(24)), "train")
    said = methods(in_sets(full[0], **everybody), tmp_path)
    assert "with its last weights. Overlap" in said
    said = said.split("Zhao")[0]
    assert not re.search("test people|later|external|Of the others|all other people|not predicted", said)
    both = methods(full[0], tmp_path)
    assert (
        "best validation Dice, and test people also by the fold model with the best validation Dice." in both
    )


def test_a_study_without_test_people_is_complete_without_them(tmp_path):
    metrics, volumes, _ = tables(24, 0)
    placed = people(24, 0)
    scans = [row | {"verdict": "ok", "reason": "", "explanation": "", "has_mask": "1"} for row in placed]
    settings = SETTINGS | {"folds": SETTINGS["folds"] | {"test_fraction": 0}}
    figure = {"kind": "scores", "network": "vnet", "protocol": "cv", "title": "Overlap"}
    shown = report(
        study_tables(metrics, volumes, scans, placed), settings=settings, screened=[accepted("P000")],
        figures=[figure | {"name": "scores-vnet-cv", "n": 24, "width": 740, "height": 350}],
    )  # fmt: skip
    page = render(shown, tmp_path)
    said = " ".join(
        html.unescape(re.sub(r"<[^>]+>", "", page.split("<main>")[1].split("</main>")[0])).split()
    )
    assert (
        "all 24 people with a reference entered 10-fold cross-validation by person, balanced for sex and age; the "
        "groups (all, male, female) shared one split; nobody was held out as a test person. Convolutional"
    ) in said
    assert said.count("its model was selected on its test people. Here nobody was held out: each person") == 1
    assert said.count("test pe") == 2  # only in these two sentences
    assert not re.search("Test|ensemble of folds|all other people|is unknown|No scan|No person", said)
    assert "Table 1. Volumes of the cross-validated people" in said
    assert "24 cross-validated people, each predicted by the fold model that was not trained on them" in said
    assert "Cross-validated people have no interval, because it is computed from their errors." in said
    for name in ("numbers", "partitions", "overlap", "agreement", "papers", "figures", "ages"):
        assert re.search("<(table|dl|figure)", section_of(page, name)), name


def test_methods_tell_of_accepted_scans_without_a_prediction(full, tmp_path):
    flow = full[0]["flow"].copy()
    flow.loc[flow["scan"].isin(["P001", "P002"]), "stage"] = "converted"
    assert "2 scans were accepted but not predicted." in methods(full[0] | {"flow": flow}, tmp_path)


@pytest.mark.parametrize(
    ("resample", "words"),
    [
        ({"inplane_mm": 0.75}, "in-plane spacing was set to 0.75 mm by averaging."),
        ({"method": "none", "inplane_mm": 0.75}, "used as acquired; in-plane spacing was set to 0.75 mm"),
        (
            {"thickness_mm": 2.25, "method": "area"},
            "were converted to 2.25 mm by exact slab averaging, starting",
        ),
        (
            {},
            "Slices of another thickness were converted to 3 mm by Fourier interpolation and averaging if three",
        ),
    ],
)
def test_methods_tell_how_slices_were_resampled(full, tmp_path, resample, words):
    assert words in methods(full[0], tmp_path, resample=SETTINGS["resample"] | resample)


def test_cross_validation_is_explained_where_there_is_one(full, tmp_path, page):
    words = "pools the out-of-fold people"
    assert words in section_of(page, "definitions")
    nothing = full[0]["folds"].iloc[:0]
    assert words not in section_of(render(report(full[0] | {"folds": nothing}), tmp_path), "definitions")


def test_an_sd_of_one_scan_is_a_dash_with_its_reason():
    assert deviation(0.0125, 3) == "± 0.013"
    assert "one scan has no SD" in deviation(None, 3)
    assert "±" not in deviation(np.nan, 3)


def test_methods_tell_what_a_review_left_out(full, tmp_path):
    reviews = {"A": {"verdict": "rejected"}, "B": {"verdict": "accepted"}, "C": {"verdict": "rejected"}}
    text = render(report(full[0], reviews=reviews), tmp_path)
    assert "2 scans were excluded after a visual review" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "rotation (up to 15° about each axis), mirroring (y), a change of brightness (up to ±0.1), a change of",
        ),
        (
            {"rotation_degrees": 0, "mirror_axes": [], "gamma": [1.0, 1.0], "noise_sd": 0},
            "by a change of brightness (up to ±0.1), each",
        ),
        ({"probability": 0.0}, "Training windows were not changed at random."),
    ],
)
def test_augmentation_is_told_as_it_was_done(changes, words):
    assert words in augmentation_text(SETTINGS["train"]["augment"] | changes)


def test_methods_describe_the_networks_that_were_trained(full, tmp_path):
    plane = {"initial_maps": 16, "levels": 3, "dimensions": 2, "normalisation": "batch"}
    short = {"unet-2d": {"unet": plane}, "unused": {"unet": plane | {"dimensions": 3}}}
    runs = [fold_run(), fold_run(), fold_run("unet-2d", **short["unet-2d"])]
    said = methods(full[0], tmp_path, runs=runs, networks=SETTINGS["networks"] | short)
    assert (
        "Network unet-2d: 2-D; encoder of 3 levels with 16, 32 and 64 feature maps and 2, 2 and 2 convolutions (3×3, "
        "zero-padded), each followed by batch normalisation and ReLU; max-pooling by 2 between levels; decoder with "
        "a transposed convolution (2×2, stride 2)"
    ) in said
    assert said.count("Network vnet: 3-D; encoder of 4 levels") == 1
    assert "unused" not in said


def test_methods_leave_out_networks_that_no_run_describes(full, tmp_path):
    said = methods(full[0], tmp_path, networks={"unet-2d": {"unet": {"initial_maps": 16, "levels": 3}}})
    assert "networks of the V-Net/U-Net kind were trained" in said
    assert "unet-2d" not in said


def test_methods_of_finished_models_claim_no_training(full, tmp_path):
    apart = full[0]["flow"].assign(set="apply")
    said = methods(full[0] | {"flow": apart}, tmp_path, runs=[fold_run()])
    assert (
        "Existing models were used without further training. Network vnet: 3-D; encoder of 4 levels" in said
    )
    assert "initial" not in said and "train.epochs" not in methods(
        full[0] | {"flow": apart}, tmp_path, runs=[fold_run()], train={"epochs": 1}
    )
    assert "All people were predicted by the mean probability of all folds" in said
    assert "ross-validation" not in said


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {"residual": True},
            "without normalisation, and a shortcut around the convolutions of each level; max",
        ),
        ({"bottleneck_dilation": 4}, "zero-padded, those of the last level with a dilation of 4), each"),
        ({"skip": "add"}, "whose output is added to the encoder’s maps"),
        ({"activation": "leaky_relu"}, "each followed by leaky ReLU (slope 0.01), without normalisation"),
        ({"normalisation": "instance"}, "each followed by instance normalisation and ReLU; max"),
        ({"dropout": 0.0}, "deepest level first; 1×1×1 convolution to 1 map and a sigmoid"),
        ({"structures": 4}, "1×1×1 convolution to 5 maps and a softmax"),
        ({"transposed_kernel": 2}, "a transposed convolution (2×2×2, stride 2)"),
    ],
)
def test_each_choice_of_a_network_is_told(entry, words):
    said = network_texts([fold_run(), fold_run("other", **entry)])
    assert words in said["other"] and words not in said["vnet"]


def grid_runs():
    """Runs of a U-Net, seven of other sizes, and one of another kind."""
    shapes = expand_grid(GridConfig(dimensions=[2, 3], initial_maps=[4, 8], levels=[2, 3])) | {
        "vnet": SETTINGS["networks"]["vnet"]
    }
    return [
        {"group": "all", "network": name, "architecture": asdict(read_network(entry, 1)), "parameters": 1000}
        for name, entry in shapes.items()
    ]


def test_of_many_networks_the_layers_of_a_kind_are_told_once():
    said = network_texts(grid_runs())
    assert len(said) == 9
    assert [name for name, words in said.items() if "zero-padded" in words] == [
        "unet2d-f4-l2",
        "unet3d-f4-l2",
        "vnet",
    ]
    assert said["unet3d-f8-l3"] == (
        "3-D, 1,000 parameters; layers as in unet3d-f4-l2, with 8, 16 and 32 feature maps and a dilation of 1 in the "
        "last level"
    )


def test_many_networks_stand_in_one_table_a_protocol(full, tmp_path):
    runs = grid_runs()
    names = [run["network"] for run in runs]
    made = full[0] | {
        table: pd.concat([full[0][table].assign(network=name) for name in names], ignore_index=True)
        for table in ("metrics", "volumes", "scores", "agreement", "levels")
    }
    figures = [
        {"name": f"scores-{name}-cv", "kind": "scores", "network": name, "protocol": "cv", "title": "Overlap"}
        | {"n": 20, "width": 740, "height": 350}
        for name in names
    ]
    figures += [
        row | {"name": f"learning-curves-{row['network']}", "kind": "learning_curves", "protocol": ""}
        for row in figures
    ]
    shown = report(made, runs=runs, figures=figures)
    page = render(shown, tmp_path)
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    numbers = section_of(page, "numbers")
    assert 'class="card"' not in numbers and "owes its place partly to chance" in numbers
    assert re.findall("<caption><span>([^<]*)<", numbers) == [
        f"{PROTOCOLS[name].title}: all networks" for name in ("test", "cv", "test-single")
    ]
    assert re.findall('<th scope="row">([^<]*)<', numbers) == names * 3
    shown_figures = section_of(page, "figures")
    assert shown_figures.count("<summary>1 figure</summary>") == len(names)
    (curves,) = re.findall("<summary>Overlap, 9 networks</summary>.*?</details>", shown_figures, re.S)
    assert re.findall("<b>Overlap, (.*?)</b>", curves) == names
    methods_text = section_of(page, "methods")
    assert "networks.dimensions 2 (in place of 3)" in methods_text
    assert "networks.channels 4-8 or 4-8-16 or 8-16 or 8-16-32 (in place of 32-64-128-256)" in methods_text
    # long tables show a part and scroll
    assert section_of(page, "overlap").count('class="scroll tall"') == 4


def test_every_layer_of_the_network_is_told():
    run = fold_run() | {"parameters": 8_601_409}
    assert network_texts([run])["vnet"] == (
        "3-D, 8,601,409 parameters; encoder of 4 levels with 32, 64, 128 and 256 feature maps and 1, 2, 3 and 3 "
        "convolutions (3×3×3, zero-padded), each followed by ReLU, without normalisation; max-pooling by 2 between "
        "levels; decoder with a transposed convolution (3×3×3, stride 2) to each upper level, whose output is "
        "concatenated with the encoder’s maps from before the pooling and goes through 2, 2 and 2 such convolutions, "
        "deepest level first; dropout of 20 % of the maps, 1×1×1 convolution to 1 map and a sigmoid"
    )


def test_methods_tell_initialisation_validation_precision_and_tests(full, tmp_path):
    runs = [
        fold_run() | {"precision": precision, "device": "cpu"} for precision in ("float32", "bf16", "bf16")
    ]
    said = methods(full[0], tmp_path, runs=runs)
    for words in (
        "windows of 32 axial slices at random positions in the scans (padded with air if a scan is shorter) for",
        "After every 10 epochs and the last, the scans of the fold's validation people were predicted whole (windows "
        "moved by 8 slices, cut at 0.5); the weights with the highest mean Dice are called the best weights.",
        "variance 2/fan-in, biases set to 0; then each layer was scaled so that every feature map had mean 0 and SD "
        "1 over four training windows, and the logits a mean of −2.",
        "Networks were computed in bf16 (weights, loss and updates in float32) or float32 on CPUs.",
        "compared by Wilcoxon's signed-rank test. P-values are two-sided",
    ):
        assert words in said
    assert INITIAL_WINDOWS == 4 and START_LOGIT == -2.0 and NORMALISED_GROUPS == 8  # as the words say
    assert "After every epoch and the last" in methods(full[0], tmp_path, train={"validate_every": 1})
    assert "Networks were computed" not in methods(full[0], tmp_path, runs=[fold_run()])


def test_nothing_follows_the_article_that_does_not(full, tmp_path):
    assert "The settings are Osteoflow’s reading of Zhao et al. (2020). In any case" in methods(
        full[0], tmp_path, runs=[fold_run()]
    )
    small = fold_run("small", channels=[8, 16, 32, 64])
    said = methods(full[0], tmp_path, runs=[fold_run(), small], train={"epochs": 60, "batch_size": 2})
    assert (
        "This is not the protocol of Zhao et al. (2020): networks.small.channels 8-16-32-64 (in place of "
        "32-64-128-256); train.epochs 60 (in place of 1000). Of the settings that Osteoflow chose itself, "
        "these differ: train.batch_size 2 (in place of 1). In any case Osteoflow departs from the article: the window"
    ) in said
    assert "follow" not in said.split("Zhao et al.")[1]


def test_every_loss_has_words():
    words = {loss_text({"loss": loss, "bone_weight": 1.0}) for loss in LOSSES}
    assert words == {"soft Dice", "cross-entropy", "the sum of soft Dice and cross-entropy"}
