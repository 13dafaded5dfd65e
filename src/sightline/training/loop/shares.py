"""Which part of each batch a process feeds, where several learn from it together; imports no Keras."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """The part of one of several processes: as many images of each batch as any other.

    The parts in the order of the processes are the batch as one process would feed it. A last batch that does not
    divide is fed with its last image several times; by the number of images that come together it is known for what it
    is, and cut to its own again before anything learns from it (`loop.ranks`).

    Attributes:
        number: of the process, from 0.
        count: of processes.
    """

    number: int
    count: int

    def num_fed(self, num_images: int, *, batch_size: int) -> int:
        """How many images all processes feed together for so many; that of a whole batch only for a whole batch."""
        fed = math.ceil(num_images / self.count) * self.count
        return fed + self.count if fed == batch_size and num_images < batch_size else fed

    def positions(self, num_images: int, *, batch_size: int) -> NDArray[np.int64]:
        """(num_fed / count,) which images of a batch of so many this process feeds."""
        fed = self.num_fed(num_images, batch_size=batch_size) // self.count
        return np.minimum(np.arange(self.number * fed, (self.number + 1) * fed), num_images - 1)
