"""What a network of others is fed, as its user describes it, and images prepared so: in NumPy, beside the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.checks import LARGEST_SIDE
from sightline.errors import InvalidValue, closest
from sightline.records import InputSpec
from sightline.system.stored import read_json
from sightline.system.text import printable

# Of channels from 0 to 1: what is subtracted, and by what is divided then.
SCALINGS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "0..1": ((0.0,), (1.0,)),
    "-1..1": ((0.5,), (0.5,)),
    "0..255": ((0.0,), (1 / 255,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
COLORS = ("rgb", "bgr", "grey")
LAYOUTS = ("channels_last", "channels_first")
RESIZES = ("fill", "stretch", "fit")
OUTPUTS = ("probabilities", "logits")
KEYS = ("size", "colors", "layout", "scaling", "mean", "std", "resize", "output")
_CHOICES = {"colors": COLORS, "layout": LAYOUTS, "resize": RESIZES, "output": OUTPUTS}


@dataclass(frozen=True)
class Preparation:
    """From an image at network size, uint8 RGB or grey, to what a network takes.

    Attributes:
        spec: size, colour mode and resize rule.
        is_bgr: whether blue comes first.
        is_channels_first: whether (channels, height, width) is taken.
        mean: of each channel or of all, in values from 0 to 1.
        std: by which values less the mean are divided.
        output: "probabilities" or "logits", or None where that was not said.
    """

    spec: InputSpec
    is_bgr: bool
    is_channels_first: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    output: str | None

    @property
    def linear(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Factor and shift of bytes, of all channels or each."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(num_images, height, width, channels) uint8 to float32, in the layout of the network."""
        values = images[..., ::-1] if self.is_bgr else images
        scaled = (values / 255.0 - np.array(self.mean)) / np.array(self.std)
        return np.ascontiguousarray(np.moveaxis(scaled, 3, 1) if self.is_channels_first else scaled, np.float32)

    @property
    def words(self) -> str:
        """In one line, for people."""
        order = "BGR" if self.is_bgr else "RGB" if self.spec.channels == 3 else "grey"
        lowest, highest = (float(self.linear[0][0]) * level + float(self.linear[1][0]) for level in (0, 255))
        layout = "channels first" if self.is_channels_first else "channels last"
        return (
            f"{self.spec.height}x{self.spec.width} {order}, {layout}, bytes to {lowest:.4g}..{highest:.4g}"
            f"{' in the first channel' if len(self.mean) > 1 else ''}, resized by {self.spec.resize}"
        )


