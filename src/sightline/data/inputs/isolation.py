"""The process in which strangers' files are read: what it is asked, and what it answers, by two pipes.

What decoding takes is bounded before it begins, but a decoder can have a fault that nobody knows of yet: so whoever
asks can end this process where it takes too long or too much. One's own files are read without it. It gives back what
a network is fed, so that little goes through a pipe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from sightline.data.inputs.reading import Reader, Reading
from sightline.records import InputSpec

# Lengths of what is told and of the content behind it.
_HEAD = struct.Struct("<II")
# A network is fed less than that by far; errors and notices are sentences.
_MOST_TOLD, _MOST_BYTES = 2**16, 2**28
# -P: nothing of the current folder is taken for a module.
_CHILD = (sys.executable, "-P", "-c", "from sightline.data.inputs.isolation import serve; serve({})")


def command(memory_mib: int) -> tuple[str, ...]:
    """What starts the process; it may take so much memory beside its libraries, where the system can bound it."""
    return (*_CHILD[:-1], _CHILD[-1].format(memory_mib))


def question(reader: Reader, content: bytes) -> bytes:
    """As it is asked to read a file."""
    about = _about(reader)
    return b"".join((_HEAD.pack(len(about), len(content)), about, content))


def answers(held: bytearray) -> Iterator[tuple[dict[str, Any], bytes]]:
    """What is told, and the content behind it, of all answers that are whole; they are taken away from what is held.

    A ValueError where no answer begins so: a file may have taken the process over.
    """
    while len(held) >= _HEAD.size:
        length, more = _HEAD.unpack_from(held)
        if length > _MOST_TOLD or more > _MOST_BYTES:
            raise ValueError("no answer is as long as that")
        middle = _HEAD.size + length
        if len(held) < middle + more:
            return
        about, content = bytes(held[_HEAD.size : middle]), bytes(held[middle : middle + more])
        del held[: middle + more]
        yield json.loads(about), content


def reading_of(about: dict[str, Any], content: bytes, spec: InputSpec) -> Reading:
    """What was answered; a LookupError, TypeError or ValueError of what is no answer."""
    if about["error"] is not None:
        return Reading(None, error=str(about["error"]))
    pixels = np.frombuffer(content, np.uint8).reshape(spec.shape)
    seen = None if about["seen"] is None else np.array(about["seen"], np.float32)
    return Reading(pixels, notice=about["notice"], seen=seen)


@functools.lru_cache(maxsize=32)
def _about(reader: Reader) -> bytes:
    return json.dumps(dataclasses.asdict(reader)).encode()


@functools.lru_cache(maxsize=32)
def _reader(about: bytes) -> Reader:
    told = json.loads(about)
    return Reader(**{**told, "spec": InputSpec(**told["spec"])})


def serve(memory_mib: int) -> None:
    """What the child does until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the parent decides
    questions, told = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints is no answer
    _bound_memory(memory_mib)
    with contextlib.suppress(EOFError, BrokenPipeError):
        _write_whole(told, _HEAD.pack(2, 0) + b"{}")  # it is there
        while True:
            reader, content = _question(questions)
            _write_whole(told, _answer(reader.file(content)))


def _answer(reading: Reading) -> bytes:
    """As it goes through the pipe."""
    seen = None if reading.seen is None else reading.seen.tolist()
    about = json.dumps({"error": reading.error, "notice": reading.notice, "seen": seen}).encode()
    content = b"" if reading.pixels is None else reading.pixels.tobytes()
    return _HEAD.pack(len(about), len(content)) + about + content


def _question(stream: IO[bytes]) -> tuple[Reader, bytes]:
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    lengths = _HEAD.unpack(head)
    about, content = (stream.read(length) for length in lengths)
    if (len(about), len(content)) != lengths:
        raise EOFError
    return _reader(about), content


def _write_whole(stream: Any, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[stream.write(rest) :]


def _bound_memory(memory_mib: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + memory_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
