"""What `fit` and `predict` are given: paths, images, or a matrix of numbers; and labels of any type."""

from __future__ import annotations

import dataclasses
import math
import os
import stat
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, column_or_1d

from sightline.bundles.given_images import refuse_address
from sightline.data.sources.assembly import LabelledFiles, to_dataset, unique_names
from sightline.data.sources.local.arrays import from_arrays, range_advice
from sightline.data.storage.stores import FolderStore
from sightline.errors import InvalidValue
from sightline.records import Dataset
from sightline.system.paths import absolute_path
from sightline.system.text import printable

# From so many columns on a matrix of bytes may be images that were laid flat.
_LEAST_SIDE = 8


def paths_or_pixels(X: Any) -> list[str] | NDArray[Any] | None:
    """The paths, or an array of images (three or four axes of numbers); None for all else, as a matrix."""
    if isinstance(X, list | tuple) and X and isinstance(X[0], str | os.PathLike):
        return _paths(X)  # without an array as wide as the longest of them
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise InvalidValue(
            "X is a list of parts of unequal shape. Images in arrays have one shape; save others as files and give "
            "their paths."
        ) from error
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "OU":
        column = array[:, 0].tolist()
        return _paths(column) if any(isinstance(one, str | os.PathLike) for one in column) else None
    if array.ndim == 1 and any(isinstance(one, str | os.PathLike) for one in array.tolist()):
        return _paths(array.tolist())
    return array if array.ndim in (3, 4) else None


def _paths(given: Sequence[Any]) -> list[str]:
    for row, one in enumerate(given):
        if not isinstance(one, str | os.PathLike) or not os.fspath(one):
            raise InvalidValue(f"X[{row}] is no path: {one!r}. Give the path of an image in each row.")
        refuse_address(os.fsdecode(one))
    return [os.fsdecode(one) for one in given]


def checked_shape(image_shape: Any) -> tuple[int, ...] | None:
    """(height, width) or (height, width, 1 or 3) as it was given, or None."""
    if image_shape is None:
        return None
    sides = tuple(image_shape) if isinstance(image_shape, list | tuple) else ()
    are_whole = all(isinstance(side, int | np.integer) and side >= 1 for side in sides)
    if len(sides) not in (2, 3) or not are_whole or sides[2:] not in ((), (1,), (3,)):
        raise InvalidValue(f"image_shape must be (height, width) or (height, width, 1 or 3); got {image_shape!r}.")
    return sides


def checked_range(pixel_range: Any) -> tuple[float, float] | None:
    """What is black and what is white, or None for bytes."""
    if pixel_range is None:
        return None
    try:
        black, white = map(float, pixel_range)
    except (TypeError, ValueError):
        black = white = math.nan
    if not -math.inf < black < white < math.inf:
        raise InvalidValue(f"pixel_range must be two numbers, black below white, as (0, 1); got {pixel_range!r}.")
    return black, white


def laid_out(rows: NDArray[Any], image_shape: tuple[int, ...]) -> NDArray[Any]:
    """(num_images, *image_shape) of a matrix with the pixels of an image in each row."""
    num_pixels = math.prod(image_shape)
    if rows.shape[1] != num_pixels:
        raise InvalidValue(f"image_shape={image_shape} has {num_pixels:,} pixels; X has {rows.shape[1]:,} columns.")
    return rows.reshape(-1, *image_shape)


