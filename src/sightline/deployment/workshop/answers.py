"""Pictures that somebody tries: answered by the bundle of a run as `serve` answers them."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from pathlib import Path

from sightline.deployment.server.classify import Classifier
from sightline.deployment.server.decoders import Decoders
from sightline.deployment.server.limits import ServerLimits
from sightline.deployment.server.served import ServedModels, stamp_of
from sightline.deployment.server.telemetry import Telemetry
from sightline.errors import InvalidBundle

_MOST_OPEN = 2


class Answers:
    """The bundles of the runs that were tried last, opened."""

    def __init__(self, limits: ServerLimits, telemetry: Telemetry) -> None:
        """Begin with none."""
        self._limits, self._telemetry = limits, telemetry
        self.decoders = Decoders(limits.decoders, timeout_seconds=limits.deadline_seconds)
        self._open: OrderedDict[str, Classifier] = OrderedDict()
        self._turn = threading.Lock()

    def classifier(self, name: str, run: Path) -> Classifier:
        """Of a run, by the name that questions call it by."""
        with self._turn:
            kept = self._open.get(name)
            try:
                if kept is None or kept.models.of(None).stamp != stamp_of(run / "bundle"):
                    kept = Classifier(ServedModels({name: run}), self.decoders, self._limits, self._telemetry)
            except OSError as error:
                words = (
                    f"{name}: its bundle is gone, or cannot be read ({error.strerror or error}). Choose another run."
                )
                raise InvalidBundle(words) from error
            replaced = self._open.pop(name, kept)
            if replaced is not kept:
                self._close(replaced)
            self._open[name] = kept
            if len(self._open) > _MOST_OPEN:
                self._close(self._open.popitem(last=False)[1])
            return kept

    async def close(self) -> None:
        """End all that was begun for it."""
        await asyncio.to_thread(self._close_all)
        await self.decoders.close()

    def _close_all(self) -> None:
        with self._turn:
            for classifier in self._open.values():
                self._close(classifier)
            self._open.clear()

    @staticmethod
    def _close(classifier: Classifier) -> None:
        for model in classifier.models.all():
            model.batcher.retire()
