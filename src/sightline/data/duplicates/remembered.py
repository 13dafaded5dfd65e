"""The search for copies, done once for the same images and kept in the cache: it takes longer than reading them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io

import numpy as np

from sightline.data.duplicates.clusters import Copies
from sightline.data.duplicates.fingerprints import Signatures
from sightline.data.duplicates.search import NEAR, find_copies
from sightline.errors import CannotWrite, OutputExists
from sightline.system.caches import discard, find_entry, new_entry
from sightline.system.files import write_atomically
from sightline.system.stored import read_arrays

# Raised when the search finds other pairs for the same signatures.
SEARCH_VERSION = 2


def remembered_copies(signatures: Signatures) -> Copies:
    """What `find_copies` gives, from the cache if it was asked before.

    Args:
        signatures: of all images.

    Returns:
        The pairs.

    Raises:
        Nothing: a cache that cannot be read or written only costs time.

    Example:
        >>> from sightline.data.duplicates.fingerprints import empty_signatures
        >>> len(remembered_copies(empty_signatures(2)))
        0
    """
    digest = hashlib.sha256(repr((SEARCH_VERSION, NEAR, len(signatures))).encode())
    for name, column in sorted(signatures.to_arrays().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(column).tobytes())
    key, name = digest.hexdigest()[:32], "copies.npz"
    place = find_entry("copies", key)
    if place is not None:
        with contextlib.suppress(OSError, ValueError):
            fields = [field.name for field in dataclasses.fields(Copies)]
            return Copies(**read_arrays(place / name, names=fields))
        discard(place)
    copies = find_copies(signatures)
    stream = io.BytesIO()
    np.savez_compressed(stream, **dataclasses.asdict(copies))
    content, holds = stream.getvalue(), f"copies among {len(signatures):,} images"
    with (
        contextlib.suppress(CannotWrite, OutputExists, OSError),
        new_entry("copies", key, holds=holds, num_bytes=len(content)) as staged,
    ):
        write_atomically(staged / name, content)
    return copies
