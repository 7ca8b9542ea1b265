"""A study, the plan of an experiment: a module makes one and calls it `STUDY`.

`STUDY.at(profile, data, seeds, changes)` says at which scale, on which data, and has the trials.
"""

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
VARIABLE = "GANLIB_DATA"  # the folder that holds the data of all studies


@dataclasses.dataclass(frozen=True)
class Trial:
    """One recipe with one seed, on one data set.

    Attributes:
        name: of the variation, for people.
        recipe: frozen dataclass of JSON values.
        seed: int, of everything random.
        data: the data's checksum, no path: runs and data may be moved.
    """

    name: str
    recipe: Any
    seed: int
    data: str = ""

    @property
    def id(self):
        """Made of the above; no setting is ever read back out of it."""
        asked = {"recipe": dataclasses.asdict(self.recipe), "seed": self.seed, "data": self.data}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-seed{self.seed}-{digest[:8]}"


@dataclasses.dataclass(frozen=True)
class Source:
    """The data of a study by default: embedded, in the folder `$GANLIB_DATA`, or of TFDS.

    Attributes:
        embedded: name of a set that comes with ganlib; the quick profile's.
        download: `tfds:NAME` of the larger profiles; None: they take the embedded data, too.
        names: how their file or folder in `$GANLIB_DATA`, which goes before TFDS, may begin.
        needed: bool; where none begins so that is an error, or else the embedded ones are taken.
    """

    embedded: str
    download: str | None = None
    names: tuple[str, ...] = ()
    needed: bool = True

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
        for name in self.names:
            found = [entry for entry in entries if entry.name.lower().startswith(name)]
            if len(found) == 1:
                return str(found[0])
            if found:
                entries = found
                break
        else:
            if not self.needed:
                return f"embedded:{self.embedded}"
        raise DataError(
            f"{VARIABLE} must hold one .npz file or folder whose name begins with "
            f"{' or '.join(self.names)}: unset it, or name data with --data. "
            f"Received: {', '.join(entry.name for entry in entries) or 'nothing'} in {folder}"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """The plan of a study; `at` fills in the scale and the data.

    Attributes:
        name: of the study and its folder; of one outside ganlib `__name__`.
        title: one line for people.
        recipe: frozen dataclass with a default for each field.
        profiles: dict of profile → dict of the fields of the recipe that it changes.
        variations: `(study) -> dict` of name → recipe, in the order in which they run, made from
            `study.base` and `study.profile`, in a later stage from `study.after`.
        load: `(spec, study) -> data` with `checksum`, `name`, `origin`, `synthetic`; the same data
            for all stages.
        train: `(trial, data, run) -> dict`, the metrics, perhaps with `"status": "stopped"`.
        module: `__name__`, where other processes find the study again.
        source: `Source`, the data where nobody names any.
        seeds: dict of profile → number of seeds.
        epochs: `(recipe) -> int`, for the time left.
        shape: `(recipe) -> hashable`: trials of one shape run the same compiled programs and need
            as much memory. None: no two are alike.
        follow: `(study, results) -> JSON value`, the next stage's `after`; None: there is none.
        profile, spec, changes, after: as `at` has set them; `spec` is what `load` gets.
        options: dict, the arguments of `at` that make this study again elsewhere.
    """

    name: str
    title: str
    recipe: type
    profiles: dict
    variations: Callable[["Study"], dict]
    load: Callable[[Any, "Study"], Any]
    train: Callable[[Trial, Any, Any], dict]
    _: dataclasses.KW_ONLY
    module: str
    source: Source
    seeds: dict = dataclasses.field(default_factory=lambda: {QUICK: 1, CPU: 1, FULL: 3})
    epochs: Callable[[Any], int] = lambda recipe: recipe.epochs
    shape: Callable[[Any], Any] | None = None
    follow: Callable[["Study", list], Any] | None = None
    profile: str = QUICK
    spec: Any = None
    changes: dict = dataclasses.field(default_factory=dict)
    after: Any = None
    options: dict = dataclasses.field(default_factory=dict)
    _pattern: str = "*"
    _loaded: dict = dataclasses.field(default_factory=dict, repr=False)  # shared by all stages

    def at(self, profile=QUICK, data=None, seeds=None, changes=None, after=None):
        """The study at one scale, on certain data.

        Args:
            profile: "quick" (minutes, embedded data), "cpu" (hours on two cores, real data) or
                "full" (the write-up's scale, a GPU).
            data: what `ganlib.data.load` takes; None: as the study's `source` says.
            seeds: int, number of seeds; None: as many as the profile has.
            changes: dict of recipe field → value, for all trials; see `changed`.
            after: what `follow` has returned, for the stage after it.

        Raises:
            ValueError: the profile is unknown, or a change does not fit the recipe.
            DataError: `$GANLIB_DATA` does not say which data are meant.
        """
        if profile not in self.profiles:
            raise ValueError(
                f"`profile` must be one of {', '.join(self.profiles)}"
                f"{meant(profile, self.profiles)}. Received: profile={profile!r}"
            )
        new = {"profile": profile, "changes": dict(changes or {}), "after": after}
        options = {**new, "data": data, "seeds": seeds or self.seeds[profile]}
        spec = self.source.choose(profile, data)
        study = dataclasses.replace(
            self, **new, spec=spec, options=options, _pattern="*", _loaded={}
        )
        study.recipes  # noqa: B018  what is wrong with the changes is told now
        return study

    @functools.cached_property
    def base(self):
        """The profile's recipe, before any change."""
        return self.recipe(**self.profiles[self.profile])

    @functools.cached_property
    def recipes(self):
        """Dict of name → recipe of each variation, changes made last."""
        return {name: changed(r, self.changes) for name, r in self.variations(self).items()}

    @property
    def data(self):
        """The data, loaded when they are first asked for."""
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
        for trial in self.trials:
            if trial.id == trial_id:
                return trial
        raise StudyError(
            "There is no such trial with these data and this version of the study: give the same "
            f"everywhere. Received: {trial_id!r}"
        )

    def shape_of(self, trial):
        """What trials have in common that share their compiled programs."""
        return trial.id if self.shape is None else self.shape(trial.recipe)

    def select(self, pattern):
        """The same study with only the trials whose name or id matches a shell pattern."""
        chosen = dataclasses.replace(self, _pattern=pattern, follow=None)
        if not chosen.trials:
            raise ValueError(
                f"No trial's name or id matches{meant(pattern, self.recipes)}: the names are "
                f"{', '.join(self.recipes)}. Received: {pattern!r}"
            )
        return chosen

    def next(self, results):
        """The stage that follows from a list of result dicts of all trials; None: there is none."""
        after = self.follow(self, results) if self.follow and self.after is None else None
        if after is None:
            return None
        return dataclasses.replace(self, after=after, options={**self.options, "after": after})


def mark(profile, changes=None):
    """What a figure says of its profile and of the dict of changed fields; "" at full scale."""
    changed = ", ".join(f"{name}={value}" for name, value in (changes or {}).items())
    return "; ".join(filter(None, [MARKS.get(profile), changed and f"changed: {changed}"]))
