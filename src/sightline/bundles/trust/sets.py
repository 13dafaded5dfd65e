"""What a bundle can promise of its answers, by rows that nothing was learned from or chosen by: `sets.npz`.

It holds the scores of the right classes of the calibration images, no image and no name: so a set can be made at any
level, when it is asked for, and whatever the number of classes, 29 bytes an image are enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.vouching import Vouching, check_capability, not_known
from sightline.errors import InvalidBundle, InvalidValue, pick
from sightline.metrics.conformal import (
    RANDOMISED,
    SCORES,
    exact_level,
    fewest_rows,
    label_scores,
    one_of_each_group,
    portions,
    score_limits,
)
from sightline.records import Bundle, Predictions, PredictionSets
from sightline.system.files import write_arrays
from sightline.system.stored import read_arrays
from sightline.system.text import exact_percent, printable

FILE = "sets.npz"
Kept = TypeVar("Kept")
USUAL_SCORE = next(iter(SCORES))
_KEY_BYTES = 16
# Nine million images; a stranger's archive may say more.
_MOST_SETS_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Certificate:
    """Calibration images as far as a promise needs them.

    Attributes:
        key: 16 bytes, from which and from an image its random number is made.
        scores: of each kind (num_rows,) float64: how badly the right class fits.
        labels: (num_rows,) int32, the right classes.
        is_right: (num_rows,) bool, whether the most probable class is the right one.
        num_images: all calibration images; where they come in groups, more than rows.
        is_grouped: whether a row stands for a group of images that hang together.
    """

    key: bytes
    scores: dict[str, NDArray[np.float64]]
    labels: NDArray[np.int32]
    is_right: NDArray[np.bool_]
    num_images: int
    is_grouped: bool

    @property
    def vouching(self) -> Vouching:
        """The images behind it, for words."""
        return Vouching(self.num_images, len(self.labels) if self.is_grouped else None)


def uniforms(images: Any, key: bytes) -> NDArray[np.float64]:
    """(num_images,) in [0, 1), random and yet the same for the same pixels, wherever and with whatever they come.

    Args:
        images: (num_images, height, width, channels) uint8 as the network is fed them, or what is sliced to such.
        key: of the bundle.
    """
    found = np.empty(len(images))
    for first in range(0, len(images), 64):
        for row, image in enumerate(images[first : first + 64], first):
            digest = hashlib.blake2b(image.tobytes(), key=key, digest_size=8).digest()
            # The 53 bits that a float64 holds.
            found[row] = (int.from_bytes(digest, "little") >> 11) / 2**53
    return found


def certify(predictions: Predictions, images: Any, *, seed: int, fingerprint: str) -> Certificate | None:
    """What a bundle keeps of its calibration images; None where there is none.

    The scores are those of the logits as they are. A temperature is fitted on the same rows, and a score that
    depended on it would make the promise a little less than exact.

    Args:
        predictions: of the deployed network, with labels; groups where images hang together.
        images: as the network was fed them, row by row.
        seed: of the run.
        fingerprint: of the data.
    """
    if not len(predictions):
        return None
    key = hashlib.blake2b(f"{fingerprint} {seed}".encode(), digest_size=_KEY_BYTES).digest()
    drawn = one_of_each_group(predictions.groups, len(predictions), seed=seed)
    rows = np.arange(len(predictions)) if drawn is None else drawn
    labels = np.asarray(predictions.labels)[rows].astype(np.int32)
    logits, random = predictions.logits[rows], uniforms(images, key)[rows]
    return Certificate(
        key=key,
        scores={kind: _scores_of(labels, logits, kind, random) for kind in SCORES},
        labels=labels,
        num_images=len(predictions),
        is_right=logits.argmax(axis=1) == labels,
        is_grouped=drawn is not None,
    )


def _scores_of(
    labels: NDArray[np.int32], logits: NDArray[np.float32], kind: str, random: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(num_rows,) how badly one class of each row fits, in bounded memory."""
    found = np.empty(len(labels))
    for part in portions(len(labels), logits.shape[1]):
        scores = label_scores(logits[part], kind, random[part])
        found[part] = np.take_along_axis(scores, labels[part, None], axis=1)[:, 0]
    return found


def write_sets(folder: Path, certificate: Certificate) -> int:
    """Write `sets.npz` into a bundle in the making; how many bytes it has."""
    return write_arrays(
        folder / FILE,
        key=np.frombuffer(certificate.key, np.uint8),
        labels=certificate.labels,
        is_right=certificate.is_right,
        num_images=np.array(certificate.num_images, np.int64),
        is_grouped=np.array(certificate.is_grouped),
        **certificate.scores,
    )


