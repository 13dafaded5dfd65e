from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.data.inputs.pixels import read_pixels
from sightline.data.sources.loading import open_again
from sightline.errors import InvalidSource, OneClassOnly, UnknownName
from sightline.records import InputSpec

NUMBERS = np.random.default_rng(0)
GOOD = {
    "x_train": NUMBERS.integers(0, 256, (12, 6, 5), dtype=np.uint8),
    "y_train": np.arange(12) % 3,
    "x_test": NUMBERS.integers(0, 256, (6, 6, 5), dtype=np.uint8),
    "y_test": np.arange(6) % 3,
}
ALL = InputSpec(6, 5, "grey")


def saved(folder: Path, **changes) -> Path:
    path = folder / "mine.npz"
    arrays = {**GOOD, **changes}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def pixels_of(dataset: sightline.Dataset, spec: InputSpec = ALL) -> np.ndarray:
    return read_pixels(dataset, spec)[:]


def test_an_npz_file_becomes_rows_with_the_test_split_it_gives(tmp_path: Path) -> None:
    dataset = sightline.load(saved(tmp_path))
    assert (dataset.name, len(dataset), dataset.class_names) == ("mine", 18, ("0", "1", "2"))
    assert dataset.given_splits.tolist() == ["train"] * 12 + ["test"] * 6
    assert dataset.labels.tolist() == [0, 1, 2] * 6
    assert dataset.class_counts() == {"0": 6, "1": 6, "2": 6}
    np.testing.assert_array_equal(pixels_of(dataset)[..., 0], np.concatenate([GOOD["x_train"], GOOD["x_test"]]))


def test_row_ids_are_unique_and_say_where_a_row_stands(tmp_path: Path) -> None:
    row_ids = sightline.load(saved(tmp_path)).row_ids.tolist()
    assert len(set(row_ids)) == 18
    assert (row_ids[0], row_ids[12]) == ("train/00000", "test/00000")


def test_compressed_files_and_upper_case_suffixes_are_opened(tmp_path: Path) -> None:
    with (tmp_path / "MINE.NPZ").open("wb") as stream:
        np.savez_compressed(stream, **GOOD)
    assert len(sightline.load(tmp_path / "MINE.NPZ")) == 18


def test_a_mapping_is_a_source_and_its_test_pair_may_be_left_out() -> None:
    dataset = sightline.load({"x_train": GOOD["x_train"], "y_train": GOOD["y_train"]}, name="shapes")
    assert (dataset.name, len(dataset)) == ("shapes", 12)
    assert set(dataset.given_splits.tolist()) == {""}


def test_a_dataset_is_handed_on() -> None:
    dataset = sightline.load(GOOD)
    assert sightline.load(dataset) is dataset


def test_labels_in_a_column_are_taken_as_cifar_has_them(tmp_path: Path) -> None:
    path = saved(tmp_path, y_train=GOOD["y_train"][:, None], y_test=GOOD["y_test"][:, None])
    assert sightline.load(path).labels.tolist() == [0, 1, 2] * 6


@pytest.mark.parametrize("channels", [1, 3])
def test_images_may_have_one_channel_or_three(channels: int) -> None:
    images = np.repeat(GOOD["x_train"][..., None], channels, axis=3)
    dataset = sightline.load({"x_train": images, "y_train": GOOD["y_train"]})
    np.testing.assert_array_equal(pixels_of(dataset, InputSpec(6, 5, "grey" if channels == 1 else "rgb")), images)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint16", "int64", "uint64"])
def test_labels_may_be_whole_numbers_of_any_width(dtype: str) -> None:
    arrays = {"x_train": GOOD["x_train"], "y_train": GOOD["y_train"].astype(dtype)}
    assert sightline.load(arrays).labels.dtype == np.int64


def test_class_names_inside_the_file_are_taken(tmp_path: Path) -> None:
    path = saved(tmp_path, class_names=np.array(["cat", "dog", "cow"]))
    assert sightline.load(path).class_names == ("cat", "dog", "cow")


def test_class_names_of_the_caller_beat_those_of_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, class_names=np.array(["cat", "dog", "cow"]))
    assert sightline.load(path, class_names=["a", "b", "c"]).class_names == ("a", "b", "c")


