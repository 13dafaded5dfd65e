"""Where an export lies: its file, or folder, with what belongs to it, its report and its README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.bundles.bundle import FOLDER
from sightline.deployment.conversion.formats import Format
from sightline.errors import OutputExists
from sightline.evaluation.measuring.judging import run_of
from sightline.records import Bundle
from sightline.system.files import sha256_of
from sightline.system.paths import absolute_path, check_output
from sightline.system.stored import read_json
from sightline.system.text import printable

MARK = "sightline-export"
REPORT, README = "parity.json", "README.md"
# In the name of what was not compared.
UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Places:
    """The paths of one export, all in one folder.

    Attributes:
        file: the exported file; of some formats a folder.
        beside: files that belong to it.
        report: `parity.json`.
        readme: `README.md`.
        is_folder: whether the exported file is a folder.
    """

    file: Path
    beside: tuple[Path, ...]
    report: Path
    readme: Path
    is_folder: bool = False

    @property
    def all(self) -> tuple[Path, ...]:
        """Every one of them."""
        return (self.file, *self.beside, self.report, self.readme)

    def hashes(self, folder: Path) -> dict[str, dict[str, str]]:
        """What was written in a folder under their names, but for the report, which holds this: name to hash."""
        written = [folder / place.name for place in self.all if place != self.report]
        return {
            path.relative_to(folder).as_posix(): {"sha256": sha256_of(path)} for one in written for path in _files(one)
        }


def places_for(bundle: Bundle, name: str, form: Format, out: Path | None, *, is_checked: bool = True) -> Places:
    """Where the export of a format goes; beside a file that was named, report and README bear its name."""
    ending, mark = Path(form.file).suffix, "" if is_checked else f".{UNCHECKED}"
    is_named = out is not None and ending and out.suffix.lower() == ending
    if out is not None and is_named and (form.is_folder or not out.is_dir()):
        # In small letters: `.HTML` and `.XML` are what no writer, and no reader of the name, takes for theirs.
        file = out.with_name(f"{out.stem}{mark}{ending}")
        report, readme = (file.with_name(f"{file.stem}.{what}") for what in (REPORT, README))
    else:
        folder = out if out is not None else _folder(bundle) / (name if is_checked else f"{name}-{UNCHECKED}")
        file = folder / f"{Path(form.file).stem}{mark}{ending}"
        report, readme = folder / REPORT, folder / README
    # Not with_suffix: of a folder, what stands behind a point is part of its name.
    stem = file.name.removesuffix(ending) if ending else file.name
    beside = tuple(file.with_name(f"{stem}{end}") for end in form.beside)
    return Places(file, beside, report, readme, is_folder=form.is_folder)


def _folder(bundle: Bundle) -> Path:
    # "." and ".." are no names to put a folder beside.
    place = bundle.path if bundle.path.name not in ("", "..") else absolute_path(bundle.path, follow_links=False)
    if (run := run_of(bundle)) is not None:
        return (place.parent if place.parent.samefile(run) else run) / "exports"
    return (Path() if place == FOLDER else place.parent) / f"{place.name}-exports"


def check_places(places: Places, keep: list[Path], *, overwrite: bool) -> None:
    """Refuse what others made, before any work is done: ours is what the report there says, byte by byte."""
    written: Any = {}
    if places.report.is_file():
        try:
            content = read_json(places.report)
            written = content["files"] if content["made_by"] == MARK else {}
        except (OSError, ValueError, TypeError, KeyError):
            pass
    known = written if isinstance(written, dict) else {}
    names = {place.name for place in places.all}
    # Of a folder, the name of each file begins with its own.
    others = [name for name in known if str(name).partition("/")[0] not in names]
    if others and not overwrite:
        raise OutputExists(
            f"--out {places.file.parent} holds the export of another format ({printable(str(others[0]))}), "
            "whose report would be lost. Name another folder, or add --overwrite."
        )
    for place in places.all:
        if place == places.file and places.is_folder and place.is_dir() and not place.is_symlink():
            check_output("--out", place / "file", keep=keep)
            if not overwrite and not all(_is_ours(path, places.file.parent, known) for path in _files(place)):
                raise OutputExists(
                    f"--out {place} holds what is not ours; it was not changed. Name another folder, or add "
                    "--overwrite."
                )
            continue
        is_ours = bool(known) if place == places.report else _is_ours(place, place.parent, known)
        check_output("--out", place, keep=keep, overwrite=overwrite or is_ours)


def _is_ours(path: Path, folder: Path, known: Mapping[str, Any]) -> bool:
    entry = known.get(path.relative_to(folder).as_posix(), {})
    told = entry.get("sha256") if isinstance(entry, Mapping) else None
    return path.is_file() and told == sha256_of(path)


def _files(path: Path) -> Iterator[Path]:
    """The path itself, or every file in the folder that it is."""
    if path.is_dir() and not path.is_symlink():
        yield from sorted(one for one in path.rglob("*") if one.is_symlink() or not one.is_dir())
    else:
        yield path
