"""Parquet files that hold images, as Hugging Face's library writes them, and as other people do."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.sources.large.large_files import single
from sightline.data.sources.large.parquet import cells_of
from sightline.data.storage import parquet_rows
from sightline.data.storage.stores import decode_row
from sightline.deployment.bulk.images import bulk_images
from sightline.errors import InvalidSource, UnreadableImage

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))


def png(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (3, 2), level).save(stream, "PNG")
    return stream.getvalue()


def cells(levels: Sequence[int], *, paths: bool = True) -> list[dict[str, Any]]:
    return [{"bytes": png(level), "path": f"{level:04d}.png" if paths else None} for level in levels]


def write(  # what a file of it may be
    path: Path,
    levels: Sequence[int] = range(4),
    *,
    image: Any = None,
    names: Sequence[str] | None = ("cat", "dog"),
    label: Any = None,
    rows: int = 2,
    **more: Any,
) -> Path:
    """As `datasets` lays it out: a struct of bytes and path, numbers of classes, their names in the metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [level % 2 for level in levels] if label is None else label
    columns = {"image": pyarrow.array(cells(levels) if image is None else image, IMAGE), "label": labels, **more}
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features["label"] = {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    said = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(said), path, row_group_size=rows)
    return path


def level(data: sightline.Dataset, row: int) -> int:
    return int(decode_row(data.images, row, color_mode="grey", minimum_size=(1, 1)).pixels[0, 0, 0])


def test_a_file_a_folder_and_a_list_of_parquet_are_sources(tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    for shard in range(2):
        write(folder / f"data/train-{shard:05d}-of-00002.parquet", range(10 * shard, 10 * shard + 5))
    write(folder / "data/test-00000-of-00001.parquet", range(30, 34))
    (folder / "README.md").write_text("a card", encoding="utf-8")
    data = sightline.load(folder)
    assert (len(data), data.class_names, data.name) == (14, ("cat", "dog"), "pets")
    assert data.given_splits.tolist() == ["test"] * 4 + ["train"] * 10
    assert data.row_ids[4] == "data/train-00000-of-00002/0000.png"
    assert [level(data, row) for row in range(14)] == [*range(30, 34), *range(5), *range(10, 15)]
    assert data.named()[:2] == ("cat", "dog")
    listed = sightline.load(f"{folder}/data/train-{{00000..00001}}-of-00002.parquet")
    assert (len(listed), set(listed.given_splits), listed.name) == (10, {""}, "train")
    one = sightline.load(folder / "data/test-00000-of-00001.parquet")
    assert (len(one), one.row_ids[0], level(one, 3)) == (4, "0030.png", 33)


def test_rows_are_read_in_any_order_by_several_threads(tmp_path: Path) -> None:
    data = sightline.load(write(tmp_path / "a.parquet", range(40), rows=7))
    rows = np.random.default_rng(0).permutation(40)
    some = data.take(rows)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda row: level(some, row), range(40))) == rows.tolist()
    assert len(set(data.images.identities(np.arange(40)))) == 40


def test_a_row_group_larger_than_what_is_kept_is_read_in_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_rows, "_PORTION_BYTES", 200)
    monkeypatch.setattr(parquet_rows, "_MOST_PORTIONS", 2)
    store = cells_of(single(write(tmp_path / "a.parquet", range(60), rows=60)))
    for row in (0, 59, 3, 4, 58, 0):
        assert store.read(row) == png(row)
    group = next(reversed(parquet_rows._GROUPS.opened.values()))
    assert len(group.portions) <= 2
    assert group.step < 10


