"""A real studio on loopback, in a thread of the test, over a folder with photographs."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from sightline.deployment.workshop.app import build_studio

TOKEN = "a-token-of-a-test"


@dataclass(frozen=True)
class Reply:
    """An answer of HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class OpenStudio:
    """A studio, and questions to it, which bear the token unless they say otherwise."""

    port: int
    log: io.StringIO

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={TOKEN}"

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        given = {"Authorization": f"Bearer {TOKEN}"} if headers is None else dict(headers)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def post(self, path: str, content: Any) -> Reply:
        return self.ask("POST", path, json.dumps(content))

    def end_of(self, name: str, *, seconds: float = 60) -> Any:
        """A job when it is over."""
        latest = time.monotonic() + seconds
        while (job := self.get(f"/api/jobs/{name}").json)["state"] == "running":
            assert time.monotonic() < latest, job
            time.sleep(0.2)
        return job

    def done(self, **asked: Any) -> Any:
        """A command that is started and waited for."""
        begun = self.post("/api/jobs", asked)
        assert begun.status == 200, begun.body
        return self.end_of(begun.json["name"])


@pytest.fixture
def open_studio(tmp_path: Path) -> Iterator[Callable[..., OpenStudio]]:
    """Opens studios over the folder of the test, and ends them."""
    with contextlib.ExitStack() as stack:
        yield lambda folder=tmp_path: stack.enter_context(running(folder))


@pytest.fixture
def studio(open_studio: Callable[..., OpenStudio], photos: Path) -> OpenStudio:
    """Over a folder that holds `photos`."""
    return open_studio(photos.parent)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[OpenStudio]:
    log = io.StringIO()
    app = build_studio(folder, TOKEN, log=log)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield OpenStudio(server.servers[0].sockets[0].getsockname()[1], log)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert log.getvalue() == ""