def read_fields(description: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What was said of a network, in a JSON file or by itself."""
    if not isinstance(description, str | Path):
        told: Any = {} if description is None else description
    else:
        try:
            told = read_json(Path(description))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidValue(
                f"{printable(str(description))}: cannot be read ({reason}). It is a JSON object of {', '.join(KEYS)}."
            ) from error
    if not isinstance(told, Mapping):
        raise InvalidValue(f"a description is an object of {', '.join(KEYS)}; got {type(told).__name__}.")
    return told


def read_description(description: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """What was said of a network, of known keys and values; an InvalidValue names what is none."""
    told = read_fields(description)
    for key, value in told.items():
        if key not in KEYS:
            raise InvalidValue(f"'{printable(str(key))}' says nothing of a network. {closest(str(key), KEYS)}")
        if key in _CHOICES and value is not None and value not in _CHOICES[key]:
            raise InvalidValue(f"{key} must be {' or '.join(_CHOICES[key])}; got {_given(value)}.")
    return {"size": _size(told.get("size")), **_linear(told), **_chosen(told)}


def _chosen(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: told.get(key) for key in _CHOICES}


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = [value, value] if type(value) is int else value
    is_pair = isinstance(sides, list | tuple) and len(sides) == 2
    if not is_pair or any(type(side) is not int or not 1 <= side <= LARGEST_SIDE for side in sides):
        raise InvalidValue(
            f"size must be a number of pixels from 1 to {LARGEST_SIDE:,}, or height and width; got {_given(value)}."
        )
    return sides[0], sides[1]


def _linear(told: Mapping[str, Any]) -> dict[str, Any]:
    """Mean and standard deviation, given by themselves or by the name of a scaling; nothing where neither was."""
    name, mean, std = (told.get(key) for key in ("scaling", "mean", "std"))
    if name is not None and (mean is not None or std is not None):
        raise InvalidValue("give scaling, or mean and std, not both.")
    if name is not None:
        if name not in SCALINGS:
            raise InvalidValue(f"scaling must be {' or '.join(SCALINGS)}, or mean and std; got {_given(name)}.")
        mean, std = SCALINGS[name]
    elif (mean is None) != (std is None):
        raise InvalidValue(f"mean and std belong together; {'std' if std is None else 'mean'} is missing.")
    return {"mean": _numbers("mean", mean), "std": _numbers("std", std)}


def _numbers(key: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    is_sound = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
    if len(numbers) not in (1, 3) or not is_sound or (key == "std" and any(number < 1e-6 for number in numbers)):
        kind = "numbers above 0" if key == "std" else "numbers"
        raise InvalidValue(
            f"{key} must be one or three {kind}, for channels from 0 to 1 (0.485, not 123.7); got {_given(value)}."
        )
    return tuple(map(float, numbers))


def prepare(
    told: Mapping[str, Any], shape: tuple[int | str, ...], file: str, *, known: Mapping[str, Any]
) -> Preparation:
    """How images are prepared, by what was said, by what is known of such files, and by the input of the network.

    Args:
        told: as `read_description` gives it.
        shape: of the network's input, the batch first; a word stands for a side that is not fixed.
        file: what messages call it.
        known: what is said of such a file where its user says nothing.
    """
    asked: dict[str, Any] = {key: value if value is not None else known.get(key) for key, value in told.items()}
    for key in ("mean", "resize"):
        if asked.get(key) is None:
            raise InvalidValue(f"{file}: {_MISSING[key]}")
    layout, (height, width, channels) = _sides(asked, shape, file)
    colors = asked.get("colors") or ("grey" if channels == 1 else "rgb")
    if (channels == 1) != (colors == "grey"):
        raise InvalidValue(f"{file}: takes {channels} colour channels, and colors says '{colors}'. Name what it takes.")
    if channels == 1 and len(asked["mean"]) + len(asked["std"]) > 2:
        raise InvalidValue(f"{file}: takes one colour channel; name one number as mean and as std.")
    spec = InputSpec(height, width, "grey" if channels == 1 else "rgb", asked["resize"])
    is_first = layout == "channels_first"
    return Preparation(spec, colors == "bgr", is_first, asked["mean"], asked["std"], asked.get("output"))


_MISSING = {
    "mean": (
        "how its input is scaled is not in the file, and a wrong guess gives wrong answers without a word. Name it: "
        f"--scaling {'|'.join(SCALINGS)} (or mean and std in a description)."
    ),
    "resize": (
        "how images were brought to its size is not in the file. Name it: --resize fill (cropped to the middle, as "
        "torchvision and Teachable Machine do), stretch (distorted, as Keras' image_dataset_from_directory) or fit "
        "(padded)."
    ),
}


def _sides(asked: Mapping[str, Any], shape: tuple[int | str, ...], file: str) -> tuple[str, tuple[int, int, int]]:
    if len(shape) != 4:
        raise InvalidValue(
            f"{file}: takes {_shown(shape)}; images are (batch, height, width, channels) or (batch, channels, height, "
            "width). Adopt a network that takes images."
        )
    layout = asked.get("layout") or _layout(shape, file)
    axes = (1, 2, 3) if layout == "channels_last" else (2, 3, 1)
    *given, channels = (shape[axis] for axis in axes)
    sides = [_side(side, asked.get("size"), index, file) for index, side in enumerate(given)]
    if not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise InvalidValue(f"{file}: takes {_shown(shape)}; sides from 1 to {LARGEST_SIDE:,} pixels can be fed.")
    if not isinstance(channels, int):
        channels = 1 if asked.get("colors") == "grey" else 3
    if channels not in (1, 3):
        raise InvalidValue(f"{file}: takes {_shown(shape)}, {channels} channels; 1 (grey) or 3 (colour) can be fed.")
    return layout, (sides[0], sides[1], channels)


def _layout(shape: tuple[int | str, ...], file: str) -> str:
    """Where the channels are, if the sides say it."""
    for name, axis in (("channels_last", 3), ("channels_first", 1)):
        if shape[axis] in (1, 3) and shape[4 - axis] not in (1, 3):
            return name
    raise InvalidValue(f"{file}: takes {_shown(shape)}; say where the channels are: --layout {'|'.join(LAYOUTS)}.")


def _side(side: int | str, size: tuple[int, int] | None, index: int, file: str) -> int:
    given = None if size is None else size[index]
    if isinstance(side, int):
        if given not in (None, side):
            raise InvalidValue(f"{file}: takes images of {side} pixels, and size says {given}. Leave size out.")
        return side
    if given is None:
        raise InvalidValue(f"{file}: takes images of any size; name the one it learned at: --size 224.")
    return given


def _given(value: Any) -> str:
    return printable(repr(value))[:60]


def _shown(shape: tuple[int | str, ...]) -> str:
    return printable(f"({', '.join(str(side) or '?' for side in shape)})")
