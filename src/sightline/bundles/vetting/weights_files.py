"""Files of weights that a recipe names, looked at before a network is built and before Keras opens them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from sightline.bundles.bundle import load_bundle
from sightline.bundles.vetting.archives import check_weights_archive, check_weights_hdf5
from sightline.bundles.vetting.wheels import check_wheel
from sightline.configuration.networks import MODELS, OWN
from sightline.errors import InvalidValue, pick
from sightline.system.stored import as_value_error, open_plain


def starts_from(weights: str) -> Path | None:
    """The folder of the bundle that `model.weights` names, as such or by its run; None where it names no folder."""
    folder = Path(weights)
    if weights in ("imagenet", "random") or not folder.is_dir():
        return None
    return folder / "bundle" if (folder / "bundle").is_dir() else folder


def check_weights(name: str, weights: str) -> None:
    """Refuse a file of weights that is missing, of a kind that the network of that name does not take, or not plain.

    Whether whole weights fit the network is seen when it is built.

    Raises:
        InvalidBundle: the folder of a run or bundle cannot be used.
        MissingPackage: the weights come in a package that is not installed.
        InvalidValue: the file cannot be used, holds more than arrays of numbers, or the model starts from nothing.
    """
    backbone = None if name == OWN else pick(MODELS, name, kind="model").backbone
    if weights == "imagenet" and backbone is not None and backbone.wheel is not None:
        check_wheel(name, backbone.wheel)
    if weights in ("imagenet", "random"):
        return
    folder = starts_from(weights)
    if folder is not None:
        load_bundle(folder)
        if not (folder / "model.keras").is_file():
            raise InvalidValue(f"model.weights: {folder} holds no network of Keras that could be begun with.")
        return
    if backbone is None:
        raise InvalidValue(f"model.weights: {name} starts from nothing; leave model.weights out.")
    path = Path(weights)
    if not path.is_file():
        raise InvalidValue(f"model.weights: {path}: no such file. Name one, or say 'imagenet' or 'random'.")
    suffixes = (".h5", ".keras") if backbone.application else (".npz",)
    if path.suffix.lower() not in suffixes:
        raise InvalidValue(f"model.weights: {name} takes weights from {' or '.join(suffixes)} files; got {path}.")
    try:
        if path.suffix.lower() == ".npz":
            with open_plain(path) as stream, as_value_error():
                zipfile.ZipFile(stream).close()
        else:
            (check_weights_hdf5 if path.suffix.lower() == ".h5" else check_weights_archive)(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidValue(
            f"model.weights: {path} cannot be read ({reason}). It is damaged, cut off, or no {path.suffix} file of "
            "weights alone, as Keras writes it."
        ) from error
