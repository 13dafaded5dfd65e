"""The formats `web` and `web-file`: a page that classifies in the browser alone, compared in one from files on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.parity import LARGEST_DIFFERENCE, largest_difference
from sightline.bundles.sessions import session_of
from sightline.deployment.conversion.description import ExportedModel
from sightline.deployment.conversion.rows import ComparedRows, some_rows
from sightline.deployment.web.browser import Browser, PageError, find_browser
from sightline.deployment.web.files import file_of, known_pixels
from sightline.deployment.web.pages import read_description, write_page
from sightline.deployment.web.runtime_files import VERSION
from sightline.deployment.web.whole import write_whole
from sightline.errors import ExportRefused, UnreadableImage
from sightline.records import Bundle, InputSpec
from sightline.system.progress import reporter
from sightline.system.text import markdown, printable
from sightline.tasks.multi_label import MultiLabel

# Whole answers, from a file to what the page shows of it; all others go the same way in two steps.
_MOST_WHOLE = 16


@dataclass(frozen=True)
class WebModel(ExportedModel):
    """A page in a browser.

    Attributes:
        browser: that runs it.
    """

    browser: Browser = field(kw_only=True)


@dataclass(frozen=True)
class _Runtime:
    """A browser, as `parity.json` tells of a runtime."""

    program: Path
    __version__: str = VERSION


def find_runtime() -> _Runtime:
    """A browser; a MissingPackage where there is none."""
    return _Runtime(find_browser())


def convert(bundle: Bundle, target: Path) -> None:
    """Write the page: a file where it is to be one, else its folder."""
    if _is_file(target.name):
        write_whole(bundle, target)
    else:
        write_page(bundle, target)


def _is_file(name: str) -> bool:
    return name.endswith(".html")


def open_exported(path: Path) -> WebModel:
    """The page in a browser without a window, as a host serves it that knows nothing of threads."""
    description = read_description(path)
    browser = Browser(path)
    width = len(description["labels"]) + 1

    novelties: dict[bytes, float] = {}

    def logits(images: Any) -> NDArray[np.float32]:
        found = np.empty((len(images), width), np.float32)
        for row, image in enumerate(images):  # one by one, as the page does it
            data = np.ascontiguousarray(image).tobytes()
            found[row] = np.frombuffer(browser.ask("outputs", data)[1], np.float32)
            novelties[hashlib.sha256(data).digest()] = float(found[row, -1])
        return found[:, :-1]

    def novelty(images: Any) -> NDArray[np.float32]:
        # Told with the logits, which cost a second an image.
        keys = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]
        if not all(key in novelties for key in keys):
            logits(images)
        return np.array([novelties[key] for key in keys], np.float32)

    return WebModel(
        description,
        logits,
        novelty=novelty if description["promises"]["novel"] else None,
        close=browser.close,
        browser=browser,
    )


def check_files(
    bundle: Bundle, model: WebModel, rows: ComparedRows, *, name: str
) -> tuple[ComparedRows, dict[str, Any]]:
    """Files decoded and resized by the browser, held against ours.

    Returns:
        The rows that the browser opened, with the pixels that it made of them; and the figures.
    """
    looked_at = _Looked()
    with reporter().bar("decoding in the browser", total=len(rows.row_ids)) as bar:
        for row in range(len(rows.row_ids)):
            looked_at.take(bundle, model.browser, rows, row, name)
            bar.advance(1)
    if not looked_at.seen:
        raise ExportRefused(f"{name}: the browser opens none of {rows.words}. It was not kept. Name others: --images.")
    is_whole = len(looked_at.seen) == len(rows.row_ids)
    part = rows if is_whole else some_rows(rows, np.array(list(looked_at.seen)))
    images = np.stack(list(looked_at.seen.values()))
    told = {
        "browser": model.browser.told["browser"],
        "threads": model.browser.told["threads"],
        "largest_difference": looked_at.differences,
        "not_opened": dict(looked_at.not_opened),
        "beside_predict": _beside_predict(bundle, part.images, images),
    }
    # What a bundle keeps of its answers belongs to pixels of its own.
    part = replace(part, images=images, logits=None if any(looked_at.differences.values()) else part.logits)
    _check_whole(bundle, model.browser, part, name)
    return part, told


@dataclass
class _Looked:
    """What the browser made of files: row to pixels, and by format how many it did not open and what differs most."""

    seen: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    not_opened: Counter[str] = field(default_factory=Counter)
    differences: dict[str, int] = field(default_factory=dict)

    def take(self, bundle: Bundle, browser: Browser, rows: ComparedRows, row: int, name: str) -> None:
        """One row more; an ExportRefused where a pixel differs that should not."""
        data = file_of(rows, row)
        try:
            known = known_pixels(data, bundle.input)
        except UnreadableImage:  # as it was read before, reduced
            self.not_opened["too large"] += 1
            return
        if (found := _seen(browser, data, bundle.input)) is None:
            self.not_opened[known.format] += 1
            return
        difference = int(np.abs(found.astype(np.int16) - known.pixels).max())
        if difference > known.tolerance:
            raise ExportRefused(
                f"{name} does not see what its bundle sees: a pixel of {printable(rows.row_ids[row])} ({known.format}) "
                f"differs by {difference} of 255 in the browser; {known.tolerance} is allowed. It was not kept. "
                "Another browser, or the Pillow of constraints/main.txt, may help."
            )
        self.differences[known.format] = max(difference, self.differences.get(known.format, 0))
        self.seen[row] = found


def _seen(browser: Browser, data: bytes, spec: InputSpec) -> NDArray[np.uint8] | None:
    """What the page makes of a file; None where the browser does not open it."""
    try:
        return np.frombuffer(browser.ask("pixels", data)[1], np.uint8).reshape(spec.shape)
    except PageError:
        return None


def _beside_predict(bundle: Bundle, usual: Any, seen: NDArray[np.uint8]) -> dict[str, float]:
    """How far answers to the browser's pixels are from those of `predict`, which has a large JPEG decoded smaller."""
    session = session_of(bundle)
    logits = [session.logits(images) for images in (usual[: len(seen)], seen)]
    shares = [bundle.task.probabilities(one, temperature=bundle.temperature) for one in logits]
    agrees = np.asarray(bundle.task.decided(logits[0]) == bundle.task.decided(logits[1]))
    return {"largest_difference": largest_difference(*shares), "agreement": float(agrees.mean())}


