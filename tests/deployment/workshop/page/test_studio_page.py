"""The page of the studio in a real browser, as somebody goes through it who has no terminal.

It takes `apt-get install chromium` and `pip install playwright`, and for axe `npm install axe-core`; all are skipped
where they are not there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.deployment.conversion.formats import FORMATS
from sightline.quality.findings import KINDS

AXE = Path(__file__).resolve().parents[4] / "node_modules" / "axe-core" / "axe.min.js"
WORDS = Path(__file__).resolve().parents[4] / "src" / "sightline" / "deployment" / "workshop" / "page" / "words"
STEPS = ("pictures", "audit", "train", "runs", "run", "try", "sort", "export")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser and is not installed")
    program = os.environ.get("SIGHTLINE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium is on the path; install one, or name it in SIGHTLINE_CHROMIUM")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, studio: Any) -> Iterator[Callable[..., Any]]:
    """Opens a step as a person would, and fails where the page broke a rule of its own or asked anything outside."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def opened(step: str = "", *, language: str = "en-GB", width: int = 1280, **options: Any) -> Any:
        permissions = ["clipboard-read", "clipboard-write"]
        size = {"width": width, "height": 900}
        context = chromium.new_context(locale=language, viewport=size, permissions=permissions, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda problem: wrong.append(str(problem)))
        page.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
        own = (studio.address.partition("?")[0], "blob:", "data:")
        page.on("request", lambda sent: None if sent.url.startswith(own) else wrong.append(sent.url))
        page.goto(studio.address + step)
        page.wait_for_selector("h1")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def finished(tiny_run: Any, tmp_path: Path) -> str:
    """A run of digits where the studio looks for it."""
    shutil.copytree(tiny_run.path, tmp_path / "runs" / "first")
    return "runs/first"


def test_somebody_chooses_a_folder_looks_and_checks_it(open_page: Any, photos: Path) -> None:
    shutil.copy(photos / "cat" / "0.png", photos / "dog" / "copy.png")
    page = open_page()
    assert page.locator("h1").inner_text() == "Where are your pictures?"
    page.click("text=photos")
    page.click("text=Use this folder")
    page.wait_for_selector(".class-list img")
    assert page.locator("h1").inner_text() == "photos"
    assert page.locator(".lead").inner_text() == "13 pictures in 3 classes."
    assert page.locator(".class-head h2").all_inner_texts() == ["cat", "dog", "owl"]
    page.click("text=Check them")
    page.click("text=Check the pictures")
    page.wait_for_selector(".finding.error img")
    assert "1 error" in page.locator(".findings h2").inner_text()
    # What was found is there again after a reload, and so is the command.
    page.reload()
    page.wait_for_selector(".finding.error img")
    page.locator(".job .command button").click()
    assert page.evaluate("navigator.clipboard.readText()") == "sightline audit photos"


def test_the_token_stands_in_the_address_and_nowhere_else(open_page: Any) -> None:
    page = open_page()
    kept = page.evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])")
    assert "token" not in kept
    assert page.context.cookies() == []


def test_a_training_is_shown_as_it_would_be_typed_and_seen_as_a_run(
    open_page: Any, finished: str, photos: Path
) -> None:
    page = open_page("#train?source=photos")
    line = page.locator(".command code")
    start = "sightline train photos --recipe"
    page.wait_for_selector(".command code:has-text('transfer')")
    assert line.inner_text() == f"{start} transfer --out runs/photos-transfer-001"
    page.check("input[value=photos]")
    page.fill("input[type=number]", "2")
    page.wait_for_selector(".command code:has-text('120')")
    assert line.inner_text() == f"{start} photos --time-budget 120 --out runs/photos-photos-001"
    page.goto(page.url.partition("#")[0] + "#runs")
    page.click("text=first")
    page.wait_for_selector(".curves svg path.validation")
    assert re.match(r"Finished\. Right on [\d.]+", page.locator(".lead").inner_text())
    label = page.locator(".curves svg").first.get_attribute("aria-label")
    assert re.fullmatch(r"Loss: train [\d.]+, validation [\d.]+", label)


def test_a_picture_that_is_tried_is_answered(open_page: Any, finished: str, tmp_path: Path) -> None:
    digit = tmp_path / "digit.png"
    Image.fromarray(np.eye(28, dtype=np.uint8) * 255).save(digit)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page = open_page(f"#try?run={finished}")
    page.set_input_files("input[type=file]", [digit, tmp_path / "broken.png"])
    page.wait_for_selector(".answers .label:not(.is-none)")
    assert page.locator(".answers .label:not(.is-none)").inner_text() in set("0123456789")
    assert len(page.locator(".answers .bars li").all()) == 3
    assert page.locator(".answers .label.is-none").inner_text() == "Cannot be read"


def test_a_plan_comes_before_what_it_plans(open_page: Any, finished: str, photos: Path, tmp_path: Path) -> None:
    page = open_page(f"#sort?run={finished}&folder=photos&into=sorted")
    page.click("text=Make a plan")
    page.wait_for_selector("text=12 files would be sorted")
    assert not (tmp_path / "sorted").exists()
    page.click("text=Sort 12 files")
    page.wait_for_selector("text=12 files are sorted")
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == 12
    page.click("text=Take it back")
    page.wait_for_selector("text=12 files were taken back")
    assert not list((tmp_path / "sorted").rglob("*.png"))


def test_a_studio_that_is_gone_is_told(open_page: Any, photos: Path) -> None:
    page = open_page("#pictures?source=photos")
    page.route("**/api/**", lambda route: route.abort())
    page.click("text=Check")
    page.wait_for_selector("#lost:not([hidden])")
    assert "The studio does not answer" in page.locator("#lost").inner_text()


@pytest.mark.parametrize(("scheme", "language", "width"), [("light", "en-GB", 1440), ("dark", "zh-CN", 390)])
def test_axe_finds_nothing_that_keeps_anybody_out(
    open_page: Any, finished: str, photos: Path, scheme: str, language: str, width: int
) -> None:
    if not AXE.is_file():
        pytest.skip("npm install axe-core")
    (photos / "owl" / "broken.png").write_bytes(b"no picture")
    page = open_page(language=language, width=width, color_scheme=scheme)
    found = []
    for step in STEPS:
        page.goto(f"{page.url.partition('#')[0]}#{step}?source=photos&run={finished}")
        page.reload()
        page.wait_for_selector("h1")
        if step == "audit":
            page.click("form button.main")
            page.wait_for_selector(".finding.error .picture.is-plain")
        page.wait_for_load_state("networkidle")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        told = page.evaluate("axe.run(document)")
        found += [f"{step}: {one['id']}: {node['html'][:200]}" for one in told["violations"] for node in one["nodes"]]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), step
    assert found == []


def test_both_languages_have_the_same_words_and_all_that_the_page_asks_for() -> None:
    english, chinese = (json.loads((WORDS / f"{name}.json").read_text(encoding="utf-8")) for name in ("en", "zh"))
    # In English, what the library says itself is told as it is; a format may come before its words do.
    of_audit = {f"{what}.{kind}" for what in ("kind", "advice") for kind in KINDS}
    formats = {key for key in chinese if key.startswith("format.")}
    assert set(chinese) - formats == set(english) | of_audit
    assert formats <= {f"format.{name}" for name in FORMATS}
    text = "".join(path.read_text(encoding="utf-8") for path in WORDS.parent.rglob("*.*s") if path.suffix == ".js")
    asked = set(re.findall(r"say\(\"([\w.-]+)\"", text))
    assert asked <= set(english)
