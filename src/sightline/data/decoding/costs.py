"""How much memory decoding takes, and a bound on what all threads take together.

Everything here is known before a decoder is called: a file of 46 bytes can ask for 80 megapixels,
and a decoder allocates what it is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sightline.data.decoding.containers import Container
from sightline.errors import UnreadableImage

# The largest photographs of telephones, and above all medium-format cameras but one.
MAX_PIXELS: Final = 108_000_000
"""Largest image that is decoded, width times height; of a JPEG, once it is reduced."""

# Pillow keeps a pointer and a little more for every row.
_MOST_SIDE = 500_000
# Bytes a pixel while a format is decoded, measured with Pillow 13.0: where it decodes into a buffer of the library's
# own, that buffer is copied, and copied again.
_BYTES_A_PIXEL = {"WEBP": 18, "AVIF": 12, "HEIF": 12, "PPM": 7, "BMP": 5}
_USUAL_BYTES = 4


class Budget:
    """Bytes that all threads of the process may take together; who finds too few left waits."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._taken, self._changed = 0, threading.Condition()

    @contextmanager
    def hold(self, num_bytes: int) -> Iterator[None]:
        """Take some of it, all of it at most, until the block ends."""
        # More than there is would be waited for without end; who asks for it waits until it is alone.
        taken = min(num_bytes, self.num_bytes)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + taken <= self.num_bytes)
            self._taken += taken
        try:
            yield
        finally:
            with self._changed:
                self._taken -= taken
                self._changed.notify_all()


# With what Python, NumPy and ONNX Runtime take, a process stays below 1 GiB, whatever files it is given.
DECODING: Final = Budget(736 * 2**20)
FILES: Final = Budget(128 * 2**20)


def check_size(container: Container, size: tuple[int, int]) -> None:
    """Refuse an image for its size alone, as its header states it."""
    width, height = size
    # A JPEG can be decoded at an eighth of its width and height.
    most = MAX_PIXELS * (64 if container.format == "JPEG" else 1)
    if width * height > most or max(width, height) > _MOST_SIDE:
        raise UnreadableImage(
            f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} in all are decoded. Save it smaller."
        )


def bytes_to_decode(container: Container, size: tuple[int, int], wanted: tuple[int, int], channels: int) -> int:
    """What decoding takes at its peak."""
    if size[0] * size[1] > MAX_PIXELS:
        raise UnreadableImage(
            f"{size[0]:,} x {size[1]:,} pixels; at most {MAX_PIXELS:,} in all are decoded. Save it smaller."
        )
    pixels = size[0] * size[1]
    num_bytes = pixels * _BYTES_A_PIXEL.get(container.format, _USUAL_BYTES) + container.held_bytes
    # The resized image, and what Pillow keeps for every row.
    num_bytes += wanted[0] * wanted[1] * channels + 24 * size[1]
    if num_bytes > DECODING.num_bytes:
        raise UnreadableImage(
            f"{size[0]:,} x {size[1]:,} pixels that take {num_bytes / 2**20:,.0f} MiB to decode; at most "
            f"{DECODING.num_bytes / 2**20:,.0f} MiB are taken. Save it smaller, or as JPEG or PNG."
        )
    return num_bytes
