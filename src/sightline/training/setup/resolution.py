"""How "auto" is resolved once the data is known, and what would change what an image shows. Imports no Keras."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.configuration.consistency import KEY_CONDITIONS, learns_from_features, networks_of
from sightline.configuration.names import AUGMENTATION_PARTS, BINARY_LOSSES, FOCAL_LOSSES
from sightline.configuration.networks import MODELS, OWN
from sightline.configuration.recipes import override, read_assignments, recipe
from sightline.configuration.schema import AugmentationRecipe, Recipe, strengths_of
from sightline.configuration.values import as_typed
from sightline.data.inputs.input_spec import USUAL_SIDE, natural_shape
from sightline.data.sources.catalog import SOURCES
from sightline.data.sources.loading import holds_files, open_as_recipe_says
from sightline.errors import InvalidValue
from sightline.records import Dataset, Store
from sightline.system.progress import reporter
from sightline.system.text import printable
from sightline.tasks.table import TASKS, has_several_labels
from sightline.training.setup.mirrors import Axis, named_mirrors

# Files of at least this many pixels (the median longer side) are looked at by a pretrained network as it was trained.
PHOTOGRAPH_SIDE = 64
# Smaller ones are enlarged to this only, for a fifth of the work. More is better: with a time budget it is looked at.
SMALL_SIDE = 96
DEFAULT_RULE = (
    f"transfer for files in colour or of {PHOTOGRAPH_SIDE} pixels a side or more, photos for small grey ones, else fast"
)
# The keys that say how a source is opened.
OPENING = ("data.label_from", "data.columns", "data.task")
# Beyond it a 6 may be read as a 9, an N as a Z.
SAFE_ROTATION = 45.0
LETTER_OR_DIGIT = re.compile(r"[A-Za-z0-9]")
# What these ask for goes by the one class of each image, and has no meaning yet where there are several.
_FOR_ONE_CLASS: dict[str, Any] = {
    "training.class_weights": "none",
    "training.sampling": "natural",
    "data.labels_file": None,
    "data.keep_classes": False,
}
# Where Linux lists what its processors can do, and where it shows a GPU, on which TensorFlow would compute.
_PROCESSORS, _NVIDIA = Path("/proc/cpuinfo"), Path("/dev/nvidiactl")


def default_recipe(dataset: Dataset) -> str:
    """The recipe that is meant where none is named, by the rule that a run prints.

    Files in colour, and those whose median longer side is at least 64 pixels, are photographs: "transfer",
    which was better than learning from nothing even on 32 pixels (docs/performance.md, CIFAR-10). Small grey
    ones are signs or letters rather than things: "photos". Arrays: "fast".
    """
    if not isinstance(dataset.images, Store):
        return "fast"
    height, width, channels = natural_shape(dataset)
    return "transfer" if channels == 3 or max(height, width) >= PHOTOGRAPH_SIDE else "photos"


def opened_and_chosen(source: Any, name: str | Path | None, settings: Sequence[str] = ()) -> tuple[Any, Recipe]:
    """The source, opened where the rule had to look into it, so that nobody lists it again; and the recipe.

    It is the one that was named, or that `default_recipe` says, with keys set as `--set` sets them.
    """
    if name is not None or not holds_files(source):
        # What goes by a name is opened when its backend is loaded; arrays are trained fast, whatever they hold.
        return source, recipe("fast" if name is None else name, settings)
    read_assignments(settings)  # what is mistyped is told before a folder is listed
    # The rule has to open the source the way the run will.
    opening = [text for text in settings if text.partition("=")[0].strip() in OPENING]
    dataset = open_as_recipe_says(source, override(Recipe(), opening).data)
    if isinstance(source, str | Path):
        dataset = dataclasses.replace(dataset, typed=str(source))
    return dataset, recipe(default_recipe(dataset), settings)


def announce_recipe(name: str, *, is_given: bool = False) -> None:
    """Print which recipe was taken where none was named, and by which rule."""
    rule = "photos for files where a network is given" if is_given else DEFAULT_RULE
    reporter().say(f"recipe {name}, by the rule: {rule}")


@dataclass(frozen=True)
class SettledKey:
    """A key that was settled: what was asked for it, what it became, and why."""

    key: str
    asked: Any
    settled: Any
    reason: str


@dataclass(frozen=True)
class Settled:
    """A recipe as far as it is settled, and what was changed on the way, each key once."""

    recipe: Recipe
    changes: tuple[SettledKey, ...] = ()

    def asked(self, key: str) -> Any:
        """What was asked for a key, whatever it is by now."""
        return next((change.asked for change in self.changes if change.key == key), self.recipe.value(key))


# A key, what it becomes, and why.
Step = tuple[str, Any, str]


def settle(
    asked: Recipe | Settled,
    *,
    backend: str | None = None,
    dataset: Dataset | None = None,
    unmirrored: str = "",
    num_train: int | None = None,
) -> Settled:
    """Put into a recipe what "auto" stands for, as far as what decides it is known; what else is settled stays.

    Args:
        asked: a recipe, or one that was settled in part.
        backend: decides on the precision.
        dataset: decides on size, colour, network and augmentation.
        unmirrored: why a policy's flips are left out, if they are.
        num_train: train rows, which decide on the length; once the dataset has.
    """
    settled = asked if isinstance(asked, Settled) else Settled(asked)
    if backend is not None:
        settled = take_steps(settled, _precision(settled.recipe, backend))
    if dataset is not None:
        settled = take_steps(settled, _labels(settled.recipe, dataset))
        settled = take_steps(settled, _network(settled.recipe))
        settled = take_steps(settled, _input(settled.recipe, dataset))
        settled = take_steps(settled, _by_input(settled.recipe, dataset))
        settled = take_steps(settled, _flips(settled.recipe, sides_of(dataset)))
    if unmirrored:
        settled = take_steps(settled, _flips(settled.recipe, unmirrored))
    if dataset is not None or unmirrored:
        settled = take_steps(settled, _views(settled))
    if num_train is not None:
        settled = take_steps(settled, _length(settled.recipe, num_train))
        settled = take_steps(settled, _fine_tuning(settled.recipe, num_train))
        settled = take_steps(settled, _unaugmented(settled.recipe))
    return settled


def take_steps(settled: Settled, steps: Iterable[Step]) -> Settled:
    """The recipe with these steps taken; they are among the changes, and so is what lost its use by them."""
    taken = {key: (value, reason) for key, value, reason in steps if value != settled.recipe.value(key)}
    changes = {change.key: change for change in settled.changes}
    for key, (value, reason) in taken.items():
        changes[key] = SettledKey(key, settled.asked(key), value, reason)
    recipe = settled.recipe.changed({key: value for key, (value, _) in taken.items()})
    for key, use in KEY_CONDITIONS.items():
        if key not in taken and recipe.value(key) != settled.recipe.value(key):
            changes[key] = SettledKey(key, settled.asked(key), recipe.value(key), f"it matters only {use.when}")
    return Settled(recipe, tuple(change for change in changes.values() if change.asked != change.settled))


def announce_changes(changes: Iterable[SettledKey]) -> None:
    """Print in a line what was settled, if anything was; why stands in the run's `resolution.json`."""
    told = ", ".join(f"{change.key}={as_typed(change.settled)}" for change in changes)
    if told:
        reporter().say(f"settled: {told}")


