"""Strangers' files decoded in a process of their own, which is ended where it takes too long or too much.

What decoding takes is bounded before it begins, but a decoder can have a fault that nobody knows of yet. One's own
files are decoded without this: a copy of every image goes through a pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.containers import read_bytes
from sightline.data.decoding.decoder import decode_image
from sightline.errors import UnreadableImage
from sightline.records import ColorMode
from sightline.system.text import printable

_LENGTHS = struct.Struct("<II")
# -P: nothing of the current folder is taken for a module.
_CHILD = [sys.executable, "-P", "-c", "from sightline.data.decoding.isolation import serve; serve()"]
_START_SECONDS = 60.0
# How often it is looked whether an image takes too long.
_LOOK_SECONDS = 0.05


class Watchdog:
    """`decode_image` in a child process that is used again and again, and made anew when it had to be ended.

    Threads take turns. Close it, or use it in a `with`, so that the process ends.

    Args:
        timeout_seconds: longest time for one image.
        memory_mib: most that the child may take beside its libraries, where the system can bound it.

    Example:
        >>> with Watchdog() as watchdog:
        ...     watchdog.decode(b"P5 2 1 255 Az", color_mode="grey").tolist()
        [[[65], [122]]]
    """

    def __init__(self, *, timeout_seconds: float = 10.0, memory_mib: int = 1024) -> None:
        self.timeout_seconds, self.memory_mib = timeout_seconds, memory_mib
        self._turn, self._child, self._alarm = threading.Lock(), None, None

    _child: subprocess.Popen[bytes] | None
    _alarm: _Alarm | None

    def decode(
        self, source: Path | bytes, *, color_mode: ColorMode, minimum_size: tuple[int, int] | None = None
    ) -> NDArray[np.uint8]:
        """As `decode_image`.

        Raises:
            UnreadableImage: also where the child took too long, or ended.
        """
        name = "image bytes" if isinstance(source, bytes) else printable(str(source))
        try:
            data = source if isinstance(source, bytes) else read_bytes(source)
        except UnreadableImage as error:
            raise UnreadableImage(f"{name}: {error}") from error
        with self._turn:
            answered = self._ask(data, {"color_mode": color_mode, "minimum_size": minimum_size})
        if isinstance(answered, str):
            raise UnreadableImage(answered.replace("image bytes", name, 1))
        return answered

    def close(self) -> None:
        """End the child, if there is one."""
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None
        self._end_child()

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, data: bytes, request: dict[str, Any]) -> NDArray[np.uint8] | str:
        child = self._child = self._child or self._begun()
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018  # pipes were asked for
        alarm = self._alarm = self._alarm or _Alarm()
        alarm.set(child, self.timeout_seconds)
        try:
            _write(child.stdin, json.dumps(request).encode(), data)
            about, content = _read(child.stdout)
        except (OSError, EOFError):
            took_long = alarm.clear()
            self._end_child()
            if took_long:
                return f"image bytes: decoding it took more than {self.timeout_seconds:g} s and was ended."
            return "image bytes: its decoder ended without an answer."
        if alarm.clear():  # when the answer was there already
            self._end_child()
        told = json.loads(about)
        return str(told["error"]) if "error" in told else np.frombuffer(content, np.uint8).reshape(told["shape"]).copy()

    def _begun(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            [*_CHILD[:-1], _CHILD[-1].replace("serve()", f"serve({self.memory_mib})")],
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
        )
        assert child.stdout is not None  # noqa: S101  # a pipe was asked for
        # Importing NumPy and Pillow is not the file's fault.
        timer = threading.Timer(_START_SECONDS, child.kill)
        timer.start()
        try:
            _read(child.stdout)
        except EOFError as error:
            child.communicate()
            raise UnreadableImage("no process can be started to decode it in.") from error
        finally:
            timer.cancel()
        return child


class _Alarm:
    """Ends a process that takes too long, by one thread that looks now and then: a timer an image is a thread each."""

    def __init__(self) -> None:
        self._lock, self._is_over = threading.Lock(), threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._ends, self._has_rung = 0.0, False
        threading.Thread(target=self._look, name="sightline-alarm", daemon=True).start()

    def set(self, child: subprocess.Popen[bytes], seconds: float) -> None:
        """From now on it has so long."""
        with self._lock:
            self._child, self._ends, self._has_rung = child, time.monotonic() + seconds, False

    def clear(self) -> bool:
        """It is done; whether it was ended."""
        with self._lock:
            self._child = None
            return self._has_rung

    def close(self) -> None:
        """Look no more."""
        self._is_over.set()

    def _look(self) -> None:
        while not self._is_over.wait(_LOOK_SECONDS):
            with self._lock:
                if self._child is not None and time.monotonic() >= self._ends:
                    self._has_rung = True
                    self._child.kill()
                    self._child = None


def serve(memory_mib: int) -> None:
    """What the child does until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the parent decides
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints is no answer
    _bound_memory(memory_mib)
    _write(answers, b"ready", b"")
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request, data = _read(questions)
            _answer(answers, json.loads(request), data)


def _answer(answers: IO[bytes], request: dict[str, Any], data: bytes) -> None:
    least = tuple(request["minimum_size"]) if request["minimum_size"] else None
    try:
        pixels = decode_image(data, color_mode=request["color_mode"], minimum_size=least)
    except UnreadableImage as error:
        _write(answers, json.dumps({"error": str(error)}).encode(), b"")
        return
    _write(answers, json.dumps({"shape": pixels.shape}).encode(), pixels.tobytes())


def _bound_memory(memory_mib: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + memory_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _write(stream: IO[bytes], about: bytes, content: bytes) -> None:
    stream.write(_LENGTHS.pack(len(about), len(content)) + about)
    stream.write(content)
    stream.flush()


def _read(stream: IO[bytes]) -> tuple[bytes, bytes]:
    head = stream.read(_LENGTHS.size)
    if len(head) < _LENGTHS.size:
        raise EOFError
    lengths = _LENGTHS.unpack(head)
    about, content = (stream.read(length) for length in lengths)
    if (len(about), len(content)) != lengths:
        raise EOFError
    return about, content
