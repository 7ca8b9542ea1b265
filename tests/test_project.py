"""What the repository promises of itself: layers, sizes, versions, notebooks, guides."""

import ast
import importlib
import inspect
import json
import pathlib
import re
import sys
import tomllib

import pytest
import yaml  # comes with Jupyter
from nbformat import read

import ganlib

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "ganlib"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# From the top: a module imports from its own layer and from those below it.
LAYERS = (
    ("__main__", "doctor"),
    ("studies",),
    ("report",),
    ("experiment",),
    ("callbacks",),
    ("apply",),
    ("adversarial",),
    ("backends",),
    ("models", "losses", "content", "augment", "features", "metrics"),
    ("stats",),
    ("data",),
    ("images",),
    ("",),  # ganlib itself loads its names on first use
)
OPTIONAL = {"jax", "torch", "ray"}  # imported only where a machine has them, by code for them
IMPORTED_AS = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}
IN_NOTEBOOKS = {"ipython"}  # imported only where Jupyter is


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """The names of all modules that a file imports, wherever in the file."""
    known, names = {name_of(module) for module in MODULES}, set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (whole & known) | ({node.module} if whole - known else set())
    return names


def test_imports_run_downward_without_a_cycle():
    layer = {name: i for i, names in enumerate(LAYERS) for name in names}
    graph = {name_of(p): {n for n in imports(p) if n.split(".")[0] == "ganlib"} for p in MODULES}

    def level(name):
        return layer[[*name.split("."), ""][1]]

    upward = {(a, b) for a, others in graph.items() for b in others if level(b) < level(a)}
    assert not upward
    done = set()
    while ready := {name for name in graph.keys() - done if graph[name] & graph.keys() <= done}:
        done |= ready
    assert not graph.keys() - done, "modules import each other"


def test_the_house_is_small():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {path: n for path, n in lines.items() if n > 400}
    assert sum(lines.values()) <= 12_300  # each report that becomes a chapter takes 300 away
    assert len(list(PACKAGE.glob("*.py"))) <= 10
    for folder, most in (("tests", 8000), ("benchmarks", 900)):
        files = (ROOT / folder).rglob("*.py")
        assert sum(len(p.read_text(encoding="utf-8").splitlines()) for p in files) <= most


def floors(lines):
    found = [re.fullmatch(r"([\w.-]+)>=([\d.]+)", line) for line in lines]
    assert all(found), f"every requirement has a floor: {lines}"
    return {match[1].lower().replace("_", "-"): match[2] for match in found}


def test_requirements_say_what_is_imported():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    wanted = floors([x.strip() for x in text.splitlines() if x.strip() and not x.startswith("#")])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = floors(project["dependencies"])
    assert core.items() <= wanted.items()
    assert "tensorflow" not in core  # a GPU machine may have JAX or torch alone
    assert {"jinja2", "tabulate"} <= core.keys()  # pandas' to_latex and to_markdown
    extras = {name for lines in project["optional-dependencies"].values() for name in floors(lines)}
    foreign = {name.split(".")[0] for path in MODULES for name in imports(path)}
    foreign = {IMPORTED_AS.get(name, name) for name in foreign - sys.stdlib_module_names}
    foreign = {name.lower().replace("_", "-") for name in foreign - {"ganlib"} - OPTIONAL}
    assert foreign <= wanted.keys() | extras | IN_NOTEBOOKS
    assert core.keys() - {"jinja2", "tabulate", "mlxtend"} <= foreign  # nothing needless


def test_one_version_and_one_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert citation["version"] == ganlib.__version__ == project["version"] == newest[1]
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert citation["license"] == project["license"] == "MIT"
    assert licence.startswith("MIT License\n")


# -- notebooks: what strict nbval can't see --------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_was_executed_and_is_clean(path):
    cells = [cell for cell in read(path, as_version=4).cells if cell.cell_type == "code"]
    # nbval silently skips the comparison of a cell without an execution count.
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert "execution" not in cell.metadata, "times differ from run to run"
        assert "nbval-" not in json.dumps(cell).lower(), "every output is compared"
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source
            data = output.get("data", {"text/plain": output.get("text", "")})
            text = "".join(value for kind, value in data.items() if kind.startswith("text/"))
            for word in ("Warning", "WARNING", "Traceback", " at 0x", "/tmp/", "/home/", "/root/"):
                assert word not in text, cell.source


# -- guides ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_and_make_targets_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert not [target for target in targets if not (ROOT / target).exists()]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([\w-]+):", makefile, re.M))
    named = set(re.findall(r"(?:^ {4}|`)make ([\w-]+)", text, re.M))
    assert named
    assert named <= known


def test_the_list_of_what_is_public_is_right():
    module, text = None, (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        if match := re.match(r"## `([\w.]+)`", line):
            module = importlib.import_module(match[1])
        elif match := re.match(r"\* `(\w+)`:", line):
            assert inspect.getdoc(getattr(module, match[1])), match[1]
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 150
