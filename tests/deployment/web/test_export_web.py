"""The gate of the format `web`: real files through a real browser, and faults that are planted into the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.deployment.web import browser, pages
from sightline.errors import ExportRefused, MissingPackage
from sightline.records import InputSpec


@pytest.fixture
def compared(runs_on: Path, browser_program: Path) -> None:
    """Where an export can be made and compared."""


@pytest.fixture
def mixed(photos: Path) -> Path:
    """JPEGs that lie on their side, and what a browser cannot open, among the PNGs."""
    draw = np.random.default_rng(1)
    for name, color in (("cat", (200, 60, 20)), ("owl", (10, 40, 190))):
        pixels = np.clip(np.array(color) + draw.integers(-30, 31, (60, 90, 3)), 0, 255).astype(np.uint8)
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(pixels).save(photos / name / "turned.jpg", exif=exif)
    Image.fromarray(pixels).save(photos / "owl" / "scan.tif")
    return photos


@pytest.mark.slow
def test_files_are_answered_in_a_browser_as_here(make_bundle, mixed: Path, compared: None, tmp_path: Path) -> None:
    exported = sightline.export(make_bundle(), "web", images=mixed, out=tmp_path / "out")
    assert exported.path == tmp_path / "out" / "page"
    assert (exported.path / "index.html").is_file()
    told = json.loads(exported.report.read_text(encoding="utf-8"))
    assert told["num_images"] == 14
    assert (told["agreement"], told["accuracy"]["export"]) == (1, 1)
    assert told["largest_difference"] < 1e-5
    assert told["versions"]["onnxruntime-web"] == "1.30.0"
    seen = told["pixels"]
    assert seen["largest_difference"] == {"PNG": 0, "JPEG": 0}
    assert seen["not_opened"] == {"TIFF": 1}
    assert seen["beside_predict"]["agreement"] == 1
    assert "Chrome" in seen["browser"]
    assert "no probability differed by more than" in exported.readme.read_text(encoding="utf-8")


@pytest.mark.soak
def test_without_files_the_images_of_the_bundle_are_looked_at(make_bundle, compared: None, tmp_path: Path) -> None:
    grey = make_bundle(spec=InputSpec(28, 28, "grey", background="dark"))
    told = sightline.export(grey, "web", out=tmp_path / "out").figures
    assert told["compared_on"]["kind"] == "parity"
    assert told["pixels"]["largest_difference"] == {"PNG": 0}
    assert told["largest_difference"] < 1e-5
    again = sightline.export(grey, "web", out=tmp_path / "out")
    assert again.path.is_dir(), "what we wrote may be replaced"


@pytest.mark.soak
def test_what_is_read_only_reduced_is_left_out_and_told(
    make_bundle, photos: Path, compared: None, tmp_path: Path
) -> None:
    Image.new("RGB", (12_000, 9_100), (200, 60, 20)).save(photos / "cat" / "wall.jpg")
    seen = sightline.export(make_bundle(), "web", images=photos, out=tmp_path / "out").figures["pixels"]
    assert seen["not_opened"] == {"too large": 1}
    assert seen["largest_difference"] == {"PNG": 0}


@pytest.mark.soak
def test_one_file_passes_the_same_gate(make_bundle, mixed: Path, compared: None, tmp_path: Path) -> None:
    exported = sightline.export(make_bundle(), "web-file", images=mixed, out=tmp_path / "for-you.html")
    assert exported.path == tmp_path / "for-you.html"
    assert exported.figures["pixels"]["largest_difference"] == {"PNG": 0, "JPEG": 0}
    assert exported.figures["largest_difference"] < 1e-5
    text = exported.readme.read_text(encoding="utf-8")
    assert "The file for-you.html holds a page" in text
    assert "it needs no other file" in text


FAULTS = {
    "red and blue swapped": ("found[to++] = red ^ turned;\n", "found[to++] = blue ^ turned;\n", "a pixel of"),
    "another filter": ("FILTERS[spec.interpolation]", "FILTERS.bicubic", "a pixel of"),
    "padding of another grey": ("mixed: 128", "mixed: 127", "a pixel of"),
    "half a pixel beside": ("(index + 0.5) * step", "index * step", "a pixel of"),
    "never turned": ("return value >= 1 && value <= 8 ? value : 1;", "return 1;", "a pixel of"),
    "no temperature": ("(logit - largest) / temperature", "logit - largest", "from file to answer"),
    "answers of the last picture": ("session.run({ images: ", "session.run({ images: kept ||= ", "differs by"),
    "no number": (
        "Array.from(found.logits.data)",
        "Array.from(found.logits.data, () => NaN)",
        r"does not answer .* \(no-number\)",
    ),
}


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_that_sees_or_answers_otherwise_is_refused(
    fault: str, make_bundle, mixed: Path, compared: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, words = FAULTS[fault]
    sound = pages.engine()
    assert old in sound
    monkeypatch.setattr(pages, "engine", lambda: f"let kept;\n{sound.replace(old, new)}")
    with pytest.raises(ExportRefused, match=words):
        sightline.export(make_bundle(), "web", images=mixed, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.soak
def test_a_page_of_another_network_is_refused(
    make_bundle, mixed: Path, compared: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = pages.describe
    monkeypatch.setattr(pages, "describe", lambda bundle: told(bundle) | {"labels": ["dog", "cat", "owl"]})
    with pytest.raises(ExportRefused, match="says something else than its bundle of: labels"):
        sightline.export(make_bundle(), "web", images=mixed, out=tmp_path / "out")


@pytest.mark.soak
def test_a_page_that_does_not_start_says_why(
    make_bundle, mixed: Path, compared: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "engine", lambda: "throw new Error('nothing here');")
    with pytest.raises(ExportRefused, match=r"the page does not start: .*nothing here"):
        sightline.export(make_bundle(), "web", images=mixed, out=tmp_path / "out")


def test_without_a_browser_it_is_refused_with_what_to_do(
    make_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser, "_USUAL_PLACES", ())
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    with pytest.raises(MissingPackage, match=r"none was found\. Install chromium or Chrome, or name its program"):
        sightline.export(make_bundle(), "web", out=tmp_path / "out")
    monkeypatch.setenv(browser.VARIABLE, "/nowhere/chrome")
    with pytest.raises(MissingPackage, match="SIGHTLINE_BROWSER names /nowhere/chrome, which is none"):
        sightline.export(make_bundle("other"), "web", out=tmp_path / "out")


def test_unchecked_it_is_kept_under_a_name_that_says_so(
    make_bundle, runs_on: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(browser.VARIABLE, browser.NONE)
    exported = sightline.export(make_bundle(), "web", out=tmp_path / "out", unchecked=True)
    assert exported.path.name == "page.unchecked"
    assert "It was not compared with its bundle" in exported.readme.read_text(encoding="utf-8")


def test_a_browser_that_ends_by_itself_is_told_with_its_last_words(
    make_bundle, runs_on: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\necho 'cannot open display' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv(browser.VARIABLE, str(program))
    with pytest.raises(ExportRefused, match=r"browser ended by itself \(cannot open display\)\. Name another browser"):
        sightline.export(make_bundle(), "web", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_whoever_does_not_know_the_token_is_given_nothing(tmp_path: Path) -> None:
    import http.client
    import threading

    from sightline.deployment.web.duties import DutyServer

    (tmp_path / "index.html").write_text("a page")
    with DutyServer(tmp_path) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        server.duties.put(("{}", b"a picture"))
        expected = {f"/{server.token}/page/index.html": 200, f"/{server.token}/page/../../etc/passwd": 404}
        for path in (
            "/",
            "/next",
            "/x/next",
            "/x/page/index.html",
            f"/{server.token[:-1]}/next",
            f"/{server.token}/done",
        ):
            expected[path] = 404
        for path, status in expected.items():
            link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            link.request("GET", path)
            assert link.getresponse().status == status, path
            link.close()
        link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        link.request("POST", "/x/done", b"{}\n")
        assert link.getresponse().status == 404
        link.close()
        assert server.answers.empty()
        assert not server.duties.empty()
        server.shutdown()


@pytest.mark.soak
def test_arrays_are_looked_at_as_files_that_lose_nothing(
    make_bundle, compared: None, many_photos, tmp_path: Path
) -> None:
    images, labels = many_photos
    dataset = sightline.load({"x_train": images, "y_train": labels}, class_names=("cat", "dog", "owl"))
    told = sightline.export(make_bundle(), "web", images=dataset, out=tmp_path / "out").figures
    assert told["num_images"] == 200, "a browser is slow: no more are looked at"
    assert told["pixels"]["largest_difference"] == {"PNG": 0}