_LESS_OFTEN = "sets hold the right class of new images less often than that"


def sets_section(certificate: Certificate | None, num_bytes: int = 0, *, metrics: Mapping[str, Any]) -> str:
    """What the card says of sets: of which images and by how many, and whether all learned rows are known."""
    if certificate is None:
        said = "None: there were no calibration images, so that no share of right answers can be promised."
    else:
        said = (
            f"Asked for a coverage of 0.95, `predict --coverage 0.95` answers with a set of classes that holds the "
            f"right one for 95 % of {certificate.vouching.of_images}. That is said of many images, not of one: "
            "whether the set of this one is right, nobody knows. Of other images, from another camera, place or "
            f"year, nothing is promised. It rests on {certificate.vouching.words} (`{FILE}`, {num_bytes:,} bytes: "
            "scores, no images), from which nothing was learned or chosen but temperatures of confidences."
        )
        said += f"{unknown}." if (unknown := not_known(metrics, _LESS_OFTEN)) else ""
    return f"\n## What it promises\n\n{said}\n"


def read_certificate(bundle: Bundle, fewest: int | None = None) -> Certificate:
    """What a bundle promises by; an InvalidBundle of one that was made without (`fewest` are needed), or damaged."""
    names = (*SCORES, "key", "labels", "is_right", "num_images", "is_grouped")
    return read_kept_sets(bundle, names, _checked, fewest=fewest)


def read_kept_sets(
    bundle: Bundle,
    names: Sequence[str],
    checked: Callable[[dict[str, NDArray[Any]], int], Kept],
    *,
    fewest: int | None,
) -> Kept:
    """What `checked` makes of these arrays of `sets.npz` and of how many classes there are; refused as told above."""
    path = bundle.path / FILE
    check_capability(
        bundle,
        "sets",
        promises="a coverage",
        without="calibration images",
        settings="data.calibration_fraction",
        fewest=fewest,
    )
    try:
        return checked(read_arrays(path, names=names, most_bytes=_MOST_SETS_BYTES), len(bundle.class_names))
    except (OSError, ValueError, TypeError) as error:
        raise InvalidBundle(f"{path}: cannot be read ({error}). Copy the whole bundle again.") from error


def _checked(arrays: dict[str, NDArray[Any]], num_classes: int) -> Certificate:
    key, labels, is_right = (arrays[name] for name in ("key", "labels", "is_right"))
    num_images, is_grouped = arrays["num_images"], arrays["is_grouped"]
    scores = {kind: arrays[kind] for kind in SCORES}
    if key.dtype != np.uint8 or key.shape != (_KEY_BYTES,) or is_grouped.dtype != np.bool_ or is_grouped.shape != ():
        raise ValueError("its key is not of 16 bytes, or whether it is grouped is not said")
    if labels.dtype != np.int32 or labels.ndim != 1 or not ((labels >= 0) & (labels < num_classes)).all():
        raise ValueError("its labels are not those of classes")
    if any(one.dtype != np.float64 or one.shape != labels.shape for one in scores.values()):
        raise ValueError("its scores are not one float64 a label")
    if not all(np.isfinite(one).all() for one in scores.values()):
        raise ValueError("its scores are not finite")
    if is_right.dtype != np.bool_ or is_right.shape != labels.shape:
        raise ValueError("it does not say of each label whether it was answered")
    if num_images.dtype != np.int64 or num_images.shape != ():
        raise ValueError("its number of images is no whole number")
    is_short = len(labels) < num_images  # of images that stand alone, each is a row
    if not 0 < len(labels) <= num_images or (is_short and not is_grouped):
        raise ValueError("its counts do not go together")
    return Certificate(key.tobytes(), scores, labels, is_right, int(num_images), bool(is_grouped))


