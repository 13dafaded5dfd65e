"""Ctrl-C that is never lost: libraries swallow a KeyboardInterrupt, or make another error of it.

Python raises it wherever the program happens to be: in a `__del__` or a callback from C, where it is printed and
dropped, or in code that is being compiled, which tells it as an error of its own. So it is noted as well.

A machine that shuts down sends SIGTERM, a terminal that is closed SIGHUP: both end a block as Ctrl-C does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, SimpleNamespace
from typing import Any

_NOTICE = b"\nstopping after this step; Ctrl-C once more stops at once\n"
# What ends a program by default, and the handler by which it is known that nobody else handles it.
_USUAL: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    **({signal.SIGHUP: signal.SIG_DFL} if sys.platform != "win32" else {}),
}
# Of the process, as its signals are: how often it was asked to stop, and by which signal first; how many blocks ask
# for that only to be noted; whether another process decides.
_seen = SimpleNamespace(count=0, signal=signal.SIGINT, noting=0, stderr=2, is_led=False)


class Stopped(KeyboardInterrupt):
    """Asked to end by another signal than Ctrl-C's; whoever clears up at that one clears up at this one.

    Attributes:
        signal: its number, by which the exit code is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


@contextlib.contextmanager
def heeding_interrupts() -> Iterator[None]:
    """While it is open, Ctrl-C ends the block in a KeyboardInterrupt, whatever a library makes of it.

    SIGTERM and SIGHUP end it in a `Stopped`, which is one. Signals reach the main thread alone; elsewhere, and where
    somebody else handles or ignores a signal, it changes nothing.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed while it was open, or another of these signals came.
    """
    is_main = threading.current_thread() is threading.main_thread()
    ours = [] if not is_main or _seen.is_led else [n for n, usual in _USUAL.items() if signal.getsignal(n) == usual]
    if not ours:
        yield
        return
    _seen.count = 0
    for number in ours:
        signal.signal(number, _note)
    try:
        yield
        raise_if_interrupted()
    except Exception as error:
        if _seen.count:
            raise _interruption() from error
        raise
    finally:
        for number in ours:
            signal.signal(number, _USUAL[number])
        _seen.count = 0


@contextlib.contextmanager
def noting_interrupts(stderr: int = 2) -> Iterator[None]:
    """While it is open, the first Ctrl-C is only noted, for `raise_if_interrupted` to find; the second stops at once.

    As are SIGTERM and SIGHUP. For code in which a KeyboardInterrupt does harm: it looks itself, at places of its own
    choice, and at its end.

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
    if is_interrupted():
        raise _interruption()


def is_interrupted() -> bool:
    """Whether the next `raise_if_interrupted` of the main thread raises; asked there."""
    return bool(_seen.count) and threading.current_thread() is threading.main_thread()


def leave_to_parent() -> None:
    """Let another process decide: Ctrl-C goes to all processes of a terminal, and who began this one ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _seen.is_led = True


def _interruption() -> KeyboardInterrupt:
    return KeyboardInterrupt() if _seen.signal == signal.SIGINT else Stopped(_seen.signal)


def _note(number: int, _frame: FrameType | None) -> None:
    _seen.count += 1
    if _seen.count == 1:
        _seen.signal = number
    if _seen.noting and _seen.count == 1:
        # Not by `print`: the program may be within one.
        with contextlib.suppress(OSError):
            os.write(_seen.stderr, _NOTICE)
        return
    raise _interruption()
