"""Who is let in, until when, and what becomes of those who leave."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.deployment.server import batching
from sightline.deployment.server.batching import Batcher, Batching, tried_batching
from sightline.deployment.server.gate.admission import Admission, Rates
from sightline.deployment.server.limits import Refusal, ServerLimits
from sightline.errors import InvalidValue


class Slow:
    """Stands before a network, and holds it until it is let go."""

    def __init__(self, server: Any) -> None:
        self.session, self.is_open, self.num_images = server.model().batcher, threading.Event(), 0
        at_once = server.model().session.at_once
        self.began = threading.Semaphore(0)

        def waiting(images, names, **options):
            self.began.release()
            self.is_open.wait(20)
            self.num_images += len(images)
            return at_once(images, names, **options)

        server.model().session.at_once = waiting  # type: ignore[method-assign]
        # In a thread, as networks that are slow by themselves.
        server.model().batcher.batching = Batching()


def opened(server: Any, head: str, body: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(head.replace("\n", "\r\n").encode() + body)
    return connection


def head(length: int, path: str = "/v1/predict") -> str:
    return f"POST {path} HTTP/1.1\nHost: localhost\nContent-Type: image/png\nContent-Length: {length}\n\n"


def first_line(connection: socket.socket) -> str:
    return connection.recv(65536).decode().splitlines()[0]


def until(condition) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends, "it never came about"
        time.sleep(0.01)


def test_a_full_server_refuses_before_a_body_is_sent(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"max_in_flight": 2})
    slow = Slow(server)
    content = server.png("cat")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(server.post, "/v1/predict", content, "image/png") for _ in range(2)]
        until(lambda: b"sightline_requests_in_flight 2.0" in server.get("/metrics").body)
        for length in (1000, 1_000_000):
            with opened(server, head(length)) as connection:  # nothing of it is ever sent
                answer = connection.recv(65536).decode()
            assert answer.startswith("HTTP/1.1 503 ")
            assert "retry-after: 1" in answer.lower()
            assert ("connection: close" in answer.lower()) == (length > 100_000)
        assert server.get("/v2/health/ready").status == 200
        slow.is_open.set()
        assert [one.result().status for one in waiting] == [200, 200]
    assert server.post("/v1/predict", content, "image/png").status == 200


def test_bodies_on_their_way_are_counted_in_bytes_too(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"max_body_mib": 1, "max_in_flight_mib": 1.5})
    with opened(server, head(1_000_000)):
        until(lambda: b"sightline_requests_in_flight 1.0" in server.get("/metrics").body)
        with opened(server, head(1_000_000)) as other:
            assert " 503 " in first_line(other)
    until(lambda: b"sightline_requests_in_flight 0.0" in server.get("/metrics").body)


def test_a_packed_body_is_counted_as_large_as_it_may_become(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"max_body_mib": 1, "max_in_flight_mib": 1.5})
    packed = head(1_000).replace("Content-Type", "Content-Encoding: gzip\nContent-Type")
    zeros = head(600_000).replace("Length: ", f"Length: {'0' * 30}")
    for first, second in ((packed, packed), (head(1_000_000), zeros)):
        with opened(server, first):
            until(lambda: b"sightline_requests_in_flight 1.0" in server.get("/metrics").body)
            with opened(server, second) as other:
                assert " 503 " in first_line(other)
        until(lambda: b"sightline_requests_in_flight 0.0" in server.get("/metrics").body)


def test_what_comes_too_late_is_given_up_and_its_place_is_free_again(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"max_in_flight": 1, "deadline_seconds": 1.0})
    slow = Slow(server)
    found = server.post("/v1/predict", server.png("cat"), "image/png")
    assert (found.status, "more than 1 s" in found.json["error"]) == (504, True)
    with opened(server, head(1000)) as connection:  # a body that never comes
        assert " 504 " in first_line(connection)
    slow.is_open.set()
    until(lambda: server.post("/v1/predict", server.png("cat"), "image/png").status == 200)


def test_whoever_leaves_costs_nothing(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    slow = Slow(server)
    content = server.png("cat")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.post, "/v1/predict", content, "image/png")
        assert slow.began.acquire(timeout=20)
        for _ in range(5):
            opened(server, head(len(content)), content).close()
        until(lambda: len([told for told in server.events("request") if told["status"] == 499]) == 5)
        slow.is_open.set()
        assert first.result().status == 200
    assert server.post("/v1/predict", content, "image/png").status == 200
    assert slow.num_images == 2


def test_a_key_is_needed_where_there_are_keys(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), keys=("0123456789abcdef",))
    content = server.png("cat")
    refused = server.post("/v1/predict", content, "image/png")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    wrong = server.post("/v1/predict", content, "image/png", Authorization="Bearer 0123456789abcdeF")
    assert wrong.status == 401
    for headers in ({"Authorization": "Bearer 0123456789abcdef"}, {"X-API-Key": "0123456789abcdef"}):
        assert server.post("/v1/predict", content, "image/png", **headers).status == 200
    assert server.get("/v1/models").status == server.get("/metrics").status == 401
    assert server.get("/v2/health/ready").status == server.get("/").status == 200
    assert "0123456789" not in server.log.getvalue()


def test_of_one_sender_so_many_requests_a_minute(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"requests_per_minute": 2})
    found = [server.post("/v1/predict", server.png("cat"), "image/png") for _ in range(3)]
    assert [one.status for one in found] == [200, 200, 429]
    assert 1 <= int(found[2].headers["retry-after"]) <= 30


def test_a_bucket_fills_up_as_time_goes_by() -> None:
    now = [0.0]
    rates = Rates(60, clock=lambda: now[0])
    for _ in range(60):
        rates.take("a")
    with pytest.raises(Refusal, match="60 requests a minute"):
        rates.take("a")
    rates.take("b")
    now[0] = 1.0
    rates.take("a")
    with pytest.raises(Refusal):
        rates.take("a")


def test_only_its_own_names_are_answered_to(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), hosts=("localhost", "127.0.0.1"))
    assert server.get("/v2/health/live").status == 200
    assert server.get("/v2/health/live", Host="localhost:9").status == 200
    assert server.get("/v2/health/live", Host="evil.example").status == 421


def test_other_sites_may_ask_only_where_they_are_named(make_bundle, start_server: Any) -> None:
    closed = start_server(make_bundle("one"))
    assert "access-control-allow-origin" not in closed.get("/v1/models", Origin="https://a.example").headers
    wide = start_server(make_bundle("two"), origins=("https://a.example",))
    assert (
        wide.get("/v1/models", Origin="https://a.example").headers["access-control-allow-origin"] == "https://a.example"
    )
    assert "access-control-allow-origin" not in wide.get("/v1/models", Origin="https://b.example").headers


def test_pages_of_named_sites_are_told_why_they_were_refused(make_bundle, start_server: Any) -> None:
    keyed = start_server(make_bundle(), origins=("https://a.example",), keys=("letmein",))
    for path in ("/v1/predict", "/nowhere"):
        refused = keyed.post(path, keyed.png("cat"), "image/png", Origin="https://a.example")
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "https://a.example")
    asking = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert keyed.ask("OPTIONS", "/v1/predict", headers=asking).status == 200, "a browser asks first, without its key"


def test_a_fault_is_told_in_the_log_alone(make_bundle, start_server: Any, monkeypatch) -> None:
    server = start_server(make_bundle())

    def broken(*_: object, **__: object) -> None:
        raise OSError("/secret/place broke")

    monkeypatch.setattr(server.model().session, "at_once", broken)
    found = server.post("/v1/predict", server.png("cat"), "image/png")
    assert (found.status, "secret" in found.json["error"]) == (500, False)
    assert "secret" in server.events("fault")[0]["error"]
    monkeypatch.undo()
    assert server.post("/v1/predict", server.png("cat"), "image/png").status == 200


def test_logs_hold_no_names_of_pictures(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    server.post("/v1/predict?name=my-passport.png", server.png("cat"), "image/png")
    server.get("/my-secret-path")
    until(lambda: "other" in [told["route"] for told in server.events("request")])
    assert "passport" not in server.log.getvalue()
    assert "my-secret" not in server.log.getvalue()
    told = {told["route"]: told["status"] for told in server.events("request")}
    assert told.items() >= {"/v1/predict": 200, "other": 404}.items()


class Moody:
    """Answers of four images and more differ in the last bit; in one thread all of them do, where it is `torn`."""

    def __init__(self, *, torn: bool = False) -> None:
        self.torn, self.sizes = torn, []

    def at_once(self, images, names, *, spread=True):
        self.sizes.append((len(images), spread))
        values = images.reshape(len(images), -1).sum(axis=1, keepdims=True).astype(np.float32)
        off = len(images) >= 4 or (self.torn and not spread)
        return {"logits": values + off * np.spacing(values)}


IMAGES = np.random.default_rng(0).integers(0, 256, (16, 2, 2, 1), dtype=np.uint8)
ALONE = [Moody().at_once(IMAGES[row : row + 1], ())["logits"].tobytes() for row in range(len(IMAGES))]


@pytest.mark.parametrize(("chosen", "spread"), [(Batching((2, 1)), True), (Batching((2, 1), is_quick=True), False)])
def test_batches_are_only_of_sizes_that_change_no_answer(chosen: Batching, spread: bool) -> None:
    session, before = Moody(), threading.active_count()
    assert tried_batching(session, ("logits",), IMAGES).sizes == (2, 1)  # type: ignore[arg-type]
    session.sizes.clear()
    batcher = Batcher(session)  # type: ignore[arg-type]
    batcher.batching = chosen

    async def ask() -> None:
        waiting = [batcher.submit(IMAGES[first : first + 3], ("logits",)) for first in (0, 3, 6)]
        waiting[1].cancel()
        found = np.concatenate([(await one)["logits"] for one in (waiting[0], waiting[2])])
        assert found.tobytes() == b"".join([*ALONE[:3], *ALONE[6:9]])
        assert session.sizes == [(2, spread), (1, spread)] * 2, "what was cancelled cost nothing"
        batcher.retire()
        until(lambda: threading.active_count() == before)
        assert (await batcher.submit(IMAGES[:1], ("logits",)))["logits"].shape == (1, 1)  # of who came just before that

    asyncio.run(ask())


def test_a_network_that_breaks_is_told_to_who_waits_and_the_next_are_answered() -> None:
    batcher = Batcher(Moody())  # type: ignore[arg-type]

    async def ask() -> None:
        with pytest.raises(AttributeError):
            await batcher.submit([None], ("logits",))  # type: ignore[arg-type]
        assert (await batcher.submit(IMAGES[:1], ("logits",)))["logits"].tobytes() == ALONE[0]
        batcher.retire()

    asyncio.run(ask())


def test_a_small_network_that_answers_otherwise_in_one_thread_keeps_to_many(monkeypatch: pytest.MonkeyPatch) -> None:
    class Steady(Moody):
        def at_once(self, images, names, *, spread=True):
            found = [super(Steady, self).at_once(one[None], names, spread=spread)["logits"] for one in images]
            return {"logits": np.concatenate(found)}

    monkeypatch.setattr(batching, "_MOST_SECONDS_AT_ONCE", 5.0)
    monkeypatch.setattr(batching, "available_processors", lambda: 3)
    sizes = (16, 8, 4, 2, 1)
    assert tried_batching(Steady(), ("logits",), IMAGES) == Batching(sizes, 3, is_quick=True)  # type: ignore[arg-type]
    assert tried_batching(Steady(torn=True), ("logits",), IMAGES) == Batching(sizes)  # type: ignore[arg-type]
    monkeypatch.setattr(batching, "_MOST_SECONDS_AT_ONCE", 0.0)
    assert tried_batching(Steady(), ("logits",), IMAGES) == Batching(sizes, 3)  # type: ignore[arg-type]


def test_of_several_requests_each_has_a_processor_and_one_alone_has_all() -> None:
    begun, is_open = threading.Semaphore(0), threading.Event()

    class Held(Moody):
        def at_once(self, images, names, *, spread=True):
            begun.release()
            assert is_open.wait(20)
            return super().at_once(images, names, spread=spread)

    session = Held()
    batcher = Batcher(session)  # type: ignore[arg-type]
    batcher.batching = Batching(threads=2)

    async def ask() -> None:
        waiting = [batcher.submit(IMAGES[row : row + 1], ("logits",)) for row in range(5)]
        for _ in range(2):
            assert await asyncio.to_thread(begun.acquire, timeout=20), "two at a time"
        assert not begun.acquire(blocking=False)
        is_open.set()
        assert [(await one)["logits"].tobytes() for one in waiting] == ALONE[:5]
        assert len(session.sizes) == 5
        assert (1, False) in session.sizes
        until(lambda: batcher._num_busy == 0)
        await batcher.submit(IMAGES[:1], ("logits",))
        assert session.sizes[-1] == (1, True)
        batcher.retire()
        until(lambda: "sightline-batches" not in [thread.name for thread in threading.enumerate()])

    asyncio.run(ask())


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict?top=0", "/nowhere", "/v2/models/net/infer"])
def test_a_refusal_arrives_while_a_large_body_is_still_sent(make_bundle, start_server: Any, path: str) -> None:
    server = start_server(make_bundle(), limits={"max_body_mib": 1})
    length = 8_000_000
    with opened(server, head(length, path)) as connection:
        sent = 0
        with contextlib.suppress(OSError):  # as clients do that send all before they read
            while sent < length:
                sent += connection.send(bytes(min(1_000_000, length - sent)))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert sent == length
    assert int(answer[9:12]) in (400, 404, 413)
    assert b"connection: close" in answer.lower()
    assert answer.rstrip().endswith(b"}")


def test_whoever_never_sends_the_rest_is_hung_up_on(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"max_body_mib": 1})
    with opened(server, head(8_000_000), b"some") as connection:
        began = time.monotonic()
        while connection.recv(65536):
            pass
        assert 1 < time.monotonic() - began < 15


def test_whoever_is_turned_away_is_told_of_in_one_line_a_second(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"requests_per_minute": 1})
    assert [server.post("/v1/predict", server.png("cat"), "image/png").status for _ in range(20)].count(429) == 19
    assert b'sightline_requests_total{route="/v1/predict",status="429"} 19.0' in server.get("/metrics").body
    assert 1 <= len(server.events("turned away")) <= 10
    assert [told["status"] for told in server.events("request") if told["route"] == "/v1/predict"] == [200]


def test_no_more_are_let_in_than_are_answered_in_time() -> None:
    admission = Admission(ServerLimits(deadline_seconds=10, max_in_flight=100))
    assert admission.most == 100
    admission.note(4.0, beside=4)
    assert admission.most == 100, "one that took long says little"
    for _ in range(200):
        admission.note(2.0, beside=4)
    assert admission.most == 10, "two a second, and half of ten seconds"
    for _ in range(200):
        admission.note(60.0, beside=1)
    assert admission.most == 4, "some are always let in, else it would never be known"
    for _ in range(400):
        admission.note(0.1, beside=10)
    assert admission.most == 100


@pytest.mark.parametrize(
    "told",
    [
        {"max_body_mib": 0},
        {"max_images": 1.5},
        {"deadline_seconds": float("nan")},
        {"max_in_flight": True},
        {"decoders": -1},
    ],
)
def test_limits_that_are_none_are_refused(told: dict[str, object]) -> None:
    with pytest.raises(InvalidValue, match=next(iter(told))):
        ServerLimits(**told)  # type: ignore[arg-type]


def test_the_log_is_a_json_object_a_line(make_bundle, start_server: Any, tmp_path: Path) -> None:
    server = start_server(make_bundle())
    server.get("/v1/models")
    until(lambda: "/v1/models" in [told["route"] for told in server.events("request")])


def test_a_log_that_cannot_be_written_costs_no_answer(make_bundle, start_server: Any) -> None:
    def write(_: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    server = start_server(make_bundle())
    server.log.write = write
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.connect()
        connected = connection.sock
        for _ in range(3):
            connection.request("POST", "/v1/predict", server.png("cat"))
            answer = connection.getresponse()
            assert (answer.status, len(answer.read()) > 0) == (200, True)
            time.sleep(0.2)  # a fault behind an answer would close what the next one comes by
        assert connection.sock is connected
