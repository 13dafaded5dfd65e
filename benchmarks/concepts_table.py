"""What `concepts.py` trains: every experiment with its entries, as a table of recipe keys. Imports no Keras.

The first entry of an experiment is what the others are compared with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sightline.configuration.recipes import keys

BASE: dict[str, Any] = {
    "model.name": "lenet5",
    "optimizer.name": "adam",
    "optimizer.learning_rate": 0.002,
    "training.batch_size": 64,
}
ONE_HOT = {"loss.name": "categorical_crossentropy"}
SGD = {"optimizer.name": "sgd", "optimizer.learning_rate": 0.03}
# 784-75-30-10: about as many parameters as LeNet-5 has.
SMALL_MLP = (75, 30)
DENSE_WIDTH = 64
MEMBERS = 3


@dataclasses.dataclass(frozen=True)
class Entry:
    """One way to train, in recipe keys on top of BASE.

    Attributes:
        label: as tables and pictures say it.
        settings: recipe keys to values.
        choose: a key and the values of which the best on validation rows is taken.
        dense: units of the hidden layers of a network that is built here, or empty.
        at: series and position in a picture over numbers.
        longer: how many times the epochs of the others it learns for.
    """

    label: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    choose: tuple[str, tuple[float, ...]] | None = None
    dense: tuple[int, ...] = ()
    at: tuple[str, float] | None = None
    longer: float = 1

    def is_known(self) -> bool:
        """Whether this version of Sightline has every key."""
        return not set(self.settings) - set(keys())


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Entries that are compared with each other.

    Attributes:
        entries: the first is the reference.
        picture: "curves", "overfitting", "dots" or "lines".
        figures: what the table shows besides accuracy.
        is_small: learns from few images, for more epochs.
        axis: what a picture over numbers has below it.
    """

    entries: tuple[Entry, ...]
    picture: str = "dots"
    figures: tuple[str, ...] = ()
    is_small: bool = False
    axis: str = ""


def _optimizer(label: str, rates: tuple[float, ...], **settings: Any) -> Entry:
    return Entry(
        label,
        {f"optimizer.{key}": value for key, value in settings.items()},
        choose=("optimizer.learning_rate", rates),
    )


def _batches() -> tuple[Entry, ...]:
    others = (8, 16, 32, 128, 256)
    scaled = {size: {"training.batch_size": size, "optimizer.learning_rate": 0.03 * size / 64} for size in others}
    return (
        Entry("64", SGD, at=("same rate", 64)),
        *(Entry(f"{size}", {**SGD, "training.batch_size": size}, at=("same rate", size)) for size in others),
        *(Entry(f"{size}, rate scaled", {**SGD, **scaled[size]}, at=("rate scaled", size)) for size in others),
    )


def _depths() -> tuple[Entry, ...]:
    return tuple(
        Entry(
            f"{activation}, {depth}", {"model.activation": activation}, dense=(DENSE_WIDTH,) * depth, at=(name, depth)
        )
        for activation, name in (("relu", "ReLU"), ("sigmoid", "sigmoid"))
        for depth in (1, 2, 4, 8)
    )


def _together(kind: str, **settings: Any) -> dict[str, Any]:
    return {"ensemble.kind": kind, "ensemble.members": MEMBERS, **settings}


