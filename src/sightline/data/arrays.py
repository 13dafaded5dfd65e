"""Images and labels in arrays: `.npz` files and mappings in Keras' layout, checked before they are believed."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidSource
from sightline.records import Dataset

ARRAY_KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file that mean something here.

    Args:
        path: the file.

    Returns:
        Name to array.

    Raises:
        InvalidSource: it is no archive of arrays, or holds objects, which are never loaded.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(path, x_train=0, y_train=0, x_test=0, y_test=0, other=1)
        >>> list(read_npz(path))
        ['x_train', 'y_train', 'x_test', 'y_test']
    """
    try:
        # Opened here, since NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidSource(f"{path}: holds one array, not an archive of {', '.join(ARRAY_KEYS)}.")
            if not set(ARRAY_KEYS) <= set(archive.files):
                raise InvalidSource(missing_arrays(path, ARRAY_KEYS, archive.files))
            return {key: archive[key] for key in archive.files if key in (*ARRAY_KEYS, "class_names")}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise InvalidSource(
                f"{path}: holds object arrays, which are never loaded because they can run code. "
                "Save plain arrays: images as uint8, labels as whole numbers."
            ) from error
        raise InvalidSource(f"{path}: not a readable .npz file ({error}).") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise InvalidSource(f"{path}: not a readable .npz file ({str(error) or type(error).__name__}).") from error


def missing_arrays(typed: str | Path, needed: Sequence[str], found: Iterable[str]) -> str:
    """The sentence for arrays that are not there: what is missing, what is there instead, how to save it.

    Args:
        typed: what the user named.
        needed: names that have to be there.
        found: names that are.

    Returns:
        The sentence.

    Raises:
        Nothing.

    Example:
        >>> missing_arrays("a.npz", ["x_train"], ["x"]).split(". ")[0]
        'a.npz: x_train missing; found x'
    """
    there = sorted(found)
    missing = [key for key in needed if key not in there]
    return (
        f"{typed}: {', '.join(missing)} missing; found {', '.join(there) or 'nothing'}. "
        f"Save it with numpy.savez(path, {', '.join(f'{key}=...' for key in ARRAY_KEYS)})."
    )


def from_arrays(arrays: Mapping[str, Any], typed: str, name: str, class_names: Sequence[str] | None) -> Dataset:
    """Check arrays in Keras' layout and make a Dataset of them.

    Args:
        arrays: `x_train`, `y_train` and, unless given in a mapping, `x_test`, `y_test`.
        typed: what the user named, for messages.
        name: short name of the source.
        class_names: what the labels stand for, or None.

    Returns:
        The Dataset.

    Raises:
        InvalidSource: an array is missing, or of the wrong type, rank, length or range.

    Example:
        >>> from_arrays({"x_train": np.zeros((2, 4, 4), np.uint8), "y_train": np.arange(2)}, "arrays", "pair", None)
        Dataset 'pair': 2 images of 4x4x1, 2 classes (0, 1)
    """
    needed = ARRAY_KEYS if "x_test" in arrays or "y_test" in arrays or typed != "arrays" else ARRAY_KEYS[:2]
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise InvalidSource(missing_arrays(typed, needed, arrays))
    train_images = _check_images(arrays["x_train"], f"{typed}: x_train")
    train_labels = _check_labels(arrays["y_train"], f"{typed}: y_train", len(train_images))
    test_images, test_labels = train_images[:0], train_labels[:0]
    if "x_test" in arrays:
        test_images = _check_images(arrays["x_test"], f"{typed}: x_test")
        test_labels = _check_labels(arrays["y_test"], f"{typed}: y_test", len(test_images))
    if len(test_images) and test_images.shape[1:] != train_images.shape[1:]:
        raise InvalidSource(
            f"{typed}: x_test has images of {test_images.shape[1:]}, x_train of {train_images.shape[1:]}. "
            "Bring them to one shape."
        )
    given = class_names if class_names is not None else arrays.get("class_names")
    names = _check_class_names(given, train_labels, test_labels, typed)
    return assemble(name, (train_images, train_labels, test_images, test_labels), names)


def _as_array(content: Any, what: str) -> NDArray[Any]:
    try:
        array = np.asarray(content)
    except ValueError as error:
        raise InvalidSource(f"{what} is a list of unequal parts. Its items must have one shape.") from error
    if array.dtype == object:
        raise InvalidSource(f"{what} is an array of objects. Its items must have one shape and be numbers.")
    return array


