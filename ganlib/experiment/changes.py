"""Changes to a study's recipes from outside: `--set epochs=5`, or `changes={"epochs": 5}`.

A change holds for every trial and is made last. It overrides what a variation changes in the same
field: with `--set output=tanh` the variations "base" and "tanh" train alike. What a study derives
from the field, such as twice the base's width, stays as it was. Changed trials have ids of their
own, so runs with and without a change live side by side.
"""

import dataclasses
import json
import sys
import types
import typing

WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text (in double quotes where it reads as something else)",
    tuple: 'a list, such as [0.5, 1] or ["a", "b"]',
    types.NoneType: "null",
}
MISFIT = object()


def parse(texts):
    """Reads changes as they are written on a command line.

    Args:
        texts: sequence of "name=value". A value is JSON (`5`, `1e-4`, `true`, `null`, `"text"`,
            `[1, 2]`) or else plain text.

    Returns:
        A dict for `changed`, with tuples for lists.

    Raises:
        ValueError: a text has no name or no "=", or a name comes twice.
    """
    changes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not (name and equals):
            raise ValueError(f"Write a change as name=value, e.g. epochs=5. Received: {text!r}")
        if name in changes:
            raise ValueError(f"Give each change once. Received: {text!r} after another {name}")
        changes[name] = _value(value.strip())
    return changes


def _value(text):
    try:
        # NaN and Infinity are Python's extensions to JSON.
        return _frozen(json.loads(text, parse_constant=str))
    except ValueError:
        return text


def _frozen(value):
    """The value with tuples for lists: a recipe can be hashed."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def changed(recipe, changes):
    """A recipe with other values in some fields.

    Args:
        recipe: frozen dataclass.
        changes: dict of field name → JSON value. Whole floats become ints and ints become floats
            where the field asks for it: a trial's id must not depend on how a number is written.

    Returns:
        A new recipe.

    Raises:
        ValueError: there is no such field, it is `data`, or the value does not fit its type.
    """
    hints = typing.get_type_hints(type(recipe))
    names = [field.name for field in dataclasses.fields(recipe) if field.name != "data"]
    values = {}
    for name, value in changes.items():
        if name == "data":
            raise ValueError(
                "Other data are no change of a recipe: choose them with --data (in Python, with "
                f"the argument `data`). Received: data={value!r}"
            )
        if name not in names:
            raise ValueError(
                f"The recipe has no such field; choose from {', '.join(names)}. Received: {name!r}"
            )
        values[name] = _fitted(value, hints[name])
        if values[name] is MISFIT:
            raise ValueError(f"{name} must be {_wanted(hints[name])}. Received: {value!r}")
    return dataclasses.replace(recipe, **values)


def _fitted(value, hint):
    """The value as a field annotated with `hint` holds it, or `MISFIT`."""
    if _is_union(hint):
        fitted = (_fitted(value, kind) for kind in typing.get_args(hint))
        return next((fit for fit in fitted if fit is not MISFIT), MISFIT)
    kind = typing.get_origin(hint) or hint
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return MISFIT
        fits = value % 1 == 0 if kind is int else abs(value) <= sys.float_info.max
        return kind(value) if fits else MISFIT
    if kind is tuple and isinstance(value, list | tuple):
        kinds = typing.get_args(hint)[:1]  # of tuple[float, ...]; a plain tuple takes anything
        items = [_fitted(item, kinds[0]) if kinds else _frozen(item) for item in value]
        return MISFIT if MISFIT in items else tuple(items)
    return value if isinstance(value, kind) else MISFIT


def _is_union(hint):
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


def _wanted(hint):
    kinds = typing.get_args(hint) if _is_union(hint) else (hint,)
    return " or ".join(WANTED[typing.get_origin(kind) or kind] for kind in kinds)
