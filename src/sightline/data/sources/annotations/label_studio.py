"""Label Studio: exports of classification as JSON, JSON-MIN, CSV and TSV.

Images are called by addresses of its server; what they lead to is looked for beside the file.

Source:
    https://labelstud.io/guide/export and https://labelstud.io/guide/task_format
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.annotations.marks import is_folder
from sightline.data.sources.annotations.parsing import head_of, read_document
from sightline.data.sources.annotations.records import Annotation, Export, dataset_of, folder_of
from sightline.data.sources.local.cells import read_cells
from sightline.data.sources.local.tables import Columns
from sightline.errors import InvalidSource, closest
from sightline.records import Dataset
from sightline.system.stored import parse_json
from sightline.system.text import counted, is_address, listed, printable

# What its flat exports have beside the data of a task and what was said of it.
_OF_ANNOTATION = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time")
_OF_EXPORT = frozenset({*_OF_ANNOTATION, "id", "agreement", "history"})
_SIGN = re.compile(r'"(annotations|completions|annotation_id)"\s*:')
_UPLOADED, _LOCAL = "/data/upload/", "/data/local-files/"
# Eight digits are put before the name of an uploaded file.
_PREFIXED = re.compile(r"[0-9a-f]{8}-(.+)")
_NEAR = ("images", "upload", "media/upload", "data/upload")
_TABLES = (".csv", ".tsv")


def fits_label_studio(path: Path) -> bool:
    """True of a JSON with a list of tasks, and of a table with the columns that its exports have."""
    ending = path.name.lower()
    if is_folder(path) or not ending.endswith((".json", *_TABLES)):
        return False
    head = head_of(path)
    if ending.endswith(".json"):
        return head.startswith("[") and _SIGN.search(head) is not None
    columns = {column.strip('" \r').lower() for column in re.split("[,\t;]", head.partition("\n")[0])}
    return columns.issuperset(_OF_ANNOTATION)


def read_label_studio(
    path: Path,
    *,
    columns: Columns | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    several: bool = False,
) -> Dataset:
    """Open an export of Label Studio.

    Args:
        path: JSON, JSON-MIN, CSV or TSV, with the images beside it or in folders below.
        columns: which of the task's data is the image ("path") and which question's answer is the class ("label"),
            where there are several.
        name: short name; that of the file if None.
        class_names: their order; sorted by name if None.
        several: whether an image may have several labels.
    """
    typed = printable(str(path))
    tasks = _tasks(path, typed)
    if others := sorted(set(columns or {}) - {"path", "label"}):
        raise InvalidSource(f"{typed}: an export of Label Studio has no {listed(others)}; columns name path and label.")
    asked = Counter(question for task in tasks for answer in task.answers for question, said in answer.items() if said)
    label = _chosen(typed, asked, columns, what="label")
    image = _chosen(typed, _images(tasks), columns, what="path")
    entries = [entry for task in tasks for entry in _entries(task, image, label)]
    export = Export(typed, folder_of(path), entries, "task", printable(path.stem) or "tasks")
    return dataset_of(export, name=name, class_names=class_names, several=several)


@dataclass(frozen=True)
class _Task:
    """One task: its id, its data by name, and of each annotation that was not skipped the labels by question."""

    identity: str
    data: Mapping[str, Any]
    answers: Sequence[Mapping[str, Sequence[str]]]


def _tasks(path: Path, typed: str) -> list[_Task]:
    if path.name.lower().endswith(_TABLES):
        cells = read_cells(path, typed)
        flat = [dict(zip(cells.headers, row, strict=True)) for row in cells.rows]
        return _flat(typed, [{key: _unpacked(value) for key, value in task.items()} for task in flat])
    document = read_document(path, typed)
    if not isinstance(document, list):
        raise InvalidSource(f"{typed}: is no export of Label Studio: it is no list of tasks.")
    for number, task in enumerate(document, 1):
        if not isinstance(task, dict):
            raise InvalidSource(f"{typed}: number {number:,} of its tasks is no object of names and values.")
    is_whole = any(isinstance(task.get("data"), dict) for task in document)
    return [_whole(typed, task) for task in document] if is_whole else _flat(typed, document)


def _whole(typed: str, task: Mapping[str, Any]) -> _Task:
    data = task.get("data")
    annotations = task.get("annotations", task.get("completions", []))
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise InvalidSource(f"{typed}: the task {_identity(task)} has no object `data`, or no list `annotations`.")
    answers: list[dict[str, list[str]]] = []
    for annotation in annotations:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled") or annotation.get("skipped"):
            continue
        answer: dict[str, list[str]] = {}
        results = annotation.get("result")
        for result in results if isinstance(results, list) else []:
            if isinstance(result, dict) and result.get("type") == "choices":
                labels = _labels(result.get("value"))
                answer.setdefault(str(result.get("from_name", "choice")), []).extend(labels)
        answers.append(answer)
    return _Task(_identity(task), data, answers)


def _flat(typed: str, tasks: Sequence[Mapping[str, Any]]) -> list[_Task]:
    """Tasks that have the data and the answers side by side: answers are what is neither an image nor of the export."""
    names = dict.fromkeys(key for task in tasks for key in task if key not in _OF_EXPORT)
    images = {key for key in names if any(map(_is_image, (task.get(key) for task in tasks)))}
    found = []
    for task in tasks:
        data = {key: value for key, value in task.items() if key in images}
        said = {key: _labels(value) for key, value in task.items() if key in names and key not in images}
        found.append(_Task(_identity(task), data, [said]))
    if found and not any(labels for task in found for answer in task.answers for labels in answer.values()):
        raise InvalidSource(f"{typed}: none of its {counted(len(found), 'task')} has an answer. Label some first.")
    return found


def _identity(task: Mapping[str, Any]) -> str:
    return re.sub(r"\s", "_", printable(str(task.get("id", "without-id")))[:40]) or "without-id"


def _unpacked(cell: str) -> Any:
    """A cell of a table, in which several answers stand as JSON."""
    if not cell.startswith(("[", "{")):
        return cell
    try:
        return parse_json(cell, allow_nan=True)
    except ValueError:
        return cell


def _labels(value: Any) -> list[str]:
    """The labels of an answer: "cat", {"choices": ["cat", "dog"]}, or a list of such; of boxes and text none."""
    if isinstance(value, str):
        return [value.strip()] if value.strip() else []
    if isinstance(value, dict):
        choices = value.get("choices")
        return [str(choice).strip() for choice in choices if str(choice).strip()] if isinstance(choices, list) else []
    return [label for part in value for label in _labels(part)] if isinstance(value, list) else []


def _images(tasks: Sequence[_Task]) -> Counter[str]:
    """How often each of the data is called as an image is."""
    return Counter(key for task in tasks for key, value in task.data.items() if _is_image(value))


def _is_image(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    if _UPLOADED in value or _LOCAL in value:
        return True
    return value.partition("?")[0].lower().endswith(tuple(IMAGE_SUFFIXES))


def _chosen(typed: str, names: Counter[str], columns: Columns | None, *, what: str) -> str:
    """Which of several names counts: the wanted one, the usual one, or the only one."""
    wanted = (columns or {}).get(what, ())
    if found := next((name for name in ((wanted,) if isinstance(wanted, str) else wanted) if name in names), ""):
        return found
    asks = {"label": "answers of choices", "path": "data that are called as images are"}[what]
    if not names:
        raise InvalidSource(
            f"{typed}: holds no {asks}. An image is of a class by Choices in Label Studio; boxes are exported as COCO."
        )
    if isinstance(wanted, str):
        known = closest(wanted, map(printable, names))
        raise InvalidSource(f"{typed}: has no {asks} by the name of {printable(wanted)!r}. {known}")
    if (usual := {"label": "choice", "path": "image"}[what]) in names or len(names) == 1:
        return usual if usual in names else next(iter(names))
    raise InvalidSource(
        f"{typed}: holds {asks} by several names: {listed(sorted(names), most=8)}. Say which: "
        f"columns={{'{what}': '{printable(min(names))}'}}, --column {what}={printable(min(names))}"
    )


def _entries(task: _Task, image: str, label: str) -> Iterator[Annotation]:
    written = task.data.get(image)
    paths = _paths(written) if isinstance(written, str) else ()
    # Who answered nothing contradicts nobody.
    for labels in [answer[label] for answer in task.answers if answer.get(label)] or [()]:
        yield Annotation(paths, tuple(labels), f"task {task.identity}", near=_NEAR)


def _paths(written: str) -> tuple[str, ...]:
    """Where an image may lie beside the export: what its address ends in, and less and less of that."""
    if _LOCAL in written:
        name = unquote(written.partition("?")[2].removeprefix("d=").partition("&")[0], errors="surrogateescape")
    elif _UPLOADED in written:
        name = unquote(written.partition(_UPLOADED)[2].partition("?")[0], errors="surrogateescape")
    else:
        return (written,) if is_address(written) else (written.strip(),)
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    paths = ["/".join(parts[first:]) for first in range(len(parts))]
    prefixed = _PREFIXED.fullmatch(parts[-1]) if parts else None
    return (*paths, prefixed[1]) if prefixed and _UPLOADED in written else tuple(paths)