def as_bytes(images: NDArray[Any], pixel_range: tuple[float, float] | None) -> NDArray[np.uint8]:
    """(num_images, height, width, 1 or 3) uint8 of images in any range that was named."""
    shape = images.shape
    if not shape[0]:
        raise InvalidValue(f"X holds no images; got {shape}.")
    pixels = images[..., None] if images.ndim == 3 else images
    if pixels.shape[3] not in (1, 3) or not pixels.size:
        advice = (
            " If the channels come first: numpy.moveaxis(X, 1, -1)." if len(shape) == 4 and shape[1] in (1, 3) else ""
        )
        raise InvalidValue(
            f"images must be (num_images, height, width) or (num_images, height, width, 1 or 3); got {shape}.{advice}"
        )
    if pixel_range is None:
        if pixels.dtype == np.uint8:
            return pixels
        raise InvalidValue(
            f"pixels must be uint8, 0 to 255; got {pixels.dtype}. {range_advice(pixels)} Or say what is black and what "
            "is white, as pixel_range=(0, 1)."
        )
    try:
        numbers = pixels.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"pixels must be numbers; got {pixels.dtype}.") from error
    black, white = pixel_range
    is_inside = (numbers >= black) & (numbers <= white)
    if not is_inside.all():
        raise InvalidValue(
            f"X holds the pixel {numbers[~is_inside][0]:g}, outside of pixel_range=({black:g}, {white:g})."
        )
    return np.rint((numbers - black) / (white - black) * 255).astype(np.uint8)


def warn_if_flat(table: NDArray[np.float64]) -> None:
    """Say so where what is learned as numbers without an order looks like images that were laid flat."""
    side = math.isqrt(table.shape[1])
    if side < _LEAST_SIDE or side * side != table.shape[1]:
        return
    if table.min() >= 0 and table.max() <= 255 and (table == np.rint(table)).all():
        warnings.warn(
            f"X has {side * side} columns of whole numbers from {table.min():g} to {table.max():g}, as images of "
            f"{side}x{side} that were laid flat. They are learned as numbers without an order; give "
            f"image_shape=({side}, {side}) and pixel_range, and they are learned as images.",
            stacklevel=4,
        )


def read_labels(y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes in order, and the place of each label among them."""
    if y is None:
        raise InvalidValue("SightlineClassifier requires y to be passed, but the target y is None.")
    labels = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InvalidValue(
            f"y holds one class only ({classes.tolist()[0]!r}, {len(labels):,} times); a classifier needs two."
        )
    return classes, numbers.astype(np.int64)


def read_groups(groups: Any, *, num_rows: int) -> NDArray[np.str_] | None:
    """A name for each row of what hangs together, or None."""
    if groups is None:
        return None
    names = np.asarray(column_or_1d(groups)).astype(str)
    if len(names) != num_rows:
        raise InvalidValue(f"groups must have a name for each of the {num_rows:,} rows; got {len(names):,}.")
    return names


def class_names_of(classes: NDArray[Any]) -> list[str]:
    """What the classes are called in a run, which has text for names, each once."""
    return unique_names([printable(str(one)) if str(one).strip() else repr(str(one)) for one in classes.tolist()])


def check_files(paths: Sequence[str]) -> list[os.stat_result]:
    """Size and times of each file; an InvalidValue where one is missing, or none but a folder."""
    found, missing = [], []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116  # 100,000 of them
        except (OSError, ValueError):
            missing.append(f"{printable(path)}: no such file")
            continue
        if not stat.S_ISREG(status.st_mode):
            missing.append(f"{printable(path)}: is a folder or a device, not an image file")
        found.append(status)
    if missing:
        raise InvalidValue(f"{len(missing):,} of {len(paths):,} paths lead to no file; the first is {missing[0]}.")
    return found


def dataset_of(
    given: list[str] | NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    groups: NDArray[np.str_] | None,
) -> Dataset:
    """What a training learns from."""
    if not isinstance(given, list):
        arrays = {"x_train": given, "y_train": labels}
        dataset = from_arrays(arrays, "arrays", "images", class_names)
        return dataset if groups is None else dataclasses.replace(dataset, groups=groups)
    found = check_files(given)
    files = FolderStore(
        place=absolute_path(".", follow_links=False),
        names=tuple(given),
        num_bytes=np.array([status.st_size for status in found], dtype=np.int64),
        arrivals=np.arange(len(found)),
    )
    labelled = LabelledFiles(
        files,
        [class_names[label] for label in labels.tolist()],
        [""] * len(found),
        np.array([status.st_mtime_ns for status in found], dtype=np.int64),
        groups=None if groups is None else groups.tolist(),
    )
    return to_dataset(labelled, typed="X", name="files", class_names=class_names)
