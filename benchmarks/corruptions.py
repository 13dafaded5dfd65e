"""Set the corruptions beside those that made CIFAR-10-C and ImageNet-C, and measure how long they take.

The functions of the reference are taken out of its scripts where they lie; nothing of them is kept. Deterministic
corruptions are compared pixel by pixel, the others by mean and standard deviation of what they change. Needs OpenCV,
scikit-image and SciPy for what the reference is made of; frost (photographs), motion blur and snow (ImageMagick) are
left out.

Usage: python benchmarks/corruptions.py --reference DIR --images DIR   (DIR holds make_cifar_c.py, make_imagenet_c.py)
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.evaluation.corruptions.changes import CHANGES, corrupted

NAMES = {
    "gaussian noise": "gaussian_noise",
    "shot noise": "shot_noise",
    "impulse noise": "impulse_noise",
    "defocus blur": "defocus_blur",
    "glass blur": "glass_blur",
    "zoom blur": "zoom_blur",
    "fog": "fog",
    "brightness": "brightness",
    "contrast": "contrast",
    "elastic": "elastic_transform",
    "pixelate": "pixelate",
    "jpeg": "jpeg_compression",
}
EXACT = ("defocus blur", "zoom blur", "brightness", "contrast", "pixelate", "jpeg")


def functions_of(script: Path) -> dict[str, Any]:
    """Those that need no ImageMagick and no file, as they stand there."""
    from scipy.ndimage import map_coordinates, zoom

    cv2, sk = importlib.import_module("cv2"), importlib.import_module("skimage")
    gaussian = importlib.import_module("skimage.filters").gaussian

    def blurred(image: Any, sigma: float, *, multichannel: bool = False, **options: Any) -> Any:
        return gaussian(image, sigma, channel_axis=-1 if multichannel else None, **options)

    # A name that NumPy 2 has no more.
    vars(np)["float_"] = np.float64
    wanted = {*NAMES.values(), "disk", "plasma_fractal", "clipped_zoom"}
    tree = ast.parse(script.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    space: dict[str, Any] = {
        "np": np, "cv2": cv2, "sk": sk, "gaussian": blurred, "scizoom": zoom, "map_coordinates": map_coordinates,
        "PILImage": Image, "Image": Image, "BytesIO": io.BytesIO,
    }  # fmt: skip
    exec(compile(tree, str(script), "exec"), space)  # noqa: S102  # the reference, named by whoever runs this
    return space


def pictures(folder: Path, side: int, count: int) -> list[NDArray[np.uint8]]:
    """Photographs of that size."""
    paths = sorted(folder.rglob("*.JPG"))
    return [
        np.asarray(Image.open(path).convert("RGB").resize((side, side)))
        for path in paths[:: len(paths) // count][:count]
    ]


def compare(images: list[NDArray[np.uint8]], reference: dict[str, Any], side: int) -> None:
    """A line for each corruption."""
    for name, function in NAMES.items():
        apart, ours_change, their_change = [], [], []
        for image in images:
            for severity in (1, 3, 5):
                ours = corrupted(image, name, severity).astype(np.float64)
                theirs = reference[function](Image.fromarray(image), severity=severity)
                theirs = np.asarray(theirs).astype(np.uint8).astype(np.float64)
                apart.append(np.abs(ours - theirs).mean())
                ours_change.append(np.abs(ours - image).mean())
                their_change.append(np.abs(theirs - image).mean())
        difference = f"{np.mean(apart):.2f} (at most {max(apart):.2f})" if name in EXACT else "drawn otherwise"
        print(
            f"| {side} | {name} | {difference} | {np.mean(ours_change):.1f} | {np.mean(their_change):.1f} |", flush=True
        )


def speed(images: list[NDArray[np.uint8]], side: int) -> None:
    """Milliseconds of the processor an image."""
    for name in CHANGES:
        started = time.process_time()
        for image in images:
            for severity in (1, 3, 5):
                corrupted(image, name, severity)
        spent = (time.process_time() - started) / (3 * len(images))
        print(f"  {side} pixels, {name}: {1000 * spent:.2f} ms")


def main() -> None:
    """Compare, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="a folder with photographs (JPG)")
    parser.add_argument("--count", type=int, default=6)
    arguments = parser.parse_args()
    print("| side | corruption | mean difference of a pixel | we change a pixel by | they do |\n|---|---|---|---|---|")
    for side, script in ((32, "make_cifar_c.py"), (224, "make_imagenet_c.py")):
        images = pictures(arguments.images, side, arguments.count)
        np.random.seed(0)  # noqa: NPY002  # the reference draws from it
        compare(images, functions_of(arguments.reference / script), side)
        speed(images, side)


if __name__ == "__main__":
    main()
