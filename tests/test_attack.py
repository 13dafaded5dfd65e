"""A slice of `tools/attack_images.py`, which is run whole before a release."""

import contextlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from sightline.data.decoding.decoder import decode_picture
from sightline.data.decoding.tiff import camera_model
from sightline.data.storage.stores import header_of
from sightline.errors import UnreadableImage

sys.path.append(str(Path(__file__).resolve().parent.parent / "tools"))
from hostile_images import mutant, sound_files, tiff

SOUND = sound_files()


def outcome(data):
    """True for pixels, False for a refusal; anything else is a fault."""
    with contextlib.suppress(UnreadableImage):
        header_of(data)
    try:
        decode_picture(data, color_mode="rgb", minimum_size=(64, 64))
        camera_model(data)
    except UnreadableImage:
        return False
    return True


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_are_read_and_damaged_ones_are_read_or_refused(name):
    assert outcome(SOUND[name])
    generator = np.random.default_rng(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(25):
            outcome(mutant(SOUND[name], generator))


@pytest.mark.parametrize("code", [1, 5, 8, 32_773])
@pytest.mark.parametrize("tile", [None, (40_000, 40_000)])
def test_a_tiff_of_a_kilobyte_that_asks_for_much_is_refused(code, tile):
    assert not outcome(tiff(9_000, 9_000, pixel=(8, 3), tile=tile, code=code))