def test_images_may_be_bytes_alone_and_labels_names(tmp_path: Path) -> None:
    table = pyarrow.table({"content": [png(1), png(2)], "species": ["cat", "dog"], "split": ["train", "val"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    data = sightline.load(tmp_path / "a.parquet", columns={"label": "species"})
    assert data.given_splits.tolist() == ["train", "validation"]
    assert (data.class_names, data.row_ids.tolist(), level(data, 1)) == (("cat", "dog"), ["000000", "000001"], 2)


def test_names_of_columns_may_have_dots(tmp_path: Path) -> None:
    table = pyarrow.table({"image.x": pyarrow.array(cells([1, 2]), IMAGE), "a.label": ["cat", "dog"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    data = sightline.load(tmp_path / "a.parquet", columns={"label": "a.label"})
    assert [level(data, row) for row in range(2)] == [1, 2]
    assert data.row_ids.tolist() == ["0001.png", "0002.png"]


def test_groups_and_weights_are_columns(tmp_path: Path) -> None:
    data = sightline.load(write(tmp_path / "a.parquet", group=["a", "a", "b", None], weight=[1.0, 2.0, 1.0, 1.0]))
    assert data.groups is not None
    assert data.groups.tolist() == ["a", "a", "b", "0003.png"]
    assert data.weights is not None
    assert data.weights.tolist() == [1, 2, 1, 1]
    with pytest.raises(InvalidSource, match="numbers above 0"):
        sightline.load(write(tmp_path / "a.parquet", weight=[1.0, -2.0, 1.0, 1.0]))


def test_cells_of_paths_are_read_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        (tmp_path / f"pictures/{number}.png").write_bytes(png(number))
    image = [
        {"bytes": None, "path": "pictures/0.png"},
        {"bytes": None, "path": "pictures/1.png"},
        {"bytes": None, "path": "pictures/gone.png"},
        {"bytes": None, "path": None},
    ]
    data = sightline.load(write(tmp_path / "a.parquet", image=image))
    assert [level(data, row) for row in range(2)] == [0, 1]
    with pytest.raises(UnreadableImage, match="no such file"):
        data.images.read(2)
    with pytest.raises(UnreadableImage, match="neither bytes nor a path"):
        data.images.read(3)


def test_a_table_of_paths_stays_one_and_has_the_names_of_its_classes(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    (tmp_path / "2.png").write_bytes(png(2))
    said = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pyarrow.table({"image": ["1.png", "2.png"], "label": [0, 1], "hash": [b"x", b"y"]})
    metadata = {b"huggingface": json.dumps(said).encode()}
    parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    data = sightline.load(tmp_path / "a.parquet")
    assert (data.named(), data.row_ids.tolist()) == (("cat", "dog"), ["1.png", "2.png"])


def test_rows_without_a_label_are_left_out_and_predicted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", range(5), label=[0, -1, None, 1, 0])
    data = sightline.load(path)
    assert data.row_ids.tolist() == ["0000.png", "0003.png", "0004.png"]
    assert dict(data.left_out) == {"0001.png": "has no label", "0002.png": "has no label"}
    assert [level(data, row) for row in range(3)] == [0, 3, 4]
    assert len(bulk_images([path])) == 5


def test_classes_stand_in_the_order_of_their_numbers_and_only_those_that_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", names=["zebra", "none", "cat"], label=[2, 0, 2, 0])
    assert sightline.load(path).class_names == ("zebra", "cat")
    numbers = write(tmp_path / "b.parquet", names=None, label=[10, 2, 10, 2])
    assert sightline.load(numbers).class_names == ("2", "10")
    with pytest.raises(InvalidSource, match="label 3; with 2 names"):
        sightline.load(write(tmp_path / "c.parquet", label=[0, 1, 3, 0]))


def test_names_that_stand_twice_or_not_at_all_give_way_to_numbers(tmp_path: Path) -> None:
    image = [{"bytes": png(1), "path": "image.png"}] * 2 + [{"bytes": png(1), "path": None}] * 2
    assert sightline.load(write(tmp_path / "a.parquet", image=image)).row_ids[0] == "000000"


def test_a_file_that_changes_is_read_no_longer(tmp_path: Path) -> None:
    data = sightline.load(write(tmp_path / "a.parquet", range(6)))
    assert data.images.read(0) == png(0)
    write(tmp_path / "a.parquet", range(50, 58))
    with pytest.raises(UnreadableImage, match="has changed since"):
        data.images.read(4)


def test_a_damaged_page_is_an_error_of_its_rows_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", range(12), rows=4)
    at = parquet.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    begin = at.data_page_offset if at.dictionary_page_offset is None else at.dictionary_page_offset
    content[begin : begin + at.total_compressed_size] = bytes(at.total_compressed_size)
    path.write_bytes(content)
    data = sightline.load(path)
    with pytest.raises(UnreadableImage, match=r"row group 1 of a\.parquet cannot be read|neither bytes"):
        data.images.read(5)
    assert (data.images.read(0), data.images.read(11)) == (png(0), png(11))


def test_what_cannot_be_opened_is_refused_in_words(tmp_path: Path) -> None:
    whole = write(tmp_path / "cut/a.parquet")
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(InvalidSource, match=r"a\.parquet is not a readable Parquet file"):
        sightline.load(tmp_path / "cut")
    two = pyarrow.table({"left": [png(1)], "right": [png(1)], "label": ["a"]})
    parquet.write_table(two, tmp_path / "two.parquet")
    with pytest.raises(InvalidSource, match=r"several columns of images, left, right\. Say which: --column path=left"):
        sightline.load(tmp_path / "two.parquet")
    parquet.write_table(pyarrow.table({"image": [png(1)], "kind": ["a"]}), tmp_path / "none.parquet")
    with pytest.raises(InvalidSource, match=r"no column of labels; found image, kind"):
        sightline.load(tmp_path / "none.parquet")
    with pytest.raises(InvalidSource, match="has no column 'kinds'"):
        sightline.load(tmp_path / "none.parquet", columns={"label": "kinds"})
    write(tmp_path / "mixed/a.parquet")
    parquet.write_table(pyarrow.table({"image": [png(1)]}), tmp_path / "mixed/b.parquet")
    with pytest.raises(InvalidSource, match=r"b\.parquet lacks the column 'label'"):
        sightline.load(tmp_path / "mixed")
    twice = pyarrow.Table.from_arrays([[png(1)], ["a"], ["b"]], names=["image", "label", "label"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(InvalidSource, match="has 2 columns 'label'; keep one"):
        sightline.load(tmp_path / "twice.parquet")
    with pytest.raises(InvalidSource, match="several labels"):
        sightline.load(write(tmp_path / "several.parquet", names=None, label=[["a", "b"], ["a"], ["b"], ["b"]]))
    parquet.write_table(pyarrow.table({"path": ["1.png"], "label": ["a"]}), tmp_path / "mixed/a.parquet")
    (tmp_path / "mixed/b.parquet").unlink()
    with pytest.raises(InvalidSource, match="has no column of images"):
        sightline.load(tmp_path / "mixed")


def test_predict_answers_every_row(command: Callable, tmp_path: Path) -> None:
    image = [*cells([1, 2]), {"bytes": b"no image", "path": "x.png"}]
    write(tmp_path / "p/a-0.parquet", [1, 2, 3], image=image)
    answer = command("predict", "imagenet", "p", "--csv", "a.csv", "--quiet")
    assert answer.code == 1, answer.err
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["0001.png", "0002.png", "x.png"]


def named(data: sightline.Dataset) -> list[set[str]]:
    return [{name for name, has in zip(data.class_names, row, strict=True) if has} for row in data.labels]


def with_feature(path: Path, feature: dict[str, Any]) -> Path:
    """The same file, whose column of labels is said to be something else."""
    table = parquet.read_table(path)
    told = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(told)}), path)
    return path


@pytest.mark.parametrize("kind", ["Sequence", "List"])
def test_a_row_may_have_several_labels_by_the_numbers_of_their_names(tmp_path: Path, kind: str) -> None:
    label = pyarrow.array([[0, 2], [], None, [1], [2]], pyarrow.list_(pyarrow.int64()))
    path = write(tmp_path / "a.parquet", range(5), label=label, names=None)
    names = {"_type": "ClassLabel", "names": ["cat", "dog", "owl", "yak"]}
    with_feature(path, {"_type": kind, "feature": names})
    data = sightline.load(path, task="multi-label")
    assert data.class_names == ("cat", "dog", "owl")
    assert named(data) == [{"cat", "owl"}, set(), {"dog"}, {"owl"}]
    assert any("has no label" in reason for _, reason in data.left_out)
    with pytest.raises(InvalidSource, match=r"looks like several labels.* --task multi-label"):
        sightline.load(path)


@pytest.mark.parametrize(
    "label",
    [["cat;dog", "owl", "[]", "dog"], [["cat", "dog"], ["owl"], [], ["dog"]], ['["cat", "dog"]', "owl", "()", "dog"]],
)
def test_texts_and_lists_of_texts_are_several_labels(tmp_path: Path, label: list[Any]) -> None:
    data = sightline.load(write(tmp_path / "a.parquet", label=label, names=None), task="multi-label")
    assert named(data) == [{"cat", "dog"}, {"owl"}, set(), {"dog"}]


def test_a_number_without_a_name_and_objects_in_lists_are_refused(tmp_path: Path) -> None:
    label = pyarrow.array([[0], [7], [1], [0]], pyarrow.list_(pyarrow.int64()))
    path = write(tmp_path / "a.parquet", label=label, names=None)
    with_feature(path, {"_type": "Sequence", "feature": {"_type": "ClassLabel", "names": ["cat", "dog"]}})
    with pytest.raises(InvalidSource, match="a row has the label 7; with 2 names of classes"):
        sightline.load(path, task="multi-label")
    label = pyarrow.array([[{"name": "cat"}]] * 4)
    with pytest.raises(InvalidSource, match="holds objects"):
        sightline.load(write(tmp_path / "b.parquet", label=label, names=None), task="multi-label")
