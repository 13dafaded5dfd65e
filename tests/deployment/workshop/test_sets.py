"""A set that is made, labelled and corrected on the page: its files are there as they came, and no change is lost."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.deployment.workshop.sets.journal import FILE
from sightline.quality.labels.label_table import read_labels, relabelled
from sightline.system.files import held


def png(shade: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((9, 12, 3), shade, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def add(studio: Any, content: bytes, **asked: str) -> Any:
    query = urllib.parse.urlencode({"set": "birds", **asked})
    token = studio.address.partition("token=")[2]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
    return studio.ask("POST", f"/api/set/add?{query}", content, headers)


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def visible(folder: Path) -> set[str]:
    return {name for name in tree(folder) if not any(part.startswith(".") for part in name.split("/"))}


@pytest.fixture
def birds(open_studio: Callable[..., Any], tmp_path: Path) -> tuple[Any, Path]:
    """A studio with a new set of two classes."""
    studio = open_studio(tmp_path)
    assert studio.post("/api/set/begin", {"folder": "", "name": "birds"}).json["classes"] == []
    for name in ("jay", "wren"):
        assert studio.post("/api/set/class", {"set": "birds", "name": name}).json == {"class": name}
    return studio, tmp_path / "birds"


def test_a_set_is_made_of_pictures_that_are_kept_as_they_came(birds: Any) -> None:
    studio, place = birds
    one, other = png(), jpeg()
    told = add(studio, one, **{"class": "jay", "name": "IMG_1.PNG"}).json
    assert (told["file"], told["was_there"], told["address"][:15]) == ("jay/IMG_1.PNG", False, "data:image/png;")
    assert (place / "jay" / "IMG_1.PNG").read_bytes() == one
    # Another picture of that name is beside it, the same one is there already, and what is a JPEG is called so.
    assert add(studio, png(1), **{"class": "jay", "name": "img_1.png"}).json["file"] == "jay/0002 img_1.png"
    assert add(studio, one, **{"class": "jay", "name": "IMG_1.PNG"}).json["was_there"]
    assert add(studio, other, **{"class": "wren", "name": "b.png"}).json["file"] == "wren/b.jpg"
    assert add(studio, png(2), name="no class.png").json["file"] == "no class.png"
    assert (place / "wren" / "b.jpg").read_bytes() == other
    found = studio.get("/api/set?set=birds").json
    assert [(one["name"], one["count"]) for one in found["classes"]] == [("jay", 2), ("wren", 1)]
    assert (found["loose"], found["last"]) == ({"count": 1, "files": ["no class.png"]}, None)
    page = studio.get("/api/set/pictures?set=birds&class=jay&first=1").json["files"]
    assert page == found["classes"][0]["files"][1:] == ["jay/IMG_1.PNG"]
    dataset = sightline.load(place)
    assert (dataset.class_names, len(dataset)) == (("jay", "wren"), 3)
    small = studio.post("/api/set/thumbnails", {"set": "birds", "files": ["wren/b.jpg", "wren/none.jpg", "../x", 3]})
    assert [picture and picture["is_small"] for picture in small.json["pictures"]] == [True, None, None, None]


SENT = [
    ("../../evil.png", "evil.png"),
    ("C:\\photos\\1.png", "1.png"),
    (".hidden.png", "hidden.png"),
    ("--html=x.png", "html=x.png"),
    ("con.png", "con_.png"),
    ("a:b|c?.png", "b-c-.png"),
    ("line\nbreak\u202e.png", "line-nbreak-u202e.png"),
    ("no ending", "no ending.png"),
    ("shop.exe", "shop.exe.png"),
    ("", "picture.png"),
    ("..", "picture.png"),
    ("猫" * 200 + ".png", "猫" * 65 + ".png"),
]


def test_no_name_of_a_picture_leads_anywhere_else(birds: Any, tmp_path: Path) -> None:
    studio, _ = birds
    for number, (sent, written) in enumerate(SENT):
        before = tree(tmp_path)
        told = add(studio, png(number), **{"class": "jay", "name": sent}).json
        assert told["file"] in (f"jay/{written}", f"jay/0002 {written}"), sent
        assert tree(tmp_path) - before == {f"birds/{told['file']}"}


def test_what_is_no_picture_is_said_by_name_and_not_kept(birds: Any) -> None:
    studio, place = birds
    for name, content in (("notes.png", b"no picture"), ("cut.jpg", jpeg()[:200]), ("empty.png", b"")):
        refused = add(studio, content, **{"class": "jay", "name": name})
        assert (refused.status, refused.json["error"].startswith(f"{name}: ")) == (422, True)
    assert tree(place) == set()


NO_CLASSES: list[Any] = [
    *("", " ", ".git", "a/b", "..", "nul", "a\\b", "trailing.", "train", "Test set", "x" * 121, None, 3),
    *("thumbs.db", "a\u202eb", "\ud800", "JAY", "wren"),
]


def test_a_name_that_is_none_for_a_class_is_refused_in_words(birds: Any) -> None:
    studio, place = birds
    for name in NO_CLASSES:
        refused = studio.post("/api/set/class", {"set": "birds", "name": name})
        assert (name, refused.status in (400, 409), refused.json["error"][-1]) == (name, True, ".")
        if name != "wren":
            refused = studio.post("/api/set/rename", {"set": "birds", "name": "wren", "to": name})
            assert (name, refused.status in (400, 409)) == (name, True)
    assert sorted(path.name for path in place.iterdir()) == ["jay", "wren"]


def test_a_class_is_renamed_and_that_is_taken_back(birds: Any) -> None:
    studio, place = birds
    add(studio, png(), **{"class": "jay", "name": "1.png"})
    told = studio.post("/api/set/rename", {"set": "birds", "name": "jay", "to": "Jay"}).json
    assert (told["kind"], told["number"], visible(place)) == ("rename", 1, {"Jay/1.png"})
    studio.post("/api/set/rename", {"set": "birds", "name": "Jay", "to": "松鸦"})
    assert studio.post("/api/set/undo", {"set": "birds", "number": 1}).status == 409
    assert studio.post("/api/set/undo", {"set": "birds", "number": 2}).json["left"] == []
    assert studio.post("/api/set/undo", {"set": "birds", "number": 1}).json["given"] == "jay"
    assert visible(place) == {"jay/1.png"}
    assert studio.post("/api/set/undo", {"set": "birds", "number": 1}).status == 400


def test_a_picture_is_removed_from_the_set_and_taken_back(birds: Any) -> None:
    studio, place = birds
    content = png()
    add(studio, content, **{"class": "jay", "name": "1.png"})
    told = studio.post("/api/set/remove", {"set": "birds", "file": "jay/1.png"}).json
    assert (told["kind"], told["to"], visible(place)) == ("remove", ".sightline-removed/jay/1.png", set())
    # Another one of its name, removed as well, is beside it; neither is lost.
    add(studio, png(9), **{"class": "jay", "name": "1.png"})
    told = studio.post("/api/set/remove", {"set": "birds", "file": "jay/1.png"}).json
    for number in (2, 1):
        assert studio.post("/api/set/undo", {"set": "birds", "number": number}).status == (200 if number == 2 else 400)
    # Where it was lies another one now, which stays.
    assert (place / "jay" / "1.png").read_bytes() == png(9)
    assert (place / ".sightline-removed" / "jay" / "1.png").read_bytes() == content
    (place / "jay" / "1.png").unlink()
    assert studio.post("/api/set/undo", {"set": "birds", "number": 1}).status == 200
    assert ((place / "jay" / "1.png").read_bytes(), tree(place)) == (content, {"jay/1.png", FILE})


def test_loose_pictures_are_labelled_with_what_goes_along_and_all_is_taken_back(birds: Any) -> None:
    studio, place = birds
    for number in range(3):
        (place / f"{number}.png").write_bytes(png(number))
    (place / "1.xmp").write_text("settings")
    before = {name: (place / name).read_bytes() for name in tree(place)}
    asked = studio.get("/api/set/unlabelled?set=birds").json
    assert ([one["file"] for one in asked["pictures"]], asked["order"]) == (["0.png", "1.png", "2.png"], "name")
    assert asked["classes"] == ["jay", "wren"]
    numbers = []
    for file, label in (("0.png", "jay"), ("1.png", "robin"), ("2.png", "jay")):
        numbers.append(studio.post("/api/set/label", {"set": "birds", "file": file, "label": label}).json["number"])
    assert visible(place) == {"jay/0.png", "robin/1.png", "robin/1.xmp", "jay/2.png"}
    assert studio.get("/api/set/unlabelled?set=birds").json["count"] == 0
    last = studio.get("/api/set?set=birds").json["last"]
    assert (last["number"], last["kind"], last["file"], last["to"]) == (3, "label", "2.png", "jay/2.png")
    for number in reversed(numbers):
        assert studio.post("/api/set/undo", {"set": "birds", "number": number}).json["left"] == []
    assert {name: (place / name).read_bytes() for name in visible(place)} == before
    assert sorted(path.name for path in place.iterdir() if path.is_dir()) == ["jay", "wren"]


NO_FILES: tuple[Any, ...] = ("../outside.png", "/etc/passwd", "none.png", "", None, "jay", ".hidden.png", "link.png")
NO_LABELS: tuple[Any, ...] = ("", "..", "a/b", "train", None, ".x", "JAY")


def test_a_label_that_is_none_moves_nothing(birds: Any, tmp_path: Path) -> None:
    studio, place = birds
    (tmp_path / "outside.png").write_bytes(png())
    for name in ("0.png", ".hidden.png", "jay/1.png"):
        (place / name).write_bytes(png())
    (place / "link.png").symlink_to(tmp_path / "outside.png")
    before = tree(tmp_path)
    for file, label in (
        *((file, "jay") for file in NO_FILES),
        *(("0.png", it) for it in NO_LABELS),
        ("jay/1.png", "x"),
    ):
        refused = studio.post("/api/set/label", {"set": "birds", "file": file, "label": label})
        assert (file, label, refused.status in (400, 409), tree(tmp_path)) == (file, label, True, before)


def test_labels_are_corrected_in_the_same_split_and_as_deep(open_studio: Any, tmp_path: Path) -> None:
    studio, place = open_studio(tmp_path), tmp_path / "set"
    for name in ("train/cat/a/1.png", "train/dog/1.png", "test/cat/1.png"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(png())
    correct = {"set": "set", "given": "cat", "label": "dog"}
    told = studio.post("/api/set/correct", {**correct, "file": "train/cat/a/1.png"}).json
    assert (told["kind"], told["to"]) == ("correct", "train/dog/a/1.png")
    assert studio.post("/api/set/correct", {**correct, "file": "test/cat/1.png"}).json["to"] == "test/dog/1.png"
    refused = studio.post("/api/set/correct", {**correct, "file": "train/dog/1.png"})
    assert (refused.status, "cannot be told" in refused.json["error"]) == (400, True)
    for number in (2, 1):
        studio.post("/api/set/undo", {"set": "set", "number": number})
    assert visible(place) == {"train/cat/a/1.png", "train/dog/1.png", "test/cat/1.png"}
    # New pictures do not go between the splits.
    assert studio.get("/api/set?set=set").json["splits"] == ["test", "train"]
    refused = studio.post("/api/set/class", {"set": "set", "name": "owl"})
    assert (refused.status, "parts of a divided set" in refused.json["error"]) == (400, True)


def test_two_pages_at_once_lose_nothing(open_studio: Any, tmp_path: Path) -> None:
    pages, place = [open_studio(tmp_path), open_studio(tmp_path)], tmp_path / "birds"
    place.mkdir()
    for number in range(6):
        (place / f"{number}.png").write_bytes(png(number))
    replies: list[list[Any]] = [[], []]

    def work(page: int) -> None:
        for number in range(6):
            asked = {"set": "birds", "file": f"{number}.png", "label": ("jay", "wren")[page]}
            replies[page].append(pages[page].post("/api/set/label", asked))
            add(pages[page], png(100 + number), name="same.png")

    threads = [threading.Thread(target=work, args=(page,)) for page in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [reply for each in replies for reply in each if reply.status == 200]
    assert (len(done), {reply.status for each in replies for reply in each}) == (6, {200, 400})
    assert sorted(reply.json["number"] for reply in done) == list(range(1, 7))
    contents = [(place / name).read_bytes() for name in visible(place)]
    assert set(contents) == {png(shade + number) for number in range(6) for shade in (0, 100)}
    assert len(contents) >= 12
    # What one page shows as the last change is not what the other takes back.
    assert pages[0].post("/api/set/undo", {"set": "birds", "number": 5}).status == 409


def test_a_set_that_somebody_else_changes_is_waited_for(birds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    studio, place = birds
    monkeypatch.setattr("sightline.deployment.workshop.sets.journal._WAIT_SECONDS", 0.1)
    (place / "0.png").write_bytes(png())
    asked = {"set": "birds", "file": "0.png", "label": "jay"}
    with held(place):
        refused = studio.post("/api/set/label", asked)
    assert (refused.status, "another page" in refused.json["error"]) == (507, True)
    assert studio.post("/api/set/label", asked).status == 200


ROUTES: dict[str, dict[str, Any]] = {
    "class": {"name": "owl"},
    "rename": {"name": "jay", "to": "owl"},
    "remove": {"file": "jay/1.png"},
    "label": {"file": "0.png", "label": "jay"},
    "correct": {"file": "jay/1.png", "given": "jay", "label": "wren"},
    "keep": {"file": "jay/1.png", "given": "jay"},
    "undo": {"number": 1},
    "thumbnails": {"files": []},
}


NO_SETS: tuple[Any, ...] = ("birds", "../x", "/etc", None, 3, "\ud800", ".sightline-studio", "runs", "file.txt")


def test_a_folder_that_vanished_or_is_none_is_told_by_every_route(open_studio: Any, tmp_path: Path) -> None:
    studio = open_studio(tmp_path)
    for folder in (".sightline-studio", "runs/first"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "file.txt").write_text("text")
    before = tree(tmp_path)
    for named in NO_SETS:
        for path, asked in (*ROUTES.items(), ("begin", {"folder": named, "name": "new"})):
            refused = studio.post(f"/api/set/{path}", {"set": named, **asked})
            assert (named, path, refused.status, refused.json["error"][-1]) == (named, path, 400, ".")
        query = urllib.parse.urlencode({"set": str(named).encode("utf-8", "surrogatepass")})
        for path in ("", "/pictures", "/unlabelled"):
            assert (named, path, studio.get(f"/api/set{path}?{query}").status) == (named, path, 400)
    assert tree(tmp_path) == before


def test_every_route_refuses_what_is_no_question(birds: Any) -> None:
    studio, _ = birds
    for path in (*ROUTES, "begin"):
        for body in (b"", b"[]", b"{", b'{"set": {"a": 1}}', b"\xff"):
            assert (path, body, studio.ask("POST", f"/api/set/{path}", body).status) == (path, body, 400)
        assert studio.ask("POST", f"/api/set/{path}", json.dumps(ROUTES.get(path, {})), {}).status == 401
    assert studio.get("/api/set/pictures?set=birds&first=-1").status == 400
    assert studio.get("/api/set/doubts?job=0001").status == 400
    assert studio.get("/api/set/unlabelled?set=birds&job=0001").status == 400
    assert add(studio, png(), **{"class": "none"}).status == 400
    assert add(studio, png(), **{"class": "../birds"}).status == 400
    big = studio.ask("POST", "/api/set/add?set=birds", b"x", {"Authorization": "Bearer x"})
    assert big.status == 401


@pytest.mark.skipif(os.name == "nt", reason="the size of files is bounded elsewhere alone")
def test_on_a_full_disk_nothing_is_half_done(birds: Any) -> None:
    import resource

    studio, place = birds
    (place / "0.png").write_bytes(png())
    content = jpeg()
    (place / "wren" / "9.png").write_bytes(png())
    (place / "all.csv").write_text("path,label\n0.png,a\nwren/9.png,b\n")
    set_ = {"set": "birds"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as on a disk with little room left
    try:
        full = [
            add(studio, content, **{"class": "jay", "name": "1.jpg"}),
            studio.post("/api/set/label", {**set_, "file": "0.png", "label": "jay"}),
            studio.post("/api/set/remove", {**set_, "file": "wren/9.png"}),
            studio.post("/api/set/correct", {**set_, "file": "wren/9.png", "given": "wren", "label": "jay"}),
            studio.post("/api/set/keep", {**set_, "file": "wren/9.png", "given": "wren"}),
            studio.post("/api/set/rename", {**set_, "name": "wren", "to": "owl"}),
            studio.post("/api/set/relabel", {"source": "birds/all.csv", "file": "0.png", "label": "b"}),
        ]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [reply.status for reply in full] == [507] * 7
    assert tree(place) - {FILE} == {"0.png", "all.csv", "wren/9.png"}
    assert (place / FILE).read_bytes() == b""
    assert add(studio, content, **{"class": "jay", "name": "1.jpg"}).status == 200


@pytest.mark.skipif(os.name == "nt", reason="the size of files is bounded elsewhere alone")
def test_what_a_full_disk_kept_from_being_taken_back_is_taken_back_later(birds: Any) -> None:
    import resource

    studio, place = birds
    (place / "0.png").write_bytes(png())
    undo = {"set": "birds", "number": 1}
    assert studio.post("/api/set/label", {"set": "birds", "file": "0.png", "label": "jay"}).status == 200
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        assert studio.post("/api/set/undo", undo).status == 507
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert studio.post("/api/set/undo", undo).json["left"] == []
    assert visible(place) == {"0.png"}


def test_no_link_is_written_behind(birds: Any, tmp_path: Path) -> None:
    studio, place = birds
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (place / "way-out").symlink_to(outside)
    (place / "0.png").write_bytes(png())
    (place / ".sightline-removed").symlink_to(outside)
    assert [one["name"] for one in studio.get("/api/set?set=birds").json["classes"]] == ["jay", "wren"]
    assert add(studio, png(), **{"class": "way-out"}).status == 400
    assert studio.post("/api/set/label", {"set": "birds", "file": "0.png", "label": "way-out"}).status == 409
    refused = studio.post("/api/set/remove", {"set": "birds", "file": "0.png"})
    assert (refused.status, "leads out" in refused.json["error"]) == (507, True)
    (outside / "journal").write_text("")
    (place / FILE).symlink_to(outside / "journal")
    assert studio.post("/api/set/label", {"set": "birds", "file": "0.png", "label": "jay"}).status == 400
    assert (tree(outside), (outside / "journal").read_text(), (place / "0.png").is_file()) == ({"journal"}, "", True)


def test_a_journal_of_a_stranger_leads_nowhere_and_half_a_line_is_passed_over(birds: Any, tmp_path: Path) -> None:
    studio, place = birds
    (tmp_path / "victim.png").write_bytes(png())
    step = {"source": "../new.png", "target": "../victim.png", "num_bytes": 1, "time": 1}
    evil = {"kind": "label", "file": "x", "given": "", "label": "", "steps": [step], "folders": [], "number": 7}
    renames = {**evil, "kind": "rename", "given": "../other", "label": "..", "steps": []}
    (place / FILE).write_text(f"{json.dumps(evil)}\n{json.dumps(renames)}\n[1]\n{{}}\nnull\n{json.dumps(evil)[:50]}")
    (place / "0.png").write_bytes(png())
    assert studio.get("/api/set?set=birds").json["last"] is None
    assert studio.post("/api/set/undo", {"set": "birds", "number": 7}).status == 400
    assert studio.post("/api/set/label", {"set": "birds", "file": "0.png", "label": "jay"}).json["number"] == 1
    assert studio.post("/api/set/undo", {"set": "birds", "number": 1}).json["left"] == []
    assert (tmp_path / "victim.png").is_file()


def test_what_was_changed_by_hand_since_is_left_when_a_change_is_taken_back(birds: Any) -> None:
    studio, place = birds
    (place / "0.png").write_bytes(png())
    number = studio.post("/api/set/label", {"set": "birds", "file": "0.png", "label": "jay"}).json["number"]
    (place / "jay" / "0.png").write_bytes(jpeg())
    told = studio.post("/api/set/undo", {"set": "birds", "number": number}).json
    assert told["left"] == ["jay/0.png: it was changed since"]
    assert visible(place) == {"jay/0.png"}
    assert studio.get("/api/set?set=birds").json["last"] is None


@pytest.fixture
def finished(run: Path, tmp_path: Path) -> str:
    """A run where the studio looks for it, as far as its bundle goes."""
    shutil.copytree(run, tmp_path / "runs" / "first")
    return "runs/first"


@pytest.mark.slow
def test_a_run_says_which_pictures_are_most_doubtful(studio: Any, finished: str, photos: Path) -> None:
    for number, color in enumerate([(250, 0, 0), (120, 110, 20), (0, 250, 0)]):
        Image.new("RGB", (12, 20), color).save(photos / f"{number} =x,y.png")
    (photos / "broken.png").write_bytes(b"no picture")
    job = studio.done(kind="answers", run=finished, source="photos")
    assert (job["state"], job["code"]) == ("done", 1), job["lines"]
    assert job["command"].startswith(f"sightline predict {finished} .sightline-studio/0001/pictures.csv --top 2")
    asked = studio.get(f"/api/set/unlabelled?set=photos&job={job['name']}").json
    doubts = [one["doubt"] for one in asked["pictures"]]
    assert (asked["order"], len(doubts), doubts) == ("doubt", 3, sorted(doubts, reverse=True))
    assert {one["label"] for one in asked["pictures"]} <= {"cat", "dog", "owl"}
    assert asked["unreadable"][0][0] == "broken.png"
    # Answers to another folder are not taken for those to this one.
    (photos.parent / "others").mkdir()
    assert studio.get(f"/api/set/unlabelled?set=others&job={job['name']}").status == 400
    refused = studio.post("/api/jobs", {"kind": "answers", "run": finished, "source": "others"})
    assert (refused.status, "no loose pictures" in refused.json["error"]) == (400, True)


@pytest.mark.slow
def test_doubted_labels_are_told_until_somebody_looked_at_them(studio: Any, tmp_path: Path, many_photos: Any) -> None:
    images, labels = many_photos
    for number, (image, label) in enumerate(zip(images[:120], labels[:120], strict=True)):
        folder = tmp_path / "many" / ("cat", "dog", "owl")[label if number else (label + 1) % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((32, 32)).save(folder / f"{number:03d}.png")
    job = studio.done(kind="audit", source="many", labels=True)
    doubts = studio.get(f"/api/set/doubts?job={job['name']}").json
    first = doubts["rows"][0]
    long = {"set": "many", "file": first["file"], "given": "x" * 1001}
    assert studio.post("/api/set/keep", long).status == 400
    assert (first["file"], first["suggested"], doubts["classes"]) == ("dog/000.png", "cat", ["cat", "dog", "owl"])
    asked = {"set": "many", "file": first["file"], "given": first["given"]}
    assert studio.post("/api/set/keep", asked).json["kind"] == "keep"
    assert studio.get(f"/api/set/doubts?job={job['name']}").json["count"] == doubts["count"] - 1
    assert studio.post("/api/set/undo", {"set": "many", "number": 1}).status == 200
    told = studio.post("/api/set/correct", {**asked, "label": first["suggested"]}).json
    assert told["to"] == "cat/000.png"
    assert first["file"] not in {row["file"] for row in studio.get(f"/api/set/doubts?job={job['name']}").json["rows"]}


def test_mistakes_of_a_run_are_looked_at_as_its_command_told_them(studio: Any, photos: Path) -> None:
    place = photos.parent / ".sightline-studio" / "0001"
    place.mkdir(parents=True)
    told = {"kind": "mistakes", "arguments": ["mistakes", "runs/a"], "pid": 1, "started": 1.0}
    row = {"given": "cat", "predicted": "owl", "confidence": 0.75, "is_wrong": True, "is_unsure": False}
    rows = [row | {"row_id": f"cat/{number}.png", "is_wrong": number < 2} for number in range(3)]
    result = {"rows": [*rows, row | {"row_id": "cat/gone.png"}, row | {"row_id": "../cat/0.png"}]}
    (place / "job.json").write_text(json.dumps({**told, "about": {"run": "runs/a", "source": "photos"}}))
    (place / "result.json").write_text(json.dumps(result))
    found = studio.get("/api/set/doubts?job=0001").json
    first = {"file": "cat/0.png", "given": "cat", "suggested": "owl", "confidence": 0.75}
    assert (found["rows"][0], [one["file"] for one in found["rows"]]) == (first, ["cat/0.png", "cat/1.png"])
    studio.post("/api/set/correct", {"set": "photos", "file": "cat/1.png", "given": "cat", "label": "owl"})
    assert (photos / "owl" / "0002 1.png").is_file()
    assert studio.get("/api/set/doubts?job=0001").json["count"] == 1
    for broken in ([], {}, {"rows": 3}, {"rows": [3]}, {"rows": [{"row_id": "a"}]}, None):
        (place / "result.json").write_text(json.dumps(broken))
        refused = studio.get("/api/set/doubts?job=0001")
        assert (broken, refused.status, refused.json["error"][-1]) == (broken, 400, ".")
    for source in (None, "gone", "../x", 3, "runs"):
        (place / "job.json").write_text(json.dumps({**told, "about": {"source": source}}))
        assert (source, studio.get("/api/set/doubts?job=0001").status) == (source, 400)


def test_labels_of_a_table_are_corrected_in_one_beside_it(studio: Any, photos: Path) -> None:
    (photos / "=odd,name.png").write_bytes(png(7))
    rows = [*(f"{name}/{number}.png,{name}" for name in ("cat", "dog") for number in range(3)), '"=odd,name.png",dog']
    source = photos / "all.csv"
    source.write_text("\n".join(["path,label", *rows]) + "\n")
    table, before = photos / "all.csv-labels.csv", source.read_bytes()
    train = {"kind": "train", "source": "photos/all.csv", "recipe": "fast"}
    asked = {"source": "photos/all.csv", "label": "dog"}
    assert "--labels" not in studio.post("/api/command", train).json["command"]
    told = studio.post("/api/set/relabel", {**asked, "file": "cat/0.png"}).json
    assert (told["given"], told["label"], told["to"]) == ("cat", "dog", "all.csv-labels.csv")
    assert studio.post("/api/set/relabel", {**asked, "file": "=odd,name.png", "label": "cat"}).json["given"] == "dog"
    studio.post("/api/set/relabel", {**asked, "file": "cat/1.png", "label": ""})
    assert studio.post("/api/set/keep-row", {**asked, "file": "dog/2.png"}).json["kind"] == "keep"
    assert studio.get("/api/look?source=photos/all.csv").json["num_relabelled"] == 3
    assert " --labels photos/all.csv-labels.csv " in studio.post("/api/command", train).json["command"]
    assert "--labels" not in studio.post("/api/command", {**train, "labels": False}).json["command"]
    # As the training reads it.
    found = relabelled(sightline.load(source), read_labels(table.read_text(), name="table"))
    labels = dict(zip(found.row_ids.tolist(), found.named(), strict=True))
    assert (labels["cat/0.png"], labels["=odd,name.png"], "cat/1.png" in labels) == ("dog", "cat", False)
    for file, label in (("none.png", "dog"), ("cat/2.png", "owl"), (None, "dog"), ("cat/2.png", None)):
        assert studio.post("/api/set/relabel", {**asked, "file": file, "label": label}).status == 400
    for named in ("photos", "photos/none.csv", "../x.csv", None, "runs/first/splits.csv"):
        assert studio.post("/api/set/relabel", {"source": named, "file": "cat/0.png", "label": "dog"}).status == 400
        assert studio.post("/api/set/keep-row", {"source": named, "file": "cat/0.png"}).status == 400
    for number in (4, 3, 2, 1):
        assert studio.post("/api/set/undo", {"set": "photos", "number": number}).json["left"] == []
    same = relabelled(sightline.load(source), read_labels(table.read_text(), name="table"))
    assert (same.named(), source.read_bytes()) == (sightline.load(source).named(), before)


def test_what_was_recorded_is_kept_together_by_the_training(studio: Any, photos: Path) -> None:
    asked = {"kind": "train", "source": "photos", "recipe": "fast"}
    assert "group_by" not in studio.post("/api/command", asked).json["command"]
    (photos / "cat" / "series-20261129-130501-0001.jpg").write_bytes(jpeg())
    told = studio.post("/api/command", asked).json["command"]
    assert r"--set 'data.group_by=(series-[0-9]+-[0-9]+)-[0-9]+\.[a-z0-9]+$'" in told
    assert "group_by" not in studio.post("/api/command", {**asked, "series": False}).json["command"]
    (photos / "dog" / "0002 series-20261129-130502-0001.jpg").write_bytes(jpeg())
    (photos / "dog" / "series-20261129-130502-0002.jpg").write_bytes(jpeg())
    assert studio.get("/api/look?source=photos").json["num_series"] == 2
    assert studio.get("/api/set?set=photos").json["num_series"] == 2
