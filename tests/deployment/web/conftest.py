"""What tests of a page need: a browser to look into and type on, and what the page runs on; each is skipped without."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.bundles.bundle import load_bundle
from sightline.deployment.web import runtime_files
from sightline.deployment.web.browser import _OPTIONS, find_browser
from sightline.deployment.web.pages import write_page
from sightline.errors import MissingPackage
from sightline.system.caches import find_entry

# Looked for once, before tests give themselves caches of their own.
_KEPT = find_entry(runtime_files.PACKAGE, runtime_files._KEY)


class Tab:
    """One open page, by the DevTools protocol over two pipes: no package, no port."""

    def __init__(self, program: Path, *options: str) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        words = [str(program), *_OPTIONS, "--no-sandbox", f"--user-data-dir={self._profile.name}", *options]
        words.append("--remote-debugging-pipe")
        # The browser reads from 3 and writes to 4.
        redirected = (
            "import fcntl, os, sys; "
            f"pipes = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in ({to_browser}, {from_browser})]; "
            "[os.dup2(pipe, number) for number, pipe in enumerate(pipes, 3)]; os.execv(sys.argv[1], sys.argv[1:])"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", redirected, *words], pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._stream = os.fdopen(self._read, "rb", buffering=0)
        self._rest, self._number = b"", 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._write)
        self._stream.close()
        self._profile.cleanup()

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": values}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while (told := self._next()).get("id") != self._number:
            self.events.append(told)
        assert "error" not in told, told
        return dict(told["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = self._stream.read(2**20)
            assert part, "the browser ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def open(self, address: str, *, is_ready: str = "document.documentElement?.dataset.ready === 'yes'") -> None:
        self.call("Page.navigate", url=address)
        self.wait_for(is_ready)

    def evaluate(self, expression: str) -> Any:
        told = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait_for(self, expression: str, *, seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"never: {expression}; {self.complaints()}"
            time.sleep(0.05)
        return found

    def choose_files(self, selector: str, *paths: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def press(self, key: str, *, code: int = 0, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra)

    def look(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, place: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        place.write_bytes(base64.b64decode(data))

    def settled(self, count: Callable[[], int], seconds: float = 0.5) -> None:
        """Wait until nothing more is counted."""
        while True:
            before = count()
            time.sleep(seconds)
            self.evaluate("1")
            if count() == before:
                return

    def requests(self) -> list[str]:
        self.evaluate("1")  # takes in what has been told meanwhile
        return [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """What the console was told of: errors, and what the page's own policy refused."""
        self.evaluate("1")
        logged = [e["params"]["entry"]["text"] for e in self.events if e.get("method") == "Log.entryAdded"]
        thrown = [str(e["params"]) for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        return logged + thrown


@pytest.fixture
def runs_on(monkeypatch: pytest.MonkeyPatch) -> Path:
    """onnxruntime-web as it was kept or named; nothing is fetched for a test."""
    if named := os.environ.get(runtime_files.VARIABLE):
        return Path(named)
    if _KEPT is None:
        pytest.skip("onnxruntime-web is not in the cache: make web-runtime fetches it")
    monkeypatch.setenv(runtime_files.VARIABLE, str(_KEPT))
    return _KEPT


@pytest.fixture(scope="session")
def browser_program() -> Path:
    try:
        return find_browser()
    except MissingPackage as error:
        pytest.skip(str(error))


@pytest.fixture
def page_of(runs_on: Path, tmp_path: Path) -> Callable[[Path], Path]:
    """The page of a bundle, not yet compared."""

    def write(bundle: Path) -> Path:
        folder = tmp_path / "page"
        folder.mkdir()
        write_page(load_bundle(bundle), folder)
        return folder

    return write


@pytest.fixture
def tab(browser_program: Path) -> Iterator[Tab]:
    """A browser to look into; its camera is a made one."""
    opened = Tab(browser_program, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    yield opened
    opened.close()
