"""Which images an export is compared on: the run's own, those that were named, or the few that the bundle keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.parity import FILE, read_parity
from sightline.bundles.prediction import match_labels
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.data.sources.loading import open_again
from sightline.errors import DownloadFailed, InvalidSource, InvalidValue, MissingPackage, UnreadableImage
from sightline.evaluation.measuring.judging import JudgedRows, choose_rows, run_of
from sightline.evaluation.measuring.kept_classes import learned_source
from sightline.records import Bundle, Dataset, Store
from sightline.system.text import printable
from sightline.tasks.table import task_of

# As many say within 0.003 how often two files disagree; more cost minutes, where photographs are large.
MOST_ROWS = 1_000

_MAY_BE_LEARNED_FROM = (
    "the bundle may have learned from these images: their accuracy compares two files, and how good they are says "
    "`sightline evaluate`."
)


@dataclass(frozen=True, eq=False)
class ComparedRows:
    """Images at network size, and what is known of them.

    Attributes:
        kind: "calibration", "images" or "parity".
        words: what they are: "200 calibration images of photos".
        row_ids: (num_images) strings.
        images: (num_images, height, width, channels) uint8, or what gives such an array when it is sliced.
        labels: of the bundle's classes, in the form of its task; or None.
        groups: (num_images,) strings, images of one hang together, or None.
        logits: (num_images, num_classes) float32, what the network said when it was made; or None.
        num_unreadable: images that were left out.
        remark: what the reader should know of the choice, or "".
        originals: the images as they were given, row by row: a Store of files, or an array; None where `images` are all
            there is.
    """

    kind: str
    words: str
    row_ids: Sequence[str]
    images: Any
    labels: NDArray[Any] | None = None
    groups: NDArray[np.str_] | None = None
    logits: NDArray[np.float32] | None = None
    num_unreadable: int = 0
    remark: str = ""
    originals: Any = None

    @property
    def known_labels(self) -> NDArray[Any]:
        """The labels, where whoever asks has seen to it that there are some."""
        if self.labels is None:
            raise InvalidValue(f"the labels of {self.words} are not known. Name images of its classes.")
        return self.labels


class NothingToCompare(InvalidValue):
    """No image was named, and neither run nor bundle has any."""


def rows_to_compare(bundle: Bundle, images: Any, *, most: int | None = None) -> ComparedRows:
    """The images that were named, else the calibration rows of the run's source, else those that the bundle keeps."""
    most = MOST_ROWS if most is None else most
    if images is not None:
        dataset = open_again(images, bundle.metrics.get("source", {}))
        return _of_source(bundle, dataset, JudgedRows(np.arange(len(dataset)), None, None, {}), "images", most=most)
    if run_of(bundle) is None:
        return _kept(bundle, "the bundle lies in no run")
    try:
        dataset = learned_source(bundle)
        choice = choose_rows(bundle, dataset, "calibration")
        return _of_source(bundle, dataset, choice, "calibration", most=most)
    except (InvalidSource, InvalidValue, DownloadFailed, MissingPackage, UnreadableImage) as error:
        return _kept(bundle, f"the calibration images of the run cannot be had ({str(error).rstrip('.')})")


def halves(rows: ComparedRows) -> tuple[ComparedRows, ComparedRows]:
    """Labelled rows in two: to choose by and to judge; each class, and each rarest label, in both; groups in one."""
    labels = rows.known_labels
    names = np.arange(len(labels)) if rows.groups is None else rows.groups
    _, first, members = np.unique(names, return_index=True, return_inverse=True)
    is_judging = np.zeros(len(first), bool)
    strata = task_of(labels).strata(labels)
    is_judging[np.argsort(strata[first], kind="stable")[::2]] = True
    judging = is_judging[members.reshape(-1)]
    return some_rows(rows, np.flatnonzero(~judging)), some_rows(rows, np.flatnonzero(judging))


def some_rows(rows: ComparedRows, chosen: NDArray[np.int64]) -> ComparedRows:
    """Those rows, and what they are said to be of."""
    originals = rows.originals
    return dataclasses.replace(
        rows,
        row_ids=[rows.row_ids[row] for row in chosen],
        images=rows.images.take(chosen) if isinstance(rows.images, Pixels) else rows.images[chosen],
        labels=None if rows.labels is None else rows.labels[chosen],
        groups=None if rows.groups is None else rows.groups[chosen],
        logits=None if rows.logits is None else rows.logits[chosen],
        originals=originals.take(chosen)
        if isinstance(originals, Store)
        else originals
        if originals is None
        else originals[chosen],
        words=f"{len(chosen):,} of {rows.words}",
    )


def _of_source(bundle: Bundle, dataset: Dataset, choice: JudgedRows, kind: str, *, most: int) -> ComparedRows:
    rows = choice.rows
    labels = match_labels(bundle.class_names, dataset, rows)  # refuses before anything is decoded
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)
    part = dataset.take(rows[chosen])
    found = read_pixels(part, bundle.input) if choice.pixels is None else choice.pixels.take(chosen)
    read = np.setdiff1d(np.arange(len(chosen)), list(found.errors))
    if not len(read):
        reason = next(iter(found.errors.values()), "it is empty")
        raise UnreadableImage(f"{dataset.name}: none of its images can be read; the first: {reason}")
    what = "calibration images" if kind == "calibration" else "images"
    of_how_many = f" of the {len(rows):,}" if len(rows) > len(chosen) else ""
    return ComparedRows(
        kind=kind,
        words=f"{len(read):,}{of_how_many} {what} of {printable(dataset.name)}",
        row_ids=part.row_ids[read].tolist(),
        images=found.take(read),
        labels=labels[chosen][read],
        groups=None if choice.groups is None else choice.groups[chosen][read],
        num_unreadable=len(found.errors),
        originals=part.take(read).images,
        remark=_MAY_BE_LEARNED_FROM if kind == "images" else "",
    )


def _kept(bundle: Bundle, reason: str) -> ComparedRows:
    remedy = "Name images of its classes: --images SOURCE (images=... in Python)"
    kept = read_parity(bundle)
    if kept is None:
        raise NothingToCompare(
            f"{bundle.path}: there is nothing to compare an export on: {reason}, and it keeps no {FILE}. {remedy}."
        )
    images, logits = kept
    return ComparedRows(
        kind="parity",
        words=f"the {len(images)} images that the bundle keeps in {FILE}, whose labels are not known",
        row_ids=[f"{FILE}/{row}" for row in range(len(images))],
        images=images,
        logits=logits,
        remark=f"compared on {FILE} alone, since {reason}. {remedy}.",
    )
