"""Charts as PNG bytes: learning curves, of one run or of several, the confusion matrix, a learning-rate range test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.errors import require
from sightline.reporting.charts.canvas import png
from sightline.reporting.charts.confusion import draw_confusion
from sightline.reporting.charts.curves import draw_curves
from sightline.reporting.charts.learning_rates import draw_rates
from sightline.reporting.charts.overlay import Course, draw_overlay
from sightline.results import Evaluation


def check_drawable() -> None:
    """Refuse what ends in a chart where no chart can be drawn, before any work is done for it."""
    require("matplotlib", purpose="drawing a chart", install="sightline[tensorflow]")


def curves_png(history: Sequence[Mapping[str, float]], *, chosen_epoch: int) -> bytes:
    """Accuracy, loss and learning rate over the epochs, the chosen epoch marked.

    Thin lines are what was measured, thick ones are smoothed: an exponential
    moving average over a twelfth of the epochs that looks both ways, so that it
    does not lag behind (`series.smooth`). Fewer than eight epochs are drawn as
    they are. The accuracy axis begins where the curves
    have settled, and says so where earlier epochs lie below it. The loss axis is
    logarithmic where the largest is more than 30 times the smallest. Training
    is a mean over the epoch, while the weights still change; validation comes
    after it, which is why it may start out better.

    Args:
        history: one mapping an epoch, in order: `epoch` (1-based), `loss` and
            `accuracy`; `validation_loss`, `validation_accuracy` and
            `learning_rate` where they were recorded. Accuracies in [0, 1].
        chosen_epoch: the epoch whose weights were kept; one of the history's.

    Returns:
        A PNG; the same bytes for the same history.

    Raises:
        InvalidValue: no epoch, epochs that do not count up, a missing key, or
            a chosen epoch that is not among them.
        MissingPackage: matplotlib is not installed.

    Example:
        >>> first = {"epoch": 1, "loss": 0.3, "accuracy": 0.9}
        >>> curves_png([first], chosen_epoch=1)[1:4]
        b'PNG'
    """
    return png(draw_curves(history, chosen_epoch=chosen_epoch))


def overlay_png(courses: Sequence[Course]) -> bytes:
    """Accuracy and loss of several runs over their epochs, on the same axes.

    Thick lines are validation, smoothed from eight epochs on as in `curves_png`;
    thin ones are training; a dot is the chosen epoch. A run without validation
    rows has its training as the thick line.

    Args:
        courses: from 1 to 24 runs, each with letter, name, history and chosen epoch.

    Returns:
        A PNG; the same bytes for the same courses.

    Raises:
        InvalidValue: no run, more than 24, or a history that cannot be drawn.
        MissingPackage: matplotlib is not installed.

    Example:
        >>> first = {"epoch": 1, "loss": 0.3, "accuracy": 0.9}
        >>> overlay_png([Course("A", "runs/a", [first], 1), Course("B", "runs/b", [first], 1)])[1:4]
        b'PNG'
    """
    return png(draw_overlay(courses))


def confusion_png(evaluation: Evaluation) -> bytes:
    """Which class was taken for which: a row a given class, a column a predicted one.

    Errors and the diagonal have scales of their own, so that one error in a
    thousand is seen beside the 999. Both are shares of the row: of the images
    given that class. Up to 20 classes have their counts written in the cells,
    up to 200 are drawn without; of more, the 50 classes of the most confused
    pairs are shown, and the title says so. The row of a class without images is grey.

    Args:
        evaluation: `confusion` int64 (num_classes, num_classes) of counts.

    Returns:
        A PNG; the same bytes for the same evaluation on the same machine.

    Raises:
        InvalidValue: the matrix is not square, negative, or of another size
            than the class names.
        MissingPackage: matplotlib is not installed.

    Example:
        >>> right, nan = np.array([[9, 1], [0, 10]]), np.full(2, np.nan)
        >>> figures = Evaluation(("cat", "dog"), 20, 19, 0, 0.95, (0.764, 0.991), 0.95, 0.1, 0.02,
        ...     right, nan, nan, nan, 0.95, (("cat", "dog", 1),))
        >>> confusion_png(figures)[1:4]
        b'PNG'
    """
    return png(draw_confusion(evaluation), trim=True)


def rates_png(
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    *,
    suggestion: float,
    steepest: float,
) -> bytes:
    """Training loss against the learning rate of a range test, with the rate to begin with.

    The axis of the rate is logarithmic. The loss is cut above where it began: beyond the edge it
    only says that the rate was too large.

    Args:
        rates: float64 (num_steps,), positive and growing.
        losses: float64 (num_steps,), finite.
        smoothed: float64 (num_steps,), the same without its noise.
        suggestion: the rate to begin with.
        steepest: the rate at which the loss fell fastest.

    Returns:
        A PNG; the same bytes for the same figures.

    Raises:
        MissingPackage: matplotlib is not installed.

    Example:
        >>> rates, losses = np.array([0.001, 0.01, 0.1]), np.array([2.0, 1.0, 3.0])
        >>> rates_png(rates, losses, losses, suggestion=0.001, steepest=0.01)[1:4]
        b'PNG'
    """
    return png(draw_rates(rates, losses, smoothed, suggestion=suggestion, steepest=steepest))
