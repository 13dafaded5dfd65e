"""`find_learning_rate`: try every rate once, draw what the loss did, and suggest one to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.consistency import is_pretrained
from sightline.configuration.schema import Recipe
from sightline.data.sources.downloads import load_keras_for
from sightline.errors import InvalidValue, TrainingFailed
from sightline.metrics.history import smooth
from sightline.reporting.charts.learning_rates import rates_png
from sightline.system.backends import check_packages, choose_backend, load_keras, usual_keras
from sightline.system.files import write_atomically
from sightline.system.paths import check_output, places_of
from sightline.system.progress import Mode, reporter, reporting
from sightline.training.setup.preparation import Prepared, prepare
from sightline.training.setup.resolution import opened_and_chosen, settle

FEWEST_STEPS, MOST_STEPS = 50, 5000
# The smoothed loss is an average over about this many steps for each 200 that were taken.
SMOOTHED_SHARE = 1 / 20
CAPPED_AT_RATIO = 1.2
# Noise alone moves the smoothed loss by less than this share.
LEAST_FALL = 0.03


@dataclass(frozen=True, eq=False)
class LearningRates:
    """What a range test saw; a notebook shows the picture.

    Attributes:
        rates: float64 (num_steps,), growing geometrically.
        losses: float64 (num_steps,), of the step's own batch.
        suggestion: a tenth of the rate with the lowest smoothed loss: the rate to begin with.
        steepest: the rate at which the smoothed loss fell fastest, a second opinion.
        lowest: the rate with the lowest smoothed loss; training at it would be on the edge.
        png: the picture.
        path: its file, or None.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float
    steepest: float
    lowest: float
    png: bytes
    path: Path | None

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return (
            f"suggestion optimizer.learning_rate={self.suggestion:.2g}, a tenth of {self.lowest:.2g}, where the loss "
            f"was lowest; it fell fastest at {self.steepest:.2g} ({len(self.rates)} steps)"
        )


def find_learning_rate(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    source: Any,
    *,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    steps: int = 200,
    backend: str | None = None,
    mode: Mode | None = None,
    overwrite: bool = False,
) -> LearningRates:
    """Let the recipe's network learn for a few hundred steps at a rate that grows from 1e-6 to 10.

    The rate at which the loss is lowest is the edge of what the network bears; a tenth of it is a
    good rate to begin with, and a schedule with warm-up often bears more. Only train rows are used,
    nothing is kept but the picture, and the network is thrown away.

    Args:
        source: whatever `sightline.load` takes.
        recipe: whose network, optimizer, loss, batch size and augmentation are tried; as for `train`.
        out: a PNG to write.
        steps: of the optimizer, 50 to 5000; small sources are passed several times.
        backend: as for `train`.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.
        overwrite: whether a file at `out` that Sightline did not write may be replaced.

    Returns:
        Rates, losses, suggestion and picture.

    Raises:
        UnknownName, InvalidSource: the source, recipe or backend cannot be used.
        InvalidValue: `steps` is out of range, the recipe starts from pretrained weights, or `out` lies in the source
            or a bundle.
        OutputExists: `out` is a file that Sightline did not write.
        MissingPackage: no Keras backend is installed.
        TrainingFailed: the loss fell at no rate.
        CannotWrite: `out` cannot be written.

    Source:
        Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186; a tenth of the
        minimum and the steepest descent as in fastai's `lr_find`.

    Example:
        >>> import sightline
        >>> sightline.find_learning_rate("mnist", recipe=sightline.recipe("fast", {"model.name": "mlp"}), steps=50)
        suggestion optimizer.learning_rate=0..., a tenth of 0..., where the loss was lowest; ... (... steps)
    """
    if not (type(steps) is int and FEWEST_STEPS <= steps <= MOST_STEPS):
        raise InvalidValue(f"steps must be a whole number from {FEWEST_STEPS} to {MOST_STEPS}; got {steps!r}.")
    path = Path(out) if out is not None else None
    check_output("out", path, keep=places_of(source), overwrite=overwrite)
    with reporting(mode):
        source, asked = (source, recipe) if isinstance(recipe, Recipe) else opened_and_chosen(source, recipe)
    if is_pretrained(asked):
        raise InvalidValue(
            f"a range test is for networks that learn from scratch. The recipe '{asked.name}' fits the head of "
            f"{asked.model.name} without any rate, and fine-tuning begins where the loss is already low. "
            "Name another recipe (--recipe photos), or set model.weights=random."
        )
    backend = choose_backend(backend)
    check_packages(backend)
    with reporting(mode):
        load_keras_for(source, backend)
        data = prepare(source, settle(asked, backend=backend))
        load_keras(backend)
        with usual_keras():
            rates, losses = _try_rates(data, steps)
    lowest, steepest = suggest(rates, losses)
    png = rates_png(rates, losses, smoothed_losses(losses), suggestion=lowest / 10, steepest=steepest)
    if path is not None:
        write_atomically(path, png)
    return LearningRates(rates, losses, lowest / 10, steepest, lowest, png, path)


def suggest(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> tuple[float, float]:
    """Where the loss was lowest, and where it fell fastest on the way there."""
    smoothed = smoothed_losses(losses)
    lowest = int(smoothed.argmin()) if len(losses) else 0
    if not (len(losses) and smoothed[lowest] < (1 - LEAST_FALL) * smoothed[: lowest + 1].max()):
        reached = f"{rates[-1]:.2g}" if len(rates) else "the first"
        raise TrainingFailed(
            f"the loss fell at no learning rate up to {reached}, so there is none to suggest. Try more steps "
            "(--steps 1000), another optimizer, or model.pixel_scaling=unit; `sightline audit` looks at the labels."
        )
    slope = np.gradient(smoothed, np.log10(rates))
    return float(rates[lowest]), float(rates[int(slope[: lowest + 1].argmin())])


def smoothed_losses(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The course of the losses without their noise, by an average that does not lag.

    A loss far above where it began counts as a fifth above: how far it ran away is chance, and would be smeared over
    the steps before the edge.
    """
    capped = np.minimum(losses, CAPPED_AT_RATIO * _mean_at_start(losses))
    return smooth(capped, max(3.0, len(losses) * SMOOTHED_SHARE))


def _mean_at_start(losses: NDArray[np.float64]) -> float:
    return float(losses[: max(len(losses) // 10, 1)].mean()) if len(losses) else float("nan")


def _try_rates(data: Prepared, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import keras

    from sightline.training.augmentation.pipeline import build_augmentation
    from sightline.training.loop.batches import rows_for_fit
    from sightline.training.loop.network import dtype_policy, new_network
    from sightline.training.search.rate_sweep import range_test

    recipe, rows = data.recipe, data.splits.train
    reporter().say(
        f"{data.dataset.name}: {steps} steps of {recipe.training.batch_size} of {len(rows):,} train images; "
        f"{recipe.model.name}, recipe {recipe.name}, {keras.config.backend()}"
    )
    network = new_network(data)
    with dtype_policy(recipe.training.precision):
        augmentation = build_augmentation(recipe.augmentation, data.spec, seed=recipe.seed)
        return range_test(network, rows_for_fit(data, rows), recipe, augmentation=augmentation, num_steps=steps)
