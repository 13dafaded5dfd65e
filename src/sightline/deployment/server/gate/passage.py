"""One request on its way: what comes of its body, what is answered, and whether its sender is still there."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive, Send

from sightline.deployment.server.gate.admission import Admission

_DONE = 200
_LISTENS_AFTER_SECONDS = 0.03
# Of a body that nobody wants: so much is read by the way, more ends the connection, which waits so long for its sender.
_MOST_BYTES_UNREAD = 64 * 1024
_MOST_SECONDS_UNREAD = 2.0
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)


class Passage:
    """One request on its way: what was answered so far, and whether its sender is still there.

    Args:
        receive: parts of its body.
        send: parts of the answer.
        rest: bytes of the body that may still come.
        admission: is told how long answers take.
    """

    def __init__(self, receive: Receive, send: Send, *, rest: float, admission: Admission) -> None:
        self._receive, self._send, self._rest, self._admission = receive, send, rest, admission
        self._whole = (0.0, 0)
        self.status = 0
        self.has_left = False
        self.task: asyncio.Task[Any] | None = None
        self._listening: asyncio.Task[None] | asyncio.TimerHandle | None = None

    async def receive(self) -> Message:
        """The next part of the body; behind the last one, somebody listens whether the sender leaves."""
        message = await self._received()
        self.has_left = message["type"] == "http.disconnect" and not self.status
        if not self._rest and message["type"] == "http.request" and self.task is not None:
            self._whole = time.perf_counter(), self._admission.num_requests
            # Most are answered before it is worth a task.
            self._listening = asyncio.get_running_loop().call_later(_LISTENS_AFTER_SECONDS, self._begin_to_listen)
        return message

    async def _received(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._rest = 0
        return message

    async def send(self, message: Message) -> None:
        """Hand an answer on, with the headers that all of them have.

        Whoever is answered before it sent all of a large body reads the answer when it is done with sending, if at
        all: a connection that is closed before that is reset, and the answer lost. So what comes is thrown away for a
        while, and then the connection is closed.
        """
        if message["type"] == "http.response.start":
            self.status = message["status"]
            began, beside = self._whole
            if beside and self.status == _DONE:
                self._admission.note(time.perf_counter() - began, beside=beside)
            given = {name.lower() for name, _ in message["headers"]}
            added = [(name, value) for name, value in SAFE_HEADERS if name not in given]
            if self._rest > _MOST_BYTES_UNREAD:
                added.append((b"connection", b"close"))
            message = {**message, "headers": [*message["headers"], *added]}
        elif self._rest > _MOST_BYTES_UNREAD and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOST_SECONDS_UNREAD):
                while self._rest:
                    await self._received()

    def close(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            self._listening.cancel()
        self.task = None

    def _begin_to_listen(self) -> None:
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.task is not None and not self.status:
            self.has_left = True
            self.task.cancel()


def rest_of_body(request: Request) -> float:
    """How many bytes come behind the headers; infinite where they do not say it."""
    told = request.headers.get("content-length")
    if told is None:
        return math.inf if "transfer-encoding" in request.headers else 0
    # Zeros before a number are no part of its length.
    return int(told.lstrip("0")[:20] or 0) if told.isascii() and told.isdigit() else math.inf
