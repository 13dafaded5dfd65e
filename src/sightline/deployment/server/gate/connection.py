"""A connection that tells whoever comes while the server is full so in one write, before anything is set up for it."""

from __future__ import annotations

import asyncio
import urllib.parse
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sightline.deployment.server.gate.admission import SECONDS_UNTIL_AGAIN
from sightline.deployment.server.gate.door import Door

# So long is waited for the rest of a body that nobody wants, and at the end of the server for others to hang up, too.
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
    _pausing: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """What a client sends."""
        super().data_received(data)
        if self._is_refused and self._waiting is None and not self.transport.is_closing():
            self._waiting = self.loop.call_later(_MOST_SECONDS_UNREAD, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client, or the server, hung up."""
        super().connection_lost(exc)
        self._wait_no_longer()
        self._pause_no_longer()

    def shutdown(self) -> None:
        """The server stops."""
        # Over TLS a connection that is not read from does not end.
        if self._pausing is not None:
            self._hear_again()
        is_idle = self._is_idle()
        # Closed twice, a connection over TLS could not be hung up any more.
        if not self.transport.is_closing():
            super().shutdown()
        if is_idle:
            # Over TLS the end is awaited of whoever keeps a connection for later, and looks at it no more.
            self.loop.call_later(_MOST_SECONDS_UNREAD, self._hang_up)

    def _hang_up(self) -> None:
        if self in self.connections and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """Refuse it, or begin with it."""
        is_usual = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        # Who reads no answers is given no more of them before it does.
        can_write = self._is_idle() and not self.flow.write_paused
        if not (can_write and is_usual) or self.parser.should_upgrade() or not self._turned_away():
            # It may have come right behind one that was refused.
            self._unset_keepalive_if_required()
            super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.door.announce(cycle.scope)
        super()._start_asgi_task(cycle, app)

    def _turned_away(self) -> bool:
        if self.parser.get_method() != b"POST" or not self.door.is_full:
            return False
        url = httptools.parse_url(self.url)
        path = self.root_path + urllib.parse.unquote(url.path.decode("ascii"))
        scope: Any = {**self.scope, "method": "POST", "path": path, "query_string": url.query or b""}
        answer = self.door.turn_away(scope)
        if answer is None:
            return False
        self._is_refused = True
        lines = [*self.server_state.default_headers, *answer.raw_headers]
        told = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
        self.transport.write(STATUS_LINE[answer.status_code] + told + b"\r\n" + bytes(answer.body))
        if answer.status_code == _FULL:
            self._pause_no_longer()
            self.transport.pause_reading()
            self._pausing = self.loop.call_later(SECONDS_UNTIL_AGAIN, self._hear_again)
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
        self._pause_no_longer()
        # Where more came than is worked on, it is read from again when that is done.
        if not (self.transport.is_closing() or self.flow.read_paused):
            self.transport.resume_reading()

    def _pause_no_longer(self) -> None:
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None

    def _wait_no_longer(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def connections_at(door: Door) -> type[Connection]:
    """The class of a server's connections, as uvicorn takes one."""
    return cast("type[Connection]", type("ConnectionAtDoor", (Connection,), {"door": door}))
