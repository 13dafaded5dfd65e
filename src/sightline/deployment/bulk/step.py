"""The step that answers a part of the images: it can be pickled, so that another process or machine takes it."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.bundles.answers.rows import answer_rows, asked_for
from sightline.bundles.bundle import MANIFEST, load_bundle
from sightline.bundles.prediction import predict_files, predict_stored
from sightline.bundles.trust.details import Asked, detail_makers
from sightline.deployment.bulk.images import Piece, Stamp
from sightline.errors import InvalidBundle
from sightline.records import Bundle, Predictions
from sightline.system.files import sha256_of
from sightline.system.workers import node_name

# A multiple of what a network is given at once, so that its answers are the same wherever a part begins.
PART = 2_048


@dataclass(frozen=True)
class AnsweredPortion:
    """Some answers, as they are written.

    Attributes:
        rows: as `answer_rows` makes them.
        asked_for: what they have that not every answer has.
        stamps: size and time of the file of each, from before it was read.
        node: the machine that answered, where it may be another one.
    """

    rows: list[dict[str, Any]]
    asked_for: list[str]
    stamps: list[Stamp]
    node: str = ""


@dataclass(frozen=True)
class AnswerStep:
    """Answers the images of a piece with a bundle that lies where it can be read, and is the one that was meant.

    Attributes:
        bundle: its folder.
        manifest: SHA-256 of its manifest.
        asked: what answers are to carry.
        top: how many classes a row names.
        with_probabilities: whether a row has those of all classes.
        invert: turn light into dark first.
    """

    bundle: Path
    manifest: str
    asked: Asked
    top: int = 3
    with_probabilities: bool = False
    invert: bool = False

    def __call__(self, piece: Piece) -> list[AnsweredPortion]:
        """All of a piece at once, as another process hands it back."""
        opened = _opened(self.bundle, self.manifest)
        return [replace(portion, node=node_name()) for portion, _ in self.portions(opened, piece)]

    def portions(self, bundle: Bundle, piece: Piece) -> Iterator[tuple[AnsweredPortion, Predictions]]:
        """The rows of a piece as they come, and the Predictions that they were made of."""
        makers, stamps = detail_makers(bundle, self.asked), deque[Stamp]()

        def stamped() -> Iterator[int]:
            # Taken as rows are, before they are read: what changes later is noticed when the table is gone on with.
            for row in range(len(piece)):
                stamps.append(piece.stamp(row))
                yield row

        if piece.store is not None:
            found = predict_stored(bundle, piece.store, stamped(), invert=self.invert, makers=makers)
        else:
            paths = (piece.names[row] for row in stamped())
            found = predict_files(bundle, paths, invert=self.invert, makers=makers)
        for made in found:
            rows = list(answer_rows(made, self.top, with_probabilities=self.with_probabilities))
            yield AnsweredPortion(rows, asked_for(made), [stamps.popleft() for _ in rows]), made


def step_of(bundle: Bundle, asked: Asked, *, top: int, with_probabilities: bool, invert: bool) -> AnswerStep:
    """The step that a bundle answers with."""
    return AnswerStep(bundle.path.absolute(), sha256_of(bundle.path / MANIFEST), asked, top, with_probabilities, invert)


@functools.lru_cache(maxsize=2)
def _opened(path: Path, manifest: str) -> Bundle:
    bundle = load_bundle(path)
    if sha256_of(path / MANIFEST) != manifest:
        raise InvalidBundle(f"{path}: another bundle lies there now than when the answers were begun. Begin anew.")
    return bundle
