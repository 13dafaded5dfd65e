"""What corruptions are made with: blurs, shifts, samples between pixels, clouds; all on (height, width, channels)."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]


def gaussian(pixels: Pixels, sigma: float, *, truncate: float = 4.0) -> Pixels:
    """Blurred by a Gaussian of so many pixels; borders are mirrored."""
    if sigma <= 0:
        return pixels
    down, across = (_gaussian_matrix(side, sigma, truncate) for side in pixels.shape[:2])
    return np.moveaxis(down @ np.moveaxis(pixels, 2, 0) @ across.T, 0, 2)


@functools.lru_cache(maxsize=64)
def _gaussian_matrix(side: int, sigma: float, truncate: float) -> Pixels:
    reach = int(truncate * sigma + 0.5)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    # A row a pixel that is made, a column one that it is made of.
    matrix = np.zeros((side, side))
    for row in range(side):
        np.add.at(matrix[row], _mirrored(row + steps, side), weights / weights.sum())
    return matrix


def _mirrored(places: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Places beyond the border as those before it, the border itself twice: d c b a | a b c d."""
    turned = np.mod(places, 2 * side)
    return np.where(turned < side, turned, 2 * side - 1 - turned)


def disk(radius: float, softness: float) -> Pixels:
    """The point of light of a lens out of focus, its rim softened by a Gaussian of so many pixels."""
    reach = 8 if radius <= 8 else math.ceil(radius)
    steps = np.arange(-reach, reach + 1)
    sharp = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float64)
    rim = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    weights = np.exp(-0.5 * (rim / softness) ** 2)
    weights /= weights.sum()
    wide = np.pad(sharp / sharp.sum(), len(rim) // 2, mode="reflect")
    soft = np.apply_along_axis(np.convolve, 0, wide, weights, mode="valid")
    return np.asarray(np.apply_along_axis(np.convolve, 1, soft, weights, mode="valid"))


def convolved(pixels: Pixels, kernel: Pixels) -> Pixels:
    """Each channel with a symmetric kernel; borders are mirrored without being doubled."""
    used = np.flatnonzero(kernel.any(axis=0))
    reach = max(int(np.abs(used - kernel.shape[1] // 2).max()), 0)
    middle = kernel.shape[0] // 2
    kernel = kernel[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    height, width = pixels.shape[:2]
    wide = np.pad(
        pixels, ((reach, reach), (reach, reach), (0, 0)), mode="reflect" if min(height, width) > reach else "edge"
    )
    shape = (wide.shape[0] + 2 * reach, wide.shape[1] + 2 * reach)
    seen = np.fft.rfft2(wide, shape, axes=(0, 1)) * np.fft.rfft2(kernel, shape)[:, :, None]
    whole = np.fft.irfft2(seen, shape, axes=(0, 1))
    return whole[2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


def dragged(pixels: Pixels, radius: float, sigma: float, degrees: float) -> Pixels:
    """Blurred along a line that begins at each pixel, half a Gaussian long; borders are continued."""
    count = 2 * math.ceil(radius) + 1
    weights = np.exp(-0.5 * (np.arange(count) / max(sigma, 1e-3)) ** 2)
    weights /= weights.sum()
    angle = math.radians(degrees)
    shifts = [
        (math.ceil(step * math.cos(angle) - 0.5), math.ceil(step * math.sin(angle) - 0.5)) for step in range(count)
    ]
    height, width = pixels.shape[:2]
    wide = np.pad(pixels, ((count, count), (count, count), (0, 0)), mode="edge")
    made = np.zeros_like(pixels)
    for weight, (down, across) in zip(weights.tolist(), shifts, strict=True):
        if weight > 1e-5:
            top, left = count + down, count + across
            made += weight * wide[top : top + height, left : left + width]
    return made


def sampled(pixels: Pixels, rows: Pixels, columns: Pixels) -> Pixels:
    """What stands at places between pixels, (height, width) each, by the four around; borders are mirrored."""
    height, width = pixels.shape[:2]
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, across = (rows - top)[:, :, None], (columns - left)[:, :, None]
    first, second = _mirrored(top, height), _mirrored(top + 1, height)
    before, behind = _mirrored(left, width), _mirrored(left + 1, width)
    upper = pixels[first, before] * (1 - across) + pixels[first, behind] * across
    lower = pixels[second, before] * (1 - across) + pixels[second, behind] * across
    return np.asarray(upper * (1 - down) + lower * down)


def enlarged(pixels: Pixels, factor: float) -> Pixels:
    """The middle, enlarged to the whole by what stands between pixels."""
    return _enlarged_line(_enlarged_line(pixels, factor).swapaxes(0, 1), factor).swapaxes(0, 1)


def _enlarged_line(pixels: Pixels, factor: float) -> Pixels:
    """Along the first axis."""
    side = len(pixels)
    kept = math.ceil(side / factor)
    whole = round(kept * factor)
    first, trimmed = (side - kept) // 2, (whole - side) // 2
    places = first + (trimmed + np.arange(side)) * ((kept - 1) / max(whole - 1, 1))
    before = np.clip(np.floor(places).astype(np.int64), 0, side - 1)
    share = np.clip(places - before, 0, 1)[:, None, None]
    return np.asarray(pixels[before] * (1 - share) + pixels[np.minimum(before + 1, side - 1)] * share)


def cloud(height: int, width: int, *, decay: float, generator: np.random.Generator) -> Pixels:
    """(height, width) in [0, 1]: noise of all sizes, each half the size of the last and `decay` times as faint."""
    made, strength, count = np.zeros((height, width)), 1.0, 2
    while True:
        noise = generator.uniform(-1, 1, (count + 1, count + 1, 1))
        rows, columns = (np.linspace(0, count, side) for side in (height, width))
        grid = np.meshgrid(rows, columns, indexing="ij")
        made += strength * sampled(noise, grid[0], grid[1])[:, :, 0]
        if count >= max(height, width):
            break
        count, strength = 2 * count, strength / decay
    made -= made.min()
    return made / max(float(made.max()), 1e-12)
