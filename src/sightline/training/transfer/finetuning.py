"""Training on a pretrained backbone: features once, a head in seconds, then fine-tuning if validation likes it."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.configuration.consistency import SECONDS_FOR_THE_REST
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue, TrainingFailed
from sightline.system.files import write_atomically
from sightline.system.progress import reporter
from sightline.training.augmentation.pipeline import build_augmentation
from sightline.training.loop.batches import LabelledImages, rows_for_fit
from sightline.training.loop.checkpoints import Checkpoints
from sightline.training.loop.fit import Fitted, fit, planned_epochs
from sightline.training.loop.network import freeze_statistics
from sightline.training.loop.recording import FitOutputs, record_epoch
from sightline.training.loop.time_budget import epochs_within
from sightline.training.setup.preparation import Prepared
from sightline.training.transfer.activations import FEATURES, MIDDLE, FeatureTables, StoredRows
from sightline.training.transfer.beginning import Beginning, begin, is_length_free
from sightline.training.transfer.halves import HALVES, compare_on_halves
from sightline.training.transfer.head import Head
from sightline.training.transfer.judging import calibrated_surprises
from sightline.training.transfer.stages import FEWEST_TO_SEE, Comparison, Stage, tell, why_hopeless

# What a time budget adds behind the upper part, as parts of the recipe; the rate is a share of the recipe's.
OF_ALL: dict[str, Any] = {
    "training.finetune_part": "all",
    "training.finetune_epochs": 12,
    "optimizer.learning_rate": 0.5,
    "optimizer.lowest_rate_share": 0.05,
    "optimizer.ema_momentum": 0.98,
}
# With less it would not learn, and only find that out.
LEAST_SECONDS = {"upper": SECONDS_FOR_THE_REST + 15.0, "all": 90.0}


def fit_transfer(network: keras.Model, data: Prepared, outputs: FitOutputs) -> Fitted:
    """Fit a network that has a pretrained backbone, in place, stage by stage.

    The head is fitted on features of the frozen backbone. Where these hardly vary, its batch statistics are taken in
    part from the train images, if that makes the head better. Then, if the recipe asks for it, the upper part or the
    whole learns too, with its batch statistics frozen; with a time budget the upper part first, then the whole in what
    is left. Each is kept only if answers to rows that it did not learn from are better, and where the length was left
    to Sightline, only if they are better beyond chance.

    Returns:
        The course: one row for the head, then one an epoch of fine-tuning; and what each stage brought and cost.

    Source:
        Features and a linear head: Donahue et al., DeCAF, arXiv 1310.1531; fine-tuning after the head:
        Kumar et al., arXiv 2202.10054; lower rates for lower layers: Howard, Ruder, arXiv 1801.06146.
    """
    started = time.perf_counter()
    begun = begin(network, data, deadline=outputs.deadline)
    row = _head_row(begun.head, begun.features, data, time.perf_counter() - started)
    record_epoch(outputs, row)
    reporter().say(_head_line(begun.head, row))
    course = _Course(network, begun, data, outputs, row)
    if data.recipe.training.finetune_epochs and not len(data.splits.validation):
        reporter().say("no fine-tuning: there are no validation rows to judge it by. The head alone stays.")
    elif data.recipe.training.finetune_epochs:
        for part in _parts(data, begun.features, outputs):
            course.add(part)
    return course.fitted(time.perf_counter() - started)


def _parts(data: Prepared, features: FeatureTables, outputs: FitOutputs) -> tuple[str, ...]:
    if not features.has_middle:
        return ("all",)
    return ("upper", "all") if outputs.deadline is not None and is_length_free(data) else ("upper",)


class _Course:
    """A training stage by stage: what is kept of it so far."""

    def __init__(
        self,
        network: keras.Model,
        begun: Beginning,
        data: Prepared,
        outputs: FitOutputs,
        row: dict[str, float],
    ) -> None:
        self.network, self.data, self.outputs = network, data, outputs
        self.features, self.head, self.rows = begun.features, begun.head, begun.rows
        self.history: tuple[dict[str, float], ...] = (row,)
        self.stages, self.num_fits = list(begun.stages), 0
        self.num_seen, self.trained_seconds = len(data.splits.train) * len(self.features.views), row["seconds"]
        self.chosen, self.stopped_early = 1, False
        self.planned: int | None = None
        self.labels = data.dataset.labels[data.splits.validation]
        # What validation rows say of the network as it is kept; the head's answers are those of the stored features.
        stored = np.asarray(self.features.whole[FEATURES][data.splits.validation])
        self.surprises = calibrated_surprises(self.head.logits(stored), self.labels)

    def add(self, part: str) -> None:
        """Let a part learn, if a gain could be seen, and keep it if there is one."""
        started, is_free = time.perf_counter(), is_length_free(self.data)
        why, asked = self._why_not(part) if is_free else ("", None)
        if why:
            seconds = time.perf_counter() - started
            left_out = Stage(part, is_kept=False, why=why, seconds=seconds)
            self._note(left_out if asked is None else asked.stage(part, is_kept=False, why=why, seconds=seconds))
            return
        # What is worth keeping of a failed fine-tuning is the head, and that is in the network.
        later = dataclasses.replace(
            self.outputs,
            before=self.history,
            named="fine-tuning epoch",
            rescue_path=None,
            checkpoints=self._checkpoints(),
        )
        kept = self.network.get_weights()
        tuned, answers = _finetune(self.network, self.features, _as_stage(self.data, part), later)
        found = (
            Comparison(self.surprises, calibrated_surprises(answers, self.labels), "validation")
            if len(answers)
            else None
        )
        is_kept = found is not None and _is_kept(found, is_free=is_free, is_promising=asked is not None)
        if found is None or not is_kept:
            self.network.set_weights(kept)
        self._count(part, tuned, is_kept=is_kept)
        seconds = time.perf_counter() - started
        if found is None:
            self._note(Stage(part, is_kept=False, why="it did not learn", seconds=seconds))
            return
        better = "better beyond chance" if is_free else "better"
        why = (better if asked is None else f"{better} on {HALVES}") if is_kept else f"not {better}"
        self._note(found.stage(part, is_kept=is_kept, why=why, seconds=seconds))
        if is_kept:
            self.surprises = found.after

    def _why_not(self, part: str) -> tuple[str, Comparison | None]:
        """Why a part is not worth its time, "" if it may be; and what halves of the train images said, if asked."""
        why = why_hopeless(self.surprises, None if self.head.is_safe else self.head.num_wrong)
        deadline = self.outputs.deadline
        if why:
            return why, None
        if deadline is not None and deadline - time.perf_counter() < LEAST_SECONDS[part]:
            return f"less than {LEAST_SECONDS[part]:.0f} s are left", None
        if len(self.labels) >= FEWEST_TO_SEE:
            return "", None
        if not self.features.has_middle or part == "all":
            # Asked of halves, it would cost as much as it does.
            return f"{len(self.labels)} validation images are too few to tell a gain from chance", None
        asked = compare_on_halves(self.network, self.features, self.data, self.rows)
        return ("" if asked.is_better else f"not better beyond chance on {HALVES}"), asked

    def _checkpoints(self) -> Checkpoints | None:
        """Those of the run for the first fit, and a folder of their own for each that follows."""
        usual = self.outputs.checkpoints
        self.num_fits += 1
        if usual is None or self.num_fits == 1:
            return usual
        interval = usual.interval if usual.is_asked else None
        return Checkpoints(usual.folder / f"stage-{self.num_fits}", interval, keeps_end=usual.keeps_end)

    def _count(self, part: str, tuned: Fitted, *, is_kept: bool) -> None:
        if is_kept:
            self.chosen = len(self.history) + tuned.chosen_epoch
        self.history += tuned.history
        self.stopped_early = self.stopped_early or tuned.stopped_early
        self.planned = tuned.planned_epochs if self.planned is None else self.planned
        # Only what is stored shows all views in an epoch.
        is_stored = part == "upper" and self.features.has_middle
        num_tuned = len(self.rows if is_stored else self.data.splits.train) * len(tuned.history)
        self.num_seen += num_tuned
        self.trained_seconds += num_tuned / tuned.images_per_second if num_tuned else 0.0

    def _note(self, stage: Stage) -> None:
        self.stages.append(stage)
        tell(stage)

    def fitted(self, seconds: float) -> Fitted:
        """What the whole gave."""
        return Fitted(
            self.history,
            self.chosen,
            stopped_early=self.stopped_early,
            seconds=seconds,
            images_per_second=self.num_seen / max(self.trained_seconds, 1e-9),
            planned_epochs=self.planned,
            stages=tuple(stage.to_dict() for stage in self.stages),
        )


def _is_kept(found: Comparison, *, is_free: bool, is_promising: bool) -> bool:
    if is_promising:
        # Halves have spoken for it, and validation is too small to say more than that it has gone wrong.
        return not found.is_worse
    return found.is_better if is_free else found.is_lower


def _as_stage(data: Prepared, part: str) -> Prepared:
    """The data with the recipe of a stage that a time budget added: the whole network, gently."""
    if part == data.recipe.training.finetune_part or not is_length_free(data):
        return data
    changed = {key: value for key, value in OF_ALL.items() if key != "optimizer.learning_rate"}
    changed["optimizer.learning_rate"] = data.recipe.optimizer.learning_rate * OF_ALL["optimizer.learning_rate"]
    return dataclasses.replace(data, recipe=data.recipe.changed(changed))


def _finetune(
    network: keras.Model, features: FeatureTables, data: Prepared, outputs: FitOutputs
) -> tuple[Fitted, NDArray[np.float32]]:
    """Let the upper part or the whole learn, in place.

    Returns:
        How it went, and its answers to the validation rows; none where it could not learn.
    """
    freeze_statistics(network)
    recipe = data.recipe
    learner, train, augmentation = _learner(network, features, data)
    validation = _validation(features, data)
    try:
        if outputs.deadline is not None:
            recipe = _within(outputs, learner, train, data, augmentation)
        fitted = fit(learner, train, validation=validation, recipe=recipe, augmentation=augmentation, outputs=outputs)
    except (TrainingFailed, InvalidValue) as error:
        reporter().say(f"no fine-tuning, the head alone stays: {error}")
        if outputs.history_path is not None:
            write_atomically(outputs.history_path, "".join(json.dumps(row) + "\n" for row in outputs.before))
        return Fitted((), 0, stopped_early=True, seconds=0.0, images_per_second=0.0), np.zeros((0, 0), np.float32)
    answers = np.asarray(learner.predict(validation.images[:], batch_size=64, verbose=0), np.float32)
    return fitted, answers


def _within(
    outputs: FitOutputs, learner: keras.Model, train: LabelledImages, data: Prepared, augmentation: keras.Model | None
) -> Recipe:
    """The recipe with as many epochs of fine-tuning as end in time, and where it is left to Sightline, no more."""
    num_judged = len(data.dataset) - len(data.splits.train)
    epochs = planned_epochs(outputs) or epochs_within(
        outputs.deadline or 0.0, learner, train, num_judged=num_judged, recipe=data.recipe, augmentation=augmentation
    )
    if is_length_free(data):
        epochs = min(epochs, int(data.recipe.training.finetune_epochs))
    return data.recipe.changed({"training.finetune_epochs": epochs})


def _learner(
    network: keras.Model, features: FeatureTables, data: Prepared
) -> tuple[keras.Model, LabelledImages, keras.Model | None]:
    """What is fine-tuned, on what, and the augmentation before it: the upper part on stored activations, or all."""
    train = rows_for_fit(data, features.train)
    if not _is_stored(features, data):
        augmentation = build_augmentation(data.recipe.augmentation, data.spec, seed=data.recipe.seed)
        return network, train, augmentation
    upper = keras.Model(network.get_layer(features.cut).output, network.output, name="upper")
    times = len(features.views)
    repeated = None if train.weights is None else np.tile(train.weights, times)
    return (
        upper,
        LabelledImages(features.of_train(MIDDLE), np.concatenate([train.labels] * times), repeated, task=train.task),
        None,
    )


def _is_stored(features: FeatureTables, data: Prepared) -> bool:
    return features.has_middle and data.recipe.training.finetune_part == "upper"


def _validation(features: FeatureTables, data: Prepared) -> LabelledImages:
    rows = data.splits.validation
    if not _is_stored(features, data):
        return rows_for_fit(data, rows)
    stored = StoredRows([(features.whole[MIDDLE], rows)])
    return LabelledImages(stored, data.dataset.labels[rows], task=data.dataset.task)


def _head_row(head: Head, features: FeatureTables, data: Prepared, seconds: float) -> dict[str, float]:
    """The head as the first row of the history."""
    row: dict[str, float] = {"epoch": 1, **_figures("", head, features, data, data.splits.train)}
    if len(data.splits.validation):
        row |= _figures("validation_", head, features, data, data.splits.validation)
    # A head is fitted to the end, not by steps: there is no rate.
    return row | {"learning_rate": 0.0, "seconds": seconds}


def _figures(
    prefix: str, head: Head, features: FeatureTables, data: Prepared, rows: NDArray[np.int64]
) -> dict[str, float]:
    logits, labels = head.logits(np.asarray(features.whole[FEATURES][rows])), data.dataset.labels[rows]
    task = data.dataset.task
    # Of several labels each counts, as Keras counts them in the epochs that follow.
    accuracy = float((task.decided(logits) == labels).mean())
    return {f"{prefix}loss": float(task.surprises(logits, labels).mean()), f"{prefix}accuracy": accuracy}


def _head_line(head: Head, row: dict[str, float]) -> str:
    judged = f", validation accuracy {row['validation_accuracy']:.4f}" if "validation_accuracy" in row else ""
    return f"head fitted on features of the frozen backbone in {row['seconds']:.0f} s ({head.how}){judged}"
