"""`load`: from what the user names to a Dataset."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.configuration.names import LABEL_LEVELS
from sightline.configuration.schema import DataRecipe
from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.annotations.coco import fits_coco, read_coco
from sightline.data.sources.annotations.cvat import fits_cvat, read_cvat
from sightline.data.sources.annotations.imagefolder import fits_imagefolder, read_imagefolder
from sightline.data.sources.annotations.label_studio import fits_label_studio, read_label_studio
from sightline.data.sources.annotations.marks import is_mark
from sightline.data.sources.annotations.roboflow import fits_roboflow, read_roboflow
from sightline.data.sources.builtin import read_mnist
from sightline.data.sources.catalog import SOURCES
from sightline.data.sources.downloads import read_keras_dataset
from sightline.data.sources.large.large_files import LargeFiles, files_in, in_folder, is_list, listed, single
from sightline.data.sources.large.parquet import read_parquet
from sightline.data.sources.large.parquet_layout import PARQUET_SUFFIX, holds_images
from sightline.data.sources.large.shard_members import is_shard
from sightline.data.sources.large.shards import SHARD_SUFFIX, read_shards
from sightline.data.sources.levels import BY_LAST
from sightline.data.sources.local import archives, tables
from sightline.data.sources.local.archives import members_of, read_archive
from sightline.data.sources.local.arrays import ARRAY_KEYS, assemble, from_arrays, read_npz
from sightline.data.sources.local.folders import read_folder
from sightline.data.sources.local.tables import Columns, is_frame, read_table
from sightline.data.sources.remote.opening import Opening, read_remote
from sightline.data.sources.remote.stores import address_of
from sightline.errors import InvalidSource, InvalidValue, OneClassOnly, UnknownName, closest, pick
from sightline.records import Dataset, Store
from sightline.system.text import printable
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.table import TASKS


def load(
    source: Any,
    *,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    label_from: str = "first",
    columns: Columns | None = None,
    task: str = SINGLE_LABEL.name,
) -> Dataset:
    """Open a source of labelled images.

    Args:
        source: a folder with a sub-folder a class, or with such folders under `train/`,
            `validation/` and `test/`; a table of paths and labels (.csv, .tsv, .parquet, .jsonl, a pandas
            frame); what a tool for labelling exports: Hugging Face's imagefolder with metadata, Label Studio,
            CVAT, Roboflow, COCO; a .zip or .tar laid out as a folder is; tar shards of samples, `key.jpg` beside
            `key.cls`, `key.json` or `key.txt`, as a folder of them, a list in braces (train-{000..099}.tar) or one;
            Parquet files whose rows hold the images, likewise; an address of an object store (s3://, gs://, az://, hf://)
            under which a folder, a table, shards or Parquet files lie; a name from `sightline.datasets()`;
            an `.npz` file with `x_train, y_train,
            x_test, y_test` as Keras has it (and `class_names`, if you like); the same keys
            in a mapping, where the test pair may be left out; or a Dataset, handed on.
            Images are uint8 (num_images, height, width) or (..., 1 or 3), labels whole numbers from 0.
        class_names: the classes in their order, what the labels of arrays stand for. If left out, those
            of files are sorted by name, those of arrays are "0", "1", ...
        name: short name for the run's folder; that of the source if left out.
        label_from: "first" or "last": which folder names the class, where folders are nested; "top": the top
            folders do, even where they are called as splits are. With "last" and "top" folders name the classes even
            where a file of annotations lies in them.
        columns: what the columns of a table are called, where it is not path and label:
            {"path": "img", "label": "species"}; split, group and weight, too. A path may be a pattern with names of
            columns: {"path": "train/{id}.jpg"}.
        task: "single-label": each image has one class; "multi-label": it may have several labels, or none. A table
            then says "cat;dog" in a cell, names a file in several lines, or has a column of 0 and 1 for each label;
            in folders a picture lies in those of all its labels, as links or copies; an export has all that it says
            of an image; of arrays, labels are (num_images, num_classes) of 0 and 1.

    Returns:
        The Dataset, lazy: of files it holds names, not pixels. Its given splits are those of
        the source; what it does not fix is divided later.

    Raises:
        UnknownName: neither a known name nor a path that exists.
        InvalidSource: the arrays are missing, of the wrong rank, type or length, or hold
            labels out of range or one class only; the message names the array.
        DownloadFailed: public data could not be fetched.
        MissingPackage: Keras is needed to fetch it and is not installed.

    Example:
        >>> import sightline
        >>> sightline.load("mnist")
        Dataset 'mnist': 70,000 images of 28x28x1, 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """
    if isinstance(source, Dataset):
        return source
    pick(LABEL_LEVELS, label_from, kind="label level")
    pick(TASKS, task, kind="task")
    how = Opening(printable(name) if name else None, class_names, label_from, columns, task)
    if columns and not is_table(source, label_from=label_from):
        what = printable(str(source)) if isinstance(source, str | Path) else type(source).__name__
        raise InvalidSource(f"columns are named for tables, and {what} is none. Leave them out.")
    if not isinstance(source, str | Path):
        if isinstance(source, Mapping):
            return from_arrays(source, "arrays", how.name or "arrays", class_names, several=how.several)
        if is_frame(source):
            return read_table(source, columns=columns, name=how.name, class_names=class_names, several=how.several)
        raise InvalidSource(f"a source is a path, a name, a table or arrays; got {type(source).__name__}.")
    if str(source) in SOURCES:
        if how.several:
            raise InvalidSource(f"{source}: each of its images has one class. Leave data.task out.")
        return _named(str(source))
    if not str(source):  # an empty path would be the folder one happens to be in
        raise UnknownName(f"no source was named. {closest('', SOURCES)}")
    if address := address_of(source):
        return read_remote(address, how)
    # A shell opens "~" before a program sees it; a notebook does not.
    return _from_path(Path(os.path.expanduser(source)), how)  # noqa: PTH111  # Path's own raises where there is no home


@dataclass(frozen=True)
class SourceKind:
    """A kind of path that can be opened.

    Attributes:
        words: what it is, where a path is refused that is none.
        fits: whether a path is of it: by its name, by being a folder, or by the first bytes of a file.
        read: opens it.
        holds_files: False where it holds pixels, which are drawn at random and learned from by another recipe.
        has_columns: whether `columns` say something to a path of it.
        is_list: True where the path is no single file or folder, but stands for several.
        is_annotated: whether a file that names images says what they are; it comes before folders and tables, which
            any path of the kind would be, and never where folders are to name the classes.
    """

    words: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Opening], Dataset]
    holds_files: bool = True
    has_columns: Callable[[Path], bool] = lambda _: False
    is_list: bool = False
    is_annotated: bool = False


def _read_npz(path: Path, how: Opening) -> Dataset:
    arrays, unused = read_npz(path)
    return from_arrays(arrays, str(path), how.name or path.stem, how.class_names, unused=unused, several=how.several)


def _ending(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.name.lower().endswith(suffixes)


def _read_shards(files: LargeFiles, how: Opening) -> Dataset:
    return read_shards(files, columns=how.columns, name=how.name, class_names=how.class_names, several=how.several)


def _is_shard(path: Path) -> bool:
    return path.name.lower().endswith(SHARD_SUFFIX) and is_shard(path)


def _read_archive(path: Path, how: Opening) -> Dataset:
    """One tar may be a shard of samples or a folder that was packed; its first members tell."""
    if _is_shard(path):
        return _read_shards(single(path), how)
    try:
        return read_archive(
            path, label_from=how.label_from, name=how.name, class_names=how.class_names, several=how.several
        )
    except InvalidSource as error:
        if not (found := _annotations_in(path)):
            raise
        raise InvalidSource(f"{error} It holds {printable(found)}: unpack it, and name the folder.") from error


def _annotations_in(path: Path) -> str:
    """The member of an archive that an export of a labelling tool is known by; "" if there is none."""
    try:
        _, others = members_of(path)
    except InvalidSource:
        return ""
    return next((name for name, _ in others if is_mark(name)), "")


def _read_parquet(files: LargeFiles, how: Opening) -> Dataset:
    return read_parquet(files, columns=how.columns, name=how.name, class_names=how.class_names, several=how.several)


def _read_table(path: Path, how: Opening) -> Dataset:
    """A Parquet file may hold the images themselves."""
    if path.name.lower().endswith(PARQUET_SUFFIX) and holds_images(single(path), columns=how.columns):
        return _read_parquet(single(path), how)
    return read_table(path, columns=how.columns, name=how.name, class_names=how.class_names, several=how.several)


def _is_folder_of_files(path: Path) -> bool:
    # Path's own raises inside a folder that may not be entered.
    is_folder = os.path.isdir(path)  # noqa: PTH112
    return is_folder and not any(files_in(path, suffix) for suffix in (SHARD_SUFFIX, PARQUET_SUFFIX))


# The first that fits counts, what is annotated before all others: a folder may be called as archives are.
SOURCE_KINDS: tuple[SourceKind, ...] = (
    SourceKind(
        "a folder with a sub-folder a class",
        _is_folder_of_files,
        lambda path, how: read_folder(
            path, label_from=how.label_from, name=how.name, class_names=how.class_names, several=how.several
        ),
    ),
    SourceKind(
        "a folder of tar shards",
        lambda path: bool(files_in(path, SHARD_SUFFIX)),
        lambda path, how: _read_shards(in_folder(path, SHARD_SUFFIX), how),
        has_columns=lambda _: True,
    ),
    SourceKind(
        "a list of tar shards in braces (train-{000..099}.tar)",
        lambda path: is_list(path, SHARD_SUFFIX),
        lambda path, how: _read_shards(listed(str(path)), how),
        has_columns=lambda _: True,
        is_list=True,
    ),
    SourceKind(
        "a folder of Parquet files with images",
        lambda path: bool(files_in(path, PARQUET_SUFFIX)),
        lambda path, how: _read_parquet(in_folder(path, PARQUET_SUFFIX), how),
        has_columns=lambda _: True,
    ),
    SourceKind(
        "a list of them in braces",
        lambda path: is_list(path, PARQUET_SUFFIX),
        lambda path, how: _read_parquet(listed(str(path)), how),
        has_columns=lambda _: True,
        is_list=True,
    ),
    SourceKind(
        f"a table ({', '.join(tables.TABLE_SUFFIXES)})",
        _ending(*tables.TABLE_SUFFIXES),
        _read_table,
        has_columns=lambda _: True,
    ),
    SourceKind(
        "an archive (.zip, .tar)",
        _ending(*archives.ARCHIVE_SUFFIXES),
        _read_archive,
        has_columns=_is_shard,
    ),
    SourceKind(f"an .npz file with {', '.join(ARRAY_KEYS)}", _ending(".npz"), _read_npz, holds_files=False),
    SourceKind(
        "a folder with metadata.csv or metadata.jsonl (Hugging Face)",
        fits_imagefolder,
        lambda path, how: read_imagefolder(
            path, columns=how.columns, name=how.name, class_names=how.class_names, several=how.several
        ),
        has_columns=lambda _: True,
        is_annotated=True,
    ),
    SourceKind(
        "an export of Label Studio (.json, .csv)",
        fits_label_studio,
        lambda path, how: read_label_studio(
            path, columns=how.columns, name=how.name, class_names=how.class_names, several=how.several
        ),
        has_columns=lambda _: True,
        is_annotated=True,
    ),
    SourceKind(
        "of CVAT (annotations.xml, synsets.txt)",
        fits_cvat,
        lambda path, how: read_cvat(path, name=how.name, class_names=how.class_names, several=how.several),
        is_annotated=True,
    ),
    SourceKind(
        "of Roboflow (_classes.csv)",
        fits_roboflow,
        lambda path, how: read_roboflow(path, name=how.name, class_names=how.class_names, several=how.several),
        is_annotated=True,
    ),
    SourceKind(
        "in COCO's format (.json)",
        fits_coco,
        lambda path, how: read_coco(path, name=how.name, class_names=how.class_names, several=how.several),
        is_annotated=True,
    ),
)


def _kinds_of(path: str | Path, label_from: str) -> list[SourceKind]:
    """What a path may be, what counts first."""
    place = Path(path)
    takes_folders = label_from != "first" and os.path.isdir(place)  # noqa: PTH112  # as above
    kinds = [kind for kind in SOURCE_KINDS if not (kind.is_annotated and takes_folders) and kind.fits(place)]
    return sorted(kinds, key=lambda kind: not kind.is_annotated)


def _kind_of(path: str | Path, label_from: str = "first") -> SourceKind | None:
    return next(iter(_kinds_of(path, label_from)), None)


def is_table(source: Any, *, label_from: str = "first") -> bool:
    """True if a source has columns with names: a pandas frame, or a file or folder of a kind that has."""
    if not isinstance(source, str | Path):
        return is_frame(source)
    if address_of(source):
        return True
    kind = _kind_of(source, label_from)
    return kind is not None and kind.has_columns(Path(source))


def open_as_recipe_says(source: Any, data: DataRecipe) -> Dataset:
    """Open a source with what a recipe says of its folders and columns."""
    return load(source, label_from=data.label_from, columns=named_columns(data.columns or ""), task=data.task)


def open_again(source: Any, record: Mapping[str, Any]) -> Dataset:
    """Open a source as the record of another opening says: the one that it was made from, or one that is like it.

    Args:
        source: whatever `load` takes.
        record: may have `label_from`, `columns` and `task`; columns that the table does not have are looked for by
            the usual names instead.
    """
    label_from = record.get("label_from", "first")
    columns = named_columns(str(record.get("columns") or "")) if is_table(source, label_from=label_from) else {}
    names = {meaning: (name, *tables.COLUMNS[meaning]) for meaning, name in columns.items()}
    try:
        return load(source, label_from=label_from, columns=names, task=record.get("task", SINGLE_LABEL.name))
    except OneClassOnly as error:
        # To judge a network, or to ask it, one class is enough.
        opened: Dataset = error.dataset
        return opened


def named_columns(typed: str) -> dict[str, str]:
    """What "path=img,label=species" says, in a recipe, in a record or behind `--column`.

    Example:
        >>> named_columns("path=img, label=species")
        {'path': 'img', 'label': 'species'}
    """
    found: dict[str, str] = {}
    for part in filter(str.strip, typed.split(",")):
        meaning, _, name = (piece.strip() for piece in part.partition("="))
        if not name:
            raise InvalidValue(f"columns are named as path=img,label=species; got {typed!r}.")
        pick(tables.COLUMNS, meaning, kind="meaning of a column")
        found[meaning] = name
    return found


def holds_files(source: Any) -> bool:
    """True if a source consists of image files: a folder, a table or an archive, no name, array or `.npz` file.

    Nothing is opened.
    """
    if isinstance(source, Dataset):
        return isinstance(source.images, Store)
    if not isinstance(source, str | Path):
        return is_frame(source)
    if address_of(source):
        return True
    kind = None if str(source) in SOURCES else _kind_of(source)
    return kind is not None and kind.holds_files


def _from_path(path: Path, how: Opening) -> Dataset:
    listed = _kind_of(path)
    if listed is not None and listed.is_list:
        return _opened(listed, path, how)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a zero byte
        typed = printable(str(path))
        raise UnknownName(
            f"no source is called '{typed}', and there is no such file. {closest(typed, SOURCES)}"
        ) from error
    except OSError as error:
        raise InvalidSource(f"{printable(str(path))}: cannot be read ({error.strerror}).") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe can block for ever
        raise InvalidSource(f"{printable(str(path))}: is a pipe, socket or device. Save what comes from it as a file.")
    kinds = _kinds_of(path, how.label_from)
    if len([kind for kind in kinds if kind.is_annotated]) > 1:
        words = " and ".join(kind.words for kind in kinds if kind.is_annotated)
        raise InvalidSource(
            f"{printable(str(path))}: may be {words}. Name the file of annotations itself, or move the others away; if "
            f"its folders name the classes: {BY_LAST}."
        )
    if kinds:
        return _opened(kinds[0], path, how)
    hint = (
        "It is one image: `sightline predict` takes it. " if path.name.lower().endswith(tuple(IMAGE_SUFFIXES)) else ""
    )
    raise InvalidSource(
        f"{printable(str(path))}: cannot be opened as a source. {hint}It must be "
        f"{', '.join(kind.words for kind in SOURCE_KINDS)}, or one of {', '.join(SOURCES)}."
    )


def _opened(kind: SourceKind, path: Path, how: Opening) -> Dataset:
    try:
        return kind.read(path, how)
    except OneClassOnly:
        raise
    except InvalidSource as error:
        if not (kind.is_annotated and stat.S_ISDIR(path.stat().st_mode)):
            raise
        raise InvalidSource(f"{error} If its folders name the classes: {BY_LAST}.") from error


def _named(name: str) -> Dataset:
    entry = SOURCES[name]
    arrays = read_mnist() if name == "mnist" else read_keras_dataset(name)
    # MNIST's bytes were checked against their MD5s: hashing 55 MB again would say the same.
    fingerprint = hashlib.sha256(b"mnist checked by MD5").hexdigest() if name == "mnist" else None
    train_images, train_labels, test_images, test_labels = arrays
    pairs = {"train": (train_images, train_labels), "test": (test_images, test_labels)}
    return assemble(name, pairs, entry.class_names, licence=entry.licence, fingerprint=fingerprint)
