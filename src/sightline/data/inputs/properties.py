"""What can be measured of an image without knowing what is on it: its size, its light and its file."""

from __future__ import annotations

from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.formats import ImageFormat
from sightline.data.decoding.transforms import fitted_part
from sightline.data.inputs.pixels import Pixels
from sightline.data.storage.stores import image_headers
from sightline.records import Dataset, InputSpec, Store
from sightline.system.progress import reporter

MEASURED: Final = ("width", "height", "brightness", "contrast", "sharpness", "colour", "format")
"""The columns of what is measured, as `measured` has them."""
OUTPUT: Final = "properties"
"""What a maker of details asks for beside outputs of the graph, to be given what is measured."""
# Formats are kept as numbers, so the order stays: new ones come last.
FORMATS: Final[tuple[str, ...]] = get_args(ImageFormat)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255


def measured(fed: NDArray[np.uint8], spec: InputSpec, *, size: tuple[int, int], kind: str = "") -> NDArray[np.float32]:
    """The properties of one image, most of them of what the network is fed, without the border around it.

    Args:
        fed: (height, width, channels) uint8, as the network is fed it.
        spec: of the network.
        size: (height, width) of the upright image as it is stored.
        kind: the format of its file by Pillow's names; "" where there is none.

    Returns:
        (7,) float32, as `MEASURED`: pixels as stored; brightness, the mean grey, 0 to 1; contrast, the standard
        deviation of grey, 0 to 0.5; sharpness, how far a pixel lies from the mean of its neighbours, in parts of the
        contrast; colour, the mean difference of the highest and the lowest channel, 0 to 1; the index into
        `FORMATS`. NaN is what an image has not: a file, or a network that sees colours.
    """
    shown = fed[fitted_part(size, spec)] if spec.resize == "fit" else fed
    has_colours = shown.shape[2] == 3
    grey = np.asarray(shown @ _LUMA if has_colours else shown[:, :, 0] / np.float32(255), np.float32)
    contrast = float(grey.std())
    colour = float((shown.max(axis=2) - shown.min(axis=2)).mean()) / 255 if has_colours else np.nan
    sharpness = _fine(grey) / contrast if contrast > 1e-3 else 0.0
    number = FORMATS.index(kind) if kind in FORMATS else np.nan
    return np.array([size[1], size[0], grey.mean(), contrast, sharpness, colour, number], np.float32)


def _fine(grey: NDArray[np.float32]) -> float:
    """Root mean square of each inner pixel less the mean of its four neighbours."""
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    around = (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]) / 4
    return float(np.sqrt(((inner - around) ** 2).mean()))


def measured_rows(dataset: Dataset, pixels: Pixels, spec: InputSpec) -> NDArray[np.float32]:
    """(num_images, 7) as `measured`, of images that were read already: of their files the headers alone are looked at.

    Args:
        dataset: the rows.
        pixels: of the same rows.
        spec: of the network.
    """
    if isinstance(dataset.images, Store):
        sizes, kinds = image_headers(dataset.images, np.arange(len(dataset)))
    else:
        sizes, kinds = np.tile(dataset.images.shape[1:], (len(dataset), 1)), [""] * len(dataset)
    found = np.full((len(dataset), len(MEASURED)), np.nan, np.float32)
    with reporter().bar("measuring", total=len(dataset)) as bar:
        for row, ((height, width, _), kind) in enumerate(zip(sizes.tolist(), kinds, strict=True)):
            if height and row not in pixels.errors:  # else its file is gone by now
                found[row] = measured(pixels[row], spec, size=(height, width), kind=kind)
            bar.advance(1)
    return found
