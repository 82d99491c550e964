"""The report: honest about what is missing, escaped, offline, each number with its n."""

import html.parser
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lib.stats.agreement import AgreementConfig
from lib.stats.page import (
    FLAG_MEANINGS,
    MOST_ROWS,
    PROTOCOLS,
    REPORT_FOLDER,
    TABLES,
    ReportData,
    acquisition_rows,
    build_context,
    show_interval,
    show_number,
    show_p_value,
    summarize_flow,
    table1_rows,
    write_page,
)
from lib.stats.tables import (
    VOLUME_COLUMNS,
    age_table,
    agreement_table,
    flow_table,
    fold_table,
    paired_table,
    read_table,
    table1,
    write_table,
)
from tests.unit.study_tables import no_metrics, people, tables

CONFIG = AgreementConfig(bootstrap=50)
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
    return {
        "scan": scan,
        "verdict": "ok",
        "reasons": [],
        "geometry": geometry,
        "acquisition": acquisition | values,
    }


def study_tables(metrics, volumes, scans, placed, *, synthetic=False):
    agreement = agreement_table(metrics, CONFIG)
    through = {
        name: [row["scan"] for row in placed] for name in ("converted", "cropped", "predicted", "scored")
    }
    made = {
        "metrics": metrics,
        "volumes": volumes,
        "agreement": agreement,
        "folds": fold_table(metrics, CONFIG),
        "paired": paired_table(metrics, CONFIG),
        "ages": age_table(metrics),
        "table1": table1(agreement, metrics, synthetic=synthetic),
        "flow": flow_table(
            pd.DataFrame(scans), pd.DataFrame(placed, columns=["scan", "set", "fold"]), through
        ),
    }
    assert set(made) == set(TABLES)
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
        "model": "vnet",
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
        "contours": {"all/vnet/ensemble/P000": "results/contours/all/vnet/ensemble/P000.webp"},
        "screened": [accepted("P000"), REJECTED],
        "settings": SETTINGS,
        "provenance": {"Osteoflow": "0.1.0"},
    }
    return ReportData(**(defaults | values))


def render(data, folder):
    page = folder / "results" / "report" / "index.html"
    write_page(data, page)
    return page.read_text(encoding="utf-8")


class Checker(html.parser.HTMLParser):
    """Collects links and ids, and checks that tags close in order."""

    VOID = {"meta", "link", "br", "img"}

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
        "../contours/all/vnet/ensemble/P000.webp",
    }


def test_the_page_needs_no_network(page):
    assert not re.search(r"https?:|//cdn|@import|url\(", page)