def _precision(recipe: Recipe, backend: str) -> Iterator[Step]:
    """TensorFlow on a processor that multiplies in bfloat16 (Intel's AMX) is twice as fast in it; else float32."""
    if recipe.training.precision != "auto":
        return
    if recipe.model.name == OWN:
        yield "training.precision", "float32", "a network that is given computes as it was built"
    elif backend == "tensorflow" and not _NVIDIA.exists() and _multiplies_in_bfloat16():
        yield "training.precision", "mixed_bfloat16", "tensorflow on a processor that multiplies in it"
    else:
        yield "training.precision", "float32", f"{backend} on this machine"


def _labels(recipe: Recipe, dataset: Dataset) -> Iterator[Step]:
    """A loss that fits the labels, and nothing that only goes with one class an image."""
    loss, task = recipe.loss.name, dataset.task.name
    if not has_several_labels(dataset.task):
        if has_several_labels(TASKS[recipe.data.task]):
            raise InvalidValue(
                f"data.task={recipe.data.task}, and '{dataset.name}' was opened with one class an image. Open it with "
                "load(..., task='multi-label'), or leave data.task out."
            )
        if loss in BINARY_LOSSES:
            raise InvalidValue(
                f"loss.name={loss} is for images that may have several labels, and those of '{dataset.name}' have one "
                "class each. Set data.task=multi-label, or another loss."
            )
        return
    why = "an image may have several labels"
    for key, usual in _FOR_ONE_CLASS.items():
        if (value := recipe.value(key)) != usual:
            raise InvalidValue(f"{key}={as_typed(value)} is for one class an image, and here {why}. Leave it out.")
    if recipe.ensemble.kind == "boosting":
        raise InvalidValue(
            f"ensemble.kind=boosting is for one class an image, and here {why}: it has an image count more where its "
            "class was missed, and an answer may be right in part. Take deep or bagging."
        )
    yield "data.task", task, why
    if loss not in BINARY_LOSSES:
        yield "loss.name", "binary_focal_crossentropy" if loss in FOCAL_LOSSES else "binary_crossentropy", why
        yield "loss.label_smoothing", 0.0, f"{why}, of which it would blur the rare ones"


