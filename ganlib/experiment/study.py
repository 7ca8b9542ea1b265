"""A study, the plan of an experiment: a module makes one and calls it `STUDY`.

`STUDY.at(profile, data, seeds, changes)` says at which scale, on which data, and has the trials.
"""

import copy
import dataclasses
import fnmatch
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

from ganlib.data import DataError
from ganlib.experiment.changes import changed, meant
from ganlib.experiment.machine import StudyError

QUICK, CPU, FULL = PROFILES = ("quick", "cpu", "full")
MARKS = {QUICK: "quick profile", CPU: "cpu profile: below the write-up's scale"}
SEEDS = {QUICK: 1, CPU: 1, FULL: 3}  # by default
VARIABLE = "GANLIB_DATA"  # the folder that holds the data of all studies


@dataclasses.dataclass(frozen=True)
class Trial:
    """One recipe with one seed, on one data set."""

    name: str  # of the variation, for people
    recipe: Any  # frozen dataclass of JSON values
    seed: int  # of everything random
    data: str = ""  # its checksum, no path: runs and data may be moved

    @property
    def id(self):
        """Made of the above; no setting is ever read back out of it."""
        asked = {"recipe": dataclasses.asdict(self.recipe), "seed": self.seed, "data": self.data}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-seed{self.seed}-{digest[:8]}"


