"""How EfficientNet-Lite0 is put together: the one description that its ONNX file and its Keras network are built by."""

from __future__ import annotations

from dataclasses import dataclass

SIDE = 224
EPSILON = 1e-3
STEM_FILTERS = 32
NUM_FEATURES = 1280
# (blocks, kernel, stride of the first block, expansion, filters) of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The last block of the fifth stage: what stands above it is the upper part, which is fine-tuned alone at first.
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


def blocks() -> tuple[Block, ...]:
    """The sixteen blocks in order.

    Source:
        Tan, Le, EfficientNet, arXiv 1905.11946; the Lite variants leave out squeeze-and-excitation.
    """
    made: list[Block] = []
    filters_in = STEM_FILTERS
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            first = stride if repeat == 0 else 1
            made.append(Block(len(made), kernel, first, expansion, filters_in, filters))
            filters_in = filters
    return tuple(made)
