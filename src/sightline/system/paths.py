"""Paths from the root, and what is said where the current folder, from which the others begin, is gone."""

from __future__ import annotations

import os
from pathlib import Path

from sightline.errors import InvalidValue

GONE = "the current folder was removed. Change to another one, and start again there."


def is_here_gone() -> bool:
    """Whether the current folder was removed."""
    try:
        os.getcwd()  # noqa: PTH109  # the same in fewer words
    except FileNotFoundError:
        return True
    return False


def absolute_path(path: str | Path, *, follow_links: bool = True) -> Path:
    """A path from the root; an InvalidValue where it begins in a current folder that was removed."""
    try:
        # Path.resolve raises where links lead in a circle.
        return Path(os.path.realpath(path) if follow_links else os.path.abspath(path))  # noqa: PTH100
    except FileNotFoundError as error:
        raise InvalidValue(GONE) from error
