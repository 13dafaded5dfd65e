"""`SightlineClassifier`: a training and its bundle as scikit-learn's tools know classifiers."""

from __future__ import annotations

import csv
import threading
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from sightline.bundles.prediction import predict
from sightline.configuration.recipes import (
    flatten,
    parse_recipe,
    read_assignments,
    recipe as named_recipe,
    refuse_unknown,
)
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue
from sightline.integrations.scikit_learn.given import (
    as_bytes,
    check_files,
    checked_range,
    checked_shape,
    class_names_of,
    dataset_of,
    laid_out,
    paths_or_pixels,
    read_groups,
    read_labels,
    warn_if_flat,
)
from sightline.integrations.scikit_learn.kept import KeptRun, new_place, remove_place
from sightline.integrations.scikit_learn.numbers import fit_numbers
from sightline.metrics.classification import softmax
from sightline.records import Bundle, Dataset, Evaluation, Run
from sightline.system.backends import without_retracing_notes
from sightline.system.paths import places_of
from sightline.system.text import printable
from sightline.training.setup.resolution import default_recipe
from sightline.training.train import train

# scikit-learn judges from outside, on rows that `fit` is not given.
_USUAL = {"data.test_fraction": 0.0}
_LARGEST_SEED = 2**31 - 1
# joblib may fit folds in threads; what Keras and its exports set while a training runs belongs to the process.
_TRAINING = threading.Lock()


class SightlineClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    """An image classifier for scikit-learn: `fit` is a training as `sightline.train` does it, `predict` its bundle.

    It learns from whatever images come as: a list or an array of paths; an array (num_images, height, width) or
    (num_images, height, width, 1 or 3); or, with `image_shape`, a matrix with the pixels of an image in each row.
    A matrix without `image_shape` is taken for what it is, numbers without an order, such as features of another
    network: what learns is then the head alone that a transfer puts on its features, a linear one, in a blink and
    without Keras; `run_` is None.

    A training keeps some rows for choosing the epoch and for calibration (data.validation_fraction,
    data.calibration_fraction), and none for a test of its own, as scikit-learn judges from outside. With
    data.test_fraction above 0 `evaluation_` holds the figures of those.

    The keys of a recipe are parameters, too: `set_params(**{"training.epochs": 3})`, and so in the grid of a search.
    There is no `sample_weight`: a weight of 2 does not do here what the same row twice does.

    Args:
        recipe: as `sightline.train` takes it.
        settings: keys of the recipe to values, {"training.epochs": 3}, or texts, ["training.epochs=3"].
        image_shape: (height, width) or (height, width, 1 or 3) of the images that lie flat in the rows of a matrix.
        pixel_range: the numbers of black and of white, (0, 1), where images in arrays are not uint8 from 0 to 255.
        out: folder below which each fit leaves a run, `run-001`, counted up. Left out, the run lies in a temporary
            folder that goes with the estimator.
        backend: as `sightline.train` takes it.
        random_state: a number or a RandomState that the seed comes from; None: the seed of the recipe, always the same.
        verbose: tell of the training what `sightline.train` tells.

    Attributes:
        classes_: (num_classes,) the labels that there are, in order.
        n_features_in_: columns of the matrix, where one was given.
        run_: the Run, None where a matrix of numbers was learned. A pickle of the estimator takes its files along.
        evaluation_: of the run, its figures on the rows kept for a test; None where none were.
        head_: what learned from a matrix of numbers, whose `how` tells by what; else None.

    Raises:
        InvalidValue: X, y or a parameter cannot be used; it is a ValueError.

    Example:
        >>> import numpy as np, sightline
        >>> from sklearn.model_selection import cross_val_predict
        >>> digits = sightline.load("mnist").take(np.arange(400))
        >>> X, y = digits.images, np.array(["even", "odd"])[digits.labels % 2]
        >>> settings = {"model.name": "mlp", "optimizer.name": "adamw", "training.epochs": 3}
        >>> classifier = sightline.SightlineClassifier("fast", settings=settings).fit(X, y)
        >>> classifier.predict(X[:2]).shape, classifier.predict_proba(X[:2]).shape, classifier.classes_.tolist()
        ((2,), (2, 2), ['even', 'odd'])
        >>> classifier.run_.recipe["training"]["epochs"]
        3
    """

    def __init__(  # noqa: PLR0913  # scikit-learn wants each of them here
        self,
        recipe: str | Path | Recipe | None = None,
        *,
        settings: Mapping[str, Any] | Iterable[str] | None = None,
        image_shape: tuple[int, ...] | None = None,
        pixel_range: tuple[float, float] | None = None,
        out: str | Path | None = None,
        backend: str | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.settings = settings
        self.image_shape = image_shape
        self.pixel_range = pixel_range
        self.out = out
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002  # as scikit-learn calls it
        """The parameters; those of the recipe that were set among them, by their keys, where it is `deep`."""
        params: dict[str, Any] = super().get_params(deep=deep)
        return {**params, **dict(flatten(self.settings))} if deep and isinstance(self.settings, Mapping) else params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; what has a dot in its name is a key of the recipe, and goes to `settings`.

        Raises:
            UnknownName: no parameter or key is called that; it is a ValueError.
        """
        own = set(self._get_param_names())
        keys = {name: value for name, value in params.items() if name not in own and ("." in name or name == "seed")}
        refuse_unknown(keys)
        super().set_params(**{name: value for name, value in params.items() if name not in keys})
        if keys:
            self.settings = {**self._settings(), **keys}
        return self

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Learn from images, or from a matrix of numbers.

        Args:
            X: a row an image; see the class.
            y: (num_rows,) labels of any type that scikit-learn takes for classes.
            groups: (num_rows,) names of what hangs together, as pictures of one thing: no group is parted between the
                rows that are learned from and those that choose and calibrate.

        Returns:
            The estimator.

        Raises:
            InvalidValue: X, y or a parameter cannot be used; or as `sightline.train` raises.
        """
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of a fit before, on what had columns
        given = self._read(X, is_fit=True)
        classes, labels = read_labels(y)
        check_consistent_length(given, labels)
        names = read_groups(groups, num_rows=len(labels))
        if _is_table(given):
            warn_if_flat(given)
            head, kept = fit_numbers(given, labels, names, num_classes=len(classes)), None
        else:
            head, kept = None, self._trained(dataset_of(given, labels, class_names_of(classes), names))
        self.classes_, self.head_, self._kept = classes, head, kept
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row, (num_rows,)."""
        labels = self._logits(X).argmax(axis=1)
        answer: NDArray[Any] = self.classes_[labels]
        return answer

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(num_rows, num_classes) float64, calibrated as those of the bundle are; columns as `classes_`."""
        return softmax(self._logits(X))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Log-odds of the second class, (num_rows,), where there are two; else (num_rows, num_classes) logits."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    @property
    def run_(self) -> Run | None:
        """The run of the last fit; None where a matrix of numbers was learned."""
        check_is_fitted(self)
        return None if self._kept is None else self._kept.run

    @property
    def evaluation_(self) -> Evaluation | None:
        """The figures of the run on rows that it kept for a test."""
        return None if self.run_ is None else self.run_.evaluation

    def _read(self, X: Any, *, is_fit: bool) -> list[str] | NDArray[Any]:
        """Paths; images, (num_images, height, width, 1 or 3) uint8; or a table, (num_rows, num_features) float64."""
        shape, pixel_range = checked_shape(self.image_shape), checked_range(self.pixel_range)
        given = paths_or_pixels(X)
        if isinstance(given, list):
            return given
        if given is None:
            # This also notes the number of columns and their names, or holds them against those of the fit.
            rows: NDArray[Any] = validate_data(
                self, X, reset=is_fit, dtype=np.float64 if shape is None else "numeric", ensure_min_samples=1
            )
            if shape is None:
                return rows
            given = laid_out(rows, shape)
        return as_bytes(given, pixel_range)

    def _settings(self) -> dict[str, Any]:
        if self.settings is None:
            return {}
        if isinstance(self.settings, Mapping):
            return dict(flatten(self.settings))
        if isinstance(self.settings, str) or not isinstance(self.settings, Iterable):
            raise InvalidValue(f"settings are a mapping or a list of key=value texts; got {self.settings!r}.")
        return read_assignments(self.settings)

    def _recipe_for(self, dataset: Dataset) -> Recipe:
        settings = {**_USUAL, **self._settings()}
        if self.random_state is not None:
            is_number = isinstance(self.random_state, int | np.integer) and 0 <= self.random_state <= _LARGEST_SEED
            drawn = None if is_number else check_random_state(self.random_state).randint(_LARGEST_SEED)
            settings["seed"] = int(self.random_state if drawn is None else drawn)
        if isinstance(self.recipe, Recipe):
            return parse_recipe(settings, start=self.recipe)
        return named_recipe(default_recipe(dataset) if self.recipe is None else self.recipe, settings)

    def _trained(self, dataset: Dataset) -> KeptRun:
        recipe = self._recipe_for(dataset)
        place, is_temporary = new_place(self.out, keep=places_of(dataset))
        try:
            with _TRAINING, without_retracing_notes():
                run = train(
                    dataset, recipe=recipe, out=place, backend=self.backend, mode=None if self.verbose else "quiet"
                )
        except BaseException:
            remove_place(place, is_temporary=is_temporary)
            raise
        _warn_of_left_out(run, num_rows=len(dataset))
        return KeptRun(run, is_temporary=is_temporary)

    def _logits(self, X: Any) -> NDArray[np.float64]:
        """(num_rows, num_classes) at the temperature of what learned."""
        check_is_fitted(self)
        given = self._read(X, is_fit=False)
        if _is_table(given):
            if self.head_ is None:
                raise InvalidValue(
                    "X is a matrix of numbers, and this estimator learned from images. Give paths or an array of "
                    "images; or lay flat images out: set_params(image_shape=(height, width))."
                )
            return self.head_.logits(given)
        if self.run_ is None:
            raise InvalidValue(
                f"X holds images, and this estimator learned from a matrix of {self.n_features_in_:,} numbers a row. "
                "Give such a matrix."
            )
        return _answers(self.run_.bundle, given)


def _is_table(given: list[str] | NDArray[Any]) -> TypeGuard[NDArray[np.float64]]:
    return not isinstance(given, list) and given.ndim == 2


def _answers(bundle: Bundle, given: list[str] | NDArray[np.uint8]) -> NDArray[np.float64]:
    """(num_images, num_classes) calibrated logits; scikit-learn knows no row without an answer."""
    if isinstance(given, list):
        check_files(given)
    answers = predict(bundle, list(given), progress=False)
    errors = [error for error in answers.errors if error is not None]
    if errors:
        raise InvalidValue(
            f"{len(errors):,} of {len(answers):,} images cannot be read; the first is {printable(errors[0])} "
            "Leave them out; `sightline audit` lists such files."
        )
    return answers.logits.astype(np.float64) / answers.temperature


def _warn_of_left_out(run: Run, *, num_rows: int) -> None:
    """Say which rows the training left out, which are a line each in `excluded.csv`."""
    with (run.path / "excluded.csv").open(encoding="utf-8", newline="") as stream:
        left_out = [(line["file"], line["reason"]) for line in csv.DictReader(stream)]
    if left_out:
        file, reason = left_out[0]
        warnings.warn(
            f"{len(left_out):,} of {num_rows:,} images were not learned from; the first is {printable(file)}: {reason}",
            stacklevel=4,
        )
