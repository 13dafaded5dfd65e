"""A network that a training was given, as the file of Keras that its run keeps of it: read without Keras."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.bundles.vetting.archives import CONFIG, WEIGHTS
from sightline.bundles.vetting.network_files import check_network
from sightline.bundles.vetting.weights_files import starts_from
from sightline.configuration.networks import OWN
from sightline.configuration.schema import ModelRecipe
from sightline.errors import InvalidBundle, InvalidValue
from sightline.system.stored import parse_json, read_plain
from sightline.system.text import printable

# In the folder of a run.
GIVEN = "network.keras"
_MOST_BYTES = 2**32


@dataclass(frozen=True, eq=False)
class GivenNetwork:
    """A network with the weights that a training begins with.

    Attributes:
        content: a `.keras` file: uint8 `images` to float32 logits, which the dense layer `logits` gives.
        shape: (height, width, channels) of the images.
        num_classes: that it tells apart.
        digest: SHA-256 of what it is and of its weights, in hexadecimal.
    """

    content: bytes
    shape: tuple[int, int, int]
    num_classes: int
    digest: str


def read_given(path: Path) -> GivenNetwork:
    """The network that a file keeps, which is looked at by its bytes; an InvalidBundle where it is none that was given.

    Raises:
        InvalidBundle: it is missing, damaged, or more or other than a network that was given.
    """
    check_network(path)
    try:
        content = read_plain(path, most_bytes=_MOST_BYTES)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            described, weights = archive.read(CONFIG), archive.read(WEIGHTS)
        layers: dict[str, Any] = {
            layer["config"]["name"]: layer["config"]
            for layer in parse_json(described.decode("utf-8"), allow_nan=True)["config"]["layers"]
        }
        height, width, channels = layers["images"]["batch_shape"][1:]
        sides = (height, width, channels, layers["logits"]["units"])
        if not all(type(side) is int and side >= 1 for side in sides):
            raise ValueError(f"sizes of {sides}")
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InvalidBundle(
            f"{path}: not a network that a training was given ({error}). Give it again: train(..., model=...)."
        ) from error
    digest = hashlib.sha256(hashlib.sha256(described).digest() + weights).hexdigest()
    return GivenNetwork(content, (height, width, channels), sides[3], digest)


def given_to(run: Path, model: ModelRecipe) -> GivenNetwork | None:
    """The network that a run was given and keeps; None of one that began otherwise."""
    return read_given(run / GIVEN) if model.name == OWN and starts_from(model.weights) is None else None


def no_network(model: object) -> InvalidValue:
    """The error that something else was given than a network."""
    return InvalidValue(
        f"model: takes a network of Keras 3 (keras.Model); got {printable(type(model).__name__)}. Networks of "
        "Sightline's own go by name: recipe=sightline.recipe('fast', {'model.name': 'lenet5'})."
    )


def check_given(name: str, weights: str, network: GivenNetwork | None) -> None:
    """Refuse a recipe that says that a network is given, where none is."""
    if name == OWN and network is None and starts_from(weights) is None:
        raise InvalidValue(
            f"model.name={OWN} stands for a network that is given, and none is: sightline.train(..., model=network) "
            "gives one, and --from RUN begins with that of a run."
        )
