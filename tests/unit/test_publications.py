"""Articles that a study can follow: which one, what they printed, and that other studies show nothing of them."""

import html
import re

import pytest
import yaml

from lib.catalog.anatomies import ANATOMIES
from lib.catalog.measures import MEASURES
from lib.catalog.modalities import MODALITIES
from lib.catalog.stages import STAGES
from lib.errors import ConfigError
from lib.figures.gallery import TITLES
from lib.pages.references import REFERENCES
from lib.pages.report import figure_groups, sections_of
from lib.pages.templates import REPORT_FOLDER
from lib.publications.article import score_rows
from lib.publications.deniz_2018 import DENIZ_2018
from lib.publications.followed import AUTO, NONE, PUBLICATIONS, followed_publication
from lib.publications.zhao_2020 import ZHAO_2020
from tests.unit.study_tables import people, tables
from tests.unit.test_report import SETTINGS, render, report, study_tables

SCHEMA = yaml.safe_load((REPORT_FOLDER.parent / "schemas/config.schema.yaml").read_text(encoding="utf-8"))
OF_ZHAO = re.compile(r"Zhao|as in the paper|docs/zhao|2006\.05513|Table 1|Table 2")


def settings(publication=AUTO, anatomy="proximal-femur", modality="CT"):
    return {"publication": publication, "anatomy": anatomy, "screening": {"modality": modality}}


@pytest.mark.parametrize(
    ("given", "followed"),
    [
        (settings(), ZHAO_2020),
        (settings("zhao-2020"), ZHAO_2020),
        (settings(NONE), None),
        (settings(modality="MR"), DENIZ_2018),
        (settings(anatomy="generic"), None),
        (settings(anatomy="generic", modality="MR"), None),
    ],
)
def test_a_study_follows_the_article_on_its_anatomy_and_modality(given, followed):
    assert followed_publication(given) is followed


@pytest.mark.parametrize("given", [settings("zhao-2020", modality="MR"), settings("deniz-2018", "generic")])
def test_an_article_on_another_anatomy_or_modality_is_refused(given):
    with pytest.raises(
        ConfigError, match=f"publication: {given['publication']} is about .* set publication: auto"
    ):
        followed_publication(given)


def test_articles_are_known_everywhere_by_the_same_names():
    assert SCHEMA["properties"]["publication"]["enum"] == [AUTO, NONE, *PUBLICATIONS]
    assert SETTINGS["publication"] == AUTO
    assert {stage.publication for stage in STAGES.values()} - {""} <= set(PUBLICATIONS)
    for name, publication in PUBLICATIONS.items():
        assert publication.name == name and REFERENCES[name] == publication.reference
        assert publication.anatomy in ANATOMIES and publication.modality in MODALITIES
        assert set(publication.figures) <= set(TITLES)


def test_the_abstracts_of_deniz_are_told_as_printed():
    rows = score_rows(DENIZ_2018)
    told = {(row["version"], row["measure"]): (row["mean"], row["spread"]) for row in rows}
    first, second, last = dict.fromkeys(row["version"] for row in rows)
    assert told == {
        (first, "dsc"): (0.95, None),
        (second, "dsc"): (0.94, 0.05),
        (second, "precision"): (0.95, 0.02),
        (second, "sensitivity"): (0.94, 0.08),
        (last, "dsc"): (0.95, 0.02),
        (last, "precision"): (0.95, 0.02),
        (last, "sensitivity"): (0.95, 0.03),
    }
    assert [row["data"] for row in rows] == ["62 scans", *["86 people"] * 6]
    assert {row["printed_as"] for row in rows if row["measure"] == "sensitivity"} == {"recall"}
    assert all(row["measure"] in MEASURES and row["publication"] == "Deniz et al. 2018" for row in rows)
    assert all("abstract" in row["source"] and "abstract" in row["remark"] for row in rows)
    won = {row["version"]: "no longer" not in row["remark"] for row in rows if "exceeded" in row["remark"]}
    assert won == {second: True, last: False}


def test_of_zhao_only_table_1_and_2_are_told():
    assert score_rows(ZHAO_2020) == []


def figures():
    known = {"network": "vnet", "protocol": "test", "title": "A figure", "n": 4, "width": 9, "height": 9}
    return [known | {"kind": kind, "name": f"{kind}-vnet-test"} for kind in TITLES]


@pytest.mark.parametrize("publication", [AUTO, NONE])
def test_captions_name_the_articles_figure_only_if_the_study_follows_it(publication):
    data = report({}, figures=figures(), settings=SETTINGS | {"publication": publication})
    shown = {
        figure["kind"]: figure["caption"] for group in figure_groups(data) for figure in group["figures"]
    }
    after = {kind: re.findall(r" After (.*?), Figure (\d)\.$", caption) for kind, caption in shown.items()}
    told = {kind: int(found[0][1]) for kind, found in after.items() if found}
    assert told == ({} if publication == NONE else dict(ZHAO_2020.figures))
    if publication == AUTO:
        assert shown["relative_error"].endswith("in every group. After Zhao et al. 2020, Figure 7.")


def test_captions_on_file_name_no_article():
    for kind in TITLES:
        assert not OF_ZHAO.search((REPORT_FOLDER / f"captions/{kind}.rst").read_text(encoding="utf-8")), kind


def test_a_report_that_follows_no_article_shows_nothing_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics, volumes, _ = tables(14, 3)
    placed = people(14, 3)
    fine = {"verdict": "ok", "reason": "", "explanation": "", "has_mask": "1"}
    made = study_tables(metrics, volumes, [person | fine for person in placed], placed)
    followed = html.unescape(render(report(made, figures=figures()), tmp_path))
    assert OF_ZHAO.search(followed) and "as deduced from Zhao’s Table 1. " in followed
    assert "and no fitted line. Zhao 2020 gives no formula;" in followed
    free = {name: table for name, table in made.items() if name not in ("table1", "table2")}
    alone = report(free, figures=figures(), settings=SETTINGS | {"publication": NONE})
    text = html.unescape(render(alone, tmp_path))
    assert OF_ZHAO.findall(text) == []
    assert "and no fitted line. It is not the square" in text
    assert "population SD (ddof 0). <b>SD</b>" in text and "on the network’s grid.</p>" in text


def test_only_an_article_with_tables_has_a_section():
    names = [dict(sections_of(one, ())) for one in (ZHAO_2020, DENIZ_2018, None)]
    assert ["papers" in own for own in names] == [True, False, False]


def test_only_a_study_of_several_networks_has_their_section():
    assert "networks" in dict(sections_of(None, ["networks"]))
    assert "networks" not in dict(sections_of(None, ()))
