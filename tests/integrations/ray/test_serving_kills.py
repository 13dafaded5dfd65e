"""Replicas and nodes are killed while clients ask on and on: what is answered, what is not, and how soon."""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline

pytestmark = [pytest.mark.slow, pytest.mark.soak]
NUM_KILLS = int(os.environ.get("SIGHTLINE_KILLS", "20"))
NUM_CLIENTS = 8


@dataclass
class Clients:
    """Some that ask one after the other; what each was answered, and when."""

    port: int
    content: bytes
    wanted: bytes
    answers: list[tuple[float, str]] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    ends_refused: bool = False

    def ask_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.is_over.is_set():
            try:
                connection.request("POST", "/v1/predict", self.content, {"Content-Type": "image/png"})
                answer = connection.getresponse()
                body = answer.read()
                told = str(answer.status) if body == self.wanted or answer.status != 200 else "other bytes"
            except (OSError, http.client.HTTPException) as error:
                told = type(error).__name__
                connection.close()
                if self.ends_refused and isinstance(error, ConnectionRefusedError):
                    self.is_over.set()
            self.answers.append((time.monotonic(), told))
        connection.close()

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.ask_on) for _ in range(NUM_CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.is_over.set()
            for thread in threads:
                thread.join()

    def longest_wait(self, since: float) -> float:
        """Seconds without a good answer."""
        good = sorted([since, *(when for when, told in self.answers if told == "200" and when > since)])
        return max((later - earlier for earlier, later in itertools.pairwise(good)), default=float("inf"))


def get(port: int, path: str) -> tuple[int, str]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def num_replicas(port: int) -> int:
    found = re.search(r"^sightline_replicas (\d+)", get(port, "/metrics")[1], re.MULTILINE)
    return int(found[1]) if found else 0


def until(condition: Any, seconds: float) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


@contextlib.contextmanager
def command(run: Path, environment: dict[str, str], *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    typed = [sys.executable, "-m", "sightline", "serve", str(run), "--port", "0", *words]
    with subprocess.Popen(typed, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = []
            while not (found := re.search(r"at http://127\.0\.0\.1:(\d+)\.", lines[-1] if lines else "")):
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield process, int(found[1])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(60) == 0
            finally:
                process.kill()


@pytest.fixture
def content() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def answer_of_one_process(run: Path, content: bytes) -> bytes:
    with command(run, dict(os.environ)) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/predict", content, {"Content-Type": "image/png"})
        body = connection.getresponse().read()
        connection.close()
    return body


@dataclass
class Watched:
    """What kills cost: seconds without a good answer, and until all replicas were there again."""

    port: int
    clients: Clients
    waits: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def through(self, kill: Callable[[], None]) -> None:
        time.sleep(random.uniform(1, 2))
        began = time.monotonic()
        kill()
        assert get(self.port, "/v2/health/ready")[0] == 200
        until(lambda: num_replicas(self.port) < 2, 60)
        until(lambda: num_replicas(self.port) == 2, 120)
        self.whole.append(time.monotonic() - began)
        self.waits.append(self.clients.longest_wait(began))

    def words(self, kind: str) -> str:
        answers = Counter(told for _, told in self.clients.answers)
        return (
            f"{len(self.waits)} times a {kind} was killed: {sum(answers.values()):,} requests, {dict(answers)};\n"
            f"longest wait for a good answer: median {np.median(self.waits):.2f} s, at most {max(self.waits):.2f} s;\n"
            f"all replicas again: median {np.median(self.whole):.1f} s, at most {max(self.whole):.1f} s"
        )


@contextlib.contextmanager
def watched(nodes: Any, run: Path, content: bytes) -> Iterator[Watched]:
    wanted = answer_of_one_process(run, content)
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    with command(run, environment, "--on", "ray") as (_, port):
        clients = Clients(port, content, wanted)
        with clients.asking():
            until(lambda: num_replicas(port) == 2, 60)
            yield Watched(port, clients)
        assert {told for _, told in clients.answers} == {"200"}


def test_replicas(nodes, replica_processes, tiny_run: sightline.Run, content, capsys) -> None:
    with watched(nodes, tiny_run.path, content) as seen:
        for _ in range(NUM_KILLS):
            seen.through(lambda: os.kill(random.choice(replica_processes()), signal.SIGKILL))
    with capsys.disabled():
        print(f"\n{seen.words('replica')}")
    assert max(seen.waits) < 10


def test_nodes(nodes, tiny_run: sightline.Run, content, capsys) -> None:
    there = sorted(nodes.list_all_nodes(), key=lambda node: node.head)[:2]
    with watched(nodes, tiny_run.path, content) as seen:
        for number in range(NUM_KILLS):

            def kill_one(chosen: int = number % 2) -> None:
                there[chosen].all_processes["raylet"][0].process.kill()
                until(lambda: num_replicas(seen.port) == 1, 60)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    nodes.remove_node(there[chosen], allow_graceful=False)
                    there[chosen] = nodes.add_node(num_cpus=1)

            # It is one of two, and the next one is begun only where it was noticed.
            seen.through(kill_one)
    with capsys.disabled():
        print(f"\n{seen.words('node')}")
    assert max(seen.waits) < 10


def test_the_command_itself(nodes, replica_processes, tiny_run: sightline.Run, content) -> None:
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    typed = [sys.executable, "-m", "sightline", "serve", str(tiny_run.path), "--port", "0", "--on", "ray"]
    with subprocess.Popen(typed, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "serving" not in process.stderr.readline():
            assert process.poll() is None
        assert len(replica_processes()) == 2
        process.kill()
    # Nobody is served by them any more, so they end.
    assert until(lambda: not replica_processes(), 90) < 60


def test_it_ends_in_peace_at_sigterm_and_loses_no_request(
    nodes, replica_processes, tiny_run: sightline.Run, content
) -> None:
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    with command(tiny_run.path, environment, "--on", "ray", "--replicas", "1") as (process, port):
        clients = Clients(port, content, b"", ends_refused=True)
        with clients.asking():
            until(lambda: len(clients.answers) > 200, 60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    told = Counter(told for _, told in clients.answers)
    # A connection that waits to be let in is closed, and one that is kept for later, too: no request of it was read.
    assert set(told) <= {"other bytes", "ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected"}
    assert told["other bytes"] > 200
    assert not replica_processes()


def test_by_its_address(nodes, replica_processes, tiny_run: sightline.Run, content) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        taken = free.getsockname()[1]
    words = ["--address", nodes.address, "--host", "127.0.0.1", "--port", str(taken), "--mode", "proxy"]
    typed = [sys.executable, "-m", "ray.util.client.server", *words]
    with subprocess.Popen(typed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as clients_come_here:
        try:
            until(lambda: _answers(taken), 60)
            environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
            with command(tiny_run.path, environment, "--on", f"ray://127.0.0.1:{taken}") as (_, port):
                clients = Clients(port, content, answer_of_one_process(tiny_run.path, content))
                with clients.asking():
                    until(lambda: len(clients.answers) > 100, 60)
                    os.kill(replica_processes()[0], signal.SIGKILL)
                    until(lambda: len(clients.answers) > 500, 60)
            assert {told for _, told in clients.answers} == {"200"}
            assert not replica_processes()
        finally:
            clients_come_here.terminate()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
