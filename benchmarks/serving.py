"""Servers under load, side by side: `sightline serve`, the same on Ray, LitServe, and FastAPI with a Keras network.

Usage: python benchmarks/serving.py RUN PICTURE [--seconds 15] [--rates 0.5,0.8,1,2,4] [--rounds 2]
           [--peers sightline,ray,litserve,keras] [--python PYTHON]
       python benchmarks/serving.py memory RUN PICTURE [--count 100000]

PYTHON is that of an environment with litserve, fastapi, uvicorn, python-multipart, onnxruntime and Pillow (and keras
with tensorflow-cpu for the last). All servers run the network of one bundle on loopback, beside the client on the same
processors; `ray` is `sightline serve --on ray`, two replicas on a Ray of these processors; LitServe runs the same ONNX
file in one session behind Pillow's decoder, batches of up to 16 within 2 ms.

First 16 clients ask one after the other for some seconds: that is each server's saturation. They are those of `wrk`
where it is installed, which takes least of the processors that it shares with the servers. Then requests come at
multiples of that rate, of each server its own, whatever became of those before: by `wrk2` where a program of that name
is found, on five hundred connections, whose times count from when a request should have been sent (its count of
timeouts is left out, as it holds connections with nothing to send, too); else by a client in Python (Poisson, on
connections that are opened as they are needed), which takes a processor for itself at a few thousand a second. Good are
answers of status 200; those of the client in Python within the deadline of 10 s.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import platform
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DEADLINE = 10.0
COUNTING = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(words) good, full, other = 0, 0, 0 end
function response(status)
  if status == 200 then good = good + 1 elseif status == 503 then full = full + 1 else other = other + 1 end
end
function done(summary)
  local one, lost = threads[1], summary.errors
  print(string.format("counted %d %d %d %d %d", one:get("good"), one:get("full"), one:get("other"),
    lost.connect + lost.read + lost.write, summary.duration))
end
"""
LITSERVE = """
import base64, io, json, sys
import litserve, numpy, onnxruntime
from PIL import Image, ImageOps
network, labels, side, grey, port = sys.argv[1:]
side = int(side)


class Network(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        self.session = onnxruntime.InferenceSession(network, options)
        self.labels = json.loads(labels)

    def decode_request(self, request):
        picture = Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("L" if grey == "1" else "RGB")
        pixels = numpy.asarray(ImageOps.pad(picture, (side, side), Image.Resampling.BILINEAR))
        return pixels.reshape(side, side, -1)

    def batch(self, inputs):
        return numpy.stack(inputs)

    def predict(self, images):
        images = images if images.ndim == 4 else images[None]
        return self.session.run(["logits"], {"images": images})[0]

    def unbatch(self, outputs):
        return list(outputs)

    def encode_response(self, logits):
        return {"label": self.labels[int(logits.argmax())]}


if __name__ == "__main__":
    api = Network(max_batch_size=16, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", timeout=10, workers_per_device=1)
    server.run(port=int(port), host="127.0.0.1", num_api_servers=1, generate_client_file=False, log_level="error")
"""
KERAS = """
import io, json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import fastapi, keras, numpy, uvicorn
from PIL import Image, ImageOps
network, labels, side, grey, port = sys.argv[1:]
side, names = int(side), json.loads(labels)
model = keras.saving.load_model(network, compile=False)
app = fastapi.FastAPI()


@app.post("/predict")
def predict(image: fastapi.UploadFile):
    picture = Image.open(image.file).convert("L" if grey == "1" else "RGB")
    pixels = numpy.asarray(ImageOps.pad(picture, (side, side), Image.Resampling.BILINEAR)).reshape(1, side, side, -1)
    answer = model.predict_on_batch(pixels)
    logits = answer["logits"] if isinstance(answer, dict) else answer
    return {"label": names[int(numpy.argmax(logits))]}


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")
"""


