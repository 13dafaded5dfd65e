"""A server on the loopback address, for one browser: it hands over the page, then one duty after the other."""

from __future__ import annotations

import http.server
import mimetypes
import queue
import secrets
from importlib import resources
from pathlib import Path

# A page that waits longer asks again.
_MOST_WAITED = 20.0
_MOST_SENT = 512 * 2**20
_TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json"}
_CHECK = ("check.html", "check.js")


class DutyServer(http.server.ThreadingHTTPServer):
    """Answers whoever knows its token, which stands in every address.

    Attributes:
        duties: what is to be done: JSON, and the bytes that belong to it.
        answers: what came out, each a line of JSON, then bytes.
    """

    daemon_threads = True

    def __init__(self, page: Path) -> None:
        """`page` is a folder or a file; it listens from now on."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.duties: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.answers: queue.Queue[bytes] = queue.Queue()
        self.token = secrets.token_urlsafe(24)
        places = {place.name: place for place in page.iterdir()} if page.is_dir() else {"index.html": page}
        self.pages = {f"page/{name}": place for name, place in places.items() if place.is_file()}

    @property
    def address(self) -> str:
        """Where the browser begins."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/check/{_CHECK[0]}"

    def content(self, name: str) -> bytes | None:
        """A file of the page, or of what checks it."""
        if name in {f"check/{one}" for one in _CHECK}:
            return resources.files("sightline.deployment.web").joinpath(*name.split("/")).read_bytes()
        return self.pages[name].read_bytes() if name in self.pages else None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets, and the second would wait 40 ms
    server: DutyServer

    def do_GET(self) -> None:
        """A duty, or a file."""
        name = self._asked()
        if name == "next":
            self._next()
        elif (content := self.server.content(name)) is not None:
            self._send(content, name)
        else:
            self._empty(404)

    def do_POST(self) -> None:
        """What came out."""
        length = int(self.headers.get("Content-Length") or 0)
        if self._asked() != "done" or not 0 < length <= _MOST_SENT:
            self.close_connection = True
            self._empty(404)
            return
        self.server.answers.put(self.rfile.read(length))
        self._empty(204)

    def _asked(self) -> str:
        token, _, rest = self.path.removeprefix("/").partition("/")
        is_known = secrets.compare_digest(token.encode(), self.server.token.encode())
        return rest.partition("?")[0] if is_known else ""

    def _next(self) -> None:
        try:
            duty, body = self.server.duties.get(timeout=_MOST_WAITED)
        except queue.Empty:
            self._empty(204)
            return
        self._send(body, "duty", duty=duty)

    def _send(self, body: bytes, name: str, duty: str | None = None) -> None:
        kind = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if duty is not None:
            self.send_header("X-Duty", duty)
        self.end_headers()
        self.wfile.write(body)

    def _empty(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: what is served here is nobody's business."""
