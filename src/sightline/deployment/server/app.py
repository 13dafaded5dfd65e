"""The server as an ASGI application: the gate that every request passes, and the routes behind it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.deployment.server.admission import CLOSING, Admission, Keys, Rates
from sightline.deployment.server.classify import Classifier, as_json
from sightline.deployment.server.decoders import Decoders
from sightline.deployment.server.limits import Refusal, ServerLimits
from sightline.deployment.server.openapi import describe_api, documentation
from sightline.deployment.server.page_files import page_files
from sightline.deployment.server.protocol import Protocol
from sightline.deployment.server.served import Question, ServedModels
from sightline.deployment.server.telemetry import MEDIA_TYPE, Telemetry
from sightline.system.text import printable

# Whoever watches a server asks these without a key.
_OPEN = ("/v2/health/live", "/v2/health/ready")
# Of what is refused at the gate, by which name it is counted.
_FIXED = ("/v1/predict", "/v1/models", "/v2", *_OPEN, "/metrics", "/openapi.json", "/docs", "/")
# The page itself holds nothing; its questions need a key like all others.
_PAGE = ("/", "/page/")
_LEFT = 499
_SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


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


class Gate:
    """What every request passes: who asks, whether there is room, and by when it is answered."""

    def __init__(self, app: ASGIApp, *, options: ServerOptions, telemetry: Telemetry) -> None:
        """Stand before an application."""
        self._app, self._options, self._telemetry = app, options, telemetry
        self._admission = Admission(options.limits)
        self._keys, self._rates = Keys(options.keys), Rates(options.limits.requests_per_minute)
        self._hosts = {host.lower() for host in options.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the beginning and the end of the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        passage = _Passage(receive, send)
        request = Request(scope)
        try:
            await self._let_in(request, passage)
        except Refusal as refusal:
            await _refuse(refusal, scope, passage)
        except TimeoutError:
            words = f"the answer took more than {self._options.limits.deadline_seconds:g} s. Ask again later."
            await _refuse(Refusal(504, words, CLOSING), scope, passage)
        except (ClientDisconnect, asyncio.CancelledError):
            if not passage.has_left:
                raise
        except Exception as error:  # noqa: BLE001  # one request breaks, and the server goes on
            # Its words may name places of this machine, so they go to the log alone.
            self._telemetry.fault(error)
            await _refuse(Refusal(500, "the server could not answer this. Its log says why.", CLOSING), scope, passage)
        status = _LEFT if passage.has_left else passage.status
        self._telemetry.request(_route(scope), scope["method"], status, seconds=time.perf_counter() - began)

    async def _let_in(self, request: Request, passage: _Passage) -> None:
        path = request.url.path
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

    async def _in_time(self, scope: Scope, passage: _Passage) -> None:
        """Until the deadline, or until whoever asked leaves: then nothing more is done for it."""
        async with asyncio.timeout(self._options.limits.deadline_seconds):
            passage.task = asyncio.current_task()
            try:
                await self._app(scope, passage.receive, passage.send)
            finally:
                passage.close()

    def _check_host(self, request: Request) -> None:
        if not self._hosts:
            return
        host = request.headers.get("host", "").lower()
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name not in self._hosts:
            words = f"this server is not called {printable(name)[:100]!r}. Name it: sightline serve --host-name NAME."
            raise Refusal(421, words, CLOSING)


class _Passage:
    """One request on its way: what was answered so far, and whether its sender is still there."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.status = 0
        self.has_left = False
        self.task: asyncio.Task[Any] | None = None
        self._listening: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The next part of the body; behind the last one, somebody listens whether the sender leaves."""
        message = await self._receive()
        self.has_left = message["type"] == "http.disconnect" and not self.status
        is_last = message["type"] == "http.request" and not message.get("more_body", False)
        if is_last and self.task is not None:
            self._listening = asyncio.create_task(self._listen())
        return message

    async def send(self, message: Message) -> None:
        """Hand an answer on, with the headers that all of them have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message["headers"]}
            usual = [(name.lower().encode(), value.encode()) for name, value in _SAFE.items()]
            added = [(name, value) for name, value in usual if name not in given]
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)

    def close(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            self._listening.cancel()
        self.task = None

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.task is not None and not self.status:
            self.has_left = True
            self.task.cancel()


def _length(request: Request, limits: ServerLimits) -> int:
    """How many bytes a body is said to have; of one that does not say it, or is packed, as many as it may have."""
    is_packed = request.headers.get("content-encoding", "identity").strip().lower() != "identity"
    told = request.headers.get("content-length")
    if told is None:
        return limits.max_body_bytes if "transfer-encoding" in request.headers else 0
    if not (told.isascii() and told.isdigit()):
        raise Refusal(400, "Content-Length must be a number of bytes.", CLOSING)
    # Zeros before a number are no part of its length.
    return max(int(told.lstrip("0")[:20] or 0), limits.max_body_bytes * is_packed)


async def _refuse(refusal: Refusal, scope: Scope, passage: _Passage) -> None:
    """Tell it, where nothing was told yet."""
    if not passage.status and not passage.has_left:
        answer = as_json({"error": refusal.words, **refusal.content}, status=refusal.status, headers=refusal.headers)
        await answer(scope, passage.receive, passage.send)


def _route(scope: Scope) -> str:
    """The pattern of its path, not what strangers typed."""
    path = scope["path"]
    return str(scope.get("sightline_route") or (path if path in _FIXED else "other"))


async def _told_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  # it is registered for these
    return as_json({"error": error.words, **error.content}, status=error.status, headers=dict(error.headers))


async def _told_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # as above
    words = {
        404: "there is nothing at this address. GET /openapi.json tells what there is.",
        405: "not by this method.",
    }
    return as_json(
        {"error": words.get(error.status_code, error.detail)}, status=error.status_code, headers=error.headers
    )


def build_app(
    places: Mapping[str, Path | str], *, options: ServerOptions | None = None, telemetry: Telemetry | None = None
) -> Starlette:
    """The application, with its models opened.

    Args:
        places: name to bundle or run; the first is asked where no other is named.
        options: how it is set up.
        telemetry: where figures and lines go.
    """
    options, told = options or ServerOptions(), telemetry or Telemetry()
    models = ServedModels(places, seen=told.batch)
    decoders = Decoders(options.limits.decoders, timeout_seconds=options.limits.deadline_seconds)
    classifier = Classifier(models, decoders, options.limits, told)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_warm(models, decoders))]
        if options.reload_seconds:
            tasks.append(asyncio.create_task(_reload(models, options.reload_seconds, told)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            models.retire()
            await asyncio.to_thread(decoders.close)

    app = Starlette(
        routes=_routes(classifier, Protocol(models, options.limits), told, needs_key=bool(options.keys)),
        middleware=[Middleware(Gate, options=options, telemetry=told), *_cross_origin(options)],
        exception_handlers={Refusal: _told_refusal, HTTPException: _told_http},
        lifespan=lifespan,
    )
    # It would send whoever asks to a host that a header names.
    app.router.redirect_slashes = False
    app.state.models = models
    return app


def _cross_origin(options: ServerOptions) -> list[Middleware]:
    if not options.origins:
        return []
    names = ["Authorization", "Content-Type", "X-API-Key"]
    return [
        Middleware(CORSMiddleware, allow_origins=[*options.origins], allow_methods=["GET", "POST"], allow_headers=names)
    ]


def _routes(classifier: Classifier, protocol: Protocol, telemetry: Telemetry, *, needs_key: bool) -> list[Route]:
    async def metrics(_: Request) -> Response:
        return Response(telemetry.page(), media_type=MEDIA_TYPE)

    names = [model.name for model in classifier.models.all()]
    described = describe_api(classifier.limits, names, needs_key=needs_key)

    async def api(_: Request) -> Response:
        return as_json(described)

    async def docs(_: Request) -> Response:
        return Response(documentation(described), media_type="text/html; charset=utf-8")

    model = "/v2/models/{name}"
    version = model + "/versions/{version}"
    table: list[tuple[str, str, Callable[[Request], Any]]] = [
        ("GET", "/v1/models", classifier.list_models),
        ("POST", "/v1/predict", classifier.predict),
        ("GET", "/v2", protocol.server),
        ("GET", "/v2/", protocol.server),
        ("GET", "/v2/health/live", protocol.live),
        ("GET", "/v2/health/ready", protocol.ready),
        *(("GET", path, protocol.model) for path in (model, version)),
        *(("GET", f"{path}/ready", protocol.model_ready) for path in (model, version)),
        *(("POST", f"{path}/infer", protocol.infer) for path in (model, version)),
        ("GET", "/metrics", metrics),
        ("GET", "/openapi.json", api),
        ("GET", "/docs", docs),
        ("GET", "/", _page),
        ("GET", "/page/{file:path}", _page),
    ]
    return [Route(path, _marked(path, answer), methods=[method]) for method, path, answer in table]


def _marked(path: str, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def marked(request: Request) -> Response:
        request.scope["sightline_route"] = path
        return await answer(request)  # type: ignore[no-any-return]  # all of the table give one

    return marked


async def _page(request: Request) -> Response:
    file = page_files().get(request.path_params.get("file", "index.html"))
    if file is None:
        raise HTTPException(404)
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


async def _warm(models: ServedModels, decoders: Decoders) -> None:
    """What the first requests would wait for."""
    await decoders.begin(models.of(None).answerer(Question()))
    await asyncio.to_thread(models.try_batches)


async def _reload(models: ServedModels, seconds: float, telemetry: Telemetry) -> None:
    while True:
        await asyncio.sleep(seconds)
        for name, fault in await asyncio.to_thread(models.reload_changed):
            telemetry.reload(name, fault)
