"""The scripts of a page against Pillow, in a real browser: the resize, colours, transparency, and which way is up."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.transforms import resize_image
from sightline.data.inputs.input_spec import looks_inverted
from sightline.deployment.web.pages import engine
from sightline.records import InputSpec

# Bytes go in and out as text; what a worker says at its end is left out, since this is none.
BYTES = """
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const textOf = (bytes) => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
};
"""


@pytest.fixture
def run(tab) -> Callable[[str, Any], Any]:
    """Runs lines that use the engine on values, and hands back what they return."""
    text = engine().partition("let session = null;")[0]

    def evaluate(lines: str, values: Any) -> Any:
        return tab.evaluate(f"(async (values) => {{ {text} {BYTES} {lines} }})({json.dumps(values)})")

    return evaluate


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def values_of(spec: InputSpec) -> dict[str, Any]:
    names = ("height", "width", "channels", "resize", "background", "interpolation")
    return {name: getattr(spec, name) for name in names}


def random_case(draw: np.random.Generator, number: int) -> tuple[np.ndarray, InputSpec]:
    color = str(draw.choice(["grey", "rgb"]))
    height, width = (int(side) for side in draw.integers(1, 220 if number % 40 else 900, 2))
    spec = InputSpec(
        *(int(side) for side in draw.integers(1, 200, 2)),
        color,  # type: ignore[arg-type]
        resize=str(draw.choice(["fit", "fill", "stretch"])),  # type: ignore[arg-type]
        background=str(draw.choice(["dark", "light", "mixed"])),  # type: ignore[arg-type]
        interpolation=str(draw.choice(["bilinear", "bicubic", "area"])),
    )
    if number % 50 == 1:
        height, width = spec.height, spec.width
    image = draw.integers(0, 256, (height, width, spec.channels), dtype=np.uint8)
    # Hard edges are where filters differ most.
    return (image // 128 * 255).astype(np.uint8) if number % 3 == 0 else image, spec


RESIZE = """
return values.map(({ pixels, height, width, spec, rowsAtOnce }) => {
  const bytes = bytesOf(pixels);
  const length = width * spec.channels;
  const rows = (first, last) => bytes.subarray(first * length, last * length);
  return textOf(resizedPicture({ width, height, channels: spec.channels, rowsAtOnce, rows }, spec));
});
"""


@pytest.mark.slow
def test_the_resize_gives_the_same_bytes_whatever_the_sizes_rules_and_filters(run) -> None:
    draw = np.random.default_rng(7)
    cases = [random_case(draw, number) for number in range(300)]
    asked = [
        {
            "pixels": encoded(image),
            "height": image.shape[0],
            "width": image.shape[1],
            "spec": values_of(spec),
            "rowsAtOnce": int(draw.integers(1, 60)),
        }
        for image, spec in cases
    ]
    for (image, spec), found in zip(cases, run(RESIZE, asked), strict=True):
        expected = resize_image(image, spec)
        assert base64.b64decode(found) == expected.tobytes(), (image.shape, spec)


FILES = """
const found = [];
for (const { file, spec } of values) {
  try {
    const { pixels, looksInverted } = await networkPixels(new Blob([bytesOf(file)]), spec, false);
    found.push([textOf(pixels), looksInverted]);
  } catch (error) {
    found.push([String(error), null]);
  }
}
return found;
"""


def photo(draw: np.random.Generator, height: int = 90, width: int = 61) -> Image.Image:
    small = Image.fromarray(draw.integers(0, 256, (7, 5, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = smooth + draw.integers(-20, 21, smooth.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def profile() -> bytes:
    """Of colours that nobody would take for usual ones: a browser that applied it would be seen."""
    from PIL import ImageCms

    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())


def with_palette(draw: np.random.Generator) -> Image.Image:
    return photo(draw).quantize(40)


def file_cases() -> dict[str, bytes]:
    draw = np.random.default_rng(11)
    clear = photo(draw).convert("RGBA")
    clear.putalpha(Image.fromarray((draw.integers(0, 2, (90, 61)) * 255).astype(np.uint8)))
    half = photo(draw).convert("RGBA")
    half.putalpha(Image.fromarray(draw.integers(0, 256, (90, 61), dtype=np.uint8)))
    grey = photo(draw).convert("L")
    moving = {"save_all": True, "append_images": [photo(draw)], "duration": 100}
    return {
        "JPEG": saved(photo(draw), "JPEG", quality=85),
        "JPEG without subsampling": saved(photo(draw), "JPEG", quality=95, subsampling=0),
        "progressive JPEG": saved(photo(draw), "JPEG", progressive=True),
        "grey JPEG": saved(grey, "JPEG"),
        "JPEG with a profile": saved(photo(draw), "JPEG", icc_profile=profile()),
        "PNG": saved(photo(draw), "PNG"),
        "PNG with a profile": saved(photo(draw), "PNG", icc_profile=profile()),
        "grey PNG": saved(grey, "PNG"),
        "PNG with a palette": saved(with_palette(draw), "PNG"),
        "PNG of one bit": saved(photo(draw).convert("1"), "PNG"),
        "transparent PNG": saved(clear, "PNG"),
        "half transparent PNG": saved(half, "PNG"),
        "grey and alpha": saved(half.convert("LA"), "PNG"),
        "GIF": saved(with_palette(draw), "GIF"),
        "BMP": saved(photo(draw), "BMP"),
        "moving GIF": saved(with_palette(draw), "GIF", save_all=True, append_images=[with_palette(draw)]),
        "moving PNG": saved(photo(draw), "PNG", **moving),
        "moving WebP": saved(photo(draw), "WEBP", **moving),
        "WebP": saved(photo(draw), "WEBP", quality=80),
        "half transparent WebP": saved(half, "WEBP", quality=90),
        "lossless WebP": saved(photo(draw), "WEBP", lossless=True),
        **{f"JPEG turned {way}": saved(photo(draw), "JPEG", exif=turned(way)) for way in range(1, 9)},
        **{f"PNG turned {way}": saved(photo(draw), "PNG", exif=turned(way)) for way in (3, 6)},
        "WebP turned 8": saved(photo(draw), "WEBP", lossless=True, exif=turned(8)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("color", ["rgb", "grey"])
@pytest.mark.parametrize("size", [(28, 32), pytest.param((90, 61), marks=pytest.mark.soak)], ids=str)
def test_files_give_the_same_pixels_in_the_browser(size: tuple[int, int], color: str, run) -> None:
    spec = InputSpec(*size, color)  # type: ignore[arg-type]
    cases = file_cases()
    asked = [{"file": encoded(np.frombuffer(data, np.uint8)), "spec": values_of(spec)} for data in cases.values()]
    wrong = {}
    for (name, data), (found, _) in zip(cases.items(), run(FILES, asked), strict=True):
        # The grey of a JPEG is its own luma, which no browser tells.
        whole = decode_image(data, color_mode="rgb" if "JPEG" in name else spec.color_mode)
        picture = Image.fromarray(whole if whole.shape[2] == 3 else whole[..., 0])
        pixels = np.asarray(picture.convert("RGB" if color == "rgb" else "L")).reshape(*whole.shape[:2], -1)
        expected = resize_image(pixels, spec)
        try:
            given = np.frombuffer(base64.b64decode(found), np.uint8).reshape(expected.shape)
        except ValueError:
            wrong[name] = found
            continue
        if difference := int(np.abs(given.astype(np.int16) - expected).max()):
            wrong[name] = str(difference)
    assert not wrong


@pytest.mark.soak
def test_a_large_picture_is_read_in_strips_whichever_way_it_lies(run) -> None:
    draw = np.random.default_rng(3)
    spec = InputSpec(64, 64, "rgb")
    files = [saved(photo(draw, 1100, 1100), "JPEG", exif=turned(way)) for way in (1, 3, 6, 8)]
    asked = [{"file": encoded(np.frombuffer(data, np.uint8)), "spec": values_of(spec)} for data in files]
    for data, (found, _) in zip(files, run(FILES, asked), strict=True):
        assert base64.b64decode(found) == resize_image(decode_image(data, color_mode="rgb"), spec).tobytes()


@pytest.mark.soak
def test_what_is_no_image_is_refused(run) -> None:
    spec = values_of(InputSpec(8, 8, "rgb"))
    given = [b"no image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b""]
    asked = [{"file": base64.b64encode(data).decode(), "spec": spec} for data in given]
    assert all(is_inverted is None for _, is_inverted in run(FILES, asked))


@pytest.mark.soak
def test_inverses_are_noticed_as_predict_notices_them(run) -> None:
    draw = np.random.default_rng(5)
    cases, asked = [], []
    for background in ("dark", "light", "mixed"):
        for paper, ink in ((0, 255), (255, 0), (200, 40), (90, 110), (30, 60)):
            for color in ("grey", "rgb"):
                spec = InputSpec(28, 28, color, background=background)  # type: ignore[arg-type]
                image = np.full((120, 180, 3), paper, np.int16)
                image[45:75, 60:120] = ink
                pixels = np.clip(image + draw.integers(-9, 10, image.shape), 0, 255).astype(np.uint8)
                data = saved(Image.fromarray(pixels), "PNG")
                cases.append(looks_inverted(decode_image(data, color_mode=spec.color_mode), spec))
                asked.append({"file": encoded(np.frombuffer(data, np.uint8)), "spec": values_of(spec)})
    assert [is_inverted for _, is_inverted in run(FILES, asked)] == cases
    assert 2 < sum(cases) < len(cases) - 2


ANSWERS = "return values.map(({ logits, novelty, choices }) => answerOf(logits, novelty, choices));"


@pytest.mark.soak
def test_answers_are_those_of_predict_near_and_far(run) -> None:
    from sightline.metrics.classification import softmax
    from sightline.metrics.conformal import label_scores

    draw = np.random.default_rng(9)
    scales = np.repeat([1, 8, 60, 2000], 25)
    logits = (draw.normal(size=(100, 6)) * scales[:, None]).astype(np.float32)
    logits[::10, 1] = logits[::10, 0]
    promises = {"sets": {"0.9": -1.5}, "unsure": {"0.05": 2.0}, "novel": {"0.1": 3.0}}
    levels = {"sets": "0.9", "unsure": "0.05", "novel": "0.1"}
    choices = {"temperature": 1.7, "promises": promises, "levels": levels}
    novelties = draw.uniform(2.9, 3.1, 100)
    asked = [
        {"logits": row.astype(float).tolist(), "novelty": float(far), "choices": choices}
        for row, far in zip(logits, novelties, strict=True)
    ]
    odds = -label_scores(logits)
    for row, found in enumerate(run(ANSWERS, asked)):
        expected = softmax(logits[row : row + 1], temperature=1.7)[0]
        assert np.allclose(found["probabilities"], expected, rtol=1e-12, atol=1e-15)
        assert found["order"] == np.argsort(-expected, kind="stable").tolist()
        best = found["order"][0]
        assert set(found["set"]) == {*np.flatnonzero(odds[row] >= -1.5).tolist(), best}
        assert found["unsure"] == bool(odds[row, best] < 2.0)
        assert found["novel"] == bool(novelties[row] > 3.0 * 1.001)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sets", "unsure", "novel"])
def test_a_level_that_is_always_kept_has_no_threshold(kind: str, run) -> None:
    levels = {"sets": None, "unsure": None, "novel": None, kind: "0.9"}
    promises = {"sets": {}, "unsure": {}, "novel": {}, kind: {"0.9": None}}
    choices = {"temperature": 1, "promises": promises, "levels": levels}
    (found,) = run(ANSWERS, [{"logits": [0.0, 5.0], "novelty": 1e9, "choices": choices}])
    told = {"sets": found["set"], "unsure": found["unsure"], "novel": found["novel"]}
    assert told.pop(kind) == {"sets": [1, 0], "unsure": False, "novel": False}[kind]
    assert set(told.values()) == {None}


def test_the_engine_is_no_larger_than_it_has_to_be() -> None:
    assert len(engine()) < 40_000


def test_no_script_holds_a_byte_that_is_no_ascii() -> None:
    assert engine().isascii()