def _check_whole(bundle: Bundle, browser: Browser, rows: ComparedRows, name: str) -> None:
    """Whole answers of the page to files, its own temperature and its own order of classes in them."""
    levels = {"sets": None, "unsure": None, "novel": None}
    expected = session_of(bundle).logits(rows.images[:_MOST_WHOLE])
    shares = bundle.task.probabilities(expected, temperature=bundle.temperature)
    for row, known in enumerate(shares):
        try:
            told: Mapping[str, Any] = browser.ask("answer", file_of(rows, row), levels=levels)[0]
        except PageError as error:
            raise ExportRefused(f"{name} does not answer {printable(rows.row_ids[row])}: {error}") from error
        difference = float(np.abs(np.asarray(told["probabilities"]) - known).max())
        is_first = known[told["order"][0]] >= known.max() - LARGEST_DIFFERENCE
        if not difference <= LARGEST_DIFFERENCE or not is_first or _says_others(bundle, told["labels"], known):
            raise ExportRefused(
                f"{name} does not answer as its bundle: from file to answer, the page differs by {difference:.2g} in a "
                f"probability of {printable(rows.row_ids[row])}, or in what it says by it; {LARGEST_DIFFERENCE:g} is "
                "allowed. It was not kept."
            )


def _says_others(bundle: Bundle, labels: list[int] | None, known: NDArray[np.float64]) -> bool:
    """Whether other labels are said than those of these probabilities, but for one that lies at its threshold."""
    if not isinstance(bundle.task, MultiLabel):
        return labels is not None
    limits = bundle.task.probabilities(bundle.task.limits(len(known)), temperature=bundle.temperature)
    said = np.isin(np.arange(len(known)), labels or [])
    return bool(((said != (known >= limits)) & (np.abs(known - limits) > LARGEST_DIFFERENCE)).any())


_README = """\
# {title} in the browser

{file} holds a page that classifies pictures, what the camera sees, or a drawing, in the browser alone.
{compared}

{opened} Pictures stay where they are: the page asks for nothing but its own files.

- **What it sees:** in a browser built on Chromium what Sightline sees, to the last bit, of JPEG, PNG, GIF, BMP and
  WebP. But `sightline predict` has a large JPEG decoded smaller, and takes the grey of a JPEG from its file: what that
  changes, `{report}` says under `beside_predict`. TIFF, HEIC and JPEG 2000 are opened where the browser can.
- **What it promises:** the thresholds of its bundle, where it has some, under "How careful it is".
- **Licences:** {licences}.
"""
_FOLDER = """\
Open `index.html` in the folder: it works from a disk, and from any host of static files. Over https it is kept after
the first visit and opens without a network, on a telephone, too. It runs in one thread; in up to four where the host
sends `Cross-Origin-Opener-Policy: same-origin` and `Cross-Origin-Embedder-Policy: require-corp`.\
"""
_FILE = "Open it: it needs no other file and no network, and can be sent to somebody."


def own_readme(bundle: Bundle, compared: str, *, file: str, report: str) -> str:
    """What stands beside the page."""
    source = bundle.metrics.get("source", {}).get("name") or "A bundle"
    is_file = _is_file(file)
    return _README.format(
        title=markdown(str(source)),
        file=f"The file {markdown(file)}" if is_file else f"The folder {markdown(file)}",
        compared=compared,
        opened=_FILE if is_file else _FOLDER,
        report=markdown(report),
        licences='in the page, under "About this classifier"' if is_file else "in the folder `licences`",
    )
