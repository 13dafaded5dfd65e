"""Rows with several labels each, divided so that every label has its share of every part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stratified(
    labels: NDArray[np.integer], sizes: Sequence[int], generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Parts of exactly these sizes, in each of which every label is about as frequent as in the whole.

    The rarest label that is left is dealt out first, each row of it to the part that wants it most; rows without a
    label are dealt out as if that were one.

    Args:
        labels: (num_rows, num_classes) of 0 and 1.
        sizes: of the parts, `num_rows` in all.
        generator: breaks ties, and shuffles.

    Returns:
        Ascending row numbers of each part.

    Source:
        Sechidis, Tsoumakas, Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD (2011).
    """
    table = np.concatenate([labels != 0, ~(labels != 0).any(axis=1, keepdims=True)], axis=1)
    num_rows = len(table)
    shares = np.array(sizes, np.float64) / max(num_rows, 1)
    # (num_parts, num_labels) what each part still wants of each label, and how many rows it has room for.
    wanted = shares[:, None] * table.sum(axis=0)
    room = np.array(sizes, np.int64)
    order = generator.permutation(num_rows)
    part_of = np.full(num_rows, -1)
    left = table.sum(axis=0)
    columns = [order[table[order, label]] for label in range(table.shape[1])]
    while (left > 0).any():
        label = int(np.where(left > 0, left, num_rows + 1).argmin())
        for row in columns[label].tolist():
            if part_of[row] >= 0:
                continue
            # Of parts that want a label equally, the one that has most room; of these any.
            part = max(np.flatnonzero(room > 0).tolist(), key=lambda one: (wanted[one, label], room[one] / sizes[one]))
            part_of[row] = part
            room[part] -= 1
            wanted[part] -= table[row]
            left -= table[row]
    return [np.flatnonzero(part_of == part) for part in range(len(sizes))]
