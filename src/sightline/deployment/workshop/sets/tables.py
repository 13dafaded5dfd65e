"""Labels of a table, an archive or arrays: corrected in a table beside it, by which `train --labels` goes."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from sightline.deployment.workshop.sets.journal import Change, alone, write_change
from sightline.errors import CannotWrite, InvalidValue
from sightline.quality.labels.label_table import COLUMNS, read_labels
from sightline.records import Dataset
from sightline.system.files import write_atomically
from sightline.system.stored import read_plain
from sightline.system.text import csv_line, places_by_name, printable


def table_of_labels(source: Path) -> Path:
    """Where the corrected labels of a source lie that is no folder."""
    return source.with_name(f"{source.name}-labels.csv")


def labels_in(source: Path) -> dict[str, str]:
    """File to label of that table, as its cells are written; empty where there is none."""
    table = table_of_labels(source)
    if table.is_symlink():
        raise CannotWrite(f"{printable(table.name)} is a link, and nothing is written behind links. Remove it.")
    try:
        return read_labels(read_plain(table).decode("utf-8"), name=printable(table.name))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{printable(table.name)}: cannot be read ({error}). Move it away.") from error


def relabel_row(source: Path, dataset: Dataset, file: object, label: object) -> Change:
    """Give a row of a source another label in the table beside it; "" leaves the row out of a training."""
    row = _row(dataset, file)
    if not isinstance(label, str) or label not in ("", *dataset.class_names):
        shown = printable(str(label))[:80]
        raise InvalidValue(f"{shown!r} is no class of {printable(source.name)}. Choose one of its classes.")
    name = str(dataset.row_ids[row])
    with alone(source.parent):
        labels = labels_in(source)
        given = {_cell(known): known for known in dataset.class_names}.get(labels.get(_cell(name), ""))
        given = given or dataset.named(slice(row, row + 1))[0]
        change = write_change(source.parent, Change("relabel", name, given, label, source=source.name))
        _write(source, {**labels, _cell(name): _cell(label)})
        return change


def keep_row(source: Path, dataset: Dataset, file: object) -> Change:
    """Note that the label of a row was looked at and is right."""
    row = _row(dataset, file)
    given = dataset.named(slice(row, row + 1))[0]
    change = Change("keep", str(dataset.row_ids[row]), given, given, source=source.name)
    with alone(source.parent):
        return write_change(source.parent, change)


def unlabel_row(place: Path, change: Change) -> list[str]:
    """Put back the label that a row had before a change; or say why it is left."""
    source = place / change.source
    labels = labels_in(source)
    if labels.get(_cell(change.file)) != _cell(change.label):
        return [f"{printable(change.file)}: its label was changed since"]
    _write(source, {**labels, _cell(change.file): _cell(change.given)})
    return []


def _cell(text: str) -> str:
    """As a table of ours has it, in which nothing is taken for a formula."""
    return (next(csv.reader([csv_line([text])]), None) or [""])[0]  # of an empty line it makes no cell


def _row(dataset: Dataset, file: object) -> int:
    row = places_by_name(dataset.row_ids.tolist()).get(file) if isinstance(file, str) else None
    if row is None:
        raise InvalidValue(f"{printable(str(file))[:200]}: is not in {printable(dataset.name)} any more. Look again.")
    return row


def _write(source: Path, labels: Mapping[str, str]) -> None:
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    # They are cells already.
    table.writerows([COLUMNS[:2], *labels.items()])
    write_atomically(table_of_labels(source), stream.getvalue())
