"""By what a bundle knows the images that it was made with: short hashes of their pixels, under a key of its own.

A file that was touched, renamed, copied, packed or saved anew without loss has the same pixels, and is known again.
Nobody can make an image of a hash; whoever has both an image and the bundle can ask whether that very image is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.transforms import change_color
from sightline.data.duplicates.fingerprints import content_digest
from sightline.data.inputs.pixels import Pixels
from sightline.errors import InvalidBundle
from sightline.records import Bundle, Dataset, InputSpec, Splits, Store
from sightline.system.files import write_arrays
from sightline.system.stored import read_arrays

FILE = "identity.npz"
# What an image may have been for a network. Of several, the first holds: what was learned from is that, whatever else.
STATES = ("train", "validation", "calibration", "left out", "test")
NEW = "new"
_KEY_BYTES, _MOST_PARTS = 16, 1_000
# 25 million images at ten bytes each; a stranger's archive may say more.
MOST_IDENTITY_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class IdentityPart:
    """The images of one training.

    Attributes:
        key: 16 bytes, without which the hashes cannot be made.
        hashes: (num_images,) uint64, ascending: of the pixels.
        states: (num_images,) uint8, indices of STATES.
        classes: (num_images,) uint8, a byte of a hash of pixels and class name: it tells that a class has changed.
    """

    key: bytes
    hashes: NDArray[np.uint64]
    states: NDArray[np.uint8]
    classes: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Identity:
    """All that is known of what a network was made with; of combined runs and of a student, of several trainings.

    Attributes:
        parts: one a training.
        is_whole: whether it learned from nothing else.
    """

    parts: tuple[IdentityPart, ...]
    is_whole: bool = True

    def find(self, digests: NDArray[np.bytes_], names: Sequence[str]) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
        """What images were here: (num_images,) names of STATES, or NEW; and whether their class was another then.

        `digests` come from `content_digests`, `names` are those of their classes.
        """
        found, was_other = np.full(len(digests), len(STATES), np.int64), np.zeros(len(digests), bool)
        for part in self.parts:
            hashes, classes = _hashed(part.key, digests, names)
            positions = np.minimum(np.searchsorted(part.hashes, hashes), max(len(part.hashes) - 1, 0))
            known = (part.hashes[positions] == hashes) & (digests != b"") if len(part.hashes) else was_other & False
            found[known] = np.minimum(found[known], part.states[positions[known]])
            was_other |= known & (part.classes[positions] != classes) if len(part.hashes) else False
        return np.array([*STATES, NEW])[found], was_other


def content_digests(dataset: Dataset, pixels: Pixels, spec: InputSpec) -> NDArray[np.bytes_]:
    """(num_images,) of 32 bytes each, equal for equal pixels alone; b"" where an image could not be read.

    The pixels are those of the whole image in the colours of the network, before they are brought to its size.
    """
    if isinstance(dataset.images, Store):
        return np.zeros(len(dataset), "S32") if pixels.signatures is None else pixels.signatures.digests
    found = [content_digest(change_color(image, spec.color_mode)) for image in dataset.images]
    return np.array(found, dtype="S32")


def identity_of(dataset: Dataset, splits: Splits, digests: NDArray[np.bytes_]) -> Identity:
    """The images of a training; those in no split are kept as left out, since some are copies of what was learned."""
    states = np.full(len(dataset), STATES.index("left out"), np.uint8)
    for number, state in enumerate(STATES):
        if state != "left out":
            states[getattr(splits, state)] = number
    # The same data give the same key, so that equal runs give equal bundles; other data another, so that two bundles
    # cannot be laid side by side.
    key = hashlib.blake2b(b"".join(sorted(digests.tolist())) + states.tobytes(), digest_size=_KEY_BYTES).digest()
    hashes, classes = _hashed(key, digests, dataset.named())
    # Of equal images the strictest state comes first, and is the one that is found.
    order = np.lexsort((states, hashes))
    first = np.concatenate(([True], np.diff(hashes[order]) > 0))[: len(order)]
    kept = order[first]
    return Identity((IdentityPart(key, hashes[kept], states[kept], classes[kept]),))


def merged_identities(identities: Iterable[Identity | None]) -> Identity | None:
    """All parts of several, each once; None where there is none. Not whole where one is missing or not whole."""
    found = list(identities)
    parts = {part.key: part for one in found if one is not None for part in one.parts}
    if not parts:
        return None
    return Identity(tuple(parts.values()), is_whole=all(one is not None and one.is_whole for one in found))


def write_identity(folder: Path, identity: Identity) -> int:
    """Write `identity.npz` into a bundle in the making; how many bytes it has."""
    parts = identity.parts
    return write_arrays(
        folder / FILE,
        keys=np.frombuffer(b"".join(part.key for part in parts), np.uint8).reshape(-1, _KEY_BYTES),
        sizes=np.array([len(part.hashes) for part in parts], np.int64),
        hashes=np.concatenate([part.hashes for part in parts]),
        states=np.concatenate([part.states for part in parts]),
        classes=np.concatenate([part.classes for part in parts]),
        is_whole=np.array(identity.is_whole),
    )


def read_identity(bundle: Bundle) -> Identity | None:
    """What a bundle knows its images by; None of one that was made without. An InvalidBundle where it is damaged."""
    path = bundle.path / FILE
    if "identity" not in bundle.capabilities:
        return None
    try:
        names = ("keys", "sizes", "hashes", "states", "classes", "is_whole")
        return _checked(read_arrays(path, names=names, most_bytes=MOST_IDENTITY_BYTES))
    except (OSError, ValueError, TypeError) as error:
        raise InvalidBundle(f"{path}: cannot be read ({error}). Copy the whole bundle again.") from error


def _checked(arrays: dict[str, NDArray[np.generic]]) -> Identity:
    keys, sizes = arrays["keys"], arrays["sizes"]
    columns = [arrays[name] for name in ("hashes", "states", "classes")]
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != _KEY_BYTES or not 1 <= len(keys) <= _MOST_PARTS:
        raise ValueError("its keys are not of 16 bytes each")
    if sizes.dtype != np.int64 or sizes.shape != (len(keys),) or (sizes.astype(np.int64) < 0).any():
        raise ValueError("its sizes are not one a key")
    num_images = int(sizes.astype(np.int64).sum())
    if any(column.shape != (num_images,) for column in columns):
        raise ValueError("its columns are not of one length")
    hashes, states, classes = columns
    if hashes.dtype != np.uint64 or states.dtype != np.uint8 or classes.dtype != np.uint8:
        raise ValueError("its columns are of other types")
    if (states.astype(np.int64) >= len(STATES)).any() or arrays["is_whole"].shape != ():
        raise ValueError("it holds a state that is not known")
    ends = np.cumsum(sizes.astype(np.int64)).tolist()
    parts = []
    for key, start, end in zip(keys, [0, *ends], ends, strict=False):
        part = slice(start, end)
        parts.append(IdentityPart(key.tobytes(), hashes[part], states[part], classes[part]))  # type: ignore[arg-type]  # checked above
    return Identity(tuple(parts), is_whole=bool(arrays["is_whole"]))


def _hashed(
    key: bytes, digests: NDArray[np.bytes_], names: Sequence[str]
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    hashes, classes = [], bytearray()
    for digest, name in zip(digests.tolist(), names, strict=True):
        hashes.append(hashlib.blake2b(digest, key=key, digest_size=8).digest())
        text = name.encode("utf-8", "surrogatepass")
        classes += hashlib.blake2b(digest + text, key=key, digest_size=1).digest()
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64), np.frombuffer(bytes(classes), np.uint8)
