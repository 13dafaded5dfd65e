"""Sheets of captioned images as PNG, drawn with Pillow alone.

A small image is enlarged by a whole factor with its pixels kept as squares, so
that what is seen is what the network is fed; a large one is reduced.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.reporting.sheets.fonts import plain_text
from sightline.reporting.sheets.grids import draw_grid, fits_below, make_cell
from sightline.system.text import shorten

Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]

_USUAL_SIDE, _LARGEST_WHOLE_SIDE, _MOST_COLUMNS = 112, 168, 10


def contact_sheet(
    images: Images,
    captions: Sequence[str],
    *,
    columns: int | None = None,
    cell_size: int | None = None,
    title: str = "",
) -> bytes:
    r"""A grid of images, row by row, each with its caption below it.

    A caption has one or two lines ("\n" between them). One that is too long
    loses its middle, so that a number at its end stays. Characters that no font
    on this machine knows appear as empty boxes.

    Args:
        images: uint8 (num_images, height, width, channels), or a sequence of
            (height, width, channels) of differing sizes; 1 or 3 channels.
        captions: (num_images) texts; "" leaves the place empty.
        columns: images a row, at least 1; None for rows that come out even.
        cell_size: side of the square that each image fits in, 8 to 1024
            pixels; None for about 112, in which the largest image fits whole.
        title: one line above the grid.

    Returns:
        A PNG; the same bytes for the same input on the same machine.

    Raises:
        InvalidValue: no image, captions of another number, a size out of range, or more than 80 million pixels.
    """
    checked = _checked_images(images, "images")
    _require_equal_lengths(images=len(checked), captions=len(captions))
    num_columns = _usual_columns(len(checked)) if columns is None else _in_range("columns", columns, 1, 1000)
    side = _usual_side(checked) if cell_size is None else _in_range("cell_size", cell_size, 8, 1024)
    cells = [make_cell(image, caption, side) for image, caption in zip(checked, captions, strict=True)]
    rows = [cells[start : start + num_columns] for start in range(0, len(cells), num_columns)]
    return draw_grid(rows, title=title)


def example_sheet(
    images: Images, labels: ArrayLike, *, class_names: Sequence[str], columns: int | None = None, title: str = ""
) -> bytes:
    """Images with the class that each was given.

    Args:
        images: as for `contact_sheet`.
        labels: (num_images,) integers in [0, num_classes).
        class_names: (num_classes) names.
        columns: images a row, at least 1; None for rows that come out even.
        title: one line above the grid.

    Returns:
        A PNG.
    """
    rows = _checked_labels(labels, "labels", len(class_names))
    _require_equal_lengths(images=len(images), labels=len(rows))
    return contact_sheet(images, [plain_text(class_names[label]) for label in rows], columns=columns, title=title)


def augmented_sheet(
    originals: Images, variants: Sequence[Images], *, captions: Sequence[str], title: str = ""
) -> bytes:
    """What augmentation makes of images: a row each, the original on the left.

    Args:
        originals: as images for `contact_sheet`.
        variants: for each original the images made of it: uint8 (num_images,
            num_variants, height, width, channels) or nested sequences; their
            size may differ from the original's.
        captions: (num_images) texts below the originals.
        title: one line above the grid.

    Returns:
        A PNG.
    """
    left = _checked_images(originals, "originals")
    _require_equal_lengths(originals=len(left), variants=len(variants), captions=len(captions))
    right = [_checked_images(images, f"variants[{row}]") for row, images in enumerate(variants)]
    left_side, right_side = _usual_side(left), _usual_side([image for images in right for image in images])
    rows = [
        [make_cell(original, caption, left_side), *(make_cell(image, "", right_side) for image in images)]
        for original, images, caption in zip(left, right, captions, strict=True)
    ]
    return draw_grid(rows, title=title, header=("original", "as seen in training"))


def mistakes_sheet(
    images: Images,
    given: ArrayLike,
    *,
    predicted: ArrayLike,
    confidences: ArrayLike,
    class_names: Sequence[str],
    limit: int = 40,
) -> bytes:
    """The errors a classifier was surest of: bad labels and blind spots show here first.

    Pass every judged image, not only the wrong ones: the title counts both, and
    only those that are drawn are looked at.

    Args:
        images: as for `contact_sheet`.
        given: (num_images,) labels in [0, num_classes).
        predicted: (num_images,) labels in [0, num_classes).
        confidences: (num_images,) of the predicted class, in [0, 1].
        class_names: (num_classes) names.
        limit: images to draw at most, 1 to 400.

    Returns:
        A PNG, the most confident first, equals in their order; a picture that
        says so where nothing is wrong.
    """
    truth = _checked_labels(given, "given", len(class_names))
    answers = _checked_labels(predicted, "predicted", len(class_names))
    sureness = _checked_confidences(confidences)
    _require_equal_lengths(images=len(images), given=len(truth), predicted=len(answers), confidences=len(sureness))
    wrong = np.flatnonzero(truth != answers)
    drawn = wrong[np.argsort(-sureness[wrong], kind="stable")][: _in_range("limit", limit, 1, 400)]
    title = _mistakes_title(len(drawn), len(wrong), len(truth))
    if not len(drawn):
        return draw_grid([], title=title)
    short = {label: _short_name(class_names[label]) for label in {*truth[drawn].tolist(), *answers[drawn].tolist()}}
    captions = [
        f"given {short[truth[row]]}\npredicted {short[answers[row]]} ({certainty_in_words(sureness[row])})"
        for row in drawn
    ]
    return contact_sheet([images[row] for row in drawn], captions, title=title)


def _mistakes_title(num_drawn: int, num_wrong: int, num_images: int) -> str:
    judged = f"{num_images:,} image" if num_images == 1 else f"{num_images:,} images"
    if num_wrong == 0:
        return f"no mistakes on {judged}" if num_images else "no images, so no mistakes"
    if num_drawn < num_wrong:
        return f"the {num_drawn:,} most confident of {num_wrong:,} mistakes on {judged}"
    return f"the only mistake on {judged}" if num_wrong == 1 else f"all {num_wrong:,} mistakes on {judged}"


def _short_name(name: str) -> str:
    return shorten(plain_text(name), lambda words: fits_below(f"predicted {words} (>0.99)"))


def certainty_in_words(confidence: float) -> str:
    """A confidence with two digits."""
    # "1.00" would claim a certainty that no classifier has.
    return ">0.99" if confidence >= 0.995 else f"{confidence:.2f}"


def _usual_side(images: Sequence[NDArray[np.uint8]]) -> int:
    longest = max(max(image.shape[:2]) for image in images)
    if longest > _LARGEST_WHOLE_SIDE:
        return _USUAL_SIDE
    return int(longest * max(1, round(_USUAL_SIDE / longest)))


def _usual_columns(num_images: int) -> int:
    if num_images <= 6:
        return num_images
    # The fewest empty places in the last row, then the width nearest to eight.
    return min(range(5, _MOST_COLUMNS + 1), key=lambda columns: (-num_images % columns, abs(columns - 8)))


def _checked_images(images: Images, name: str) -> list[NDArray[np.uint8]]:
    checked = list(images)
    if not checked:
        raise InvalidValue(f"{name} must hold at least one image; got none.")
    for row, image in enumerate(checked):
        kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            raise InvalidValue(f"{name}[{row}] must be an array of uint8; got {kind}.")
        if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
            raise InvalidValue(f"{name}[{row}] must be of shape (height, width, 1 or 3); got {kind}.")
    return checked


def _checked_labels(labels: ArrayLike, name: str, num_classes: int) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidValue(f"{name} must be one row of integers; got {array.dtype} {array.shape}.")
    outside = array[(array < 0) | (array >= num_classes)]
    if outside.size:
        raise InvalidValue(f"{name} must lie in 0 to {num_classes - 1}, one a class name; got {outside[0]}.")
    return array.astype(np.int64)


def _checked_confidences(confidences: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(confidences)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "fiu"):
        raise InvalidValue(f"confidences must be one row of numbers; got {array.dtype} {array.shape}.")
    outside = array[~((array >= 0) & (array <= 1))]
    if outside.size:
        raise InvalidValue(f"confidences must lie in 0 to 1; got {outside[0]}.")
    return array.astype(np.float64)


def _require_equal_lengths(**lengths: int) -> None:
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise InvalidValue(f"there must be as many of each; got {listed}.")


def _in_range(name: str, value: int, lowest: int, highest: int) -> int:
    # bool is an int to Python, and True columns are a mistake.
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InvalidValue(f"{name} must be a whole number from {lowest} to {highest:,}; got {value!r}.")
    return value
