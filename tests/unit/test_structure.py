"""Rules of the code's structure: layers, names, pins, small functions."""

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from snakemake.parser import parse

ROOT = Path(__file__).parents[2]
# which packages of lib a package may import; all may import `catalog` and the files at the root of lib
LAYERS = {
    "catalog": set(),
    "cohort": set(),
    "imaging": set(),
    "learning": set(),
    "phantom": set(),
    "publications": set(),  # data, as in the catalog
    "stats": {"publications"},
    "reading": {"imaging"},
    "anatomy": {"imaging"},
    "density": {"imaging"},
    "screening": {"anatomy", "density", "imaging", "reading"},  # where the verdict on a scan comes together
    "measuring": {
        "anatomy",
        "cohort",
        "density",
        "imaging",
        "stats",
    },  # where what is measured of a prediction comes together
    "figures": {"stats"},
    "pages": {"figures", "publications", "stats"},
    # programs beside the workflow: they read it, and nothing in it imports them
    "commands": {"cohort", "learning", "reading", "stats"},
}
# within a package that has packages of its own: which of them each may import
INNER_LAYERS = {"phantom": {"anatomy": set(), "scanner": {"anatomy"}, "series": {"scanner"}}}
# files at the root of lib that combine packages, as scripts do
JOINTS = {
    "checked_study.py": {"cohort", "learning", "phantom", "publications"},
    "example_files.py": {"figures", "imaging", "stats"},
    "training_crops.py": {"imaging", "learning"},
    "training_scans.py": {"imaging", "learning"},
}
MODULES = sorted((ROOT / "lib").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
PLUGINS = sorted((ROOT / "plugins").glob("*/src/*/*.py"))
OWN_PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir())
RULES = sorted((ROOT / "rules").glob("*.smk"))
SNAKEFILES = [ROOT / "Snakefile", *RULES]


@cache
def imported(path):
    """Return the dotted names that a file imports, also those within functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_only_those_below_them(path):
    parts = path.relative_to(ROOT / "lib").parts
    own = parts[0] if len(parts) > 1 else ""
    allowed = LAYERS.get(own, JOINTS.get(parts[0], set()))
    for name in imported(path):
        root, *rest = name.split(".")
        assert root != "snakemake" or own == "commands", "lib never sees Snakemake"
        assert root != "torch" or own == "learning", "only lib.learning imports torch"
        if root == "lib" and rest:
            assert own != "catalog" or rest[0] == "catalog", "the catalog imports nothing of lib"
            if rest[0] in LAYERS and rest[0] not in ("catalog", own):
                assert rest[0] in allowed, f"{path.name} imports {name}"
            assert own in ("", "commands") or f"{rest[0]}.py" not in JOINTS, f"{path.name} imports {name}"


@pytest.mark.parametrize("package", INNER_LAYERS)
def test_packages_within_a_package_import_only_those_below_them(package):
    inner = INNER_LAYERS[package]
    assert {path.parent.name for path in (ROOT / "lib" / package).glob("*/__init__.py")} == set(inner)
    for own, allowed in inner.items():
        for path in (ROOT / "lib" / package / own).rglob("*.py"):
            for name in imported(path):
                parts = [*name.split("."), "", ""]
                if parts[:2] == ["lib", package] and parts[2] in inner and parts[2] != own:
                    assert parts[2] in allowed, f"{path.name} imports {name}"


def test_every_package_has_its_layer():
    assert {path.parent.name for path in (ROOT / "lib").glob("*/__init__.py")} == set(LAYERS)


def twice(names):
    return sorted(name for name, count in Counter(names).items() if count > 1)


def test_one_name_means_one_thing():
    assert twice(path.name for path in MODULES if path.name not in ("__init__.py", "__main__.py")) == []
    assert (
        twice(
            node.name
            for path in MODULES
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            if not node.name.startswith("_") and node.name != "main"  # each program has one
        )
        == []
    )


def test_no_comment_is_a_ruler():
    folders = ("lib", "scripts", "rules", "tests", "bench")
    sources = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".smk")
    ]
    for path in sources:
        assert not re.search(r"^\s*# ?[-=#]{3,}", path.read_text(), flags=re.M), path


def test_library_does_not_read_the_environment():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr != "getenv", path
                assert node.attr != "environ" or path.name in ("determinism.py", "processors.py"), path


def test_library_does_not_read_names_of_the_snakefile():
    for path in (ROOT / "lib/commands").rglob("*.py"):  # the only modules that import Snakemake
        nodes = ast.walk(ast.parse(path.read_text()))
        read = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr == "globals"]
        assert not read, path


@cache
def as_python(path):
    """Return the syntax tree of the Python code that Snakemake makes of a Snakefile."""
    source = SimpleNamespace(get_path_or_uri=lambda secret_free: str(path))
    workflow = SimpleNamespace(sourcecache=SimpleNamespace(open=lambda source: path.open()))
    return ast.parse(parse(source, workflow, {})[0])


def own_functions(path):
    """Yield the functions of a Snakefile, without those that Snakemake generates for rules and handlers."""
    for node in as_python(path).body:
        if isinstance(node, ast.FunctionDef) and f"\ndef {node.name}(" in path.read_text():
            yield node


def brought_in(path):
    """Return the names that a Snakefile imports."""
    nodes = [node for node in ast.walk(as_python(path)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.asname or alias.name.split(".")[0] for node in nodes for alias in node.names}


def names_read(path):
    nodes = ast.walk(as_python(path))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize("path", SNAKEFILES, ids=lambda path: path.name)
def test_functions_of_rules_are_annotated_and_documented(path):
    for node in own_functions(path):
        arguments = [*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        bare = [argument.arg for argument in arguments if argument and argument.annotation is None]
        assert not bare and node.returns, f"{node.name}: annotate {', '.join([*bare, 'what it returns'])}"
        assert node.name.startswith("_") or ast.get_docstring(node), f"{node.name}: docstring"


def test_functions_of_rules_are_seen():
    assert sum(1 for path in SNAKEFILES for _ in own_functions(path)) == sum(
        len(re.findall(r"^def ", path.read_text(), flags=re.M)) for path in SNAKEFILES
    )


@pytest.mark.parametrize("path", SNAKEFILES, ids=lambda path: path.name)
def test_rules_import_what_they_use(path):
    """Included files share their names, so that Snakemake does not notice a missing import."""
    own, everywhere = brought_in(path), set().union(*(brought_in(other) for other in SNAKEFILES))
    assert not (names_read(path) & everywhere) - own, "imported by another file only"
    assert not own - names_read(path), "imported and not used"


def rule_blocks():
    for path in RULES:
        for block in re.split(r"^(?=rule |checkpoint )", path.read_text(), flags=re.M)[1:]:
            yield re.match(r"(?:rule|checkpoint) (\w+):", block).group(1), block


def test_every_rule_has_a_script_of_its_name_and_all_directives():
    blocks = dict(rule_blocks())
    assert {path.stem for path in SCRIPTS} == set(blocks)
    for name, block in blocks.items():
        assert f'"../scripts/{name}.py"' in block, name
        assert block.split("\n")[1].strip().startswith('"""'), f"{name}: docstring"
        for directive in (
            "output",
            "log",
            "benchmark",
            "conda",
            "threads",
            "resources",
            "mem_mb=",
            "runtime=",
        ):
            assert f"{directive}:" in block or directive in block, f"{name}: {directive}"
        assert f"results/logs/{name}/" in block and f"results/benchmarks/{name}/" in block, name
        if not name.startswith("train_"):  # a finished model is not trained again because of new code
            assert f'code=code_of("{name}"' in block, name


