"""A real browser, started without a window, that does what it is asked on the page that is served to it alone.

The page fetches its duties from a server on the loopback address and sends back what came out: no other protocol, no
driver, and any browser built on Chromium can do it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.deployment.web.duties import DutyServer
from sightline.errors import ExportRefused, MissingPackage
from sightline.system.interruption import raise_if_interrupted
from sightline.system.text import printable

VARIABLE, NONE = "SIGHTLINE_BROWSER", "none"
_NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("microsoft-edge", "msedge", "brave-browser"),
)
_USUAL_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
# It shows nothing, keeps nothing, and asks its makers for nothing.
_OPTIONS = (
    *("--headless=new", "--no-first-run", "--no-default-browser-check", "--disable-extensions", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps"),
    *("--disable-domain-reliability", "--metrics-recording-only", "--no-pings", "--disable-gpu"),
    # Shared memory is small in containers, and a page behind others is slowed down.
    *("--disable-dev-shm-usage", "--disable-background-timer-throttling", "--disable-renderer-backgrounding"),
)
# A large network on a slow machine takes seconds an image.
_MOST_SECONDS = 300.0


def find_browser() -> Path:
    """The program of a browser: that of SIGHTLINE_BROWSER, else what is found; a MissingPackage where there is none."""
    named = os.environ.get(VARIABLE)
    for name in [named] if named else [*_NAMES, *_USUAL_PLACES]:
        if name != NONE and (found := shutil.which(name)) is not None:
            return Path(found)
    what = f"{VARIABLE} names {printable(named)}, which is none" if named else "none was found"
    raise MissingPackage(
        f"the format web is compared in a browser that is built on Chromium, and {what}. Install chromium or Chrome, "
        f"or name its program: {VARIABLE}=/path/to/chrome"
    )


class PageError(ExportRefused):
    """What the page's worker could not do."""


class Browser:
    """A browser that has opened a page, a folder or a file; a context, or closed by `close`.

    Attributes:
        told: what the page says of itself once it has started: version of its runtime, threads, the browser.
    """

    def __init__(self, page: Path, program: Path | None = None) -> None:
        """Start it, and wait until the network is loaded; an ExportRefused where it does not come so far."""
        self._program = program or find_browser()
        self._server = DutyServer(page)
        self._held = contextlib.ExitStack()
        self._held.callback(self._server.server_close)
        try:
            self._start()
            self.told: Mapping[str, Any] = self._answer()[0]
        except PageError as error:
            self.close()
            raise ExportRefused(f"the page does not start: {error}") from error
        except BaseException:
            self.close()
            raise

    def ask(self, duty: str, body: bytes = b"", **values: Any) -> tuple[Any, bytes]:
        """What the page's worker gives for one duty: plain values, and bytes; a PageError where it refuses."""
        self._server.duties.put((json.dumps({"duty": duty, **values}), body))
        return self._answer()

    def close(self) -> None:
        """End the browser, and what served it."""
        self._held.close()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        # The browser may still write there while it ends.
        profile = self._held.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._held.callback(self._server.shutdown)
        # Its sandbox does not start for the administrator.
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        words = [str(self._program), *_OPTIONS, *["--no-sandbox"] * is_root, f"--user-data-dir={profile}"]
        words.append(self._server.address)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the browser
        self._held.callback(self._log.close)
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        self._held.callback(_end, self._process)

    def _answer(self) -> tuple[Any, bytes]:
        deadline = time.monotonic() + _MOST_SECONDS
        while True:
            raise_if_interrupted()
            with contextlib.suppress(queue.Empty):
                line, _, body = self._server.answers.get(timeout=0.2).partition(b"\n")
                told = json.loads(line)
                if "error" in told:
                    raise PageError(f"the page cannot do it in {self._shown()} ({printable(str(told['error']))}).")
                return told["result"], body
            if self._process.poll() is not None:
                raise ExportRefused(f"{self._shown()} ended by itself ({self._last_line()}). {self._remedy()}")
            if time.monotonic() > deadline:
                raise ExportRefused(f"{self._shown()} gave no answer for {_MOST_SECONDS:g} s. {self._remedy()}")

    def _shown(self) -> str:
        return printable(str(self._program))

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return printable(lines[-1])[:300] if lines else f"exit code {self._process.returncode}"

    def _remedy(self) -> str:
        return f"Name another browser: {VARIABLE}=/path/to/chrome, or add --unchecked with {VARIABLE}={NONE}."


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
