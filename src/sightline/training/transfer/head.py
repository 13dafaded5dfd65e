"""A head for a frozen backbone: softmax regression on its features, fitted to the end in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import require
from sightline.metrics.calibration.temperature import fit_temperature
from sightline.metrics.classification import cross_entropy

# Strengths of the squared penalty that validation chooses among, from strong to weak.
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
# Taken where validation has too little to say; strong enough for a handful of images a class.
SAFE_PENALTY = 0.1
FEWEST_A_CLASS = 5
FEWEST_TO_CHOOSE = 20
MOST_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class Rows:
    """Features with their labels.

    Attributes:
        features: (num_rows, num_features) of any float type.
        labels: (num_rows,) int64.
        weights: (num_rows,) float32 what each counts, or None.
        num_views: how many of the rows are views of one and the same image.
    """

    features: NDArray[Any]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32] | None = None
    num_views: int = 1

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Head:
    """What turns features into logits: features @ kernel + bias.

    Attributes:
        kernel: (num_features, num_classes) float32.
        bias: (num_classes,) float32.
        penalty: the strength that was taken.
        judged: cross-entropy on validation rows at their best temperature; NaN if there were too few.
        is_safe: True where the strength was not chosen but taken for its safety.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float
    judged: float
    is_safe: bool

    def logits(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """(num_images, num_classes) float32 for (num_images, num_features)."""
        answer: NDArray[np.float32] = np.asarray(features, np.float32) @ self.kernel + self.bias
        return answer


def fit_head(train: Rows, validation: Rows | None, *, num_classes: int, penalties: Sequence[float] = PENALTIES) -> Head:
    """Softmax regression with the penalty that validation rows like best.

    Features are standardised by the train rows, and the scale is folded back into the kernel.
    With fewer than 5 train images in a class, or fewer than 20 validation rows, a strong penalty is
    taken without choosing: a choice by a handful of images would be luck.

    Args:
        train: what is learned from; every class needs a row.
        validation: what chooses, or None.
        num_classes: at least 2.
        penalties: strengths to choose among, strong before weak.

    Source:
        Softmax regression with a squared penalty, fitted by L-BFGS (Liu, Nocedal, 1989).
    """
    mean = train.features.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = train.features.astype(np.float32).std(axis=0) + 1e-3  # a feature that never changes stays 0
    # Views of an image are no further images: five of one say as little about the others as one does.
    fewest = int(np.bincount(train.labels, minlength=num_classes).min()) // train.num_views
    is_safe = validation is None or len(validation) < FEWEST_TO_CHOOSE or fewest < FEWEST_A_CLASS
    fitter = _Fitter((train.features.astype(np.float32) - mean) / deviation, train, num_classes)
    heads: list[Head] = []
    for penalty in (SAFE_PENALTY,) if is_safe else penalties:
        kernel, bias = fitter.fit(penalty)
        # (x - mean) / deviation @ kernel + bias as one product with x: the head needs no layer that standardises.
        folded = kernel / deviation[:, None]
        shift = bias - mean @ folded
        heads.append(Head(folded, shift, penalty, _judge(folded, shift, validation), is_safe))
        # The course over penalties has one valley: past it by two, the rest is not worth its time.
        if len(heads) > 2 and heads[-3].judged < min(heads[-2].judged, heads[-1].judged):
            break
    return min(heads, key=lambda head: head.judged)


def calibrated_cross_entropy(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Cross-entropy in nats at the temperature that suits these rows best, which fine-tuning has to lower."""
    if not len(labels):
        return float("nan")
    return cross_entropy(logits, labels, temperature=fit_temperature(logits, labels))


def _judge(kernel: NDArray[np.float32], bias: NDArray[np.float32], rows: Rows | None) -> float:
    if rows is None or not len(rows):
        return float("nan")
    return calibrated_cross_entropy(rows.features.astype(np.float32) @ kernel + bias, rows.labels)


class _Fitter:
    """The loss and its gradient, and the point that the last fit ended at: the next one starts there."""

    def __init__(self, scaled: NDArray[np.float32], train: Rows, num_classes: int) -> None:
        self.scaled, self.num_classes = scaled, num_classes
        weights = np.ones(len(train), np.float32) if train.weights is None else train.weights
        self.weights = (weights / weights.sum())[:, None]
        self.wanted = np.eye(num_classes, dtype=np.float32)[train.labels]
        # From strong to weak penalties each solution lies near the one before, so that a fit takes few iterations.
        self.point = np.zeros((scaled.shape[1] + 1) * num_classes)

    def fit(self, penalty: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        optimize = require("scipy.optimize", purpose="fitting a head", install="scipy")
        found = optimize.minimize(
            self._loss, self.point, args=(penalty,), jac=True, method="L-BFGS-B", options={"maxiter": MOST_ITERATIONS}
        )
        self.point = found.x
        whole = found.x.astype(np.float32).reshape(-1, self.num_classes)
        return whole[:-1], whole[-1]

    def _loss(self, point: NDArray[np.float64], penalty: float) -> tuple[float, NDArray[np.float64]]:
        whole = point.astype(np.float32).reshape(-1, self.num_classes)
        kernel, bias = whole[:-1], whole[-1]
        logits = self.scaled @ kernel + bias
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        sums = exponentials.sum(axis=1, keepdims=True)
        likelihood = (logits * self.wanted).sum(axis=1, keepdims=True) - np.log(sums)
        slope = (exponentials / sums - self.wanted) * self.weights
        # The bias bears no penalty: it only says how frequent the classes are.
        gradient = np.concatenate([self.scaled.T @ slope + penalty * kernel, slope.sum(axis=0)[None]])
        loss = float(-(likelihood * self.weights).sum() + penalty / 2 * (kernel**2).sum())
        return loss, gradient.astype(np.float64).ravel()
