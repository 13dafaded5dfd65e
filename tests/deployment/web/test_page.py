"""The page as a person has it: opened from a disk or a host, with files, a drawing and a camera."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import load_bundle
from sightline.deployment.web.whole import write_whole
from sightline.records import InputSpec

ANSWERED = "document.querySelectorAll('.answer:not(.is-waiting)').length === {count}"
LABELS = "[...document.querySelectorAll('.answer-label strong')].map((one) => one.textContent)"
SHARES = "[...document.querySelectorAll('.answer-share')].map((one) => parseFloat(one.textContent))"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A host of static files; with the headers that threads need, or without."""

    headers_sent: tuple[tuple[str, str], ...] = ()

    def end_headers(self) -> None:
        for name, value in self.headers_sent:
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Isolated(Quiet):
    headers_sent = (
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Embedder-Policy", "require-corp"),
    )


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[Any]:
    servers = []

    def serve(folder: Path, handler: type[Quiet] = Quiet) -> http.server.ThreadingHTTPServer:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def expected_of(bundle: Path, paths: list[Path]) -> tuple[list[str], list[float]]:
    answers = sightline.predict(bundle, paths, progress=False)
    return list(answers.predicted), [100 * float(share) for share in answers.confidences]


def shown(tab: Any) -> tuple[list[str], list[float]]:
    """The newest stands first; files that came first stand last."""
    return tab.evaluate(LABELS)[::-1], tab.evaluate(SHARES)[::-1]


@pytest.mark.slow
def test_opened_from_a_disk_it_answers_files_as_predict_does_and_asks_for_nothing(
    make_bundle, page_of, photos: Path, tab
) -> None:
    bundle = make_bundle()
    folder = page_of(bundle)
    tab.open((folder / "index.html").as_uri())
    paths = sorted(photos.rglob("*.png"))
    tab.choose_files("#chosen", *paths)
    tab.wait_for(ANSWERED.format(count=len(paths)))
    labels, shares = shown(tab)
    expected = expected_of(bundle, paths)
    assert labels == expected[0]
    assert shares == pytest.approx(expected[1], abs=0.051)
    assert not tab.complaints()
    own = folder.as_uri()
    assert all(url.startswith((own, "blob:")) for url in tab.requests())
    assert tab.evaluate("document.querySelector('#said').textContent").startswith("3.png: owl")


@pytest.mark.slow
def test_as_one_file_it_answers_too_and_asks_for_nothing_else(
    make_bundle, runs_on: Path, photos: Path, tab, tmp_path: Path
) -> None:
    bundle = make_bundle()
    place = tmp_path / "classifier.html"
    write_whole(load_bundle(bundle), place)
    tab.open(place.as_uri())
    paths = sorted(photos.rglob("*.png"))
    tab.choose_files("#chosen", *paths)
    tab.wait_for(ANSWERED.format(count=len(paths)))
    labels, shares = shown(tab)
    expected = expected_of(bundle, paths)
    assert labels == expected[0]
    assert shares == pytest.approx(expected[1], abs=0.051)
    assert not tab.complaints()
    assert {url.partition(":")[0] for url in tab.requests() if url != place.as_uri()} <= {"blob"}
    licences = "Promise.all([...document.querySelectorAll('#about a')].map((one) => one.href.slice(0, 5)))"
    assert tab.evaluate(licences) == ["blob:"] * 3


@pytest.mark.soak
def test_a_file_that_is_none_says_so_and_the_next_is_answered(make_bundle, page_of, photos: Path, tab) -> None:
    tab.open((page_of(make_bundle()) / "index.html").as_uri())
    broken = photos / "broken.png"
    broken.write_bytes(b"no image")
    tab.choose_files("#chosen", broken, photos / "owl" / "0.png")
    tab.wait_for(ANSWERED.format(count=2) + " || document.querySelectorAll('.answer .failed').length === 1")
    tab.wait_for("document.querySelectorAll('.answer-label').length === 1")
    assert "cannot open the file" in tab.evaluate("document.querySelector('.answer .failed').textContent")
    assert shown(tab)[0] == ["owl"]