FAST_RATES = (0.001, 0.003, 0.01)
EXPERIMENTS: dict[str, Experiment] = {
    "activations": Experiment(
        tuple(Entry(name, {"model.activation": name}) for name in ("relu", "sigmoid", "tanh", "gelu", "silu")),
        picture="curves",
    ),
    "optimizers": Experiment(
        (
            _optimizer("SGD", (0.03, 0.1, 0.3), name="sgd", momentum=0.0),
            _optimizer("SGD with momentum", (0.01, 0.03, 0.1), name="sgd", momentum=0.9),
            _optimizer("Nesterov", (0.01, 0.03, 0.1), name="sgd", momentum=0.9, nesterov=True),
            _optimizer("AdaGrad", (0.01, 0.03, 0.1), name="adagrad"),
            _optimizer("RMSprop", FAST_RATES, name="rmsprop", momentum=0.0),
            _optimizer("Adam", FAST_RATES, name="adam"),
            _optimizer("AdamW", FAST_RATES, name="adamw", weight_decay=0.05),
            _optimizer("Lion", (0.0001, 0.0003, 0.001), name="lion"),
        ),
        picture="curves",
        figures=("rate",),
    ),
    "schedules": Experiment(
        tuple(
            Entry(label, {"optimizer.learning_rate": 0.005, **settings})
            for label, settings in (
                ("constant", {}),
                ("step", {"schedule.name": "step"}),
                ("exponential", {"schedule.name": "exponential"}),
                ("cosine with warm-up", {"schedule.name": "cosine", "schedule.warmup_fraction": 0.1}),
                ("one-cycle", {"schedule.name": "one-cycle"}),
            )
        ),
        picture="curves",
    ),
    "losses": Experiment(
        (
            Entry("cross-entropy", ONE_HOT),
            Entry("label smoothing 0.1", {**ONE_HOT, "loss.label_smoothing": 0.1}),
            Entry("focal, gamma 2", {"loss.name": "categorical_focal_crossentropy"}),
        ),
        figures=("calibration_error", "calibrated_error"),
    ),
    "regularisation": Experiment(
        (
            Entry("none"),
            Entry("L1", choose=("loss.l1", (1e-5, 1e-4, 1e-3))),
            Entry("L2", choose=("loss.l2", (1e-4, 1e-3, 1e-2))),
            Entry(
                "decoupled weight decay",
                {"optimizer.name": "adamw"},
                choose=("optimizer.weight_decay", (0.03, 0.1, 0.3)),
            ),
            Entry("dropout", choose=("model.dropout", (0.2, 0.5, 0.7))),
            Entry("early stopping", {"training.early_stopping_patience": 5}),
        ),
        picture="overfitting",
        figures=("strength", "cross_entropy", "epochs"),
        is_small=True,
    ),
    "augmentation": Experiment(
        tuple(
            Entry(label, {**ONE_HOT, **{f"augmentation.{key}": value for key, value in parts.items()}})
            for label, parts in (
                ("none", {}),
                ("rotation 10 degrees", {"rotation_degrees": 10}),
                ("translation 0.1", {"translation_fraction": 0.1}),
                ("zoom 0.15", {"zoom_fraction": 0.15}),
                ("shear 10 degrees", {"shear_degrees": 10}),
                ("crop 0.2", {"crop_fraction": 0.2}),
                ("erasing 0.2", {"erasing_fraction": 0.2}),
                ("blur 0.7 pixels", {"blur_sigma": 0.7}),
                ("RandAugment 0.3", {"randaugment_magnitude": 0.3}),
                ("mixup 0.2", {"mixup_alpha": 0.2}),
                ("CutMix 1", {"cutmix_alpha": 1.0}),
                ("flip left to right", {"flip": "horizontal"}),
                ("flip both ways", {"flip": "both"}),
                ("policy digits", {"policy": "digits"}),
            )
        ),
        is_small=True,
    ),
    "batch-size": Experiment(_batches(), picture="lines", figures=("rate", "steps"), axis="images in a batch"),
    "depth": Experiment(_depths(), picture="lines", figures=("parameters",), axis="hidden layers"),
    "networks": Experiment(
        (
            Entry("lenet5"),
            Entry("lenet5-conv", {"model.name": "lenet5-conv"}),
            Entry("mlp of that size", dense=SMALL_MLP),
            Entry("mlp", {"model.name": "mlp"}),
            Entry("convnet", {"model.name": "convnet"}),
        ),
        figures=("parameters",),
    ),
    "averaging": Experiment(
        tuple(
            Entry(label, {"optimizer.learning_rate": 0.005, **settings})
            for label, settings in (
                ("off", {}),
                ("EMA 0.9", {"optimizer.ema_momentum": 0.9}),
                ("EMA 0.99", {"optimizer.ema_momentum": 0.99}),
            )
        ),
        figures=("cross_entropy",),
    ),
    "clipping": Experiment(
        (
            Entry("rate 0.3", {**SGD, "optimizer.learning_rate": 0.3}),
            Entry("rate 0.3, clipped at 1", {**SGD, "optimizer.learning_rate": 0.3, "optimizer.clip_norm": 1.0}),
            Entry("rate 0.03", SGD),
            Entry("rate 0.03, clipped at 1", {**SGD, "optimizer.clip_norm": 1.0}),
        ),
        figures=("failed",),
    ),
    "accumulation": Experiment(
        (
            Entry("batches of 64", SGD),
            Entry("4 batches of 16", {**SGD, "training.batch_size": 16, "optimizer.accumulation_steps": 4}),
            Entry("batches of 16", {**SGD, "training.batch_size": 16}),
        ),
        picture="curves",
        figures=("cross_entropy", "steps"),
    ),
    "ensembles": Experiment(
        (
            Entry("one network"),
            Entry("one, 3 times as long", longer=MEMBERS),
            Entry("deep, 3 seeds", _together("deep")),
            Entry("bagging of 3", _together("bagging")),
            Entry("boosting of 3", _together("boosting"), longer=MEMBERS),
            Entry("boosting of 3, cost of one", _together("boosting")),
        ),
        figures=("calibration_error", "cross_entropy", "seen", "passes"),
        is_small=True,
    ),
    "soups": Experiment(
        (
            Entry("one network"),
            Entry("one, 1.5 times as long, cosine", {"schedule.name": "cosine"}, longer=1.5),
            Entry("soup of 3", _together("soup")),
            Entry("one network, 5 views", {"ensemble.test_views": "shifts"}),
        ),
        figures=("cross_entropy", "seen", "passes"),
        is_small=True,
    ),
}