def test_names_may_stand_for_classes_that_do_not_occur() -> None:
    dataset = sightline.load(GOOD, class_names=["a", "b", "c", "d"])
    assert dataset.class_counts()["d"] == 0


def test_the_fingerprint_tells_pixels_labels_and_names_apart() -> None:
    other_pixels = {**GOOD, "x_train": 255 - GOOD["x_train"]}
    other_labels = {**GOOD, "y_train": GOOD["y_train"][::-1].copy()}
    prints = [sightline.load(arrays).fingerprint for arrays in (GOOD, other_pixels, other_labels)]
    prints.append(sightline.load(GOOD, class_names=["a", "b", "c"]).fingerprint)
    assert len(set(prints)) == 4
    assert sightline.load({key: value.copy() for key, value in GOOD.items()}).fingerprint == prints[0]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("mnits", "mnist"), ("MNIST", "mnist"), ("fashion_mnist", "fashion-mnist"), ("cifar-10", "cifar10")],
)
def test_a_misspelt_name_is_refused_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownName, match=f"no source is called '{typed}'.*Did you mean '{meant}'"):
        sightline.load(typed)


def test_a_missing_file_is_refused_as_it_was_typed() -> None:
    with pytest.raises(UnknownName, match=r"'data/none\.npz', and there is no such file"):
        sightline.load("data/none.npz")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"x_test": None}, ["x_test missing", "found x_train, y_test, y_train", "numpy.savez"]),
        ({"x_train": None, "y_train": None}, ["x_train, y_train missing"]),
        (dict.fromkeys(GOOD), ["missing; found nothing"]),
        ({"x_train": GOOD["x_train"][0]}, ["x_train must be (num_images, height, width)", "got (6, 5)"]),
        ({"x_train": GOOD["x_train"][..., None, None]}, ["x_train must be", "(12, 6, 5, 1, 1)"]),
        ({"x_train": np.zeros((12, 6, 5, 2), np.uint8)}, ["x_train must be", "(12, 6, 5, 2)"]),
        ({"x_train": np.zeros((12, 0, 5), np.uint8)}, ["x_train must be", "(12, 0, 5)"]),
        ({"x_train": np.uint8(3)}, ["x_train must be", "got ()"]),
        ({"x_train": GOOD["x_train"][:0], "y_train": GOOD["y_train"][:0]}, ["x_train holds no images"]),
        ({"x_test": GOOD["x_test"][:0], "y_test": GOOD["y_test"][:0]}, ["x_test holds no images"]),
        ({"x_train": GOOD["x_train"] / 255}, ["x_train must be uint8", "got float64", "* 255"]),
        ({"x_train": GOOD["x_train"].astype("int32")}, ["x_train must be uint8", "got int32"]),
        ({"x_train": GOOD["x_train"].astype("S3")}, ["x_train must be uint8"]),
        ({"x_test": np.zeros((6, 7, 7), np.uint8)}, ["x_test has images of (7, 7, 1), x_train of (6, 5, 1)"]),
        ({"y_train": GOOD["y_train"][:11]}, ["y_train has 11 labels for 12 images"]),
        ({"y_test": np.arange(7) % 3}, ["y_test has 7 labels for 6 images"]),
        ({"y_train": np.eye(3)[GOOD["y_train"]]}, ["y_train must be whole numbers", "argmax"]),
        ({"y_train": GOOD["y_train"] + 0.0}, ["y_train must be whole numbers", "float64"]),
        ({"y_train": np.array(["cat", "dog", "cow"] * 4)}, ["y_train must be whole numbers"]),
        ({"y_train": GOOD["y_train"] - 1}, ["y_train holds the label -1"]),
        ({"y_test": np.array([0, 1, 2, 0, 1, 3])}, ["y_test holds the label 3", "0 to 2"]),
        ({"y_test": np.array([0, 1, 2, 0, 1, -2])}, ["y_test holds the label -2"]),
        ({"y_train": np.array([0, 1, 3] * 4)}, ["labels up to 3 but none is 2", "class_names"]),
        ({"y_train": np.array([0, 1, 4_000_000_000] * 4)}, ["labels up to 4000000000 but none is 2"]),
        ({"y_train": np.array([0, 1, 2**64 - 1] * 4, dtype=np.uint64)}, ["y_train"]),
        ({"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)}, ["one class only ('0')", "needs two"]),
        ({"class_names": np.array(["cat", "dog"])}, ["y_train holds the label 2", "0 to 1"]),
        ({"class_names": np.array(["cat", "dog", "cat"])}, ["class_names holds 'cat' twice"]),
        ({"class_names": np.array("cat")}, ["class_names must be a list of names"]),
        (
            {"class_names": np.array(["cat", "dog", "cow"]), "y_train": np.full(12, 2)},
            ["one class only ('cow')"],
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_array_and_the_remedy(changes, parts: list[str], tmp_path: Path) -> None:
    path = saved(tmp_path, **changes)
    before = path.read_bytes()
    with pytest.raises(InvalidSource) as refusal:
        sightline.load(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert all(part in message for part in parts), message
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"y_train": np.full(12, 7), "y_test": np.full(6, 7)}, ("7",)),
        ({"y_train": np.zeros(12, int), "y_test": np.zeros(6, int), "class_names": np.array(["cat"])}, ("cat",)),
        ({"y_train": np.full(12, 2), "class_names": np.array(["cat", "dog", "cow"])}, ("cat", "dog", "cow")),
    ],
)
def test_arrays_of_one_class_are_opened_to_judge_by_and_refused_to_train_on(changes, names, tmp_path: Path) -> None:
    path = saved(tmp_path, **changes)
    with pytest.raises(OneClassOnly, match="y_train holds one class only"):
        sightline.load(path)
    with np.load(path) as stored:
        arrays = dict(stored.items())
    for source in (path, arrays):
        opened = open_again(source, {})
        assert opened.class_names == names
        called = [opened.class_names[label] for label in opened.labels[:12]]
        assert set(called) == {names[-1]}
        np.testing.assert_array_equal(pixels_of(opened)[:12, ..., 0], GOOD["x_train"])


