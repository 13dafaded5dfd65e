"""Where a command may write: never onto what it reads, never onto a file of another kind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sightline.errors import InvalidValue, OutputExists


def check_target(option: str, target: Path | None, suffix: str, *, keep: Iterable[str | Path]) -> None:
    """Refuse a place to write to before any work is done for it.

    Args:
        option: as it is typed, "--csv".
        target: the file to be written, or None.
        suffix: what an older file of this kind ends in; nothing else is overwritten.
        keep: files and folders that the command reads; nothing in them is written.

    Raises:
        InvalidValue: the target is one of `keep`, or lies in one.
        OutputExists: it is a folder, or a file of another kind.

    Example:
        >>> check_target("--csv", Path("answers.csv"), ".csv", keep=["photos"])
    """
    if target is None:
        return
    place = target.resolve()
    for name in keep:
        kept = Path(name).resolve()
        if kept.exists() and (place == kept or kept in place.parents):
            raise InvalidValue(f"{option} {target} belongs to {name}, which is never changed. Name another file.")
    if target.is_dir():
        raise OutputExists(f"{option} {target} is a folder. Name a file.")
    if target.exists() and target.suffix.lower() != suffix:
        raise OutputExists(f"{option} {target} exists and is no {suffix} file; it was not changed. Name another file.")


def unused(path: Path) -> Path:
    """The path, or the next with a number in it that is not taken.

    Args:
        path: a file name that the user did not choose.

    Returns:
        "photos.png", "photos-2.png", ...

    Raises:
        Nothing.

    Example:
        >>> unused(Path("not-there.png")).name
        'not-there.png'
    """
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate
