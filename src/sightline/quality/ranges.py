"""Whether images of 16 bits use them: 12 bits of a microscope, stored as they are, come out nearly black."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sightline.data.decoding.decoder import open_image
from sightline.data.storage.stores import decode_row
from sightline.errors import UnreadableImage
from sightline.quality.findings import Finding
from sightline.records import Dataset, Store
from sightline.system.text import counted

_NUM_SAMPLED = 16
# Two bits and more are never used; a few dark pictures among others are nothing to speak of.
_NARROW = 63
_LOOKED_AT = (512, 512)


def range_findings(dataset: Dataset, peaks: Mapping[int, int]) -> list[Finding]:
    """A warning where all images of 16 bits stay in the lowest quarter of the range, or less.

    `peaks` is row to the lightest of 256 levels, of the images that are stored with 16 bits.
    """
    if not peaks or max(peaks.values()) > _NARROW:
        return []
    levels = max(peaks.values()) + 1
    factor = 2 ** int(np.log2(256 / levels))
    detail = (
        f"{counted(len(peaks), 'image')} of 16 bits with at most {levels} of 256 grey levels between them: they hold "
        f"values up to about {257 * (levels - 1):,} of 65,535. Multiply all by one number, {factor} for instance, "
        "before saving them, those to be predicted later, too"
    )
    names = tuple(str(dataset.row_ids[row]) for row in sorted(peaks))
    return [Finding("narrow-range", "warning", names, detail)]


def sampled_peaks(dataset: Dataset) -> dict[int, int]:
    """`peaks` of some images, for training, which has forgotten how they were stored."""
    if not isinstance(dataset.images, Store):
        return {}
    rows = np.unique(np.linspace(0, len(dataset) - 1, _NUM_SAMPLED).astype(np.int64))
    found = {row: _peak(dataset.images, row) for row in rows.tolist()}
    return {row: peak for row, peak in found.items() if peak is not None}


def _peak(files: Store, row: int) -> int | None:
    try:
        _, container, _ = open_image(files.read(row))
        if container.bits <= 8:
            return None
        return int(decode_row(files, row, color_mode="rgb", minimum_size=_LOOKED_AT).pixels.max())
    except UnreadableImage:
        return None
