"""How far calibration images lie from what was learned, and by what that is told: `novelty.npz`.

The distance of a new image is an output of the graph; here is what it is compared with. No image and no name is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.vouching import Vouching, check_capability, not_known
from sightline.errors import InvalidBundle, InvalidValue
from sightline.metrics.conformal import exact_level, one_of_each_group
from sightline.metrics.novelty import most_above, novelty_limit
from sightline.records import Bundle, Novelty
from sightline.system.files import write_arrays
from sightline.system.stored import read_arrays
from sightline.system.text import exact_percent, listed

FILE = "novelty.npz"
OUTPUT = "novelty"
# What is measured, and how a person would say it; the usual one first.
METHODS = {
    "images": "the distance to the fifth nearest of some training images",
    "classes": "the distance to the nearest class, by how far images lie from their own",
}
USUAL_METHOD = next(iter(METHODS))
# Of made images of a kind so many must be told, for the kind to count as told.
CAUGHT = 0.95
# Each kind that is not told is named; a stranger's file may have more of them.
_MOST_NAMED = 10
MOST_KEPT, _MOST_KINDS, _MOST_BYTES = 10_000, 100, 2**20
# A network's last digits depend on what is answered beside an image; nobody should be novel by them.
_MARGIN = 1e-3


@dataclass(frozen=True)
class NoveltyMeasures:
    """What was found out about a score before it was kept.

    Attributes:
        separation: how often an image of classes that were left out is farther than one of the others; None where
            there were none.
        found: which share of them is called novel at 5 % false alarms.
        caught: kind of made images to the share of them that is.
    """

    separation: float | None
    found: float | None
    caught: Mapping[str, float]

    @property
    def num_caught(self) -> int:
        """How many kinds are told."""
        return sum(share >= CAUGHT for share in self.caught.values())


@dataclass(frozen=True, eq=False)
class KnownDistances:
    """How far calibration images lie from what was learned.

    Attributes:
        method: a name of METHODS.
        scores: (num_rows,) float32, one of each group.
        num_images: all that rows stand for.
        is_grouped: whether a row stands for a group of images that hang together.
        measures: None where there were too few validation images to find out anything.
    """

    method: str
    scores: NDArray[np.float32]
    num_images: int
    is_grouped: bool
    measures: NoveltyMeasures | None = None

    @property
    def vouching(self) -> Vouching:
        """How many images it rests on."""
        return Vouching(self.num_images, len(self.scores) if self.is_grouped else None)


def known_distances(
    scores: NDArray[np.float32], groups: Any, *, method: str, measures: NoveltyMeasures | None, seed: int
) -> KnownDistances | None:
    """What a bundle keeps of its calibration images; None where there is none.

    Args:
        scores: (num_images,) of the deployed graph.
        groups: of the images; None where each stands alone.
        method: a name of METHODS.
        measures: of that method.
        seed: draws one of each group, the row that sets are made of, and 10,000 where there are more; then images
            and groups are counted that these stand for.
    """
    drawn = one_of_each_group(groups, len(scores), seed=seed)
    rows = np.arange(len(scores)) if drawn is None else drawn
    if not len(rows) or not np.isfinite(scores[rows]).all():
        return None
    num_images = len(scores)
    if len(rows) > MOST_KEPT:
        rows = rows[np.random.default_rng(seed).permutation(len(rows))[:MOST_KEPT]]
        num_images = MOST_KEPT if drawn is None else int(np.isin(groups, np.asarray(groups)[rows]).sum())
    return KnownDistances(method, np.sort(scores[rows]).astype(np.float32), num_images, drawn is not None, measures)


def write_novelty(folder: Path, known: KnownDistances) -> int:
    """Write `novelty.npz` into a bundle in the making; how many bytes it has."""
    measures = known.measures or NoveltyMeasures(None, None, {})
    held_out = [np.nan if share is None else share for share in (measures.separation, measures.found)]
    return write_arrays(
        folder / FILE,
        method=np.array(known.method),
        scores=known.scores,
        num_images=np.array(known.num_images, np.int64),
        is_grouped=np.array(known.is_grouped),
        held_out=np.array(held_out, np.float64),
        kinds=np.array(list(measures.caught), dtype="U40"),
        caught=np.array(list(measures.caught.values()), np.float64),
    )


def read_novelty(bundle: Bundle) -> KnownDistances:
    """What a bundle calls novel by; an InvalidBundle of one that was made without, or where it is damaged."""
    path = bundle.path / FILE
    check_capability(
        bundle,
        "novelty",
        promises="a share of false alarms",
        without="calibration images or enough train images",
        settings="more images and data.calibration_fraction",
    )
    if OUTPUT not in bundle.manifest.get("outputs", {}):
        raise InvalidBundle(f"{bundle.path}: model.onnx does not tell '{OUTPUT}'. Copy the whole bundle again.")
    try:
        names = ("method", "scores", "num_images", "is_grouped", "held_out", "kinds", "caught")
        return _checked(read_arrays(path, names=names, most_bytes=_MOST_BYTES))
    except (OSError, ValueError, TypeError) as error:
        raise InvalidBundle(f"{path}: cannot be read ({error}). Copy the whole bundle again.") from error


def _checked(arrays: dict[str, NDArray[Any]]) -> KnownDistances:
    method, scores, num_images, is_grouped = (arrays[name] for name in ("method", "scores", "num_images", "is_grouped"))
    if method.dtype.kind != "U" or method.shape != () or str(method) not in METHODS:
        raise ValueError("its method is none that is known")
    if scores.dtype != np.float32 or scores.ndim != 1 or not 0 < len(scores) <= MOST_KEPT:
        raise ValueError("its scores are not float32, or none or too many")
    if not np.isfinite(scores).all():
        raise ValueError("its scores are not finite")
    if num_images.dtype != np.int64 or num_images.shape != () or is_grouped.dtype != np.bool_ or is_grouped.shape:
        raise ValueError("it does not say how many images there were, or whether they are grouped")
    if not len(scores) <= int(num_images) or (len(scores) < int(num_images) and not is_grouped):
        raise ValueError("its counts do not go together")
    held_out, kinds, caught = (arrays[name] for name in ("held_out", "kinds", "caught"))
    if kinds.dtype.kind != "U" or kinds.ndim != 1 or len(kinds) > _MOST_KINDS or caught.shape != kinds.shape:
        raise ValueError("its made images are not one share a kind")
    if held_out.dtype != np.float64 or held_out.shape != (2,) or caught.dtype != np.float64:
        raise ValueError("its measures are no float64")
    shares = np.concatenate([held_out[~np.isnan(held_out)], caught])
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("its measures are no shares")
    told = dict(zip(kinds.tolist(), caught.tolist(), strict=True))
    separation, found = (None if np.isnan(share) else float(share) for share in held_out)
    measures = NoveltyMeasures(separation, found, told) if told else None
    return KnownDistances(str(method), np.sort(scores), int(num_images), bool(is_grouped), measures)


# What no score of novelty sees, wherever it is told.
_NEAR = (
    "Classes that look like learned ones are not seen: of images of such classes, 40 to 97 in 100 were missed in "
    "measurements at a false-alarm rate of 5 %"
)


def novelty_section(known: KnownDistances | None, num_bytes: int = 0, *, metrics: Mapping[str, Any]) -> str:
    """What the card says of novelty; `metrics` as those of the bundle."""
    title = "\n## What it has never seen\n\n"
    if known is None:
        return f"{title}Not told: there were no calibration images, or too few to learn from.\n"
    said = (
        f"Asked for a false-alarm rate of 0.05, `predict --novelty 0.05` marks images that are unlike what was "
        f"learned, by {METHODS[known.method]}; of {known.vouching.of_images}, no more than that share is marked. It "
        f"rests on {known.vouching.words} (`{FILE}`, {num_bytes:,} bytes: distances, no "
        f"images).{_unknown(metrics)} {_NEAR}."
    )
    if known.measures is None:
        return f"{title}{said} There were too few validation images to try it on images that it should mark.\n"
    return f"{title}{said} {_tried(known.measures)}\n"


def _unknown(metrics: Mapping[str, Any]) -> str:
    said = not_known(metrics, "more of new images are marked by mistake")
    return f"{said}." if said else ""


def _tried(measures: NoveltyMeasures) -> str:
    told = [f"{kind} ({share:.0%})" for kind, share in measures.caught.items() if share >= CAUGHT]
    missed = [f"{kind} ({share:.0%})" for kind, share in measures.caught.items() if share < CAUGHT]
    names = listed(told, most=_MOST_NAMED) if told else "none of them reliably"
    parts = [f"It was tried on made images: marked were {names}"]
    if missed:
        parts.append(f"**not reliably marked: {listed(missed, most=_MOST_NAMED)}**")
    text = "; ".join(parts) + "."
    if not told:
        text += " **So this network does not reliably tell what it never saw.**"
    if measures.separation is not None and measures.found is not None:
        text += (
            f" Where it was not told of some of the classes, which the network itself had learned, it marked "
            f"{measures.found:.0%} of their images, and they were farther than others in {measures.separation:.1%} "
            "of pairs."
        )
    return text


@dataclass(frozen=True, eq=False)
class NoveltyMaker:
    """Tells which images are unlike what was learned; a `DetailMaker`.

    Attributes:
        promise: as JSON tells it: novelty, certainty, method, threshold, num_images, num_groups, num_above.
        in_words: the promise for a person, and what it does not see.
        limit: above it, an image is novel.
        known: distances of calibration images, ascending.
    """

    outputs = (OUTPUT,)

    promise: dict[str, Any]
    in_words: str
    limit: float
    known: NDArray[np.float32]

    def make(self, found: Mapping[str, NDArray[np.float32]], images: Any) -> Novelty:  # noqa: ARG002  # a seam
        """Which are novel; what has no distance is: nothing that was learned is like it."""
        scores = found[OUTPUT].reshape(len(found[OUTPUT]), -1)[:, 0].astype(np.float64)
        is_read = np.isfinite(found["logits"]).all(axis=1)
        is_novel = is_read & ~(scores <= self.limit * (1 + _MARGIN))
        nearer = np.searchsorted(self.known, scores, side="left") / len(self.known)
        return Novelty(is_novel, np.where(is_read, nearer, np.nan))


def novelty_maker(bundle: Bundle, rate: float | None, *, certainty: float) -> NoveltyMaker | None:
    """What marks novel images at a false-alarm rate in (0, 1), before anything is decoded; None where none is asked."""
    if rate is None:
        return None
    share, sure = float(exact_level(rate, name="novelty", like=0.05)), float(exact_level(certainty, name="certainty"))
    known = read_novelty(bundle)
    try:
        limit = novelty_limit(known.scores, rate=rate, certainty=certainty)
    except InvalidValue as error:
        raise InvalidValue(
            f"{error} {bundle.path} keeps {known.vouching.kept}. Ask for more false alarms or less certainty, or train "
            "with more (data.calibration_fraction)."
        ) from None
    promise = {
        "novelty": share,
        "certainty": sure,
        "method": known.method,
        "threshold": limit,
        "num_images": known.num_images,
        "num_groups": known.vouching.num_groups,
        "num_above": most_above(len(known.scores), rate, certainty),
    }
    return NoveltyMaker(
        promise, _in_words(share, sure, known) + _unknown(bundle.metrics).removesuffix("."), limit, known.scores
    )


def _in_words(rate: float, certainty: float, known: KnownDistances) -> str:
    caught = {} if known.measures is None else known.measures.caught
    missed = [kind for kind, share in caught.items() if share < CAUGHT]
    beginning = "images unlike those it learned are marked, and so are at most"
    if missed and len(missed) == len(caught):
        beginning = "images unlike those it learned are marked, but none reliably, and so are at most"
    text = (
        f"{beginning} {exact_percent(rate)} of "
        f"{known.vouching.of_images}, with a certainty of {exact_percent(certainty)} ({known.vouching.words}). Classes "
        "that look like learned ones are often not marked"
    )
    return text + (f"; nor, of made images, were {listed(missed, most=_MOST_NAMED)}" if missed else "")
