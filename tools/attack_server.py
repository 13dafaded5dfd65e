"""Attack a server with strangers' requests, with reloads, and with the end of it while it is busy.

Usage: python tools/attack_server.py [--bundle imagenet] [--uploads 10000] [--bombs 100] [--clients 4] [--seed 0]
       python tools/attack_server.py --reloads 100 --stops 20 --uploads 0

Requests of `hostile_requests.py` are sent to a server of its own on loopback, by several clients at a time, between
sound ones whose answers have to stay the same. Then a bundle is replaced while clients ask, and servers are stopped
while clients ask. It ends with 1 where an answer has a status that none should have, tells what another one sent, or
never came; where the log tells of a fault, a process died, or memory grew.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hostile_requests import PREDICT, HostileRequest, attempts, bombed, pipelined, sound_picture, uploads, wire

from sightline.bundles.bundle import MANIFEST, load_bundle

# An answer that takes longer never comes.
_WAIT_SECONDS = 60.0
# What may be taken at most, and of what has been taken after the first tenth: allocators keep a little more.
_MOST_MIB, _MOST_GROWTH = 1024.0, 1.15
_TOKEN = re.compile(rb"upload-\d+")


@dataclass
class AttackedServer:
    """A server in a process of its own, and what it wrote to its log.

    Attributes:
        process: of it.
        port: on loopback.
        log: its lines.
    """

    process: subprocess.Popen[str]
    port: int
    log: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """What its log tells of."""
        places = [number for number, line in enumerate(self.log) if '"event": "fault"' in line or "Traceback" in line]
        return ["".join(self.log[number : number + 30]) for number in places]

    def mib(self) -> float:
        """Memory of it and of those that it started."""
        pids = [self.process.pid, *_children(self.process.pid)]
        return sum(_resident_mib(pid) for pid in pids)


def _children(pid: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread ended meanwhile
            for child in tasks.read_text(encoding="ascii").split():
                found += [int(child), *_children(int(child))]
    return found


def _resident_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # it is gone
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


@contextlib.contextmanager
def started(bundle: Path | str, *options: str) -> Iterator[AttackedServer]:
    """A server that answers already."""
    words = [sys.executable, "-m", "sightline", "serve", f"net={bundle}", "--port", "0", *options]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None  # noqa: S101  # it is asked for above
            first = process.stderr.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", first)
            if found is None:
                raise SystemExit(first + process.stderr.read())
            server = AttackedServer(process, int(found[1]))
            reader = threading.Thread(target=lambda: server.log.extend(process.stderr or ()), daemon=True)
            reader.start()
            while status_of(server, "/v2/health/ready") != 200:
                time.sleep(0.05)
            yield server
        finally:
            process.kill()


def status_of(server: AttackedServer, path: str) -> int:
    """What it says to a GET."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=_WAIT_SECONDS)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def sent(port: int, content: bytes, *, is_cut: bool = False) -> bytes:
    """All that is answered to some bytes, until the server closes; of what is cut, what comes within a moment."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=0.05 if is_cut else _WAIT_SECONDS) as connection:
        # It may close before it has read all.
        with contextlib.suppress(ConnectionError):
            connection.sendall(content)
        with contextlib.suppress(ConnectionError):
            try:
                while part := connection.recv(1 << 16):
                    received += part
            except TimeoutError:
                if not is_cut:
                    return b"never answered"
    return bytes(received)


def statuses_in(answer: bytes) -> list[int]:
    """Of every answer in what came over one connection."""
    found, rest = [], answer
    while match := re.match(rb"HTTP/1\.1 (\d{3}) ", rest):
        found.append(int(match[1]))
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        rest = rest[int(length[1]) :] if length else b""
    return found if not rest else [*found, 0]


def judged(port: int, request: HostileRequest) -> str | None:
    """What is wrong with what is answered to a request; None for nothing."""
    answer = sent(port, request.content, is_cut=request.is_cut)
    statuses = statuses_in(answer)
    if answer == b"never answered":
        return f"{request.name}: never answered"
    if unfit := set(statuses) - request.statuses:
        return f"{request.name}: answered {sorted(unfit)}: {answer[:300]!r}"
    if len(statuses) > request.most_answers:
        return f"{request.name}: {len(statuses)} answers"
    if strange := set(_TOKEN.findall(answer)) - set(_TOKEN.findall(request.content)):
        return f"{request.name}: tells of {sorted(strange)}"
    return None


def attacked(
    server: AttackedServer, requests: Sequence[HostileRequest], *, clients: int, growth: float = float("inf")
) -> list[str]:
    """What went wrong with some requests, a sound one after each tenth, and with memory over all of them."""
    sound = wire(f"{PREDICT}?name=sound", sound_picture(), "image/png")
    expected = _body(sent(server.port, sound))
    faults: list[str] = []
    taken: list[float] = []

    def one(number: int) -> None:
        try:
            fault = judged(server.port, requests[number])
            if number % 10 == 0 and (found := _body(sent(server.port, sound))) != expected:
                faults.append(f"a sound request beside {requests[number].name}: {found[:300]!r}")
        except OSError as error:
            fault = f"{requests[number].name}: {error!r}"
        faults.extend([fault] if fault else [])
        if number % max(1, len(requests) // 10) == 0:
            taken.append(server.mib())

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(len(requests))))
    if max(taken) > _MOST_MIB or taken[-1] > taken[min(1, len(taken) - 1)] * growth:
        faults.append(f"memory: {', '.join(f'{one:,.0f}' for one in taken)} MiB")
    print(f"  {len(requests):,} requests; MiB: {', '.join(f'{one:,.0f}' for one in taken)}", flush=True)
    return faults


def _body(answer: bytes) -> bytes:
    """Without the head, in which the time stands."""
    return answer.partition(b"\r\n\r\n")[2]


def pipelines(port: int, count: int) -> list[str]:
    """Whether requests that come at once on one connection are answered in their order, each with its own."""
    picture = base64.b64encode(sound_picture()).decode()
    content = pipelined(count, lambda number: {"images": [{"name": f"upload-{number}", "data": picture}]})
    answer = sent(port, content)
    names = [int(name[len(b"upload-") :]) for name in _TOKEN.findall(answer)]
    return [] if names == list(range(count)) else [f"pipelined: answered {names} with {statuses_in(answer)}"]


@contextlib.contextmanager
def asking(port: int, clients: int) -> Iterator[Counter[str]]:
    """Clients that ask on and on meanwhile, on connections of their own or kept; what came of it."""
    outcomes: Counter[str] = Counter()
    is_over = threading.Event()
    picture = sound_picture()

    def ask_on(is_kept: bool) -> None:  # noqa: FBT001
        while not is_over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_WAIT_SECONDS)
            with contextlib.closing(connection):
                outcome = _asked(connection, picture, count=20 if is_kept else 1, outcomes=outcomes)
            if outcome is not None:
                outcomes[outcome] += 1
                return

    threads = [threading.Thread(target=ask_on, args=[number % 2 == 1]) for number in range(clients)]
    for thread in threads:
        thread.start()
    yield outcomes
    is_over.set()
    for thread in threads:
        thread.join()


def _asked(connection: http.client.HTTPConnection, picture: bytes, *, count: int, outcomes: Counter[str]) -> str | None:
    """Ask some times on one connection; what ended it, None for nothing."""
    for number in range(count):
        try:
            connection.request("POST", PREDICT, picture, {"Content-Type": "image/png"})
            answer = connection.getresponse()
            told = json.loads(answer.read())
            outcomes[f"{answer.status}" if "model" in told else f"{answer.status} {told}"] += 1
        except ConnectionRefusedError:
            return "refused, it listens no more"
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            # It closed what was idle, as HTTP allows, or never took what waited to be let in.
            return "closed between requests" if number else "closed before it was let in"
        except (http.client.HTTPException, OSError) as error:
            return f"lost: {error!r}"
    return None


def reloaded(bundle: Path, times: int, *, clients: int) -> list[str]:
    """What went wrong while a bundle was replaced so many times under load."""
    with tempfile.TemporaryDirectory() as folder:
        here = shutil.copytree(bundle, Path(folder, "net"))
        with started(here, "--reload", "0.02") as server, asking(server.port, clients) as outcomes:
            for number in range(times):
                _replace(here, Path(folder), number)
                _until(lambda: _num_reloads(server) > number)  # noqa: B023  # it is called at once
            faults, mib = server.faults(), server.mib()
    print(f"  {times} reloads: {dict(outcomes)}; {mib:,.0f} MiB", flush=True)
    return faults + [f"under reloads: {name}" for name in outcomes if name != "200"]


def _replace(here: Path, folder: Path, number: int) -> None:
    """Another bundle, of another version, in its place."""
    made = shutil.copytree(here, folder / f"new-{number}")
    told = json.loads((made / MANIFEST).read_text(encoding="utf-8"))
    (made / MANIFEST).write_text(json.dumps({**told, "created": f"the {number}th"}), encoding="utf-8")
    here.rename(folder / f"old-{number}")
    made.rename(here)
    shutil.rmtree(folder / f"old-{number}")


def _num_reloads(server: AttackedServer) -> int:
    return sum('"event": "reload"' in line and '"error": null' in line for line in server.log)


def _until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > ends:
            raise SystemExit("it never came about")
        time.sleep(0.01)


def stopped(bundle: Path | str, times: int, *, clients: int) -> list[str]:
    """What went wrong when so many servers were asked to stop under load."""
    faults: list[str] = []
    all_outcomes: Counter[str] = Counter()
    for number in range(times):
        with started(bundle) as server:
            with asking(server.port, clients) as outcomes:
                _until(lambda: outcomes["200"] >= 20 + number)  # noqa: B023  # it is called at once
                server.process.send_signal(signal.SIGTERM)
                code = server.process.wait(_WAIT_SECONDS)
            faults += [f"stop {number}: ended with {code}"] if code else []
            faults += [f"stop {number}: {name}" for name in outcomes if name.startswith(("lost", "4", "50"))]
            faults += server.faults()
            all_outcomes += outcomes
    print(f"  {times} stops: {dict(all_outcomes)}", flush=True)
    return faults


def strangers(bundle: Path | str, asked: argparse.Namespace) -> list[str]:
    """What went wrong with strangers' requests."""
    with started(bundle, "--deadline", "20", "--max-body", "8", "--max-in-flight", "256") as server:
        faults = attacked(server, [*attempts(), *bombed(asked.bombs)], clients=asked.clients)
        faults += pipelines(server.port, 16)
        faults += attacked(server, list(uploads(asked.uploads, asked.seed)), clients=asked.clients, growth=_MOST_GROWTH)
        faults += server.faults()
        if status_of(server, "/v2/health/ready") != 200:
            faults.append("it is ready no more")
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(_WAIT_SECONDS)
    return faults + ([f"it ended with {code}"] if code else [])


def main() -> int:
    """Attack, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="imagenet")
    for name, usual in (("uploads", 10_000), ("bombs", 100), ("reloads", 100), ("stops", 20), ("clients", 4)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    faults = strangers(asked.bundle, asked) if asked.uploads else []
    if asked.reloads:
        faults += reloaded(load_bundle(asked.bundle).path, asked.reloads, clients=asked.clients)
    if asked.stops:
        faults += stopped(asked.bundle, asked.stops, clients=asked.clients)
    for fault in faults[:50]:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
