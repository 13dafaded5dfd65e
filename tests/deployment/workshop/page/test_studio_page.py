"""The page of the studio in a real browser, as somebody goes through it who has no terminal.

It takes `apt-get install chromium` and `pip install playwright`, and for axe `npm install axe-core`; all are skipped
where they are not there.
"""

from __future__ import annotations

import base64
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
STEPS = ("pictures", "audit", "train", "runs", "run", "try", "sort", "export", "set", "label", "correct")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser and is not installed")
    program = os.environ.get("SIGHTLINE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium is on the path; install one, or name it in SIGHTLINE_CHROMIUM")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", *CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, studio: Any) -> Iterator[Callable[..., Any]]:
    """Opens a step as a person would, and fails where the page broke a rule of its own or asked anything outside."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def opened(step: str = "", *, language: str = "en-GB", width: int = 1280, **options: Any) -> Any:
        permissions = ["clipboard-read", "clipboard-write", "camera"]
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


@pytest.fixture
def classes(open_page: Any) -> tuple[Any, Any, Any]:
    """A page with a new set of two classes."""
    page = open_page()
    page.fill("form input[type=text]", "my birds")
    page.click("text=Begin")
    page.wait_for_selector("#new-class")
    assert page.locator("h1").inner_text() == "my birds"
    for name in ("jay", "wren"):
        page.fill("#new-class", name)
        page.keyboard.press("Enter")
        page.wait_for_selector(f"section[aria-label={name}]")
    return page, page.locator("section[aria-label=jay]"), page.locator("section[aria-label=wren]")


def test_a_set_is_made_of_files(classes: Any, photos: Path, tmp_path: Path) -> None:
    page, jay, _ = classes
    (tmp_path / "<b>notes.png").write_bytes(b"no picture")
    sent = [*sorted((photos / "cat").iterdir()), tmp_path / "<b>notes.png"]
    jay.locator("input[type=file]").set_input_files(sent)
    jay.locator(".refused li").wait_for()
    assert jay.locator(".refused li").inner_text().startswith("<b>notes.png: ")
    page.wait_for_selector("section[aria-label=jay] .share:has-text('4 pictures')")
    written = sorted((tmp_path / "my birds" / "jay").iterdir())
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in sent[:4]]
    # One is removed, and taken back; a class gets another name.
    jay.locator(".remove").first.click()
    page.click("text=Take it back")
    page.wait_for_selector("section[aria-label=jay] .share:has-text('4 pictures')")
    jay.get_by_role("button", name="Rename jay").click()
    page.fill(".rename input", "blue jay")
    page.keyboard.press("Enter")
    page.wait_for_selector("section[aria-label='blue jay'] .pictures li:nth-child(4)")
    assert len(list((tmp_path / "my birds" / "blue jay").iterdir())) == 4


DROP = """([selector, name, content]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))], name));
  const told = { dataTransfer: data, bubbles: true, cancelable: true };
  document.querySelector(selector).dispatchEvent(new DragEvent("drop", told));
}"""


def test_what_is_dropped_on_a_class_goes_there_and_beside_it_into_none(
    classes: Any, photos: Path, tmp_path: Path
) -> None:
    page, _, _ = classes
    content = (photos / "cat" / "0.png").read_bytes()
    for selector in ("section[aria-label=wren] h2", "h1"):
        page.evaluate(DROP, [selector, "../a<b>.png", base64.b64encode(content).decode()])
    page.wait_for_selector("section[aria-label=wren] .pictures img")
    page.wait_for_selector(".is-loose .pictures img")
    place = tmp_path / "my birds"
    assert (place / "wren" / "a-b-.png").read_bytes() == (place / "a-b-.png").read_bytes() == content
    # What was begun is finished though another step is looked at.
    page.evaluate(DROP, ["section[aria-label=wren]", "late.png", base64.b64encode(content).decode()])
    page.goto(page.url.partition("#")[0] + "#runs")
    page.wait_for_selector("text=There is no run yet")
    page.goto(page.url.partition("#")[0] + "#set?source=my birds")
    page.wait_for_selector("section[aria-label=wren] .share:has-text('2 pictures')")


def test_a_set_is_made_of_what_the_camera_sees_while_a_button_is_held(classes: Any, tmp_path: Path) -> None:
    page, _, wren = classes
    wren.locator(".open-camera").click()
    page.wait_for_selector("video")
    page.wait_for_timeout(1000)
    wren.locator(".hold").focus()
    page.keyboard.down(" ")
    page.wait_for_selector("section[aria-label=wren] .pictures li:nth-child(3)")
    page.keyboard.up(" ")
    # One may still be written.
    names = [path.name for path in (tmp_path / "my birds" / "wren").iterdir() if not path.name.startswith(".")]
    assert len(names) >= 3
    assert all(re.fullmatch(r"series-\d{8}-\d{6}-\d{4}\.jpg", name) for name in names)
    wren.locator("text=Turn the camera off").click()
    assert page.locator("video").count() == 0


def test_loose_pictures_are_labelled_by_keys_and_taken_back(open_page: Any, photos: Path) -> None:
    for number, name in enumerate(("cat", "dog", "owl")):
        shutil.move(photos / name / "0.png", photos / f"{number}.png")
    page = open_page("#label?source=photos")
    page.wait_for_selector(".stage .picture img")
    assert page.locator(".stage-name").inner_text() == "0.png"
    # A picture that is higher than wide is seen whole.
    frame, image = (page.locator(f".stage .picture{part}").bounding_box() for part in ("", " img"))
    assert (image["height"], image["y"]) == (frame["height"], frame["y"])
    page.keyboard.press("1")
    page.wait_for_selector(".stage-name:has-text('1.png')")
    page.keyboard.press("s")
    page.wait_for_selector(".stage-name:has-text('2.png')")
    page.keyboard.press("3")
    page.wait_for_selector(".stage-name:has-text('1.png')")
    assert ((photos / "cat" / "0.png").exists(), (photos / "owl" / "0.png").exists()) == (True, False)
    assert (photos / "owl" / "2.png").exists()
    page.keyboard.press("z")
    page.wait_for_selector(".stage-name:has-text('2.png')")
    assert (photos / "2.png").exists()
    page.fill(".other-class input", "bird")
    page.keyboard.press("Enter")
    page.wait_for_selector(".stage-name:has-text('1.png')")
    page.locator(".choice-of-class", has_text="dog").click()
    page.wait_for_selector("text=Every picture has a class")
    assert sorted(path.name for path in photos.iterdir() if not path.name.startswith(".")) == [
        *("bird", "cat", "dog", "owl"),
    ]


def test_a_run_says_which_loose_picture_is_asked_about_first(open_page: Any, finished: str, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    for number in range(3):
        digit = np.zeros((28, 28), np.uint8)
        digit[4:24, 10 : 12 + 4 * number] = 255
        Image.fromarray(digit).save(tmp_path / "digits" / f"{number}.png")
    page = open_page(f"#label?source=digits&run={finished}")
    page.click("summary")
    page.click("text=Ask the run")
    page.wait_for_selector(".suggestion")
    # Classes that are digits are their own keys.
    assert page.locator(".choice-of-class kbd").all_inner_texts() == list("0123456789")
    assert "the most doubtful first" in page.locator(".progress-words").inner_text()
    assert page.locator(".choice-of-class.is-suggested").inner_text().split()[-1] in set("0123456789")


@pytest.fixture
def mislabelled(many_photos: Any, tmp_path: Path) -> Path:
    """Thirty pictures of each of three classes, the first two of which lie in a wrong one."""
    images, labels = many_photos
    for number, (image, label) in enumerate(zip(images[:90], labels[:90], strict=True)):
        folder = tmp_path / "many" / ("cat", "dog", "owl")[label if number > 1 else (label + 1) % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((32, 32)).save(folder / f"{number:03d}.png")
    return tmp_path / "many"


def test_doubtful_labels_of_a_table_are_corrected_beside_it(open_page: Any, mislabelled: Path) -> None:
    files = sorted(path.relative_to(mislabelled).as_posix() for path in mislabelled.rglob("*.png"))
    lines = [f"{file},{file.partition('/')[0]}" for file in files]
    (mislabelled / "all.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    page = open_page("#correct?source=many/all.csv")
    page.click("text=Judge the labels")
    page.wait_for_selector(".doubt img", timeout=60_000)
    file = page.locator(".doubt").first.get_attribute("data-file")
    page.locator(".doubt").first.locator("button", has_text="It is").click()
    page.wait_for_selector(".doubt[data-done]")
    assert file in (mislabelled / "all.csv-labels.csv").read_text()
    assert (mislabelled / file).exists()
    page.wait_for_selector(".command code:has-text('--labels many/all.csv-labels.csv')")
    page.click("a:has-text('Train on them')")
    page.wait_for_selector("text=Go by 1 label that was corrected")


def test_doubtful_labels_are_looked_at_one_by_one(open_page: Any, mislabelled: Path) -> None:
    page = open_page("#correct?source=many")
    page.click("text=Judge the labels")
    page.wait_for_selector(".doubt img", timeout=60_000)
    first = page.locator(".doubt").first
    file = first.get_attribute("data-file")
    assert file in ("dog/000.png", "owl/001.png")
    first.locator("button", has_text="It is").click()
    page.wait_for_selector(".doubt[data-done]")
    assert not (mislabelled / file).exists()
    # What comes next has the keyboard already.
    assert page.evaluate("document.activeElement.closest('.doubt').dataset.file") != file
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".doubt[data-done]:nth-child(2)")
    page.click("text=Take it back")
    page.wait_for_selector(".doubt:nth-child(2) button")
    page.click("text=Take it back")
    page.wait_for_selector(".doubt:nth-child(1) button")
    assert (mislabelled / file).exists()


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
    asked = set(re.findall(r"say\((?:\w[\w. =>]+ \? )?\"([\w.-]+)\"", text))
    assert asked <= set(english)
