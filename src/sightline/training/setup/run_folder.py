"""The folder of a run: a new one, counted up, or that of a run that was left unfinished. Imports no Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from sightline.bundles.vetting.given_networks import GIVEN
from sightline.configuration.schema import Recipe
from sightline.data.splitting.splits import splits_csv
from sightline.errors import CannotWrite, InvalidValue, MissingPackage, OutputExists, TrainingFailed
from sightline.quality.findings import finding_figures
from sightline.quality.labels.label_table import changed_labels_csv
from sightline.system.files import check_free, is_leftover, write_atomically, write_json, writing_to
from sightline.system.paths import absolute_path, leads_elsewhere, portable_name
from sightline.system.progress import reporter
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.resolution import SettledKey
from sightline.training.setup.unfinished import (
    CHECKPOINTS,
    FIGURES,
    FINISHED,
    LOCK,
    MEMBERS,
    Differences,
    differences,
    folder_of_parts,
    has_other_processors,
    in_words,
    read_judged,
    remove_checkpoints,
    write_plan,
)

PARENT = Path("runs")
# Of every run; whoever makes it has the folder.
CLAIM = "recipe.json"

# Of every run, before it learns.
BEGUN = ("recipe.json", "splits.csv", "excluded.csv", "resolution.json", "findings.json", "labels.csv")
# Of each finding so many files are named in the run; an audit names all.
_MOST_PATHS = 20

if sys.platform == "win32":
    import msvcrt

    def lock_now(stream: TextIO) -> None:
        """Lock a file that is open; an OSError where another process has."""
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def lock_now(stream: TextIO) -> None:
        """Lock a file that is open; an OSError where another process has."""
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def may_go_on(out: Path, recipe: Recipe) -> bool:
    """Whether a folder that is not empty may be a run that was left unfinished; `run_folder` looks closer."""
    parts = folder_of_parts(out, is_ensemble=recipe.ensemble.kind != "none")
    with writing_to(out):
        # Of a process that was killed right after it had claimed the folder, there is the claim alone.
        is_claim = (
            out.is_dir() and [path.name for path in out.iterdir()] == [CLAIM] and not (out / CLAIM).stat().st_size
        )
        return (parts.is_dir() or is_claim) and not (out / FINISHED).exists()


@dataclasses.dataclass(frozen=True)
class GoingOn:
    """What is asked of an unfinished run: whether there must be one, and whether other versions may go on with it.

    `processes` are those that one network learns on, by which its last digits go.
    """

    must: bool = False
    force: bool = False
    processes: int = 1

    def check_begun(self, out: Path) -> None:
        """Refuse a folder without an unfinished run where there must be one."""
        if self.must:
            raise InvalidValue(f"nothing to go on with: {out} holds no unfinished run. Leave --resume out to begin.")


# What is usual: to go on where that is possible, else to begin.
AS_IT_COMES = GoingOn()


@contextlib.contextmanager
def run_folder(out: Path | None, data: Prepared, going_on: GoingOn = AS_IT_COMES) -> Iterator[Path]:
    """The folder that a run is written to, with its recipe and splits in it, locked while it is open.

    Where the run is finished at the end, or failed for good, the checkpoints of a single network go.

    Args:
        out: what the user asked for, or None for `runs/<source>-<recipe>-001`, counted up; a run of the same recipe,
            data, splits and versions that was left unfinished, and that nobody is at, is gone on with.
        data: prepared.
        going_on: whether a new run is refused, and other versions are let at an unfinished one.
    """
    stem = f"{data.dataset.name}-{data.recipe.name}"
    splits, is_ensemble = splits_csv(data.dataset, data.splits), data.recipe.ensemble.kind != "none"
    with contextlib.ExitStack() as held:
        begun = _unfinished_one(held, out, data, splits, going_on)
        folder = make_run_folder(out, stem=stem) if begun is None else begun
        try:
            if begun is None and not held.enter_context(_locked(folder, is_ensemble=is_ensemble)):
                raise _busy(folder)
            if _is_only_claimed(folder, is_ensemble=is_ensemble):
                _write_begun(folder, data, splits)
            write_plan(folder, data, processes=going_on.processes)
            yield folder
        except (InvalidValue, MissingPackage, CannotWrite) as error:
            _clear_if_only_begun(folder, is_refused=not isinstance(error, CannotWrite))
            raise
        except TrainingFailed:
            # What diverged would diverge again.
            remove_checkpoints(folder)
            raise
        if (folder / FINISHED).exists():
            (folder_of_parts(folder, is_ensemble=is_ensemble) / FIGURES).unlink(missing_ok=True)
            remove_checkpoints(folder)


def _write_begun(folder: Path, data: Prepared, splits: str) -> None:
    write_json(folder / BEGUN[0], data.recipe.to_dict())
    write_atomically(folder / BEGUN[1], splits)
    write_atomically(folder / BEGUN[2], data.excluded_csv())
    write_resolution(folder, data.changes)
    if data.network is not None:
        write_atomically(folder / GIVEN, data.network.content)
    write_json(folder / BEGUN[4], [finding_figures(one, most_paths=_MOST_PATHS) for one in data.findings or ()])
    write_atomically(folder / BEGUN[5], changed_labels_csv(data.dataset))


def _unfinished_one(
    held: contextlib.ExitStack, out: Path | None, data: Prepared, splits: str, going_on: GoingOn
) -> Path | None:
    """The folder of an unfinished run that is the same as this one, locked from here on; None where there is none."""
    stem, is_ensemble = f"{data.dataset.name}-{data.recipe.name}", data.recipe.ensemble.kind != "none"
    places = _unfinished(stem, data.recipe) if out is None else [out] if may_go_on(out, data.recipe) else []
    told = ""
    for place in places:
        found = _changes(place, data, splits, going_on.processes)
        refused = found.of_run + (() if going_on.force else found.of_versions)
        if not refused and _is_had(held, place, data, splits, found, going_on):
            _go_on(place, found, is_ensemble=is_ensemble)
            return place
        if out is not None and not refused:
            raise _busy(out)
        kind = "ensemble" if is_ensemble else "run"
        said = f"{place}: holds an unfinished {kind} that is not this one: {in_words(refused)}." if refused else ""
        if out is not None:
            forced = "" if found.of_run else ", or go on all the same with --force"
            raise OutputExists(f"{said} Name another folder, {'or ' if not forced else ''}delete this one{forced}.")
        told = told or said
    if going_on.must:
        where = told or f"there is no unfinished run in {PARENT if out is None else out} that nobody is at."
        raise InvalidValue(f"nothing to go on with: {where} Leave --resume out to begin a new run.")
    if told:
        reporter().say(f"note: {told} A new run begins.")
    return None


def _changes(place: Path, data: Prepared, splits: str, processes: int) -> Differences:
    """What is no longer as an unfinished run was begun; a folder that may come from a stranger is looked at as one."""
    is_ensemble = data.recipe.ensemble.kind != "none"
    if _is_only_claimed(place, is_ensemble=is_ensemble) and leads_elsewhere(place) is None:
        return Differences(())
    return differences(place, data, splits, processes=processes)


def _is_had(
    held: contextlib.ExitStack, place: Path, data: Prepared, splits: str, found: Differences, going_on: GoingOn
) -> bool:
    """Whether an unfinished run is locked from here on, and still is what it was before it was locked."""
    with contextlib.ExitStack() as lock:
        if not lock.enter_context(_locked(place, is_ensemble=data.recipe.ensemble.kind != "none")):
            return False
        if may_go_on(place, data.recipe) and _changes(place, data, splits, going_on.processes) == found:
            held.enter_context(lock.pop_all())
            return True
    if (place / FINISHED).exists():
        remove_checkpoints(place)  # of which the lock has made a folder again
    return False


def _is_only_claimed(folder: Path, *, is_ensemble: bool) -> bool:
    """Whether a run ended before it had written what it was begun from, so that nothing of it can be lost."""
    parts = folder_of_parts(folder, is_ensemble=is_ensemble)
    with writing_to(folder):
        names = {path.name for path in folder.iterdir() if not is_leftover(path)} - {*BEGUN, GIVEN, parts.name}
        of_parts = {path.name for path in parts.iterdir() if not is_leftover(path)} if parts.is_dir() else set()
    return not names and of_parts <= {LOCK}


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
    """Unfinished runs under the name that a run of this recipe would get, the latest first."""
    return [place for _, place in sorted(earlier_runs(stem).items(), reverse=True) if may_go_on(place, recipe)]


def _busy(folder: Path) -> OutputExists:
    return OutputExists(f"{folder}: is being trained by another command. Name another folder, or wait.")


def _go_on(place: Path, found: Differences, *, is_ensemble: bool) -> None:
    what, parts = "ensemble" if is_ensemble else "run", folder_of_parts(place, is_ensemble=is_ensemble)
    reporter().say(f"going on with the {what} that was left unfinished in {place}")
    if found.of_versions:
        reporter().say(f"note: {in_words(found.of_versions)}; the weights will be those of neither alone")
    before = has_other_processors(parts)
    if before is not None:
        reporter().say(f"note: it had {before} processors before; with another number the last digits may differ")
    for half in (*place.glob(".*.partial"), *parts.glob(".*.partial")):
        shutil.rmtree(half, ignore_errors=True)
    if read_judged(place, parts) is None:
        # A bundle without the figures that belong to it, or figures without the bundle: both are made anew.
        shutil.rmtree(place / "bundle", ignore_errors=True)
        (parts / FIGURES).unlink(missing_ok=True)
        # A single network's is written as far as its checkpoint goes.
        (place / "history.jsonl").unlink(missing_ok=True)


def _clear_if_only_begun(folder: Path, *, is_refused: bool) -> None:
    """A run that ended before it learned anything leaves no folder that the next one would find taken.

    Of one that learned, what it was asked by goes where it was refused, as it would be again.
    """
    parts = [place for place in (folder / CHECKPOINTS, folder / MEMBERS) if place.is_dir()]
    parts = [place for place in parts if all(path.is_file() for path in place.iterdir())]
    is_begun = all(path.name in (*BEGUN, GIVEN) or path in parts for path in folder.iterdir())
    for place in parts if is_begun or is_refused else ():
        shutil.rmtree(place, ignore_errors=True)
    if is_begun:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, *, is_ensemble: bool) -> Iterator[bool]:
    """Whether this process alone is at a run; the system lets go of the lock however the process ends."""
    path = folder_of_parts(folder, is_ensemble=is_ensemble) / LOCK
    with writing_to(path):
        path.parent.mkdir(exist_ok=True)
        stream = path.open("a", encoding="utf-8")
    with stream:
        try:
            lock_now(stream)
        except OSError:
            yield False
        else:
            yield True


def _claim(folder: Path) -> None:
    """Of two commands that found the same folder free, only one has it from here on."""
    try:
        (folder / CLAIM).open("x").close()
    except FileExistsError:
        raise OutputExists(f"{folder}: is being written by another command. Name another folder, or wait.") from None


def _clean(stem: str) -> str:
    return portable_name(re.sub(r"[^\w.-]+", "-", stem).strip("-.")) or "run"