@pytest.mark.soak
def test_names_of_strangers_are_shown_as_they_are(make_bundle, page_of, photos: Path, tab) -> None:
    tab.open((page_of(make_bundle()) / "index.html").as_uri())
    name = "<img src=x onerror=alert(1)>=1+1.png"
    (photos / "owl" / "0.png").rename(photos / name)
    tab.choose_files("#chosen", photos / name)
    tab.wait_for(ANSWERED.format(count=1))
    assert tab.evaluate("document.querySelector('.file-name').textContent") == name
    assert tab.evaluate("document.querySelectorAll('.file-name img').length") == 0
    assert tab.evaluate("cell('=1+1')") == "'=1+1"
    assert tab.evaluate("answers.table()").splitlines()[1].startswith(f"{name},owl,0.9")


@pytest.mark.soak
def test_it_is_kept_and_opens_without_its_host(make_bundle, page_of, photos: Path, tab, host) -> None:
    server = host(page_of(make_bundle()))
    address = f"http://127.0.0.1:{server.server_port}/index.html"
    tab.open(address)
    tab.wait_for("navigator.serviceWorker.ready.then((one) => one.active && one.active.state === 'activated')")
    server.shutdown()
    server.server_close()
    tab.open("about:blank", is_ready="true")
    tab.open(address)
    tab.choose_files("#chosen", photos / "dog" / "0.png")
    tab.wait_for(ANSWERED.format(count=1))
    assert shown(tab)[0] == ["dog"]


@pytest.mark.soak
def test_with_the_headers_that_it_asks_for_it_runs_in_threads(make_bundle, page_of, photos: Path, tab, host) -> None:
    bundle = make_bundle()
    server = host(page_of(bundle), Isolated)
    tab.open(f"http://127.0.0.1:{server.server_port}/index.html")
    assert tab.evaluate("crossOriginIsolated")
    assert tab.evaluate("runsOn.threads") == min(4, os.cpu_count() or 1)
    paths = [photos / "owl" / "1.png"]
    tab.choose_files("#chosen", *paths)
    tab.wait_for(ANSWERED.format(count=1))
    assert shown(tab)[0] == ["owl"]
    assert not tab.complaints()


@pytest.mark.soak
def test_a_drawing_is_answered_when_the_pen_is_lifted(make_bundle, page_of, tab) -> None:
    tab.open((page_of(make_bundle(spec=InputSpec(28, 28, "grey", background="dark"))) / "index.html").as_uri())
    tab.look(1000, 1000)
    assert not tab.evaluate("document.querySelector('#way-drawing').hidden")
    tab.evaluate("document.querySelector('#way-drawing').click()")
    box = json.loads(tab.evaluate("JSON.stringify(document.querySelector('#paper').getBoundingClientRect())"))
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 4, "button": "left", "clickCount": 1}
    tab.call("Input.dispatchMouseEvent", type="mousePressed", **at)
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", **{**at, "y": box["y"] + box["height"] * 0.75})
    tab.call("Input.dispatchMouseEvent", type="mouseReleased", **{**at, "y": box["y"] + box["height"] * 0.75})
    tab.wait_for(ANSWERED.format(count=1))
    assert tab.evaluate("document.querySelector('.file-name').textContent") == "Drawing"


@pytest.mark.soak
def test_networks_of_photographs_are_not_drawn_for(make_bundle, page_of, tab) -> None:
    tab.open((page_of(make_bundle()) / "index.html").as_uri())
    assert tab.evaluate("document.querySelector('#way-drawing').hidden")


@pytest.mark.soak
def test_the_camera_is_answered_picture_by_picture_and_all_the_time(make_bundle, page_of, tab) -> None:
    tab.open((page_of(make_bundle()) / "index.html").as_uri())
    tab.evaluate("document.querySelector('#way-camera').click()")
    tab.evaluate("document.querySelector('#camera-start').click()")
    tab.wait_for("document.querySelector('#view').videoWidth > 0 && !document.querySelector('#camera-take').hidden")
    tab.evaluate("document.querySelector('#camera-take').click()")
    tab.wait_for(ANSWERED.format(count=1))
    tab.evaluate("document.querySelector('#live').click()")
    tab.wait_for("document.querySelector('#live-answer strong') !== null")
    tab.evaluate("document.querySelector('#way-files').click()")
    assert tab.evaluate("document.querySelector('#view').srcObject === null"), "left, the camera is off"
    assert not tab.complaints()


