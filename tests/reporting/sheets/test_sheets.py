"""Sheets of images: every pixel is where it should be, and no caption breaks them."""

import io
import subprocess
import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from sightline.errors import InvalidValue
from sightline.reporting.sheets import fonts
from sightline.reporting.sheets.fonts import font_for, plain_text, with_boxes
from sightline.reporting.sheets.sheets import augmented_sheet, contact_sheet, example_sheet, mistakes_sheet
from sightline.system.text import shorten

ODD_CAPTIONS = ["猫", "Käfer", "кошка", "قطة", "🙂", "x\udc80y", "a\tb\x00c", "\u202eabc", "one\ntwo\nthree", "\uffff"]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert image.info == {"Software": "Sightline"}  # the mark of what may be replaced
        return np.asarray(image.convert("RGB"))


def places(sheet: np.ndarray, image: np.ndarray, factor: int) -> list[tuple[int, int]]:
    """Top left corners at which the enlarged image stands in the sheet, pixel for pixel."""
    wanted = np.kron(image, np.ones((factor, factor, 1), np.uint8)) * np.ones(3, np.uint8)
    height, width = wanted.shape[:2]
    anchors = sliding_window_view(sheet[:, :, 0], (1, width))[: len(sheet) - height + 1, :, 0]
    candidates = np.argwhere((anchors == wanted[0, :, 0]).all(axis=2))
    return [(t, w) for t, w in candidates.tolist() if np.array_equal(sheet[t : t + height, w : w + width], wanted)]


def test_a_digit_is_enlarged_by_a_whole_factor_and_stands_once_in_the_sheet():
    digits = noise(3, 28, 28, 1)
    sheet = opened(contact_sheet(digits, ["5", "0", "4"], title="three digits"))
    corners = [places(sheet, digit, 4) for digit in digits]
    assert [len(corner) for corner in corners] == [1, 1, 1]
    tops, lefts = zip(*(corner[0] for corner in corners), strict=True)
    assert len(set(tops)) == 1
    assert lefts[1] - lefts[0] == lefts[2] - lefts[1] > 112


def test_the_number_of_columns_is_kept():
    digits = noise(5, 28, 28, 1)
    corners = [places(opened(contact_sheet(digits, [""] * 5, columns=2)), digit, 4)[0] for digit in digits]
    assert len({left for _, left in corners}) == 2
    assert len({top for top, _ in corners}) == 3


def test_images_of_differing_sizes_and_channels_share_a_sheet():
    images = [noise(28, 28, 1), noise(100, 60, 3), noise(1, 300, 3), noise(1, 1, 1)]
    sheet = opened(contact_sheet(images, ["digit", "photo", "line", "dot"], cell_size=112))
    assert len(places(sheet, images[0], 4)) == 1
    assert len(places(sheet, images[1], 1)) == 1


