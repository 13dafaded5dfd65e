"""Where runs go that nobody named a folder for: `runs/<source>-<recipe>-001`, counted up."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from sightline.errors import OutputExists
from sightline.system.files import check_free, writing_to

PARENT = Path("runs")
# Of every run; whoever makes it has the folder.
CLAIM = "recipe.json"


def make_run_folder(out: Path | None, *, stem: str) -> Path:
    """Make the folder of a new run; never one that holds something already.

    Args:
        out: what the user asked for, or None for `runs/<stem>-001`, counted up.
        stem: "mnist-fast".

    Returns:
        A folder that now exists; one that was named holds an empty recipe.json, and no other command gets it.

    Raises:
        OutputExists: `out` is a file or a folder with something in it, or another command was faster.
        CannotWrite: the folder cannot be made.

    Example:
        >>> import tempfile
        >>> make_run_folder(Path(tempfile.mkdtemp()) / "first", stem="mnist-fast").name
        'first'
    """
    if out is not None:
        with writing_to(out):
            check_free(out)
            out.mkdir(parents=True, exist_ok=True)
            _claim(out)
        return out
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


def _claim(folder: Path) -> None:
    """Of two commands that found the same folder free, only one has it from here on."""
    try:
        (folder / CLAIM).open("x").close()
    except FileExistsError:
        raise OutputExists(f"{folder}: is being written by another command. Name another folder, or wait.") from None


def give_up(folder: Path) -> None:
    """Leave a folder as free as it was found; nothing but the claim on it is removed."""
    with contextlib.suppress(OSError):
        if (folder / CLAIM).stat().st_size == 0:
            (folder / CLAIM).unlink()


def earlier_runs(stem: str) -> dict[int, Path]:
    """The folders that are counted up under one name.

    Args:
        stem: "mnist-fast".

    Returns:
        Number to folder; whether each holds a finished run is another question.

    Raises:
        CannotWrite: the folder around them cannot be looked into.

    Example:
        >>> earlier_runs("never-trained")
        {}
    """
    pattern = re.compile(rf"{re.escape(_clean(stem))}-(\d+)")
    with writing_to(PARENT):
        found = tuple(PARENT.iterdir()) if PARENT.is_dir() else ()
    return {int(match[1]): path for path in found if (match := pattern.fullmatch(path.name))}


def _clean(stem: str) -> str:
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "run"
