"""A stand-in for the Hugging Face Hub: what its own client asks for, answered from memory on this machine alone."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest


@dataclass
class StandIn:
    """Repositories by name, each its files; what was asked for; and a status that it answers everything with."""

    address: str = ""
    token: str = "hf_" + "secret" * 3
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int | None = None

    def environment(self, home: Path, *, is_logged_in: bool = True) -> dict[str, str]:
        told = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        told |= {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        return told | ({"HF_TOKEN": self.token} if is_logged_in else {})

    def commit(self, name: str) -> str:
        files = sorted(self.repositories[name].items())
        return hashlib.sha1(repr([(path, hashlib.sha1(body).hexdigest()) for path, body in files]).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def may(self) -> bool:
        self.hub.asked.append(f"{self.command} {self.path}")
        if self.hub.status is not None:
            self.answer({"error": f"signed address https://x/?token={self.hub.token}"}, self.hub.status)
            return False
        return True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.may():
            return
        path = unquote(urlsplit(self.path).path)
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.answer({"error": "no"}, 401)
        elif path == "/api/repos/create":
            self.created(json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            asked = json.loads(body)["files"]
            modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer({"files": [{"path": one["path"], **modes} for one in asked]})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self.committed(match[1], [json.loads(line) for line in body.splitlines()])
        else:
            self.answer({"error": path}, 404)

    def created(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if name in self.hub.repositories:
            self.answer({"error": "there", "url": f"{self.hub.address}/{name}"}, 409)
            return
        self.hub.repositories[name], self.hub.private[name] = (
            {".gitattributes": b""},
            "private" in (asked.get("visibility"), asked.get("private") and "private"),
        )
        self.answer({"url": f"{self.hub.address}/{name}", "name": name, "id": name})

    def committed(self, name: str, lines: list[dict[str, Any]]) -> None:
        files = self.hub.repositories[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.hub.commit(name)
        self.answer({"success": True, "commitOid": commit, "commitUrl": f"{self.hub.address}/{name}/commit/{commit}"})

    def do_GET(self) -> None:
        if not self.may():
            return
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            known = self.hub.repositories.get(match[1])
            rows = [
                {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                for name, body in (known or {}).items()
            ]
            self.answer(rows) if known is not None else self.gone()
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/revision/([^/]+))?", path):
            self.told(match[1], match[2])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            body = self.hub.repositories.get(match[1], {}).get(match[3])
            if body is None:
                self.gone()
            else:
                etag = f'"{hashlib.sha1(body).hexdigest()}"'
                self.answer(body, ETag=etag, X_Repo_Commit=self.hub.commit(match[1]))
        else:
            self.gone()

    do_HEAD = do_GET  # noqa: N815  # as the standard library looks for it

    def told(self, name: str, revision: str | None) -> None:
        if name not in self.hub.repositories:
            self.gone()
        elif revision not in (None, "main", self.hub.commit(name)):
            self.answer({"error": "Revision Not Found"}, 404, X_Error_Code="RevisionNotFound")
        else:
            names = [{"rfilename": path} for path in self.hub.repositories[name]]
            self.answer(
                {"id": name, "modelId": name, "sha": self.hub.commit(name), "siblings": names, "private": False}
            )

    def gone(self) -> None:
        self.answer({"error": "Repository Not Found"}, 404, X_Error_Code="RepoNotFound")


@pytest.fixture
def hub() -> Iterator[StandIn]:
    stand_in = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HandlerOfThis", (Handler,), {"hub": stand_in}))
    stand_in.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield stand_in
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def sightline_at(hub: StandIn, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line, in a process of its own, to which the stand-in is the hub."""

    def type_in(*words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = hub.environment(tmp_path / "home", **options)
        command = [sys.executable, "-W", "error", "-m", "sightline", *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    return type_in
