"""A source as somebody sees it before anything is done with it: its classes, how many images each has, and some."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from sightline.data.sources.loading import load
from sightline.deployment.workshop.sets.naming import num_series
from sightline.deployment.workshop.sets.tables import labels_in
from sightline.errors import InvalidValue, OneClassOnly
from sightline.records import Dataset
from sightline.reporting.pages.miniatures import miniature
from sightline.system.text import printable
from sightline.training.setup.resolution import default_recipe

_MOST_OPEN, _MOST_CLASSES, _NUM_OF_A_CLASS, _MOST_PICTURES, _MOST_LEFT = 4, 200, 8, 48, 20
# A name that is not known is looked for again, but not for each picture of one list.
_STALE_SECONDS = 5.0


class _Opened(NamedTuple):
    """A source, its rows by name, and when that was."""

    dataset: Dataset
    numbers: dict[str, int]
    time: float


class Sources:
    """Sources that were looked at, for the pictures of their rows; a few of them, used by several threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: OrderedDict[Path, _Opened] = OrderedDict()
        self._turn = threading.Lock()

    def look(self, path: Path) -> dict[str, Any]:
        """Open a source anew, and say what is in it."""
        try:
            dataset = load(path)
        except OneClassOnly as error:
            dataset = error.dataset
        self._keep(path, dataset)
        counts = np.bincount(dataset.labels, minlength=dataset.num_classes)
        classes = [
            {"name": name, "count": int(counts[label]), "rows": _some_rows(dataset, label)}
            for label, name in enumerate(dataset.class_names[:_MOST_CLASSES])
        ]
        splits, sizes = np.unique(dataset.given_splits, return_counts=True)
        return {
            "name": dataset.name,
            "num_images": len(dataset),
            "num_classes": dataset.num_classes,
            "classes": classes,
            "splits": {str(name): int(size) for name, size in zip(splits, sizes, strict=True) if name},
            "remarks": [printable(remark) for remark in dataset.remarks],
            "left_out": [[printable(name), printable(why)] for name, why in dataset.left_out[:_MOST_LEFT]],
            "num_left_out": len(dataset.left_out),
            "recipe": default_recipe(dataset),
            "num_relabelled": len(labels_in(path)) if path.is_file() else 0,
            "num_series": num_series(map(str, dataset.row_ids.tolist())) if path.is_dir() else 0,
        }

    def opened(self, path: Path) -> Dataset:
        """A source, opened anew unless that was done before."""
        return self._kept(path).dataset

    def pictures(self, path: Path, rows: Iterable[object]) -> list[dict[str, Any] | None]:
        """Small pictures of rows, by their numbers or names; None of what is none, or cannot be read."""
        asked = list(rows)[:_MOST_PICTURES]
        dataset, numbers, time_opened = self._kept(path)
        is_unknown = any(isinstance(row, str) and row not in numbers for row in asked)
        if is_unknown and time.monotonic() - time_opened > _STALE_SECONDS:  # files came or were moved since
            self.look(path)
            dataset, numbers, _ = self._kept(path)
        found: list[dict[str, Any] | None] = []
        for row in asked:
            number = numbers.get(row) if isinstance(row, str) else row
            is_row = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(dataset)
            picture = miniature(dataset, cast(int, number)) if is_row else None
            found.append(None if picture is None else {"address": picture.address, "is_small": picture.is_small})
        return found

    def _kept(self, path: Path) -> _Opened:
        with self._turn:
            kept = self._open.get(path)
        if kept is None:
            self.look(path)
            with self._turn:
                kept = self._open.get(path)
        if kept is None:
            raise InvalidValue("too much is being looked at at once. Look again.")
        return kept

    def _keep(self, path: Path, dataset: Dataset) -> None:
        numbers = {str(name): row for row, name in enumerate(dataset.row_ids.tolist())}
        with self._turn:
            self._open.pop(path, None)
            self._open[path] = _Opened(dataset, numbers, time.monotonic())
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)


def _some_rows(dataset: Dataset, label: int) -> list[int]:
    """Evenly over a class, so that more than one series is seen."""
    rows = np.flatnonzero(dataset.labels == label)
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), _NUM_OF_A_CLASS)).round().astype(int)
    return [int(row) for row in rows[chosen]]
