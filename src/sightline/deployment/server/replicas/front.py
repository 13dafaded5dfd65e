"""What lets in and turns away, and hands what was let in on to replicas; their answers go out as they come."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from sightline.bundles.bundle import trusted_key
from sightline.deployment.server.app import gated, routes_of
from sightline.deployment.server.classify import as_json
from sightline.deployment.server.gate.admission import full
from sightline.deployment.server.limits import Refusal, ServerLimits, ServerOptions
from sightline.deployment.server.replicas.replica import Answer, Asked, Replica, check_bundles, replica_plan
from sightline.deployment.server.telemetry import Telemetry
from sightline.deployment.server.uploads import sent_body
from sightline.errors import NotReached
from sightline.integrations.ray.cluster import begins_its_own, joined
from sightline.integrations.ray.serving import Replicas, replicated
from sightline.integrations.ray.workers import on_each_node

# Keys and whatever else a client sends stay here.
_HANDED_ON = (b"content-type", b"content-encoding", b"content-length", b"accept-encoding")
_OF_PROTOCOL = b"inference-header-content-length"
_LOOKS_AGAIN_SECONDS = 2.0
_READY_WITHIN_SECONDS = 2.0
# Whoever watches may ask while all places are taken.
_BESIDE = 64


@contextlib.contextmanager
def replicas_of(places: Mapping[str, str | Path], options: ServerOptions, *, on: str, count: int) -> Iterator[Replicas]:
    """Replicas of models on a cluster, all of them ready, as long as they are used; a node that is amiss is named."""
    plan = replica_plan(
        places,
        options.limits,
        folder=os.getcwd(),  # noqa: PTH109  # as names were typed
        reload_seconds=options.reload_seconds,
        trusted=trusted_key(),
    )
    is_own = begins_its_own(on)
    with joined(on) as ray:
        if not is_own:  # on this machine it was looked at just now
            on_each_node(ray, check_bundles, plan)
        at_once = options.limits.max_in_flight + _BESIDE
        with replicated(ray, Replica, (plan,), count=count, at_once=at_once, is_own=is_own) as replicas:
            yield replicas


def build_front(
    replicas: Replicas, names: list[str], *, options: ServerOptions, telemetry: Telemetry | None = None
) -> Starlette:
    """The application as `build_app` gives it, with its models elsewhere.

    Args:
        replicas: which answer.
        names: of the models; the first is asked where no other is named.
        options: how it is set up.
        telemetry: where figures and lines go.
    """
    told = telemetry or Telemetry()
    forwarder = Forwarder(replicas, options.limits, told)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(forwarder.watch())
        try:
            yield
        finally:
            task.cancel()

    routes = routes_of(forwarder, forwarder, options, told, names=names)
    return gated(routes, lifespan, options=options, telemetry=told)


class Forwarder:
    """Endpoints whose answers come from replicas."""

    def __init__(self, replicas: Replicas, limits: ServerLimits, telemetry: Telemetry) -> None:
        """Keep what it works with."""
        self._replicas, self._limits, self._telemetry = replicas, limits, telemetry

    async def predict(self, request: Request) -> Response:
        """A request that was let in, answered by one of them."""
        asked = Asked(
            request.method,
            request.scope["path"],
            request.scope["query_string"],
            tuple((name, value) for name, value in request.headers.raw if name in (*_HANDED_ON, _OF_PROTOCOL)),
            await sent_body(request, self._limits),
        )
        try:
            # What is no POST comes without the gate's deadline.
            async with asyncio.timeout(self._limits.deadline_seconds):
                answer = await self._replicas.ask("answer", asked)
        except NotReached as error:
            refusal = full()
            raise Refusal(503, f"{error} Ask again later.", refusal.headers) from error
        self._take_in(answer)
        response = Response(answer.body, answer.status)
        response.raw_headers = [*answer.headers]
        return response

    list_models = server = model = model_ready = infer = predict

    async def live(self, _: Request) -> Response:
        """It runs."""
        return as_json({"live": True})

    async def ready(self, _: Request) -> Response:
        """Whether a replica answers; they are asked for nothing before they are ready."""
        is_ready = False
        with contextlib.suppress(TimeoutError, NotReached):
            async with asyncio.timeout(_READY_WITHIN_SECONDS):
                self._take_in(await self._replicas.ask("hear"))
                is_ready = True
        return as_json({"ready": is_ready}, status=200 if is_ready else 503)

    async def watch(self) -> None:
        """Tell what replicas have to tell, and how many they are, where nobody asks for anything."""
        while True:
            try:
                answers = await self._replicas.ask_all("hear", seconds=self._limits.deadline_seconds)
            except Exception as error:  # noqa: BLE001  # requests are answered all the same
                self._telemetry.fault(error)
                answers = None
            for answer in answers or ():
                self._take_in(answer)
            if answers is not None:
                self._telemetry.replicas(len(answers), of=self._replicas.count)
            await asyncio.sleep(_LOOKS_AGAIN_SECONDS)

    def _take_in(self, answer: Answer) -> None:
        for event in answer.events:
            self._telemetry.take_in(event, node=answer.node)
