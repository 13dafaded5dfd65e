"""Exports that a stranger made: whatever lies in them, there is a Dataset of files inside the folder, or a refusal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import sightline
from sightline.data.sources.annotations import parsing
from sightline.data.sources.annotations.parsing import read_document, read_elements
from sightline.errors import InvalidSource, OneClassOnly, UnknownName
from sightline.system.text import printable

NAMES = ("a.jpg", "b.jpg", "deep/c.jpg")
OUTSIDE = "outside.jpg"
# What is tried of each part of an export, in place of what belongs there.
PATHS = st.sampled_from(
    [*NAMES, "./a.jpg", "deep\\c.jpg", "c.jpg", "../outside.jpg", "%2e%2e/outside.jpg", "x\0.jpg", ""]
)
TEXTS = st.one_of(PATHS, st.text(max_size=6), st.sampled_from(["cat", "dog", "\u202ex", "a;b", "nan", "\ud800", "\n"]))
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 2**65), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
IDS = st.one_of(st.integers(0, 3), st.sampled_from(["0", 1.0, None, True]), ODD)

COCO = st.fixed_dictionaries(
    {
        "images": st.lists(st.fixed_dictionaries({"id": IDS, "file_name": st.one_of(PATHS, ODD)}) | ODD, max_size=4),
        "annotations": st.lists(st.fixed_dictionaries({"image_id": IDS, "category_id": IDS}) | ODD, max_size=5),
        "categories": st.lists(st.fixed_dictionaries({"id": IDS, "name": st.one_of(TEXTS, ODD)}) | ODD, max_size=3),
    }
)
RESULTS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("choices"),
            "from_name": TEXTS,
            "value": st.fixed_dictionaries({"choices": st.lists(TEXTS)}) | ODD,
        }
    )
    | ODD,
    max_size=3,
)
ANNOTATIONS = st.lists(st.fixed_dictionaries({"result": RESULTS | ODD, "was_cancelled": ODD}) | ODD, max_size=3)
PREFIXES = st.sampled_from(["", "/data/upload/1/", "/data/local-files/?d=", "/data/local-files/?d=/x/", "http://x/"])
ADDRESSES = st.tuples(PREFIXES, PATHS).map("".join)
TASKS = st.lists(
    st.fixed_dictionaries(
        {"id": ODD, "annotations": ANNOTATIONS | ODD, "data": st.fixed_dictionaries({"image": ADDRESSES | ODD}) | ODD}
    )
    | st.fixed_dictionaries({"id": ODD, "image": ADDRESSES | ODD, "choice": TEXTS | ODD, "annotation_id": ODD})
    | ODD,
    min_size=1,
    max_size=4,
)
ROWS = st.lists(
    st.tuples(PATHS, st.sampled_from(["0", "1", " 1", "", "2", "x"]), st.sampled_from(["0", "1"])), max_size=4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("stranger")
    (top / OUTSIDE).write_bytes(b"secret")
    for number, name in enumerate(NAMES):
        (top / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (top / "set" / name).write_bytes(bytes([number]))
    return top / "set"


def check(path: Path) -> None:
    """Opened or refused, and never anything outside of the folder among the rows."""
    refusal = ""
    try:
        data = sightline.load(path)
    except OneClassOnly as error:
        data = error.dataset
    except (InvalidSource, UnknownName) as error:
        refusal = str(error)
    assert refusal == printable(refusal)
    if refusal:
        return
    assert len(data)
    place = path if path.is_dir() else path.parent
    for row, name in enumerate(data.images.names):
        assert (data.images.place / name).resolve().is_relative_to(place.resolve())
        assert data.images.read(row) != b"secret"
    for what, reason in data.left_out:
        assert f"{what}{reason}" == printable(f"{what}{reason}")
    assert data.class_names == tuple(map(printable, data.class_names))
    json.dumps([data.class_names, data.remarks, data.left_out]).encode()


quickly = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@quickly
@given(document=COCO)
def test_any_coco_is_opened_or_refused(folder, document):
    (folder / "coco.json").write_text(json.dumps(document))
    check(folder / "coco.json")


@quickly
@given(tasks=TASKS)
def test_any_list_of_tasks_is_opened_or_refused(folder, tasks):
    (folder / "tasks.json").write_text(json.dumps([{"annotations": [], "data": {}}, *tasks]))
    check(folder / "tasks.json")


@quickly
@given(
    rows=ROWS, header=st.sampled_from(["filename, cat, dog", "filename,cat", "Pixel Value, Class", "filename, , dog"])
)
def test_any_columns_of_classes_are_opened_or_refused(folder, rows, header):
    (folder / "_classes.csv").write_text("\n".join([header, *map(", ".join, rows)]), newline="")
    check(folder / "_classes.csv")


@quickly
@given(lines=st.lists(st.fixed_dictionaries({"file_name": PATHS | ODD, "label": TEXTS | ODD}) | ODD, max_size=4))
def test_any_lines_of_metadata_are_opened_or_refused(folder, lines):
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    try:
        check(folder)
    finally:
        (folder / "metadata.jsonl").unlink()


@quickly
@given(images=st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=2), TEXTS), max_size=4), cut=st.integers(0, 60))
def test_any_tags_are_opened_or_refused(folder, images, cut):
    from xml.sax.saxutils import quoteattr

    inner = "".join(
        f"<image name={quoteattr(name)} subset={quoteattr(subset)}>"
        + "".join(f"<tag label={quoteattr(label)}/>" for label in labels)
        + "</image>"
        for name, labels, subset in images
    )
    text = f"<annotations>{inner}</annotations>"
    (folder / "tags.xml").write_bytes(text[: len(text) - (cut if cut < 30 else 0)].encode("utf-8", "surrogatepass"))
    check(folder / "tags.xml")


@quickly
@given(lines=st.lists(st.tuples(TEXTS, st.lists(st.integers(0, 3) | st.integers(), max_size=2)), max_size=4))
def test_any_list_of_images_is_opened_or_refused(folder, lines):
    text = "a.jpg 0\n" + "\n".join(f"{name} {' '.join(map(str, numbers))}" for name, numbers in lines)
    (folder / "synsets.txt").write_text("dog\ncat\n\n")
    (folder / "default.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        check(folder / "default.txt")
    finally:
        (folder / "synsets.txt").unlink()


@quickly
@given(
    data=st.binary(max_size=80),
    start=st.sampled_from([b'{"images": [', b'[{"annotations": [', b"<annotations><image ", b""]),
)
def test_any_bytes_are_refused_in_a_sentence(folder, data, start):
    for name in ("bytes.json", "bytes.xml", "bytes.jsonl", "_classes.csv"):
        (folder / name).write_bytes(start + data)
        check(folder / name)


def test_files_larger_than_any_are_refused_without_being_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parsing, "MOST_JSON_BYTES", 1000)
    (tmp_path / "large.json").write_text('{"images": [' + " " * 1000 + "]}")
    with pytest.raises(InvalidSource, match="it has more than 1,000 bytes"):
        sightline.load(tmp_path / "large.json")
    monkeypatch.setattr(parsing, "_MOST_PARTS", 10)
    (tmp_path / "parts.json").write_text("[" + "[]," * 20 + "[]]")
    with pytest.raises(InvalidSource, match="it has more than 10 parts"):
        read_document(tmp_path / "parts.json", "parts.json")


def test_a_long_xml_takes_no_more_memory_than_its_rows(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(parsing, "_BLOCK_BYTES", 2**14)
    path = tmp_path / "long.xml"
    with path.open("w") as stream:
        stream.write("<annotations>")
        for number in range(20_000):
            stream.write(f'<image id="{number}" name="{number}.jpg"><box label="cat" xtl="1"></box></image>\n')
        stream.write("</annotations>")
    tracemalloc.start()
    assert sum(1 for _ in read_elements(path, "long.xml")) == 80_002
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**20, "a block of the file is in memory, not all of it"


@pytest.mark.skipif(os.name == "nt", reason="pipes are something else there")
def test_pipes_and_folders_that_are_called_so_hold_nothing_up(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InvalidSource, match="is a pipe"):
        sightline.load(tmp_path / "pipe.json")
    (tmp_path / "set" / "a").mkdir(parents=True)
    for name in ("metadata.csv", "_classes.csv", "annotations.xml", "_annotations.coco.json"):
        os.mkfifo(tmp_path / "set" / name)
    with pytest.raises(InvalidSource, match="none of 4 files is an image"):
        sightline.load(tmp_path / "set")
