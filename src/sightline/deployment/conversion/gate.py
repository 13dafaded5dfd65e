"""The gate: an exported file is kept only if it says of the same images what its bundle says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.parity import LARGEST_DIFFERENCE, largest_difference
from sightline.bundles.sessions import session_of
from sightline.bundles.trust.novelty import OUTPUT
from sightline.deployment.conversion.description import ExportedModel, describe
from sightline.deployment.conversion.losses import check_loss, largest_loss, paired, rights
from sightline.deployment.conversion.rows import ComparedRows
from sightline.errors import ExportRefused, InvalidBundle
from sightline.evaluation.measuring.paired_tests import paired_figures
from sightline.records import NO_NUMBER, Bundle
from sightline.system.progress import reporter
from sightline.system.text import printable

PORTION = 64
# Single images are timed for so long at most, so that a slow network does not hold up its export.
MOST_TIMED, MOST_SECONDS = 30, 0.5
# Of a distance to what was learned, in proportion: as many digits as a threshold of it leaves room for.
LARGEST_NOVELTY_DIFFERENCE = 1e-3
# Those that decide how fast, and for integers how right, a processor computes.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm")


def check_export(
    bundle: Bundle, model: ExportedModel, rows: ComparedRows, *, name: str, is_quantised: bool = False
) -> dict[str, Any]:
    """The figures of an exported file beside its bundle, as `parity.json` has them; ExportRefused where it differs."""
    _check_description(bundle, model, name, is_quantised=is_quantised)
    expected = session_of(bundle).logits(rows.images, with_progress=True)
    if not np.isfinite(expected).all():
        raise InvalidBundle(f"{bundle.path}: {NO_NUMBER}; such a network is not exported. Train again.")
    if rows.logits is not None and not _is_near(bundle, expected, rows.logits):
        raise InvalidBundle(
            f"{bundle.path}: its network does not answer as {rows.words} say that it did. Something in it was changed: "
            "see `sightline verify`."
        )
    found = _logits(model, rows, expected.shape, name)
    probabilities = bundle.task.probabilities(expected, temperature=bundle.temperature), model.probabilities(found)
    _check_precision(model, name, is_quantised=is_quantised)
    _check_numbers(rows, probabilities[1], name=name)
    if not is_quantised:
        _check_probabilities(bundle, rows, *probabilities, name=name)
    agrees = np.asarray(bundle.task.decided(expected) == model.task.decided(found))
    return {
        "compared_on": {"kind": rows.kind, "in_words": rows.words, "remark": rows.remark},
        "num_images": len(rows.row_ids),
        "num_unreadable": rows.num_unreadable,
        "largest_difference": largest_difference(*probabilities),
        "tolerance": None if is_quantised else LARGEST_DIFFERENCE,
        "agreement": float(agrees.mean()),
        "accuracy": _accuracies(bundle, model, rows, expected, found),
        "quantised": check_loss(bundle, model, rows, expected, found, name=name) if is_quantised else None,
        "largest_novelty_difference": _check_novelty(bundle, model, rows, name),
        "effective_precision": model.precision,
        "processor_flags": processor_flags(),
        **_speeds(bundle, model, rows),
    }


def processor_flags() -> list[str]:
    """Which instructions for networks this processor has, as Linux calls them; none where that is not told."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return []
    return [flag for flag in _FLAGS if flag in words]


def _speeds(bundle: Bundle, model: ExportedModel, rows: ComparedRows) -> dict[str, dict[str, float]]:
    """Both with as many threads as their runtimes take by themselves."""
    works: dict[str, Callable[[Any], object]] = {"bundle": session_of(bundle).logits, "export": model.logits}
    alone = {name: milliseconds(work, rows.images[:1]) for name, work in works.items()}
    # Of one that takes a second an image, fewer say as much.
    some = rows.images[: max(1, min(PORTION, int(8_000 * MOST_SECONDS / max(alone.values()))))]
    return {
        "milliseconds_per_image": alone,
        "images_per_second": {
            name: round(1000 * len(some) / milliseconds(work, some), 1) for name, work in works.items()
        },
    }


def _is_near(bundle: Bundle, expected: NDArray[np.float32], kept: NDArray[np.float32]) -> bool:
    both = (bundle.task.probabilities(logits, temperature=bundle.temperature) for logits in (expected, kept))
    return bool(largest_difference(*both) <= LARGEST_DIFFERENCE)


