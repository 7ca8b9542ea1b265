"""CITATION.cff, CHANGELOG.md and LICENSE: one version, one licence, one holder."""

import pathlib
import re
import tomllib

import yaml  # comes with Jupyter

import ganlib

ROOT = pathlib.Path(__file__).parent.parent
# Of the Citation File Format 1.2.0: what must be there, and what else may be, so far as we use it.
REQUIRED = {"authors", "cff-version", "message", "title"}
OPTIONAL = {"abstract", "keywords", "license", "type", "version"}


def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_has_the_format_s_fields():
    found = citation()
    assert found["cff-version"] == "1.2.0"
    assert REQUIRED <= found.keys() <= REQUIRED | OPTIONAL
    assert found["type"] == "software"
    assert all(isinstance(found[key], str) for key in found.keys() - {"authors", "keywords"})
    assert all(author.keys() == {"name"} for author in found["authors"])  # an entity
    assert len(set(found["keywords"])) == len(found["keywords"]) > 0


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert citation()["version"] == ganlib.__version__ == project["version"] == newest[1]


def test_one_licence_and_one_holder():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert licence.startswith("MIT License\n")
    assert citation()["license"] == project["license"] == "MIT"
    (author,) = citation()["authors"]
    assert re.search(r"^Copyright \(c\) \d{4} (.+)$", licence, re.M)[1] == author["name"]


def test_the_changelog_knows_every_study():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\* \*\*(\w+)\*\*:", text, re.M)) == set(ganlib.studies.STUDIES)
