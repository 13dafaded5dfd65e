"""The Open Inference Protocol, version 2, over HTTP: tensors as a network is fed them, for programs that speak it."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from sightline._version import __version__
from sightline.deployment.server.batching import Answered
from sightline.deployment.server.classify import as_json
from sightline.deployment.server.limits import Refusal, ServerLimits
from sightline.deployment.server.served import ServedModel, ServedModels
from sightline.deployment.server.uploads import body_of, json_of
from sightline.system.text import listed, printable
from sightline.tasks.table import has_several_labels

LENGTH = "Inference-Header-Content-Length"
_MOST_ID = 256
_PROBABILITIES, _LABELS = "probabilities", "labels"
_DATATYPES = {"float32": "FP32", "float64": "FP64", "uint8": "UINT8"}


@dataclass(frozen=True)
class Wanted:
    """One output that is asked for, and whether it comes as bytes behind the JSON."""

    name: str
    is_binary: bool


class Protocol:
    """Answers its questions with the models of a server."""

    def __init__(self, models: ServedModels, limits: ServerLimits) -> None:
        """Keep what it works with."""
        self.models, self.limits = models, limits

    async def server(self, _: Request) -> Response:
        """Name, version, and what it can beyond the protocol."""
        return as_json({"name": "sightline", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, _: Request) -> Response:
        """It runs."""
        return as_json({"live": True})

    async def ready(self, _: Request) -> Response:
        """Whether nothing has to be waited for any more; requests are answered before, too, but later."""
        return as_json({"ready": self.models.are_ready}, status=200 if self.models.are_ready else 503)

    async def model_ready(self, request: Request) -> Response:
        """One of them."""
        return as_json({"name": self._model(request).name, "ready": True})

    async def model(self, request: Request) -> Response:
        """What a model takes and gives."""
        model = self._model(request)
        outputs = [
            {"name": name, "datatype": datatype, "shape": [-1, *shape]}
            for name, (datatype, shape) in _outputs(model).items()
        ]
        images = {"name": "images", "datatype": "UINT8", "shape": [-1, *model.bundle.input.shape]}
        return as_json(
            {
                "name": model.name,
                "versions": [version_of(model)],
                "platform": "onnxruntime_onnx",
                "inputs": [images],
                "outputs": outputs,
            }
        )

    async def infer(self, request: Request) -> Response:
        """Outputs of the network for a tensor of images."""
        model = self._model(request)
        body = await body_of(request, self.limits)
        length = request.headers.get(LENGTH)
        told, images, wanted = await asyncio.to_thread(self._understood, model, body, length)
        made = _made(model)
        names = tuple(dict.fromkeys("logits" if one.name in made else one.name for one in wanted))
        found: Answered = await model.batcher.submit(images, names)
        encoding = request.headers.get("accept-encoding", "")
        return await asyncio.to_thread(_answer, model, told, wanted, found, encoding=encoding)

    def _understood(
        self, model: ServedModel, body: bytes, length: str | None
    ) -> tuple[dict[str, Any], NDArray[np.uint8], list[Wanted]]:
        told, rest = _parted(body, length)
        return told, self._images(model, told, rest), _wanted(told, model)

    def _model(self, request: Request) -> ServedModel:
        model = self.models.of(request.path_params["name"])
        version = request.path_params.get("version")
        if version not in (None, version_of(model), model.version):
            words = f"of {model.name} there is no version {printable(version)[:80]!r}, but {version_of(model)}."
            raise Refusal(404, words)
        return model

    def _images(self, model: ServedModel, told: dict[str, Any], rest: bytes) -> NDArray[np.uint8]:
        inputs = told.get("inputs")
        if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
            raise Refusal(400, 'inputs must be a list of one tensor: "images".')
        entry = inputs[0]
        spec = model.bundle.input
        shape: Any = entry.get("shape")
        if entry.get("name") != "images" or entry.get("datatype") != "UINT8":
            raise Refusal(
                400,
                "the input must be called 'images' and be UINT8; got "
                f"{printable(str(entry.get('name')))[:50]!r} of {printable(str(entry.get('datatype')))[:20]!r}.",
            )
        fits = isinstance(shape, list) and all(type(side) is int for side in shape) and shape[1:] == list(spec.shape)
        if not fits or not 1 <= shape[0] <= self.limits.max_images:
            sides = ", ".join(map(str, spec.shape))
            words = f"the shape must be [n, {sides}] with n from 1 to {self.limits.max_images}; got "
            raise Refusal(400, f"{words}{printable(str(shape))[:80]}.")
        size = _parameters(entry).get("binary_data_size")
        if size is None:
            return _numbers(entry.get("data"), shape)
        if type(size) is not int or size != math.prod(shape) or len(rest) != size:
            raise Refusal(
                400, f"{len(rest)} bytes of data came; the shape says {math.prod(shape)}, binary_data_size {size!r}."
            )
        return np.frombuffer(rest, np.uint8).reshape(shape)


def version_of(model: ServedModel) -> str:
    """The beginning of the hash of its manifest: another one is another version."""
    return model.version[:12]


def _outputs(model: ServedModel) -> dict[str, tuple[str, list[int]]]:
    """By name, datatype and shape of a row; of the graph, probabilities, and of several labels which are said."""
    declared = model.bundle.manifest.get("outputs", {})
    classes = len(model.bundle.class_names)
    found = {"logits": ("FP32", [classes]), _PROBABILITIES: ("FP32", [classes])}
    if _LABELS in _made(model):
        found[_LABELS] = ("UINT8", [classes])
    for name, shape in model.session.output_shapes().items():
        datatype = _DATATYPES.get(declared.get(name, {}).get("dtype", "float32"))
        if datatype is not None and name not in found:
            found[name] = (datatype, [side if isinstance(side, int) else -1 for side in shape[1:]])
    return found


def _made(model: ServedModel) -> tuple[str, ...]:
    """Outputs that are made of the logits here; a graph's own of these names is not handed out."""
    return (_PROBABILITIES, *[_LABELS] * has_several_labels(model.bundle.task))


