"""How the networks of the EfficientNet-Lite kind are put together: what their ONNX and Keras networks are built by."""

from __future__ import annotations

import math
from dataclasses import dataclass

SIDE = 224
EPSILON = 1e-3
# Of all variants alike, however wide.
STEM_FILTERS = 32
NUM_FEATURES = 1280
# (blocks, kernel, stride of the first block, expansion, filters) of each stage of Lite0.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# How much wider and deeper than Lite0.
SCALES: dict[str, tuple[float, float]] = {
    "efficientnet-lite0": (1.0, 1.0),
    "efficientnet-lite1": (1.0, 1.1),
    "efficientnet-lite2": (1.1, 1.2),
}
# The last block of the fifth stage of Lite0: what stands above it is the upper part, which is fine-tuned alone first.
CUT = 10


@dataclass(frozen=True)
class Block:
    """One inverted bottleneck: expand, convolve each channel by itself, project."""

    index: int
    kernel: int
    stride: int
    expansion: int
    filters_in: int
    filters: int

    @property
    def name(self) -> str:
        """What its weights' names begin with."""
        return f"_blocks.{self.index}"

    @property
    def has_residual(self) -> bool:
        """True where the input is added to the output."""
        return self.stride == 1 and self.filters_in == self.filters


def blocks(name: str = "efficientnet-lite0") -> tuple[Block, ...]:
    """The blocks of a variant in order, sixteen of Lite0.

    Source:
        Tan, Le, EfficientNet, arXiv 1905.11946; the Lite variants leave out squeeze-and-excitation, and scale neither
        the stem nor the number of blocks in the first and last stage.
    """
    width, depth = SCALES[name]
    made: list[Block] = []
    filters_in = STEM_FILTERS
    for number, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES):
        is_outer = number in (0, len(STAGES) - 1)
        scaled = _rounded(filters * width)
        for repeat in range(repeats if is_outer else math.ceil(repeats * depth)):
            first = stride if repeat == 0 else 1
            made.append(Block(len(made), kernel, first, expansion, filters_in, scaled))
            filters_in = scaled
    return tuple(made)


def _rounded(filters: float) -> int:
    """To the nearest multiple of 8 that takes away no more than a tenth."""
    nearest = max(8, int(filters + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * filters else nearest
