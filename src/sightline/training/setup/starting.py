"""What a training takes over from the run whose network it begins with: its recipe, network and size of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sightline.bundles.bundle import load_bundle
from sightline.bundles.identity import Identity, content_digests, read_identity
from sightline.bundles.vetting.given_networks import GivenNetwork, no_network
from sightline.bundles.vetting.weights_files import starts_from
from sightline.configuration.consistency import is_pretrained
from sightline.configuration.networks import OWN
from sightline.configuration.recipes import parse_recipe, recipe as named_recipe
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.records import Run
from sightline.system.backends import load_keras, usual_keras
from sightline.system.paths import absolute_path
from sightline.system.progress import reporter
from sightline.system.stored import read_json
from sightline.system.text import printable
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.resolution import Settled, Step, opened_and_chosen, take_steps
from sightline.training.setup.run_folder import BEGUN

# They say how images were divided and left out, which are others now.
_OF_ITS_IMAGES: dict[str, bool | None] = {
    **dict.fromkeys(("data.splits_file", "data.exclude_file", "data.labels_file", "data.columns")),
    "data.keep_classes": False,
}


def begun_with(run: str | Path | Run, recipe: Recipe | None = None) -> Recipe:
    """A recipe that begins with the network of a finished run; without one, that of the run itself.

    Raises:
        InvalidBundle: there is no finished run.
        InvalidValue: the run is an ensemble, or its images are not as wide as they are high.
    """
    finished = read_run(run)
    theirs = parse_recipe(finished.recipe)
    if finished.metrics["ensemble"] is not None:
        raise InvalidValue(f"{finished.path}: is an ensemble; a training begins with one network. Name a run of one.")
    spec = finished.bundle.input
    if spec.height != spec.width:
        raise InvalidValue(
            f"{finished.path}: takes images of {spec.height}x{spec.width}; only squares can be begun with."
        )
    if recipe is None:
        recipe = theirs.changed({**_OF_ITS_IMAGES, **_left_to_sightline(finished.path)})
    taken = {f"model.{name}": theirs.value(f"model.{name}") for name in ("name", "activation", "pixel_scaling")}
    weights = str(absolute_path(finished.path))
    size = {"data.image_size": spec.height, "data.color_mode": spec.color_mode, "data.resize": spec.resize}
    return recipe.changed({**taken, **size, "model.weights": weights})


def network_of(model: Any, start: Any, backend: str | None) -> GivenNetwork:
    """The network of a user's own, looked at before anything else is done."""
    if start is not None:
        raise InvalidValue("model and start both say which network learns. Name one of them.")
    if isinstance(model, GivenNetwork):
        return model  # by `resume`
    if not any(base.__module__.startswith("keras.") for base in type(model).__mro__):
        raise no_network(model)  # without a second of waiting for Keras
    load_keras(backend)
    from sightline.networks.given import given_network

    with usual_keras():
        return given_network(model)


def begun(
    source: Any,
    recipe: str | Path | Recipe | None,
    start: str | Path | Run | None,
    network: GivenNetwork | None,
    *,
    keep_classes: bool = False,
) -> tuple[Any, Settled]:
    """The source, opened where its recipe goes by what is in it; and the recipe, as a run or a network settles it."""
    if start is not None:
        recipe = begun_with(start, recipe if recipe is None or isinstance(recipe, Recipe) else named_recipe(recipe))
    if keep_classes and start is None:
        raise InvalidValue("keep_classes keeps those of a run that a training begins with; name it: start=RUN.")
    if keep_classes and isinstance(recipe, Recipe):
        recipe = recipe.changed({"data.keep_classes": True})
    source, asked = (source, recipe) if isinstance(recipe, Recipe) else opened_and_chosen(source, recipe)
    if network is None:
        return source, Settled(asked)
    return source, for_given(network, named_recipe("photos") if recipe is None and is_pretrained(asked) else asked)


def for_given(network: GivenNetwork, asked: Recipe) -> Settled:
    """A recipe by which a network that was given learns, unless it asks for what that is not; an InvalidValue then."""
    if is_pretrained(asked):
        raise InvalidValue(
            f"model: recipe {asked.name} fits a head on a pretrained network of Sightline's; a network that is given "
            "learns as a whole. Name another recipe: photos for photographs, fast for small images."
        )
    side, color = network.shape[0], "grey" if network.shape[2] == 1 else "rgb"
    if asked.data.image_size not in ("auto", side):
        raise InvalidValue(
            f"model: takes images of {side} pixels a side; got data.image_size={asked.data.image_size}. Leave that out."
        )
    if asked.data.color_mode not in ("auto", color):
        channels = "1 channel" if color == "grey" else "3 channels"
        raise InvalidValue(f"model: takes {channels}; got data.color_mode={asked.data.color_mode}. Leave that out.")
    usual = Recipe().model
    for part in ("activation", "dropout"):
        value = getattr(asked.model, part)
        if asked.model.name != OWN and value != getattr(usual, part):
            raise InvalidValue(f"model: model.{part} is for networks of Sightline's; got {value}. Leave that out.")
    why = "what the network takes that was given"
    named: Step = ("model.name", OWN, "a network was given")
    return take_steps(Settled(asked), [named, ("data.image_size", side, why), ("data.color_mode", color, why)])


def _left_to_sightline(run: Path) -> dict[str, str]:
    """What the run settled by itself, for other images: it is settled anew."""
    try:
        told = read_json(run / BEGUN[3])
        return {str(one["key"]): one["asked"] for one in told if one["asked"] == "auto"}
    except (OSError, ValueError, TypeError, KeyError):  # it is an older run, or a stranger's
        return {}


def identity_of_start(data: Prepared) -> tuple[Identity | None, ...]:
    """What the run that a training begins with is known by, which none of the images that judge it may be among.

    Empty where it begins with no run.
    """
    folder = starts_from(data.recipe.model.weights)
    if folder is None:
        return ()
    known = read_identity(load_bundle(folder))
    if known is None:
        reporter().say(f"note: what {printable(str(folder))} learned from is not known; test images may be among it")
        return (None,)
    judged = np.concatenate([data.splits.validation, data.splits.calibration, data.splits.test])
    dataset = data.dataset.take(judged)
    states, _ = known.find(content_digests(data.dataset, data.pixels, data.spec)[judged], dataset.named())
    learned = int((states == "train").sum())
    if learned:
        raise InvalidValue(
            f"{printable(str(folder))} learned from {learned:,} of the {len(judged):,} images that are to judge this "
            "training, whose figures would flatter. Divide as it did: --splits with the splits.csv of its run; or "
            "leave these images out."
        )
    return (known,)
