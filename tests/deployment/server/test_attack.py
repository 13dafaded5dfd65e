"""A slice of `tools/attack_server.py`, which is run whole before a release."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
from attack_server import judged, pipelines, sent, statuses_in
from hostile_requests import HostileRequest, attempts, uploads, wire

ATTEMPTS = [*attempts(), *uploads(60, seed=3)]


def test_strangers_requests_are_answered_or_refused_and_none_tells_of_another(server: Any) -> None:
    before = len(server.events("fault"))
    with ThreadPoolExecutor(4) as pool:
        faults = [fault for fault in pool.map(lambda one: judged(server.port, one), ATTEMPTS) if fault]
    assert not faults
    assert not server.events("fault")[before:]
    assert server.post("/v1/predict", server.png("cat"), "image/png").json["images"][0]["label"] == "cat"


def test_requests_that_come_at_once_are_answered_in_their_order(server: Any) -> None:
    assert pipelines(server.port, 8) == []


def test_no_request_hides_in_another(server: Any) -> None:
    tricks = [one for one in ATTEMPTS if one.name.startswith("two in one")]
    assert len(tricks) > 8
    for one in tricks:
        assert b'"models"' not in sent(server.port, one.content), one.name


@pytest.mark.parametrize(
    ("answer", "statuses"),
    [
        (b"", []),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 404 Not Found\r\n\r\n", [200, 404]),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nok", [200, 0]),
    ],
)
def test_answers_are_counted(answer: bytes, statuses: list[int]) -> None:
    assert statuses_in(answer) == statuses


def test_an_answer_that_none_should_have_is_a_fault(server: Any) -> None:
    found = judged(server.port, HostileRequest("a", wire("/v1/predict", b"x"), frozenset({200})))
    assert found is not None
    assert "answered [422]" in found
