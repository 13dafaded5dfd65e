"""What a server takes of its clients at most, and how a refusal is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sightline.errors import InvalidValue

MIB = 2**20


@dataclass(frozen=True)
class ServerLimits:
    """What is allowed; more is refused before it costs anything.

    Attributes:
        max_body_mib: of one request, as it is sent.
        max_images: in one request.
        max_in_flight: requests that are let in and not yet answered; fewer where they would not be answered in time.
        max_in_flight_mib: of all their bodies together.
        deadline_seconds: from the first byte to the answer; later ones are given up.
        requests_per_minute: of one key, or of one address where there are no keys; None for any number.
        decoders: processes that open files; 0 for one a processor.
    """

    max_body_mib: float = 32.0
    max_images: int = 64
    max_in_flight: int = 256
    max_in_flight_mib: float = 512.0
    deadline_seconds: float = 10.0
    requests_per_minute: float | None = None
    decoders: int = 0

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is None and entry.name == "requests_per_minute":
                continue
            least = 0 if entry.name == "decoders" else 1 if "max_i" in entry.name and "mib" not in entry.name else 1e-3
            is_whole = entry.type == "int"
            is_number = isinstance(value, int if is_whole else int | float) and not isinstance(value, bool)
            if not is_number or not least <= value < math.inf:
                kind = "a whole number" if is_whole else "a number"
                raise InvalidValue(f"{entry.name} must be {kind} of at least {least:g}; got {value!r}.")

    @property
    def max_body_bytes(self) -> int:
        """Of one request."""
        return int(self.max_body_mib * MIB)


@dataclass(frozen=True)
class ServerOptions:
    """How a server is set up.

    Attributes:
        limits: what it takes at most.
        keys: of which a request has to name one; none for no keys.
        origins: other sites whose pages may ask, as "https://example.org"; none for none.
        hosts: names by which it may be asked, against pages that have a name lead here; none for any.
        reload_seconds: how often it looks whether a bundle was replaced; 0 for never.
    """

    limits: ServerLimits = field(default_factory=ServerLimits)
    keys: Sequence[str] = ()
    origins: Sequence[str] = ()
    hosts: Sequence[str] = ()
    reload_seconds: float = 2.0


@dataclass
class Refusal(Exception):  # it is an answer, and no fault of the program
    """A request that is answered with a status and a reason in place of what it asked for.

    Attributes:
        status: of HTTP.
        words: what is wrong, what was received, what to do.
        headers: of the answer, beside the usual ones.
        content: what the answer's JSON holds beside "error".
    """

    status: int
    words: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)
