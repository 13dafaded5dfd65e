"""A real server on loopback, in a thread of the test."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

import sightline
from sightline.deployment.server.app import build_app
from sightline.deployment.server.gate.connection import connections_at
from sightline.deployment.server.limits import ServerLimits, ServerOptions
from sightline.deployment.server.served import ServedModel
from sightline.deployment.server.telemetry import Telemetry

COLORS = {"cat": (200, 60, 20), "dog": (30, 210, 60), "owl": (10, 40, 190)}


def made_png(name: str, *, noise: int = 0, size: int = 8) -> bytes:
    """A picture of a class of `make_bundle`."""
    pixels = np.full((size, size, 3), COLORS[name]) + np.random.default_rng(noise).integers(-20, 20, (size, size, 3))
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def made_form(files: list[tuple[str, bytes]], boundary: str = "frontier") -> tuple[bytes, str]:
    """Files as a browser sends them."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


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
class Running:
    """A server, and what it wrote to its log."""

    port: int
    app: Any
    log: io.StringIO = field(repr=False)
    stop: Callable[[], None] = field(repr=False)
    png: Any = made_png
    form: Any = made_form

    def model(self, name: str | None = None) -> ServedModel:
        return self.app.state.models.of(name)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any, kind: str = "application/octet-stream", **headers: str) -> Reply:
        return self.ask("POST", path, body, {"Content-Type": kind, **headers})

    def events(self, name: str) -> list[dict[str, Any]]:
        return [told for line in self.log.getvalue().splitlines() if (told := json.loads(line))["event"] == name]


StartServer = Callable[..., Running]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    with contextlib.ExitStack() as stack:

        def start(places: Mapping[str, Any] | Path, **options: Any) -> Running:
            named = places if isinstance(places, Mapping) else {"net": places}
            return stack.enter_context(running(named, **options))

        yield start


@pytest.fixture(scope="module")
def server(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One of a file that does nothing to it."""
    with running({"net": write_bundle(tmp_path_factory.mktemp("served") / "bundle")}) as started:
        yield started


@pytest.fixture(scope="module")
def both(
    labels_run: sightline.Run, write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """One class an image, "net", and several labels, "edges"."""
    places = {"net": write_bundle(tmp_path_factory.mktemp("served") / "bundle"), "edges": labels_run.path}
    with running(places) as started:
        yield started


@contextlib.contextmanager
def running(
    places: Mapping[str, Any],
    limits: Mapping[str, Any] | None = None,
    tls: tuple[Path, Path] | None = None,
    **options: Any,
) -> Iterator[Running]:
    log = io.StringIO()
    limits = ServerLimits(**{"decoders": 1, "deadline_seconds": 60.0, **(limits or {})})
    app = build_app(places, options=ServerOptions(limits, **{"reload_seconds": 0, **options}), telemetry=Telemetry(log))
    connection = connections_at(app.state.door)
    usual: Any = {"port": 0, "log_config": None, "access_log": False, "lifespan": "on", "ws": "none", "loop": "asyncio"}
    certificate, key = tls or (None, None)
    config = uvicorn.Config(app, http=connection, ssl_certfile=certificate, ssl_keyfile=key, **usual)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()

    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        started = Running(server.servers[0].sockets[0].getsockname()[1], app, log, stop)
        while tls is None and started.get("/v2/health/ready").status != 200:
            time.sleep(0.005)
        yield started
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()


@pytest.fixture
def png() -> Callable[..., bytes]:
    return made_png
