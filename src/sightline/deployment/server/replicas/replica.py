"""One replica: the models of a server in a process of the cluster, asked without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.responses import Response

from sightline.bundles.bundle import MANIFEST, load_bundle, trusting
from sightline.deployment.server.app import at_work, models_app
from sightline.deployment.server.classify import Classifier, as_json
from sightline.deployment.server.decoders import Decoders
from sightline.deployment.server.limits import ServerLimits
from sightline.deployment.server.protocol import Protocol
from sightline.deployment.server.served import ServedModels
from sightline.deployment.server.telemetry import KeptEvents
from sightline.errors import InvalidBundle
from sightline.integrations.ray.serving import give_up, has_owner
from sightline.integrations.ray.workers import settle
from sightline.system.files import sha256_of
from sightline.system.workers import node_name

_LOOKS_FOR_OWNER_SECONDS = 10.0
# Nobody may come for them for a while.
_MOST_EVENTS = 10_000


@dataclass(frozen=True)
class Plan:
    """What replicas are made of, as it travels to them.

    Attributes:
        folder: in which names begin.
        places: name to bundle or run, as they were typed.
        versions: name to the SHA-256 of the bundle's manifest, as it is where the command is.
        limits: what is taken at most.
        reload_seconds: how often each looks whether a bundle was replaced; 0 for never.
        trusted: the file of a public key that bundles have to be signed with.
    """

    folder: str
    places: Mapping[str, str]
    versions: Mapping[str, str]
    limits: ServerLimits
    reload_seconds: float = 0.0
    trusted: str | None = None

    def trusting(self) -> contextlib.AbstractContextManager[None]:
        """Within it only bundles are opened that are signed as they have to be."""
        return contextlib.nullcontext() if self.trusted is None else trusting(self.trusted)


@dataclass(frozen=True)
class Asked:
    """A request that was let in.

    Attributes:
        method: of HTTP.
        path: with what is quoted in it unquoted, as ASGI has it.
        query: as it was sent.
        headers: those that the answer depends on.
        body: all of it, as it was sent.
    """

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What comes of it.

    Attributes:
        status: of HTTP.
        headers: of the answer.
        body: of it.
        events: what is to be counted or told since the answer before, of this and of other requests.
        node: where it comes from.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = field(repr=False)
    events: tuple[tuple[Any, ...], ...] = ()
    node: str = ""


def check_bundles(plan: Plan) -> None:
    """Refuse, on a node, a bundle that is not there, or is another one than where the command is."""
    with plan.trusting():
        for name, place in plan.places.items():
            found = load_bundle(place).path
            if sha256_of(found / MANIFEST) != plan.versions[name]:
                raise InvalidBundle(f"{found}: another bundle than under that path where the command runs.")


class Replica:
    """The models of a server, ready to answer."""

    def __init__(self, plan: Plan, num_processors: int, owner: str | None) -> None:
        """Open them; whoever waits for it may ask at once.

        Args:
            plan: what it is made of.
            num_processors: how many it may use.
            owner: what stands for the command that began it; None where it ends with that anyway.
        """
        settle(plan.folder, num_processors)
        self._owner, self._plan = owner, plan
        self._events: deque[tuple[Any, ...]] = deque(maxlen=_MOST_EVENTS)
        self._told = told = KeptEvents(self._events)
        with plan.trusting():
            models = ServedModels(plan.places, seen=told.batch)
        decoders = Decoders(plan.limits.decoders, timeout_seconds=plan.limits.deadline_seconds)
        classifier = Classifier(models, decoders, plan.limits, told)
        self._app = models_app(classifier, Protocol(models, plan.limits))
        self._work = at_work(models, decoders, plan.reload_seconds, told)
        self._begun: asyncio.Task[None] | None = None

    async def check_health(self) -> None:
        """Ray Serve asks it before anything else, and again every two seconds."""
        await self._begin()

    async def answer(self, asked: Asked) -> Answer:
        """A request, as the server of one process answers it."""
        await self._begin()
        found: list[MutableMapping[str, Any]] = []
        parts = [{"type": "http.request", "body": asked.body, "more_body": False}]

        async def receive() -> MutableMapping[str, Any]:
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            found.append(message)

        try:
            await self._app(_scope(asked), receive, send)
        except Exception as error:  # noqa: BLE001  # one request breaks, and the replica goes on
            self._told.fault(error)
            found = _broken()
        body = b"".join(message.get("body", b"") for message in found[1:])
        return Answer(found[0]["status"], tuple(map(tuple, found[0]["headers"])), body, self._taken(), node_name())

    async def hear(self) -> Answer:
        """What is to be told, where nobody asks for anything else."""
        return Answer(200, (), b"", self._taken(), node_name())

    def _taken(self) -> tuple[tuple[Any, ...], ...]:
        taken = tuple(self._events)
        self._events.clear()
        return taken

    async def _begin(self) -> None:
        if self._begun is None:
            self._begun = asyncio.create_task(self._enter())
        await asyncio.shield(self._begun)

    async def _enter(self) -> None:
        with self._plan.trusting():  # tasks that it begins keep that
            warm = await self._work.__aenter__()
        await warm
        if self._owner is not None:
            self._watch = asyncio.create_task(self._watch_owner(self._owner))

    async def _watch_owner(self, owner: str) -> None:
        """Nobody is served by what a command left behind that was killed."""
        missed = 0
        while missed < 2:
            await asyncio.sleep(_LOOKS_FOR_OWNER_SECONDS)
            missed = 0 if await asyncio.to_thread(has_owner, owner) else missed + 1
        await asyncio.to_thread(give_up, owner)


def _scope(asked: Asked) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "query_string": asked.query,
        "root_path": "",
        "headers": list(asked.headers),
        "client": None,
        "server": None,
    }


def _broken() -> list[MutableMapping[str, Any]]:
    response: Response = as_json({"error": "the server could not answer this. Its log says why."}, status=500)
    return [
        {"type": "http.response.start", "status": 500, "headers": response.raw_headers},
        {"type": "http.response.body", "body": bytes(response.body)},
    ]


def replica_plan(
    places: Mapping[str, str | Path], limits: ServerLimits, *, folder: str, reload_seconds: float, trusted: Path | None
) -> Plan:
    """Bundles as they are here; an InvalidBundle where one cannot be served, before a cluster is asked."""
    versions = {model.name: model.version for model in ServedModels(places).all()}
    typed = {name: str(place) for name, place in places.items()}
    return Plan(folder, typed, versions, limits, reload_seconds, None if trusted is None else str(trusted))
