"""Standard output and error as a command needs them: whatever they are, no letter and no closed one ends it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path


def prepare_streams() -> None:
    """See to it that no letter and no missing stream ends a command."""
    if sys.stderr is None:
        # print(file=None) would write progress to stdout, between the results.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for the rest of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another encoding shows what it lacks as \u732b.
            stream.reconfigure(errors="backslashreplace")


def silence_stdout() -> None:
    """Throw away what is printed from here on, and what still waits: after a fault the end would print it again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
