"""What of novelty and of the nearest training images goes into a bundle, and what its card says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import Session
from sightline.bundles.trust.neighbours import neighbours_section, write_neighbours, write_thumbnails
from sightline.bundles.trust.novelty import known_distances, novelty_section, write_novelty
from sightline.training.packaging.novelty_fit import FittedNovelty
from sightline.training.packaging.novelty_graph import add_novelty
from sightline.training.setup.preparation import Prepared


def with_novelty(session: Session, data: Prepared, fitted: FittedNovelty | None, *, width: int) -> Session:
    """The network with outputs that tell what is unlike what it learned, where there was enough to fit them by."""
    if fitted is None:
        return session
    add_novelty(session.path, fitted, width=width, with_nearest=data.recipe.data.neighbours != "none")
    return Session(session.path, num_classes=session.num_classes)


def write_novelty_file(
    staged: Path,
    data: Prepared,
    fitted: FittedNovelty | None,
    outputs: dict[str, NDArray[np.float32]],
    made_of: Mapping[str, Any],
) -> str:
    """Keep how far calibration rows are from what was learned; what the card says of it."""
    if fitted is None:
        return novelty_section(None, metrics=made_of)
    groups = None if data.splits.groups is None else data.splits.groups[data.splits.calibration]
    known = known_distances(
        outputs["novelty"], groups, method=fitted.method, measures=fitted.measures, seed=data.recipe.seed
    )
    return novelty_section(known, 0 if known is None else write_novelty(staged, known), metrics=made_of)


def write_neighbour_files(staged: Path, data: Prepared, fitted: FittedNovelty | None) -> str:
    """Keep the names of train images, and pictures where they may travel; what the card says of it."""
    kind = data.recipe.data.neighbours
    if fitted is None or kind == "none":
        return neighbours_section(0)
    num_bytes = write_neighbours(staged, data.dataset.row_ids[fitted.rows].tolist(), data.dataset.labels[fitted.rows])
    pictures = write_thumbnails(staged, data.pixels.take(fitted.rows)[:]) if kind == "thumbnails" else None
    return neighbours_section(len(fitted.rows), num_bytes, pictures)
