"""Files that lie in several class folders at once: one image with several labels."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from sightline.data.sources.assembly import LabelledFiles
from sightline.errors import UnreadableImage
from sightline.system.text import listed, printable


def as_several(labelled: LabelledFiles, numbers: Sequence[tuple[int, int]] = ()) -> LabelledFiles:
    """One row a picture, with the classes of all folders that it lies in.

    A picture is known again by its file, where links lead to it from several folders, or by its name and all of its
    bytes. One that lies in several splits is left out.

    Args:
        labelled: of files in class folders.
        numbers: device and number of the file of each row; (0, 0) where the system tells none.
    """
    rows_of = _same_pictures(labelled, numbers)
    kept, labels, left_out = [], [], list(labelled.left_out)
    names = labelled.files.names
    for rows in rows_of:
        splits = sorted({labelled.splits[row] or "no split" for row in rows})
        if len(splits) > 1:
            reason = f"lies in several splits at once: {listed(splits, most=5)}"
            left_out += [(printable(names[row]), reason) for row in rows]
            continue
        kept.append(rows[0])
        labels.append(tuple(dict.fromkeys(labelled.classes[row] for row in rows)))
    chosen = np.array(kept, np.int64)
    joined = sum(len(rows) - 1 for rows in rows_of)
    told = [f"{joined:,} files lie in another class folder, too; such a picture is one image with several labels"]
    lost = len(left_out) - len(labelled.left_out)
    told += [f"{lost:,} files left out, since they lie in several splits at once"] if lost else []
    return dataclasses.replace(
        labelled,
        files=labelled.files.take(chosen),
        classes=(),
        labels=labels,
        splits=[labelled.splits[row] for row in kept],
        stamps=labelled.stamps[chosen],
        remarks=(*labelled.remarks, *(told if joined else told[1:])),
        left_out=tuple(left_out),
    )


def _same_pictures(labelled: LabelledFiles, numbers: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Rows of each picture, in the order of the first."""
    by_file: dict[object, list[int]] = defaultdict(list)
    for row in range(len(labelled.files)):
        known = numbers[row] if len(numbers) else (0, 0)
        by_file[row if known == (0, 0) else known].append(row)
    # Whoever has no links copies: only files of one name and size are read, and only where their folders differ.
    alike: dict[tuple[str, int], list[list[int]]] = defaultdict(list)
    for rows in by_file.values():
        name = labelled.files.names[rows[0]].rpartition("/")[2]
        alike[name, int(labelled.files.num_bytes[rows[0]])].append(rows)
    found = []
    for several in alike.values():
        if len(several) == 1 or len({labelled.classes[row] for rows in several for row in rows}) == 1:
            found += several
            continue
        by_bytes: dict[object, list[int]] = defaultdict(list)
        for rows in several:
            by_bytes[_digest(labelled, rows[0])] += rows
        found += [sorted(rows) for rows in by_bytes.values()]
    return sorted(found)


def _digest(labelled: LabelledFiles, row: int) -> object:
    try:
        return hashlib.sha256(labelled.files.read(row)).digest()
    except UnreadableImage:
        return row
