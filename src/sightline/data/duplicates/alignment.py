"""How alike two thumbnails are: a quick word of a few numbers, then a close look with one laid over the other.

All pairs of a source are too many to be looked at closely, so most are dismissed by one product of two short
vectors. The quick word is the low part of the cosine transform: mirroring an image only changes signs in it, and
turning it swaps the axes, so that a word keeps its length however the image is laid down, and the eight ways are
eight words of the one image against one of the other. A crop changes it further; six slight ones are tried besides.

What passes is looked at closely. A crop of a tenth moves edges by three pixels of a thumbnail, enough to make the
same picture differ everywhere; so one thumbnail is first shifted and stretched until it lies over the other, by least
squares as Lucas and Kanade do. Only then are light and shade compared, and fine structure with equal weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.duplicates.fingerprints import THUMBNAIL_SIDE, blurred, fine_structure

Array = NDArray[np.float32]

# Low frequencies, u + v from 1 to 7, weighted so that light and shade do not drown the rest. Frequency by
# frequency, natural images fall off by about 1 / (u + v); undone in part, unlike images become far apart. On 500
# photographs of hands a third as many unlike pairs pass as without weights; at 1.4 the first crops are lost. With six
# frequencies (20 numbers) four times as many pass as with eight (35); with ten the first crops are lost again.
_FREQUENCIES = 8
_U, _V = np.mgrid[:_FREQUENCIES, :_FREQUENCIES]
_KEPT = (_U + _V >= 1) & (_U + _V < _FREQUENCIES)
_WEIGHTS = np.asarray((_U + _V) ** 0.7, np.float32)
_STEPS = np.arange(THUMBNAIL_SIDE)
_COSINES = np.asarray(
    np.cos(np.pi * (_STEPS[None] + 0.5) * np.arange(_FREQUENCIES)[:, None] / THUMBNAIL_SIDE), np.float32
)

# From -1 to 1 over the thumbnail, so that a crop is a scale and a shift: 1 - left - right and left - right.
_COORDINATES = np.asarray((_STEPS + 0.5) / THUMBNAIL_SIDE * 2 - 1, np.float32)
# Left and right, then top and bottom: all around a little, all around much, and off centre each way. Of crops of up to
# 10 % a side, 30 % pass by the upright word alone, 83 % with the first two, all with the six.
_CROPS = (
    ((0.05, 0.05), (0.05, 0.05)),
    ((0.09, 0.09), (0.09, 0.09)),
    *((across, down) for across in ((0.08, 0.02), (0.02, 0.08)) for down in ((0.08, 0.02), (0.02, 0.08))),
)
# Width of the smoothing in pixels, iterations. The rough stage brings the search near from afar, one iteration of it
# is too few; without the sharp one, crops of fine texture stay a tenth further off. Twice the iterations find no more.
_STAGES = ((1.5, 4), (0.8, 3))
# Added to the sums of squared slopes, 1,000 to 20,000 on photographs: it is felt where there is next to no slope.
_RIDGE = 5
# What is finer than this, in pixels, tells of the resampling and the JPEG rather than of the picture.
_FINEST = 0.6
# Beyond these the two thumbnails show different things: 10 % cropped on both sides of either (0.8 of the width, or its
# inverse 1.25) or on one (a shift of 0.1), and a little more.
_LEAST_SCALE, _MOST_SCALE, _MOST_SHIFT = 0.76, 1.32, 0.14


@dataclass(frozen=True)
class Transform:
    """One way in which a copy may have been laid down before it is compared.

    Attributes:
        transpose: rows and columns swapped, first of all.
        across: mirrored left to right.
        down: mirrored top to bottom.
        start: (scale, shift) across and down, where the search for the crop begins.
    """

    transpose: bool = False
    across: bool = False
    down: bool = False
    start: tuple[float, float, float, float] = (1.0, 0.0, 1.0, 0.0)

    @property
    def name(self) -> str:
        """Either "flipped" or "turned"; "" where the image stands as it was."""
        # Swapping rows and columns is a mirroring, too: two mirrorings make a turn, one or three a flip.
        if not (self.transpose or self.across or self.down):
            return ""
        return "flipped" if (self.transpose + self.across + self.down) % 2 else "turned"


UPRIGHT: Final = tuple(
    Transform(transpose, across, down)
    for transpose in (False, True)
    for across in (False, True)
    for down in (False, True)
)
"""The eight ways to lay an image down; the first leaves it as it is."""

CROPPED: Final = tuple(
    Transform(start=(1 - left - right, left - right, 1 - top - bottom, top - bottom))
    for (left, right), (top, bottom) in _CROPS
)
"""Six slight crops, so near one another that the search finds the rest of the way."""


def transposed(thumbnails: Array, change: Transform) -> Array:
    """(num_images, 32, 32) thumbnails mirrored and turned."""
    if change.transpose:
        thumbnails = thumbnails.swapaxes(1, 2)
    return thumbnails[:, :: -1 if change.down else 1, :: -1 if change.across else 1]


def descriptors(thumbnails: Array, change: Transform = UPRIGHT[0]) -> Array:
    """The quick word on each thumbnail, once it is changed.

    Args:
        thumbnails: (num_images, 32, 32), any range.
        change: how it is laid down or cropped beforehand.

    Returns:
        (num_images, 35) of length 1: the product of two says how alike they are,
        whatever their brightness and contrast. Zeros for a uniform image.
    """
    if change.start != UPRIGHT[0].start:
        scale_across, shift_across, scale_down, shift_down = np.array(change.start, np.float32)[:, None]
        across, down = _resampling(scale_across, shift_across)[0], _resampling(scale_down, shift_down)[0]
        thumbnails = np.asarray(down @ thumbnails @ across.swapaxes(1, 2), np.float32)
    # The cosine transform of a square, its two sides one after the other. (0, 0), the mean, is not among what is kept,
    # and the length is divided out: neither brightness nor contrast is left in a word.
    # Turned or cropped, never both: six crops of each of eight ways would be 48 words for a change that hardly occurs.
    table = _COSINES @ transposed(thumbnails, change) @ _COSINES.T
    words = (table * _WEIGHTS)[:, _KEPT]
    lengths = np.sqrt((words * words).sum(axis=1, keepdims=True))
    # In grey levels: what has none of them is uniform, and its direction would be rounding.
    return np.asarray(np.where(lengths > 1e-3, words / np.maximum(lengths, 1e-3), 0), np.float32)


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Thumbnails at the smoothings that a close look takes, made once however many pairs they are in.

    Attributes:
        stages: for each stage of the search, (num_images, 32, 32) of mean 0 and deviation 1.
        sharp: (num_images, 32, 32), without what is finer than 0.6 pixels.
    """

    stages: tuple[Array, ...]
    sharp: Array

    def take(self, rows: NDArray[np.int64]) -> Smoothed:
        """The same for some of the thumbnails."""
        return Smoothed(tuple(stage[rows] for stage in self.stages), self.sharp[rows])


