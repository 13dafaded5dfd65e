"""What every request passes: who asks, whether there is room, and by when it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.deployment.server.gate.door import Door, route_of, told_refusal
from sightline.deployment.server.gate.passage import Passage, rest_of_body
from sightline.deployment.server.limits import Refusal
from sightline.deployment.server.telemetry import Telemetry

Endpoint = Callable[[Request], Awaitable[Response]]

_LEFT = 499


class Gate:
    """What every request passes: who asks, whether there is room, and by when it is answered."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: Door,
        deadline: float,
        telemetry: Telemetry,
        busiest: Mapping[str, Endpoint] = MappingProxyType({}),
    ) -> None:
        """Stand before an application.

        Args:
            app: which answers what is let in.
            door: who is let in.
            deadline: seconds from the first byte to the answer; what takes longer is given up.
            telemetry: where figures and lines go.
            busiest: by their paths what answers a POST there, without the way through the table of all routes, which
                is a tenth of what a small picture costs.
        """
        self._app, self._door, self._telemetry, self._busiest = app, door, telemetry, busiest
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the beginning and the end of the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        self._door.meet(scope)
        request = Request(scope)
        passage = Passage(receive, send, rest=rest_of_body(request), admission=self._door.admission)
        try:
            await self._let_in(request, passage)
        except Refusal as refusal:
            await _refuse(refusal, scope, passage)
        except TimeoutError:
            words = f"the answer took more than {self._deadline:g} s. Ask again later."
            await _refuse(Refusal(504, words), scope, passage)
        except (ClientDisconnect, asyncio.CancelledError):
            if not passage.has_left:
                raise
        except Exception as error:  # noqa: BLE001  # one request breaks, and the server goes on
            # Its words may name places of this machine, so they go to the log alone.
            self._telemetry.fault(error)
            await _refuse(Refusal(500, "the server could not answer this. Its log says why."), scope, passage)
        status = _LEFT if passage.has_left else passage.status
        self._telemetry.request(route_of(scope), scope["method"], status, seconds=time.perf_counter() - began)

    async def _let_in(self, request: Request, passage: Passage) -> None:
        sender = self._door.sender(request)
        if request.method != "POST":
            await self._app(request.scope, passage.receive, passage.send)
            return
        with self._door.place(request, sender):
            await self._in_time(request.scope, passage)

    async def _in_time(self, scope: Scope, passage: Passage) -> None:
        """Until the deadline, or until whoever asked leaves: then nothing more is done for it."""
        async with asyncio.timeout(self._deadline):
            passage.task = asyncio.current_task()
            try:
                if (endpoint := self._busiest.get(scope["path"])) is None:
                    await self._app(scope, passage.receive, passage.send)
                else:
                    answer = await endpoint(Request(scope, passage.receive))
                    await answer(scope, passage.receive, passage.send)
            finally:
                passage.close()


async def _refuse(refusal: Refusal, scope: Scope, passage: Passage) -> None:
    """Tell it, where nothing was told yet."""
    if not passage.status and not passage.has_left:
        await told_refusal(refusal)(scope, passage.receive, passage.send)
