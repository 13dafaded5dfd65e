"""What can be handed over as images: paths, bytes, files, Pillow images and arrays, one or many, never by a guess.

What could be read in two ways is refused with both, since a wrong guess is an answer to another picture.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sightline.data.decoding.transforms import Levels, in_color_mode, pixels_of
from sightline.data.sources.local.arrays import range_advice
from sightline.data.storage.listing import WRITTEN, Listing, walk, why_no_image_file, without_outputs
from sightline.errors import InvalidValue, UnreadableImage
from sightline.records import ColorMode
from sightline.system.progress import reporter
from sightline.system.text import is_address, printable

_LONGEST = 200
_STORES = ("s3://", "gs://", "az://", "hf://")
# An image is not so narrow; channels of a camera with many, or grey and alpha, are no more.
_NARROWEST = 8
_KINDS = "a path, bytes, an open file, a Pillow image or a uint8 array (height, width, 1 or 3)"


@dataclass(frozen=True, eq=False)
class GivenImage:
    """One image: its name, and a path, the bytes of a file, pixels (height, width, 1 or 3), or why it has none."""

    name: str
    content: str | bytes | NDArray[np.uint8] | UnreadableImage


def given_images(images: Any) -> Iterator[GivenImage]:
    """The images that were given, as they come; a path is named by itself, any other by its number."""
    if (array := _as_array(images)) is not None:
        for row, image in enumerate(_in_array(array)):
            yield GivenImage(str(row), image)
    elif _is_single(images):
        yield _one(images, 0)
    elif isinstance(images, Iterable):
        for row, image in enumerate(images):
            yield _one(image, row)
    else:
        raise InvalidValue(f"an image is {_KINDS}; got {type(images).__name__}.")


def num_given(images: Any) -> int | None:
    """How many images were given, as `given_images` takes them; None where they are known as they come alone."""
    if (array := _as_array(images)) is not None:
        return len(_in_array(array))
    if _is_single(images):
        return 1
    return len(images) if isinstance(images, Sized) else None


def refuse_address(name: str) -> None:
    """Refuse what is an address, not a path: nothing is downloaded."""
    if is_address(name):
        shown = printable(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...")
        stores = (
            " `sightline predict`, predict_into and load read object stores." if name[:5].lower() in _STORES else ""
        )
        raise InvalidValue(
            f"{shown} is an address, and nothing is downloaded. Save the image, and name its file.{stores}"
        )


def check_there(names: Iterable[str | Path]) -> None:
    """Refuse what was typed and cannot be found before any work is done: a mistyped path, or an address."""
    for name in names:
        refuse_address(str(name))
        try:
            os.stat(name)  # noqa: PTH116  # a name may hold what is no path
        except FileNotFoundError as error:
            raise InvalidValue(f"{name}: no such file or folder. Nothing was done.") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidValue(f"{name}: cannot be opened ({reason}). Nothing was done.") from error


def _is_single(given: Any) -> bool:
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)
    return isinstance(given, kinds) or callable(getattr(given, "read", None))


def _as_array(given: Any) -> NDArray[Any] | None:
    """An array, or a tensor of a framework, as NumPy has it; None for anything else."""
    if _is_single(given) or not hasattr(given, "__array__"):
        return None
    try:
        array = np.asarray(given)
    except (TypeError, RuntimeError, ValueError) as error:
        raise InvalidValue(
            f"{type(given).__name__} cannot be made a NumPy array ({error}). Bring it to the processor first."
        ) from error
    # Names, or arrays of different sizes: not one array, but a list.
    return None if array.dtype.kind in "OUS" and array.ndim else array


def _one(given: Any, row: int) -> GivenImage:
    name = str(row)
    if isinstance(given, str | os.PathLike):
        path = os.fsdecode(given)
        refuse_address(path)
        return GivenImage(path, path)
    if isinstance(given, bytes | bytearray | memoryview):
        return GivenImage(name, bytes(given))
    if isinstance(given, Image.Image):
        return GivenImage(name, _pixels(given))
    if callable(getattr(given, "read", None)):
        return GivenImage(name, _content(given))
    if (array := _as_array(given)) is None:
        raise InvalidValue(f"an image is {_KINDS}; got {type(given).__name__} as number {row}.")
    _check_values(array)
    if array.ndim == 3 and array.shape[2] not in (1, 3) and array.shape[0] in (1, 3):
        raise InvalidValue(f"{_shape(array)} has its channels first. Give numpy.moveaxis(image, 0, -1).")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))) or not array.size:
        raise InvalidValue(
            f"an array in a list is one image, (height, width) or (height, width, 1 or 3); {_got(array)}"
        )
    return GivenImage(name, array if array.ndim == 3 else array[..., None])


def _content(file: Any) -> bytes:
    content = file.read()
    if not isinstance(content, bytes):
        raise InvalidValue("an open file must give bytes; this one gives text. Open it with mode 'rb'.")
    return content


def _pixels(picture: Image.Image) -> NDArray[np.uint8] | UnreadableImage:
    try:
        upright = ImageOps.exif_transpose(picture)
        mode: ColorMode = "grey" if upright.mode in ("1", "L", "LA", "I;16") else "rgb"
        return pixels_of(in_color_mode(upright, mode, Levels()))
    except UnreadableImage as error:
        return UnreadableImage(f"the Pillow image: {error}")
    except (OSError, ValueError, SyntaxError) as error:  # a file that Pillow opened and cannot decode
        return UnreadableImage(f"the Pillow image cannot be decoded ({error}).")


def _in_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The images of one array, (num_images, height, width, 1 or 3)."""
    _check_values(array)
    shape = array.shape
    if array.size == 0:
        raise InvalidValue(f"there is no image to predict: {_got(array)}")
    if array.ndim == 2:
        return array[None, ..., None]
    if array.ndim in (3, 4) and shape[-1] == 4:
        raise InvalidValue(f"{_shape(array)} has 4 channels, and none of them may be alpha. Give images[..., :3].")
    if array.ndim == 3:
        return _of_three_axes(array)
    if array.ndim == 4 and shape[3] in (1, 3):
        return array
    if array.ndim == 4 and shape[1] in (1, 3):
        raise InvalidValue(f"{_shape(array)} has its channels first. Give numpy.moveaxis(images, 1, -1).")
    raise InvalidValue(f"images must be one uint8 array (num_images, height, width, 1 or 3), 0 to 255; {_got(array)}")