def smoothed(thumbnails: Array) -> Smoothed:
    """What `distance_after_alignment` compares thumbnails by.

    Args:
        thumbnails: (num_images, 32, 32), already laid down as they are to be compared.
    """
    stages = tuple(_standardised(blurred(thumbnails, width)) for width, _ in _STAGES)
    return Smoothed(stages, blurred(thumbnails, _FINEST))


def distance_after_alignment(first: Smoothed, second: Smoothed, starts: Array) -> tuple[Array, Array]:
    """Lay the first thumbnail of each pair over the second and compare.

    Args:
        first: of num_pairs thumbnails.
        second: of as many, already laid down as the first.
        starts: (num_pairs, 4) where each search begins: scale and shift across, scale and shift down.

    Returns:
        (num_pairs,) distances: 0 for the same picture, about 1 for unlike ones. Half is
        correlation of the grey values and half of their fine structure.
        (num_pairs, 4) the scales and shifts that were found.

    Source:
        Baker and Matthews, Lucas-Kanade 20 Years On, IJCV 56 (2004): inverse composition.
    """
    found = _aligned(first, second, starts)
    # The search goes by smoothed thumbnails; what is compared is all but the traces of resampling and JPEG. Half and
    # half: different things before one wall have light and shade in common, a coarse JPEG keeps little fine structure.
    over, inside = _laid_over(first.sharp, found)
    light = _correlation(over, second.sharp, inside)
    structure = _correlation(fine_structure(over), fine_structure(second.sharp), inside)
    return np.asarray(1 - (light + structure) / 2, np.float32), found


