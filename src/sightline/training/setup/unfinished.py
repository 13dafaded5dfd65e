"""What an unfinished run was begun from, whether it is the same now, and how to go on with it. Imports no Keras."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from sightline._version import __version__
from sightline.configuration.recipes import flatten, parse_recipe
from sightline.configuration.values import as_typed
from sightline.errors import InvalidBundle, InvalidValue, SightlineError
from sightline.evaluation.measuring.finished_runs import REQUEST, FinishedRun, read_run, unfinished_search_of
from sightline.integrations.tracking.addresses import without_credentials
from sightline.system.files import write_json
from sightline.system.paths import leads_elsewhere
from sightline.system.stored import read_json, read_plain
from sightline.system.text import counted, printable
from sightline.system.workers import available_processors
from sightline.training.setup.preparation import Prepared

# Written last, after all figures: with it a run is finished.
FINISHED = "metrics.json"
MEMBERS, CHECKPOINTS = "members", "checkpoints"
# What the run was begun from; written before it learns.
PLAN = "plan.json"
# What metrics.json is to hold; written when the bundle is whole, just before it appears.
FIGURES = "figures.json"
# Held by whoever is at it.
LOCK = "lock"
# Another of these computes other digits.
_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy")
# What a request of each verb may hold beside its recipe; a run may come from somebody else.
_TEXT, _SAID = (str,), (str, NoneType)
OPTIONS: dict[str, dict[str, tuple[type, ...]]] = {
    "train": {
        "backend": _SAID,
        "log_every": (int, NoneType),
        "tensorboard": _SAID,
        "track": _SAID,
        "jobs": (int,),
        "processes": (int,),
        "checkpoint_every": _SAID,
    },
    "distil": {"bundle": _TEXT, "into": _TEXT, "backend": _SAID, "checkpoint_every": _SAID},
    "extend": {"run": _TEXT, "epochs": (int,), "backend": _SAID, "checkpoint_every": _SAID},
}
# Of these, what a run writes outside of its folder: named again by whoever goes on with it.
OUTSIDE = ("tensorboard", "track")
_INTERVAL = re.compile(r"(\d+)\s*(steps?|s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_MOST_NAMED, _LONGEST_NAMED = 3, 300


@dataclass(frozen=True)
class Interval:
    """How often a checkpoint is made: after so many seconds, or after so many steps."""

    seconds: float | None = None
    steps: int | None = None

    def __str__(self) -> str:
        return f"{self.seconds:.0f}s" if self.steps is None else f"{self.steps}steps"


USUAL = Interval(seconds=60.0)


def read_interval(typed: str | None) -> Interval | None:
    """What `--checkpoint-every` says: 500steps, 30s, 5m or 1h; None where it says nothing."""
    if typed is None:
        return None
    match = _INTERVAL.fullmatch(typed) if isinstance(typed, str) else None
    if match is None or not 1 <= int(match[1]) <= 10**9:
        raise InvalidValue(
            f"checkpoint_every takes a whole number of at least 1 with its unit, such as 500steps, 30s, 5m or 1h; "
            f"got {typed!r}."
        )
    number, unit = int(match[1]), match[2]
    return Interval(steps=number) if unit.startswith("step") else Interval(seconds=number * _SECONDS[unit])


def folder_of_parts(folder: Path, *, is_ensemble: bool) -> Path:
    """Where a run keeps what it is not finished with: members, or the checkpoints of a single network."""
    return folder / (MEMBERS if is_ensemble else CHECKPOINTS)


def plan_of(data: Prepared, *, processes: int = 1) -> dict[str, Any]:
    """What the digits of a run depend on besides recipe and splits."""
    loaded = {name: getattr(sys.modules.get(name), "__version__", None) for name in _PACKAGES}
    versions = {"sightline": __version__, **{name: version for name, version in loaded.items() if version}}
    teacher = None if data.distillation is None else dict(data.distillation.teacher)
    plan: dict[str, Any] = {"fingerprint": data.dataset.fingerprint, "versions": versions, "teacher": teacher}
    if data.network is not None:
        plan["network"] = data.network.digest
    if processes > 1:
        plan["processes"] = processes
    # As it is read back.
    told: dict[str, Any] = json.loads(json.dumps(plan))
    return told | {"processors": available_processors()}


def write_plan(folder: Path, data: Prepared, *, processes: int = 1) -> None:
    """Keep what a run is begun from; going on, the number of processors is that of the last who was at it."""
    parts = folder_of_parts(folder, is_ensemble=data.recipe.ensemble.kind != "none")
    write_json(parts / PLAN, plan_of(data, processes=processes))


@dataclass(frozen=True)
class Differences:
    """What is no longer as an unfinished run was begun, in words.

    Attributes:
        of_run: with any of these it would be another run.
        of_versions: with these its last digits are others; who says so may go on.
    """

    of_run: tuple[str, ...]
    of_versions: tuple[str, ...] = ()


def differences(folder: Path, data: Prepared, splits: str, *, processes: int = 1) -> Differences:
    """Compare what an unfinished run was begun from with what it would be gone on with."""
    if (leading := leads_elsewhere(folder)) is not None:
        return Differences((leading,))
    try:
        recipe = read_json(folder / "recipe.json")
        plan = read_json(folder_of_parts(folder, is_ensemble=data.recipe.ensemble.kind != "none") / PLAN)
        old_splits = read_plain(folder / "splits.csv").decode("utf-8")
        now = plan_of(data, processes=processes)
        found = list(_of_recipes(recipe, data.recipe.to_dict()))
        if plan["fingerprint"] != now["fingerprint"]:
            found.append("the images or their labels changed")
        if plan["teacher"] != now["teacher"]:
            found.append("the teacher is another")
        if plan.get("network") != now.get("network"):
            found.append("the network that is given is another, or has other weights")
        on_before, on_now = (told.get("processes", 1) for told in (plan, now))
        if on_before != on_now:
            before, there = (counted(number, "process", "processes") for number in (on_before, on_now))
            found.append(f"it learned on {before} and would go on on {there}")
        of_versions = tuple(_of_versions(plan["versions"], now["versions"]))
    except (OSError, ValueError, AttributeError, TypeError, KeyError, InvalidValue):
        return Differences(("what it was begun from cannot be read any more",))
    if not found and old_splits != splits:
        found.append("the images are divided otherwise")
    return Differences(tuple(found), of_versions)


def _of_recipes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, now = dict(flatten(old)), dict(flatten(new))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            yield f"{key} was {as_typed(before.get(key))} and is {as_typed(now.get(key))}"


def _of_versions(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"{name} was {before.get(name, 'not there')} and is {now.get(name, 'not there')}"


def in_words(found: Iterable[str]) -> str:
    """A few differences as one clause."""
    named = [printable(each[:_LONGEST_NAMED]) for each in found]
    rest = len(named) - _MOST_NAMED
    return "; ".join(named[:_MOST_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def has_other_processors(parts: Path) -> int | None:
    """How many processors an unfinished run had, if they are not as many as here: its last digits may differ then."""
    try:
        before = read_json(parts / PLAN).get("processors")
    except (OSError, ValueError, AttributeError):
        return None
    return before if isinstance(before, int) and before != available_processors() else None


def read_judged(folder: Path, parts: Path) -> FinishedRun | None:
    """A run that was ended between its bundle and its last figures, as `metrics.json` will tell it; else None."""
    if not (parts / FIGURES).exists() or (folder / FINISHED).exists():
        return None
    try:
        return read_run(folder, metrics=read_json(parts / FIGURES))
    except (OSError, ValueError, InvalidBundle):
        return None  # its bundle is not there yet, or was damaged


def remove_checkpoints(folder: Path) -> None:
    """Forget what a run of a single network was going on from."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


