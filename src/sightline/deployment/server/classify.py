"""Pictures in, rows out, as `predict --json` tells them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from sightline.bundles.answers.rows import answer_rows
from sightline.bundles.maps.class_maps import ClassMaps, MapsMaker
from sightline.bundles.prediction import Answerer
from sightline.data.inputs.reading import Reading
from sightline.deployment.server.decoders import Decoders
from sightline.deployment.server.limits import Refusal, ServerLimits
from sightline.deployment.server.served import Question, ServedModel, ServedModels, described
from sightline.deployment.server.telemetry import Told
from sightline.deployment.server.uploads import Upload, question_of, uploads_of
from sightline.errors import InvalidBundle, SightlineError
from sightline.metrics.selective import certainties_of
from sightline.records import Predictions
from sightline.reporting.sheets.overlays import drawn, overlay
from sightline.system.text import printable, without_nan
from sightline.tasks.table import has_several_labels


class Classifier:
    """Answers requests with the models of a server."""

    def __init__(self, models: ServedModels, decoders: Decoders, limits: ServerLimits, telemetry: Told) -> None:
        """Keep what it works with."""
        self.models, self.decoders, self.limits, self.telemetry = models, decoders, limits, telemetry

    async def predict(self, request: Request) -> Response:
        """What is on the pictures of a request; those that cannot be read are rows with an error."""
        told: dict[str, Any] = dict(request.query_params)
        # Wrong words are refused before a body is waited for.
        self.models.of(told.get("model"))
        question_of(told)
        uploads, beside = await uploads_of(request, self.limits)
        told = {**told, **beside}
        model, question = self.models.of(_model_name(told)), question_of(told)
        answerer = model.known_answerer(question)
        if answerer is None:
            answerer = await asyncio.to_thread(_answerer, model, question)
        reading = [self.decoders.read(answerer.reader, upload.content) for upload in uploads]
        readings = await asyncio.gather(*reading) if len(reading) > 1 else [await reading[0]]
        rows = await self._rows(model, answerer, question, uploads, readings)
        num_unreadable = sum(reading.pixels is None for reading in readings)
        self.telemetry.images(model.name, num_answered=len(rows) - num_unreadable, num_unreadable=num_unreadable)
        content = {"model": model.name, "bundle": model.version, "images": rows}
        if num_unreadable == len(rows):
            raise Refusal(422, "; ".join(row["error"] for row in rows[:3]), content=content)
        return as_json(content)

    async def _rows(
        self,
        model: ServedModel,
        answerer: Answerer,
        question: Question,
        uploads: Sequence[Upload],
        readings: Sequence[Reading],
    ) -> list[dict[str, Any]]:
        fed = [reading.pixels for reading in readings if reading.pixels is not None]
        names = [upload.name for upload in uploads]
        if fed:
            answered = await model.batcher.submit(np.stack(fed), answerer.outputs)
        else:
            answered = {}

        def rows() -> list[dict[str, Any]]:
            if not answered:
                return [_unread(model, name, reading) for name, reading in zip(names, readings, strict=True)]
            found = answerer.tell(names, list(readings), answered)
            told = enumerate(answer_rows(found, question.top))
            return [_finished(model, row, found, number=number, answerer=answerer) for number, row in told]

        # Little work is done at once: a thread would cost more.
        return await self.decoders.call(rows) if question.maps or len(fed) > 1 else rows()

    async def list_models(self, _: Request) -> Response:
        """What can be asked, and what each bundle can promise."""
        models = await asyncio.to_thread(lambda: [described(model) for model in self.models.all()])
        return as_json({"models": models})


def _answerer(model: ServedModel, question: Question) -> Answerer:
    try:
        if question.asked.nearest is not None:
            _ = model.thumbnails  # read here, once, where nobody else waits for it
        return model.answerer(question)
    except SightlineError as error:
        raise Refusal(409 if isinstance(error, InvalidBundle) else 400, model.words_of(error)) from error


def _model_name(told: dict[str, Any]) -> str | None:
    name = told.get("model")
    if name is not None and not isinstance(name, str):
        raise Refusal(400, f"model must be the name of one; got {printable(str(name))[:50]!r}.")
    return name


def _unread(model: ServedModel, name: str, reading: Reading) -> dict[str, Any]:
    return {"path": name, **model.bundle.task.unanswered, "error": _error(reading.error)}


def _error(words: str | None) -> str | None:
    return words if words is None else words.removeprefix("image bytes: ")


def _finished(
    model: ServedModel, row: dict[str, Any], found: Predictions, *, number: int, answerer: Answerer
) -> dict[str, Any]:
    """With how certain the answer is, by which promises are kept, and the map and training images as pictures."""
    row["error"] = _error(row["error"])
    if row["error"] is None and not has_several_labels(found.task):  # of which no trade-off is told
        row["certainty"] = round(float(certainties_of(found.logits[number : number + 1])[0]), 6)
    for near in row.get("nearest") or ():
        if (picture := model.thumbnails.get(near["name"])) is not None:
            near["thumbnail"] = picture
    maker, maps = answerer.makers.get("maps"), found.details.get("maps")
    if isinstance(maker, MapsMaker) and isinstance(maps, ClassMaps):
        row["map_png"] = None if row["error"] is not None else _picture(maps, number, maker)
    return row


def _picture(maps: ClassMaps, number: int, maker: MapsMaker) -> str:
    image = drawn(maps.images[number])
    spread = maker.grid.spread(maps.maps[number], image.shape[:2])
    stream = io.BytesIO()
    scale = max(float(np.abs(maps.maps[number]).max()), 1e-6)
    Image.fromarray(overlay(image, spread, scale=scale)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def as_json(content: Any, *, status: int = 200, headers: Any = None) -> Response:
    """Plain values as JSON; NaN becomes null."""
    try:
        body = json.dumps(content, ensure_ascii=False, allow_nan=False)
    except ValueError:
        body = json.dumps(without_nan(content), ensure_ascii=False, allow_nan=False)
    # What was no UTF-8 in a name cannot be sent as such.
    return Response(body.encode("utf-8", "replace"), status, headers, "application/json")
