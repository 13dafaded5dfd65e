"""Measure how many planted copies are found, how many found pairs are real, and how long it takes.

Each photograph of a folder is copied once by every change and strength. The threshold is chosen on one half of the
photographs and everything is reported on the other half:

  recall     share of planted copies that are found, by change, with its 95 % Wilson interval
  precision  share of found pairs that are planted ones, where every photograph has the one copy of that change beside
             it. A natural pair counts as false, though some are real: near twins that lie in the folder already are
             listed by name, so that they can be looked at.
  time       seconds for N signatures: CIFAR-10 if --cifar names its npz; --crops for random crops of photographs, of
             which many look alike; else smooth random pictures. Beside it, all products of all pairs, and whether both
             find the same; --alone leaves that out.

Usage: python benchmarks/near_duplicates.py [--folder DIR] [--cifar FILE] [--images N] [--most 2000] [--crops] [--alone]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.duplicates import candidates as bounded, search
from sightline.data.duplicates.alignment import CROPPED, UPRIGHT, Array, descriptors
from sightline.data.duplicates.candidates import WORTH_A_LOOK
from sightline.data.duplicates.fingerprints import Signatures, empty_signatures, fine_structure
from sightline.data.duplicates.search import NEAR, Copies, find_copies, near_duplicates
from sightline.errors import UnreadableImage
from sightline.metrics.intervals import wilson_interval

SIGN_DIGITS = Path(__file__).parents[2] / "shared" / "data" / "sign_digits"
THRESHOLDS = np.round(np.arange(0.02, 0.1001, 0.005), 3)
Make = Callable[[Image.Image, np.random.Generator], Image.Image]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image after a JPEG of that quality."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def cropped(image: Image.Image, generator: np.random.Generator, most: float) -> Image.Image:
    """Cut off at random up to `most` of each side, and just that of one of them."""
    width, height = image.size
    left, top, right, bottom = margins = generator.uniform(0, most, 4)
    margins[generator.integers(4)] = most
    left, top, right, bottom = margins
    return image.crop(
        (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    )


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """Resized in proportion."""
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS)


def turned(degrees: int) -> Make:
    """Quarter turns, saved again."""
    return lambda image, _: jpeg(image.rotate(degrees, expand=True), 85)


CHANGES: dict[str, Make] = {
    "resized to 1/2": lambda image, _: scaled(image, 0.5),
    "resized to 3/4": lambda image, _: scaled(image, 0.75),
    "resized to 3/2": lambda image, _: scaled(image, 1.5),
    "squeezed to 3/4 height": lambda image, _: image.resize((image.width, max(1, round(image.height * 0.75)))),
    "recompressed, quality 90": lambda image, _: jpeg(image, 90),
    "recompressed, quality 60": lambda image, _: jpeg(image, 60),
    "recompressed, quality 30": lambda image, _: jpeg(image, 30),
    "brightness x 0.7": lambda image, _: ImageEnhance.Brightness(image).enhance(0.7),
    "brightness x 1.15": lambda image, _: ImageEnhance.Brightness(image).enhance(1.15),
    "brightness x 1.3": lambda image, _: ImageEnhance.Brightness(image).enhance(1.3),
    "contrast x 0.7": lambda image, _: ImageEnhance.Contrast(image).enhance(0.7),
    "contrast x 1.4": lambda image, _: ImageEnhance.Contrast(image).enhance(1.4),
    "mirrored": lambda image, _: jpeg(ImageOps.mirror(image), 85),
    "upside down": lambda image, _: jpeg(ImageOps.flip(image), 85),
    "turned by 90": turned(90),
    "turned by 180": turned(180),
    "turned by 270": turned(270),
    "cropped up to 2 %": lambda image, generator: jpeg(cropped(image, generator, 0.02), 90),
    "cropped up to 5 %": lambda image, generator: jpeg(cropped(image, generator, 0.05), 90),
    "cropped up to 10 %": lambda image, generator: jpeg(cropped(image, generator, 0.10), 90),
    "mirrored, cropped up to 5 %": lambda image, generator: jpeg(ImageOps.mirror(cropped(image, generator, 0.05)), 80),
    "cropped up to 5 %, x 3/4, brighter, quality 70": lambda image, generator: jpeg(
        scaled(ImageEnhance.Brightness(cropped(image, generator, 0.05)).enhance(1.15), 0.75), 70
    ),
}


def photographs(folder: Path, most: int) -> tuple[list[str], list[Image.Image]]:
    """Readable images of a folder, reduced to at most 600 pixels a side, and their names."""
    names, images = [], []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[:most]:
        try:
            image = Image.fromarray(decode_image(path, color_mode="rgb", minimum_size=(256, 256)))
        except UnreadableImage:
            continue
        image.thumbnail((600, 600))
        names.append(path.relative_to(folder).as_posix())
        images.append(image)
    return names, images


def signatures_of(images: list[Image.Image]) -> Signatures:
    """One signature an image, taken by threads."""
    table = empty_signatures(len(images))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda row: table.put(row, np.asarray(images[row])), range(len(images))))
    return table


def stacked(first: Signatures, second: Signatures) -> Signatures:
    """Two tables, one below the other."""
    arrays = (
        np.concatenate(pair) for pair in zip(first.to_arrays().values(), second.to_arrays().values(), strict=True)
    )
    return Signatures(*arrays)


def measure(
    originals: Signatures, copies: dict[str, Signatures]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For each change, distances of the planted copies (nan: not found) and of all other pairs that are found."""
    largest = float(THRESHOLDS[-1])
    measured = {}
    # Pairs among the originals are the same for every change, so that they are looked for once.
    natural = near_duplicates(originals, threshold=largest)
    for name, copy in copies.items():
        both = stacked(originals, copy)
        found = find_copies(both, threshold=largest)
        planted = np.full(len(originals), np.nan)
        others = []
        for (low, high), distance in zip(found.rows.tolist(), found.distances.tolist(), strict=True):
            if high == low + len(originals):
                planted[low] = distance
            elif low < len(originals) <= high or high < len(originals):
                others.append(distance)
        measured[name] = (planted, np.array(others))
    measured["none, among the originals"] = (np.zeros(0), natural.distances.astype(float))
    return measured