@dataclass(frozen=True, eq=False)
class SetMaker:
    """Makes the sets of one coverage; a `DetailMaker`.

    Attributes:
        promise: as JSON tells it: coverage, score, per_class, num_images, num_groups.
        in_words: the promise for a person, and what is odd about it.
        limits: (num_classes,) the score that each class may reach.
        usual_limits: the same by the usual score, which no chance has a part in: what is above is unusual.
        draw: images as the network is fed them to their random numbers.
    """

    outputs = ()

    promise: dict[str, Any]
    in_words: str
    limits: NDArray[np.float64]
    usual_limits: NDArray[np.float64]
    draw: Callable[[Any], NDArray[np.float64]]

    def make(self, found: Mapping[str, NDArray[np.float32]], images: Any) -> PredictionSets:
        """The sets of some images; of one without finite logits there is none."""
        return self.sets(found["logits"], self.draw(images))

    def sets(self, logits: NDArray[np.float32], random: NDArray[np.float64]) -> PredictionSets:
        """The sets that belong to logits and to the random number of each image."""
        members = np.zeros(logits.shape, bool)
        is_unusual = np.zeros(len(logits), bool)
        sound = np.flatnonzero(np.isfinite(logits).all(axis=1))
        for portion in portions(len(sound), logits.shape[1]):
            rows = sound[portion]
            part = logits[rows]
            within = is_usual = label_scores(part, USUAL_SCORE) <= self.usual_limits
            if self.promise["score"] != USUAL_SCORE:
                within = label_scores(part, self.promise["score"], random[rows]) <= self.limits
            best = (np.arange(len(rows)), part.argmax(axis=1))
            # Not by the score of the set: by a random one, chance alone would call one image in ten unusual.
            is_unusual[rows] = ~is_usual[best]
            # A set always holds the answer, so that none is empty.
            within[best] = True
            members[rows] = within
        return PredictionSets(members, is_unusual)


def set_maker(
    bundle: Bundle, coverage: float | None, *, score: str = USUAL_SCORE, per_class: bool = False
) -> SetMaker | None:
    """What makes sets of a coverage in (0, 1), before anything is decoded; None where none is asked for."""
    if not isinstance(per_class, bool | np.bool_):
        raise InvalidValue(f"per_class must be True or False; got {per_class!r}.")
    if coverage is None:
        if per_class or score != USUAL_SCORE:
            raise InvalidValue("score and per_class say how sets are made. Name a coverage, too, such as 0.95.")
        return None
    share = float(exact_level(coverage))
    pick(SCORES, score, kind="score")
    certificate = read_certificate(bundle, fewest_rows(coverage))
    names, labels = [printable(name) for name in bundle.class_names], certificate.labels.astype(np.int64)
    try:
        limits, usual_limits = (
            score_limits(certificate.scores[kind], labels, coverage=coverage, class_names=names, per_class=per_class)
            for kind in (score, USUAL_SCORE)
        )
    except InvalidValue as error:
        raise InvalidValue(
            f"{error} {bundle.path} keeps {certificate.vouching.kept}. Ask for less, or train with more "
            "(data.calibration_fraction)."
        ) from None
    promise = {
        "coverage": share,
        "score": score,
        "per_class": bool(per_class),
        "num_images": certificate.num_images,
        "num_groups": certificate.vouching.num_groups,
    }

    def draw(images: Any) -> NDArray[np.float64]:
        return uniforms(images, certificate.key) if score in RANDOMISED else np.zeros(len(images))

    words = _in_words(promise, certificate, names)
    words += f".{unknown}" if (unknown := not_known(bundle.metrics, _LESS_OFTEN)) else ""
    return SetMaker(promise, words, limits, usual_limits, draw)


def _in_words(promise: dict[str, Any], certificate: Certificate, class_names: Sequence[str]) -> str:
    images = certificate.vouching.of_images
    images = images.replace("images", "images of each class", 1) if promise["per_class"] else images
    text = (
        f"sets hold the right class of {exact_percent(promise['coverage'])} of {images} ({certificate.vouching.words})"
    )
    if often := _right_more_often(promise, certificate, class_names):
        text += (
            f". {often}, more often than asked: it is in the set even where it fits too badly, which is marked "
            "unusual, and there sets are right more often than asked"
        )
    return text


def _right_more_often(promise: Mapping[str, Any], kept: Certificate, class_names: Sequence[str]) -> str:
    """Where the most probable class alone is right more often than a set has to be; "" where nowhere."""
    alone = "the most probable class alone is right for"
    if not promise["per_class"]:
        accuracy = float(kept.is_right.mean())
        return (
            f"{alone.capitalize()} {100 * accuracy:.4g} % of the calibration images"
            if promise["coverage"] < accuracy
            else ""
        )
    rows = np.bincount(kept.labels, minlength=len(class_names))
    recalls = np.bincount(kept.labels, kept.is_right, minlength=len(class_names)) / rows
    num_above, best = int((recalls > promise["coverage"]).sum()), int(recalls.argmax())
    of_classes = f"Of {num_above:,} of {len(class_names):,} classes, {alone} as many as {100 * recalls[best]:.4g} %"
    return f"{of_classes} of the calibration images (of '{class_names[best]}')" if num_above else ""
