from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

from sightline.reporting.pages.explanations.page import ExplainedImage, NearImage, explanations_page

HOSTILE = '<script>alert(1)</script>"\u202e.png'
PICTURE = np.zeros((64, 64, 3), np.uint8)


def thumbnail() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "WEBP")
    return stream.getvalue()


def page(*images: ExplainedImage) -> str:
    return explanations_page("images & maps", images, remarks=["said <first>"], scale=0.25, unit="logits")


def entry(name: str = "a.png", *, nearest: tuple[NearImage, ...] = ()) -> ExplainedImage:
    return ExplainedImage(name, "cat 0.98", "for cat: 62 % in the upper left", "odd", PICTURE, PICTURE, nearest)


def test_nearest_training_images_stand_before_the_map() -> None:
    near = (NearImage("cat/1.png", "cat", None), NearImage("dog/2.png", "dog", thumbnail()))
    text = page(entry(nearest=near))
    assert text.index("cat/1.png") < text.index("dog/2.png") < text.index("as the network is fed it")
    assert len(re.findall('src="data:image/webp', text)) == 1


def test_each_picture_says_in_words_what_it_shows_and_the_scale_is_told_once() -> None:
    text = page(entry(), entry("b.png"))
    assert 'alt="map of a.png: for cat: 62 % in the upper left"' in text
    assert text.count("one scale for all maps of this page, colours end at 0.25") == 1
    assert text.count("(odd)") == 2


def test_an_unreadable_image_says_why_and_has_no_picture() -> None:
    text = page(ExplainedImage("a.png", "a text, not an image.", "", "", None, None, ()))
    assert "a text, not an image." in text
    assert "<img" not in text


def test_hostile_names_do_nothing() -> None:
    near = NearImage(HOSTILE, HOSTILE, None)
    text = page(entry(HOSTILE, nearest=(near,)), ExplainedImage(HOSTILE, HOSTILE, "", "", None, None, ()))
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "said &lt;first&gt;" in text


def test_nothing_is_loaded_and_nothing_is_called_a_reason() -> None:
    text = page(entry(nearest=(NearImage("cat/1.png", "cat", thumbnail()),)))
    assert not re.search(r"https?://", text)
    assert "because" not in text.lower()
