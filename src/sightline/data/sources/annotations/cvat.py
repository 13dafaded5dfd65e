"""CVAT: "CVAT for images" (annotations.xml, of which the tags count) and "ImageNet" without images (lists in .txt).

An ImageNet export with its images is a folder a class, which is opened as any folder is.

Source:
    https://docs.cvat.ai/docs/other/xml_format and /docs/manual/advanced/formats/format-imagenet
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sightline.data.sources.annotations.marks import CVAT, SYNSETS, is_file, is_folder, marked
from sightline.data.sources.annotations.parsing import head_of, read_elements, read_text
from sightline.data.sources.annotations.records import Annotation, Export, dataset_of, folder_of
from sightline.data.sources.levels import split_of
from sightline.errors import InvalidSource
from sightline.records import Dataset
from sightline.system.text import counted, listed, printable

_ROOT = re.compile(r"<annotations[\s>]")
_SHAPES = ("box", "polygon", "polyline", "points", "cuboid", "mask", "skeleton", "ellipse")
# Names with blanks stand in quotes, their suffix behind them: "my cat".jpg 0
_LISTED = re.compile(r'(?:"(?P<quoted>[^"]+)"(?P<suffix>\S*)|(?P<plain>[^\s"]\S*))(?P<numbers>(?:[ \t]+\d+)*)[ \t]*')


def fits_cvat(path: Path) -> bool:
    """True of an XML of annotations, of a folder with one, and of lists of images beside a `synsets.txt`."""
    if is_folder(path):
        return bool(marked(path, CVAT)) or bool(_lists(path))
    ending = path.name.lower()
    if ending.endswith(".xml"):
        return _ROOT.search(head_of(path)) is not None
    return ending.endswith(".txt") and path.name != SYNSETS and path in _lists(path.parent)


def read_cvat(
    path: Path, *, name: str | None = None, class_names: Sequence[str] | None = None, several: bool = False
) -> Dataset:
    """Open an export of CVAT.

    Args:
        path: `annotations.xml`, or the folder with it and with `images/`; or the folder with `synsets.txt` and a list
            of images for each subset, or one such list.
        name: short name; that of the file or folder if None.
        class_names: their order; sorted by name if None.
        several: whether an image may have several labels.
    """
    typed = printable(str(path))
    folder, in_folder = folder_of(path), is_folder(path)
    called = printable(folder.name if in_folder or path.name in CVAT else path.stem) or "cvat"
    if lists := _lists(path) if in_folder else [path] if path.name.lower().endswith(".txt") else []:
        classes = _synsets(folder / SYNSETS, f"{printable(str(folder / SYNSETS))}")
        entries = [entry for file in lists for entry in _of_list(file, classes, in_folder=in_folder)]
        return dataset_of(
            Export(typed, folder, entries, "line", called), name=name, class_names=class_names, several=several
        )
    files = marked(path, CVAT) if in_folder else (path.name,)
    export = Export(typed, folder, [], "image", called)
    for file in files:
        inside = file.rpartition("/")[0]
        found = _of_xml(folder / file, f"{typed}/{printable(file)}" if in_folder else typed, inside)
        export = Export(typed, folder, [*export.entries, *found], "image", called)
    return dataset_of(export, name=name, class_names=class_names, several=several)


def _of_xml(path: Path, typed: str, inside: str) -> list[Annotation]:
    image: Mapping[str, str] | None = None
    entries: list[Annotation] = []
    labels: list[str] = []
    shapes: Counter[str] = Counter()
    is_root = True
    for name, attributes in read_elements(path, typed):
        if is_root and name != "annotations":
            raise InvalidSource(f"{typed}: is no export of CVAT: it holds {printable(name)!r}, not 'annotations'.")
        is_root = False
        if attributes is None:
            if name == "image" and image is not None:
                entries.append(_entry(image, labels, inside, len(entries)))
                image, labels = None, []
        elif name == "image":
            image, labels = attributes, []
        elif name == "tag" and image is not None:
            labels.append(attributes.get("label", ""))
        elif name in (*_SHAPES, "track"):
            shapes[name] += 1
    if entries and not any(entry.labels for entry in entries):
        drawn = f" It has {counted(shapes.total(), 'shape')} ({listed(sorted(shapes))})." if shapes else ""
        raise InvalidSource(
            f"{typed}: none of its {counted(len(entries), 'image')} has a tag, by which CVAT says what a whole image "
            f"is.{drawn} Export shapes as COCO, of which a class is made where all of an image agree."
        )
    if not entries and shapes["track"]:
        raise InvalidSource(f"{typed}: is of a video. Export it as 'CVAT for images' or 'ImageNet'.")
    return entries


def _entry(image: Mapping[str, str], labels: Sequence[str], inside: str, number: int) -> Annotation:
    path, subset = image.get("name", ""), image.get("subset", "")
    prefix = f"{inside}/" if inside else ""
    near = (f"{prefix}images/{subset}", f"{prefix}images", "images") if subset else (f"{prefix}images", "images")
    identity = re.sub(r"\s", "_", printable(image.get("id", "") or f"number-{number + 1}"))
    return Annotation((path,), tuple(labels), f"image {identity}", split_of(subset) or "", near=near)


def _lists(folder: Path) -> list[Path]:
    """Lists of images beside a `synsets.txt`, one a subset."""
    if not is_file(folder, SYNSETS):
        return []
    return [file for file in sorted(folder.glob("*.txt")) if file.name != SYNSETS and _is_list(file)]


def _is_list(path: Path) -> bool:
    first = next((line for line in head_of(path).splitlines() if line.strip()), "")
    found = _LISTED.fullmatch(first)
    return found is not None and "." in (found["plain"] or found["suffix"] or "")


def _synsets(path: Path, typed: str) -> list[str]:
    return [line.strip() for line in read_text(path, typed).split("\n")]


def _of_list(path: Path, classes: Sequence[str], *, in_folder: bool) -> Iterator[Annotation]:
    typed = printable(str(path))
    split = split_of(path.stem) or "" if in_folder else ""
    for number, line in enumerate(read_text(path, typed).split("\n"), 1):
        if not line.strip():
            continue
        found = _LISTED.fullmatch(line.rstrip("\r"))
        if found is None:
            raise InvalidSource(
                f"{typed}: line {number:,} is {printable(line[:80])!r}; it must be the name of an image and numbers of "
                f"lines in {SYNSETS}, counted from 0."
            )
        labels = []
        for digits in found["numbers"].split():
            at = int(digits) if len(digits) < 9 else len(classes)
            if at >= len(classes) or not classes[at]:
                raise InvalidSource(
                    f"{typed}: line {number:,} names the class {digits[:20]}, and {SYNSETS} has no such line, counted "
                    "from 0."
                )
            labels.append(classes[at])
        name = found["plain"] or f"{found['quoted']}{found['suffix']}"
        where = f"{printable(path.stem)} line {number}" if in_folder else f"line {number}"
        yield Annotation((name,), tuple(labels), where, split)
