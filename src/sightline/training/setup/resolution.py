"""How "auto" is resolved once the data is known, and what would change what an image shows. Imports no Keras."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline.configuration.augmentation import strengths_of
from sightline.configuration.consistency import learns_from_features, networks_of
from sightline.configuration.names import AUGMENTATION_PARTS
from sightline.configuration.networks import MODELS
from sightline.configuration.parsing import override
from sightline.configuration.presets import recipe
from sightline.configuration.schema import AugmentationRecipe, Recipe
from sightline.data.inputs.input_spec import natural_shape
from sightline.data.sources.catalog import SOURCES
from sightline.data.sources.loading import is_files, open_as_recipe_says
from sightline.errors import InvalidValue
from sightline.records import Dataset, Store
from sightline.system.progress import reporter
from sightline.system.text import printable
from sightline.training.setup.mirrors import Axis, named_mirrors

# Beyond it a 6 may be read as a 9, an N as a Z.
SAFE_ROTATION = 45.0
LETTER_OR_DIGIT = re.compile(r"[A-Za-z0-9]")

# Where Linux lists what its processors can do, and where it shows a GPU, on which TensorFlow would compute.
_PROCESSORS, _NVIDIA = Path("/proc/cpuinfo"), Path("/dev/nvidiactl")


# Files of at least this many pixels (the median longer side) are looked at by a pretrained network as it was trained.
PHOTOGRAPH_SIDE = 64
# Smaller ones are enlarged to this only: a fifth of the work, and there is nothing in them that more pixels would show.
SMALL_SIDE = 96
DEFAULT_RULE = (
    f"transfer for files in colour or of {PHOTOGRAPH_SIDE} pixels a side or more, photos for small grey ones, else fast"
)


OPENING = ("data.label_from", "data.columns")
"""Keys that say how a source is opened."""


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


def chosen_recipe(dataset: Dataset, name: str | Path | None, settings: Sequence[str] = ()) -> Recipe:
    """The recipe that was named, or the one that the rule takes for a dataset, with some of its keys set.

    Args:
        dataset: opened.
        name: of a recipe or its JSON file; None for the one that `default_recipe` says.
        settings: texts as `--set` takes them.
    """
    return recipe(default_recipe(dataset) if name is None else name, settings)


def opened_and_chosen(source: Any, name: str | Path | None, settings: Sequence[str] = ()) -> tuple[Any, Recipe]:
    """The source, opened where the rule had to look into it, so that nobody lists it again; and `chosen_recipe`."""
    if name is not None or not is_files(source):
        # What goes by a name is opened when its backend is loaded; arrays are trained fast, whatever they hold.
        return source, recipe("fast" if name is None else name, settings)
    # The rule has to open the source the way the run will.
    opening = [text for text in settings if text.partition("=")[0].strip() in OPENING]
    dataset = open_as_recipe_says(source, override(Recipe(), opening).data)
    if isinstance(source, str | Path):
        dataset = dataclasses.replace(dataset, typed=str(source))
    return dataset, chosen_recipe(dataset, None, settings)


def announce_recipe(name: str) -> None:
    """Print which recipe was taken where none was named, and by which rule.

    Args:
        name: of the recipe.
    """
    reporter().say(f"recipe {name}, by the rule: {DEFAULT_RULE}")


def settle_length(resolved: Recipe, num_train: int) -> Recipe:
    """Put numbers for "auto" epochs and batch size: about 80,000 images are seen, in 8 to 40 epochs."""
    training = resolved.training
    epochs, batch_size = training.epochs, training.batch_size
    if epochs == "auto":
        epochs = min(max(round(80_000 / num_train), 8), 40)
    if batch_size == "auto":
        batch_size = 32 if num_train < 20_000 else 128
    training = dataclasses.replace(training, epochs=epochs, batch_size=batch_size)
    if training.feature_variants == "auto":
        # What was asked for part by part is done; a policy is left where there are images enough without it.
        is_asked = any(getattr(resolved.augmentation, part) not in (None, 0, "none") for part in AUGMENTATION_PARTS)
        fewest = 2 if is_asked else 1
        training = dataclasses.replace(training, feature_variants=min(max(round(6_000 / num_train), fewest), 4))
    if training.finetune_epochs == "auto":
        seen = num_train * int(training.feature_variants)
        training = dataclasses.replace(training, finetune_epochs=min(max(round(13_000 / seen), 1), 10))
    settled = dataclasses.replace(resolved, training=training)
    if training.feature_variants == 1 and learns_from_features(settled) and strengths_of(settled.augmentation):
        reporter().say("note: images are learned from as they are (training.feature_variants=1): none is augmented.")
        settled = dataclasses.replace(settled, augmentation=AugmentationRecipe())
    return settled


def resolve(asked: Recipe, dataset: Dataset) -> Recipe:
    """Put what "auto" stands for into a recipe, now that the data is known.

    Returns:
        A recipe without "auto"; it is what the run records.
    """
    if asked.ensemble.networks is not None:
        # The first of several networks decides on the size of the images; it is what the run is called after.
        asked = dataclasses.replace(asked, model=dataclasses.replace(asked.model, name=networks_of(asked)[0]))
    height, width, channels = natural_shape(dataset)
    size = max(height, width) if asked.data.image_size == "auto" else int(asked.data.image_size)
    source_color = "grey" if channels == 1 else "rgb"
    backbone = MODELS[asked.model.name].backbone if asked.model.name in MODELS else None
    if backbone is not None:
        # Its weights were trained on three channels; grey is shown to it as three equal ones.
        source_color = "rgb"
        if asked.data.color_mode == "grey":
            raise InvalidValue(f"{asked.model.name} takes colour: data.color_mode must be auto or rgb; got 'grey'.")
        if asked.data.image_size == "auto":
            size = backbone.image_size if max(height, width) >= PHOTOGRAPH_SIDE else SMALL_SIDE
    color = source_color if asked.data.color_mode == "auto" else asked.data.color_mode
    data = dataclasses.replace(asked.data, image_size=size, color_mode=color)
    model, augmentation = asked.model, asked.augmentation
    for key in ("saturation", "hue"):
        if color == "grey" and getattr(augmentation, key):
            raise InvalidValue(
                f"augmentation.{key} changes colours, and '{dataset.name}' is fed to the network in grey; "
                f"got {getattr(augmentation, key):g}. Leave it out, or set data.color_mode=rgb."
            )
    if model.name == "auto":
        model = dataclasses.replace(model, name="lenet5" if color == "grey" and size <= 32 else "convnet")
    if augmentation.policy == "auto":
        # Without knowing what grey images show, flips are not safe: they may be letters.
        unflippable = dataset.name not in SOURCES or SOURCES[dataset.name].letters_or_digits
        policy = "digits" if color == "grey" and unflippable else "light"
        augmentation = dataclasses.replace(augmentation, policy=policy)
    augmentation = settle_flips(augmentation, dataset)
    ensemble, views = asked.ensemble, "mirror" if "flip" in strengths_of(augmentation) else "shifts"
    if ensemble.test_views == "auto":
        ensemble = dataclasses.replace(ensemble, test_views=views)
    return dataclasses.replace(asked, data=data, model=model, augmentation=augmentation, ensemble=ensemble)


def settle_precision(asked: Recipe, backend: str) -> Recipe:
    """Put what "auto" stands for as the precision of a computation, now that the backend is known.

    TensorFlow on a processor that multiplies in bfloat16 (Intel's AMX) is twice as fast in it; everywhere else
    "auto" is float32.
    """
    if asked.training.precision != "auto":
        return asked
    is_fast = backend == "tensorflow" and not _NVIDIA.exists() and _multiplies_in_bfloat16()
    precision = "mixed_bfloat16" if is_fast else "float32"
    return dataclasses.replace(asked, training=dataclasses.replace(asked.training, precision=precision))


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


def settle_flips(augmentation: AugmentationRecipe, dataset: Dataset) -> AugmentationRecipe:
    """The same without the flips of its policy where class names speak of sides; what was asked for stays."""
    if augmentation.flip is None and "flip" in strengths_of(augmentation) and sides_of(dataset):
        return dataclasses.replace(augmentation, flip="none")
    return augmentation


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
