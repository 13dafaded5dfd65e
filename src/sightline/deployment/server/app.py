"""The server as an ASGI application: the gate that every request passes, and the routes behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sightline.deployment.server.classify import Classifier, as_json
from sightline.deployment.server.decoders import Decoders
from sightline.deployment.server.gate.door import Door, told_refusal
from sightline.deployment.server.gate.gate import Endpoint, Gate
from sightline.deployment.server.limits import Refusal, ServerOptions
from sightline.deployment.server.openapi import describe_api, documentation
from sightline.deployment.server.page_files import page_files
from sightline.deployment.server.protocol import Protocol
from sightline.deployment.server.served import Question, ServedModels
from sightline.deployment.server.telemetry import MEDIA_TYPE, Telemetry

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


async def _told_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  # it is registered for these
    return told_refusal(error)


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
            await decoders.close()

    routes = _routes(classifier, Protocol(models, options.limits), told, needs_key=bool(options.keys))
    busiest = {route.path: route.endpoint for route in routes if route.path == "/v1/predict"}
    door = Door(options, told)
    gate = Middleware(Gate, door=door, deadline=options.limits.deadline_seconds, telemetry=told, busiest=busiest)
    app = Starlette(
        routes=routes,
        # Pages of other sites are told, too, why they were refused.
        middleware=[*_cross_origin(options), gate],
        exception_handlers={Refusal: _told_refusal, HTTPException: _told_http},
        lifespan=lifespan,
    )
    # It would send whoever asks to a host that a header names.
    app.router.redirect_slashes = False
    app.state.models, app.state.door = models, door
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
    table: list[tuple[str, str, Endpoint]] = [
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


def _marked(path: str, answer: Endpoint) -> Endpoint:
    async def marked(request: Request) -> Response:
        request.scope["sightline_route"] = path
        return await answer(request)

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
    await decoders.begin(models.of(None).answerer(Question()).reader)
    await asyncio.to_thread(models.try_batches)


async def _reload(models: ServedModels, seconds: float, telemetry: Telemetry) -> None:
    while True:
        await asyncio.sleep(seconds)
        for name, fault in await asyncio.to_thread(models.reload_changed):
            telemetry.reload(name, fault)
