"""What is looked at of a request before its body is read: its host, its key, its rate, and whether there is room."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from sightline.deployment.server.classify import as_json
from sightline.deployment.server.gate.admission import Admission, Keys, Rates, full
from sightline.deployment.server.gate.passage import SAFE_HEADERS, rest_of_body
from sightline.deployment.server.limits import Refusal, ServerLimits, ServerOptions
from sightline.deployment.server.telemetry import Telemetry
from sightline.system.text import printable

# Whoever watches a server asks these without a key.
_OPEN = ("/v2/health/live", "/v2/health/ready")
# Of what is refused at the door, by which name it is counted.
_FIXED = ("/v1/predict", "/v1/models", "/v2", *_OPEN, "/metrics", "/openapi.json", "/docs", "/")
# The page itself holds nothing; its questions need a key like all others.
_PAGE = ("/", "/page/")
# Pages of other sites are told why they were refused by who stands before the door.
_NOT_AT_ONCE = (b"origin", b"expect")
_MOST_BYTES_AT_ONCE = 64 * 1024
# Who asks stands in the scope of a request that is on its way to the gate.
_SENDER = "sightline_sender"


class Door:
    """Who is let in, and who is turned away.

    Args:
        options: how the server is set up.
        telemetry: where figures and lines go.
    """

    def __init__(self, options: ServerOptions, telemetry: Telemetry) -> None:
        self._options, self._telemetry = options, telemetry
        self.admission = Admission(options.limits)
        self._keys, self._rates = Keys(options.keys), Rates(options.limits.requests_per_minute)
        # Under a flood it is sent thousands of times a second.
        self._full = told_refusal(full())
        self._full.raw_headers.extend(SAFE_HEADERS)
        self._hosts = {host.lower() for host in options.hosts}
        self._most_at_once = min(_MOST_BYTES_AT_ONCE, options.limits.max_body_bytes)
        self._num_coming = 0

    def sender(self, request: Request) -> str:
        """Who asks; a Refusal, 421 or 401, where the server is not called so, or a key is missing."""
        if (known := request.scope.get(_SENDER)) is not None:
            return str(known)
        path = request.scope["path"]
        self._check_host(request)
        is_page = request.method in ("GET", "HEAD") and (path == _PAGE[0] or path.startswith(_PAGE[1]))
        if self._keys and path not in _OPEN and not is_page and request.method != "OPTIONS":
            headers = request.headers
            return self._keys.sender(headers.get("authorization", ""), headers.get("x-api-key", ""))
        return request.client.host if request.client else ""

    @contextlib.contextmanager
    def place(self, request: Request, sender: str) -> Iterator[None]:
        """A place for what a sender asks to be worked on; a Refusal where it asked too often, or none is free."""
        self._rates.take(sender)
        with self.admission.place(_length(request, self._options.limits)):
            self._telemetry.in_flight.set(self.admission.num_requests)
            try:
                yield
            finally:
                self._telemetry.in_flight.set(self.admission.num_requests - 1)

    @property
    def is_full(self) -> bool:
        """Whether all places are taken, or will be by those who are on their way to the gate."""
        return self._num_coming + self.admission.num_requests >= self.admission.most

    def announce(self, scope: Scope) -> None:
        """Count a request that goes to the gate, until it comes there; whoever will be refused there takes no place."""
        if scope["method"] == "POST":
            with contextlib.suppress(Refusal):
                scope[_SENDER] = self.sender(Request(scope))
                self._num_coming += 1

    def meet(self, scope: Scope) -> None:
        """It came to the gate."""
        self._num_coming -= _SENDER in scope

    def turn_away(self, scope: Scope) -> Response | None:
        """The answer to a POST while there is no place; None where it has to go the whole way.

        Args:
            scope: the request; its path, headers and client are looked at.
        """
        if any(name in _NOT_AT_ONCE for name, _ in scope["headers"]):
            return None
        began, request = time.perf_counter(), Request(scope)
        if rest_of_body(request) > self._most_at_once:
            return None
        try:
            self._rates.take(self.sender(request))
            answer = self._full
        except Refusal as refusal:
            answer = told_refusal(refusal)
            answer.raw_headers.extend(SAFE_HEADERS)
        self._telemetry.request(route_of(scope), "POST", answer.status_code, seconds=time.perf_counter() - began)
        return answer

    def _check_host(self, request: Request) -> None:
        if not self._hosts:
            return
        host = request.headers.get("host", "").lower()
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name not in self._hosts:
            words = f"this server is not called {printable(name)[:100]!r}. Name it: sightline serve --host-name NAME."
            raise Refusal(421, words)


def told_refusal(refusal: Refusal) -> Response:
    """A refusal as an answer."""
    return as_json({"error": refusal.words, **refusal.content}, status=refusal.status, headers=dict(refusal.headers))


def route_of(scope: Scope) -> str:
    """The pattern of a request's path, not what strangers typed."""
    path = scope["path"]
    return str(scope.get("sightline_route") or (path if path in _FIXED else "other"))


def _length(request: Request, limits: ServerLimits) -> int:
    """How many bytes a body is said to have; of one that does not say it, or is packed, as many as it may have."""
    is_packed = request.headers.get("content-encoding", "identity").strip().lower() != "identity"
    rest = rest_of_body(request)
    if rest == math.inf:
        if "content-length" in request.headers:
            raise Refusal(400, "Content-Length must be a number of bytes.")
        return limits.max_body_bytes
    return max(int(rest), limits.max_body_bytes * is_packed)