def _network(recipe: Recipe) -> Iterator[Step]:
    """The first of several networks decides on the size of the images; it is what the run is called after."""
    if recipe.ensemble.networks is not None:
        yield "model.name", networks_of(recipe)[0], "the first of ensemble.networks"


def _input(recipe: Recipe, dataset: Dataset) -> Iterator[Step]:
    height, width, channels = natural_shape(dataset)
    name, data = recipe.model.name, recipe.data
    backbone = MODELS[name].backbone if name in MODELS else None
    if backbone is not None and data.color_mode == "grey":
        raise InvalidValue(f"{name} takes colour: data.color_mode must be auto or rgb; got 'grey'.")
    if data.image_size == "auto" and backbone is None:
        is_median = isinstance(dataset.images, Store)
        reason = f"the median longer side, {USUAL_SIDE} at most" if is_median else f"the source has {height}x{width}"
        yield "data.image_size", max(height, width), reason
    elif data.image_size == "auto" and backbone is not None:
        is_large = max(height, width) >= PHOTOGRAPH_SIDE
        size = backbone.image_size if is_large else SMALL_SIDE
        which = f"images of {PHOTOGRAPH_SIDE} pixels a side or more" if is_large else "smaller images"
        yield "data.image_size", size, f"what {name} is fed of {which}"
    if data.color_mode == "auto":
        # A backbone's weights were trained on three channels; grey is shown to it as three equal ones.
        is_grey = channels == 1 and backbone is None
        reason = f"{name} takes colour" if backbone is not None else f"the source has {'grey' if is_grey else 'colour'}"
        yield "data.color_mode", "grey" if is_grey else "rgb", reason


def _by_input(recipe: Recipe, dataset: Dataset) -> Iterator[Step]:
    """Network and policy, once size and colour are settled."""
    color, size = recipe.data.color_mode, int(recipe.data.image_size)
    for key in ("saturation", "hue"):
        if color == "grey" and getattr(recipe.augmentation, key):
            raise InvalidValue(
                f"augmentation.{key} changes colours, and '{dataset.name}' is fed to the network in grey; "
                f"got {getattr(recipe.augmentation, key):g}. Leave it out, or set data.color_mode=rgb."
            )
    if recipe.model.name == "auto":
        name = "lenet5" if color == "grey" and size <= 32 else "convnet"
        yield "model.name", name, f"{color} images of {size} pixels a side"
    if recipe.augmentation.policy == "auto":
        # Without knowing what grey images show, flips are not safe: they may be letters.
        unflippable = dataset.name not in SOURCES or SOURCES[dataset.name].letters_or_digits
        is_digits = color == "grey" and unflippable
        reason = "grey images, which may be letters or digits" if is_digits else "images that are no letters or digits"
        yield "augmentation.policy", "digits" if is_digits else "light", reason


def _flips(recipe: Recipe, reason: str) -> Iterator[Step]:
    """None of a policy where a reason speaks against them; what was asked for stays."""
    if reason and recipe.augmentation.flip is None and "flip" in strengths_of(recipe.augmentation):
        yield "augmentation.flip", "none", f"because of {reason}"


def _views(settled: Settled) -> Iterator[Step]:
    if settled.asked("ensemble.test_views") == "auto":
        is_flipped = "flip" in strengths_of(settled.recipe.augmentation)
        reason = f"the augmentation {'mirrors' if is_flipped else 'does not mirror'} images"
        yield "ensemble.test_views", "mirror" if is_flipped else "shifts", reason


def _length(recipe: Recipe, num_train: int) -> Iterator[Step]:
    """About 80,000 images are seen, in 8 to 40 epochs."""
    if recipe.training.epochs == "auto":
        epochs = min(max(round(80_000 / num_train), 8), 40)
        yield "training.epochs", epochs, f"8 to 40 that show about 80,000 images, of {num_train:,} train images"
    if recipe.training.batch_size == "auto":
        yield "training.batch_size", 32 if num_train < 20_000 else 128, f"{num_train:,} train images"
    if recipe.training.feature_variants == "auto" and not strengths_of(recipe.augmentation):
        yield "training.feature_variants", 1, "nothing is augmented, and every view would be the same"
    elif recipe.training.feature_variants == "auto":
        # What was asked for part by part is done; a policy is left where there are images enough without it.
        is_asked = any(getattr(recipe.augmentation, part) not in (None, 0, "none") for part in AUGMENTATION_PARTS)
        variants = min(max(round(6_000 / num_train), 2 if is_asked else 1), 4)
        yield "training.feature_variants", variants, f"up to 4 that make about 6,000 of {num_train:,} train images"


