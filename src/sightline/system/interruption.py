"""Ctrl-C that is never lost: libraries swallow a KeyboardInterrupt, or make another error of it.

Python raises it wherever the program happens to be: in a `__del__` or a callback from C, where it is printed and
dropped, or in code that is being compiled, which tells it as an error of its own. So it is noted as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, SimpleNamespace

_NOTICE = b"\nstopping after this step; Ctrl-C once more stops at once\n"
# Of the process, as its signals are: how often Ctrl-C was pressed, and how many blocks ask for it only to be noted.
_seen = SimpleNamespace(count=0, noting=0, stderr=2)


@contextlib.contextmanager
def heeding_interrupts() -> Iterator[None]:
    """While it is open, Ctrl-C ends the block in a KeyboardInterrupt, whatever a library makes of it.

    Signals reach the main thread alone; elsewhere, and where somebody else handles Ctrl-C, it changes nothing.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed while it was open.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _seen.count = 0
    signal.signal(signal.SIGINT, _note)
    try:
        yield
        raise_if_interrupted()
    except Exception as error:
        if _seen.count:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _seen.count = 0


@contextlib.contextmanager
def noting_interrupts(stderr: int = 2) -> Iterator[None]:
    """While it is open, the first Ctrl-C is only noted, for `raise_if_interrupted` to find; the second stops at once.

    For code in which a KeyboardInterrupt does harm: it looks itself, at places of its own choice, and at its end.

    Args:
        stderr: the descriptor that is told that it was noted.

    Raises:
        KeyboardInterrupt: at the end, if Ctrl-C was pressed; at once, if it was pressed twice.
    """
    with heeding_interrupts():
        _seen.noting, _seen.stderr = _seen.noting + 1, stderr
        try:
            yield
        finally:
            _seen.noting, _seen.stderr = _seen.noting - 1, 2
        raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Raise the KeyboardInterrupt that was noted or lost, if there is one; in the main thread alone."""
    if _seen.count and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def _note(_signal: int, _frame: FrameType | None) -> None:
    _seen.count += 1
    if _seen.noting and _seen.count == 1:
        # Not by `print`: the program may be within one.
        with contextlib.suppress(OSError):
            os.write(_seen.stderr, _NOTICE)
        return
    raise KeyboardInterrupt
