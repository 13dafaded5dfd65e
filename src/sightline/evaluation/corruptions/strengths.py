"""How strong each corruption is at each severity, for images of any size.

The numbers are those of CIFAR-10-C at 32 pixels a side and of ImageNet-C at 224; between the two they are
interpolated by the logarithm of the side, beyond them lengths grow and shrink with it.

Source:
    Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019,
    arXiv 1903.12261; the numbers stand in its repository hendrycks/robustness (Apache-2.0), `make_cifar_c.py` and
    `make_imagenet_c.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

SMALL, LARGE = 32, 224
SEVERITIES: Final = (1, 2, 3, 4, 5)
Levels = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Strength:
    """Parameters of a corruption by severity.

    Attributes:
        small: of images of 32 pixels a side, one tuple a severity.
        large: of 224 pixels.
        lengths: which of the parameters are in pixels.
    """

    small: Levels
    large: Levels
    lengths: tuple[int, ...] = ()

    def at(self, severity: int, side: int) -> tuple[float, ...]:
        """The parameters for a severity of 1 to 5 and an image whose shorter side has so many pixels."""
        share = min(max(math.log(side / SMALL) / math.log(LARGE / SMALL), 0.0), 1.0)
        growth = side / LARGE if side > LARGE else min(side / SMALL, 1.0)
        return tuple(
            _between(low, high, share) * (growth if number in self.lengths else 1)
            for number, (low, high) in enumerate(zip(self.small[severity - 1], self.large[severity - 1], strict=True))
        )


def _between(low: float, high: float, share: float) -> float:
    if low > 0 and high > 0:
        return low if low == high else math.exp((1 - share) * math.log(low) + share * math.log(high))
    return (1 - share) * low + share * high


def _single(*values: float) -> Levels:
    return tuple((value,) for value in values)


# Where a corruption takes several numbers, their meaning stands in `changes`.
STRENGTHS: Final[dict[str, Strength]] = {
    "gaussian noise": Strength(_single(0.04, 0.06, 0.08, 0.09, 0.10), _single(0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot noise": Strength(_single(500, 250, 100, 75, 50), _single(60, 25, 12, 5, 3)),
    "impulse noise": Strength(_single(0.01, 0.02, 0.03, 0.05, 0.07), _single(0.03, 0.06, 0.09, 0.17, 0.27)),
    "defocus blur": Strength(
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        lengths=(0,),
    ),
    "glass blur": Strength(
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        lengths=(0, 1),
    ),
    "motion blur": Strength(
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        lengths=(0, 1),
    ),
    "zoom blur": Strength(
        ((1.06, 7), (1.11, 12), (1.15, 16), (1.20, 21), (1.25, 26)),
        ((1.11, 12), (1.15, 16), (1.20, 11), (1.24, 13), (1.30, 11)),
    ),
    "snow": Strength(
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        lengths=(2, 4, 5),
    ),
    "frost": Strength(
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    "fog": Strength(
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": Strength(_single(0.05, 0.1, 0.15, 0.2, 0.3), _single(0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Strength(_single(0.75, 0.5, 0.4, 0.3, 0.15), _single(0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic": Strength(
        tuple(
            (32 * a, 32 * b, 32 * c)
            for a, b, c in ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
        ),
        tuple(
            (244 * a, 244 * b, 244 * c)
            for a, b, c in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
        ),
        lengths=(0, 1, 2),
    ),
    "pixelate": Strength(_single(0.95, 0.9, 0.85, 0.75, 0.65), _single(0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": Strength(_single(80, 65, 58, 50, 40), _single(25, 18, 15, 10, 7)),
}
