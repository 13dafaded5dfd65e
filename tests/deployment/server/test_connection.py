"""Whoever comes while the server is full is told so in one write, and not heard before the second is over."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sightline.deployment.server.gate import connection as connections
from sightline.deployment.server.gate.admission import SECONDS_UNTIL_AGAIN


@contextlib.contextmanager
def full(server: Any) -> Iterator[None]:
    """A server that has all that it lets in."""
    admission = server.app.state.door.admission
    kept, admission.num_requests = admission.num_requests, admission.most
    try:
        yield
    finally:
        admission.num_requests = kept


@contextlib.contextmanager
def connected(server: Any) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as client:
        client.connect()
        yield client


def ask(client: http.client.HTTPConnection, body: bytes, **headers: str) -> http.client.HTTPResponse:
    client.request("POST", "/v1/predict?top=2", body, {"Content-Type": "image/png", **headers})
    return client.getresponse()


def sent(server: Any, content: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.sendall(content)
    return client


def received(client: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    told = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            told += part
    return told


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n%s\r\n"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What goes the whole way, a number each."""
    started: list[int] = []
    usual = connections.HttpToolsProtocol._start_asgi_task
    monkeypatch.setattr(
        connections.HttpToolsProtocol,
        "_start_asgi_task",
        lambda self, *given: (started.append(1), usual(self, *given))[1],
    )
    return started


def test_a_refusal_is_the_same_as_the_gates(make_bundle, start_server: Any, begun: list[int]) -> None:
    server = start_server(make_bundle())
    content = server.png("cat")
    before = len(begun)
    with full(server):
        at_once = server.post("/v1/predict", content, "image/png")
        assert len(begun) == before
        whole = server.post("/v1/predict", content, "image/png", Expect="nothing of that kind")
        assert len(begun) == before + 1
    assert at_once.status == whole.status == 503
    assert at_once.json == whole.json
    assert at_once.json["error"].startswith("the server has all the work")
    assert at_once.headers["retry-after"] == "1"
    assert {**at_once.headers, "date": ""} == {**whole.headers, "date": ""}
    assert server.post("/v1/predict", content, "image/png").status == 200
    page = server.get("/metrics").body.decode()
    assert 'sightline_requests_total{route="/v1/predict",status="503"} 2.0' in page


def test_whoever_was_refused_is_not_heard_before_the_second_is_over(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    content = server.png("cat")
    with connected(server) as client:
        with full(server):
            refused = ask(client, content)
            began = time.perf_counter()
            assert (refused.status, len(refused.read()) > 0) == (503, True)
        answer = ask(client, content)
        waited = time.perf_counter() - began
        assert (answer.status, json.loads(answer.read())["images"][0]["label"]) == (200, "cat")
        assert waited > 0.8 * SECONDS_UNTIL_AGAIN
        answer = ask(client, content)
        assert answer.status == 200
        answer.read()


def test_others_are_told_what_they_would_be_told_otherwise(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), keys=("open sesame",), hosts=("localhost", "127.0.0.1"))
    content = server.png("cat")
    with full(server):
        assert server.post("/v1/predict", content).status == 401
        assert server.post("/v1/predict", content, Host="elsewhere").status == 421
        found = server.post("/v1/predict", content, Authorization="Bearer open sesame")
        assert (found.status, found.headers["retry-after"]) == (503, "1")
        assert server.get("/v2/health/live").status == 200
        # Who was refused for another reason is heard at once.
        with connected(server) as client:
            began = time.perf_counter()
            for _ in range(3):
                answer = ask(client, content)
                assert answer.status == 401
                answer.read()
            assert time.perf_counter() - began < SECONDS_UNTIL_AGAIN


def test_a_sender_who_asks_too_often_is_told_so(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"requests_per_minute": 2})
    with full(server):
        statuses = [server.post("/v1/predict", b"x").status for _ in range(4)]
    assert statuses == [503, 503, 429, 429]


def test_pages_of_other_sites_read_why(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), origins=("https://example.org",))
    with full(server):
        found = server.post("/v1/predict", server.png("cat"), Origin="https://example.org")
    assert (found.status, found.headers["access-control-allow-origin"]) == (503, "https://example.org")


def test_connections_that_are_to_be_closed_are_closed(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    with full(server):
        for head in (HEAD % (3, b"Connection: close\r\n"), (HEAD % (3, b"")).replace(b"HTTP/1.1", b"HTTP/1.0")):
            with sent(server, head + b"abc") as client:
                assert received(client).startswith(b"HTTP/1.1 503 ")


def test_a_body_that_never_comes_is_not_waited_for(
    make_bundle, start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST_SECONDS_UNREAD", 0.2)
    server = start_server(make_bundle())
    with full(server), sent(server, HEAD % (1000, b"") + b"a part of it") as client:
        told = received(client)
    assert told.count(b"HTTP/1.1 503 ") == 1


def test_a_body_that_comes_in_parts_belongs_to_no_other_request(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    content = server.png("cat")
    with full(server), sent(server, HEAD % (len(content), b"") + content[:10]) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        server.app.state.door.admission.num_requests = 0
        client.sendall(content[10:] + HEAD % (len(content), b"Connection: close\r\n") + content)
        told = received(client)
        assert told.startswith(b"HTTP/1.1 200 ")
        assert b'"cat"' in told


def test_several_that_are_sent_in_one_go_are_each_told(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    with full(server), sent(server, (HEAD % (3, b"") + b"abc") * 3) as client:
        told = b""
        while told.count(b"HTTP/1.1 503 ") < 3:
            told += client.recv(65536)
    assert told.count(b'{"error": ') == 3


def test_what_came_in_one_turn_of_the_loop_is_counted(make_bundle, start_server: Any, begun: list[int]) -> None:
    """Those before it are on their way to the gate, where none of them is counted yet."""
    server = start_server(make_bundle(), limits={"max_in_flight": 4})
    content, before = server.png("cat"), len(begun)

    async def flood() -> list[bytes]:
        async def one() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(HEAD % (len(content), b"") + content)
            line = await reader.readline()
            writer.close()
            return line.split()[1]

        return await asyncio.gather(*(one() for _ in range(200)))

    statuses = asyncio.run(flood())
    assert set(statuses) <= {b"200", b"503"}
    assert statuses.count(b"200") >= 4
    assert statuses.count(b"503") > 0
    # A few may be refused at the gate, where others were let in that came before them.
    assert len(begun) - before < statuses.count(b"200") + 20
