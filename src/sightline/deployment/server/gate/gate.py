"""What every request passes: who asks, whether there is room, and by when it is answered."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.deployment.server.classify import as_json
from sightline.deployment.server.gate.admission import Admission, Keys, Rates
from sightline.deployment.server.gate.passage import Passage, rest_of_body
from sightline.deployment.server.limits import Refusal, ServerLimits, ServerOptions
from sightline.deployment.server.telemetry import Telemetry
from sightline.system.text import printable

Endpoint = Callable[[Request], Awaitable[Response]]

# Whoever watches a server asks these without a key.
_OPEN = ("/v2/health/live", "/v2/health/ready")
# Of what is refused at the gate, by which name it is counted.
_FIXED = ("/v1/predict", "/v1/models", "/v2", *_OPEN, "/metrics", "/openapi.json", "/docs", "/")
# The page itself holds nothing; its questions need a key like all others.
_PAGE = ("/", "/page/")
_LEFT = 499


class Gate:
    """What every request passes: who asks, whether there is room, and by when it is answered."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        options: ServerOptions,
        telemetry: Telemetry,
        busiest: Mapping[str, Endpoint] = MappingProxyType({}),
    ) -> None:
        """Stand before an application.

        Args:
            app: which answers what is let in.
            options: how the server is set up.
            telemetry: where figures and lines go.
            busiest: by their paths what answers a POST there, without the way through the table of all routes, which
                is a tenth of what a small picture costs.
        """
        self._app, self._options, self._telemetry, self._busiest = app, options, telemetry, busiest
        self._admission = Admission(options.limits)
        self._keys, self._rates = Keys(options.keys), Rates(options.limits.requests_per_minute)
        self._hosts = {host.lower() for host in options.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the beginning and the end of the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request = Request(scope)
        passage = Passage(receive, send, rest=rest_of_body(request), admission=self._admission)
        try:
            await self._let_in(request, passage)
        except Refusal as refusal:
            await _refuse(refusal, scope, passage)
        except TimeoutError:
            words = f"the answer took more than {self._options.limits.deadline_seconds:g} s. Ask again later."
            await _refuse(Refusal(504, words), scope, passage)
        except (ClientDisconnect, asyncio.CancelledError):
            if not passage.has_left:
                raise
        except Exception as error:  # noqa: BLE001  # one request breaks, and the server goes on
            # Its words may name places of this machine, so they go to the log alone.
            self._telemetry.fault(error)
            await _refuse(Refusal(500, "the server could not answer this. Its log says why."), scope, passage)
        status = _LEFT if passage.has_left else passage.status
        self._telemetry.request(_route(scope), scope["method"], status, seconds=time.perf_counter() - began)

    async def _let_in(self, request: Request, passage: Passage) -> None:
        path = request.scope["path"]
        self._check_host(request)
        is_page = request.method in ("GET", "HEAD") and (path == _PAGE[0] or path.startswith(_PAGE[1]))
        if self._keys and path not in _OPEN and not is_page and request.method != "OPTIONS":
            headers = request.headers
            sender = self._keys.sender(headers.get("authorization", ""), headers.get("x-api-key", ""))
        else:
            sender = request.client.host if request.client else ""
        if request.method != "POST":
            await self._app(request.scope, passage.receive, passage.send)
            return
        self._rates.take(sender)
        with self._admission.place(_length(request, self._options.limits)):
            self._telemetry.in_flight.set(self._admission.num_requests)
            try:
                await self._in_time(request.scope, passage)
            finally:
                self._telemetry.in_flight.set(self._admission.num_requests - 1)

    async def _in_time(self, scope: Scope, passage: Passage) -> None:
        """Until the deadline, or until whoever asked leaves: then nothing more is done for it."""
        async with asyncio.timeout(self._options.limits.deadline_seconds):
            passage.task = asyncio.current_task()
            try:
                if (endpoint := self._busiest.get(scope["path"])) is None:
                    await self._app(scope, passage.receive, passage.send)
                else:
                    answer = await endpoint(Request(scope, passage.receive))
                    await answer(scope, passage.receive, passage.send)
            finally:
                passage.close()

    def _check_host(self, request: Request) -> None:
        if not self._hosts:
            return
        host = request.headers.get("host", "").lower()
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name not in self._hosts:
            words = f"this server is not called {printable(name)[:100]!r}. Name it: sightline serve --host-name NAME."
            raise Refusal(421, words)


def _length(request: Request, limits: ServerLimits) -> int:
    """How many bytes a body is said to have; of one that does not say it, or is packed, as many as it may have."""
    is_packed = request.headers.get("content-encoding", "identity").strip().lower() != "identity"
    rest = rest_of_body(request)
    if rest == math.inf:
        if "content-length" in request.headers:
            raise Refusal(400, "Content-Length must be a number of bytes.")
        return limits.max_body_bytes
    return max(int(rest), limits.max_body_bytes * is_packed)


async def _refuse(refusal: Refusal, scope: Scope, passage: Passage) -> None:
    """Tell it, where nothing was told yet."""
    if not passage.status and not passage.has_left:
        answer = as_json({"error": refusal.words, **refusal.content}, status=refusal.status, headers=refusal.headers)
        await answer(scope, passage.receive, passage.send)


def _route(scope: Scope) -> str:
    """The pattern of its path, not what strangers typed."""
    path = scope["path"]
    return str(scope.get("sightline_route") or (path if path in _FIXED else "other"))