@pytest.mark.soak
def test_all_of_it_is_there_for_the_keyboard_and_in_chinese(make_bundle, page_of, photos: Path, tab) -> None:
    tab.open((page_of(make_bundle()) / "index.html").as_uri())
    tab.evaluate("document.querySelector('#way-files').focus()")
    tab.press("ArrowRight")
    assert tab.evaluate("document.activeElement.id") == "way-camera"
    assert tab.evaluate("document.querySelector('#files').hidden")
    tab.press("Home")
    tab.evaluate("document.querySelector('#language').click()")
    assert tab.evaluate("document.documentElement.lang") == "zh-CN"
    assert tab.evaluate("document.querySelector('#way-camera').textContent") == "相机"
    tab.choose_files("#chosen", photos / "cat" / "0.png")
    tab.wait_for(ANSWERED.format(count=1))
    assert tab.evaluate("document.querySelector('#said').textContent").startswith("0.png\uff1acat\uff0c")


@pytest.mark.soak
def test_levels_that_are_chosen_change_what_is_marked(make_bundle, page_of, photos: Path, tab, tmp_path: Path) -> None:
    folder = page_of(make_bundle())
    place = folder / "bundle.js"
    told = json.loads(place.read_text().partition(" = ")[2].rstrip(";\n"))
    told["about"]["promises"] = {
        "sets": {"0.9": -40.0, "0.95": None},
        "unsure": {"0.01": 40.0, "0.05": 1.0},
        "novel": {},
    }
    place.write_text(f"const SIGHTLINE_BUNDLE = {json.dumps(told)};\n")
    tab.open((folder / "index.html").as_uri())
    tab.choose_files("#chosen", photos / "cat" / "0.png")
    tab.wait_for(ANSWERED.format(count=1))
    marks = "[...document.querySelectorAll('.mark b')].map((one) => one.textContent)"
    assert tab.evaluate(marks) == ["Unsure"], "the least error that can be kept"
    for kind, level in (("unsure", "0.05"), ("sets", "0.95")):
        tab.evaluate(
            f"const s{kind} = document.querySelector('#level-{kind}'); s{kind}.value = '{level}';"
            f"s{kind}.dispatchEvent(new Event('change'))"
        )
    tab.wait_for("document.querySelector('.set') !== null")
    assert tab.evaluate(marks) == []
    assert "one of: cat, " in tab.evaluate("document.querySelector('.set').textContent")


AXE = os.environ.get("SIGHTLINE_AXE", "")


@pytest.mark.soak
@pytest.mark.skipif(not AXE, reason="SIGHTLINE_AXE names no axe.min.js of the package axe-core")
@pytest.mark.parametrize(("language", "dark"), [("en", False), ("en", True), ("zh", False), ("zh", True)])
@pytest.mark.parametrize("way", ["files", "camera", "drawing"])
def test_axe_finds_nothing(way: str, language: str, dark: bool, shown_to_axe, tab) -> None:
    shown_to_axe(way, language, dark=dark)
    found = tab.evaluate(
        "axe.run().then((told) => told.violations.map((one) => [one.id, one.nodes.map((n) => n.html)]))"
    )
    assert found == []


@pytest.fixture
def shown_to_axe(make_bundle, page_of, photos: Path, tab) -> Any:
    """The page with answers and all of its panels open, and axe in it."""

    def show(way: str, language: str, *, dark: bool) -> None:
        spec = InputSpec(28, 28, "grey", background="dark") if way == "drawing" else None
        tab.open((page_of(make_bundle(spec=spec)) / "index.html").as_uri())
        tab.look(390, 844, dark=dark)
        if language == "zh":
            tab.evaluate("document.querySelector('#language').click()")
        tab.choose_files("#chosen", *sorted(photos.rglob("*.png"))[:3])
        tab.wait_for(ANSWERED.format(count=3))
        tab.evaluate(f"document.querySelector('#way-{way}').click()")
        tab.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        tab.evaluate(Path(AXE).read_text(encoding="utf-8") + "; undefined")

    return show


@pytest.mark.soak
def test_pictures_of_every_shape_keep_the_page_within_a_telephone(make_bundle, page_of, photos: Path, tab) -> None:
    tab.open((page_of(make_bundle()) / "index.html").as_uri())
    tab.look(390, 844)
    Image.fromarray(np.zeros((4, 900, 3), np.uint8)).save(photos / f"{'long' * 40}.png")
    tab.choose_files("#chosen", photos / f"{'long' * 40}.png")
    tab.wait_for(ANSWERED.format(count=1))
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