def test_a_large_image_is_reduced_to_its_cell():
    red = np.zeros((400, 600, 3), np.uint8)
    red[:, :, 0] = 255
    sheet = opened(contact_sheet([red], [""], cell_size=90))
    rows, columns = np.nonzero((sheet == (255, 0, 0)).all(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (60, 90)


def test_an_image_without_a_caption_needs_no_room_for_one():
    bare, captioned = (opened(contact_sheet(noise(1, 28, 28, 1), [text])) for text in ("", "5"))
    assert bare.shape[0] < captioned.shape[0]
    assert bare.shape[0] == 16 + 112 + 16


def test_the_background_is_light_and_the_caption_dark():
    sheet = opened(contact_sheet(np.full((1, 28, 28, 1), 255, np.uint8), ["five"]))
    assert sheet[0, 0].min() > 240
    assert sheet[-30:].min() < 100


@pytest.mark.parametrize("caption", ODD_CAPTIONS)
def test_any_caption_and_title_is_drawn(caption):
    digit = noise(28, 28, 1)
    sheet = opened(contact_sheet([digit], [caption], title=caption))
    assert len(places(sheet, digit, 4)) == 1


def test_a_caption_of_ten_thousand_letters_widens_the_sheet_within_reason():
    sheet = opened(contact_sheet(noise(2, 28, 28, 1), ["x" * 10_000, "y"], title="z" * 10_000))
    assert sheet.shape[1] < 700


def test_a_shortened_text_keeps_its_end_and_is_the_longest_that_fits():
    for width in range(1, 40):
        short = shorten("given golden retriever (0.98)", lambda words, width=width: len(words) <= width)
        assert len(short) <= width
        assert width < 24 or short.endswith("(0.98)")
        assert len(short) >= min(width - 2, 29)


def test_a_script_that_no_font_here_writes_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(fonts, "font_files", tuple)
    fonts._say_lacking.cache_clear()
    for text in ("猫 cat", "狗", "cat"):
        font_for(text, 12)
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        "note: no font known here writes Chinese: pictures show an empty box for each letter of it. "
        "Install Noto Sans CJK (Linux: fonts-noto-cjk)."
    )
    fonts._say_lacking.cache_clear()


def test_pillows_own_font_writes_ascii_and_an_unknown_character_becomes_a_box():
    assert font_for("abc XYZ 0.99 ()", 13).getname()[0] == "Aileron"
    assert with_boxes("a\U000f0000b", None) == "a□b"
    assert plain_text("a\udc80\u202e\nb") == "a\ufffd b"


def test_the_same_images_give_the_same_bytes():
    digits = noise(7, 28, 28, 1)
    first, second = (contact_sheet(digits, list("abcdefg"), title="t") for _ in range(2))
    assert first == second


def test_an_array_and_a_list_of_its_images_give_the_same_bytes():
    digits = noise(3, 28, 28, 1)
    assert contact_sheet(digits, ["", "a", "b"]) == contact_sheet(list(digits), ["", "a", "b"])


def test_examples_are_captioned_with_their_class():
    digits = noise(2, 28, 28, 1)
    names = ["cat", "dog"]
    assert example_sheet(digits, [1, 0], class_names=names) == contact_sheet(digits, ["dog", "cat"])
    assert example_sheet(digits, np.array([1, 0], np.uint8), class_names=names) == contact_sheet(digits, ["dog", "cat"])


def test_variants_stand_right_of_their_original():
    originals, variants = noise(2, 28, 28, 1), noise(2, 3, 28, 28, 1, seed=1)
    sheet = opened(augmented_sheet(originals, variants, captions=["5", "0"], title="augmented"))
    for original, row in zip(originals, variants, strict=True):
        top, left = places(sheet, original, 4)[0]
        corners = [places(sheet, variant, 4)[0] for variant in row]
        assert {corner[0] for corner in corners} == {top}
        assert left < corners[0][1] < corners[1][1] < corners[2][1]


def test_variants_may_have_another_size_than_the_original():
    originals, variants = noise(1, 28, 28, 1), noise(1, 2, 32, 32, 3)
    sheet = opened(augmented_sheet(originals, variants, captions=["5"]))
    assert len(places(sheet, originals[0], 4)) == 1
    assert len(places(sheet, variants[0, 0], 4)) == 1 or len(places(sheet, variants[0, 0], 3)) == 1


def test_mistakes_stand_in_order_of_confidence_and_right_answers_do_not_stand_at_all():
    digits = noise(4, 28, 28, 1)
    png = mistakes_sheet(
        digits, [0, 1, 2, 0], predicted=[1, 1, 0, 2], confidences=[0.6, 1.0, 0.9, 0.7], class_names=list("abc")
    )
    sheet = opened(png)
    corners = [places(sheet, digit, 4) for digit in digits]
    assert corners[1] == []
    assert corners[2][0][1] < corners[3][0][1] < corners[0][0][1]


def test_mistakes_are_captioned_with_both_classes_and_the_confidence():
    digits = noise(2, 28, 28, 1)
    png = mistakes_sheet(digits, [0, 1], predicted=[1, 1], confidences=[0.987, 0.5], class_names=["4", "9"])
    assert png == contact_sheet(digits[:1], ["given 4\npredicted 9 (0.99)"], title="the only mistake on 2 images")


def test_no_confidence_is_called_certain():
    digit = noise(1, 28, 28, 1)
    png = mistakes_sheet(digit, [0], predicted=[1], confidences=[1.0], class_names=["4", "9"])
    assert png == contact_sheet(digit, ["given 4\npredicted 9 (>0.99)"], title="the only mistake on 1 image")


def test_at_most_forty_mistakes_are_drawn_and_no_other_image_is_touched():
    class Lazy:
        def __init__(self) -> None:
            self.touched: list[int] = []

        def __len__(self) -> int:
            return 1000

        def __getitem__(self, row: int) -> np.ndarray:
            self.touched.append(row)
            return np.zeros((28, 28, 1), np.uint8)

    confidences = np.linspace(0, 1, 1000)
    zeros = np.zeros(1000, np.int64)
    images = Lazy()
    mistakes_sheet(images, zeros, predicted=zeros + 1, confidences=confidences, class_names=["a", "b"])
    assert images.touched == list(range(999, 959, -1))


def test_without_mistakes_there_is_a_picture_that_says_so():
    digits = noise(3, 28, 28, 1)
    arguments = {"confidences": [0.9] * 3, "class_names": ["a", "b"]}
    sheet = opened(mistakes_sheet(digits, [0, 1, 0], predicted=[0, 1, 0], **arguments))
    assert sheet.min() < 100
    empty = mistakes_sheet(digits[:0], [], predicted=[], confidences=[], class_names=["a", "b"])
    assert opened(empty).shape == sheet.shape


@pytest.mark.parametrize(
    ("images", "captions", "options", "message"),
    [
        ([], [], {}, "images must hold at least one image"),
        (np.zeros((1, 4, 4, 1), np.float32), ["a"], {}, r"images\[0\] must be an array of uint8; got float32"),
        (np.zeros((1, 4, 4), np.uint8), ["a"], {}, r"\(height, width, 1 or 3\); got uint8 \(4, 4\)"),
        (np.zeros((1, 4, 4, 4), np.uint8), ["a"], {}, r"1 or 3"),
        (np.zeros((1, 0, 4, 1), np.uint8), ["a"], {}, r"1 or 3"),
        (["cat.png"], ["a"], {}, "got str"),
        (np.zeros((2, 4, 4, 1), np.uint8), ["a"], {}, "images 2, captions 1"),
        (np.zeros((1, 4, 4, 1), np.uint8), ["a"], {"columns": 0}, "columns must be a whole number"),
        (np.zeros((1, 4, 4, 1), np.uint8), ["a"], {"columns": True}, "columns must be a whole number"),
        (np.zeros((1, 4, 4, 1), np.uint8), ["a"], {"cell_size": float("nan")}, "cell_size must be a whole number"),
        (np.zeros((100, 1, 1, 1), np.uint8), ["a"] * 100, {"cell_size": 1024}, "fewer images or a smaller cell_size"),
    ],
)
def test_what_cannot_be_drawn_is_refused(images, captions, options, message):
    with pytest.raises(InvalidValue, match=message):
        contact_sheet(images, captions, **options)


@pytest.mark.parametrize(
    ("given", "predicted", "confidences", "message"),
    [
        ([2], [0], [0.5], "given must lie in 0 to 1"),
        ([0], [-1], [0.5], "predicted must lie in 0 to 1"),
        ([0.0], [1], [0.5], "given must be one row of integers"),
        ([0], [1], [float("nan")], "confidences must lie in 0 to 1; got nan"),
        ([0], [1], [1.5], "confidences must lie in 0 to 1"),
        ([0], [1], ["high"], "confidences must be one row of numbers"),
        ([0, 1], [1, 0], [0.5, 0.5], "images 1, given 2"),
    ],
)
def test_impossible_answers_are_refused(given, predicted, confidences, message):
    with pytest.raises(InvalidValue, match=message):
        mistakes_sheet(noise(1, 8, 8, 1), given, predicted=predicted, confidences=confidences, class_names=["a", "b"])


def test_an_original_without_variants_is_refused():
    with pytest.raises(InvalidValue, match=r"variants\[0\] must hold at least one"):
        augmented_sheet(noise(1, 8, 8, 1), [[]], captions=["a"])


def test_sheets_need_no_matplotlib():
    code = "import sys, numpy as n, sightline.reporting.sheets.sheets as s"
    code += "; s.contact_sheet(n.zeros((1,8,8,1),n.uint8),['猫'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('matplotlib' in sys.modules)"], capture_output=True, check=False
    )
    assert done.stdout.split() == [b"False"], done.stderr.decode()
