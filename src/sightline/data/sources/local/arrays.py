"""Images and labels in arrays: `.npz` files and mappings in Keras' layout, checked before they are believed."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.sources.assembly import checked_names
from sightline.data.sources.levels import split_of
from sightline.errors import InvalidSource, OneClassOnly
from sightline.records import SPLIT_NAMES, Dataset
from sightline.system.stored import check_letters, read_header
from sightline.system.text import printable
from sightline.system.workers import free_bytes
from sightline.tasks.multi_label import MULTI_LABEL

ARRAY_KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """The arrays of an `.npz` file that mean something here, and the names of the others."""
    try:
        # Opened here, since NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidSource(f"{path}: holds one array, not an archive of {', '.join(ARRAY_KEYS)}.")
            if not set(ARRAY_KEYS) <= set(archive.files):
                raise InvalidSource(missing_arrays(path, ARRAY_KEYS, archive.files))
            used = [key for key in archive.files if key == "class_names" or _split_of_key(key)]
            _refuse_overstated(path, archive, used)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of headers that Python 2 wrote
                arrays = {key: archive[key] for key in used}
            for array in arrays.values():
                check_letters(array)
            return arrays, tuple(key for key in archive.files if key not in used)
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise InvalidSource(
                f"{path}: holds object arrays, which are never loaded because they can run code. "
                "Save plain arrays: images as uint8, labels as whole numbers."
            ) from error
        raise InvalidSource(f"{path}: not a readable .npz file ({error}).") from error
    except MemoryError as error:
        raise InvalidSource(f"{path}: its arrays are larger than the memory. Save the images as files.") from error
    except InvalidSource:
        raise
    except Exception as error:  # a damaged header brings NumPy and unpackers to raise nearly every type there is
        raise InvalidSource(f"{path}: not a readable .npz file ({str(error) or type(error).__name__}).") from error


def _split_of_key(key: str) -> str | None:
    """The split of x_train, y_val, x_valid, ...; None of all other names."""
    return split_of(key[2:]) if key.startswith(("x_", "y_")) else None


def _refuse_overstated(path: Path, archive: Any, keys: Sequence[str]) -> None:
    """Memory is taken by the shape that an array declares: it is compared with its bytes and the free memory first."""
    whole = 0
    for key in keys:
        member = archive.zip.getinfo(key if key in archive.zip.namelist() else f"{key}.npy")
        with archive.zip.open(member) as stream:
            shape, _, dtype = read_header(stream)
        if dtype.kind == "O":  # refused for what it is when it is read
            continue
        declared = abs(math.prod(shape)) * dtype.itemsize
        if declared > member.file_size:
            raise InvalidSource(
                f"{path}: {key} declares {declared:,} bytes and holds {member.file_size:,}. The file is damaged; "
                "save it again."
            )
        whole += declared
    free = free_bytes()
    if free is not None and whole > free:
        raise InvalidSource(
            f"{path}: its arrays take {whole:,} bytes, more than the {free:,} of memory that are free. "
            "Save the images as files."
        )


def missing_arrays(typed: str | Path, needed: Sequence[str], found: Iterable[str]) -> str:
    """The sentence for arrays that are not there: what is missing, what is there instead, how to save it."""
    there = sorted(found)
    missing = [key for key in needed if key not in there]
    return (
        f"{typed}: {', '.join(missing)} missing; found {', '.join(there) or 'nothing'}. "
        f"Save it with numpy.savez(path, {', '.join(f'{key}=...' for key in ARRAY_KEYS)})."
    )


def from_arrays(
    arrays: Mapping[str, Any],
    typed: str,
    name: str,
    class_names: Sequence[str] | None,
    *,
    unused: Sequence[str] = (),
    several: bool = False,
) -> Dataset:
    """Check arrays in Keras' layout and make a Dataset of them.

    Args:
        arrays: `x_train`, `y_train` and, unless given in a mapping, `x_test`, `y_test`; `x_val` and `y_val` if there
            are any, also as x_valid, x_validation or x_dev.
        typed: what the user named, for messages.
        name: short name of the source.
        class_names: what the labels stand for, or None.
        unused: names of arrays that mean nothing here.
        several: whether labels are rows of 0 and 1, a column a class.
    """
    needed = ARRAY_KEYS if "x_test" in arrays or "y_test" in arrays or typed != "arrays" else ARRAY_KEYS[:2]
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise InvalidSource(missing_arrays(typed, needed, arrays))
    pairs: dict[str, tuple[NDArray[np.uint8], NDArray[Any]]] = {}
    for split, key in _pairs_in(arrays, typed).items():
        images = _check_images(arrays[f"x_{key}"], f"{typed}: x_{key}")
        check = _check_flags if several else _check_labels
        pairs[split] = images, check(arrays[f"y_{key}"], f"{typed}: y_{key}", len(images))
        if images.shape[1:] != pairs["train"][0].shape[1:]:
            raise InvalidSource(
                f"{typed}: x_{key} has images of {images.shape[1:]}, x_train of {pairs['train'][0].shape[1:]}. "
                "Bring them to one shape."
            )
    given = class_names if class_names is not None else arrays.get("class_names")
    labels = {f"y_{key}": pairs[split][1] for split, key in _pairs_in(arrays, typed).items()}
    others = [*unused, *(str(key) for key in arrays if key != "class_names" and not _split_of_key(str(key)))]
    remarks = (f"the arrays {', '.join(map(printable, sorted(others)))} mean nothing here; they are not used",)
    if several:
        names = _names_of_columns(given, labels, typed)
        return dataclasses.replace(assemble(name, pairs, names, remarks=remarks if others else ()), task=MULTI_LABEL)
    if given is None and (only := _only_label(labels)) is not None:
        # Judged by its number, as a bundle of all classes calls it.
        given = [str(only)]
        pairs = {split: (images, np.zeros_like(numbers)) for split, (images, numbers) in pairs.items()}
        labels = {key: np.zeros_like(numbers) for key, numbers in labels.items()}
    names = _check_class_names(given, labels, typed)
    dataset = assemble(name, pairs, names, remarks=remarks if others else ())
    if len(trained := np.unique(labels["y_train"])) < 2:
        raise OneClassOnly(
            f"{typed}: y_train holds one class only ({names[trained[0]]!r}); a classifier needs two.", dataset
        )
    return dataset


def _only_label(labels_of: Mapping[str, NDArray[np.int64]]) -> int | None:
    """The label that all images have, if they have one and it may be one."""
    first = int(labels_of["y_train"][0])
    is_only = first >= 0 and all((labels == first).all() for labels in labels_of.values())
    return first if is_only else None


def _pairs_in(arrays: Mapping[str, Any], typed: str) -> dict[str, str]:
    """Split to the ending of its keys, train first: {"train": "train", "validation": "val"}."""
    found: dict[str, str] = {"train": "train"}
    for key in ARRAY_KEYS if "x_test" in arrays else ():
        found[str(_split_of_key(key))] = key[2:]
    for key in map(str, arrays):
        split, ending = _split_of_key(key), key[2:]
        if split is None:
            continue
        if found.setdefault(split, ending) != ending:
            raise InvalidSource(
                f"{typed}: x_{found[split]} and {key} are both the {split} split. Join them, or leave one out."
            )
        if f"x_{ending}" not in arrays or f"y_{ending}" not in arrays:
            raise InvalidSource(f"{typed}: has {key}, but not both x_{ending} and y_{ending}. Give both or none.")
    return dict(sorted(found.items(), key=lambda pair: SPLIT_NAMES.index(pair[0])))


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
            f"{_shape_advice(images.shape)}"
        )
    if not len(images):
        raise InvalidSource(f"{what} holds no images.")
    if images.dtype != np.uint8:
        raise InvalidSource(f"{what} must be uint8, 0 to 255; got {images.dtype}. {range_advice(images)}")
    return images


def _shape_advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and shape[1] in (1, 3):
        return " If channels come first: images.transpose(0, 2, 3, 1)."
    if len(shape) == 4 and shape[3] in (2, 4):
        return f" If the last channel is opacity: images[..., :{shape[3] - 1}]."
    return ""


def _check_labels(array: Any, what: str, num_images: int) -> NDArray[np.int64]:
    labels = _as_array(array, what)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidSource(
            f"{what} must be whole numbers (num_images,); got {labels.dtype} {np.shape(array)}. {_label_advice(labels)}"
        )
    if len(labels) != num_images:
        raise InvalidSource(f"{what} has {len(labels):,} labels for {num_images:,} images; it must have one for each.")
    return labels.astype(np.int64)


def _check_flags(array: Any, what: str, num_images: int) -> NDArray[np.uint8]:
    labels = _as_array(array, what)
    if labels.ndim != 2 or labels.dtype.kind not in "iufb" or not np.isin(labels, (0, 1)).all():
        raise InvalidSource(
            f"{what} must be 0 and 1 (num_images, num_classes), a column a label; got {labels.dtype} "
            f"{np.shape(array)}. Images of one label each are single-label: leave data.task out."
        )
    if len(labels) != num_images:
        raise InvalidSource(f"{what} has {len(labels):,} rows for {num_images:,} images; it must have one for each.")
    return labels.astype(np.uint8)


def _names_of_columns(given: Any, labels_of: Mapping[str, NDArray[Any]], typed: str) -> tuple[str, ...]:
    """What the columns of labels are called: "0", "1", ... where nobody says."""
    widths = {key: labels.shape[1] for key, labels in labels_of.items()}
    width = widths["y_train"]
    if len(set(widths.values())) > 1 or width < 2:
        told = ", ".join(f"{key} {number}" for key, number in widths.items())
        raise InvalidSource(f"{typed}: labels must have the same number of columns, at least 2; got {told}.")
    if given is not None and np.ndim(given) != 1:
        raise InvalidSource(f"{typed}: class_names must be a list of names; got {given!r}.")
    names = tuple(map(str, range(width))) if given is None else checked_names(given, typed)
    if len(names) != width or len(set(names)) != width:
        raise InvalidSource(f"{typed}: class_names must name each of the {width} columns differently; got {names}.")
    untaught = [name for name, has in zip(names, np.asarray(labels_of["y_train"].any(axis=0)), strict=True) if not has]
    if untaught:
        raise InvalidSource(
            f"{typed}: no image of y_train has the label {untaught[0]!r}, so it cannot be learned. Leave the column "
            "out, or add images."
        )
    return names


def _label_advice(labels: NDArray[Any]) -> str:
    if labels.dtype.kind in "USO":
        return (
            "Number them: class_names, numbers = numpy.unique(labels, return_inverse=True); and save class_names, too. "
            "All splits need the same numbers."
        )
    if labels.ndim == 2:
        return (
            "One-hot labels become numbers with labels.argmax(axis=1); where an image may have several, say so: "
            "--set data.task=multi-label, load(..., task='multi-label')."
        )
    if labels.ndim == 1 and labels.dtype.kind in "fb":
        return "If all are whole: labels.astype('int64')."
    return "Each image has one label."


def _check_class_names(given: Any, labels_of: Mapping[str, NDArray[np.int64]], typed: str) -> tuple[str, ...]:
    if given is None:
        names = _numbered_names(np.unique(labels_of["y_train"]), typed)
    elif np.ndim(given) != 1:
        raise InvalidSource(f"{typed}: class_names must be a list of names; got {given!r}.")
    else:
        names = checked_names(given, typed)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidSource(f"{typed}: class_names holds {twice!r} twice; each class needs a name of its own.")
    for key, labels in labels_of.items():
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(names)):
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise InvalidSource(
                f"{typed}: {key} holds the label {wrong}; "
                f"with {len(names)} classes labels go from 0 to {len(names) - 1}."
            )
    return names


def _numbered_names(present: NDArray[np.int64], typed: str) -> tuple[str, ...]:
    """Names "0", "1", ... for labels that fill their range; told first, since one stray label may be a billion."""
    if present[0] < 0:
        raise InvalidSource(f"{typed}: y_train holds the label {present[0]}; labels go from 0.")
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise InvalidSource(
            f"{typed}: y_train has labels up to {present[-1]} but none is {gaps[0]}. "
            "Number the classes without gaps, or give class_names."
        )
    return tuple(map(str, present.tolist()))


def assemble(
    name: str,
    pairs: Mapping[str, tuple[NDArray[np.uint8], NDArray[Any]]],
    class_names: tuple[str, ...],
    *,
    licence: str = "",
    fingerprint: str | None = None,
    remarks: tuple[str, ...] = (),
) -> Dataset:
    """Put checked arrays together; row ids are "train/00000" on, "validation/00000" on, "test/00000" on.

    Args:
        name: short name of the source.
        pairs: split to images and labels, "train" first.
        class_names: ordered.
        licence: of the data, "" if unknown.
        fingerprint: of content that was checked otherwise; hashed here if None.
        remarks: what was noticed.
    """
    # One pair alone fixes nothing: every split is drawn from its rows.
    given = [split if len(pairs) > 1 else "" for split, (_, labels) in pairs.items() for _ in labels]
    stacks = [images for images, _ in pairs.values()]
    images = np.concatenate(stacks) if len(stacks) > 1 else stacks[0]
    labels = np.concatenate([labels for _, labels in pairs.values()])
    return Dataset(
        name=name,
        class_names=class_names,
        row_ids=np.array([f"{split}/{row:05d}" for split, (_, found) in pairs.items() for row in range(len(found))]),
        labels=labels,
        images=images,
        given_splits=np.array(given),
        fingerprint=fingerprint or _fingerprint(images, labels, class_names),
        licence=licence,
        remarks=remarks,
    )


def _fingerprint(images: NDArray[np.uint8], labels: NDArray[Any], class_names: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr((images.shape, class_names)).encode())
    for array in (images, labels):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def range_advice(images: NDArray[Any]) -> str:
    """The range of an array and the expression that brings it to uint8, one sentence each.

    Args:
        images: of any type but uint8.

    Example:
        >>> range_advice(np.array([0.0, 0.5]))
        "It goes from 0 to 0.5. Convert it once: (images * 255).round().astype('uint8')."
        >>> range_advice(np.array([0, 4095], np.uint16)).partition(": ")[2]
        "(images >> 4).astype('uint8') if its pixels have 12 bits."
    """
    kind = images.dtype.kind
    if kind == "b":
        return "Convert it once: images.astype('uint8') * 255."
    if kind not in "iuf" or not images.size:
        return "Its pixels must be numbers."
    if kind == "f" and not np.isfinite(images).all():
        return "It holds values that are no numbers (NaN or infinite). Put those right first."
    low, high = images.min(), images.max()
    return f"It goes from {low:.6g} to {high:.6g}. Convert it once: {_expression(kind, float(low), float(high))}."


def _expression(kind: str, low: float, high: float) -> str:
    if kind == "f" and low >= 0 and high <= 1:
        return "(images * 255).round().astype('uint8')"
    if kind == "f" and low >= -1 and high <= 1:
        return "((images + 1) * 127.5).round().astype('uint8') if it was made to go from -1 to 1"
    if low >= 0 and high <= 255:
        return f"images{'.round()' if kind == 'f' else ''}.astype('uint8')"
    if kind in "iu" and low >= 0 and high < 2**16:
        bits = next(bits for bits in (10, 12, 14, 16) if high < 2**bits)
        return f"(images >> {bits - 8}).astype('uint8') if its pixels have {bits} bits"
    if kind == "f" and low < 0 and high < 20:
        return "undo what it was standardised with, images * deviation + mean, and then as from there"
    return "((images - low) * (255 / (high - low))).clip(0, 255).round().astype('uint8') with the range you need"
