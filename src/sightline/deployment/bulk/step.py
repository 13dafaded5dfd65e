"""The step that answers a part of the images: it can be pickled, so that another process or machine takes it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.bundles.answers.rows import answer_rows, asked_for
from sightline.bundles.bundle import MANIFEST, load_bundle
from sightline.bundles.prediction import Makers, predict_files, predict_stored
from sightline.bundles.trust.details import Asked, detail_makers
from sightline.deployment.bulk.images import Piece
from sightline.errors import InvalidBundle
from sightline.records import Bundle, Predictions
from sightline.system.files import sha256_of

# A multiple of what a network is given at once, so that its answers are the same wherever a part begins.
PART = 2_048


@dataclass(frozen=True)
class AnsweredPortion:
    """Some answers, as they are written.

    Attributes:
        rows: as `answer_rows` makes them.
        asked_for: what they have that not every answer has.
    """

    rows: list[dict[str, Any]]
    asked_for: list[str]


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
        return [self.answered(portion) for portion in self.portions(opened, piece, detail_makers(opened, self.asked))]

    def portions(self, bundle: Bundle, piece: Piece, makers: Makers) -> Iterator[Predictions]:
        """Predictions as they come."""
        if piece.store is None:
            return predict_files(bundle, piece.names, invert=self.invert, makers=makers)
        return predict_stored(bundle, piece.store, invert=self.invert, makers=makers)

    def answered(self, portion: Predictions) -> AnsweredPortion:
        """The rows of some predictions."""
        rows = list(answer_rows(portion, self.top, with_probabilities=self.with_probabilities))
        return AnsweredPortion(rows, asked_for(portion))


def step_of(bundle: Bundle, asked: Asked, *, top: int, with_probabilities: bool, invert: bool) -> AnswerStep:
    """The step that a bundle answers with."""
    return AnswerStep(bundle.path.absolute(), sha256_of(bundle.path / MANIFEST), asked, top, with_probabilities, invert)


@functools.lru_cache(maxsize=2)
def _opened(path: Path, manifest: str) -> Bundle:
    bundle = load_bundle(path)
    if sha256_of(path / MANIFEST) != manifest:
        raise InvalidBundle(f"{path}: another bundle lies there now than when the answers were begun. Begin anew.")
    return bundle
