"""Servers under load, side by side: `sightline serve`, LitServe, and FastAPI with a Keras network.

Usage: python benchmarks/serving.py RUN PICTURE [--seconds 15] [--rates 0.5,0.8,1,2,4] [--rounds 2]
           [--peers sightline,litserve,keras] [--python PYTHON]
       python benchmarks/serving.py memory RUN PICTURE [--count 100000]

PYTHON is that of an environment with litserve, fastapi, uvicorn, python-multipart, onnxruntime and Pillow (and keras
with tensorflow-cpu for the last). All servers run the network of one bundle on loopback, beside the client on the same
processors; LitServe the same ONNX file in one session behind Pillow's decoder, batches of up to 16 within 2 ms.

First 16 clients ask one after the other for some seconds: that is each server's saturation. Then requests come as they
like (Poisson, a new connection each) at multiples of that rate, of each server its own. Good are answers of status 200
within the deadline of 10 s.
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
    if kind == "sightline":
        path, media, body = "/v1/predict?top=1", "image/png", content
    elif kind == "litserve":
        path, media = "/predict", "application/json"
        body = json.dumps({"image": base64.b64encode(content).decode()}).encode()
    else:
        path, media = "/predict", "multipart/form-data; boundary=frontier"
        begin = b'--frontier\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        body = begin + content + b"\r\n--frontier--\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def answer_of(reader: asyncio.StreamReader) -> int:
    """The status of one answer, read to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
    if length is None:
        await reader.read()
    else:
        await reader.readexactly(length)
    return status


async def ask_once(port: int, request: bytes, load: Load) -> None:
    """One request on a connection of its own."""
    began = time.perf_counter()
    status = 0
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(2 * DEADLINE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                status = await answer_of(reader)
            finally:
                writer.close()
    load.note(status, time.perf_counter() - began)


async def closed_loop(port: int, request: bytes, *, clients: int, seconds: float) -> Load:
    """Clients that ask again as soon as they are answered, on connections that stay."""
    load, ends, began = Load(), time.perf_counter() + seconds, time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < ends:
            sent = time.perf_counter()
            writer.write(request)
            load.note(await answer_of(reader), time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.perf_counter() - began
    return load


async def open_loop(port: int, request: bytes, *, rate: float, seconds: float, seed: int) -> Load:
    """Requests that come whatever became of those before."""
    draw, load, tasks = random.Random(seed), Load(), []  # noqa: S311  # no secret
    began = moment = time.perf_counter()
    while moment < began + seconds:
        tasks.append(asyncio.create_task(ask_once(port, request, load)))
        moment += draw.expovariate(rate)
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
    await asyncio.gather(*tasks)
    load.seconds = seconds
    return load


def until_answered(port: int, process: subprocess.Popen[bytes], request: bytes, log: Path) -> None:
    """Wait for the first answer of a server."""
    ends = time.perf_counter() + 120
    while True:
        load = Load()
        asyncio.run(ask_once(port, request, load))
        if load.statuses.get(200):
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


def memory_mib(process: subprocess.Popen[bytes]) -> float:
    """What a server and its children hold, by Linux."""
    pages = 0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if os.getpgid(int(folder.name)) == process.pid:
                pages += int((folder / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def compare(arguments: argparse.Namespace) -> None:
    """Print what each server does, alone and at each rate."""
    peers = arguments.peers.split(",")
    content = arguments.picture.read_bytes()
    found: dict[str, list[Load]] = {kind: [] for kind in peers}
    print("| server | first answer, s | 16 clients, answers a second | p50, ms | p99, ms | MiB |")
    print("|---|---|---|---|---|---|")
    for kind in peers:
        request = request_of(kind, content)
        firsts, held = [], []
        for _ in range(arguments.rounds):
            with server(kind, arguments.run, arguments.python, request) as (port, process, first):
                firsts.append(first)
                asyncio.run(closed_loop(port, request, clients=16, seconds=2))
                found[kind].append(asyncio.run(closed_loop(port, request, clients=16, seconds=arguments.seconds)))
                held.append(memory_mib(process))
        rates = [len(load.good) / load.seconds for load in found[kind]]
        spread = f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
        p50, p99 = (statistics.median(load.quantile(share) for load in found[kind]) for share in (0.5, 0.99))
        first, mib = statistics.median(firsts), statistics.median(held)
        print(f"| {kind} | {first:.2f} | {spread} | {p50:.1f} | {p99:.1f} | {mib:.0f} |", flush=True)
    print("\n| server | of its saturation | sent a second | good a second | p50, ms | p99, ms | 503 | 504 and lost |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in peers:
        request = request_of(kind, content)
        with server(kind, arguments.run, arguments.python, request) as (port, _, _):
            asyncio.run(closed_loop(port, request, clients=16, seconds=2))
            for number, factor in enumerate(float(word) for word in arguments.rates.split(",")):
                rate = factor * statistics.median(len(one.good) / one.seconds for one in found[kind])
                load = asyncio.run(open_loop(port, request, rate=rate, seconds=arguments.seconds, seed=number))
                sent, full = sum(load.statuses.values()), load.statuses.get(503, 0)
                lost = sent - full - load.statuses.get(200, 0)
                good = len(load.good) / load.seconds
                words = f"{sent / load.seconds:.0f} | {good:.0f} | {load.quantile(0.5):.1f} | {load.quantile(0.99):.1f}"
                print(f"| {kind} | {factor:g} | {words} | {full} | {lost} |", flush=True)


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