def test_pictures_of_test_people_are_open_and_others_small(full, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = full[0]["metrics"].query("cohort == 'all' and protocol == 'cv'").sort_values("dsc")
    keys = ["/".join(key) for key in metrics[["cohort", "model", "members", "scan"]].itertuples(index=False)]
    text = render(report(full[0], contours={key: f"results/contours/{key}.webp" for key in keys}), tmp_path)
    shown = re.findall(
        r'<a href="\.\./contours/(.+?)\.webp"><img src="\.\./contours/(.+?)-small\.webp"', text
    )
    assert shown == [(key, key) for key in keys]


def test_text_from_tables_is_escaped(page):
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Hips &lt;of&gt; 2020" in page


def test_protocols_are_explained_and_carry_their_people(page):
    for protocol, count in (("cv", 20), ("test", 4), ("test-single", 4)):
        name, who = PROTOCOLS[protocol]
        card = re.search(rf"<h3>{name}: n = (\d+)</h3>\s*<p class=\"who\">{re.escape(who)}; ([^.]*)\.", page)
        assert int(card.group(1)) == count
        assert ("last weights" in card.group(2)) == (protocol == "cv")


def test_a_synthetic_cohort_is_announced_and_stands_beside_no_paper(full, tmp_path):
    metrics, volumes, _ = tables(24, 4)
    made = study_tables(metrics, volumes, full[1], full[2], synthetic=True)
    text = render(report(made, synthetic=True), tmp_path)
    assert "Synthetic cohort." in text
    assert "not accuracy in people" in re.sub(r"\s+", " ", text)
    assert 'class="paper"' not in text
    assert "89,999.59" not in text


def test_a_real_cohort_stands_beside_the_paper(page):
    assert "Synthetic cohort." not in page
    assert page.count('class="paper"') == 3
    assert "89,999.59 ± 21,325.23" in page
    assert "not stated in the paper" in page  # the number of people


def test_notes_stand_at_the_top_only_if_there_are_any(full, tmp_path, page):
    text = render(report(full[0], notes=["fold 3 of all/vnet is not trained"]), tmp_path)
    assert text.index("fold 3 of all/vnet is not trained") < text.index("<main>")
    assert "Read this first" not in page


def test_a_rejected_scan_says_what_was_found_and_what_to_do(page):
    section = page[page.index('id="refused"') : page.index('id="acquisition"')]
    assert "missing slices" in section
    assert "export the series again" in section
    assert "no kernel" not in section


def test_tables_read_back_from_files_give_the_same_page(full, tmp_path, page):
    again = {}
    for name, table in full[0].items():
        write_table(table, tmp_path / f"{name}.csv")
        again[name] = read_table(tmp_path / f"{name}.csv")
    assert render(report(again), tmp_path) == page


def test_a_study_where_nothing_ran_still_has_a_page(tmp_path):
    scans = [people(1, 0)[0] | {"verdict": "missing", "reason": "not_screened", "explanation": "see the log"}]
    made = study_tables(no_metrics(), pd.DataFrame(columns=list(VOLUME_COLUMNS)), scans, [])
    text = render(report(made, figures=[], contours={}, screened=[]), tmp_path)
    for said in (
        "nothing to score",
        "no scored test people",
        "No figures",
        "No scan has been scored",
        "see the log",
    ):
        assert said in text
    assert not re.search(r"[>\s]nan[<\s]", text.lower())
    again = {}
    for name, table in made.items():
        write_table(table, tmp_path / f"{name}.csv")
        again[name] = read_table(tmp_path / f"{name}.csv")
    assert render(report(again, figures=[], contours={}, screened=[]), tmp_path) == text


def test_a_missing_value_is_a_dash_that_says_why(full, tmp_path):
    made = dict(full[0])
    metrics = made["metrics"].copy()
    metrics.loc[metrics.index[0], ["hd95_mm", "undefined"]] = [np.nan, "hd95_mm: the predicted mask is empty"]
    text = render(report(made | {"metrics": metrics}), tmp_path)
    assert '<span class="none" title="hd95_mm: the predicted mask is empty">–</span>' in text
    assert str(show_number(None, why='"odd"')) == '<span class="none" title="&#34;odd&#34;">–</span>'


def test_flags_are_explained_where_they_occur(full, tmp_path):
    made = dict(full[0])
    volumes = made["volumes"].assign(flags="")
    shown = ["flags", "member_dice", "mean_entropy_bits"]
    volumes.loc[volumes.index[0], shown] = ["members_disagree no_kernel", 0.8125, 0.375]
    text = render(report(made | {"volumes": volumes}), tmp_path)
    section = text[text.index("<h3>Flags</h3>") : text.index('id="acquisition"')]
    assert '<td class="n">0.8125</td><td class="n">0.375</td>' in section
    explained = re.findall(r"<p><b>(.+?)</b>: ", section)
    assert explained == ["Members disagree", "No kernel"]
    assert "predict.review_member_dice" in section
    assert "Use a kernel" in section  # the action that screening names


def test_every_flag_of_crop_threshold_and_prediction_has_a_meaning():
    lib = REPORT_FOLDER.parent / "lib" / "imaging"
    raised = set()
    for name in ("crop", "otsu"):
        block = re.search(r"raised = \{(.+?)\n    \}", (lib / f"{name}.py").read_text(encoding="utf-8"), re.S)
        raised |= set(re.findall(r'"(\w+)":', block.group(1)))
    assert {"padded", "otsu_undefined"} < raised
    assert raised | {"members_disagree"} == set(FLAG_MEANINGS)


def test_numbers_are_written_as_papers_write_them():
    assert show_number(-1234.567, 1) == "\N{MINUS SIGN}1,234.6"
    assert show_interval({"r2_ci_low": 0.9, "r2_ci_high": 0.99}, "r2", 2) == "0.90 to 0.99"
    assert "no interval" in show_interval({"r2_ci_low": None, "r2_ci_high": np.nan}, "r2")
    assert (show_p_value(0.0004), show_p_value(0.0417)) == ("< 0.001", "0.042")


def test_flow_counts_what_is_left_and_what_was_lost(full):
    steps = {step["stage"]: step for step in summarize_flow(full[0]["flow"])}
    assert (steps["listed"]["scans"], steps["screened"]["scans"], steps["converted"]["scans"]) == (26, 25, 24)
    assert steps["listed"]["reasons"] == [("excluded", 1)]
    assert steps["screened"]["reasons"] == [("missing slices", 1)]
    assert (steps["scored"]["scans"], steps["scored"]["stopped"]) == (24, 0)


def test_the_papers_row_follows_ours(full):
    rows = [(row["cohort"], row["source"]) for row in table1_rows(full[0]["table1"])]
    ours = [("all", "this study")] * 2 + [("all", "Zhao 2020")]
    assert rows[:3] == ours
    assert len(rows) == 9


def test_acquisitions_are_grouped_with_their_ranges():
    screened = [accepted("a", 0.742), accepted("b", 0.977), accepted("c", kernel="B60f", kvp=None), REJECTED]
    soft, hard = acquisition_rows(screened)
    assert (soft["scans"], soft["pixel_mm"], soft["slice_mm"], soft["kvp"]) == (
        2,
        "0.742 to 0.977",
        "2.00",
        "120",
    )
    assert (hard["kernel"], hard["kvp"], hard["contrast"]) == ("B60f", "not stated", "not stated")


def test_a_large_study_keeps_the_page_small(full):
    made = dict(full[0])
    many = pd.concat([made["metrics"]] * (MOST_ROWS // len(made["metrics"]) + 1), ignore_index=True)
    context = build_context(report(made | {"metrics": many}))
    assert len(context["scores"]) == MOST_ROWS
    assert context["score_count"] == len(many)
    dice = [row["dsc"] for row in context["scores"]]
    assert dice == sorted(dice)


def test_every_kind_of_figure_has_a_caption():
    source = Path(REPORT_FOLDER.parent / "lib" / "stats" / "figures.py").read_text(encoding="utf-8")
    kinds = set(re.findall(r'figures\["(\w+)"\] =|"kind": "(\w+)"', source))
    named = {name for pair in kinds for name in pair if name}
    assert named
    assert named <= {path.stem for path in (REPORT_FOLDER / "captions").glob("*.rst")}


def test_methods_follow_the_configuration(full, tmp_path):
    settings = SETTINGS | {"resample": SETTINGS["resample"] | {"method": "none"}}
    text = render(report(full[0], settings=settings), tmp_path)
    methods = re.sub(r"\s+", " ", text[text.index('id="methods-text"') :])
    assert "Slices were used as acquired" in methods
    assert "Fourier" not in methods
    assert "1000 epochs" in methods
    assert "24 people (12 women, 12 men; 27 to 90+ years)" in methods
