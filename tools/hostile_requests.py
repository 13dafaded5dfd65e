"""Requests as they go over the wire: sound ones, damaged ones, and those that try to be two or never to end.

`attack_server.py` sends them.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hostile_images import bombs, encoded, mutant, sound_files
from PIL import Image

# What may be answered to anything; another status is a fault.
ANSWERED = frozenset({200, 400, 401, 404, 405, 408, 409, 411, 413, 414, 415, 421, 422, 429, 431, 501, 503, 504})
REFUSED = ANSWERED - {200, 503, 504}
PREDICT, INFER = "/v1/predict", "/v2/models/net/infer"
FRONTIER = "frontier"
_NUMBERS = ("NaN", "Infinity", "-1", "1e999", "1" * 5000, "-0.0", "true", "null", '"5"', "[]", "{}", "9" * 400)


@dataclass(frozen=True)
class HostileRequest:
    """One attempt.

    Attributes:
        name: what it tries.
        content: the bytes that are sent.
        statuses: of which each answer has to have one; an empty one for no answer at all.
        most_answers: more of them mean that a body was taken for a request.
        is_cut: whether its sender leaves in the middle and waits for nothing.
    """

    name: str
    content: bytes = field(repr=False)
    statuses: frozenset[int] = ANSWERED
    most_answers: int = 1
    is_cut: bool = False


def sound_picture() -> bytes:
    """A file that is read."""
    noise = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise), "PNG")


def wire(
    path: str, body: bytes, kind: str = "application/octet-stream", *, headers: Mapping[str, str] | None = None
) -> bytes:
    """A POST, after which the connection is closed."""
    usual = {"Host": "127.0.0.1", "Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in {**usual, **(headers or {})}.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + body


def form(files: Mapping[str, bytes], boundary: str = FRONTIER) -> bytes:
    """Files as a browser sends them; names as they are."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def form_request(body: bytes, boundary: str = FRONTIER) -> bytes:
    """A form as a request."""
    return wire(PREDICT, body, f"multipart/form-data; boundary={boundary}")


def uploads(count: int, seed: int) -> Iterator[HostileRequest]:
    """Damaged files of every format, each as a body, in a form or in JSON, and every fifth request damaged itself."""
    generator, files = np.random.default_rng(seed), list(sound_files().items())
    for number in range(count):
        name, data = files[number % len(files)]
        content = mutant(data, generator)
        told = f"upload-{number}"
        if number % 3 == 0:
            request = wire(f"{PREDICT}?name={told}", content, "image/png")
        elif number % 3 == 1:
            request = form_request(form({told: content}))
        else:
            entry = {"name": told, "data": base64.b64encode(content).decode()}
            request = wire(PREDICT, json.dumps({"images": [entry]}).encode(), "application/json")
        if number % 5 == 4:
            request, is_cut = _damaged(request, generator)
            # Its lengths, its path or its host may be others now: an answer is not waited for where none may come.
            yield HostileRequest(f"damaged request, {name}", request, ANSWERED | {100}, 3, is_cut)
        else:
            yield HostileRequest(f"damaged file, {name}", request)


def _damaged(request: bytes, generator: np.random.Generator) -> tuple[bytes, bool]:
    """Some bytes of it are others, or its end is missing."""
    if generator.integers(3) == 0:
        return request[: int(generator.integers(1, len(request)))], True
    changed = bytearray(request)
    head = request.index(b"\r\n\r\n") + 4
    last = head if generator.integers(2) else min(len(request), head + 200)
    for place in generator.integers(0, last, int(generator.integers(1, 6))):
        changed[place] = generator.integers(256)
    return bytes(changed), True


def attempts() -> Iterator[HostileRequest]:
    """Each trick once."""
    yield from _wrong_kinds()
    yield from _forms()
    yield from _json_bodies()
    yield from _tensors()
    yield from _heads()
    yield from _two_in_one()


def bombed(most: int) -> Iterator[HostileRequest]:
    """Small files that ask for much."""
    for name, make in bombs(most):
        yield HostileRequest(f"bomb, {name}", wire(PREDICT, make(), "image/png"), ANSWERED)


def _wrong_kinds() -> Iterator[HostileRequest]:
    png = sound_picture()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("../../etc/passwd", b"\0" * 10_000_000)
    script = b"<script>alert(1)</script>"
    bodies: dict[str, tuple[bytes, frozenset[int]]] = {
        "zip instead of a picture": (archive.getvalue(), REFUSED),
        "picture and zip in one": (png + archive.getvalue(), ANSWERED),
        "picture and page in one": (png + script, ANSWERED),
        "page that begins as GIF": (b"GIF89a=1;/*" + script, REFUSED),
        "SVG that names a file": (b'<svg xmlns="x"><image href="file:///etc/passwd"/></svg>', REFUSED),
        "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file", REFUSED),
        "nothing": (b"", REFUSED),
        "a million zeros": (bytes(1_000_000), REFUSED),
    }
    for name, (body, statuses) in bodies.items():
        yield HostileRequest(name, wire(PREDICT, body, "image/png"), statuses)
    for kind in ("text/html", "application/zip", "image", "multipart/mixed; boundary=x", "application/x-pickle"):
        yield HostileRequest(f"body of type {kind}", wire(PREDICT, png, kind), REFUSED)
    packed = gzip.compress(bytes(60_000_000))
    for path in (PREDICT, INFER):
        told = {"Content-Encoding": "gzip"}
        yield HostileRequest(f"packed bomb to {path}", wire(path, packed, headers=told), REFUSED)
        yield HostileRequest(f"not packed at all to {path}", wire(path, png, headers=told), REFUSED)
        told = {"Content-Encoding": "gzip, gzip"}
        yield HostileRequest(f"packed twice to {path}", wire(path, packed, headers=told), REFUSED)


