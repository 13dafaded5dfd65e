"""What a request brings: pictures as a raw body, as files of a form, or in JSON; and what it asks of answers."""

from __future__ import annotations

import asyncio
import base64
import binascii
import zlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from sightline.bundles.trust.details import Asked
from sightline.deployment.server.gate.admission import too_large
from sightline.deployment.server.limits import Refusal, ServerLimits
from sightline.deployment.server.served import Question
from sightline.system.stored import parse_json
from sightline.system.text import listed, printable

_MOST_FIELDS = 32
_MOST_NAME = 255
# By the names that a request gives them.
_NUMBERS = {"coverage": float, "max_error": float, "novelty": float, "certainty": float, "nearest": int, "top": int}
_FLAGS = ("per_class", "map", "invert")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
OPTIONS = (*_NUMBERS, *_FLAGS, "score", "model")


@dataclass(frozen=True)
class Upload:
    """One picture as it was sent.

    Attributes:
        name: what its sender calls it, without folders.
        content: its bytes, of whatever kind.
    """

    name: str
    content: bytes = field(repr=False)


async def body_of(request: Request, limits: ServerLimits) -> bytes:
    """The whole body, unpacked where it is packed, but never more than is allowed."""
    parts, size = [], 0
    unpack = _unpacker(request.headers.get("content-encoding", ""))
    try:
        async for part in request.stream():
            for piece in unpack(part, limits.max_body_bytes - size) if part else ():
                size += len(piece)
                parts.append(piece)
            if size > limits.max_body_bytes:
                raise Refusal(413, too_large(limits))
    except zlib.error as error:
        raise Refusal(400, "the body is not packed as its Content-Encoding says.") from error
    return b"".join(parts)


async def sent_body(request: Request, limits: ServerLimits) -> bytes:
    """The whole body as it was sent, packed or not, but never more than is allowed."""
    return b"".join([part async for part in _bounded(request, limits)])


