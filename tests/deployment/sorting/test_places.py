"""Where an image goes: the rules, names that are free on every system, and patterns that stay in the folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sightline.deployment.sorting.companions import companions_of, name_beside
from sightline.deployment.sorting.places import Destinations, Rules, check_pattern
from sightline.errors import InvalidValue


def row(label: str = "cat", confidence: float = 0.9, **more: object) -> dict[str, object]:
    return {"label": label, "confidence": confidence, "error": None, **more}


def test_unreadable_comes_before_novel_and_novel_before_unsure() -> None:
    rules = Rules(min_confidence=0.8, max_set_size=1)
    assert rules.why(row()) == ""
    assert (
        rules.why(row(confidence=0.79))
        == rules.why(row(set=["cat", "dog"]))
        == rules.why(row(unsure=True))
        == "_unsure"
    )
    assert rules.why(row(confidence=0.1, novel=True)) == "_novel"
    assert rules.why({**row(novel=True), "error": "damaged"}) == "_unreadable"


def test_no_two_files_are_one_on_any_system(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "A.JPG").write_bytes(b"")
    places = Destinations(tmp_path, ["cat", "Dog"])
    found = [
        places.place(name, "cat", lambda: None)
        for name in ("a.jpg", "a.jpg", "é.jpg", "e\u0301.jpg", "x" * 300 + ".jpg")
    ]
    assert found[:4] == ["cat/0002 a.jpg", "cat/0003 a.jpg", "cat/é.jpg", "cat/0002 e\u0301.jpg"]
    assert found[4].endswith("x.jpg")
    assert len(found[4]) < 220


def test_a_class_may_bear_the_name_of_another_folder_or_of_a_device(tmp_path: Path) -> None:
    places = Destinations(tmp_path, ["_Unsure", "nul", "a/b", "cat", "CAT"])
    assert places.folders["_unsure"] == "__unsure"
    assert places.folders["_novel"] == "_novel"
    assert places.folders["nul"] == "nul_"
    assert places.folders["a/b"] == "a-b"
    assert places.folders["CAT"] == "0002 CAT"


def test_a_pattern_is_filled_with_the_day_on_which_it_was_taken(tmp_path: Path) -> None:
    places = Destinations(tmp_path, ["cat"], "{year}/{month}-{day}/{class} {name}")
    assert places.place("1.jpg", "cat", lambda: (2019, 7, 1)) == "2019/07-01/cat 1.jpg"
    assert places.place("1.jpg", "cat", lambda: None) == "unknown/unknown-unknown/cat 1.jpg"
    assert places.place("1.jpg", "_novel", lambda: (2019, 7, 1)) == "_novel/1.jpg"


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "{class}",
        "{name}/{class}",
        "../{name}",
        "/a/{name}",
        "a//{name}",
        "a\\{name}",
        "{name.x}",
        "{0}",
        "{",
        "{class!r}/{name}",
        "{name}{name}",
        "./{name}",
        "{size}/{name}",
    ],
)
def test_a_pattern_that_could_lead_out_or_tells_no_files_apart_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidValue, match="--pattern"):
        check_pattern(pattern)


def test_what_goes_along_is_found_whatever_its_case_and_once(tmp_path: Path) -> None:
    for name in (
        "IMG_1.JPG",
        "IMG_1.HEIC",
        "IMG_1.xmp",
        "img_1.heic.XMP",
        "IMG_1.mov",
        "IMG_1.aae",
        "IMG_2.mp4",
        "IMG_1.txt",
    ):
        (tmp_path / name).write_bytes(b"")
    found = companions_of(tmp_path, ["IMG_1.HEIC", "IMG_1.JPG"])
    assert found == {"IMG_1.HEIC": ["IMG_1.aae", "IMG_1.mov", "IMG_1.xmp", "img_1.heic.XMP"]}


def test_what_goes_along_is_called_as_its_image_is_now() -> None:
    assert name_beside("a/I.JPG", "cat/I.JPG", "a/i.jpg.XMP") == "i.jpg.XMP"
    assert name_beside("a/I.JPG", "cat/0002 I.JPG", "a/I.mov") == "0002 I.mov"


def test_no_other_file_shares_the_name_of_one_with_settings(tmp_path: Path) -> None:
    places = Destinations(tmp_path, ["cat"])
    first = places.place("I.png", "cat", lambda: None, is_alone=False)
    assert places.companion(first, "I.xmp") == "cat/I.xmp"
    second = places.place("I.jpg", "cat", lambda: None, is_alone=False)
    assert second == "cat/0002 I.jpg"
    assert places.companion(second, name_beside("b/I.jpg", second, "b/I.xmp")) == "cat/0002 I.xmp"
    assert places.place("I.gif", "cat", lambda: None) not in ("cat/I.gif", "cat/0002 I.gif")
    assert places.place("J.png", "cat", lambda: None) == "cat/J.png"
    assert places.place("J.jpg", "cat", lambda: None) == "cat/J.jpg"


def test_a_file_of_the_name_of_a_class_is_gone_around(tmp_path: Path) -> None:
    (tmp_path / "cat").write_bytes(b"")
    assert Destinations(tmp_path, ["cat"]).folders["cat"] == "0002 cat"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names that differ in case are one there")
def test_of_names_that_differ_in_case_alone_each_keeps_its_own(tmp_path: Path) -> None:
    for name in ("A.png", "A.xmp", "a.png", "a.xmp", "a.MOV"):
        (tmp_path / name).write_bytes(b"")
    assert companions_of(tmp_path, ["A.png", "a.png"]) == {"A.png": ["A.xmp"], "a.png": ["a.MOV", "a.xmp"]}
