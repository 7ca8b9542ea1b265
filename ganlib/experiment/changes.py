"""Changes to a study's recipes from outside: `--set epochs=5`, or `changes={"epochs": 5}`."""

import dataclasses
import difflib
import fnmatch
import json
import sys
import types
import typing

WANTED = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
# Numbers by the field's name; others are at least 1 if they are whole, at least 0 if they are not.
SHARE = "at least 0 and below 1"
KINDS = {
    SHARE: ("beta_*", "ema", "*momentum", "*dropout"),
    "above 0": ("learning_rate", "pretraining_rate", "clipnorm"),
    "at least 0": ("*_learning_rate", "*patience"),  # a player at rest; 0 may mean "never"
}
MISFIT = object()


def meant(name, names):
    """A question to add to an error, if a name is probably a misspelt one of these; else ""."""
    close = difflib.get_close_matches(str(name), list(names), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def parse(texts):
    """Reads texts such as "name=value" into a dict for `changed`; a value is JSON or else text."""
    changes = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals) or name in changes:
            raise ValueError(f"Write it once, as name=value, e.g. epochs=5. Received: {text!r}")
        try:
            changes[name] = json.loads(value, parse_constant=str)  # NaN is no JSON
        except ValueError:
            changes[name] = value
    return changes


def changed(recipe, changes):
    """A recipe with other values in some fields.

    Args:
        recipe: frozen dataclass; what a study derives from a changed field stays as it was.
        changes: dict of field name → JSON value. Whole floats become ints and ints become floats
            where the field asks for it: a trial's id must not depend on how a number is written.

    Raises a ValueError if there is no such field, or a value does not fit its type or range.
    """
    hints = typing.get_type_hints(type(recipe))
    values = {}
    for name, value in changes.items():
        if name not in hints:
            fields = f"{meant(name, hints)}. Choose from {', '.join(hints)}"
            raise ValueError(f"The recipe has no such field{fields}. Received: {name!r}")
        values[name] = _fitted(value, hints[name])
        if values[name] is MISFIT:
            wanted = WANTED.get(hints[name], hints[name])
            raise ValueError(f"{name} must be {wanted}. Received: {value!r}")
        _check_range(recipe, name, values[name])
    return dataclasses.replace(recipe, **values)


def _check_range(recipe, name, value):
    """Whatever is out of range would train, and mean nothing."""
    default = getattr(type(recipe), name, None)
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        named = (kind for kind, names in KINDS.items() for n in names if fnmatch.fnmatch(name, n))
        kind = next(named, None)
        least = 1 if isinstance(number, int) and kind is None else 0
        least = min(least, default) if isinstance(default, int | float) else least
        if number < least or (kind == "above 0" and not number) or (kind == SHARE and number >= 1):
            raise ValueError(f"{name} must be {kind or f'at least {least}'}. Received: {value!r}")


def _fitted(value, hint):
    """The value as a field annotated with `hint` holds it, or `MISFIT`."""
    kind = typing.get_origin(hint) or hint
    if kind in (types.UnionType, typing.Union):
        fitted = (_fitted(value, kind) for kind in typing.get_args(hint))
        return next((fit for fit in fitted if fit is not MISFIT), MISFIT)
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return MISFIT
        fits = value % 1 == 0 if kind is int else abs(value) <= sys.float_info.max
        return kind(value) if fits else MISFIT
    if kind is tuple and isinstance(value, list | tuple):
        kinds = typing.get_args(hint)[:1] or (object,)  # of tuple[float, ...]
        items = [_fitted(item, kinds[0]) for item in value]
        return MISFIT if MISFIT in items else tuple(items)
    return value if isinstance(value, kind) else MISFIT