def test_scripts_are_short():
    for path in SCRIPTS:
        body = [
            node
            for node in ast.parse(path.read_text()).body[1:]  # without the docstring
            if not isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert sum(node.end_lineno - node.lineno + 1 for node in body) <= 30, path.name


def arguments_of(function):
    """Return the number of arguments of a function, including `self`, `*names` and `**names`."""
    taken = function.args
    named = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs]
    return len(named) + (taken.vararg is not None) + (taken.kwarg is not None)


def test_functions_are_small():
    lengths = []
    for path in [*MODULES, *SCRIPTS, *PLUGINS]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length, arguments = node.end_lineno - node.lineno + 1, arguments_of(node)
                assert length <= 60, f"{path.name}: {node.name} has {length} lines"
                assert arguments <= 6, f"{path.name}: {node.name} takes {arguments} arguments"
                lengths.append(length)
    lengths.sort()
    assert lengths[len(lengths) // 2] <= 9
    assert lengths[len(lengths) * 9 // 10] <= 26


def test_arguments_of_every_kind_are_counted():
    (function,) = ast.parse("def f(a, /, b, *c, d, **e): pass").body
    assert arguments_of(function) == 5


def defined(path):
    """Return the names that a module defines itself."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names


def test_names_are_imported_from_the_module_that_defines_them():
    everything = (
        path for folder in ("lib", "scripts", "tests", "bench") for path in (ROOT / folder).rglob("*.py")
    )
    for path in everything:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lib."):
                module = ROOT / f"{node.module.replace('.', '/')}.py"
                if module.is_file():  # else a package, whose modules are imported
                    foreign = {alias.name for alias in node.names} - defined(module)
                    assert not foreign, (
                        f"{path.name} imports {foreign} from {node.module}, which does not define them"
                    )


def loaded_by(path):
    """Return the modules that the imports of a script, or of a Snakefile from lib, load."""
    imports = [
        ast.unparse(node)
        for node in (ast.parse(path.read_text()) if path.suffix == ".py" else as_python(path)).body
        if isinstance(node, ast.Import | ast.ImportFrom) and "snakemake" not in ast.unparse(node)
    ]
    program = "\n".join([*imports, "import sys", "print(*sys.modules)"])
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


NUMBERS = {"numpy", "pandas", "scipy", "sklearn", "torch", "SimpleITK", "matplotlib"}


@pytest.mark.parametrize("path", SNAKEFILES, ids=lambda path: path.name)
def test_a_parse_loads_nothing_heavy(path):
    """Each start of Snakemake and each job of a cluster parses all rules."""
    assert not loaded_by(path) & NUMBERS


STATISTICS = {"statsmodels", "scipy.stats", "torch"}
TABLES_ONLY = (
    *("gather_flow", "gather_metrics", "gather_notes", "gather_volumes", "gather_people", "tabulate_table1"),
    *("tabulate_table2", "write_report", "write_scan_pages", "link_final_masks", "describe_tables"),
)


@pytest.mark.parametrize(
    ("name", "unneeded"),
    [(name, STATISTICS) for name in TABLES_ONLY]
    + [("screen_scan", {"scipy.optimize"}), ("crop_image", {"scipy.optimize"})],
)
def test_jobs_do_not_load_what_they_do_not_need(name, unneeded):
    assert not loaded_by(ROOT / f"scripts/{name}.py") & unneeded


def pins():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_environments_repeat_the_pins_of_the_lock(path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    packages = next(entry["pip"] for entry in dependencies if isinstance(entry, dict))
    for package in packages:
        name, version = package.split("==")
        assert pins()[name] == version, package


# packages that no import names, and what loads them
CODECS = {
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "pyjpegls",
    "python-gdcm",
}  # pydicom, by name (lib/reading/pixels.py)
PROGRAMS = {"pytest-xdist", "ruff", "snakefmt"}  # the Makefile
OTHER_NAMES = {
    "simpleitk": "SimpleITK",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "pyyaml": "yaml",
}


def packages_reached(rule):
    """Return the top-level packages that a rule's script and the lib code behind it import."""
    script = ROOT / f"scripts/{rule}.py"
    paths, found = [script], set()
    while paths:
        path = paths.pop()
        if path in found or not path.exists():
            continue
        found.add(path)
        paths += [ROOT / f"{name.replace('.', '/')}.py" for name in imported(path)]
    return {name.split(".")[0] for path in found for name in imported(path)}


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_environments_name_what_their_scripts_import(path):
    rules = [name for name, block in rule_blocks() if f'"../envs/{path.name}"' in block]
    outside = set().union(*(packages_reached(rule) for rule in rules)) - sys.stdlib_module_names - {"lib"}
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    named = {
        line.split("==")[0] for entry in dependencies if isinstance(entry, dict) for line in entry["pip"]
    }
    if "pydicom" in named:
        assert named > CODECS
    assert {OTHER_NAMES.get(name, name) for name in named - CODECS} == outside


def test_the_lock_has_no_unneeded_package():
    folders = ("lib", "scripts", "tests", "bench", "profiles")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    modules = {name.split(".")[0] for path in sources for name in imported(path)} - {"lib"}
    browser = (ROOT / "tests/workflow/test_browser.py").read_text()
    assert '"axe_playwright_python.' in browser  # imported by name, where it is installed
    needed = {name for name in pins() if OTHER_NAMES.get(name, name.replace("-", "_")) in modules}
    needed.add("axe-playwright-python")
    for distribution in distributions():
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                needed.add(requirement.name)
    needed = {canonicalize_name(name) for name in needed}
    assert set(pins()) - needed == CODECS - needed | PROGRAMS


def test_make_test_runs_every_test():
    (folders,) = re.findall(r"^TESTS := (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = {path for folder in folders.split() for path in (ROOT / folder).rglob("test_*.py")}
    assert named == {path for folder in ("tests", "plugins") for path in (ROOT / folder).rglob("test_*.py")}


def test_the_makefile_installs_the_lock_and_the_lock_the_plugins():
    makefile, lock = ((ROOT / name).read_text() for name in ("Makefile", "requirements.txt"))
    assert "--requirement requirements.txt" in makefile
    assert OWN_PLUGINS and all(f"./plugins/{name}\n" in lock for name in OWN_PLUGINS)
    (rule,) = re.findall(r"^\$\(READY\): .*", makefile, flags=re.MULTILINE)
    assert "requirements.txt" in rule and "plugins/*/src/*/*.py" in rule


def test_the_installed_packages_are_those_of_the_lock():
    from importlib.metadata import version

    for name in ("snakemake", "numpy", "pydicom", "simpleitk", "pandas"):
        assert version(name) == pins()[name]
    assert version("torch").split("+")[0] == pins()["torch"]


@pytest.mark.parametrize("name", OWN_PLUGINS)
def test_the_plugin_of_this_tree_is_installed(name):
    """Snakemake in a process of its own loads the installed plugin, not the one of this tree."""
    from importlib.metadata import files

    sources = [path for path in PLUGINS if name in path.parts]
    installed = {file.name: file for file in files(name) if file.suffix == ".py"}
    assert installed.keys() == {path.name for path in sources}, "make setup"
    for path in sources:
        assert installed[path.name].read_text() == path.read_text(), f"{path.name} is another one: make setup"
