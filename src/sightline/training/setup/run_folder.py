"""The folder of a run: a new one, counted up, or that of an unfinished ensemble. Imports no Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from sightline.configuration.schema import Recipe
from sightline.data.splitting.splits import splits_csv
from sightline.errors import InvalidValue, MissingPackage, OutputExists
from sightline.system.files import check_free, write_atomically, write_json, writing_to
from sightline.system.paths import absolute_path
from sightline.system.progress import reporter
from sightline.system.stored import read_json, read_plain
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.resolution import SettledKey

PARENT = Path("runs")
# Of every run; whoever makes it has the folder.
CLAIM = "recipe.json"

# Of every run, before it learns.
BEGUN = ("recipe.json", "splits.csv", "excluded.csv", "resolution.json")
MEMBERS = "members"
# What was divided for the members; written before the first of them.
PLAN = "plan.json"
# Held by whoever trains them.
LOCK = "lock"

if sys.platform == "win32":
    import msvcrt

    def _lock(stream: TextIO) -> None:
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(stream: TextIO) -> None:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def may_go_on(out: Path, recipe: Recipe) -> bool:
    """Whether a folder that is not empty may be an ensemble that was left unfinished; `run_folder` looks closer."""
    with writing_to(out):
        return recipe.ensemble.kind != "none" and (out / MEMBERS).is_dir() and not (out / "metrics.json").exists()


@contextlib.contextmanager
def run_folder(out: Path | None, data: Prepared) -> Iterator[Path]:
    """The folder that a run is written to, with its recipe and splits in it; an ensemble's is locked while it is open.

    Args:
        out: what the user asked for, or None for `runs/<source>-<recipe>-001`, counted up; an ensemble of the same
            recipe, data and splits that was left unfinished, and that nobody is at, is gone on with.
        data: prepared.
    """
    stem = f"{data.dataset.name}-{data.recipe.name}"
    splits, is_ensemble = splits_csv(data.dataset, data.splits), data.recipe.ensemble.kind != "none"
    places = _unfinished(stem, data.recipe) if out is None else [out] if may_go_on(out, data.recipe) else []
    with contextlib.ExitStack() as held:
        for place in places:
            is_same = _is_same(place, data, splits)
            if is_same and held.enter_context(_locked(place)):
                _go_on(place)
                yield place
                return
            if out is not None and is_same:
                raise _busy(out)
            if out is not None:
                raise OutputExists(
                    f"{out}: holds an unfinished ensemble of another recipe, other data or other splits. "
                    "Name another folder, or delete this one."
                )
        folder = make_run_folder(out, stem=stem)
        if is_ensemble and not held.enter_context(_locked(folder)):
            raise _busy(folder)
        write_json(folder / BEGUN[0], data.recipe.to_dict())
        write_atomically(folder / BEGUN[1], splits)
        write_atomically(folder / BEGUN[2], data.excluded_csv())
        write_resolution(folder, data.changes)
        if is_ensemble:
            write_json(folder / MEMBERS / PLAN, _plan(data))
        try:
            yield folder
        except (InvalidValue, MissingPackage):
            _clear_if_only_begun(folder)
            raise


def write_resolution(folder: Path, changes: Iterable[SettledKey]) -> None:
    """Keep beside the recipe what was settled of it, and why."""
    write_json(folder / BEGUN[3], [dataclasses.asdict(change) for change in changes])


def make_run_folder(out: Path | None, *, stem: str) -> Path:
    """Make the folder of a new run, `out` or `runs/<stem>-001`, counted up; never one that holds something already."""
    if out is not None:
        with writing_to(out):
            check_free(out)
            out.mkdir(parents=True, exist_ok=True)
            _claim(out)
        return out
    absolute_path(PARENT)  # refuses a current folder that is gone
    with writing_to(PARENT):
        PARENT.mkdir(exist_ok=True)
        number = max(earlier_runs(stem), default=0) + 1
        while True:
            folder = PARENT / f"{_clean(stem)}-{number:03d}"
            # Two trainings may start at once: whoever makes the folder has it.
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
            number += 1


def give_up(folder: Path) -> None:
    """Leave a folder as free as it was found; nothing but the claim on it is removed."""
    with contextlib.suppress(OSError):
        if (folder / CLAIM).stat().st_size == 0:
            (folder / CLAIM).unlink()


def earlier_runs(stem: str) -> dict[int, Path]:
    """The folders that are counted up under one name."""
    pattern = re.compile(rf"{re.escape(_clean(stem))}-(\d+)")
    with writing_to(PARENT):
        found = tuple(PARENT.iterdir()) if PARENT.is_dir() else ()
    return {int(match[1]): path for path in found if (match := pattern.fullmatch(path.name))}


def _unfinished(stem: str, recipe: Recipe) -> list[Path]:
    """Unfinished ensembles under the name that a run of this recipe would get, the latest first."""
    return [place for _, place in sorted(earlier_runs(stem).items(), reverse=True) if may_go_on(place, recipe)]


def _is_same(place: Path, data: Prepared, splits: str) -> bool:
    try:
        recipe = read_json(place / "recipe.json")
        plan = read_json(place / MEMBERS / PLAN)
        same_splits = read_plain(place / "splits.csv").decode("utf-8") == splits
    except (OSError, ValueError):
        return False
    return bool(recipe == data.recipe.to_dict() and plan == _plan(data) and same_splits)


def _busy(folder: Path) -> OutputExists:
    return OutputExists(f"{folder}: is being trained by another command. Name another folder, or wait.")


def _go_on(place: Path) -> None:
    reporter().say(f"going on with the ensemble that was left unfinished in {place}")
    # What was being written, and a bundle without the figures that belong to it: both are made anew.
    for half in (place / "bundle", *place.glob(".*.partial"), *(place / MEMBERS).glob(".*.partial")):
        shutil.rmtree(half, ignore_errors=True)


def _clear_if_only_begun(folder: Path) -> None:
    """A run that was refused before it learned anything leaves no folder that the next one would find taken."""
    if all(path.name in BEGUN for path in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this process alone is at an ensemble; the system lets go of the lock however the process ends."""
    path = folder / MEMBERS / LOCK
    with writing_to(path):
        path.parent.mkdir(exist_ok=True)
        stream = path.open("a", encoding="utf-8")
    with stream:
        try:
            _lock(stream)
        except OSError:
            yield False
        else:
            yield True


def _plan(data: Prepared) -> dict[str, str]:
    return {"fingerprint": data.dataset.fingerprint}


def _claim(folder: Path) -> None:
    """Of two commands that found the same folder free, only one has it from here on."""
    try:
        (folder / CLAIM).open("x").close()
    except FileExistsError:
        raise OutputExists(f"{folder}: is being written by another command. Name another folder, or wait.") from None


def _clean(stem: str) -> str:
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "run"
