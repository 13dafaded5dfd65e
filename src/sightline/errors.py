"""The one tree of exceptions, and the two questions that end in one of them.

Every message says what is wrong, what was received and what to do. The command
line prints it without a traceback and exits with 2; whatever is not a
`SightlineError` is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, TypeVar

Value = TypeVar("Value")


class SightlineError(Exception):
    """Root of every error that the caller can put right."""


class InvalidValue(SightlineError, ValueError):
    """An argument, option or recipe key has the wrong type or is out of range."""


class UnknownName(InvalidValue):
    """A model, source, recipe, key or backend was asked for that does not exist."""


class InvalidSource(SightlineError):
    """Data that cannot be used as a source of labelled images."""


class OneClassOnly(InvalidSource):
    """A source whose images are all of one class: enough to judge a network, too few classes to train one."""

    def __init__(self, message: str, dataset: Any) -> None:
        """`dataset` is the source as far as it could be opened."""
        super().__init__(message)
        self.dataset = dataset


class UnreadableImage(SightlineError):
    """One file or array that cannot be decoded to an image."""


class InvalidBundle(SightlineError):
    """A bundle with a missing, altered or foreign file, or of an unknown version."""


class OutputExists(SightlineError):
    """The place to write to is taken; nothing was overwritten."""


class CannotWrite(SightlineError):
    """The disk is full, or the place to write to is read-only or missing."""


class OutOfResources(SightlineError):
    """The machine, or a limit set for this process, gives no more memory or open files; the data may be sound."""


class MissingPackage(SightlineError, ImportError):
    """An optional package is needed and is not installed."""


class NotReached(SightlineError):
    """Other machines were asked for and do not answer, lack what they need, or were lost again and again."""


class DownloadFailed(SightlineError):
    """Data could not be fetched, or an object store does not answer; the message says what to do."""


class TrainingFailed(SightlineError):
    """Training or the comparison after it did not give a usable network."""


class ProcessesDiffer(SightlineError):
    """Processes that learn one network together no longer have the same weights; what they agreed on last is kept."""


class ExportRefused(SightlineError):
    """An exported file that does not answer as its bundle does; it was not kept."""


def closest(name: str, known: Iterable[str]) -> str:
    """The sentence that helps someone who mistyped a name.

    Example:
        >>> closest("lenet", ["mlp", "lenet5"])
        "Did you mean 'lenet5'? Known: lenet5, mlp."
        >>> closest("zebra", ["mlp", "lenet5"])
        'Known: lenet5, mlp.'
    """
    names = sorted(known)
    lowered = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    suggestion = f"Did you mean '{lowered[near[0]]}'? " if near else ""
    return f"{suggestion}Known: {', '.join(names)}."


def pick(table: Mapping[str, Value], name: str, *, kind: str) -> Value:
    """The value that a table has under a name.

    Args:
        table: name to value.
        name: what was asked for.
        kind: what the names stand for, in the singular: "model".

    Raises:
        UnknownName: there is no such name; the message suggests the nearest.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    hint = closest(name if isinstance(name, str) else "", table)
    raise UnknownName(f"no {kind} is called {name!r}. {hint}")


def require(package: str, *, purpose: str, install: str) -> ModuleType:
    """Import an optional package, or say which command brings it.

    Args:
        package: the name to import.
        purpose: what it is needed for, as the start of a sentence.
        install: what `pip install` has to be given.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != package.split(".")[0]:
            raise
        raise MissingPackage(
            f"{purpose} needs the package '{package.split('.')[0]}', which is not installed. "
            f"Run: pip install '{install}'"
        ) from error
