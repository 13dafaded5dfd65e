"""Answers as rows of plain values, as JSON tells them: one an image, with an error where it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sightline.records import Predictions
from sightline.tasks.multi_label import NO_LABEL


def answer_rows(portion: Predictions, top: int, *, with_probabilities: bool = False) -> Iterator[dict[str, Any]]:
    """Each answer as JSON tells it, with so many classes; with the probabilities of all, by their names, if asked."""
    readable = np.flatnonzero(portion.readable)
    logits = portion.logits[readable]
    answers = iter(portion.task.answers(logits, portion.class_names, temperature=portion.temperature, top=top))
    shares = portion.task.probabilities(logits, temperature=portion.temperature) if with_probabilities else None
    place = {row: number for number, row in enumerate(readable.tolist())}
    for index, (path, error) in enumerate(zip(portion.row_ids, portion.errors, strict=True)):
        answer = portion.task.unanswered if error is not None else next(answers)
        row: dict[str, Any] = {"path": path, **answer, "error": error}
        if error is None and portion.disagreements is not None:
            row["disagreement"] = round(float(portion.disagreements[index]), 6)
        if shares is not None:
            told = None if error is not None else [round(share, 6) for share in shares[place[index]].tolist()]
            row["probabilities"] = told and dict(zip(portion.class_names, told, strict=True))
        for detail in portion.details.values():
            nothing = dict.fromkeys(detail.columns)
            row |= nothing if error is not None else detail.cells(index, portion.logits[index], portion.class_names)
        if portion.notices[index]:
            row["notice"] = portion.notices[index]
        yield row


def asked_for(portion: Predictions) -> list[str]:
    """What the rows of some answers have that not every answer has."""
    details = [column for detail in portion.details.values() for column in detail.columns]
    return [*["disagreement"] * (portion.disagreements is not None), *details]


def named_in(row: Mapping[str, Any]) -> list[str]:
    """The classes that an answer names."""
    if "labels" in row:
        return [str(entry["label"]) for entry in row["labels"]] or [NO_LABEL]
    return [str(row.get("label"))]
