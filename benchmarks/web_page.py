"""The page of a bundle in a browser beside `predict` on the same files: pixels, probabilities, time an image.

Usage: python benchmarks/web_page.py BUNDLE IMAGES [--count 60] [--rounds 3]

Every file is answered from its bytes on, one after the other, by the page in one thread of a browser without a window
and by `predict` with as many threads as it takes; the first is not counted, rounds take turns, a round is the median of
its images. Beside the page's own pixels stand those that a canvas scales to the network's size, as pages usually do
it, at each quality that a browser offers. All are answered by the bundle's own network, and held against what it says
of the whole picture as Pillow decodes it. Files that either of both cannot open are left out, and told.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sightline
from sightline.bundles.bundle import load_bundle
from sightline.bundles.given_images import find_images
from sightline.bundles.parity import largest_difference
from sightline.bundles.sessions import session_of
from sightline.deployment.web.browser import Browser, PageError
from sightline.deployment.web.files import known_pixels
from sightline.deployment.web.pages import write_page
from sightline.errors import UnreadableImage
from sightline.records import Bundle

LEVELS = {"sets": None, "unsure": None, "novel": None}
QUALITIES = ("low", "medium", "high")
# Another duty for the worker of the page: its network would be fed by a canvas.
CANVAS = """
DUTIES.pixels = async ({ picture, quality }) => {
  if (!quality) return onePixels({ picture });
  const { height, width, channels, resize, background } = description.input;
  const bitmap = await createImageBitmap(picture, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const grey = PADDING[background];
  context.fillStyle = `rgb(${grey}, ${grey}, ${grey})`;
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = quality;
  const sides = [width / bitmap.width, height / bitmap.height];
  const scale = resize === "fill" ? Math.max(...sides) : Math.min(...sides);
  const [across, down] = resize === "stretch" ? [width, height] : [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (width - across) / 2, (height - down) / 2, across, down);
  return inColors(context.getImageData(0, 0, width, height).data, channels, false);
};
"""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    found = find_images([arguments.images])
    chosen = np.linspace(0, len(found) - 1, min(arguments.count, len(found))).astype(np.int64)
    paths = [Path(found[row]) for row in chosen.tolist()]
    with tempfile.TemporaryDirectory() as folder:
        write_page(bundle, Path(folder))
        engine = Path(folder) / "engine.js"
        text = json.loads(engine.read_text(encoding="utf-8").partition(" = ")[2].rstrip(";\n"))
        engine.write_text(f"const SIGHTLINE_ENGINE = {json.dumps(text + CANVAS)};\n", encoding="utf-8")
        started = time.perf_counter()
        with Browser(Path(folder)) as browser:
            print(f"{browser.told['browser']}, {browser.told['threads']} thread")
            print(f"started, with its network, in {time.perf_counter() - started:.1f} s")
            files = opened_by_both(bundle, browser, paths)
            print(f"{len(files)} images\n")
            compare_pixels(bundle, browser, files)
            compare_times(bundle, browser, files, rounds=arguments.rounds)


def opened_by_both(bundle: Bundle, browser: Browser, paths: list[Path]) -> list[bytes]:
    """The bytes of files that Pillow and the browser open."""
    files = []
    for path in paths:
        data = path.read_bytes()
        try:
            known_pixels(data, bundle.input)
            browser.ask("pixels", data)
        except (UnreadableImage, PageError) as error:
            print(f"left out: {path.name}: {str(error)[:90]}")
            continue
        files.append(data)
    return files


def compare_pixels(bundle: Bundle, browser: Browser, files: list[bytes]) -> None:
    """How far from ours pixels are, and probabilities of the bundle's network that is fed them."""
    known = np.stack([known_pixels(data, bundle.input).pixels for data in files])
    expected = probabilities(bundle, known)
    print("| pixels by | levels, at most | mean | probability, at most | labels equal |\n|---|---|---|---|---|")
    for name, values in [("the page", {}), *((f"a canvas, {one}", {"quality": one}) for one in QUALITIES)]:
        seen = np.stack([pixels(browser, data, bundle, values) for data in files])
        difference = np.abs(seen.astype(np.int16) - known)
        shares = probabilities(bundle, seen)
        agreement = float((shares.argmax(axis=1) == expected.argmax(axis=1)).mean())
        print(
            f"| {name} | {difference.max()} | {difference.mean():.2f} | {largest_difference(expected, shares):.2g} "
            f"| {agreement:.4f} |"
        )


def pixels(browser: Browser, data: bytes, bundle: Bundle, values: dict[str, str]) -> NDArray[np.uint8]:
    """What the network would be fed of a file."""
    return np.frombuffer(browser.ask("pixels", data, **values)[1], np.uint8).reshape(bundle.input.shape)


def probabilities(bundle: Bundle, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """By the bundle's own network."""
    return bundle.task.probabilities(session_of(bundle).logits(images), temperature=bundle.temperature)


def compare_times(bundle: Bundle, browser: Browser, files: list[bytes], *, rounds: int) -> None:
    """Milliseconds from the bytes of a file to its answer."""
    taken: dict[str, list[float]] = {"the page: decode, resize": [], "the page: network": [], "predict, all of it": []}
    for _ in range(rounds):
        told: list[Any] = [browser.ask("answer", data, levels=LEVELS)[0] for data in files][1:]
        taken["the page: decode, resize"].append(float(np.median([one["preparing"] for one in told])))
        taken["the page: network"].append(float(np.median([one["answering"] for one in told])))
        taken["predict, all of it"].append(float(np.median([predicted_in(bundle, data) for data in files][1:])))
    print("\n| milliseconds an image | median of rounds | least to most |\n|---|---|---|")
    for name, values in taken.items():
        print(f"| {name} | {np.median(values):.1f} | {min(values):.1f} to {max(values):.1f} |")


def predicted_in(bundle: Bundle, data: bytes) -> float:
    """How long `predict` takes for one file."""
    started = time.perf_counter()
    sightline.predict(bundle, data, progress=False)
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
