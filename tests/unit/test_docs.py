"""The documentation: its pages, generated parts, links, and the site."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from lib.checked_study import Typed, read_study

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
EXAMPLE = "studies/hips.yaml"  # the overlay that a reader writes
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")
LOADED = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?(?:https?:)?//", re.IGNORECASE)


def program(name):
    """Return a program of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look the module up there
    spec.loader.exec_module(module)
    return module


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags name Python objects."""


Loader.add_multi_constructor("", lambda loader, suffix, node: None)


def navigation(entries):
    for entry in entries:
        (content,) = entry.values()
        yield from [content] if isinstance(content, str) else navigation(content)


def test_columns_page_is_what_the_code_makes():
    assert program("columns").columns_page() == (DOCS / "results-columns.md").read_text(encoding="utf-8")


def test_a_column_without_a_sentence_and_a_sentence_without_a_column_are_found():
    columns = program("columns")
    sentences, tables = columns.read_sentences(), columns.table_columns()
    assert columns.find_problems(sentences, tables) == []
    more = tables | {"tables/flow.csv": (*tables["tables/flow.csv"], "density_mg_cm3")}
    assert columns.find_problems(sentences, more) == [
        "tables/flow.csv: column density_mg_cm3 has no sentence"
    ]
    fewer = {name: names for name, names in tables.items() if name != "tables/coverage.csv"}
    assert "there is no table tables/coverage.csv" in columns.find_problems(sentences, fewer)
    shorter = tables | {
        "tables/coverage.csv": [name for name in tables["tables/coverage.csv"] if name != "wide"]
    }
    assert columns.find_problems(sentences, shorter) == [
        "tables/coverage.csv has no column wide",
        "types and units: no column wide",
    ]


def test_ends_of_intervals_explain_themselves():
    columns = program("columns")
    explain = lambda name: columns.explain_column("tables/agreement.csv", name, columns.read_sentences())  # noqa: E731
    assert explain("ccc_ci_low") == "Lower end of the interval of `ccc`."
    assert explain("ccc_fold_ci_high").startswith(
        "Upper end of the interval of `ccc`, for models trained this way"
    )


def test_drawings_are_what_the_code_makes():
    drawings = program("drawings")
    for name, content in drawings.drawings().items():
        assert content == (DOCS / "images" / name).read_text(encoding="utf-8"), "run python docs/drawings.py"
    packages = {path.parent.name for path in (ROOT / "lib").glob("*/__init__.py")}
    assert set(drawings.PACKAGES) == packages


def test_the_rules_of_the_chain_are_drawn_by_their_names():
    rules = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk"))
    drawn = [title for _, _, title, _, kind in program("drawings").CHAIN if kind != "person"]
    for title in drawn:
        assert re.search(rf"^(rule|checkpoint) {title.removesuffix('…')}\w*:", rules, re.M), title


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_every_page_is_in_the_navigation():
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]
    named = list(navigation(nav))
    assert sorted(named) == [page.name for page in PAGES] and len(named) == len(set(named))


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target, _ in LINK.findall(page.read_text(encoding="utf-8")):
        assert not target or (page.parent / target).exists(), target


def test_commands_and_files_that_pages_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for page in [ROOT / "README.md", *PAGES]:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", code_of(text), re.M):
            assert target in targets, f"{page.name}: make {target}"
        for module in re.findall(r"-m (lib\.[a-z._]+)", text):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), (
                f"{page.name}: {module}"
            )
        for path in re.findall(r"`((?:lib|docs|bench|studies|profiles|container)/[\w./-]+\.\w+)`", text):
            assert (ROOT / path).exists() or path == EXAMPLE, f"{page.name}: {path}"


def code_of(text):
    """Return the code on a page: blocks, and words between backticks."""
    blocks = re.findall(r"```.*?```", text, re.S)
    return "\n".join([*blocks, *re.findall(r"`[^`\n]+`", re.sub(r"```.*?```", "", text, flags=re.S))])


def test_dotted_settings_of_the_pages_are_settings():
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for page in PAGES:
        for section, key in re.findall(r"`(\w+)\.(\w+)(?:[:`.])", page.read_text(encoding="utf-8")):
            if isinstance(config.get(section), dict) and key not in ("csv", "json", "yaml", "py"):
                assert key in config[section], f"{page.name}: {section}.{key}"


def test_the_lock_of_the_site_does_not_change_the_lock():
    named = [re.findall(r"^([\w-]+)==", (ROOT / name).read_text(), re.M) for name in LOCKS]
    assert named[1] and not set(named[0]) & set(named[1])


LOCKS = ("requirements.txt", "requirements-docs.txt")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the site, built as `make docs` does."""
    if not importlib.util.find_spec("mkdocs"):
        pytest.skip("MkDocs is not installed: make test installs requirements-docs.txt")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    ended = subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert ended.returncode == 0 and "WARNING" not in ended.stderr, ended.stderr
    return folder


def test_the_site_has_every_page(site):
    assert {path.stem for path in site.glob("*.html")} == {page.stem for page in PAGES} | {"404"}
    assert "First version: the complete workflow" in (site / "changelog.html").read_text(encoding="utf-8")
    assert not list(site.rglob("*.py"))


def test_the_site_loads_nothing_from_other_servers(site):
    for page in site.glob("*.html"):
        assert not LOADED.search(page.read_text(encoding="utf-8")), page.name


def test_a_broken_link_fails_the_build(site, tmp_path):
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "CHANGELOG.md", tmp_path)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with open(tmp_path / "docs/faq.md", "a", encoding="utf-8") as page:
        page.write("\n[nowhere](cohort.md#nowhere)\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    ended = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert ended.returncode and "nowhere" in ended.stderr


def full_examples():
    """Return the overlays of other-bones.md that name a cohort, each with the table that follows it."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", (ROOT / "docs/other-bones.md").read_text(), re.S)
    overlays = [yaml.safe_load(text) for kind, text in blocks if kind == "yaml"]
    tables = [text for _, text in blocks if text.startswith("scan,")]
    return list(zip([overlay for overlay in overlays if "cohort" in overlay], tables, strict=True))


@pytest.mark.parametrize(("overlay", "table"), full_examples(), ids=lambda part: str(part)[:20])
def test_the_studies_of_other_bones_can_be_read(overlay, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / overlay["cohort"]).write_text(table)
    header, *rows = [line.split(",") for line in table.strip().splitlines()]
    for row in rows:
        for column, cell in zip(header, row, strict=True):
            if column in ("image", "mask") and cell:
                path = tmp_path / cell
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch() if path.suffix else path.mkdir()
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(settings, overlay)
    study = read_study(settings, Typed(words=(), overlays=(), settings=overlay), tmp_path)
    assert list(study.structures) == list(overlay["structures"])
    assert len(study.scans) == len(rows)