def _of_three_axes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """One image (height, width, 1 or 3), or grey ones (num_images, height, width)."""
    shape = array.shape
    if shape[2] in (1, 3):
        return array[None]
    if shape[0] == 3:
        raise InvalidValue(
            f"{_shape(array)} may be one image with its channels first, or 3 grey images. Give "
            "numpy.moveaxis(images, 0, -1) for the one, images[..., None] for the others."
        )
    if shape[2] < _NARROWEST:
        raise InvalidValue(
            f"{_shape(array)} may be one image with {shape[2]} channels, or {shape[0]:,} grey images. Give "
            "images[..., :1] or images[..., :3] for the one, images[..., None] for the others."
        )
    return array[..., None]


def _check_values(array: NDArray[Any]) -> None:
    if array.dtype == np.uint8:
        return
    advice = f" {range_advice(array)}" if array.size else ""
    raise InvalidValue(f"pixels must be uint8, 0 to 255; {_got(array)}{advice}")


def _shape(array: NDArray[Any]) -> str:
    return f"an array {array.shape}"


def _got(array: NDArray[Any]) -> str:
    return f"got {array.dtype} {array.shape}."


def paths_of(images: Any) -> list[str | Path] | None:
    """The paths, where paths alone were given; None where anything else is among them, or may be."""
    listed = [images] if isinstance(images, str | os.PathLike) else images
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str | os.PathLike) for one in listed):
        return None
    names: list[str | Path] = [os.fsdecode(one) for one in listed]
    for name in names:
        refuse_address(str(name))
    return names


def find_images(names: Sequence[str | Path]) -> list[str]:
    """The files that were named, folders searched through to the bottom.

    In a folder, hidden files and what Sightline wrote itself are passed over, and so is what neither is called an
    image nor begins like one, which is said once. All else is a row of its own, readable or not, and so are a folder
    that cannot be entered and whatever was named itself. Links are followed.

    Args:
        names: files and folders as typed.

    Returns:
        Paths, those of a folder sorted by name.

    Raises:
        InvalidValue: nothing was named, or a folder has no image in it.

    Example:
        >>> find_images(["a.png"])
        ['a.png']
    """
    paths: list[str] = []
    for name in names:
        if not isinstance(name, str | Path):
            raise InvalidValue(f"images are named by paths or given as one uint8 array; got {type(name).__name__}.")
        if not os.path.isdir(name):  # noqa: PTH112  # Path's own raises inside a folder that may not be entered
            paths.append(str(name))
            continue
        found = sorted(_files_in(name))
        if not found:
            raise InvalidValue(f"{name}: there is no image in this folder. Name a folder with images.")
        paths.extend(found)
    if not paths:
        raise InvalidValue("no image was named. Give at least one file or folder.")
    return paths


def _files_in(folder: str | Path) -> Iterator[str]:
    others: set[str] = set()
    listing, remarks = without_outputs(walk(folder, functools.partial(_note, others=others)))
    passed_over = [entry for entry in listing.left_out if entry[0] in others]
    # What Sightline wrote is said in one remark.
    entered = [entry for entry in listing.left_out if entry[0] not in others and entry[1] != WRITTEN]
    for remark in (
        *(f"{folder}: {remark}" for remark in remarks),
        *(f"{folder}/{name}: {why}" for name, why in entered),
    ):
        reporter().say(f"note: {remark}")
    if passed_over:
        count, (first, reason) = len(passed_over), passed_over[0]
        many = f"{count:,} files are no images and are passed over, such as {first}"
        one = f"{first} is no image and is passed over"
        reporter().say(f"note: {folder}: {one if count == 1 else many} ({reason.rstrip('.')})")
    yield from (str(Path(folder, name)) for name in listing.names)
    yield from (str(Path(folder, name)) for name, _ in listing.closed)


def _note(entry: os.DirEntry[str], name: str, listing: Listing, *, others: set[str]) -> bool:
    try:
        if entry.is_dir():
            return True
        if entry.is_file() and (reason := why_no_image_file(entry)):
            listing.left_out.append((printable(name), reason))
            others.add(printable(name))
            return False
    except OSError:  # a link that leads in a circle and a file that is closed to us are rows, and cannot be read
        pass
    listing.add(name, -1, -1)
    return False