@dataclasses.dataclass(frozen=True)
class Source:
    """The data of a study by default: embedded, in the folder `$GANLIB_DATA`, or of TFDS."""

    embedded: str  # name of a set that comes with ganlib; the quick profile's
    download: str | None = None  # `tfds:NAME` of larger profiles; None: they take `embedded`, too
    names: tuple[str, ...] = ()  # how their file or folder in $GANLIB_DATA, before TFDS, may begin
    needed: bool = True  # where none begins so is an error; else the embedded ones are taken

    def choose(self, profile, data=None):
        """The data of a profile, for `Study.load`: `data` itself, if somebody has named some."""
        if data is not None:
            return data
        folder = os.environ.get(VARIABLE)
        if profile == QUICK or not (folder or self.download):
            return f"embedded:{self.embedded}"
        return self._find(pathlib.Path(folder).expanduser()) if folder else self.download

    def _find(self, folder):
        if not folder.is_dir():
            raise DataError(f"{VARIABLE} must be a folder. Received: {str(folder)!r}")
        files = (".npz", ".tif", ".tiff")
        entries = [e for e in sorted(folder.iterdir()) if e.is_dir() or e.suffix.lower() in files]
        by_name = ([e for e in entries if e.name.lower().startswith(name)] for name in self.names)
        found = next(filter(None, by_name), [])
        if len(found) == 1 or not (found or self.needed):
            return str(found[0]) if found else f"embedded:{self.embedded}"
        wanted, shown = " or ".join(self.names), ", ".join(e.name for e in found or entries)
        raise DataError(
            f"{VARIABLE} must hold one .npz file or folder whose name begins with {wanted}: unset "
            f"it, or name data with --data. Received: {shown or 'nothing'} in {folder}"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """The plan of a study; `at` fills in the scale and the data."""

    name: str  # of the study and its folder; of one outside ganlib `__name__`
    title: str  # one line for people
    recipe: type  # frozen dataclass with a default for each field
    profiles: dict  # profile → dict of the fields of the recipe that it changes
    # Name → recipe, as they run, of `study.base` and `.profile`, in a later stage of `.after`.
    variations: Callable[["Study"], dict]
    # `(spec, study) -> data` with `checksum`, `name`, `origin`, `synthetic`; one for all stages.
    load: Callable[[Any, "Study"], Any]
    # `(trial, data, run) -> dict`, the metrics, perhaps with `"status": "stopped"`.
    train: Callable[[Trial, Any, Any], dict]
    _: dataclasses.KW_ONLY
    module: str  # `__name__`, where other processes find the study again
    source: Source  # the data where nobody names any
    seeds: dict = dataclasses.field(default_factory=lambda: SEEDS)
    epochs: Callable[[Any], int] = lambda recipe: recipe.epochs  # for the time left
    # Trials of one shape run the same programs and need as much memory. None: no two are alike.
    shape: Callable[[Any], Any] | None = None
    # `(study, results) -> JSON value`, the next stage's `after`; None: there is none.
    follow: Callable[["Study", list], Any] | None = None
    profile: str = QUICK
    spec: Any = None  # what `load` gets
    changes: dict = dataclasses.field(default_factory=dict)
    after: Any = None
    added: dict = dataclasses.field(default_factory=dict)  # of `with_variation`
    options: dict = dataclasses.field(default_factory=dict)  # of `at`, to make it again elsewhere
    _pattern: str = "*"
    _loaded: dict = dataclasses.field(default_factory=dict, repr=False)  # shared by all stages

    def at(self, profile=QUICK, data=None, seeds=None, changes=None, after=None, added=None):
        """The study at one scale, on certain data.

        Args:
            profile: "quick" (minutes, embedded data), "cpu" (hours on two cores, real data) or
                "full" (the write-up's scale, a GPU).
            data: what `ganlib.data.load` takes; None: as the study's `source` says.
            seeds: int, number of seeds; None: as many as the profile has.
            changes, after: dict as of `changed`; what `follow` has returned, for the next stage.
            added: dict of name → dict of changes to the profile's recipe, further variations.
        """
        if profile not in self.profiles:
            known = f"{', '.join(self.profiles)}{meant(profile, self.profiles)}"
            raise ValueError(f"`profile` must be one of {known}. Received: profile={profile!r}")
        new = {"profile": profile, "changes": dict(changes or {}), "after": after}
        new["added"] = dict(added or {})
        options = {**new, "data": data, "seeds": seeds or self.seeds[profile]}
        spec = self.source.choose(profile, data)
        new |= {"spec": spec, "options": options, "_pattern": "*", "_loaded": {}}
        study = dataclasses.replace(self, **new)
        study.recipes  # noqa: B018  what is wrong with the changes is told now
        return study

    @functools.cached_property
    def base(self):
        """The profile's recipe, before any change."""
        return self.recipe(**self.profiles[self.profile])

    @functools.cached_property
    def recipes(self):
        """Dict of name → recipe of each variation, changes made last."""
        recipes = self.variations(self)
        recipes |= {name: changed(self.base, fields) for name, fields in self.added.items()}
        return {name: changed(recipe, self.changes) for name, recipe in recipes.items()}

    def with_variation(self, name, **fields):
        """The same study with one more variation: the profile's recipe with other fields.

        A field that takes a network or a loss is given a `keras.Model` or another object that Keras
        can serialize, and holds its configuration: so it is part of the trial's id, and processes
        that know its classes build it again. One of a notebook's own is known there alone: run it
        without workers. An initial value without a seed of its own gets the trial's.
        """
        if name in self.recipes:
            raise ValueError(f"The study has such a variation already. Received: {name!r}")
        plain = {key: _configuration(value) for key, value in fields.items()}
        options = {**self.options, "added": {**self.added, name: plain}}
        return dataclasses.replace(self.at(**options), _loaded=self._loaded)

    @property
    def data(self):
        if "data" not in self._loaded:
            self._loaded["data"] = self.load(self.spec, self)
        return self._loaded["data"]

    @functools.cached_property
    def trials(self):
        """Tuple of `Trial`: each recipe with the first seed, then with the second, and so on."""
        trials = [
            Trial(name, recipe, seed, self.data.checksum)
            for seed in range(self.options["seeds"])
            for name, recipe in self.recipes.items()
        ]
        chosen = self._pattern
        return tuple(t for t in trials if t.name == chosen or fnmatch.fnmatchcase(t.id, chosen))

    def trial(self, trial_id):
        """The trial with that id; raises a `StudyError` if there is none."""
        if found := [trial for trial in self.trials if trial.id == trial_id]:
            return found[0]
        known = "with these data and this version of the study: give the same everywhere"
        raise StudyError(f"There is no such trial {known}. Received: {trial_id!r}")

    def shape_of(self, trial):
        return trial.id if self.shape is None else self.shape(trial.recipe)

    def select(self, pattern):
        """The same study with only the trials whose name or id matches a shell pattern."""
        chosen = dataclasses.replace(self, _pattern=pattern, follow=None)
        if not chosen.trials:
            known = f"{meant(pattern, self.recipes)}: the names are {', '.join(self.recipes)}"
            raise ValueError(f"No trial's name or id matches{known}. Received: {pattern!r}")
        return chosen

    def next(self, results):
        """The stage that follows from a list of result dicts of all trials; None: there is none."""
        after = self.follow(self, results) if self.follow and self.after is None else None
        if after is None:
            return None
        return dataclasses.replace(self, after=after, options={**self.options, "after": after})


def chosen(choice, builders):
    """The network that a recipe names: of one of its builders, or of a configuration.

    `choice` is a key of `builders`, or a dict as `Study.with_variation` keeps it.
    """
    if not isinstance(choice, dict):
        return builders[choice]()
    import keras

    # A copy: Keras takes it apart, and the trial's id is made of it.
    return keras.saving.deserialize_keras_object(copy.deepcopy(choice))


def _configuration(value):
    if not hasattr(value, "get_config"):
        return value
    import keras

    return json.loads(json.dumps(keras.saving.serialize_keras_object(value)))  # as a file has it


def mark(profile, changes=None):
    """What a figure says of its profile and of the dict of changed fields; "" at full scale."""
    changed = ", ".join(f"{name}={value}" for name, value in (changes or {}).items())
    return "; ".join(filter(None, [MARKS.get(profile), changed and f"changed: {changed}"]))