def _check_description(bundle: Bundle, model: ExportedModel, name: str, *, is_quantised: bool) -> None:
    wanted = describe(bundle)
    told = model.description
    if is_quantised:  # of its own are a temperature and what rests on it
        for key in ("calibration", "promises"):
            wanted[key] = told.get(key)
    temperature = wanted["calibration"]["temperature"] if isinstance(wanted["calibration"], Mapping) else None
    wrong = [key for key in wanted if told.get(key) != wanted[key]]
    if not (isinstance(temperature, int | float) and 0 < temperature < math.inf):
        wrong.append("calibration")
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


def _check_precision(model: ExportedModel, name: str, *, is_quantised: bool) -> None:
    """Images may not show what a shorter number loses, and others then do."""
    if not is_quantised and model.precision != "float32":
        raise ExportRefused(
            f"{name} is run in {model.precision} by its runtime, which chose that itself; float32 is asked for. It was "
            "not kept. Another version of its runtime may help: see `sightline doctor`."
        )


def _check_numbers(rows: ComparedRows, found: NDArray[np.float64], *, name: str) -> None:
    odd = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(odd):
        raise ExportRefused(
            f"{name} does not answer as its bundle: it gives no number for {printable(rows.row_ids[odd[0]])}, and for "
            f"{len(odd):,} of {len(found):,} images in all. Compared on {rows.words}. It was not kept."
        )


def _check_probabilities(
    bundle: Bundle, rows: ComparedRows, expected: NDArray[np.float64], found: NDArray[np.float64], *, name: str
) -> None:
    difference = largest_difference(expected, found)
    if difference <= LARGEST_DIFFERENCE:
        return
    row, label = map(int, np.unravel_index(np.abs(expected - found).argmax(), expected.shape))
    raise ExportRefused(
        f"{name} does not answer as its bundle: it differs by {difference:.2g} in the probability of "
        f"'{printable(bundle.class_names[label])}' of {printable(rows.row_ids[row])} ({expected[row, label]:.4f} by "
        f"the bundle, {found[row, label]:.4f} by the export); {LARGEST_DIFFERENCE:g} is allowed. Compared on "
        f"{rows.words}. It was not kept. Another version of its runtime may help: see `sightline doctor`."
    )


def _check_novelty(bundle: Bundle, model: ExportedModel, rows: ComparedRows, name: str) -> float | None:
    """How far distances differ at most, in proportion, on the first images; None where the file tells none."""
    session = session_of(bundle)
    if model.novelty is None or OUTPUT not in session.output_shapes():
        return None
    some = rows.images[:PORTION]
    expected = session.collect(some, [OUTPUT])[OUTPUT].reshape(len(some))
    found = np.asarray(model.novelty(some), np.float64).reshape(len(some))
    difference = float((np.abs(found - expected) / np.maximum(np.abs(expected), 1e-3)).max())
    if not difference <= LARGEST_NOVELTY_DIFFERENCE:
        raise ExportRefused(
            f"{name} does not answer as its bundle: novelty differs by {difference:.2g} of itself, and "
            f"{LARGEST_NOVELTY_DIFFERENCE:g} is allowed. Compared on {rows.words}. It was not kept."
        )
    return difference


def _accuracies(
    bundle: Bundle,
    model: ExportedModel,
    rows: ComparedRows,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
) -> dict[str, Any] | None:
    """How often both are wholly right, and whether they differ; the images may have been learned from."""
    if rows.labels is None:
        return None
    right = rights(bundle, model, rows, expected, found)
    test = paired(right, rows)
    return {
        "bundle": test.num_first_correct / test.num_images,
        "export": test.num_second_correct / test.num_images,
        "largest_loss": largest_loss(right, rows),
        "paired": paired_figures(test),
    }


def milliseconds(work: Callable[[Any], object], images: Any) -> float:
    """Median wall time of one call, after one that does not count."""
    work(images)
    taken: list[float] = []
    while len(taken) < MOST_TIMED and sum(taken) < MOST_SECONDS:
        started = time.perf_counter()
        work(images)
        taken.append(time.perf_counter() - started)
    return round(1000 * float(np.median(taken)), 4)
