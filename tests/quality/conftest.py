"""Small folders with every trap in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def scene(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A picture with light, shade and texture, unlike that of any other seed; size is (width, height)."""
    generator = np.random.default_rng(seed)
    layers = [
        Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((320, 240), 3)
        for side in (4, 9, 20)
    ]
    mixed = np.mean([np.asarray(layer, dtype=np.float32) for layer in layers], axis=0)
    stretched = np.clip((mixed - mixed.mean()) * 1.8 + 128, 0, 255).astype(np.uint8)
    return Image.fromarray(stretched).resize(size)


def save(picture: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def fill(folder: Path, *, num_images: int, first_seed: int) -> None:
    for number in range(num_images):
        save(scene(first_seed + number), folder / f"{number:03d}.jpg", quality=92)


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., Image.Image]:
    return scene


@pytest.fixture(scope="session")
def clean_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 105 images each with nothing wrong."""
    root = tmp_path_factory.mktemp("sources") / "clean"
    fill(root / "cat", num_images=105, first_seed=0)
    fill(root / "dog", num_images=105, first_seed=1000)
    return root


@pytest.fixture(scope="session")
def trap_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with one of every kind of trap."""
    root = tmp_path_factory.mktemp("sources") / "traps"
    for start, name in enumerate(("cat", "dog", "Dog ")):
        fill(root / name, num_images=40 if name != "Dog " else 12, first_seed=1000 * start)
    cat, dog = root / "cat", root / "dog"
    (cat / "empty.jpg").touch()
    (cat / "page.jpg").write_text("<!doctype html><html><body>404</body></html>")
    whole = save(scene(5000, (300, 200)), cat / "cut.jpg", quality=92).read_bytes()
    (cat / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    save(scene(5001), cat / "in-truth-a-jpeg.png", format="JPEG")
    turned = Image.Exif()
    turned[0x0112] = 6
    save(scene(5002, (200, 120)), dog / "turned.jpg", exif=turned)
    save(scene(5003, (20, 20)), dog / "icon.png")
    save(scene(5004, (600, 60)), dog / "banner.png")
    save(Image.new("RGB", (90, 90), (250, 250, 250)), dog / "blank.png")
    save(Image.new("RGB", (90, 90), (250, 250, 250)), cat / "blank.png")
    # The same pixels, in the same class, in another file.
    save(scene(5005), cat / "copy-1.png")
    save(scene(5005), cat / "copy-2.bmp")
    # The same pixels under two labels.
    save(scene(5006), cat / "either.png")
    save(scene(5006), dog / "or.png")
    for number in range(6):
        save(scene(5008), (cat if number % 2 else dog) / f"missing-{number}.png")
    (cat / "<script>alert(1)</script>.jpg".replace("/", "\u2215")).write_bytes((cat / "001.jpg").read_bytes()[:200])
    save(scene(5007), root / "rare" / "only.jpg")
    return root
