"""A connection that tells whoever comes while the server is full so in one write, before anything is set up for it."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sightline.deployment.server.gate.admission import SECONDS_UNTIL_AGAIN
from sightline.deployment.server.gate.door import Door

# Of a body that nobody wants, so long is waited for the rest.
_MOST_SECONDS_UNREAD = 2.0
_FULL = 503


class Connection(HttpToolsProtocol):
    """Asks at the door first.

    Under a flood a refusal must cost little beside an answer, or no time is left for answers: a task, a cycle and two
    writes for each cost four times of what this does. And whoever was told to come again in a second is not heard on
    this connection before.
    """

    door: ClassVar[Door]
    _is_refused = False
    _waiting: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """What a client sends."""
        super().data_received(data)
        if self._is_refused and self._waiting is None and not self.transport.is_closing():
            self._waiting = self.loop.call_later(_MOST_SECONDS_UNREAD, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client, or the server, hung up."""
        super().connection_lost(exc)
        self._wait_no_longer()

    def on_headers_complete(self) -> None:
        """Refuse it, or begin with it."""
        is_idle = self.cycle is None or self.cycle.response_complete
        is_usual = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        if not (is_idle and is_usual) or self.parser.should_upgrade() or not self._turned_away():
            super().on_headers_complete()

    def _turned_away(self) -> bool:
        path, _, query = self.url.partition(b"?")
        method = self.parser.get_method().decode("ascii")
        scope: Any = {**self.scope, "method": method, "path": path.decode("latin-1"), "query_string": query}
        # Those that came with it in one turn of the loop have not yet been at the gate.
        answer = self.door.turn_away(scope, beside=len(self.tasks))
        if answer is None:
            return False
        self._is_refused = True
        lines = [*self.server_state.default_headers, *answer.raw_headers]
        told = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
        self.transport.write(STATUS_LINE[answer.status_code] + told + b"\r\n" + bytes(answer.body))
        if answer.status_code == _FULL:
            self.transport.pause_reading()
            self.loop.call_later(SECONDS_UNTIL_AGAIN, self._hear_again)
        return True

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The last part of a body."""
        if not self._is_refused:
            super().on_message_complete()
            return
        self._is_refused = False
        self._wait_no_longer()
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _hear_again(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _wait_no_longer(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def connections_at(door: Door) -> type[Connection]:
    """The class of a server's connections, as uvicorn takes one."""
    return cast("type[Connection]", type("ConnectionAtDoor", (Connection,), {"door": door}))