@dataclass(frozen=True)
class KeptRequest:
    """How a run was asked for, in plain JSON types: by `train` or `distil`, with which recipe and options."""

    verb: str
    recipe: Mapping[str, Any]
    options: Mapping[str, Any]


def keep_request(folder: Path, asked: KeptRequest, *, source: str) -> None:
    """Keep how a run was asked for, so that it can be asked for again; images in memory have no name to ask by."""
    if source:
        parts = folder_of_parts(folder, is_ensemble=asked.recipe["ensemble"]["kind"] != "none")
        write_json(parts / REQUEST, {"source": source, "folder": str(Path.cwd()), **asdict(asked)})


def check_is_no_trial(folder: Path) -> None:
    """Refuse to finish, or to begin, a run among the trials of a search that is under way."""
    search = unfinished_search_of(folder)
    if search is not None:
        raise InvalidValue(
            f"{folder}: it is a trial of the search {search}, which has not chosen yet: until then no test image is "
            "looked at. Go on with the search by the command that began it."
        )


def read_request(folder: Path) -> tuple[str, KeptRequest]:
    """How an unfinished run was asked for: its source as it is found from here, and the rest."""
    found = [folder / parts / REQUEST for parts in (CHECKPOINTS, MEMBERS) if (folder / parts / REQUEST).exists()]
    if not found:
        why = "there is no unfinished run. Name the folder of one, as `train` told it."
        if (folder / CHECKPOINTS).is_dir() or (folder / MEMBERS).is_dir():
            why = "only what began this run can go on with it: the same command or call, with the same folder."
        raise InvalidValue(f"{printable(str(folder))}: {why}")
    try:
        kept = read_json(found[0])
        source, from_there = kept["source"], Path(kept["folder"]) / kept["source"]
        asked = KeptRequest(kept["verb"], parse_recipe(kept["recipe"]).to_dict(), _checked_options(kept))
        is_elsewhere = not Path(source).exists() and from_there.exists()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SightlineError) as error:
        raise InvalidValue(
            f"{printable(str(found[0]))}: cannot be read ({printable(str(error))[:200]}). Give the command again that "
            "began this run."
        ) from error
    return str(from_there) if is_elsewhere else source, asked


