"""Which setting of whole numbers is written: the cheapest of those that are as near to the bundle as any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import session_of
from sightline.deployment.conversion.rows import ComparedRows
from sightline.errors import ExportRefused
from sightline.records import Bundle
from sightline.system.progress import reporter
from sightline.system.text import printable
from sightline.tasks.table import has_several_labels

ALL_WHOLE = "all in int8"
# Many images tell settings apart that nobody would: a whole network of LeNet's size for 0.0002 less.
_TOO_LITTLE = 0.001


def first_in_float(count: int) -> str:
    """What a setting is called that leaves so many layers with weights, the first ones, in floating point."""
    return f"first {count} in float" if count else ALL_WHOLE


@dataclass(frozen=True, eq=False)
class TriedSettings:
    """Settings that were tried on the images that choose, the cheapest first.

    Attributes:
        num_images: how many images choose.
        distances: what a setting is called to (num_images,) float64: the total variation of its probabilities, at a
            temperature of its own, from the bundle's; of several labels the sum of that of each.
        temperatures: what a setting is called to that temperature.
    """

    num_images: int
    distances: Mapping[str, NDArray[np.float64]]
    temperatures: Mapping[str, float]

    @property
    def kept(self) -> str:
        """The first one that is as near as the nearest, within its standard error or next to nothing."""
        best = min(self.distances.values(), key=np.mean)
        limit = best.mean() + max(best.std() / np.sqrt(len(best)), _TOO_LITTLE)
        return next(name for name, values in self.distances.items() if values.mean() <= limit)

    def told(self) -> dict[str, Any]:
        """What the report says of them."""
        means = {name: float(values.mean()) for name, values in self.distances.items()}
        return {"num_choosing_images": self.num_images, "kept": self.kept, "distances": means}


def try_settings(
    bundle: Bundle, rows: ComparedRows, settings: Iterable[tuple[str, Callable[[Any], NDArray[np.float32]]]], *, of: int
) -> TriedSettings:
    """Hold settings beside the bundle: what each is called, and what gives its logits; `of` is how many there are."""
    wanted = bundle.task.probabilities(session_of(bundle).logits(rows.images), temperature=bundle.temperature)
    # Of labels that do not depend on each other, the sum of their variations bounds that of the whole answer.
    shared = 1 if has_several_labels(bundle.task) else 2
    distances: dict[str, NDArray[np.float64]] = {}
    temperatures: dict[str, float] = {}
    with reporter().bar("quantising", total=of) as bar:
        for name, answers in settings:
            logits = answers(rows.images)
            bar.advance(1)
            if np.isfinite(logits).all():
                temperatures[name] = bundle.task.fit_temperature(logits, rows.known_labels)
                found = bundle.task.probabilities(logits, temperature=temperatures[name])
                distances[name] = np.abs(found - wanted).sum(axis=1) / shared
    if not distances:
        raise ExportRefused(
            f"{printable(str(bundle.path))}: no setting of whole numbers gives an answer. Keep the same format in "
            "floating point."
        )
    return TriedSettings(len(rows.row_ids), distances, temperatures)
