from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.decoding.transforms import resize_image
from sightline.errors import InvalidBundle, InvalidValue


def decompression_bomb() -> bytes:
    """A PNG of a hundred bytes that says it holds 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


@pytest.fixture
def digits(small_arrays: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """A folder with images that can be read and some that cannot."""
    folder = tmp_path / "digits"
    (folder / "more" / "deep").mkdir(parents=True)
    test = small_arrays["x_test"]
    for row in range(3):
        Image.fromarray(test[row]).save(folder / f"{row}.png")
    Image.fromarray(test[3]).save(folder / "UPPER.PNG")
    Image.fromarray(test[4]).save(folder / "named.txt", "BMP")
    Image.fromarray(test[5]).convert("RGB").save(folder / "more" / "deep" / "colour.webp", lossless=True)
    (folder / "words.png").write_text("no image at all")
    (folder / "empty.jpg").touch()
    Image.effect_noise((400, 300), 90).save(tmp_path / "whole.jpg")
    (folder / "torn.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    (folder / "bomb.png").write_bytes(decompression_bomb())
    (folder / ".hidden.png").write_text("passed over")
    (folder / ".cache" / "deeper").mkdir(parents=True)
    (folder / ".cache" / "deeper" / "thumb.png").write_text("passed over")
    return folder


def test_every_file_is_a_row_and_what_can_be_read_is_answered(
    tiny_run: sightline.Run, digits: Path, small_arrays: dict[str, np.ndarray]
) -> None:
    predictions = sightline.predict(tiny_run, digits, progress=False)
    told = {Path(path).name: error for path, error in zip(predictions.row_ids, predictions.errors, strict=True)}
    assert {name for name, error in told.items() if error} == {"words.png", "empty.jpg", "torn.jpg", "bomb.png"}
    assert all(str(digits / name) in error for name, error in told.items() if error)
    assert repr(predictions) == "Predictions(10 images, 4 unreadable)"
    by_name = {Path(path).name: row for path, row in zip(predictions.row_ids, predictions.logits, strict=True)}
    assert all(np.isnan(by_name[name]).all() for name, error in told.items() if error)
    direct = sightline.predict(tiny_run, small_arrays["x_test"][:6], progress=False).logits
    names = ["0.png", "1.png", "2.png", "UPPER.PNG", "named.txt", "colour.webp"]
    np.testing.assert_allclose([by_name[name] for name in names], direct, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "part"),
    [("empty.jpg", "empty"), ("words.png", "not an image"), ("torn.jpg", "truncated"), ("bomb.png", "pixels")],
)
def test_the_reason_is_told(name: str, part: str, tiny_run: sightline.Run, digits: Path) -> None:
    (error,) = sightline.predict(tiny_run, digits / name, progress=False).errors
    assert part in error


def test_files_come_in_the_order_in_which_they_are_named_and_folders_by_name(
    tiny_run: sightline.Run, digits: Path
) -> None:
    files = [digits / "2.png", digits / "missing.png", digits / "0.png"]
    predictions = sightline.predict(tiny_run, [*files, digits], progress=False)
    expected = ["0.png", "1.png", "2.png", "UPPER.PNG", "bomb.png", "empty.jpg", "more/deep/colour.webp"]
    expected += ["named.txt", "torn.jpg", "words.png"]
    assert list(predictions.row_ids) == [*map(str, files), *(str(digits / name) for name in expected)]
    assert "no such file" in predictions.errors[1]


def test_more_files_than_fit_one_portion_keep_their_order(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for row, image in enumerate(small_arrays["x_test"][:150]):
        Image.fromarray(image).save(tmp_path / f"{row:03d}.png")
    predictions = sightline.predict(tiny_run, tmp_path, progress=False)
    direct = sightline.predict(tiny_run, small_arrays["x_test"][:150], progress=False)
    np.testing.assert_allclose(predictions.logits, direct.logits, atol=1e-4)


def test_an_array_a_dataset_and_its_columns_give_the_same(
    tiny_run: sightline.Run, small_npz: Path, small_arrays: dict[str, np.ndarray]
) -> None:
    flat = sightline.predict(tiny_run.path, small_arrays["x_test"], progress=False)
    column = sightline.predict(tiny_run.bundle, small_arrays["x_test"][..., None], progress=False)
    colour = sightline.predict(tiny_run, np.repeat(small_arrays["x_test"][..., None], 3, axis=3), progress=False)
    dataset = sightline.predict(tiny_run, sightline.load(small_npz), progress=False)
    np.testing.assert_array_equal(flat.logits, column.logits)
    np.testing.assert_allclose(flat.logits, colour.logits, atol=1e-5)
    np.testing.assert_allclose(flat.logits, dataset.logits[600:], atol=1e-5)
    assert (flat.labels, flat.row_ids[:2]) == (None, ("0", "1"))
    assert dataset.labels.tolist() == [*small_arrays["y_train"], *small_arrays["y_test"]]
    assert flat.temperature == tiny_run.bundle.temperature


def test_images_of_another_size_go_through_the_resize_of_the_bundle(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]
) -> None:
    large = small_arrays["x_test"][:20].repeat(3, axis=1).repeat(2, axis=2)
    resized = np.stack([resize_image(image[..., None], tiny_run.bundle.input) for image in large])
    assert resized.shape == (20, 28, 28, 1)
    by_bundle = sightline.predict(tiny_run, large, progress=False)
    by_hand = sightline.predict(tiny_run, resized, progress=False)
    np.testing.assert_allclose(by_bundle.logits, by_hand.logits, atol=1e-5)


def test_nothing_to_predict_is_refused(tiny_run: sightline.Run, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="there is no image to predict"):
        sightline.predict(tiny_run, np.zeros((0, 28, 28), np.uint8))
    with pytest.raises(InvalidValue, match="there is no image in this folder"):
        sightline.predict(tiny_run, tmp_path)
    with pytest.raises(InvalidValue, match="no image was named"):
        sightline.predict(tiny_run, [])
    with pytest.raises(InvalidValue, match="no image was given"):
        sightline.predict(tiny_run, iter([]))


def test_one_image_is_one_answer_however_it_is_given(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    image = small_arrays["x_test"][0]
    picture, path, content = Image.fromarray(image), tmp_path / "a.png", io.BytesIO()
    picture.save(path)
    picture.save(content, "PNG")
    expected = sightline.predict(tiny_run, image[None], progress=False).logits

    class Elsewhere(os.PathLike):
        def __fspath__(self) -> str:
            return str(path)

    forms = [
        image,
        image[..., None],
        image[None],
        np.repeat(image[..., None], 3, axis=2),
        picture,
        picture.convert("RGBA"),
        content.getvalue(),
        io.BytesIO(content.getvalue()),
        str(path),
        path,
        Elsewhere(),
        io.BufferedReader(io.BytesIO(content.getvalue())),
        [image],
        (picture,),
        iter([content.getvalue()]),
        np.array([str(path)]),
    ]
    for form in forms:
        found = sightline.predict(tiny_run, form, progress=False)
        assert found.errors == (None,)
        np.testing.assert_allclose(found.logits, expected, atol=1e-5)


def test_images_of_all_kinds_and_sizes_in_one_list_come_in_its_order(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    images = small_arrays["x_test"]
    for row in (1, 2):
        Image.fromarray(images[row]).save(tmp_path / f"{row}.png")
    given = [
        images[0],
        str(tmp_path),
        b"no image",
        images[3].repeat(2, axis=0).repeat(2, axis=1),
        Image.new("F", (4, 4)),
    ]
    found = sightline.predict(tiny_run, iter(given), progress=False)
    assert found.row_ids == ("0", str(tmp_path / "1.png"), str(tmp_path / "2.png"), "2", "3", "4")
    assert [error is None for error in found.errors] == [True, True, True, False, True, False]
    expected = sightline.predict(tiny_run, images[:3, ..., None], progress=False).logits
    np.testing.assert_allclose(found.logits[:3], expected, atol=1e-5)


def test_a_dark_digit_on_white_paper_is_noticed_and_turned(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    images = small_arrays["x_test"][:20]
    for row, image in enumerate(images):
        Image.fromarray(255 - image).save(tmp_path / f"{row:02d}.png")
    as_is = sightline.predict(tiny_run, tmp_path, progress=False)
    turned = sightline.predict(tiny_run, tmp_path, invert=True, progress=False)
    original = sightline.predict(tiny_run, images, progress=False)
    assert all("inverse of the training images" in notice for notice in as_is.notices)
    assert set(turned.notices) == set(original.notices) == {None}
    np.testing.assert_allclose(turned.logits, original.logits, atol=1e-4)
    assert not np.allclose(as_is.logits, original.logits, atol=1)
    turned_array = sightline.predict(tiny_run, 255 - images, invert=True, progress=False)
    np.testing.assert_array_equal(turned_array.logits, original.logits)


def test_classes_of_a_dataset_are_matched_by_name(tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]) -> None:
    arrays = {"x_train": small_arrays["x_train"][:50], "y_train": 9 - small_arrays["y_train"][:50].astype(int)}
    reversed_names = sightline.load(arrays, class_names=list("9876543210"))
    predictions = sightline.predict(tiny_run, reversed_names, progress=False)
    assert predictions.labels.tolist() == small_arrays["y_train"][:50].tolist()
    unknown = sightline.load(arrays, class_names=[*"987654321", "zero"])
    answered = sightline.predict(tiny_run, unknown, progress=False)
    assert answered.labels is None
    np.testing.assert_array_equal(answered.logits, predictions.logits)
    with pytest.raises(InvalidValue, match=r"classes the bundle does not know: zero\. The bundle knows: 0, 1, 2"):
        sightline.evaluate(tiny_run, unknown, split="all")
    strange = sightline.load(arrays, class_names=list("abcdefghij"))
    with pytest.raises(
        InvalidValue, match=r"know: a, b, c, d, e and \d more\. .*Call them as it does, or leave them out"
    ):
        sightline.evaluate(tiny_run, strange, split="all")


def test_a_dataset_is_inverted_as_its_files_are(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    images = small_arrays["x_test"][:8, 4:-4]  # wider than high: what is added above and below must not be inverted
    for row, image in enumerate(images):
        (tmp_path / str(row % 2)).mkdir(exist_ok=True)
        Image.fromarray(255 - image).save(tmp_path / str(row % 2) / f"{row}.png")
    (tmp_path / "0" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    as_files = sightline.predict(tiny_run, tmp_path, invert=True, progress=False)
    as_rows = sightline.predict(tiny_run, sightline.load(tmp_path), invert=True, progress=False)
    np.testing.assert_array_equal(as_rows.logits, as_files.logits)
    assert as_rows.labels.tolist() == [0] * 5 + [1] * 4
    assert [error is None for error in as_rows.errors] == [True] * 4 + [False] + [True] * 4
    arrays = sightline.load({"x_train": 255 - images, "y_train": np.arange(8) % 2})
    upright = sightline.predict(tiny_run, images, progress=False)
    as_array = sightline.predict(tiny_run, arrays, invert=True, progress=False)
    np.testing.assert_array_equal(as_array.logits, upright.logits)


def test_without_progress_nothing_is_printed(
    tiny_run: sightline.Run, small_npz: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sightline.system.progress import reporting

    with reporting("terminal"):
        sightline.predict(tiny_run, sightline.load(small_npz), progress=False)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_a_missing_bundle_is_refused_before_the_images_are_looked_at() -> None:
    with pytest.raises(InvalidBundle, match="nowhere: no such folder"):
        sightline.predict("nowhere", ["neither.png"])
