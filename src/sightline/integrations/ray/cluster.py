"""The cluster that `on` names: it is joined, or one of this machine's processors is started while it is used."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

from sightline.errors import InvalidValue, MissingPackage, NotReached, require
from sightline.system.interruption import Stopped, raise_if_interrupted
from sightline.system.progress import reporter
from sightline.system.workers import available_processors

OLDEST = (2, 60)
_CLIENT_PORT = 10001
_ANSWERS_WITHIN_SECONDS = 10.0
# Of this machine alone: what is handed over are names and notes, and arrays that are taken at once.
_OBJECT_BYTES = 2**30
_ADDRESS = re.compile(r"ray://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/?#@\[\]]+)(?::(?P<port>\d{1,5}))?/?")
_PLACE = re.compile(r"(?P<host>.+):(?P<port>\d{1,5})")
_KNOWN = "Known: ray (RAY_ADDRESS, or the processors of this machine), ray://HOST or ray://HOST:PORT."
_WAITS_SECONDS, _TELLS_OF_WAITING_SECONDS = 600.0, 15.0


def check_on(on: str | None) -> None:
    """Refuse what names no cluster, before any work is done for it; None is this process."""
    if on is None or on == "ray":
        return
    found = _ADDRESS.fullmatch(on) if isinstance(on, str) else None
    if found is None or not 0 < int(found["port"] or _CLIENT_PORT) < 2**16:
        raise InvalidValue(f"on must name where the work is done; got {on!r}. {_KNOWN}")


class WaitForRoom:
    """A wait until a cluster has room: it is told of once, and given up after ten minutes."""

    def __init__(self, words: str) -> None:
        """`words` name what there is no room for."""
        self._words, self._began, self._is_told = words, time.monotonic(), False

    def look(self) -> None:
        """There is none yet; a NotReached where it was waited for long enough."""
        raise_if_interrupted()
        waited = time.monotonic() - self._began
        if waited > _WAITS_SECONDS:
            raise NotReached(f"the cluster had no room for {self._words} for ten minutes (ray status).")
        if waited > _TELLS_OF_WAITING_SECONDS and not self._is_told:
            self._is_told = True
            reporter().say(f"waiting until the cluster has room for {self._words} (ray status)")


def begins_its_own(on: str) -> bool:
    """Whether `joined` begins a Ray on this machine, which ends with it; else others may use it, too."""
    ray = sys.modules.get("ray")
    return on == "ray" and not os.environ.get("RAY_ADDRESS") and not (ray is not None and ray.is_initialized())


@contextlib.contextmanager
def joined(on: str) -> Iterator[Any]:
    """The package `ray`, connected to what `on` names for as long as it is used.

    Where the program that asks has connected itself, that is what is used, and it stays connected.
    """
    check_on(on)
    ray = _package()
    address = os.environ.get("RAY_ADDRESS", "") if on == "ray" else on
    if found := _ADDRESS.fullmatch(address):
        address = f"ray://{found['host']}:{found['port'] or _CLIENT_PORT}"
        _check_answers(found["host"].strip("[]"), int(found["port"] or _CLIENT_PORT), address)
    elif found := _PLACE.fullmatch(address):
        _check_answers(found["host"].strip("[]"), int(found["port"]), f"RAY_ADDRESS {address}")
    if ray.is_initialized():
        if on != "ray":
            raise InvalidValue(f"this program is connected to a Ray already; got {on!r}. Pass 'ray', or leave it.")
        yield ray
        return
    _say_nothing_of_nodes()
    began = time.monotonic()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    here: dict[str, Any] = {
        "address": "local",
        "num_cpus": available_processors(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_BYTES,
    }
    try:
        with _own_sigterm(), warnings.catch_warnings():
            # What is forked begins another program at once, and meets none of JAX's threads.
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(**quiet, **({"address": address} if address else here))
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise NotReached(_why_not(error, address)) from error
    try:
        where = address or "this machine alone"
        reporter().say(f"on Ray {ray.__version__}, {where}, after {time.monotonic() - began:.0f} s")
        yield ray
    finally:
        ray.shutdown()


def _package() -> Any:
    # Read when it is imported, and handed on to the processes that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", purpose="on ray", install="sightline[ray]")
    numbers = re.match(r"(\d+)\.(\d+)", str(ray.__version__))
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise MissingPackage(
            f"on ray needs Ray {oldest} or later, and {ray.__version__} is installed. Run: pip install 'sightline[ray]'"
        )
    return ray


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray ends the program by its own handler of SIGTERM, in the midst of whatever it does and with another code."""
    is_main = threading.current_thread() is threading.main_thread()
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as stop:
        raise Stopped(signal.SIGTERM) from stop
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, kept)


def _say_nothing_of_nodes() -> None:
    """It writes what becomes of nodes to stdout, though no log of theirs is asked for, and ours may hold JSON."""
    with contextlib.suppress(ImportError):
        worker: Any = importlib.import_module("ray._private.worker")
        # Where a later Ray calls it otherwise, it writes as before.
        worker.print_to_stdstream = lambda *_, **__: None


def _check_answers(host: str, port: int, address: str) -> None:
    """Ray itself tries for half a minute, and tells of its own insides then."""
    try:
        socket.create_connection((host, port), timeout=_ANSWERS_WITHIN_SECONDS).close()
    except OSError as error:
        is_silent = isinstance(error, TimeoutError)
        why = f"nobody answers within {_ANSWERS_WITHIN_SECONDS:.0f} s" if is_silent else (error.strerror or str(error))
        raise NotReached(
            f"{address}: {why}. Start a head that takes clients there (ray start --head), or name another."
        ) from error


def _why_not(error: Exception, address: str) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    first = f"{lines[0]} {lines[-1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    where = address or "Ray on this machine"
    if "version" in str(error).lower():
        whole = " ".join(str(error).split())[:400]
        return f"{where}: of another version than here. {whole} Install the same on both."
    remedy = "Look whether its head runs there (ray status)" if address else "Look at the logs in /tmp/ray"
    return f"{where}: cannot be joined ({first}). {remedy}."
