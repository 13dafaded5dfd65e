"""The server as an ASGI application: the gate that every request passes, and the routes behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from sightline.deployment.server.telemetry import MEDIA_TYPE, Telemetry, Told

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
        async with at_work(models, decoders, options.reload_seconds, told):
            yield

    names = [model.name for model in models.all()]
    routes = routes_of(classifier, Protocol(models, options.limits), options, told, names=names)
    app = gated(routes, lifespan, options=options, telemetry=told)
    app.state.models = models
    return app


@contextlib.asynccontextmanager
async def at_work(
    models: ServedModels, decoders: Decoders, reload_seconds: float, telemetry: Told
) -> AsyncIterator[asyncio.Task[None]]:
    """Models that answer meanwhile; what is yielded is done when requests wait for nothing any more."""
    warm = asyncio.create_task(_warm(models, decoders))
    tasks = [warm]
    if reload_seconds:
        tasks.append(asyncio.create_task(_reload(models, reload_seconds, telemetry)))
    try:
        yield warm
    finally:
        for task in tasks:
            task.cancel()
        models.retire()
        await decoders.close()


def gated(routes: Sequence[Route], lifespan: Any, *, options: ServerOptions, telemetry: Telemetry) -> Starlette:
    """An application of these routes behind the gate; its door stands in its state."""
    busiest = {route.path: route.endpoint for route in routes if route.path == "/v1/predict"}
    door = Door(options, telemetry)
    gate = Middleware(Gate, door=door, deadline=options.limits.deadline_seconds, telemetry=telemetry, busiest=busiest)
    app = Starlette(
        routes=routes,
        # Pages of other sites are told, too, why they were refused.
        middleware=[*_cross_origin(options), gate],
        exception_handlers={Refusal: _told_refusal, HTTPException: _told_http},
        lifespan=lifespan,
    )
    # It would send whoever asks to a host that a header names.
    app.router.redirect_slashes = False
    app.state.door = door
    return app


def models_app(classifier: Classifier, protocol: Protocol) -> Starlette:
    """What only models can answer, without a gate: whoever asks has let the request in."""
    table = _table_of_models(classifier, protocol)
    app = Starlette(
        routes=[Route(path, answer, methods=[method]) for method, path, answer in table],
        exception_handlers={Refusal: _told_refusal, HTTPException: _told_http},
    )
    app.router.redirect_slashes = False
    return app


def _cross_origin(options: ServerOptions) -> list[Middleware]:
    if not options.origins:
        return []
    names = ["Authorization", "Content-Type", "X-API-Key"]
    return [
        Middleware(CORSMiddleware, allow_origins=[*options.origins], allow_methods=["GET", "POST"], allow_headers=names)
    ]


def routes_of(
    classifier: Any, protocol: Any, options: ServerOptions, telemetry: Telemetry, *, names: list[str]
) -> list[Route]:
    """All that can be asked of models of these names.

    Args:
        classifier: a `Classifier`, or what stands for one that is elsewhere.
        protocol: the same of a `Protocol`.
        options: how the server is set up.
        telemetry: where figures come from.
        names: of the models.
    """

    async def metrics(_: Request) -> Response:
        return Response(telemetry.page(), media_type=MEDIA_TYPE)

    described = describe_api(options.limits, names, needs_key=bool(options.keys))

    async def api(_: Request) -> Response:
        return as_json(described)

    async def docs(_: Request) -> Response:
        return Response(documentation(described), media_type="text/html; charset=utf-8")

    table = [
        *_table_of_models(classifier, protocol),
        ("GET", "/v2/health/live", protocol.live),
        ("GET", "/v2/health/ready", protocol.ready),
        ("GET", "/metrics", metrics),
        ("GET", "/openapi.json", api),
        ("GET", "/docs", docs),
        ("GET", "/", _page),
        ("GET", "/page/{file:path}", _page),
    ]
    return [Route(path, _marked(path, answer), methods=[method]) for method, path, answer in table]


def _table_of_models(classifier: Any, protocol: Any) -> list[tuple[str, str, Endpoint]]:
    model = "/v2/models/{name}"
    version = model + "/versions/{version}"
    return [
        ("GET", "/v1/models", classifier.list_models),
        ("POST", "/v1/predict", classifier.predict),
        ("GET", "/v2", protocol.server),
        ("GET", "/v2/", protocol.server),
        *(("GET", path, protocol.model) for path in (model, version)),
        *(("GET", f"{path}/ready", protocol.model_ready) for path in (model, version)),
        *(("POST", f"{path}/infer", protocol.infer) for path in (model, version)),
    ]


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


async def _reload(models: ServedModels, seconds: float, telemetry: Told) -> None:
    while True:
        await asyncio.sleep(seconds)
        for name, fault in await asyncio.to_thread(models.reload_changed):
            telemetry.reload(name, fault)