def _parted(body: bytes, length: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request, and the bytes behind it."""
    if length is None:
        return json_of(body), b""
    # Python turns no more than 4,300 digits into a number.
    if not length.isascii() or not length.isdigit() or len(length) > 20 or int(length) > len(body):
        raise Refusal(400, f"{LENGTH} must be a number of bytes that the body has; got {printable(length)[:30]!r}.")
    return json_of(body[: int(length)]), body[int(length) :]


def _parameters(entry: dict[str, Any]) -> dict[str, Any]:
    found = entry.get("parameters", {})
    if not isinstance(found, dict):
        raise Refusal(400, "parameters must be a JSON object.")
    return found


def _numbers(data: Any, shape: Sequence[int]) -> NDArray[np.uint8]:
    """JSON numbers, nested or one behind the other."""
    try:
        values = np.array(data)
    except ValueError:
        values = np.array(None)
    count = math.prod(shape)
    if values.dtype.kind not in "iu" or values.size != count or values.shape not in ((count,), tuple(shape)):
        raise Refusal(400, f"data must be {count} whole numbers for the shape {list(shape)}, nested or flat.")
    if values.min() < 0 or values.max() > 255:
        raise Refusal(400, f"UINT8 is 0 to 255; data holds {values.min()} to {values.max()}.")
    return values.astype(np.uint8).reshape(shape)


def _wanted(told: dict[str, Any], model: ServedModel) -> list[Wanted]:
    """Outputs that are asked for; logits, probabilities and labels, where there are several, if none are named."""
    usual = bool(_parameters(told).get("binary_data_output", False))
    outputs = told.get("outputs")
    if outputs is None or outputs == []:
        return [Wanted(name, usual) for name in ("logits", *_made(model))]
    if not isinstance(outputs, list) or not all(isinstance(entry, dict) for entry in outputs):
        raise Refusal(400, 'outputs must be a list of {"name": ...}.')
    known = _outputs(model)
    found = {}
    for entry in outputs:
        name = entry.get("name")
        if not isinstance(name, str) or name not in known:
            words = f"no output is called {printable(str(name))[:50]!r}. There are: {listed(list(known), most=20)}."
            raise Refusal(400, words)
        found[name] = Wanted(name, bool(_parameters(entry).get("binary_data", usual)))
    return list(found.values())


def _answer(
    model: ServedModel, told: dict[str, Any], wanted: Sequence[Wanted], found: Answered, *, encoding: str
) -> Response:
    outputs, parts = [], []
    for one in wanted:
        values = _values(model, one.name, found)
        entry: dict[str, Any] = {
            "name": one.name,
            "datatype": _DATATYPES[str(values.dtype)],
            "shape": list(values.shape),
        }
        if one.is_binary:
            parts.append(np.ascontiguousarray(values).tobytes())
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = values.reshape(-1).tolist()
        outputs.append(entry)
    content: dict[str, Any] = {"model_name": model.name, "model_version": version_of(model), "outputs": outputs}
    if "id" in told:
        if not isinstance(told["id"], str) or len(told["id"]) > _MOST_ID:
            raise Refusal(400, f"id must be words of at most {_MOST_ID} letters.")
        content["id"] = told["id"]
    if not parts:
        return _packed(as_json(content), encoding)
    head = json.dumps(content).encode()
    headers = {LENGTH: str(len(head))}
    return _packed(Response(b"".join([head, *parts]), 200, headers, "application/octet-stream"), encoding)


def _values(model: ServedModel, name: str, found: Answered) -> NDArray[Any]:
    bundle = model.bundle
    if name not in _made(model):
        return found[name]
    if name == _LABELS:
        return bundle.task.decided(found["logits"])
    return bundle.task.probabilities(found["logits"], temperature=bundle.temperature).astype(np.float32)


def _packed(response: Response, encoding: str) -> Response:
    """As its reader asks for it: clients of the protocol name one way alone."""
    accepted = {word.partition(";")[0].strip().lower() for word in encoding.split(",")}
    way = next((way for way in ("gzip", "deflate") if accepted == {way}), None)
    if way is None:
        return response
    body = bytes(response.body)
    response.body = gzip.compress(body, 1) if way == "gzip" else zlib.compress(body, 1)
    response.headers["Content-Encoding"] = way
    response.headers["Content-Length"] = str(len(response.body))
    return response