@pytest.mark.parametrize("ending", ["val", "valid", "validation", "dev"])
def test_a_validation_pair_is_the_validation_split(tmp_path: Path, ending: str) -> None:
    pair = {f"x_{ending}": GOOD["x_test"][::-1], f"y_{ending}": GOOD["y_test"][::-1]}
    dataset = sightline.load(saved(tmp_path, **pair))
    assert dataset.given_splits.tolist() == ["train"] * 12 + ["validation"] * 6 + ["test"] * 6
    assert dataset.row_ids[12] == "validation/00000"
    np.testing.assert_array_equal(pixels_of(dataset)[12:18, ..., 0], GOOD["x_test"][::-1])
    mapping = {key: value for key, value in {**GOOD, **pair}.items() if not key.endswith("test")}
    assert sightline.load(mapping).given_splits.tolist() == ["train"] * 12 + ["validation"] * 6


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"x_val": GOOD["x_test"]}, ["has x_val, but not both x_val and y_val"]),
        ({"y_dev": GOOD["y_test"]}, ["has y_dev, but not both"]),
        ({f"{a}_{b}": GOOD[f"{a}_test"] for a in "xy" for b in ("val", "valid")}, ["both the validation split"]),
        ({"x_val": GOOD["x_test"][:, :3], "y_val": GOOD["y_test"]}, ["x_val has images of (3, 5, 1)"]),
        ({"x_val": GOOD["x_test"], "y_val": GOOD["y_test"] + 9}, ["y_val holds the label 11"]),
        ({"x_train": GOOD["x_train"][:, None]}, ["channels come first: images.transpose(0, 2, 3, 1)"]),
        ({"x_train": np.zeros((12, 6, 5, 4), np.uint8)}, ["opacity: images[..., :3]"]),
        ({"y_train": np.array(["cat", "dog", "cow"] * 4)}, ["numpy.unique(labels, return_inverse=True)"]),
        ({"y_train": GOOD["y_train"] + 0.0}, ["labels.astype('int64')"]),
        ({"class_names": np.array(["\ud800", "b", "c"])}, ["class name '\\ud800' is no valid text"]),
        ({"class_names": np.array([b"\xff", b"b", b"c"])}, ["class name b'\\xff' is no valid text"]),
    ],
)
def test_more_arrays_and_labels_are_refused_with_the_remedy(changes, parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidSource) as refusal:
        sightline.load(saved(tmp_path, **changes))
    assert all(part in str(refusal.value) for part in parts), refusal.value


