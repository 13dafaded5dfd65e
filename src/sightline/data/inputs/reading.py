"""One image, from its file to what a network is fed; what cannot be read is a reading, too, with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.decoder import DecodedImage, decode_picture
from sightline.data.decoding.transforms import resize_image
from sightline.data.inputs.input_spec import looks_inverted
from sightline.data.inputs.pixels import decoding_size
from sightline.data.inputs.properties import measured
from sightline.errors import UnreadableImage
from sightline.records import InputSpec

INVERTED_NOTICE = "looks like the inverse of the training images; --invert turns it"


@dataclass(frozen=True)
class Reading:
    """One image at network size, or why there is none; what was noticed on it, and measured where that is asked for."""

    pixels: NDArray[np.uint8] | None
    error: str | None = None
    notice: str | None = None
    seen: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Reader:
    """How images are read for a network.

    Attributes:
        spec: what it is fed.
        invert: turn light into dark first.
        with_properties: measure what can be seen without knowing what is on them (`Reading.seen`).
    """

    spec: InputSpec
    invert: bool = False
    with_properties: bool = False

    def file(self, source: Path | bytes) -> Reading:
        """An image file, or its bytes."""
        try:
            picture = decode_picture(source, color_mode=self.spec.color_mode, minimum_size=decoding_size(self.spec))
        except UnreadableImage as error:
            return Reading(None, error=str(error))
        return self.decoded(picture.pixels, picture)

    def decoded(self, image: NDArray[np.uint8], picture: DecodedImage | None = None) -> Reading:
        """A decoded image; `picture` where its file tells more of it."""
        upright = 255 - image if self.invert else image
        notice = INVERTED_NOTICE if looks_inverted(upright, self.spec) else None
        same = None if picture is None or self.invert else picture.picture
        fed, seen = resize_image(upright, self.spec, picture=same), None
        if self.with_properties:
            size = image.shape[:2] if picture is None else (picture.height, picture.width)
            seen = measured(fed, self.spec, size=size, kind="" if picture is None else picture.format)
        return Reading(fed, notice=notice, seen=seen)
