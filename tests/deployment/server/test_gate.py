"""Who is let in, until when, and what becomes of those who leave."""

from __future__ import annotations

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

from sightline.deployment.server.admission import Rates
from sightline.deployment.server.batching import Batcher, alike_sizes
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
        with opened(server, head(1000)) as connection:  # nothing of the 1,000 bytes is ever sent
            answer = connection.recv(65536).decode()
        assert answer.startswith("HTTP/1.1 503 ")
        assert "retry-after: 1" in answer.lower()
        assert "connection: close" in answer.lower()
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


def test_batches_are_only_of_sizes_that_change_no_answer() -> None:
    class Moody:
        """Answers of four images and more differ in the last bit."""

        def at_once(self, images, names):
            values = images.reshape(len(images), -1).sum(axis=1, keepdims=True).astype(np.float32)
            return {"logits": values + (len(images) >= 4) * np.spacing(values)}

    images = np.random.default_rng(0).integers(0, 256, (16, 2, 2, 1), dtype=np.uint8)
    session = Moody()
    assert alike_sizes(session, ("logits",), images) == (2, 1)  # type: ignore[arg-type]
    before, batcher = threading.active_count(), Batcher(session)  # type: ignore[arg-type]
    batcher.sizes = (2, 1)
    waiting = [batcher.submit(images[first : first + 3], ("logits",)) for first in (0, 3, 6)]
    found = np.concatenate([one.result(20)["logits"] for one in waiting])
    assert found.tobytes() == b"".join(
        session.at_once(images[row : row + 1], ())["logits"].tobytes() for row in range(9)
    )
    batcher.retire()
    until(lambda: threading.active_count() == before)
    assert batcher.submit(images[:1], ("logits",)).result(20)["logits"].shape == (1, 1)  # of who came just before that


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
