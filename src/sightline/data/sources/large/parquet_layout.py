"""What the columns of Parquet files mean: which holds the images, which the labels, and what numbers stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sightline.data.sources.large.large_files import LargeFiles
from sightline.data.sources.local.cells import class_names_of, class_names_of_lists, features_of
from sightline.data.sources.local.tables import COLUMNS, Columns
from sightline.data.storage.blobs import Blob
from sightline.data.storage.parquet_rows import read_footer
from sightline.errors import InvalidSource, SightlineError, closest, require
from sightline.system.text import listed, printable

PARQUET_SUFFIX = ".parquet"


@dataclass(frozen=True)
class Layout:
    """What the columns of some files mean.

    Attributes:
        image: columns of bytes and of paths inside a row; "": none.
        columns: "label", "split", "group" and "weight" to the column of that, where there is one.
        class_names: what numbers in the column of labels stand for; empty where they are names themselves.
        features: what Hugging Face's library says of the columns.
    """

    image: tuple[str, str]
    columns: dict[str, str]
    class_names: list[str]
    features: dict[str, Any]


def holds_images(files: LargeFiles, *, columns: Columns | None = None) -> bool:
    """Whether the first of some Parquet files has a column of images; else it is a table of paths, or none."""
    schema = footer_of(files, files.blobs[0]).schema.to_arrow_schema()
    try:
        return bool(image_columns(schema, features_of(schema.metadata), (columns or {}).get("path"), files.typed))
    except InvalidSource:
        return True


def footer_of(files: LargeFiles, blob: Blob) -> Any:
    """The footer of one of the files; an InvalidSource where it is no Parquet file."""
    try:
        return read_footer(blob)
    except SightlineError:
        raise
    except Exception as error:  # a damaged file brings pyarrow to raise kinds of OSError, ValueError and its own
        reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__).rstrip(".")
        where = f"{printable(files.typed)}: " if blob.name != files.typed else ""
        raise InvalidSource(
            f"{where}{printable(blob.name)} is not a readable Parquet file ({reason}). If it was cut off, copy it "
            "again."
        ) from error


def schema_of(files: LargeFiles) -> tuple[Any, str]:
    """The columns of the first file, and what it is called."""
    return footer_of(files, files.blobs[0]).schema.to_arrow_schema(), files.blobs[0].name


def no_images(name: str, schema: Any) -> str:
    """What to say of a file without a column of images."""
    there = listed(list(map(printable, schema.names)), most=8)
    return (
        f"{printable(name)} has no column of images, which are bytes or an object of bytes and a path; found {there}. "
        "A table of paths is named as a file of its own."
    )


def layout_of(files: LargeFiles, columns: Columns) -> Layout:
    """What the columns mean, as far as names, types and the file itself tell; refused where that is not enough."""
    schema, first = schema_of(files)
    features = features_of(schema.metadata)
    image = image_columns(schema, features, columns.get("path"), files.typed)
    if not image:
        raise InvalidSource(f"{printable(files.typed)}: {no_images(first, schema)}")
    found = {}
    for meaning in ("label", "split", "group", "weight"):
        if name := _column(schema, features, meaning, columns.get(meaning), files.typed):
            found[meaning] = name
    told = features.get(found["label"])
    return Layout(image, found, class_names_of(told) or class_names_of_lists(told), features)


def image_columns(schema: Any, features: dict[str, Any], chosen: Any, typed: str) -> tuple[str, str] | tuple[()]:
    """The column of images as that of its bytes and that of its paths; () where there is none."""
    types = _kinds()
    possible = {}
    for field in schema:
        inner = (
            {field.type.field(at).name for at in range(field.type.num_fields)} if types.is_struct(field.type) else ()
        )
        if "bytes" in inner:
            possible[field.name] = (f"{field.name}.bytes", f"{field.name}.path" if "path" in inner else "")
        elif types.is_binary(field.type) or types.is_large_binary(field.type):
            possible[field.name] = (field.name, "")
    wanted = (chosen,) if isinstance(chosen, str) else chosen
    if wanted:
        return next((possible[name] for name in wanted if name in possible), ())
    told = [
        name for name in possible if isinstance(features.get(name), dict) and features[name].get("_type") == "Image"
    ]
    usual = [name for name in possible if name.lower() in (*COLUMNS["path"], "img", "bytes", "content", "jpg", "png")]
    is_table = any(field.name.lower() in COLUMNS["path"] and types.is_string(field.type) for field in schema)
    for names in (told, usual, [] if is_table else list(possible)):
        if len(names) == 1:
            return possible[names[0]]
        if len(names) > 1:
            raise InvalidSource(
                f"{printable(typed)}: has several columns of images, {listed(list(map(printable, names)), most=5)}. "
                f"Say which: --column path={printable(names[0])}"
            )
    return ()


def _kinds() -> Any:
    """The module that tells kinds of columns apart."""
    return require("pyarrow.types", purpose="reading Parquet files", install="sightline[parquet]")


def _column(schema: Any, features: dict[str, Any], meaning: str, chosen: Any, typed: str) -> str:
    """The column of a meaning, "" where there is none; refused where there is none of labels."""
    lowered = {name.lower(): name for name in schema.names}
    wanted = COLUMNS[meaning] if chosen is None else (chosen,) if isinstance(chosen, str) else tuple(chosen)
    if found := next((lowered[name.lower()] for name in wanted if name.lower() in lowered), ""):
        if schema.names.count(found) > 1:
            raise InvalidSource(f"{printable(typed)}: has {schema.names.count(found)} columns {found!r}; keep one.")
        return found
    there = listed(list(map(printable, schema.names)), most=8)
    if chosen is not None:
        raise InvalidSource(
            f"{printable(typed)}: has no column {wanted[0]!r}. {closest(wanted[0], map(printable, schema.names))}"
        )
    if meaning != "label":
        return ""
    kinds = (class_names_of, class_names_of_lists)
    told = [name for name in schema.names if any(names(features.get(name)) for names in kinds)]
    if len(told) == 1:
        return str(told[0])
    if told:
        raise InvalidSource(
            f"{printable(typed)}: has several columns of classes, {listed(list(map(printable, told)), most=5)}. "
            f"Say which: --column label={printable(told[0])}"
        )
    raise InvalidSource(
        f"{printable(typed)}: has no column of labels; found {there}. Say what it is called: --column label=NAME"
    )
