"""What replicas on a cluster answer is what one process answers, byte for byte, also while one of them is killed."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import os
import re
import signal
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.deployment.server.app import build_app
from sightline.deployment.server.limits import ServerLimits, ServerOptions
from sightline.deployment.server.replicas.front import build_front, replicas_of
from sightline.deployment.server.replicas.replica import check_bundles, replica_plan
from sightline.deployment.server.telemetry import Telemetry
from sightline.errors import InvalidBundle, InvalidValue, MissingPackage, NotReached
from sightline.integrations.ray.workers import on_each_node, share_of

Reply = tuple[int, tuple[tuple[bytes, bytes], ...], bytes]
PNG = (b"content-type", b"image/png")


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


async def ask(app: Any, method: str, target: str, body: bytes = b"", *headers: tuple[bytes, bytes]) -> Reply:
    path, _, query = target.partition("?")
    given = [*headers, (b"host", b"localhost"), *([(b"content-length", str(len(body)).encode())] if body else [])]
    usual = {"type": "http", "http_version": "1.1", "scheme": "http", "root_path": "", "client": ("127.0.0.1", 9)}
    about = {"method": method, "path": path, "query_string": query.encode(), "headers": given}
    parts, found = [{"type": "http.request", "body": body, "more_body": False}], []

    async def receive() -> Any:
        if parts:
            return parts.pop()
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        found.append(message)

    await app({**usual, **about}, receive, send)
    content = b"".join(message.get("body", b"") for message in found[1:])
    return found[0]["status"], tuple(sorted(map(tuple, found[0]["headers"]))), content


def questions() -> list[tuple[Any, ...]]:
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="%d.png"\r\n\r\n%s\r\n' % (seed, png(seed))
        for seed in range(20)
    )
    images = [{"name": "\u96ea.png", "data": base64.b64encode(png(1)).decode()}, {"name": "b", "data": "AAAA"}]
    listed = json.dumps({"images": images, "top": 2}).encode()
    pixels = np.random.default_rng(2).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    tensor = {"name": "images", "datatype": "UINT8", "shape": [3, 28, 28, 1]}
    named = json.dumps({"inputs": [{**tensor, "data": pixels.ravel().tolist()}], "id": "seven"}).encode()
    told = {"inputs": [{**tensor, "parameters": {"binary_data_size": pixels.size}}]}
    head = json.dumps({**told, "parameters": {"binary_data_output": True}}).encode()
    length = (b"inference-header-content-length", str(len(head)).encode())
    return [
        ("POST", "/v1/predict", png(0), PNG),
        ("POST", "/v1/predict?top=5&coverage=0.9&max_error=0.2&certainty=1&invert=true", png(1), PNG),
        ("POST", "/v1/predict?map=true", png(3), PNG),
        ("POST", "/v1/predict", form + b"--x--\r\n", (b"content-type", b"multipart/form-data; boundary=x")),
        ("POST", "/v1/predict", listed, (b"content-type", b"application/json")),
        ("POST", "/v1/predict", zlib.compress(png(4)), PNG, (b"content-encoding", b"deflate")),
        ("POST", "/v1/predict", b"\x89PNG\r\n\x1a\n", PNG),
        ("POST", "/v1/predict", b"", PNG),
        ("POST", "/v1/predict", b"x", (b"content-type", b"text/plain")),
        ("POST", "/v1/predict?nearest=0", png(0), PNG),
        ("POST", "/v1/predict?what=1", png(0), PNG),
        ("POST", "/v1/predict?model=no%20such", png(0), PNG),
        ("POST", "/v1/predict", bytes(3 * 2**20), PNG),
        ("GET", "/v1/models"),
        ("GET", "/v2"),
        ("GET", "/v2/models/other"),
        ("GET", "/v2/models/nowhere"),
        ("GET", "/v2/models/net/ready"),
        ("POST", "/v2/models/net/infer", named),
        ("POST", "/v2/models/net/infer", head + pixels.tobytes(), length, (b"accept-encoding", b"deflate")),
        ("POST", "/v2/models/net/infer", b"{"),
        ("GET", "/v2/health/live"),
        ("GET", "/v2/health/ready"),
        ("GET", "/openapi.json"),
        ("GET", "/"),
        ("GET", "/page/nothing"),
        ("PUT", "/v1/predict", png(0), PNG),
        ("GET", "/nowhere"),
    ]


@pytest.mark.slow
def test_all_that_can_be_asked_is_answered_byte_for_byte_whoever_is_killed(
    ray_here, replica_processes, tiny_run
) -> None:
    places = {"net": str(tiny_run.path), "other": str(tiny_run.path)}
    limits = ServerLimits(max_body_mib=2, max_images=32, decoders=1, deadline_seconds=60)
    options = ServerOptions(limits, reload_seconds=0)
    log = io.StringIO()

    async def replies_of(app: Any) -> list[Reply]:
        async with app.router.lifespan_context(app):
            while (await ask(app, "GET", "/v2/health/ready"))[0] != 200:
                await asyncio.sleep(0.01)
            return [await ask(app, *question) for question in questions()]

    async def replies_while_one_is_killed(app: Any) -> tuple[list[Reply], str]:
        async with app.router.lifespan_context(app):
            asking = [asyncio.create_task(ask(app, *questions()[0])) for _ in range(100)]
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            os.kill(replica_processes()[0], signal.SIGKILL)
            found = list(await asyncio.gather(*asking))
            return found, (await ask(app, "GET", "/metrics"))[2].decode()

    wanted = asyncio.run(replies_of(build_app(places, options=options, telemetry=Telemetry(io.StringIO()))))
    with replicas_of(places, options, on="ray", count=2) as replicas:
        assert len(replica_processes()) == 2
        app = build_front(replicas, [*places], options=options, telemetry=Telemetry(log))
        found = asyncio.run(replies_of(app))
        for question, one, other in zip(questions(), wanted, found, strict=True):
            assert one == other, question[:2]
        assert {reply[0] for reply in found} >= {200, 400, 404, 405, 413, 415, 422}
        again, figures = asyncio.run(replies_while_one_is_killed(app))
    assert set(again) == {wanted[0]}
    answered = re.search(r'sightline_images_total\{model="net",outcome="answered"\} (\d+)', figures)
    # What a replica that was killed had not told yet is not counted.
    assert answered is not None
    assert int(answered[1]) > 100
    assert '"event": "replicas", "answering": 2, "wanted": 2' in log.getvalue()
    assert not replica_processes()


@pytest.mark.slow
def test_a_node_without_the_bundle_is_named(ray_here, tiny_run, tmp_path) -> None:
    plan = replica_plan({"net": tiny_run.path}, ServerLimits(), folder="/", reload_seconds=0, trusted=None)
    assert on_each_node(ray_here, check_bundles, plan) == [None]
    lost = dataclasses.replace(plan, places={"net": str(tmp_path / "nowhere")})
    with pytest.raises(InvalidBundle, match=r"^on .* \(node \w{8}\): .*nowhere"):
        on_each_node(ray_here, check_bundles, lost)
    other = dataclasses.replace(plan, versions={"net": "0" * 64})
    with pytest.raises(InvalidBundle, match=r"^on .* \(node \w{8}\): .* another bundle than under that path"):
        on_each_node(ray_here, check_bundles, other)


def test_processors_are_shared_among_replicas_over_all_nodes() -> None:
    class Cluster:
        def __init__(self, counts: Sequence[float]) -> None:
            self.counts = counts

        def nodes(self) -> list[dict[str, Any]]:
            return [{"Alive": True, "Resources": {"CPU": count} if count else {}} for count in self.counts]

    assert share_of(Cluster([2]), 2) == 1
    assert share_of(Cluster([0, 16, 8]), 2) == 8
    assert share_of(Cluster([0, 16, 8]), 3) == 4
    assert share_of(Cluster([1]), 2) == 0.5
    assert share_of(Cluster([2]), 3) == 0.66
    assert share_of(Cluster([]), 1) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 2}, "replicas are processes of a cluster, and none is named; got 2. Add --on ray, or leave it"),
        ({"on": "ray", "replicas": 0}, "replicas must be a whole number from 1 to 1000; got 0"),
        ({"on": "ray", "replicas": True}, "replicas must be a whole number"),
        ({"on": "ray", "replicas": 2.0}, "replicas must be a whole number"),
        ({"on": "dask"}, "on must name where the work is done; got 'dask'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_opened(options, message) -> None:
    with pytest.raises(InvalidValue, match=re.escape(message)):
        sightline.serve("nowhere", **options)


def test_what_is_wrong_here_is_said_before_a_cluster_is_asked(command: Callable[..., Any], monkeypatch) -> None:
    said = command("serve", "nowhere", "--port", "0", "--on", "ray")
    assert (said.code, "nowhere" in said.err, "on Ray" in said.err) == (2, True, False)
    said = command("serve", "imagenet", "--port", "0", "--on", "ray://127.0.0.1:1")
    assert said.code == 2
    assert "Start a head that takes clients there" in said.err
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingPackage, match=r"pip install 'sightline\[ray\]'"):
        sightline.serve("imagenet", port=0, on="ray")


@pytest.mark.slow
@pytest.mark.soak
def test_what_ends_every_replica_is_said(ray_here) -> None:
    from sightline.integrations.ray.serving import replicated

    with replicated(ray_here, Ends, (), count=1, at_once=4, is_own=False) as replicas:

        async def end() -> None:
            with pytest.raises(NotReached, match="3 replicas ended over the same request"):
                await replicas.ask("end")
            assert await replicas.ask("go_on") == 1

        asyncio.run(end())


class Ends:
    def __init__(self, num_processors: int, owner: str | None) -> None:
        self.given = num_processors, owner

    async def end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def go_on(self) -> int:
        return 1
