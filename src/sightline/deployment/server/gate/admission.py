"""Who is let in: before a body is read it is known whether there is room, and whether its sender may ask at all."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from sightline.deployment.server.limits import MIB, Refusal, ServerLimits

# Of more senders than that, those seen longest ago begin with a full bucket again.
_MOST_SENDERS = 10_000
# Requests differ, and so does the time that one of them takes.
_SHARE_OF_DEADLINE = 0.5
_WEIGHT_OF_LAST = 0.05
_ALWAYS_LET_IN = 4
# What somebody is told to wait for whom there was no place.
SECONDS_UNTIL_AGAIN = 1.0


class Admission:
    """Counts requests and bytes that are on their way; used by one event loop."""

    def __init__(self, limits: ServerLimits) -> None:
        """Begin with none."""
        self._limits = limits
        self.num_requests = 0
        self.num_bytes = 0
        self._pace = 0.0

    @property
    def most(self) -> int:
        """How many requests are let in at a time: no more than can be answered by half of the deadline."""
        by_pace = _SHARE_OF_DEADLINE * self._limits.deadline_seconds / self._pace if self._pace else math.inf
        return int(min(self._limits.max_in_flight, max(_ALWAYS_LET_IN, by_pace)))

    def note(self, seconds: float, *, beside: int) -> None:
        """One that was answered so long after all of it was there, while so many, itself among them, were in flight."""
        self._pace += (seconds / beside - self._pace) * _WEIGHT_OF_LAST

    @contextlib.contextmanager
    def place(self, num_bytes: int) -> Iterator[None]:
        """A place for a request whose body has so many bytes; a Refusal where that is too many, or none is free now."""
        if num_bytes > self._limits.max_body_bytes:
            raise Refusal(413, too_large(self._limits))
        is_full = self.num_requests >= self.most
        if is_full or self.num_bytes + num_bytes > max(self._limits.max_in_flight_mib * MIB, num_bytes):
            raise full()
        self.num_requests += 1
        self.num_bytes += num_bytes
        try:
            yield
        finally:
            self.num_requests -= 1
            self.num_bytes -= num_bytes


def full() -> Refusal:
    """What is said where there is no place."""
    return Refusal(
        503, "the server has all the work that it can do in time. Ask again later.", _later(SECONDS_UNTIL_AGAIN)
    )


def too_large(limits: ServerLimits) -> str:
    """What is said of a body that is larger than is allowed."""
    return f"the body is larger than {limits.max_body_mib:g} MiB. Send fewer or smaller images at once."


def _later(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


class Keys:
    """Keys of which one has to be named; none at all lets everybody in."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        """Keep their hashes alone."""
        self._hashes = [_hash(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def sender(self, authorization: str, given: str) -> str:
        """By what a sender is known, for its headers `Authorization: Bearer KEY` or `X-API-Key: KEY`; or a Refusal."""
        scheme, _, token = authorization.partition(" ")
        hashed = _hash(token.strip() if scheme.lower() == "bearer" else given)
        # All of them, in the same time whichever fits.
        fits = [hmac.compare_digest(hashed, known) for known in self._hashes]
        if not any(fits):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Refusal(401, "a key is needed. Send it as 'Authorization: Bearer KEY'.", challenge)
        return hashed.hex()


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class Rates:
    """How many requests each sender may begin: a bucket of a minute's worth that fills up as time goes by."""

    def __init__(self, per_minute: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with full buckets."""
        self._per_minute, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, sender: str) -> None:
        """One request of a sender; a Refusal, 429, where it had too many."""
        if self._per_minute is None:
            return
        most, now = max(self._per_minute, 1.0), self._clock()
        level, then = self._buckets.pop(sender, (most, now))
        level = min(most, level + (now - then) * self._per_minute / 60)
        is_allowed = level >= 1
        self._buckets[sender] = (level - is_allowed, now)
        if len(self._buckets) > _MOST_SENDERS:
            self._buckets.popitem(last=False)
        if not is_allowed:
            wait = (1 - level) * 60 / self._per_minute
            words = f"more than {self._per_minute:g} requests a minute. Wait {math.ceil(wait)} s."
            raise Refusal(429, words, _later(wait))