def test_arrays_that_mean_nothing_are_named(tmp_path: Path) -> None:
    dataset = sightline.load(saved(tmp_path, x_extra=GOOD["x_test"], notes=np.arange(3)))
    assert dataset.remarks == ("the arrays notes, x_extra mean nothing here; they are not used",)


def test_names_in_bytes_are_text(tmp_path: Path) -> None:
    path = saved(tmp_path, class_names=np.array([b"airplane", "größe".encode(), b"cat"]))
    assert sightline.load(path).class_names == ("airplane", "größe", "cat")
    with pytest.raises(InvalidSource, match="no valid text"):
        sightline.load(GOOD, class_names=["a", "\udcff", "c"])


def test_a_name_that_no_file_can_bear_is_written_out() -> None:
    assert sightline.load(GOOD, name="caf\udce9").name == "caf\\xe9"


def as_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("shape", "method", "reason"),
    [
        ("(4000000000, 1000)", 0, r"x_train declares 4,000,000,000,000 bytes and holds 128\. The file is damaged"),
        (None, 77, r"not a readable \.npz file"),
    ],
)
def test_a_file_that_declares_what_it_cannot_hold_is_refused(tmp_path: Path, shape, method, reason) -> None:
    members = {key: as_npy(array) for key, array in GOOD.items()}
    if shape:
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
        members["x_train"] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    path = tmp_path / "h.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key, content in members.items():
            archive.writestr(f"{key}.npy", content)
    if method:
        content = bytearray(path.read_bytes())
        content[content.rfind(b"PK\1\2") + 10] = method
        path.write_bytes(content)
    with pytest.raises(InvalidSource, match=reason):
        sightline.load(path)


@pytest.mark.parametrize("key", ["x_train", "y_train", "class_names"])
def test_object_arrays_are_never_loaded(key: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    objects = np.array([["ragged"], ["rows", "here"]], dtype=object)
    np.savez(path, allow_pickle=True, **{**GOOD, key: objects})
    with pytest.raises(InvalidSource, match="object arrays, which are never loaded because they can run code"):
        sightline.load(path)


@pytest.mark.parametrize(
    "x_train", [[[[1, 2]], [[1, 2, 3]]], np.array([["a"], None], dtype=object), [np.zeros((2, 2)), None]]
)
def test_arrays_of_unequal_parts_are_refused(x_train: object) -> None:
    with pytest.raises(InvalidSource, match="x_train is a"):
        sightline.load({"x_train": x_train, "y_train": [0, 1]})


@pytest.mark.parametrize("kept", [0, 10, 100, 600])
def test_a_truncated_file_is_refused(kept: int, tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InvalidSource, match=r"mine\.npz: "):
        sightline.load(path)


def test_damage_inside_a_compressed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **GOOD)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(InvalidSource, match=r"mine\.npz: not a readable \.npz file"):
        sightline.load(path)


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04 no zip", b"\x80\x04\x95pickle"])
def test_a_file_that_is_no_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidSource, match=r"mine\.npz: "):
        sightline.load(path)


def test_a_lone_array_under_the_name_of_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with path.open("wb") as stream:
        np.save(stream, GOOD["x_train"])
    with pytest.raises(InvalidSource, match="holds one array, not an archive"):
        sightline.load(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.xyz"
    path.write_text("hello")
    with pytest.raises(InvalidSource, match=r"notes\.xyz"):
        sightline.load(path)


def test_a_dataset_tells_what_it_is_in_text_and_in_a_notebook() -> None:
    dataset = sightline.load(GOOD, class_names=["<b>cat</b>", "dog", "cow"], name="zoo")
    assert repr(dataset).startswith("Dataset 'zoo': 18 images of 6x5x1, 3 classes (")
    shown = dataset._repr_html_()
    assert "&lt;b&gt;cat" in shown
    assert "<b>cat" not in shown
    assert shown.count("data:image/png;base64,") == 15