def report(names: list[str], images: list[Image.Image]) -> None:
    """Choose the threshold on the even photographs, print recall and precision on the odd ones."""
    generator = np.random.default_rng(0)
    originals = signatures_of(images)
    copies = {name: signatures_of([make(image, generator) for image in images]) for name, make in CHANGES.items()}
    print(f"{len(images)} photographs, {int((~originals.can_tell).sum())} of them too small or too uniform to tell")
    halves = []
    for half in (0, 1):
        rows = np.flatnonzero(originals.can_tell & (np.arange(len(images)) % 2 == half))
        halves.append((rows, measure(originals.take(rows), {name: table.take(rows) for name, table in copies.items()})))
    chosen = max(
        THRESHOLDS,
        key=lambda threshold: np.mean([balance(*figures, threshold) for figures in list(halves[0][1].values())[:-1]]),
    )
    print(f"threshold with the best F1 on the even half: {chosen:g}; the library's own: {NEAR:g}")
    rows, measured = halves[1]
    print(
        f"\n{len(rows)} odd photographs at {NEAR:g}:\n\n{'change':48}{'recall':>8}  {'95 %':17}{'precision':>9}  95 %"
    )
    for name, (planted, others) in measured.items():
        num_found, num_false = int((planted <= NEAR).sum()), int((others <= NEAR).sum())
        if not len(planted):
            print(f"\nof {len(rows) * (len(rows) - 1) // 2:,} pairs among these, {num_false} are called copies")
            continue
        told = f"{name:48}{num_found / len(planted):8.3f}  {interval(num_found, len(planted)):17}"
        print(f"{told}{num_found / max(1, num_found + num_false):9.3f}  {interval(num_found, num_found + num_false)}")
    natural = find_copies(originals)
    print(f"\namong all originals: {natural!r}")
    for (low, high), distance in list(zip(natural.rows.tolist(), natural.distances.tolist(), strict=True))[:20]:
        print(f"  {distance:.3f}  {names[low]}  {names[high]}")


def balance(planted: NDArray[np.float64], others: NDArray[np.float64], threshold: float) -> float:
    """F1 at a threshold."""
    found, wrong = float((planted <= threshold).sum()), float((others <= threshold).sum())
    return 2 * found / (len(planted) + found + wrong)


def interval(count: int, total: int) -> str:
    """Wilson's, as text."""
    return "-" if not total else "[{:.3f}, {:.3f}]".format(*wilson_interval(count, total))


