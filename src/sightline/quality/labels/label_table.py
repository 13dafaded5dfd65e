"""The table of doubtful labels that a person edits and a training takes back."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
from collections.abc import Mapping
from typing import Final

import numpy as np

from sightline.errors import InvalidValue, closest
from sightline.quality.labels.doubts import LabelDoubts
from sightline.records import Dataset
from sightline.system.progress import reporter
from sightline.system.text import counted, csv_line, places_by_name, printable
from sightline.tasks.table import refuse_several_labels

COLUMNS: Final = ("file", "label", "given", "suggested", "doubt")
LEFT_OUT: Final = "its label was left empty in the table of labels"


def label_csv(dataset: Dataset, found: LabelDoubts) -> str:
    """The listed labels, the most doubtful first: a file, the label to edit, and why it is asked about.

    The label is the given one until a person changes it, so that an unread table changes nothing.
    """
    lines = [csv_line(COLUMNS)]
    listed = slice(0, found.num_listed)
    rows = found.rows[listed]
    for file, given, suggested, doubt in zip(
        dataset.row_ids[rows].tolist(),
        dataset.named(rows),
        found.suggested[listed].tolist(),
        found.doubts[listed],
        strict=True,
    ):
        lines.append(csv_line([file, given, given, dataset.class_names[suggested], f"{doubt:.4f}"]))
    return "\n".join(lines) + "\n"


def changed_labels_csv(dataset: Dataset) -> str:
    """The labels that a table changed, as `read_labels` reads them; a line of columns alone where none did."""
    return "".join(csv_line(line) + "\n" for line in (COLUMNS[:2], *dataset.changed_labels))


def read_labels(text: str, *, name: str) -> dict[str, str]:
    """File to label of a table as `label_csv` writes it; other columns are not looked at.

    Args:
        text: of the table.
        name: of the file, for messages.

    Raises:
        InvalidValue: it is no table, lacks a column, or gives a file two labels.
    """
    table = csv.DictReader(io.StringIO(text))
    try:
        columns, lines = table.fieldnames or (), list(table)
    except csv.Error as error:
        raise InvalidValue(f"data.labels_file {name}: is not a readable table ({error}).") from error
    missing = [column for column in COLUMNS[:2] if column not in columns]
    if missing:
        found = ", ".join(map(printable, columns)) or "nothing"
        raise InvalidValue(f"data.labels_file {name}: has no column '{missing[0]}'; found {found}.")
    labels: dict[str, str] = {}
    for line in lines:
        file, label = line["file"] or "", (line["label"] or "").strip()
        if labels.setdefault(file, label) != label:
            raise InvalidValue(f"data.labels_file {name}: gives '{printable(file)}' two labels. Keep one of the lines.")
    return labels


def relabelled(dataset: Dataset, labels: Mapping[str, str]) -> Dataset:
    """The dataset with the labels of a table in place of its own; rows whose label is empty are left out.

    Args:
        dataset: the rows.
        labels: row id to the name of its class; rows that are not named stay as they are.

    Raises:
        InvalidValue: a row or a class that the dataset does not have, or no row is left.
    """
    if not labels:
        return dataset
    refuse_several_labels(dataset.task, "data.labels_file", "a table of labels gives one. Change them in the source.")
    row_of, number_of = places_by_name(dataset.row_ids.tolist()), places_by_name(dataset.class_names)
    unknown = [file for file in labels if file not in row_of]
    if unknown:
        raise InvalidValue(
            f"data.labels_file: {counted(len(unknown), 'file')} of {len(labels):,} not in '{printable(dataset.name)}', "
            f"such as '{printable(unknown[0])}'. Its files are called as '{printable(str(dataset.row_ids[0]))}'."
        )
    strange = sorted({label for label in labels.values() if label and label not in number_of})
    if strange:
        raise InvalidValue(
            f"data.labels_file: '{printable(strange[0])}' is no class of '{printable(dataset.name)}'. "
            f"{closest(strange[0], dataset.class_names)}"
        )
    changed, gone = dataset.labels.copy(), np.zeros(len(dataset), bool)
    table = []
    for file, label in labels.items():
        if not label:
            gone[row_of[file]] = True
        elif changed[row_of[file]] == number_of[label]:
            continue
        else:
            changed[row_of[file]] = number_of[label]
        table.append((file, label))
    if gone.all():
        raise InvalidValue(f"data.labels_file: leaves out every image of '{printable(dataset.name)}'.")
    num_changed = int((changed != dataset.labels)[~gone].sum())
    reporter().say(
        f"note: {counted(num_changed, 'label')} changed and {counted(int(gone.sum()), 'image')} left out by the table "
        f"of labels"
    )
    if not num_changed and not gone.any():
        return dataset
    # With other labels it is another source: figures on one are not those on the other.
    digest = hashlib.sha256(dataset.fingerprint.encode() + changed.tobytes()).hexdigest()
    fingerprint = digest if num_changed else dataset.fingerprint
    told = (*dataset.changed_labels, *table)
    whole = dataclasses.replace(dataset, labels=changed, fingerprint=fingerprint, changed_labels=told)
    if not gone.any():
        return whole
    left_out = tuple((row_id, LEFT_OUT) for row_id in dataset.row_ids[gone].tolist())
    return whole.take(np.flatnonzero(~gone), left_out=left_out)
