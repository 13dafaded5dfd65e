"""Sets of labels that hold most of what an image shows: what is kept of calibration images, and what is promised by it.

Where an image may have several labels, `sets.npz` holds how far above its threshold each given label of each
calibration image lay, no image and no name: so a set can be made at any level when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.sets import FILE, USUAL_SCORE, read_kept_sets
from sightline.bundles.trust.vouching import Vouching, not_known
from sightline.errors import InvalidValue
from sightline.metrics.conformal import exact_level, fewest_rows, one_of_each_group
from sightline.metrics.multi_label.risk_control import Misses, least_margin, misses_of
from sightline.records import Bundle, Predictions, PredictionSets
from sightline.system.files import write_arrays
from sightline.system.text import exact_percent
from sightline.tasks.multi_label import MULTI_LABEL, MultiLabel

_LESS_OFTEN = "sets miss more of the labels of new images than that"


@dataclass(frozen=True, eq=False)
class LabelCertificate:
    """Calibration images as far as a promise of sets of labels needs them.

    Attributes:
        misses: how far above their thresholds given labels lay.
        offsets: (num_classes,) the logit at which the margin of each label is 0.
        factors: (num_classes,) positive, by which logits above it are divided.
        num_images: all calibration images; where they come in groups, more than rows.
        is_grouped: whether a row stands for a group of images that hang together.
    """

    misses: Misses
    offsets: NDArray[np.float64]
    factors: NDArray[np.float64]
    num_images: int
    is_grouped: bool

    @property
    def vouching(self) -> Vouching:
        """The images behind it, for words."""
        return Vouching(self.num_images, self.misses.num_rows if self.is_grouped else None)

    def margins(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """(num_images, num_classes) how far above its threshold each label lies."""
        return np.asarray((np.asarray(logits, np.float64) - self.offsets) / self.factors)


def certify_labels(
    predictions: Predictions, offsets: NDArray[np.float64], factors: NDArray[np.float64], *, seed: int
) -> LabelCertificate | None:
    """What a bundle keeps of its calibration images; None where there is none.

    Factors and shifts of labels are fitted on the same images; the margins are those of the logits before them, and
    thresholds were chosen elsewhere, so that the promise is exact.

    Args:
        predictions: of the deployed network, with labels; groups where images hang together.
        offsets: see `LabelCertificate`.
        factors: see there.
        seed: of the run.
    """
    if not len(predictions):
        return None
    drawn = one_of_each_group(predictions.groups, len(predictions), seed=seed)
    rows = np.arange(len(predictions)) if drawn is None else drawn
    nothing = Misses(np.empty(0), np.empty(0), 0)
    empty = LabelCertificate(nothing, offsets, factors, len(predictions), drawn is not None)
    found = misses_of(empty.margins(predictions.logits[rows]), np.asarray(predictions.labels)[rows])
    return LabelCertificate(found, offsets, factors, len(predictions), drawn is not None)


def write_label_sets(folder: Path, certificate: LabelCertificate) -> int:
    """Write `sets.npz` into a bundle in the making; how many bytes it has."""
    return write_arrays(
        folder / FILE,
        margins=certificate.misses.margins,
        shares=certificate.misses.shares,
        num_rows=np.array(certificate.misses.num_rows, np.int64),
        offsets=certificate.offsets,
        factors=certificate.factors,
        num_images=np.array(certificate.num_images, np.int64),
        is_grouped=np.array(certificate.is_grouped),
    )


def label_sets_section(certificate: LabelCertificate | None, num_bytes: int = 0, *, metrics: Mapping[str, Any]) -> str:
    """What the card says of sets of labels."""
    if certificate is None:
        said = "None: there were no calibration images, so that no share of found labels can be promised."
    else:
        said = (
            "Asked for a coverage of 0.95, `predict --coverage 0.95` answers with a set of labels that lacks at most "
            f"5 % of the labels of an image, on average over {certificate.vouching.of_images}; an image without a "
            "label lacks none. That is said of many images, not of one, and of no single label. Of other images, from "
            f"another camera, place or year, nothing is promised. It rests on {certificate.vouching.words} (`{FILE}`, "
            f"{num_bytes:,} bytes: how far above its threshold each given label lay, no images)."
        )
        said += f"{unknown}." if (unknown := not_known(metrics, _LESS_OFTEN)) else ""
    return f"\n## What it promises\n\n{said}\n"


def read_label_certificate(bundle: Bundle, fewest: int | None = None) -> LabelCertificate:
    """What a bundle promises by; an InvalidBundle of one that was made without (`fewest` are needed), or damaged."""
    names = ("margins", "shares", "num_rows", "offsets", "factors", "num_images", "is_grouped")
    return read_kept_sets(bundle, names, _checked, fewest=fewest)


def _checked(arrays: dict[str, NDArray[Any]], num_classes: int) -> LabelCertificate:
    margins, shares, offsets, factors = (arrays[name] for name in ("margins", "shares", "offsets", "factors"))
    for one, length in (
        (margins, margins.size),
        (shares, margins.size),
        (offsets, num_classes),
        (factors, num_classes),
    ):
        if one.dtype != np.float64 or one.shape != (length,) or not np.isfinite(one).all():
            raise ValueError("its numbers are not finite float64, or too many or few")
    if (np.diff(margins) < 0).any() or not ((shares > 0) & (shares <= 1)).all() or not (factors > 0).all():
        raise ValueError("its margins are not ascending, its shares not above 0 to 1, or its factors not positive")
    counts = [arrays[name] for name in ("num_rows", "num_images")]
    if any(one.dtype != np.int64 or one.shape != () for one in counts):
        raise ValueError("its counts are no whole numbers")
    num_rows, num_images = map(int, counts)
    is_grouped = arrays["is_grouped"]
    if is_grouped.dtype != np.bool_ or is_grouped.shape != ():
        raise ValueError("whether it is grouped is not said")
    if not 0 < num_rows <= num_images or (num_rows < num_images and not is_grouped) or shares.sum() > num_rows + 1e-6:
        raise ValueError("its counts do not go together")
    return LabelCertificate(Misses(margins, shares, num_rows), offsets, factors, num_images, bool(is_grouped))


@dataclass(frozen=True, eq=False)
class LabelSetMaker:
    """Makes the sets of labels of one coverage; a `DetailMaker`.

    Attributes:
        promise: as JSON tells it: coverage, num_images, num_groups.
        in_words: the promise for a person.
        certificate: what it rests on.
        margin: from which on labels are in a set.
        task: what says which labels are the answer; they are in the set, too.
    """

    outputs = ()

    promise: dict[str, Any]
    in_words: str
    certificate: LabelCertificate
    margin: float
    task: MultiLabel

    def least_logits(self) -> NDArray[np.float64]:
        """(num_classes,) the logit from which on each label is in the set; -inf for all where every label is."""
        limits = self.certificate.offsets + self.margin * self.certificate.factors
        # The margin is that of a calibration image: rounding must not put its label outside.
        limits -= 1e-12 * np.maximum(1, np.abs(limits), where=np.isfinite(limits), out=np.zeros_like(limits))
        return np.minimum(limits, self.task.limits(len(limits)))

    def make(self, found: Mapping[str, NDArray[np.float32]], images: Any) -> PredictionSets:  # noqa: ARG002  # a seam
        """The sets of some images, maybe empty; of one without finite logits there is none."""
        logits = found["logits"]
        sound = np.isfinite(logits).all(axis=1)
        members = np.zeros(logits.shape, bool)
        part = logits[sound]
        # The answer is always in its set: more is held by that, never less.
        members[sound] = (self.certificate.margins(part) >= self.margin) | (self.task.decided(part) != 0)
        return PredictionSets(members, np.zeros(len(logits), bool))


def label_set_maker(
    bundle: Bundle, coverage: float | None, *, score: str = USUAL_SCORE, per_class: bool = False
) -> LabelSetMaker | None:
    """What makes sets of labels of a coverage in (0, 1), before anything is decoded; None where none is asked for."""
    if per_class or score != USUAL_SCORE:
        raise InvalidValue(
            "score and per_class are for one class an image. Of several labels, the share that sets hold is promised "
            "on average over images: leave them out."
        )
    if coverage is None:
        return None
    share = float(exact_level(coverage))
    certificate = read_label_certificate(bundle, fewest_rows(coverage))
    try:
        margin = least_margin(certificate.misses, coverage)
    except InvalidValue as error:
        raise InvalidValue(
            f"{error} {bundle.path} keeps {certificate.vouching.kept}. Ask for less, or train with more "
            "(data.calibration_fraction)."
        ) from None
    vouching = certificate.vouching
    promise = {"coverage": share, "num_images": certificate.num_images, "num_groups": vouching.num_groups}
    words = (
        f"sets hold {exact_percent(share)} of the labels of an image, on average over {vouching.of_images} "
        f"({vouching.words})"
    )
    words += f".{unknown}" if (unknown := not_known(bundle.metrics, _LESS_OFTEN)) else ""
    task = bundle.task if isinstance(bundle.task, MultiLabel) else MULTI_LABEL
    return LabelSetMaker(promise, words, certificate, margin, task)