def _check_images(array: Any, what: str) -> NDArray[np.uint8]:
    images = _as_array(array, what)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:3]:
        raise InvalidSource(
            f"{what} must be (num_images, height, width) or (num_images, height, width, 1 or 3); got {np.shape(array)}."
        )
    if not len(images):
        raise InvalidSource(f"{what} holds no images.")
    if images.dtype != np.uint8:
        raise InvalidSource(
            f"{what} must be uint8, 0 to 255; got {images.dtype}. Convert it once, knowing its range: "
            "(images * 255).round().astype('uint8') if it is 0 to 1, images.astype('uint8') if it is 0 to 255."
        )
    return images


def _check_labels(array: Any, what: str, num_images: int) -> NDArray[np.int64]:
    labels = _as_array(array, what)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidSource(
            f"{what} must be whole numbers (num_images,); got {labels.dtype} {np.shape(array)}. "
            "One-hot labels become numbers with labels.argmax(axis=1)."
        )
    if len(labels) != num_images:
        raise InvalidSource(f"{what} has {len(labels):,} labels for {num_images:,} images; it must have one for each.")
    return labels.astype(np.int64)


def _check_class_names(
    given: Any, train_labels: NDArray[np.int64], test_labels: NDArray[np.int64], typed: str
) -> tuple[str, ...]:
    present = np.unique(train_labels)
    if given is None:
        names = _numbered_names(present, typed)
    elif np.ndim(given) != 1:
        raise InvalidSource(f"{typed}: class_names must be a list of names; got {given!r}.")
    else:
        names = tuple(str(name) for name in given)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidSource(f"{typed}: class_names holds {twice!r} twice; each class needs a name of its own.")
    for key, labels in (("y_train", train_labels), ("y_test", test_labels)):
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(names)):
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise InvalidSource(
                f"{typed}: {key} holds the label {wrong}; "
                f"with {len(names)} classes labels go from 0 to {len(names) - 1}."
            )
    if len(present) < 2:
        raise InvalidSource(f"{typed}: y_train holds one class only ({names[present[0]]!r}); a classifier needs two.")
    return names


def _numbered_names(present: NDArray[np.int64], typed: str) -> tuple[str, ...]:
    """Names "0", "1", ... for labels that fill their range; told first, since one stray label may be a billion."""
    if present[0] < 0:
        raise InvalidSource(f"{typed}: y_train holds the label {present[0]}; labels go from 0.")
    if len(present) < 2:
        raise InvalidSource(f"{typed}: y_train holds one class only ('{present[0]}'); a classifier needs two.")
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise InvalidSource(
            f"{typed}: y_train has labels up to {present[-1]} but none is {gaps[0]}. "
            "Number the classes without gaps, or give class_names."
        )
    return tuple(map(str, present.tolist()))


def assemble(
    name: str,
    arrays: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]],
    class_names: tuple[str, ...],
    *,
    licence: str = "",
    fingerprint: str | None = None,
) -> Dataset:
    """Put checked arrays together; row ids are "train/00000" on and "test/00000" on.

    Args:
        name: short name of the source.
        arrays: train images, train labels, test images, test labels; the test pair may be empty.
        class_names: ordered.
        licence: of the data, "" if unknown.
        fingerprint: of content that was checked otherwise; hashed here if None.

    Returns:
        The Dataset.

    Raises:
        Nothing.

    Example:
        >>> images, labels = np.zeros((2, 4, 4, 1), np.uint8), np.arange(2)
        >>> assemble("pair", (images, labels, images[:0], labels[:0]), ("a", "b")).row_ids.tolist()
        ['train/00000', 'train/00001']
    """
    train_images, train_labels, test_images, test_labels = arrays
    num_train, num_test = len(train_images), len(test_images)
    row_ids = [f"train/{row:05d}" for row in range(num_train)] + [f"test/{row:05d}" for row in range(num_test)]
    # Without a test pair nothing is given: every split is drawn from the rows.
    given = ["train" if num_test else ""] * num_train + ["test"] * num_test
    images = np.concatenate([train_images, test_images]) if num_test else train_images
    labels = np.concatenate([train_labels, test_labels])
    return Dataset(
        name=name,
        class_names=class_names,
        row_ids=np.array(row_ids),
        labels=labels,
        images=images,
        given_splits=np.array(given),
        fingerprint=fingerprint or _fingerprint(images, labels, class_names),
        licence=licence,
    )


def _fingerprint(images: NDArray[np.uint8], labels: NDArray[np.int64], class_names: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr((images.shape, class_names)).encode())
    for array in (images, labels):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
