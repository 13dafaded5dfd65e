"""What a server tells of itself: figures for Prometheus, and a line a request; never a picture, a name or a key."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections import Counter as Counts, deque
from typing import IO, Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sightline._version import __version__
from sightline.system.text import json_line

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Statuses of whoever came while there was no room, or too often.
_TOLD_TOGETHER = (429, 503)
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Telemetry:
    """Counts, in a registry of its own: several servers of one process do not mix."""

    def __init__(self, log: IO[str] | None = None) -> None:
        """Begin at nothing; lines go to `log`, None for stderr as it is then."""
        self._log = log
        self.num_requests = 0
        self._num_turned_away: Counts[int] = Counts()
        self._tells_again = 0.0
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "sightline_requests", "Requests by route and status.", ("route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "sightline_request_seconds",
            "From the first byte to the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._images = Counter(
            "sightline_images", "Images by model and what came of them.", ("model", "outcome"), registry=registry
        )
        self._batches = Histogram(
            "sightline_batch_images", "Images in one batch.", ("model",), buckets=(1, 2, 4, 8, 16), registry=registry
        )
        self._reloads = Counter(
            "sightline_reloads", "Bundles that were opened again.", ("model", "outcome"), registry=registry
        )
        self.in_flight = Gauge("sightline_requests_in_flight", "Let in and not yet answered.", registry=registry)
        self._replicas: Gauge | None = None
        self._num_replicas: int | None = None
        about = Gauge("sightline_info", "Which version this is.", ("version",), registry=registry)
        about.labels(__version__).set(1)

    def request(self, route: str, method: str, status: int, *, seconds: float) -> None:
        """One request that came to an end; 499 where its sender left."""
        self.num_requests += 1
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if status in _TOLD_TOGETHER:
            self._turned_away(status)
            return
        self.say("request", route=route, method=method, status=status, milliseconds=round(1000 * seconds, 2))

    def _turned_away(self, status: int) -> None:
        """In one line a second: whoever floods a server is not to fill its disk."""
        self._num_turned_away[status] += 1
        if time.monotonic() >= self._tells_again:
            self._tells_again = time.monotonic() + 1
            self.say("turned away", **{f"status_{one}": count for one, count in self._num_turned_away.items()})
            self._num_turned_away.clear()

    def images(self, model: str, *, num_answered: int, num_unreadable: int) -> None:
        """Images of one request."""
        self._images.labels(model, "answered").inc(num_answered)
        self._images.labels(model, "unreadable").inc(num_unreadable)

    def batch(self, model: str, num_images: int) -> None:
        """One batch."""
        self._batches.labels(model).observe(num_images)

    def reload(self, model: str, fault: str | None, **where: str) -> None:
        """A bundle was opened again, or could not be."""
        self._reloads.labels(model, "done" if fault is None else "failed").inc()
        self.say("reload", model=model, error=fault, **where)

    def fault(self, error: BaseException) -> None:
        """A bug, or a network that broke, with where it happened."""
        self.say("fault", **_fault_words(error))

    def replicas(self, count: int, *, of: int) -> None:
        """How many of the replicas that there should be answer; told where that changed."""
        if self._replicas is None:
            self._replicas = Gauge("sightline_replicas", "Replicas that answer.", registry=self.registry)
        self._replicas.set(count)
        if count != self._num_replicas:
            self.say("replicas", answering=count, wanted=of)
        self._num_replicas = count

    def take_in(self, event: tuple[Any, ...], *, node: str) -> None:
        """One of `KeptEvents`, on that node."""
        kind, *told = event
        if kind == "images":
            model, num_answered, num_unreadable = told
            self.images(model, num_answered=num_answered, num_unreadable=num_unreadable)
        elif kind == "batch":
            self.batch(*told)
        elif kind == "reload":
            self.reload(*told, node=node)
        else:
            self.say(kind, node=node, **told[0])

    def say(self, event: str, **told: object) -> None:
        """One line of JSON."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        # Where the disk of the log is full, or nobody reads it any more, requests are answered all the same.
        with contextlib.suppress(OSError):
            log = self._log or sys.stderr
            log.write(json_line({"time": now, "event": event, **told}) + "\n")
            log.flush()

    def page(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self.registry)


class Told(Protocol):
    """What models and their handlers tell: `Telemetry` counts it, `KeptEvents` keeps it for one elsewhere."""

    def images(self, model: str, *, num_answered: int, num_unreadable: int) -> None:
        """Images of one request."""

    def batch(self, model: str, num_images: int) -> None:
        """One batch."""

    def reload(self, model: str, fault: str | None) -> None:
        """A bundle was opened again, or could not be."""


class KeptEvents:
    """What a replica has to tell, until the telemetry of the server takes it in."""

    def __init__(self, events: deque[tuple[Any, ...]]) -> None:
        """Keep it there."""
        self._events = events

    def images(self, model: str, *, num_answered: int, num_unreadable: int) -> None:
        """Images of one request."""
        self._events.append(("images", model, num_answered, num_unreadable))

    def batch(self, model: str, num_images: int) -> None:
        """One batch."""
        self._events.append(("batch", model, num_images))

    def reload(self, model: str, fault: str | None) -> None:
        """A bundle was opened again, or could not be."""
        self._events.append(("reload", model, fault))

    def fault(self, error: BaseException) -> None:
        """A bug, or a network that broke."""
        self._events.append(("fault", _fault_words(error)))


def _fault_words(error: BaseException) -> dict[str, Any]:
    return {"error": repr(error), "traceback": traceback.format_exception(error)}
