"""Where a run is tracked, as `--track` says it: checked before an image is read, and never with a password in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sightline.errors import InvalidValue, UnknownName, closest
from sightline.system.paths import absolute_path, check_place
from sightline.system.text import printable

MLFLOW, WANDB = "mlflow", "wandb"
TRACKERS = (MLFLOW, WANDB)
HOW = "mlflow:FOLDER, mlflow:https://SERVER, wandb:PROJECT or wandb:ENTITY/PROJECT"
# What goes on with a run without telling its tracker, which may be gone.
NONE = "none"
_PROJECT = re.compile(r"[^/\\#?%:\s][^/\\#?%:\x00-\x1f\x7f]{0,127}")
# A password may hold a stroke, a colon or an @ itself: all of a word before its last @ goes, but what it is reached by.
_CREDENTIALS = re.compile(r"((?:[\w.+-]+:)?[\w.+-]+://)?\S*@")
# A folder with one of these in its name is none that MLflow's address of a database can name.
_NOT_IN_FOLDER = "?#%\0"


@dataclass(frozen=True)
class TrackAddress:
    """A tracker and the place there: as text what `--track` takes, a folder from the root.

    Attributes:
        tracker: "mlflow" or "wandb".
        place: of MLflow a folder or the address of a server, of Weights & Biases a project, with its entity or not.
    """

    tracker: str
    place: str

    def __str__(self) -> str:
        return f"{self.tracker}:{self.place}"

    @property
    def is_server(self) -> bool:
        """Whether MLflow is asked over HTTP."""
        return self.tracker == MLFLOW and self.place.startswith(("http://", "https://"))


def read_address(typed: str, *, keep: Iterable[str | Path] = ()) -> TrackAddress:
    """What `--track` names.

    Raises:
        UnknownName: no tracker is called that.
        InvalidValue: there is no such place, it holds a password, or lies in a bundle or in one of `keep`.
    """
    if not isinstance(typed, str):
        raise InvalidValue(f"--track takes {HOW}; got {typed!r}.")
    tracker, colon, place = typed.partition(":")
    if tracker not in TRACKERS:
        said = printable(without_credentials(typed))
        raise UnknownName(f"--track {said}: no tracker is called that. {closest(tracker, TRACKERS)} It takes {HOW}.")
    place = place.strip()
    if not colon or not place:
        raise InvalidValue(f"--track {tracker} names no place. It takes {HOW}.")
    if tracker == WANDB:
        return TrackAddress(WANDB, _project(place))
    if "://" in place:
        return TrackAddress(MLFLOW, _server(place))
    return TrackAddress(MLFLOW, str(_folder(place, keep)))


def without_credentials(text: str) -> str:
    """A text in which nothing stands before an @, where passwords of addresses stand."""
    return _CREDENTIALS.sub(lambda found: f"{found[1] or ''}***@", text)


def _project(place: str) -> str:
    entity, slash, project = place.rpartition("/")
    if not all(_PROJECT.fullmatch(part) for part in ([entity, project] if slash else [project])):
        raise InvalidValue(
            f"--track wandb:{printable(without_credentials(place))}: no project is called so. Name PROJECT or "
            "ENTITY/PROJECT, of at most 128 letters each, without any of /\\#?%: in them."
        )
    return place


def _server(place: str) -> str:
    said = f"--track {printable(without_credentials(f'mlflow:{place}'.partition('?')[0]))}"
    if "@" in place or "?" in place or "#" in place:
        raise InvalidValue(
            f"{said}: what follows a ? and a name or a password in an address are kept and shown by others. Set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and leave them out here."
        )
    try:
        parts = urlsplit(place)
        _ = parts.port
    except ValueError as error:
        raise InvalidValue(f"{said}: no address of a server. Name one such as https://HOST:5000.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidValue(
            f"{said}: MLflow is reached by a folder, or by the address of its server, http://... or https://...; a "
            "database of another kind stands behind such a server."
        )
    return place.rstrip("/")


def _folder(place: str, keep: Iterable[str | Path]) -> Path:
    if any(letter in place for letter in _NOT_IN_FOLDER):
        raise InvalidValue(f"--track mlflow:{printable(place)}: MLflow opens no folder with any of ?#% in its name.")
    folder = absolute_path(Path(place).expanduser())
    if any(letter in str(folder) for letter in _NOT_IN_FOLDER):
        raise InvalidValue(
            f"--track mlflow:{printable(str(folder))}: MLflow opens no folder with any of ?#% in its path."
        )
    check_place("track", folder, keep=keep)
    # A link that leads nowhere is there, too: nothing can be made in its place.
    there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not there.is_dir():
        raise InvalidValue(f"--track mlflow:{printable(place)}: {printable(str(there))} is no folder. Name one.")
    return folder
