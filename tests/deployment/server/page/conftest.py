"""A server that answers as `sightline serve` does, by a script: what a page does with it is seen in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from sightline.deployment.server.page_files import page_files

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
BIRDS = ["heron", "egret", "stork", "crane", "spoonbill", "bittern"]
POSSIBLE = {"possible": True, "why": None}
# Log-odds of 0.2, 0.5, 0.8 and 0.95.
STEPS = ((-1.386294, 1.0, 0.059), (0.0, 0.984, 0.046), (1.386294, 0.913, 0.018), (2.944439, 0.742, 0.004))
TRADE_OFF = [
    {"certainty": at, "answered": answered, "error": error, "error_lower": error * 0.6, "error_upper": error * 1.5}
    for at, answered, error in STEPS
]


def model(name: str, classes: list[str], *, side: int = 224, channels: int = 3, **changed: Any) -> dict[str, Any]:
    """A model as /v1/models tells it."""
    return {
        "name": name,
        "classes": classes,
        "input": {
            "height": side,
            "width": side,
            "channels": channels,
            "color_mode": "rgb" if channels == 3 else "grey",
        },
        "promises": {"coverage": POSSIBLE, "max_error": POSSIBLE, "novelty": POSSIBLE},
        "nearest": POSSIBLE,
        "maps": POSSIBLE,
        "figures": {"accuracy": 0.941, "accuracy_interval": [0.917, 0.958]},
        "bundle": hashlib.sha256(name.encode()).hexdigest(),
        "trade_off": TRADE_OFF,
        "temperature": 1.0,
        **changed,
    }


def row(name: str, top: list[tuple[str, float]], **told: Any) -> dict[str, Any]:
    """An answer to one picture as /v1/predict tells it."""
    ranked = [{"label": label, "confidence": share} for label, share in top]
    first = ranked[0] if ranked else {"label": None, "confidence": None}
    odds = {"certainty": round(math.log(top[0][1] / (1 - top[0][1])), 6)} if top else {}
    return {"path": name, **first, "top": ranked, "error": None, **odds, **told}


@dataclass
class Script:
    """How the server behaves; a test changes it as it goes.

    Attributes:
        models: what may be asked.
        rows: what the next pictures are answered with, in turn; where there are none left, by their bytes.
        rows_of: what these very pictures are answered with, as several are asked about at once.
        key: that it wants, or "".
        num_busy: how many of the next questions it has no room for.
        num_until_gone: after so many more answers it closes every connection without a word; None for never.
        seconds: that an answer takes.
        status: to the next pictures, with `words`; 200 answers them.
        asked: the questions that were answered, as they were put, each with the name of its model.
        bodies: of these, the pictures.
        at_once, most_at_once: how many questions are open, and how many were at most.
    """

    models: list[dict[str, Any]] = field(default_factory=lambda: [model("birds-transfer-001", BIRDS)])
    rows: list[dict[str, Any]] = field(default_factory=list)
    rows_of: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    key: str = ""
    num_busy: int = 0
    num_until_gone: int | None = None
    seconds: float = 0.0
    status: int = 200
    words: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0


class Stub(ThreadingHTTPServer):
    """The server; `address` is where its page is."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = Script()
        self.lock = threading.Lock()
        self.row, self.model = row, model
        self.address = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Stub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/v1/models":
            if not self._is_refused():
                self._send(200, {"models": self.server.script.models})
            return
        file = page_files().get("index.html" if path == "/" else path.removeprefix("/page/"))
        if file is None:
            self._send(404, {"error": f"nothing at {path}"})
            return
        headers = {"Content-Security-Policy": POLICY, "ETag": file.etag, "Cache-Control": "no-cache"}
        self._send(200, file.content, kind=file.media_type, headers=headers)

    def do_POST(self) -> None:
        script = self.server.script
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            script.at_once += 1
            script.most_at_once = max(script.most_at_once, script.at_once)
        try:
            time.sleep(script.seconds)
            if not self._is_refused():
                with self.server.lock:
                    told = self._answer(body)
                self._send(*told)
        finally:
            with self.server.lock:
                script.at_once -= 1

    def _answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
        script = self.server.script
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        script.asked.append(asked)
        script.bodies.append(body)
        if script.status != 200:
            return script.status, {"error": script.words}
        found = next((one for one in script.models if one["name"] == asked["model"]), None)
        if found is None:
            return 404, {"error": f"no model is called {asked['model']}"}
        told = script.rows_of.get(body) or (script.rows.pop(0) if script.rows else by_bytes(body, found["classes"]))
        if told.get("error") is None:
            told = {**told, **extras(asked, told)}
        return 200, {"model": found["name"], "bundle": found["bundle"], "images": [told]}

    def _is_refused(self) -> bool:
        script = self.server.script
        with self.server.lock:
            if script.num_until_gone is not None:
                script.num_until_gone -= 1
                if script.num_until_gone < 0:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return True
            if script.key and self.headers.get("Authorization") != f"Bearer {script.key}":
                self._send(401, {"error": "this server wants a key"})
                return True
            if self.command == "POST" and script.num_busy > 0:
                script.num_busy -= 1
                self._send(503, {"error": "no room"}, headers={"Retry-After": "1"})
                return True
        return False

    def _send(self, status: int, content: Any, *, kind: str = "application/json", headers: Any = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def by_bytes(body: bytes, classes: list[str]) -> dict[str, Any]:
    """An answer that a picture always gets, and others do not."""
    digest = hashlib.sha256(body).digest()
    first = digest[0] % len(classes)
    share = round(0.4 + 0.6 * (digest[1] / 256) ** 0.5, 4)
    rest = (1 - share) * 0.7
    others = [classes[(first + step) % len(classes)] for step in (1, 2, 3, 4)][: len(classes) - 1]
    top = [(classes[first], share)] + [(name, round(rest * 0.5**place, 4)) for place, name in enumerate(others)]
    sure = share > 0.8
    return row(
        "image", top, set=[top[0][0]] if sure else [name for name, _ in top[:3]], unusual=False, unsure=not sure,
        novel=digest[2] < 20, farther_than=round(digest[2] / 256, 3),
    )  # fmt: skip


def extras(asked: dict[str, str], told: dict[str, Any]) -> dict[str, Any]:
    """What is asked for by click."""
    found: dict[str, Any] = {}
    if "nearest" in asked:
        found["nearest"] = [
            {"name": f"train/{told['label']}/{17 * number:04}.jpg", "label": told["label"], "distance": 0.11 * number}
            for number in range(1, int(asked["nearest"]) + 1)
        ]
    if asked.get("map") == "true":
        stream = BytesIO()
        Image.radial_gradient("L").resize((224, 224)).convert("RGB").save(stream, "PNG")
        found |= {"explained": told["label"], "map_png": base64.b64encode(stream.getvalue()).decode()}
    return found


@pytest.fixture
def server() -> Iterator[Stub]:
    """A server of its own for each test."""
    stub = Stub()
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield stub
    stub.shutdown()
    stub.server_close()
    thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without a window, with a camera that shows a test picture."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("apt-get install chromium")
    arguments = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, server: Stub) -> Iterator[Callable[..., Any]]:
    """Opens the page as a person would, and fails where it broke a rule of its own or asked anything outside."""
    contexts = []
    wrong: list[str] = []

    def opened(
        *, address: str = server.address, language: str = "en-GB", width: int = 1280, height: int = 900, **options: Any
    ) -> Any:
        context = chromium.new_context(locale=language, viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("pageerror", lambda problem: wrong.append(str(problem)))
        page.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
        page.on("request", lambda sent: None if is_own(sent.url, address) else wrong.append(sent.url))
        page.goto(address)
        page.wait_for_selector("#about", state="visible")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def is_own(asked: str, address: str) -> bool:
    """Whether a request goes to the server, or nowhere."""
    return asked.startswith((address, "blob:", "data:"))


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., list[Path]]:
    """Makes so many pictures, each another one."""

    def made(count: int, *, name: str = "bird-{:02}.jpg", side: int = 96) -> list[Path]:
        paths = []
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            path = tmp_path / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(path)
            paths.append(path)
        return paths

    return made
