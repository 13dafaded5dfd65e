"""What each network takes, images and weights; asked before anything is decoded and before Keras is loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path

from sightline.configuration.networks import MODELS
from sightline.configuration.schema import ModelRecipe
from sightline.errors import InvalidValue, pick, require


def check_image_size(name: str, height: int, width: int) -> None:
    """Refuse images of more, or for a pretrained network fewer, pixels a side than the model of that name takes.

    Raises:
        InvalidValue: a side is longer or shorter than that.
    """
    entry = pick(MODELS, name, kind="model")
    largest = entry.largest
    if entry.backbone is not None and min(height, width) < entry.smallest:
        raise InvalidValue(
            f"{name} takes images from {entry.smallest} pixels a side; got {height}x{width}. "
            f"Leave data.image_size at auto, which is {entry.backbone.image_size}, and they are enlarged."
        )
    if max(height, width) > largest:
        raise InvalidValue(
            f"{name} takes images up to {largest} pixels a side; got {height}x{width}. "
            f"Set data.image_size={largest} or choose another model (`sightline models`)."
        )


def check_weights(model: ModelRecipe) -> None:
    """Refuse a file of weights that is missing, cut off or of a kind that the network does not take.

    Whether whole weights fit the network is seen when it is built.

    Raises:
        InvalidValue: the file cannot be used, or the model starts from nothing.
    """
    if model.weights in ("imagenet", "random"):
        return
    backbone = pick(MODELS, model.name, kind="model").backbone
    if backbone is None:
        raise InvalidValue(f"model.weights: {model.name} starts from nothing; leave model.weights out.")
    path = Path(model.weights)
    if not path.is_file():
        raise InvalidValue(f"model.weights: {path}: no such file. Name one, or say 'imagenet' or 'random'.")
    suffixes = (".h5", ".keras") if backbone.application else (".npz",)
    if path.suffix.lower() not in suffixes:
        raise InvalidValue(f"model.weights: {model.name} takes weights from {' or '.join(suffixes)} files; got {path}.")
    try:
        if path.suffix.lower() == ".h5":
            require("h5py", purpose="reading weights", install="h5py").File(path, "r").close()
        else:
            zipfile.ZipFile(path).close()
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidValue(
            f"model.weights: {path} cannot be read ({error}). It is damaged, cut off, or no {path.suffix} file."
        ) from error
