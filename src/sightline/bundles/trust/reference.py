"""What a bundle keeps of its calibration images to compare new ones with: `reference.npz`.

Of each of them a few numbers, no image and no name: how large, light and sharp it is, in which format it came, how
surely it was answered with which class, and how far it lies from what was learned.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.novelty import OUTPUT as NOVELTY
from sightline.bundles.trust.sets import uniforms
from sightline.data.inputs.pixels import Pixels
from sightline.data.inputs.properties import FORMATS, MEASURED, OUTPUT, measured_rows
from sightline.errors import InvalidBundle
from sightline.metrics.conformal import one_of_each_group
from sightline.metrics.selective import certainties_of
from sightline.records import AnswerDetail, Bundle, Dataset, InputSpec
from sightline.system.files import write_arrays
from sightline.system.stored import read_arrays

FILE = "reference.npz"
# Measured of an image; the log-odds of its answer at temperature 1, the index of its class, and where the graph tells
# it, how far it lies from what was learned.
PROPERTIES: Final[tuple[str, ...]] = (*MEASURED, "certainty", "class", NOVELTY)
# Properties that are categories: an index into the formats, and one into the classes of the bundle.
CATEGORIES: Final[tuple[str, ...]] = ("format", "class")
# Five million images; a stranger's archive may say more.
_MOST_BYTES = 256 * 2**20
_KEY_BYTES = 16


@dataclass(frozen=True, eq=False)
class Reference:
    """Calibration images as far as others are compared with them.

    Attributes:
        key: 16 bytes, from which and from an image is drawn what settles ties.
        columns: of each of `PROPERTIES` that these images have, (num_rows,) float32, finite.
        num_images: all calibration images; where they come in groups, more than rows.
        is_grouped: whether a row stands for a group of images that hang together.
    """

    key: bytes
    columns: Mapping[str, NDArray[np.float32]]
    num_images: int
    is_grouped: bool

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def words(self) -> str:
        """The images: "3,000 calibration images"."""
        if not self.is_grouped:
            return f"{len(self):,} calibration images"
        return f"{self.num_images:,} calibration images ({len(self):,} groups, one of each counted)"


@dataclass(frozen=True, eq=False)
class ImageProperties(AnswerDetail):
    """What is known of images beside their class.

    Attributes:
        table: (num_images, 10) float32, as `PROPERTIES`; NaN for what an image has not, and where it cannot be read.
        draws: (num_images,) float64 in [0, 1), from the pixels: what settles ties.
    """

    columns = PROPERTIES

    table: NDArray[np.float32]
    draws: NDArray[np.float64]

    def cells(self, row: int, logits: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002  # of others, they are needed
        """The properties by their names; None for what the image has not."""
        values = zip(PROPERTIES, self.table[row].tolist(), strict=True)
        return {name: None if math.isnan(value) else value for name, value in values}

    @staticmethod
    def words(cells: Mapping[str, Any]) -> str:  # noqa: ARG004  # likewise
        """Nothing: it is said of many images together."""
        return ""


@dataclass(frozen=True)
class PropertyMaker:
    """Has the properties of images told beside their answers.

    Attributes:
        key: of the reference.
        promise: nothing.
        in_words: nothing.
        outputs: of the graph, and what is measured of the images.
    """

    key: bytes
    promise: dict[str, Any]
    in_words: str = ""
    outputs: tuple[str, ...] = (OUTPUT, NOVELTY)

    def make(self, found: Mapping[str, NDArray[np.float32]], images: Any) -> ImageProperties:
        """The properties of some images."""
        return ImageProperties(_table(found, found[OUTPUT]), uniforms(images, self.key))


def _table(found: Mapping[str, NDArray[np.float32]], seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """(num_images, 10) of what a graph says of images, and of what was measured."""
    logits = found["logits"]
    sound = np.flatnonzero(np.isfinite(logits).all(axis=1))
    answers = np.full((len(logits), 3), np.nan, np.float32)
    answers[sound, 1] = logits[sound].argmax(axis=1)
    if NOVELTY in found and len(sound):
        # What has no distance is farther than all that has.
        distances = found[NOVELTY][sound].reshape(len(sound), -1)[:, 0]
        answers[sound, 2] = np.where(np.isfinite(distances), distances, np.finfo(np.float32).max)
    if len(sound):
        answers[sound, 0] = certainties_of(logits[sound])
    return np.concatenate([seen, answers], axis=1)


def refer(
    found: Mapping[str, NDArray[np.float32]],
    dataset: Dataset,
    pixels: Pixels,
    *,
    groups: Any,
    spec: InputSpec,
    seed: int,
) -> Reference | None:
    """What a bundle keeps of its calibration images; None where there is none.

    Args:
        found: outputs of the deployed graph by name.
        dataset: the same rows.
        pixels: of the same rows.
        groups: (num_images,) what hangs together; None where each image stands alone.
        spec: of the network.
        seed: of the run.
    """
    drawn = one_of_each_group(groups, len(dataset), seed=seed) if len(dataset) else None
    rows = np.arange(len(dataset)) if drawn is None else drawn
    seen = measured_rows(dataset.take(rows), pixels.take(rows), spec)
    table = _table({name: part[rows] for name, part in found.items()}, seen)
    # A file may be gone since it was decoded.
    table = table[np.isfinite(table[:, [PROPERTIES.index("width"), PROPERTIES.index("class")]]).all(axis=1)]
    if not len(table):
        return None
    return Reference(
        key=hashlib.blake2b(f"{dataset.fingerprint} {seed} reference".encode(), digest_size=_KEY_BYTES).digest(),
        columns={name: column for name, column in zip(PROPERTIES, table.T, strict=True) if np.isfinite(column).all()},
        num_images=len(table) if drawn is None else len(dataset),
        is_grouped=drawn is not None,
    )


def write_reference(folder: Path, reference: Reference) -> int:
    """Write `reference.npz` into a bundle in the making; how many bytes it has."""
    return write_arrays(
        folder / FILE,
        key=np.frombuffer(reference.key, np.uint8),
        num_images=np.array(reference.num_images, np.int64),
        is_grouped=np.array(reference.is_grouped),
        **reference.columns,
    )


def reference_section(reference: Reference | None, num_bytes: int = 0) -> str:
    """What the card says of the images that others are compared with."""
    if reference is None:
        said = "Nothing: there were no calibration images, so that `check` has nothing to compare images with."
    else:
        said = (
            f"What `check` compares other images with, to tell whether the figures above hold for them: {_NUMBERS} of "
            f"{reference.words} (`{FILE}`, {num_bytes:,} bytes). No image and no name is kept, and no image can be "
            "made of these numbers; but they tell how the images of the owner are spread, and whoever has the numbers "
            "of an image can see whether one with the same was among them."
        )
    return f"\n## What its images are like\n\n{said}\n"


_NUMBERS = (
    "size, brightness, contrast, sharpness, colour and file format, the class that was named and how surely, and how "
    "far it lies from what was learned,"
)


def read_reference(bundle: Bundle) -> Reference:
    """What images are compared with; an InvalidBundle of a bundle that was made without, or where it is damaged."""
    path = bundle.path / FILE
    if "reference" not in bundle.capabilities and bundle.manifest.get("kind") == "embedded":
        raise InvalidBundle(
            "imagenet: cannot tell what its images were like: none of them came with it. Train a bundle on images of "
            "yours, and check others against that."
        )
    if "reference" not in bundle.capabilities and bundle.manifest.get("kind") == "adopted":
        raise InvalidBundle(
            f"{path.parent}: cannot tell what its images were like: it was adopted without any. Adopt it again with "
            "--images SOURCE."
        )
    if "reference" not in bundle.capabilities:
        raise InvalidBundle(
            f"{bundle.path}: cannot tell what its images were like: it was made without calibration images, or by an "
            "earlier Sightline. Train again with data.calibration_fraction above 0."
        )
    try:
        return _checked(read_arrays(path, most_bytes=_MOST_BYTES), len(bundle.class_names))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidBundle(f"{path}: cannot be read ({error}). Copy the whole bundle again.") from error


def _checked(arrays: dict[str, NDArray[Any]], num_classes: int) -> Reference:
    key, num_images, is_grouped = (arrays.pop(name) for name in ("key", "num_images", "is_grouped"))
    if key.dtype != np.uint8 or key.shape != (_KEY_BYTES,) or is_grouped.dtype != np.bool_ or is_grouped.shape != ():
        raise ValueError("its key is not of 16 bytes, or whether it is grouped is not said")
    # What a newer version added is passed over.
    columns = {name: arrays[name] for name in PROPERTIES if name in arrays}
    if "class" not in columns or columns["class"].ndim != 1 or not len(columns["class"]):
        raise ValueError("it has no classes")
    if "certainty" not in columns:
        raise ValueError("it does not say how surely they were answered")
    for name, column in columns.items():
        if column.dtype != np.float32 or column.shape != columns["class"].shape or not np.isfinite(column).all():
            raise ValueError(f"its {name} is not one finite float32 an image")
    for name, number in (("class", num_classes), ("format", len(FORMATS))):
        values = columns.get(name, np.zeros(1, np.float32))
        if not ((values >= 0) & (values < number) & (values == np.floor(values))).all():
            raise ValueError(f"its {name} is not one of {number}")
    is_short = len(columns["class"]) < num_images
    if (
        num_images.dtype != np.int64
        or num_images.shape != ()
        or len(columns["class"]) > num_images
        or (is_short and not is_grouped)
    ):
        raise ValueError("its counts do not go together")
    return Reference(key.tobytes(), columns, int(num_images), bool(is_grouped))
