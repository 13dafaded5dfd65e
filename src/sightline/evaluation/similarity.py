"""The images of a folder that look most like one, by what a network sees in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import load_bundle
from sightline.bundles.features import feature_tables
from sightline.bundles.given_images import check_there, find_images
from sightline.bundles.sessions import Session, session_of
from sightline.data.inputs.pixels import raw_images, read_pixels
from sightline.data.storage.stores import FolderStore
from sightline.errors import InvalidBundle, InvalidValue, UnreadableImage
from sightline.records import NO_NUMBER, Bundle, Dataset, Run, image_tag
from sightline.reporting.sheets.sheets import contact_sheet
from sightline.system.files import write_atomically
from sightline.system.paths import absolute_path, check_output
from sightline.system.progress import reporter
from sightline.system.text import printable

MOST_FOUND = 400


@dataclass(frozen=True, eq=False)
class Similar:
    """What was found to look like one image.

    Attributes:
        image: the path that was asked for.
        paths: the most similar first; the image itself is left out.
        similarities: (num_found,) float64, cosine between features: 1 for the same picture, about 0
            for two that have nothing in common.
        errors: (path, reason) of the files that could not be read.
        png: the image and what was found, as a picture.
    """

    image: str
    paths: tuple[str, ...]
    similarities: NDArray[np.float64]
    errors: tuple[tuple[str, str], ...]
    png: bytes

    def __repr__(self) -> str:
        return f"Similar({len(self.paths):,} images like {self.image}, {len(self.errors)} unreadable)"

    def _repr_html_(self) -> str:
        return image_tag(self.png, alt=f"what looks most like {self.image}")


def similar(
    bundle: str | Path | Bundle | Run,
    image: str | Path,
    *,
    folder: str | Path | Sequence[str | Path],
    count: int = 10,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Similar:
    """The images of a folder that look most like one.

    Pixels and features of the folder are kept in the cache, so that the second question costs
    little. A network that was trained on some classes sees what tells those apart; "imagenet" is
    the better judge of everything else.

    Args:
        bundle: a bundle or a run, or its folder; "imagenet" for the network inside the package.
        image: the file to compare with.
        folder: one or several folders or files; folders are searched to the bottom.
        count: how many to name, 1 to 400.
        out: a PNG to write.
        overwrite: whether a file at `out` that Sightline did not write may be replaced.

    Returns:
        Paths with their similarity, the most similar first.

    Raises:
        InvalidBundle: the bundle cannot be used, or gives no features.
        InvalidValue: `count` is out of range, there is no file to compare with, or `out` lies among them.
        OutputExists: `out` is a file that Sightline did not write.
        UnreadableImage: the image cannot be read, or none of the folder can.
        CannotWrite: `out` cannot be written.

    Example:
        >>> import sightline, tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("red", "darkred", "blue"):
        ...     Image.new("RGB", (64, 64), name).save(folder / f"{name}.png")
        >>> found = sightline.similar("imagenet", folder / "red.png", folder=folder)
        >>> [Path(path).name for path in found.paths]  # the most alike first, without the image itself
        ['darkred.png', 'blue.png']
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_FOUND:
        raise InvalidValue(f"count must be a whole number from 1 to {MOST_FOUND}; got {count!r}.")
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    places = [folder] if isinstance(folder, str | Path) else list(folder)
    check_output("out", None if out is None else Path(out), keep=[image, *places], overwrite=overwrite)
    check_there([image, *places])
    session = session_of(opened)
    length = _num_features(session, opened)
    asked = _unlabelled([str(image)])
    paths = [path for path in find_images(places) if absolute_path(path) != absolute_path(image)]
    if not paths:
        raise InvalidValue("there is no other file to compare with. Name a folder with more images.")
    others = _unlabelled(paths)
    _, unreadable = raw_images(asked, np.array([0]))
    if unreadable:
        raise UnreadableImage(f"{image}: {unreadable[0]}")
    # Together, so that it is the same images that are kept, whichever of them is asked about.
    table, errors = _features(session, opened, _unlabelled([*paths, str(image)]), length)
    if len(paths) in errors:
        raise UnreadableImage(f"{image}: {errors[len(paths)]}")
    closeness = table[:-1] @ table[-1]
    closeness[list(errors)] = -np.inf
    order = np.argsort(-closeness, kind="stable")[: min(count, len(paths) - len(errors))]
    if not len(order):
        raise UnreadableImage(f"none of the {len(paths):,} files to compare with can be read; the first: {errors[0]}")
    png = _picture(asked, others, order, closeness)
    if out is not None:
        write_atomically(Path(out), png)
    found = tuple(paths[row] for row in order.tolist())
    failed = tuple((paths[row], reason) for row, reason in errors.items())
    return Similar(str(image), found, closeness[order], failed, png)


def _num_features(session: Session, bundle: Bundle) -> int:
    shape = session.output_shapes().get("features")
    if shape is None or not isinstance(shape[-1], int):
        raise InvalidBundle(
            f"{bundle.path}: this bundle gives no features. Train again with this version of Sightline."
        )
    return shape[-1]


def _unlabelled(paths: Sequence[str]) -> Dataset:
    """Files without labels as a Dataset, so that they are decoded and cached as all images are."""
    stats = []
    for path in paths:
        try:
            stat = Path(path).stat()
            stats.append((stat.st_size, stat.st_mtime_ns))
        except OSError:
            stats.append((-1, -1))
    absolute = tuple(str(absolute_path(path)) for path in paths)
    sizes, times = (np.array(column, dtype=np.int64) for column in zip(*stats, strict=True))
    files = FolderStore(absolute, sizes, times, Path())
    fingerprint = hashlib.sha256(json.dumps([absolute, stats]).encode(errors="surrogatepass")).hexdigest()
    nothing = np.full(len(paths), "")
    return Dataset("images", ("",), np.array(paths), np.zeros(len(paths), np.int64), files, nothing, fingerprint)


def _features(
    session: Session, bundle: Bundle, dataset: Dataset, length: int
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """(num_images, length) features of length 1, and row to reason for what cannot be read."""
    pixels = read_pixels(dataset, bundle.input)
    table = feature_tables(session, pixels, outputs={"features": (length,)})["features"]
    wide = np.asarray(table[:], dtype=np.float64)
    errors = dict(pixels.errors)
    for row in np.flatnonzero(~np.isfinite(wide).all(axis=1)).tolist():
        errors.setdefault(row, NO_NUMBER)
    wide[list(errors)] = 0
    lengths = np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    for row, reason in errors.items():
        reporter().say(f"{printable(str(dataset.row_ids[row]))}: {reason}")
    return wide / lengths, errors


def _picture(asked: Dataset, others: Dataset, order: NDArray[np.int64], closeness: NDArray[np.float64]) -> bytes:
    first, _ = raw_images(asked, np.array([0]))
    images, errors = raw_images(others, order)
    kept = [row for row in order.tolist() if row not in errors]
    captions = [f"{closeness[row]:.3f} {Path(others.row_ids[row]).name}" for row in kept]
    name = Path(asked.row_ids[0]).name
    return contact_sheet([*first, *images], [f"asked: {name}", *captions], title=f"what looks most like {name}")