def _fine_tuning(recipe: Recipe, num_train: int) -> Iterator[Step]:
    if recipe.training.finetune_epochs == "auto":
        # Without augmentation all views are the same, and where nothing is stored an epoch shows one of each image.
        has_views = bool(strengths_of(recipe.augmentation)) and learns_from_features(recipe)
        shown = num_train * (int(recipe.training.feature_variants) if has_views else 1)
        epochs = min(max(round(13_000 / shown), 1), 10)
        yield "training.finetune_epochs", epochs, f"1 to 10 that show about 13,000 images, {shown:,} in each"


def _unaugmented(recipe: Recipe) -> Iterator[Step]:
    """Nothing is augmented where each image is learned from once, as it is."""
    is_once = recipe.training.feature_variants == 1 and learns_from_features(recipe)
    if not is_once or not strengths_of(recipe.augmentation):
        return
    reporter().say("note: images are learned from as they are (training.feature_variants=1): none is augmented.")
    for name, value in dataclasses.asdict(AugmentationRecipe()).items():
        yield f"augmentation.{name}", value, "images are learned from as they are (training.feature_variants=1)"


def _multiplies_in_bfloat16() -> bool:
    try:
        lines = _PROCESSORS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any("amx_bf16" in line.split() for line in lines if line.startswith("flags"))


def label_risk(augmentation: AugmentationRecipe, dataset: Dataset) -> str:
    """What an augmentation may do to the labels of a dataset, in a sentence.

    A mirrored b is a d and a turned 6 a 9. Sources that the catalog marks show letters or digits, and so may any
    whose class names mostly are single letters or digits.
    """
    strengths = strengths_of(augmentation)
    turned = float(strengths.get("rotation_degrees", 0.0))
    doubtful: dict[str, str] = {}
    if "flip" in strengths:
        doubtful["flips"] = "augmentation.flip=none"
    if turned > SAFE_ROTATION:
        doubtful[f"rotations by up to {turned:g} degrees"] = f"augmentation.rotation_degrees={SAFE_ROTATION:g} or less"
    # What is turned upside down is turned left to right, too.
    is_upside_down = strengths.get("flip") == "both" or turned > SAFE_ROTATION
    reason = sides_of(dataset, ("horizontal", "vertical") if is_upside_down else ("horizontal",)) or _letters_or_digits(
        dataset
    )
    if not doubtful or not reason:
        return ""
    return (
        f"augmentation may change the label: {' and '.join(doubtful)} on {reason}. If that makes one class look like "
        f"another, set {' and '.join(doubtful.values())}."
    )


def sides_of(dataset: Dataset, axes: Sequence[Axis] = ("horizontal",)) -> str:
    """By what two classes are told apart that are mirror images of one another; "" if no name says so."""
    pairs = [pair for axis in axes if (pair := named_mirrors(dataset.class_names, axis))]
    if not pairs:
        return ""
    first, second = (printable(name) for name in pairs[0])
    return f"'{dataset.name}', whose classes '{first}' and '{second}' are told apart by a side"


def warn_of_labels(augmentation: AugmentationRecipe, dataset: Dataset, *, asked: AugmentationRecipe) -> None:
    """Print `label_risk` as a warning, if there is one, or that a policy's flips were left out."""
    risk = label_risk(augmentation, dataset)
    if risk:
        reporter().say(f"warning: {risk}")
    if asked.flip is None and augmentation.flip == "none":
        say_unmirrored(sides_of(dataset))


def say_unmirrored(reason: str) -> None:
    """Print that the flips of a policy are left out, and how to have them all the same."""
    reporter().say(
        f"note: images are not mirrored (augmentation.flip=none), because of {reason}. "
        "To mirror them all the same: --set augmentation.flip=horizontal"
    )


def _letters_or_digits(dataset: Dataset) -> str:
    """Why the images may show letters or digits; "" if nothing says so."""
    if dataset.name in SOURCES:
        entry = SOURCES[dataset.name]
        return f"'{dataset.name}', {entry.content}" if entry.letters_or_digits else ""
    single = [name for name in dataset.class_names if LETTER_OR_DIGIT.fullmatch(name)]
    # One more class, such as "other", does not make letters safe.
    if 2 * len(single) <= len(dataset.class_names):
        return ""
    return f"'{dataset.name}', whose classes look like letters or digits ({', '.join(single[:3])}, ...)"