def _forms() -> Iterator[HostileRequest]:
    png = sound_picture()
    whole = form({"a.png": png})
    for count in (1, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        yield HostileRequest(f"form of which {count} bytes came", form_request(whole[:count]), ANSWERED)
    for name in (
        "../../../etc/passwd",
        "..\\..\\boot.ini",
        "/dev/stdin",
        "C:con",
        "a\\0b",
        "%2e%2e%2fx",
        "." * 9000,
        "",
    ):
        yield HostileRequest(f"form with the name {name[:30]!r}", form_request(form({name: png})), ANSWERED)
    for boundary in ("", "x" * 5000, '"', "é"):
        kind = f"multipart/form-data; boundary={boundary}"
        yield HostileRequest(f"boundary {boundary[:20]!r}", wire(PREDICT, whole, kind), REFUSED)
    yield HostileRequest("form without a boundary", wire(PREDICT, whole, "multipart/form-data"), REFUSED)
    many = form({f"{number}": png for number in range(3000)})
    yield HostileRequest("three thousand files", form_request(many), frozenset({413}))
    flood = (b"--frontier\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 50_000) + b"--frontier--\r\n"
    yield HostileRequest("fifty thousand fields", form_request(flood), REFUSED)
    field_of = b'--frontier\r\nContent-Disposition: form-data; name="top"\r\n\r\n' + b"9" * 3_000_000 + b"\r\n"
    yield HostileRequest("a field of three megabytes", form_request(field_of + whole), REFUSED)
    headers = b"--frontier\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(20_000)) + b"\r\n\r\n"
    yield HostileRequest("a part of twenty thousand headers", form_request(headers + whole), REFUSED)
    yield HostileRequest("a part without a name", form_request(whole.replace(b'name="image"; ', b"")), REFUSED)
    odd = whole.replace(b"form-data;", b"form-data; charset=utf-7; filename*=utf-8''%ff%fe;")
    yield HostileRequest("a name in two ways", form_request(odd), ANSWERED)


def _json_bodies() -> Iterator[HostileRequest]:
    data = base64.b64encode(sound_picture()).decode()
    sound = f'{{"name": "a", "data": "{data}"}}'
    bodies = {
        "deep JSON": "[" * 200_000,
        "deep object": '{"a":' * 100_000,
        "JSON with NaN": '{"images": NaN}',
        "no list": '{"images": {"0": 1}}',
        "no base64": '{"images": [{"data": "*"}]}',
        "bytes that are no words": '{"images": [{"data": "' + "\\ud800" * 9 + '"}]}',
        "a name that is a lone surrogate": f'{{"images": [{{"name": "\\ud800", "data": "{data}"}}]}}',
        "the same key twice": f'{{"images": [], "images": [{sound}]}}',
        "many pictures": '{"images": [' + ",".join(["{}"] * 100_000) + "]}",
        "empty": "",
    }
    for name, body in bodies.items():
        yield HostileRequest(name, wire(PREDICT, body.encode(), "application/json"), ANSWERED)
    for option in ("top", "coverage", "nearest", "novelty", "map", "model", "certainty", "score"):
        for value in _NUMBERS:
            body = f'{{"images": [{sound}], "{option}": {value}}}'
            yield HostileRequest(f"{option} = {value[:20]}", wire(PREDICT, body.encode(), "application/json"))
            path = f"{PREDICT}?{option}={value[:400].replace(chr(34), '%22')}"
            yield HostileRequest(f"?{option} = {value[:20]}", wire(path, sound_picture(), "image/png"))


def _tensors() -> Iterator[HostileRequest]:
    shapes = (
        "[1]",
        "[-1, 8, 8, 3]",
        "[1e9, 8, 8, 3]",
        "[9223372036854775807, 8, 8, 3]",
        "[true, 8, 8, 3]",
        "{}",
        "null",
    )
    for shape in shapes:
        yield HostileRequest(f"shape {shape}", _tensor(f'"shape": {shape}, "data": [1]'), REFUSED)
    for value in _NUMBERS:
        yield HostileRequest(f"data of {value[:20]}", _tensor(f'"shape": [1, 1, 1, 1], "data": [{value}]'), REFUSED)
        told = f'"shape": [1, 8, 8, 3], "parameters": {{"binary_data_size": {value}}}'
        yield HostileRequest(f"binary_data_size {value[:20]}", _tensor(told), REFUSED)
    deep = "[" * 900 + "]" * 900
    yield HostileRequest("deep data", _tensor(f'"shape": [1, 8, 8, 3], "data": {deep}'), REFUSED)
    for length in ("-1", "99999999999999999999", "1_0", "0x10", "", "1 1", "9" * 5000):
        headers = {"Inference-Header-Content-Length": length}
        yield HostileRequest(f"header length {length[:30]!r}", wire(INFER, b"{}", headers=headers), REFUSED)
    for name in ("..%2f..%2fetc", "%00", "net%0d%0aX: y", "x" * 3000, "%ff"):
        yield HostileRequest(f"model {name[:30]!r}", wire(f"/v2/models/{name}/infer", b"{}"), REFUSED)


def _tensor(entry: str) -> bytes:
    body = f'{{"inputs": [{{"name": "images", "datatype": "UINT8", {entry}}}]}}'
    return wire(INFER, body.encode(), "application/json")


def _heads() -> Iterator[HostileRequest]:
    """Heads of requests that are none."""
    end = b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    lines = {
        "no HTTP": b"hello\r\n\r\n",
        "TLS to a plain port": bytes.fromhex("160301007a010000760303") + bytes(100),
        "HTTP/9.9": b"GET / HTTP/9.9" + end,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a long path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1" + end,
        "a long header": b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000 + end,
        "many headers": b"GET / HTTP/1.1" + b"\r\nX: y" * 20_000 + end,
        "zero in a header": b"GET / HTTP/1.1\r\nX: a\0b" + end,
        "zero in a path": b"GET /\0 HTTP/1.1" + end,
        "space before a colon": b"POST /v1/predict HTTP/1.1\r\nContent-Length : 5" + end + b"hello",
        "folded header": b"GET / HTTP/1.1\r\nX: a\r\n b: c" + end,
        "lines of LF": b"GET / HTTP/1.1\nHost: 127.0.0.1\nConnection: close\n\n",
        "another's address": b"GET http://example.org/ HTTP/1.1" + end,
        "a tunnel": b"CONNECT example.org:443 HTTP/1.1" + end,
        "another protocol": b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nHost: 127.0.0.1\r\n\r\n",
        "up the folders": b"GET /page/../../../../etc/passwd HTTP/1.1" + end,
        "up the folders, written otherwise": b"GET /page/%2e%2e/%2e%2e/etc/passwd HTTP/1.1" + end,
        "two hosts": b"GET / HTTP/1.1\r\nHost: evil.example" + end,
    }
    for name, content in lines.items():
        yield HostileRequest(name, content, ANSWERED | {426}, is_cut=name in ("no HTTP", "HTTP/2", "another protocol"))
    for length in (b"-1", b"+5", b"5, 5", b"0x5", b"5 5", b"1" * 400, b"99999999999999999999", b""):
        head = b"POST /v1/predict HTTP/1.1\r\nContent-Length: " + length + end
        yield HostileRequest(f"Content-Length {length[:30].decode()!r}", head + b"hello", REFUSED)


def _two_in_one() -> Iterator[HostileRequest]:
    """A second request in the body of the first one: whoever answers it takes one sender's words for another's."""
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    start = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    length = b"Content-Length: %d\r\n" % len(hidden)
    heads: dict[str, bytes] = {
        "both lengths": length + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "both lengths, the other way round": b"Transfer-Encoding: chunked\r\n" + length + b"\r\n0\r\n\r\n",
        "two lengths": length + b"Content-Length: 0\r\n\r\n",
        "a length and a coding that is none": length + b"Transfer-Encoding: xchunked\r\n\r\n",
        "chunked and not": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        "a chunk of no number": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "a chunk without end": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "a chunk of a negative size": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        "a space in the coding's name": length + b"Transfer-Encoding : chunked\r\n\r\n",
        "a bare CR": length + b"X: a\rTransfer-Encoding: chunked\r\n\r\n",
    }
    for name, head in heads.items():
        yield HostileRequest(f"two in one: {name}", start + head + hidden, REFUSED, 1)
    yield HostileRequest("a body that is a request", start + length + b"Connection: close\r\n\r\n" + hidden, REFUSED, 1)
    refused = start + b"Content-Length: 999999999999\r\n\r\n" + hidden * 3
    yield HostileRequest("a refused body that is three requests", refused, frozenset({413}), 1)


def pipelined(count: int, ask: Callable[[int], dict[str, Any]]) -> bytes:
    """Several requests at once on one connection; `ask` gives the JSON of each."""
    bodies = [json.dumps(ask(number)).encode() for number in range(count)]
    keep = [{"Connection": "keep-alive"}] * (count - 1) + [{"Connection": "close"}]
    return b"".join(
        wire(PREDICT, body, "application/json", headers=told) for body, told in zip(bodies, keep, strict=True)
    )
