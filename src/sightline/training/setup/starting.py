"""What a training takes over from the run whose network it begins with: its recipe, network and size of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sightline.bundles.bundle import load_bundle
from sightline.bundles.identity import Identity, content_digests, read_identity
from sightline.bundles.vetting.weights_files import starts_from
from sightline.configuration.recipes import parse_recipe
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.records import Run
from sightline.system.paths import absolute_path
from sightline.system.progress import reporter
from sightline.system.stored import read_json
from sightline.system.text import printable
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.run_folder import BEGUN

# They say how images were divided and left out, which are others now.
_OF_ITS_IMAGES = ("data.splits_file", "data.exclude_file", "data.labels_file", "data.columns")


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
        recipe = theirs.changed({**dict.fromkeys(_OF_ITS_IMAGES), **_left_to_sightline(finished.path)})
    taken = {f"model.{name}": theirs.value(f"model.{name}") for name in ("name", "activation", "pixel_scaling")}
    weights = str(absolute_path(finished.path))
    size = {"data.image_size": spec.height, "data.color_mode": spec.color_mode, "data.resize": spec.resize}
    return recipe.changed({**taken, **size, "model.weights": weights})


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
