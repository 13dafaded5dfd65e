"""The sections of a recipe: every key with its type, default, range and meaning.

Keys are written `section.field` on the command line, in JSON and in error
messages alike. Every default stands in this file.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sightline.configuration import names
from sightline.configuration.consistency import KEY_CONDITIONS, check_together, check_uses, default_of
from sightline.configuration.networks import MODELS, OWN
from sightline.configuration.values import Section
from sightline.errors import UnknownName


def _number(default: float | None, low: float, high: float = math.inf, *, above: bool = False, doc: str) -> Any:
    metadata = {"low": low, "high": high, "above": above, "doc": doc}
    return field(default=default, metadata=metadata)


def _number_or_auto(default: int, low: int, high: int, *, doc: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "word": "auto", "doc": doc})


def _name(default: str | None, known: Mapping[str, object], doc: str) -> Any:
    return field(default=default, metadata={"known": known, "doc": doc})


def _text(default: str | None, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


def _flag(*, default: bool, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class DataRecipe(Section, section="data"):
    """How rows are divided and what size and colour the network is fed."""

    validation_fraction: float = _number(0.1, 0, 0.9, doc="of the train rows, kept to choose by")
    calibration_fraction: float = _number(0.1, 0, 0.9, doc="of the train rows, kept to calibrate confidences")
    test_fraction: float = _number(0.2, 0, 0.9, doc="of all rows, where the source has no test split of its own")
    image_size: int | str = field(
        default="auto",
        metadata={"low": 4, "high": 1024, "word": "auto", "doc": "pixels a side, or what the source has"},
    )
    color_mode: str = _name("auto", names.COLOR_MODES, "channels the network sees")
    resize: str = _name("fit", names.RESIZE_RULES, "how an image of another shape is brought to size")
    label_from: str = _name("first", names.LABEL_LEVELS, "which folder names the class, where folders are nested")
    columns: str | None = _text(None, "what the columns of a table are called: path=img,label=species")
    task: str = _name("single-label", names.TASKS, "how many labels an image has")
    fraction: float = _number(1.0, 0, 1, above=True, doc="share of the images to use, drawn within classes and groups")
    group_by: str | None = _text(None, "pattern on the path whose first bracket names the group: '(.*)_\\d+.jpg'")
    keep_classes: bool = _flag(
        default=False,
        doc="classes that the run before knew, and that the images lack, are kept by the images that it was made with",
    )
    identity: bool = _flag(
        default=True,
        doc="the bundle keeps hashes of the images it was made with, so that `evaluate` knows them",
    )
    group_near_duplicates: bool = _flag(default=True, doc="near copies of an image stay in one split (files only)")
    splits_file: str | None = _text(None, "a splits.csv to go by; new files are added by the usual rule")
    exclude_file: str | None = _text(
        None, "a table with a column `file` of what to leave out, as `audit --plan` writes it"
    )
    labels_file: str | None = _text(
        None, "a table with columns `file` and `label` of what to call instead, as `audit --label-table` writes it"
    )
    unreadable_limit: float = _number(0.05, 0, 1, doc="a larger share of unreadable files stops the run")
    cache_limit_gib: float | None = _number(
        None, 0, 1e6, doc="bound of the image cache; null: SIGHTLINE_CACHE_GIB, or 20"
    )
    parity_images: bool = _flag(
        default=True,
        doc="keep up to 32 judged images, as the network is fed them, in the bundle, to verify it by; false: made ones",
    )
    neighbours: str = _name(
        "names", names.NEIGHBOUR_KINDS, "what the bundle keeps of train images, to tell which are nearest to a new one"
    )
    memory_limit_mib: int = _number(
        1024, 1, 1e9, doc="more training images than this are read from the cache batch by batch"
    )


@dataclass(frozen=True)
class ModelRecipe(Section, section="model"):
    """Which network."""

    name: str = _name(
        "auto",
        ChainMap[str, Any]({"auto": None, OWN: None}, MODELS),
        "see `sightline models`; auto: by the size and colour of the images; custom: the Keras network that is given",
    )
    activation: str = _name("relu", names.ACTIVATIONS, "after each hidden layer")
    dropout: float = _number(0.0, 0, 0.95, doc="share of units switched off before the last layer while training")
    pixel_scaling: str = _name("unit", names.PIXEL_SCALINGS, "done inside the network")
    weights: str = _text(
        "imagenet", "imagenet, random, the path of a file, or the folder of a finished run to begin with"
    )


@dataclass(frozen=True)
class AugmentationRecipe(Section, section="augmentation"):
    """Random changes of the training images; a part left at null takes the policy's strength.

    Every image draws its own strengths anew each time it is seen; validation and test images are never changed.

    Source:
        Erasing: Zhong et al., arXiv 1708.04896; RandAugment: Cubuk et al., arXiv 1909.13719; MixUp: Zhang et al.,
        arXiv 1710.09412; CutMix: Yun et al., arXiv 1905.04899.
    """

    policy: str = _name(
        "none",
        {"auto": None, **names.AUGMENTATION_POLICIES},
        "a named set of parts; auto: by what the images show. "
        + ". ".join(f"{name}: {use}" for name, use in names.POLICY_USES.items()),
    )
    rotation_degrees: float | None = _number(None, 0, 180, doc="turned by up to this much either way")
    translation_fraction: float | None = _number(None, 0, 0.5, doc="moved by up to this share of the side")
    zoom_fraction: float | None = _number(None, 0, 0.9, doc="enlarged or reduced by up to this share")
    shear_degrees: float | None = _number(None, 0, 45, doc="slanted by up to this much either way")
    crop_fraction: float | None = _number(
        None,
        0,
        0.9,
        doc="a random part, its side at least 1 less this, is brought to full size; for objects of any size and place",
    )
    flip: str | None = _name(None, names.FLIPS, "mirrored at random; not for letters and digits")
    brightness: float | None = _number(None, 0, 1, doc="lightened or darkened by up to this share of full scale")
    contrast: float | None = _number(None, 0, 1, doc="contrast raised or lowered by up to this share")
    saturation: float | None = _number(
        None, 0, 1, doc="colours made stronger or weaker by up to this share, 1: down to grey; for changing cameras"
    )
    hue: float | None = _number(
        None,
        0,
        0.5,
        doc="colours turned by up to this share of the colour circle; where colour does not tell the class",
    )
    erasing_fraction: float | None = _number(
        None, 0, 0.9, doc="in every other image a box of up to this share of the area is erased; for hidden objects"
    )
    blur_sigma: float | None = _number(
        None, 0, 10, doc="blurred by a Gaussian of up to this many pixels; for pictures that may be out of focus"
    )
    randaugment_magnitude: float | None = _number(
        None, 0, 1, doc="RandAugment: each image gets `randaugment_operations` of eleven changes, all of this strength"
    )
    randaugment_operations: int = _number(2, 1, 10, doc="for RandAugment: how many of its changes an image gets")
    mixup_alpha: float | None = _number(
        None,
        0,
        10,
        doc="MixUp: each image is blended with another of its batch, and so are their labels; the share is drawn from "
        "Beta(alpha, alpha), 0.2 mild; for long training and wrong labels; needs a loss with one-hot labels",
    )
    cutmix_alpha: float | None = _number(
        None,
        0,
        10,
        doc="CutMix: a box of another image of the batch is pasted in, labels shared by area; 1: all sizes alike; with "
        "mixup_alpha, too, each batch draws one of the two; needs a loss with one-hot labels",
    )


@dataclass(frozen=True)
class OptimizerRecipe(Section, section="optimizer"):
    """Keras' optimizer of that name; meanings are Keras' own."""

    name: str = _name("adamw", names.OPTIMIZERS, "the rule that turns gradients into steps")
    learning_rate: float = _number(0.004, 0, 10, above=True, doc="the largest rate of the schedule")
    weight_decay: float = _number(0.0, 0, 1, doc="decoupled: weights shrink by rate times this at each step")
    momentum: float = _number(0.9, 0, 0.9999, doc="for sgd, rmsprop and muon alone")
    nesterov: bool = _flag(default=False, doc="for sgd: look ahead along the momentum")
    clip_norm: float | None = _number(
        None, 0, 1e6, above=True, doc="all gradients together are scaled down to this length; null: off"
    )
    accumulation_steps: int = _number(
        1, 1, 1000, doc="batches whose gradients are averaged for one step: a large batch in little memory"
    )
    lowest_rate_share: float = _number(
        1.0, 0, 1, above=True, doc="of a pretrained network: share of the rate that its lowest layer has, more above it"
    )
    ema_momentum: float | None = _number(
        None, 0, 0.99999, above=True, doc="weights are averaged over steps by this, and the average is kept; null: off"
    )


@dataclass(frozen=True)
class ScheduleRecipe(Section, section="schedule"):
    """How the learning rate changes over the run."""

    name: str = _name("constant", names.SCHEDULES, "its course")
    warmup_fraction: float = _number(
        0.3, 0, 0.9, doc="for cosine and one-cycle: share of all steps until the largest rate is reached"
    )
    decay_factor: float = _number(
        0.1, 0, 1, above=True, doc="for step: what each drop leaves of the rate; for exponential: what all steps leave"
    )
    num_drops: int = _number(2, 1, 100, doc="for step: drops, which part the run into equal stretches")


@dataclass(frozen=True)
class LossRecipe(Section, section="loss"):
    """What is made small."""

    name: str = _name("sparse_categorical_crossentropy", names.LOSSES, "Keras' name")
    label_smoothing: float = _number(0.0, 0, 0.5, doc="share of certainty given to the other classes")
    focal_gamma: float = _number(2.0, 0, 10, doc="for the focal loss: how much less counts what is already right")
    l1: float = _number(0.0, 0, 1, doc="times the sum of the absolute kernel weights, added to the loss")
    l2: float = _number(0.0, 0, 1, doc="times the sum of the squared kernel weights, added to the loss")


@dataclass(frozen=True)
class TrainingRecipe(Section, section="training"):
    """How long and in what portions."""

    epochs: int | str = _number_or_auto(6, 1, 100_000, doc="passes over the train rows, at most; auto: by their number")
    batch_size: int | str = _number_or_auto(128, 1, 65_536, doc="images a step; auto: by the number of train rows")
    class_weights: str = _name("none", names.CLASS_WEIGHTS, "how much an image counts in the loss")
    sampling: str = _name("natural", names.SAMPLINGS, "how often an image is seen in an epoch")
    early_stopping_patience: int | None = _number(
        None,
        1,
        100_000,
        doc="epochs without a better validation loss before stopping and going back to the best; null: off",
    )
    early_stopping_min_change: float = _number(
        0.0, 0, 1e6, doc="a validation loss is better if it is lower by more than this"
    )
    time_budget_seconds: float | None = _number(
        None,
        0,
        1e7,
        above=True,
        doc="of the whole run: as many epochs as fit, larger images for a pretrained network; null: off",
    )
    finetune_epochs: int | str = _number_or_auto(
        0, 0, 100_000, doc="of a pretrained network, after its head: passes in which `finetune_part` learns as well"
    )
    finetune_part: str = _name("upper", names.FINETUNE_PARTS, "what of a pretrained network is fine-tuned")
    feature_variants: int | str = _number_or_auto(
        1, 1, 64, doc="of a pretrained network: views of each train image that its head learns from, the first as it is"
    )
    precision: str = _name(
        "float32",
        {"auto": None, **names.PRECISIONS},
        "of the computation; the saved network is float32; auto: mixed_bfloat16 on a CPU that multiplies in it",
    )


@dataclass(frozen=True)
class EnsembleRecipe(Section, section="ensemble"):
    """Several networks instead of one, and several views of an image that is predicted.

    Source:
        Bagging: Breiman (1996); boosting: Zhu et al., SAMME (2009); deep: Lakshminarayanan et al., arXiv 1612.01474;
        soups: Wortsman et al., arXiv 2203.05482.
    """

    kind: str = _name("none", names.ENSEMBLES, "how the members differ")
    members: int = _number(5, 2, 1000, doc="networks that are trained")
    networks: str | None = _text(
        None, "for deep: names of networks that members have in turn, 'lenet5,convnet'; null: model.name"
    )
    test_views: str = _name("none", names.TEST_VIEWS, "views of an image whose answers are averaged in the bundle")


@dataclass(frozen=True)
class Recipe(Section, section=""):
    """The whole configuration of a run; made in whatever way, what it cannot be is refused at once.

    Example:
        >>> Recipe(training=TrainingRecipe(epochs=3)).training.epochs
        3
    """

    name: str = "custom"
    seed: int = _number(0, 0, 2**31 - 1, doc="the same seed on the same machine gives the same network")
    data: DataRecipe = field(default_factory=DataRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    ensemble: EnsembleRecipe = field(default_factory=EnsembleRecipe)

    def __post_init__(self) -> None:
        """Refuse what is no section, what a field does not take, what has no effect, and what contradicts itself."""
        self.check_fields()
        check_uses(self)
        check_together(self)

    def value(self, key: str) -> Any:
        """Of a key as it is typed, "training.epochs"."""
        return functools.reduce(getattr, key.split("."), self)

    def changed(self, values: Mapping[str, Any]) -> Recipe:
        """The same with other values of some keys, named as they are typed: {"training.epochs": 3}.

        A key that is not among them and has no use any more goes back to its default: with
        {"schedule.name": "constant"} a warm-up does, so that what comes out can be written and read again.
        """
        draft = copy.copy(self)  # not checked before it is whole: what has lost its use would be refused
        for key, value in values.items():
            _set(draft, key, value)
        draft.check_fields()
        for key, use in KEY_CONDITIONS.items():
            if key not in values and not use.holds(draft):
                _set(draft, key, default_of(key, draft))
        draft.__post_init__()
        return draft

    def to_dict(self) -> dict[str, Any]:
        """The tree as plain JSON types."""
        return dataclasses.asdict(self)


def checked_value(key: str, value: Any) -> Any:
    """A value in the type of its key, 3 for 3.0 epochs; refused where it takes no such, whatever the others are."""
    draft = copy.copy(Recipe())
    _set(draft, key, value)
    return draft.value(key)


def strengths_of(augmentation: AugmentationRecipe) -> dict[str, float | str]:
    """Every part's strength: what the recipe says, else what its policy (not "auto") says; what is off is left out.

    MixUp and CutMix are not among them: they change labels, and act on batches
    (`sightline.training.augmentation.mixing`).

    Example:
        >>> strengths_of(AugmentationRecipe(policy="digits", rotation_degrees=5.0))["rotation_degrees"]
        5.0
    """
    policy = names.AUGMENTATION_POLICIES[augmentation.policy]
    merged: dict[str, float | str] = {}
    for part in names.AUGMENTATION_PARTS:
        own = getattr(augmentation, part)
        strength = policy.get(part) if own is None else own
        if strength not in (None, 0, "none"):
            merged[part] = strength
    return merged


def _set(draft: Recipe, key: str, value: Any) -> None:
    """Set a key of a recipe that nobody else has yet."""
    section, _, name = key.rpartition(".")
    part: Any = getattr(draft, section, None) if section else draft
    is_part = isinstance(part, Section)
    if not is_part or name not in [entry.name for entry in dataclasses.fields(part)]:
        # Anything may be set on a draft, and nobody would ever look at it.
        raise UnknownName(f"no recipe key is called '{key}'. `sightline recipes --keys` lists them.")
    if section:
        name, value = section, dataclasses.replace(part, **{name: value})
    object.__setattr__(draft, name, value)