def _checked_options(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a request; a KeyError, ValueError or TypeError where nothing of ours asks so."""
    known, options = OPTIONS[kept["verb"]], dict(kept["options"])
    if unknown := sorted(options.keys() - known.keys()):
        raise ValueError(f"{kept['verb']} has no option {unknown[0]!r}")
    needed = [name for name, kinds in known.items() if NoneType not in kinds]
    if missing := [name for name in needed if name not in options and name not in ("jobs", "processes")]:
        raise ValueError(f"{kept['verb']} lacks the option {missing[0]!r}")
    for name, value in options.items():
        if type(value) not in known[name]:
            raise TypeError(f"{name} is {value!r}")
    for text in (kept["source"], kept["folder"], *options.values()):
        if isinstance(text, str) and (not text or "\0" in text):
            raise ValueError(f"{text!r} names nothing")
    return options


def how_to_go_on(folder: Path) -> str:
    """What to type to go on with an unfinished run."""
    try:
        options = read_request(folder)[1].options
    except InvalidValue:
        return "the same again"
    words = ["sightline", "resume", str(folder)]
    for name in OUTSIDE:
        if options.get(name) is not None:
            words += [f"--{name}", without_credentials(options[name]) if name == "track" else options[name]]
    return printable(shlex.join(words))


@contextlib.contextmanager
def telling_how_to_go_on(folder: Path) -> Iterator[None]:
    """While it is open, whoever is interrupted is told how to go on with what is kept."""
    try:
        yield
    except KeyboardInterrupt as stop:
        kept = itertools.chain(*(folder.glob(f"{parts}/[0-9]*") for parts in (CHECKPOINTS, MEMBERS)))
        if any(map(Path.is_dir, kept)):
            stop.args = (f"interrupted, and kept as it is. To go on: {how_to_go_on(folder)}",)
        raise
