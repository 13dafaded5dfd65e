"""The gate: an exported file is kept only if it says of the same images what its bundle says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.parity import LARGEST_DIFFERENCE, largest_difference
from sightline.bundles.sessions import session_of
from sightline.deployment.conversion.description import ExportedModel, describe
from sightline.deployment.conversion.rows import ComparedRows
from sightline.errors import ExportRefused, InvalidBundle
from sightline.evaluation.measuring.paired_tests import paired_figures, paired_test
from sightline.records import NO_NUMBER, Bundle
from sightline.system.progress import reporter
from sightline.system.text import printable

PORTION = 64
# Single images are timed for so long at most, so that a slow network does not hold up its export.
MOST_TIMED, MOST_SECONDS = 30, 0.5


def check_export(bundle: Bundle, model: ExportedModel, rows: ComparedRows, *, name: str) -> dict[str, Any]:
    """The figures of an exported file beside its bundle, as `parity.json` has them; ExportRefused where it differs."""
    _check_description(bundle, model, name)
    expected = session_of(bundle).logits(rows.images, with_progress=True) if rows.logits is None else rows.logits
    if not np.isfinite(expected).all():
        raise InvalidBundle(f"{bundle.path}: {NO_NUMBER}; such a network is not exported. Train again.")
    found = _logits(model, rows, expected.shape, name)
    probabilities = bundle.task.probabilities(expected, temperature=bundle.temperature), model.probabilities(found)
    largest = _check_probabilities(bundle, rows, *probabilities, name=name)
    agrees = np.asarray(bundle.task.decided(expected) == bundle.task.decided(found))
    one = rows.images[:1]
    return {
        "compared_on": {"kind": rows.kind, "in_words": rows.words, "remark": rows.remark},
        "num_images": len(rows.row_ids),
        "num_unreadable": rows.num_unreadable,
        "largest_difference": largest,
        "tolerance": LARGEST_DIFFERENCE,
        "agreement": float(agrees.mean()),
        "accuracy": _accuracies(bundle, rows, expected, found),
        "milliseconds_per_image": {
            "bundle": _milliseconds(lambda: session_of(bundle).logits(one)),
            "export": _milliseconds(lambda: model.logits(one)),
        },
    }


def _check_description(bundle: Bundle, model: ExportedModel, name: str) -> None:
    wanted = describe(bundle)
    wrong = [key for key in wanted if model.description.get(key) != wanted[key]]
    if wrong:
        raise ExportRefused(
            f"{name} says something else than its bundle of: {', '.join(wrong)} (labels stand in their order, input is "
            "how an image is prepared). It was not kept. Export again; if it stays so, please report it."
        )


def _logits(model: ExportedModel, rows: ComparedRows, shape: tuple[int, ...], name: str) -> NDArray[np.float32]:
    found = np.empty(shape, np.float32)
    with reporter().bar("comparing", total=len(found)) as bar:
        for first in range(0, len(found), PORTION):
            images = rows.images[first : first + PORTION]
            part = np.asarray(model.logits(images))
            if part.shape != (len(images), shape[1]):
                raise ExportRefused(
                    f"{name} gives answers of shape {part.shape} for {len(images)} images and {shape[1]} classes. It "
                    "was not kept. Export again; if it stays so, please report it."
                )
            found[first : first + len(part)] = part
            bar.advance(len(part))
    return found


def _check_probabilities(
    bundle: Bundle, rows: ComparedRows, expected: NDArray[np.float64], found: NDArray[np.float64], *, name: str
) -> float:
    difference = largest_difference(expected, found)
    if difference <= LARGEST_DIFFERENCE:
        return difference
    # NaN counts as the largest of all.
    row, label = map(int, np.unravel_index(np.abs(expected - found).argmax(), expected.shape))
    shown = f"{difference:.2g}" if difference == difference else "no number"  # noqa: PLR0124  # only NaN is not itself
    raise ExportRefused(
        f"{name} does not answer as its bundle: it differs by {shown} in the probability of "
        f"'{printable(bundle.class_names[label])}' of {printable(rows.row_ids[row])} ({expected[row, label]:.4f} by "
        f"the bundle, {found[row, label]:.4f} by the export); {LARGEST_DIFFERENCE:g} is allowed. Compared on "
        f"{rows.words}. It was not kept. Another version of its runtime may help: see `sightline doctor`."
    )


def _accuracies(
    bundle: Bundle, rows: ComparedRows, expected: NDArray[np.float32], found: NDArray[np.float32]
) -> dict[str, Any] | None:
    """How often both are right, and whether they differ; the images may have been learned from."""
    if rows.labels is None:
        return None
    first, second = (bundle.task.is_right(logits, rows.labels) for logits in (expected, found))
    paired = paired_test(first, second, names=("bundle", "export"), groups=rows.groups)
    return {"bundle": float(first.mean()), "export": float(second.mean()), "paired": paired_figures(paired)}


def _milliseconds(work: Callable[[], object]) -> float:
    """Median wall time of one call, after one that does not count."""
    work()
    taken: list[float] = []
    while len(taken) < MOST_TIMED and sum(taken) < MOST_SECONDS:
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return round(1000 * float(np.median(taken)), 4)
