"""Maps for any network: how much less sure of a class it is where a place of the image is covered.

Source:
    Zeiler, Fergus, Visualizing and understanding convolutional networks, arXiv 1311.2901.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.maps.grid import Grid, even_grid
from sightline.bundles.sessions import Session
from sightline.metrics.conformal import label_scores
from sightline.records import InputSpec

# Squares along a side: 196 looks at each image.
MOST_CELLS = 14
# What is covered at once reaches so many cells to each side of the one in its middle.
_REACH = 1


@dataclass(frozen=True, eq=False)
class OcclusionMaps:
    """Covers one place after the other.

    Attributes:
        session: the network.
        grid: the places.
        has_several_labels: whether the log-odds of a class are its logit, and no other has a part in them.
    """

    session: Session
    grid: Grid
    has_several_labels: bool = False

    method = "occlusion"

    def drops(self, image: NDArray[np.uint8], label: int) -> tuple[NDArray[np.float64], float]:
        """How far the log-odds of a class fall where each place is covered, and what they are where none is.

        Args:
            image: (height, width, channels), as the network is fed it.
            label: the class.

        Returns:
            (rows, columns), and the log-odds of the image as it is.
        """
        covered = _Covered(image, self.grid)
        logits = self.session.logits(covered)
        odds = (logits.astype(np.float64) if self.has_several_labels else -label_scores(logits))[:, label]
        rows, columns = self.grid.rows.size, self.grid.columns.size
        return (odds[-1] - odds[:-1]).reshape(rows, columns), float(odds[-1])


def occlusion_maps(session: Session, spec: InputSpec, *, has_several_labels: bool = False) -> OcclusionMaps:
    """What covers places of images of such a size."""
    cells = (min(MOST_CELLS, spec.height), min(MOST_CELLS, spec.width))
    return OcclusionMaps(session, even_grid((spec.height, spec.width), cells), has_several_labels)


class _Covered:
    """One image with each place covered, and at the end as it is; made as it is sliced."""

    def __init__(self, image: NDArray[np.uint8], grid: Grid) -> None:
        """A place is covered with the colour that is in the middle of all in the image: mostly its background."""
        self.image, self.grid = image, grid
        self.color = np.median(image, axis=(0, 1)).astype(np.uint8)
        self.shape = (grid.rows.size * grid.columns.size + 1, *image.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: slice) -> NDArray[np.uint8]:
        places = range(len(self))[index]
        images = np.repeat(self.image[None], len(places), axis=0)
        for image, place in zip(images, places, strict=True):
            if place < len(self) - 1:
                row, column = divmod(place, self.grid.columns.size)
                image[_around(self.grid.rows.middles[row], self.grid.rows.step), :][
                    :, _around(self.grid.columns.middles[column], self.grid.columns.step)
                ] = self.color
        return images


def _around(middle: float, step: float) -> slice:
    reach = step * (_REACH + 0.5)
    return slice(max(round(middle - reach), 0), round(middle + reach))