def _unpacker(encoding: str) -> Any:
    names = {"": None, "identity": None, "gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
    if encoding.strip().lower() not in names:
        words = f"a body packed by {printable(encoding)[:50]!r} is not read. Send it by gzip, deflate, or as it is."
        raise Refusal(415, words, {"Accept-Encoding": "gzip, deflate"})
    if (window := names[encoding.strip().lower()]) is None:
        return lambda part, _: (part,)
    stream = zlib.decompressobj(window)

    def unpack(part: bytes, most: int) -> tuple[bytes, ...]:
        # One more than is allowed is enough to know.
        return (stream.decompress(part, max(most, 0) + 1),)

    return unpack


async def uploads_of(request: Request, limits: ServerLimits) -> tuple[list[Upload], dict[str, Any]]:
    """The pictures of a request, and the options that stand beside them."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads, told = await _form(request, limits)
    elif kind == "application/json":
        uploads, told = await asyncio.to_thread(_json, await body_of(request, limits), limits)
    elif kind in ("", "application/octet-stream") or kind.startswith("image/"):
        content = await body_of(request, limits)
        uploads, told = [Upload(_name(request.query_params.get("name", "image")), content)] if content else [], {}
    else:
        words = (
            f"pictures of type {printable(kind)[:100]!r} are not read. Send image/*, application/octet-stream, "
            "multipart/form-data or application/json."
        )
        raise Refusal(415, words)
    if not uploads:
        raise Refusal(400, "no picture was sent. Send one as the body, or several as files of a form.")
    _check_count(len(uploads), limits)
    return uploads, told


def _check_count(count: int, limits: ServerLimits) -> None:
    if count > limits.max_images:
        raise Refusal(413, f"{count} pictures at once; {limits.max_images} are allowed. Send fewer.")


class _InMemory(MultiPartParser):
    """Nothing is written to a disk; the whole body is bounded."""

    spool_max_size = 2**40

    def close_files(self) -> None:
        """Those, too, of a form that was never whole, or whose sender left: Starlette closes them at its own errors."""
        for file in self._files_to_close_on_error:
            file.close()


async def _form(request: Request, limits: ServerLimits) -> tuple[list[Upload], dict[str, Any]]:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(415, "a form is read unpacked alone. Send it without Content-Encoding.")
    parser = _InMemory(
        request.headers,
        _bounded(request, limits),
        max_files=limits.max_images,
        max_fields=_MOST_FIELDS,
        max_part_size=64 * 1024,
    )
    try:
        form = await parser.parse()
        found = [(key, await _uploaded(value)) for key, value in form.multi_items()]
    except MultiPartException as error:
        is_many = error.message.startswith("Too many files")
        words = f"{limits.max_images} pictures at once are allowed" if is_many else printable(error.message)
        raise Refusal(413 if is_many else 400, f"the form cannot be read: {words}.") from error
    except (KeyError, UnicodeDecodeError, ValueError, LookupError) as error:
        raise Refusal(400, "the form cannot be read: its headers are not those of a form.") from error
    finally:
        parser.close_files()
    uploads = [value for _, value in found if isinstance(value, Upload)]
    return uploads, {key: value for key, value in found if not isinstance(value, Upload)}


async def _uploaded(value: UploadFile | str) -> Upload | str:
    return Upload(_name(value.filename or "image"), await value.read()) if isinstance(value, UploadFile) else value


async def _bounded(request: Request, limits: ServerLimits) -> AsyncGenerator[bytes, None]:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limits.max_body_bytes:
            raise Refusal(413, too_large(limits))
        yield part


def _json(body: bytes, limits: ServerLimits) -> tuple[list[Upload], dict[str, Any]]:
    """{"images": [{"name": ..., "data": base64}], and options}."""
    told = json_of(body)
    images = told.pop("images", None)
    if not isinstance(images, list):
        raise Refusal(400, 'JSON must hold "images": a list of {"name": ..., "data": base64 of a file}.')
    _check_count(len(images), limits)  # before any of them is looked at: there may be millions
    return [_from_json(entry, number) for number, entry in enumerate(images)], told


def json_of(body: bytes) -> dict[str, Any]:
    """A JSON object of bounded depth; a Refusal, 400, of anything else."""
    try:
        told = parse_json(body.decode("utf-8"))
    except ValueError as error:
        raise Refusal(400, f"the body is no JSON that can be read ({printable(str(error))[:200]}).") from error
    if not isinstance(told, dict):
        raise Refusal(400, "the body must be a JSON object.")
    return told


def _from_json(entry: Any, number: int) -> Upload:
    name, data = (entry.get("name", f"image-{number}"), entry.get("data")) if isinstance(entry, dict) else ("", None)
    if not isinstance(data, str) or not isinstance(name, str):
        raise Refusal(400, f'images[{number}] must be {{"name": words, "data": base64 of a file}}.')
    try:
        return Upload(_name(name), base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"images[{number}].data is no base64.") from error


def _name(name: str) -> str:
    """What a sender calls a picture, without folders: it is only ever told back."""
    last = PurePosixPath(PureWindowsPath(name).name).name or "image"
    return last.encode("utf-8", "replace").decode("utf-8")[:_MOST_NAME]


def question_of(told: Mapping[str, Any]) -> Question:
    """What a request asks, of words or of JSON values; a Refusal, 400, of what cannot be meant."""
    if unknown := [name for name in told if name not in (*OPTIONS, "name")]:
        raise Refusal(
            400, f"no option is called {printable(unknown[0])[:100]!r}. There are: {listed(OPTIONS, most=20)}."
        )
    numbers = {name: _number(name, told[name]) for name in _NUMBERS if name in told}
    flags = {name: _flag(name, told[name]) for name in _FLAGS if name in told}
    score = {"score": str(told["score"])} if "score" in told else {}
    top = numbers.pop("top", 3)
    if top < 1:
        raise Refusal(400, f"top must be a whole number of at least 1; got {top}.")
    maps, invert = flags.pop("map", False), flags.pop("invert", False)
    return Question(Asked(**{**numbers, **flags, **score}), top=top, maps=maps, invert=invert)


def _number(name: str, value: Any) -> Any:
    kind = _NUMBERS[name]
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float) or kind(value) != float(value):
            raise ValueError
        return kind(value)
    except (ValueError, OverflowError) as error:
        words = "a whole number" if kind is int else "a number"
        raise Refusal(400, f"{name} must be {words}; got {printable(str(value))[:50]!r}.") from error


def _flag(name: str, value: Any) -> bool:
    found = value if isinstance(value, bool) else _TRUTHS.get(str(value).lower())
    if found is None:
        raise Refusal(400, f"{name} must be true or false; got {printable(str(value))[:50]!r}.")
    return found