@dataclass
class Load:
    """What came of some requests."""

    good: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    def note(self, status: int, taken: float) -> None:
        """One answer; 0 for none."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200 and taken <= DEADLINE:
            self.good.append(taken)

    def quantile(self, share: float) -> float:
        """Of the good ones, in ms."""
        values = sorted(self.good)
        return 1000 * values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def request_of(kind: str, content: bytes) -> bytes:
    """The bytes of one request, as each server takes it."""
    if kind in ("sightline", "ray"):
        path, media, body = "/v1/predict?top=1", "application/octet-stream", content
    elif kind == "litserve":
        path, media = "/predict", "application/json"
        body = json.dumps({"image": base64.b64encode(content).decode()}).encode()
    else:
        path, media = "/predict", "multipart/form-data; boundary=frontier"
        begin = b'--frontier\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        body = begin + content + b"\r\n--frontier--\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class Connection(asyncio.Protocol):
    """One connection to a server, which stays open as long as both want it."""

    def __init__(self) -> None:
        self.is_open = True
        self._held = b""
        self._wanted = -1
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = transport

    async def ask(self, request: bytes) -> int:
        """The status of the answer, read to its end; 0 for none."""
        self._held, self._wanted, self._answer = b"", -1, asyncio.get_running_loop().create_future()
        self._transport.write(request)  # type: ignore[attr-defined]  # of a transport that writes
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        self._held += data
        if self._wanted < 0 and (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].lower()
            self._wanted = end + 4 + int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r")[0])
            self.is_open = b"connection: close" not in head
        if 0 <= self._wanted <= len(self._held) and self._answer is not None and not self._answer.done():
            self._answer.set_result(int(self._held[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        """It is gone."""
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)

    def close(self) -> None:
        """Hang up."""
        self.is_open = False
        self._transport.close()


class Client:
    """Asks one server; connections that stayed open are used again."""

    def __init__(self, port: int, request: bytes) -> None:
        self.load = Load()
        self._port, self._request = port, request
        self._idle: list[Connection] = []

    async def ask(self) -> None:
        """Once, and note what came of it."""
        began = time.perf_counter()
        status = 0
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(2 * DEADLINE):
                while self._idle and not self._idle[-1].is_open:
                    self._idle.pop()
                connection = self._idle.pop() if self._idle else await self._connected()
                status = await connection.ask(self._request)
                if connection.is_open and status:
                    self._idle.append(connection)
                else:
                    connection.close()
        self.load.note(status, time.perf_counter() - began)

    async def _connected(self) -> Connection:
        made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        return made[1]

    def close(self) -> None:
        """Hang up."""
        for connection in self._idle:
            connection.close()


async def closed_loop(port: int, request: bytes, *, clients: int, seconds: float) -> Load:
    """Clients that ask again as soon as they are answered."""
    client, began = Client(port, request), time.perf_counter()

    async def go_on() -> None:
        await client.ask()
        while time.perf_counter() < began + seconds:
            await client.ask()

    await asyncio.gather(*(go_on() for _ in range(clients)))
    client.close()
    client.load.seconds = time.perf_counter() - began
    return client.load


async def open_loop(port: int, request: bytes, *, rate: float, seconds: float, seed: int) -> Load:
    """Requests that come whatever became of those before."""
    draw, client, tasks = random.Random(seed), Client(port, request), []  # noqa: S311  # no secret
    began = moment = time.perf_counter()
    while moment < began + seconds:
        tasks.append(asyncio.create_task(client.ask()))
        moment += draw.expovariate(rate)
        if (wait := moment - time.perf_counter()) > 0.001:
            await asyncio.sleep(wait)
        elif len(tasks) % 16 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    client.close()
    client.load.seconds = seconds
    return client.load


@dataclass(frozen=True)
class Saturation:
    """What a server does for clients that ask again as soon as they are answered; milliseconds."""

    rate: float
    p50: float
    p99: float


def saturation(port: int, request: bytes, *, clients: int, seconds: float) -> Saturation:
    """By `wrk` where it is installed, which leaves the processors to the server; else by the client in Python."""
    if shutil.which("wrk") is None:
        load = asyncio.run(closed_loop(port, request, clients=clients, seconds=seconds))
        return Saturation(len(load.good) / load.seconds, load.quantile(0.5), load.quantile(0.99))
    told = by_wrk(["wrk", f"-c{clients}", f"-d{seconds:g}s"], port, request)
    if "Non-2xx" in told:
        raise SystemExit(told)
    return Saturation(float(re.findall(r"Requests/sec: +([\d.]+)", told)[0]), *quantiles(told))


def by_wrk(words: list[str], port: int, request: bytes) -> str:
    """What `wrk` or `wrk2` says; it counts answers by their status, too."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        lines = [f'local file = io.open("{folder}/body", "rb")', 'wrk.method, wrk.body = "POST", file:read("*all")']
        for name, _, value in (line.partition(": ") for line in headers):
            lines += [f'wrk.headers["{name}"] = "{value}"'] * (name != "Content-Length")
        (Path(folder) / "asking.lua").write_text("\n".join([*lines, COUNTING]))
        words = [*words, "-t1", "--latency", "-s", f"{folder}/asking.lua", f"http://127.0.0.1:{port}{first.split()[1]}"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def quantiles(told: str) -> tuple[float, float]:
    """The median and the 99th percentile, ms; `wrk` writes a share and a time, and of very slow answers minutes."""
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
    p50, p99 = (
        float(value) * units[unit]
        for share in ("50", "99")
        for value, unit in re.findall(rf"^ +{share}(?:\.000)?% +([\d.]+)(us|ms|s|m) *$", told, re.MULTILINE)
    )
    return p50, p99


def at_rate(port: int, request: bytes, *, rate: float, seconds: float, seed: int) -> str:
    """Columns of what becomes of requests that come at a rate."""
    if shutil.which("wrk2") is None:
        load = asyncio.run(open_loop(port, request, rate=rate, seconds=seconds, seed=seed))
        sent, full = sum(load.statuses.values()), load.statuses.get(503, 0)
        good, lost = len(load.good) / load.seconds, sent - full - load.statuses.get(200, 0)
        p50, p99 = load.quantile(0.5), load.quantile(0.99)
    else:
        # It waits ten seconds before it measures how long answers take.
        told = by_wrk(["wrk2", "-c500", f"-d{seconds + 10:g}s", f"-R{rate:.0f}"], port, request)
        counted = re.findall(r"counted (\d+) (\d+) (\d+) (\d+) (\d+)", told)[0]
        answered, full, lost, waited, lasted = (int(word) for word in counted)
        good, lost, (p50, p99) = answered / lasted * 1e6, lost + waited, quantiles(told)
    return f"{rate:.0f} | {good:.0f} | {p50:.1f} | {p99:.1f} | {full} | {lost}"


def until_answered(port: int, process: subprocess.Popen[bytes], request: bytes, log: Path) -> None:
    """Wait for the first answer of a server."""
    ends = time.perf_counter() + 120
    while True:
        if asyncio.run(closed_loop(port, request, clients=1, seconds=0)).statuses.get(200):
            return
        if process.poll() is not None or time.perf_counter() > ends:
            raise SystemExit(log.read_text()[-3000:])
        time.sleep(0.02)


@contextlib.contextmanager
def server(kind: str, run: Path, python: str, request: bytes) -> Iterator[tuple[int, subprocess.Popen[bytes], float]]:
    """One server that answers; its port, its process, and how long the first answer took from its start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    bundle = run / "bundle"
    spec = json.loads((bundle / "input.json").read_text())
    told = [
        (bundle / "labels.json").read_text(),
        str(spec["height"]),
        str(int(spec["color_mode"] == "grey")),
        str(port),
    ]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "server.py"
        script.write_text({"litserve": LITSERVE, "keras": KERAS}.get(kind, ""))
        words = {
            "sightline": [sys.executable, "-m", "sightline", "serve", str(run), "--port", str(port)],
            "ray": [sys.executable, "-m", "sightline", "serve", str(run), "--port", str(port), "--on", "ray"],
            "litserve": [python, str(script), str(bundle / "model.onnx"), *told],
            "keras": [python, str(script), str(bundle / "model.keras"), *told],
        }[kind]
        with open(Path(folder) / "log", "wb") as log:  # noqa: PTH123  # of a process
            began = time.perf_counter()
            process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        try:
            until_answered(port, process, request, Path(folder) / "log")
            yield port, process, time.perf_counter() - began
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


def tree_of(process: subprocess.Popen[bytes]) -> list[Path]:
    """A server and all that it began, as folders of Linux; Ray's processes are no group of its."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    ours, found = {process.pid}, 0
    while len(ours) > found:
        found = len(ours)
        ours |= {one for one, parent in parents.items() if parent in ours}
    return [Path(f"/proc/{one}") for one in ours]


def memory_mib(process: subprocess.Popen[bytes]) -> float:
    """What a server and its children hold."""
    pages = 0
    for folder in tree_of(process):
        with contextlib.suppress(OSError):
            pages += int((folder / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """What a server and its children have used of processors, which other work on the machine changes little."""
    ticks = 0
    for folder in tree_of(process):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def compare(arguments: argparse.Namespace) -> None:
    """Print what each server does, alone and at each rate."""
    peers = arguments.peers.split(",")
    content = arguments.picture.read_bytes()
    found: dict[str, list[Saturation]] = {kind: [] for kind in peers}
    print("| server | first answer, s | 16 clients, answers a second | p50, ms | p99, ms | processor, ms | MiB |")
    print("|---|---|---|---|---|---|---|")
    for kind in peers:
        request = request_of(kind, content)
        firsts, held, used = [], [], []
        for _ in range(arguments.rounds):
            with server(kind, arguments.run, arguments.python, request) as (port, process, first):
                firsts.append(first)
                saturation(port, request, clients=16, seconds=2)
                before = processor_seconds(process)
                found[kind].append(saturation(port, request, clients=16, seconds=arguments.seconds))
                num_answers = found[kind][-1].rate * arguments.seconds
                used.append(1000 * (processor_seconds(process) - before) / num_answers)
                held.append(memory_mib(process))
        rates = [one.rate for one in found[kind]]
        spread = f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
        p50, p99 = (statistics.median(getattr(one, name) for one in found[kind]) for name in ("p50", "p99"))
        first, mib, each = statistics.median(firsts), statistics.median(held), statistics.median(used)
        print(f"| {kind} | {first:.2f} | {spread} | {p50:.1f} | {p99:.1f} | {each:.2f} | {mib:.0f} |", flush=True)
    print(
        "\n| server | of its saturation | sent a second | good a second | p50, ms | p99, ms | 503 | others and lost |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for kind in peers:
        request = request_of(kind, content)
        with server(kind, arguments.run, arguments.python, request) as (port, _, _):
            saturation(port, request, clients=16, seconds=2)
            for number, factor in enumerate(float(word) for word in arguments.rates.split(",")):
                rate = factor * statistics.median(one.rate for one in found[kind])
                words = at_rate(port, request, rate=rate, seconds=arguments.seconds, seed=number)
                print(f"| {kind} | {factor:g} | {words} |", flush=True)


def memory(arguments: argparse.Namespace) -> None:
    """Print what `sightline serve` holds after so many requests."""
    request = request_of("sightline", arguments.picture.read_bytes())
    with server("sightline", arguments.run, sys.executable, request) as (port, process, _):
        done, marks = 0, [mark for mark in (1000, 10_000, 30_000, 100_000) if mark <= arguments.count]
        print("| requests | MiB |\n|---|---|")
        while marks:
            load = asyncio.run(closed_loop(port, request, clients=16, seconds=0.5))
            done += sum(load.statuses.values())
            if done >= marks[0]:
                print(f"| {done:,} | {memory_mib(process):.0f} |", flush=True)
                marks.pop(0)


def main() -> None:
    """Read the command line."""
    words = sys.argv[1:]
    is_memory = words[:1] == ["memory"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rates", default="0.5,0.8,1,2,4")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peers", default="sightline,litserve,keras")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--count", type=int, default=100_000)
    arguments = parser.parse_args(words[is_memory:])
    print(f"{os.cpu_count()} processors, {platform.machine()}, CPython {platform.python_version()}\n")
    memory(arguments) if is_memory else compare(arguments)


if __name__ == "__main__":
    main()