def many(num_images: int, cifar: Path | None) -> Signatures:
    """Signatures of CIFAR-10, or of random pictures with the spectrum of natural ones."""
    if cifar is not None:
        with np.load(cifar, allow_pickle=False) as arrays:
            images = np.concatenate([arrays["x_train"], arrays["x_test"]])[:num_images]
        pixels = np.round(images @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    else:
        generator = np.random.default_rng(0)
        frequencies = np.fft.fftfreq(32) * 32
        falling = 1 / (1 + np.hypot(frequencies[:, None], frequencies))
        pixels = np.empty((num_images, 32, 32), np.uint8)
        for start in range(0, num_images, 4096):
            noise = np.fft.fft2(generator.normal(size=(min(4096, num_images - start), 32, 32))) * falling
            field = np.fft.ifft2(noise).real
            field /= field.std(axis=(1, 2), keepdims=True)
            pixels[start : start + 4096] = np.clip(120 + 45 * field, 0, 255)
    table = empty_signatures(len(pixels))
    table.pixels[:], table.sides[:] = pixels, 32
    table.digests[:] = [hashlib.sha256(image.tobytes()).digest() for image in pixels]
    for start in range(0, len(pixels), 4096):
        part = pixels[start : start + 4096].astype(np.float32)
        table.detail[start : start + 4096] = np.sqrt((fine_structure(part) ** 2).mean(axis=(1, 2)))
    return table


def crops_of(images: list[Image.Image], num_images: int) -> Signatures:
    """Signatures of random parts of photographs, 35 to 90 % of each side."""
    generator = np.random.default_rng(0)
    table = empty_signatures(num_images)
    for row in range(num_images):
        image = images[row % len(images)]
        width, height = (int(side * generator.uniform(0.35, 0.9)) for side in image.size)
        left, top = (int(generator.integers(0, room + 1)) for room in (image.width - width, image.height - height))
        table.put(row, np.asarray(image.crop((left, top, left + width, top + height))))
    return table


def all_products(
    thumbnails: Array, words: Array, part: slice
) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """What `candidates` gives, by the products of all pairs under all changes."""
    hits = []
    for number, change in enumerate((*UPRIGHT, *CROPPED)):
        asked = descriptors(thumbnails, change)
        for first in range(part.start if number < len(UPRIGHT) else 0, len(words), 1024):
            products = asked @ words[first : first + 1024].T
            query, other = np.nonzero(products > WORTH_A_LOOK)
            likeness, query, other = products[query, other], query + part.start, other + first
            kept = query < other if number < len(UPRIGHT) else query != other
            hits.append((likeness[kept], query[kept], other[kept], np.full(int(kept.sum()), number)))
    likeness, query, other, changes = (np.concatenate(column) for column in zip(*hits, strict=True))
    kept = bounded._best(likeness, query, other)
    query, other, changes = query[kept], other[kept], changes[kept]
    return [(number, query[changes == number], other[changes == number]) for number in np.unique(changes).tolist()]


def timed(table: Signatures, name: str) -> Copies:
    """Search, and print how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = find_copies(table)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(table):,} signatures, {name}: {wall:.1f} s, {cpu:.1f} CPU-seconds, peak {peak:,.0f} MiB; {found!r}")
    return found


def beside_all_pairs(table: Signatures, *, alone: bool) -> None:
    """The search as it is and, unless left alone, by all products, with what they have in common."""
    found = timed(table, "bounded")
    if alone:
        return
    with mock.patch.object(search, "candidates", all_products):
        slowly = timed(table, "all pairs")
    ours, theirs = ({tuple(pair) for pair in copies.rows.tolist()} for copies in (found, slowly))
    print(f"pairs by all pairs {len(theirs):,}, found of them {len(ours & theirs):,}, others {len(ours - theirs):,}")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=SIGN_DIGITS)
    parser.add_argument("--cifar", type=Path, help="cifar10.npz with x_train and x_test")
    parser.add_argument("--images", type=int, default=60_000, help="signatures in the timed search; 0: none")
    parser.add_argument("--most", type=int, default=2000, help="photographs to plant copies of; 0: none")
    parser.add_argument("--crops", action="store_true", help="time crops of the photographs")
    parser.add_argument("--alone", action="store_true", help="leave out the search by all products")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}")
    if options.most and options.folder.is_dir():
        report(*photographs(options.folder, options.most))
    if options.images:
        several = crops_of(photographs(options.folder, 10_000)[1], options.images) if options.crops else None
        beside_all_pairs(several or many(options.images, options.cifar), alone=options.alone)


if __name__ == "__main__":
    main()