def _resampling(scales: Array, shifts: Array) -> tuple[Array, NDArray[np.bool_]]:
    """(num, 32, 32) matrices that read a line at scale * coordinate + shift, and which results lie inside of it."""
    coordinates = ((scales[:, None] * _COORDINATES + shifts[:, None]) + 1) * (THUMBNAIL_SIDE / 2) - 0.5
    # Half a pixel past the outermost centres the picture ends; what is read from beyond is the edge, and not compared.
    inside = (coordinates >= -0.5) & (coordinates <= THUMBNAIL_SIDE - 0.5)
    distances = np.abs(np.clip(coordinates, 0, THUMBNAIL_SIDE - 1)[:, :, None] - _STEPS.astype(np.float32))
    # Linear interpolation as a matrix: a shift and a stretch along rows and columns is then two products for any number
    # of pairs, and no gathering of single pixels.
    return np.maximum(0, 1 - distances), inside


def _aligned(first: Smoothed, second: Smoothed, starts: Array) -> Array:
    """Scales and shifts that lay `first` over `second`: roughly on smoothed thumbnails, then on sharper ones."""
    found = np.array(starts, np.float32)
    # The smoother, the further a slope points the right way: rough first, so that the exact search begins near its end.
    for (_, iterations), moving, still in zip(_STAGES, first.stages, second.stages, strict=True):
        # How the still thumbnail would change with each of the four numbers. That it is the still one ("inverse
        # composition") makes slopes and solver the same in every iteration: they are made once.
        # The distance of two pixels is 2 / 32: _COORDINATES go from -1 to 1.
        slope_down, slope_across = np.gradient(still, 2 / THUMBNAIL_SIDE, axis=(1, 2))
        scaling_across, scaling_down = slope_across * _COORDINATES, slope_down * _COORDINATES[:, None]
        slopes = np.stack([scaling_across, slope_across, scaling_down, slope_down], axis=1).reshape(len(found), 4, -1)
        # The ridge keeps a thumbnail without slopes in one direction from running off in it.
        solver = np.linalg.inv(slopes @ slopes.swapaxes(1, 2) + _RIDGE * np.eye(4, dtype=np.float32))
        for _ in range(iterations):
            over, inside = _laid_over(moving, found)
            # Of both only what lies in both, and there at one mean and one contrast: a brightened copy is no error.
            error = (_standardised(over, inside) - _standardised(still, inside)).reshape(len(found), -1, 1)
            step = (solver @ (slopes @ error))[:, :, 0]
            # The step was found for the still thumbnail, so the other takes it backwards: x -> scale * x + shift after
            # the inverse of x -> (1 + step) * x + step. Scales stand in columns 0 and 2, shifts in 1 and 3.
            scales = found[:, 0::2] / (1 + step[:, 0::2])
            shifts = found[:, 1::2] - scales * step[:, 1::2]
            found[:, 0::2] = np.clip(scales, _LEAST_SCALE, _MOST_SCALE)
            found[:, 1::2] = np.clip(shifts, -_MOST_SHIFT, _MOST_SHIFT)
    return found


def _laid_over(thumbnails: Array, found: Array) -> tuple[Array, Array]:
    """Thumbnails scaled and shifted, and 1 where something of them lies."""
    across, inside_across = _resampling(found[:, 0], found[:, 1])
    down, inside_down = _resampling(found[:, 2], found[:, 3])
    inside = (inside_down[:, :, None] & inside_across[:, None, :]).astype(np.float32)
    return np.asarray(down @ thumbnails @ across.swapaxes(1, 2), np.float32), inside


def _standardised(thumbnails: Array, inside: Array | None = None) -> Array:
    """Mean 0 and deviation 1 over what counts; zero elsewhere."""
    if inside is None:
        inside = np.ones_like(thumbnails)
    counts = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    centred = (thumbnails - (thumbnails * inside).sum(axis=(1, 2), keepdims=True) / counts) * inside
    deviations = np.sqrt((centred * centred).sum(axis=(1, 2), keepdims=True) / counts)
    return np.asarray(centred / np.maximum(deviations, 1e-3))


def _correlation(first: Array, second: Array, inside: Array) -> Array:
    """Of the two over what counts, from -1 to 1."""
    products = _standardised(first, inside) * _standardised(second, inside)
    return np.asarray(products.sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1))
