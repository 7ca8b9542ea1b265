"""docs/api.md: the one list of what is public, and what it promises of each name.

    python tests/test_api.py        writes the page's lines anew, from the docstrings

A name is added or removed in the page itself: a section a module, a line a name.
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import os
import pathlib
import re
import textwrap
import types

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

import ganlib

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "api.md"
SECTION, LINE = r"## `([\w.]+)`", r"\* `(\w+)`"


def sections():
    """Module → names, in the order of the page."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if match := re.match(SECTION, line):
            names = found[match[1]] = []
        elif match := re.match(LINE, line):
            names.append(match[1])
    return found


def page():
    """The page, with each module's and each name's line from its docstring."""
    text = PAGE.read_text(encoding="utf-8")
    parts = [text[: text.index("## `")]]
    for module, names in sections().items():
        of_module = first_line(importlib.import_module(module))
        lines = "".join(f"* `{name}`: {first_line(find(module, name))}\n" for name in names)
        parts.append(f"## `{module}`\n\n{of_module}\n\n{lines}\n")
    return "".join(parts).rstrip() + "\n"


def find(module, name):
    return getattr(importlib.import_module(module), name)


def first_line(thing):
    doc = inspect.getdoc(thing) if thing.__doc__ else None
    assert doc, f"{thing} has no docstring of its own"
    return " ".join(doc.partition("\n\n")[0].split())


NAMES = [f"{module}.{name}" for module, names in sections().items() for name in names]


def thing(path):
    return find(*path.rsplit(".", 1))


def parameters(member):
    """The names that a docstring owes an explanation."""
    if inspect.isclass(member) and dataclasses.is_dataclass(member):
        return [field.name for field in dataclasses.fields(member)]
    if inspect.isclass(member):
        if "__init__" not in vars(member):  # its base class's, which explains them
            return []
        member = functools.partial(vars(member)["__init__"], None)
    found = inspect.signature(member).parameters.values()
    # Keras' layers, losses and metrics have a name, and everybody knows what it is.
    return [p.name for p in found if p.kind is not p.VAR_KEYWORD and p.name != "name"]


def explained(doc, heading):
    """The names that stand before a colon under a heading, such as `a, b: int`."""
    section = re.search(rf"^{heading}:\n((?:[ ].*\n|\n)+)", doc + "\n", re.M)
    lines = re.findall(r"^ {4}([\w*`, ]+):", section[1], re.M) if section else []
    return {name.strip("*` ") for line in lines for name in line.split(",")}


def faults(path):
    """What the docstring of a public name lacks."""
    member, doc = thing(path), inspect.getdoc(thing(path))
    if re.search(r"^Args and errors as of", doc, re.M):
        return []
    known = explained(doc, "Args") | explained(doc, "Attributes")
    lacking = [name for name in parameters(member) if name not in known]
    if inspect.isfunction(member) and parameters(member):
        tree = ast.parse(textwrap.dedent(inspect.getsource(member))).body[0]
        nodes = list(ast.walk(tree))
        returns = any(isinstance(n, ast.Return | ast.Yield) and n.value for n in nodes)
        if returns and "Returns" not in doc and "returns" not in doc:
            lacking.append("Returns")
        if any(isinstance(node, ast.Raise) for node in nodes) and "Raises" not in doc:
            lacking.append("Raises")
    return lacking


def test_the_page_is_what_the_docstrings_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/test_api.py"


@pytest.mark.parametrize("path", NAMES)
def test_public_names_are_explained(path):
    member = thing(path)
    assert first_line(member).endswith((".", "?"))
    if not isinstance(member, types.ModuleType):
        assert not faults(path)


def test_no_name_is_listed_twice():
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("module", ["ganlib", "ganlib.data", "ganlib.images", "ganlib.stats"])
def test_all_is_what_the_page_lists(module):
    kinds = types.FunctionType | type | types.ModuleType  # a constant has no docstring of its own
    names = importlib.import_module(module).__all__
    assert sections()[module] == [name for name in names if isinstance(find(module, name), kinds)]


def test_ganlib_lists_its_names_and_modules():
    assert set(ganlib.__all__) <= set(dir(ganlib))
    modules = [
        name for name in ganlib.__all__ if isinstance(find("ganlib", name), types.ModuleType)
    ]
    assert {f"ganlib.{name}" for name in modules} <= sections().keys()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
