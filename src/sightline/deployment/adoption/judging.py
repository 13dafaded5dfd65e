"""Images that a network is compared on, and what labelled ones tell of it: calibration, promises, figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.parity import made_images
from sightline.bundles.prediction import match_labels
from sightline.bundles.sessions import Session
from sightline.bundles.trust.abstention import abstention_section, record_answers, write_answer_record
from sightline.bundles.trust.calibration import calibration_of, calibration_section, plain_calibration
from sightline.bundles.trust.reference import refer, reference_section, write_reference
from sightline.bundles.trust.sets import certify, sets_section, write_sets
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.data.sources.loading import open_again
from sightline.data.splitting.assignment import position
from sightline.data.storage.stores import content_identities
from sightline.errors import InvalidValue, UnreadableImage
from sightline.evaluation.measuring.scoring import brief_figures
from sightline.metrics.calibration.scaling import ScalingChoice
from sightline.records import NO_NUMBER, Dataset, InputSpec, Predictions
from sightline.system.text import counted, printable
from sightline.tasks.single_label import SINGLE_LABEL

# As many say within 0.003 how often two files disagree.
MOST_COMPARED = 1_000
_PARTS = ("validation", "calibration", "test")
LEARNED_FROM = "the network may have learned from these images: what is measured and promised by them may flatter"
_SEED = 0


@dataclass(frozen=True, eq=False)
class GivenRows:
    """Labelled images at network size, those that could be read.

    Attributes:
        dataset: of these rows.
        pixels: of these rows.
        labels: (num_images,) int64 into the class names of the network.
        num_unreadable: how many were left out.
        spec: of the network.
    """

    dataset: Dataset
    pixels: Pixels
    labels: NDArray[np.int64]
    num_unreadable: int
    spec: InputSpec


def given_rows(images: Any, spec: InputSpec, class_names: tuple[str, ...]) -> GivenRows:
    """The labelled images of a source, of classes that the network knows."""
    dataset = open_again(images, {})
    labels = match_labels(class_names, dataset, np.arange(len(dataset)))
    pixels = read_pixels(dataset, spec)
    read = np.setdiff1d(np.arange(len(dataset)), list(pixels.errors))
    if not len(read):
        reason = next(iter(pixels.errors.values()), "it is empty")
        raise UnreadableImage(f"{dataset.name}: none of its images can be read; the first: {reason}")
    return GivenRows(dataset.take(read), pixels.take(read), labels[read], len(pixels.errors), spec)


def compared_images(rows: GivenRows | None, spec: InputSpec) -> tuple[NDArray[np.uint8], str]:
    """What both files are asked about, and that in words."""
    if rows is None:
        images = made_images(spec)
        return images, f"{len(images)} made images, which show nothing"
    chosen = np.linspace(0, len(rows.pixels) - 1, min(len(rows.pixels), MOST_COMPARED)).astype(np.int64)
    of_all = f" of the {len(rows.pixels):,}" if len(rows.pixels) > len(chosen) else ""
    return rows.pixels[chosen], f"{len(chosen):,}{of_all} images of {printable(rows.dataset.name)}"


def uncalibrated() -> tuple[dict[str, Any], str]:
    """What `calibration.json` and the card say where there are no labelled images."""
    found = calibration_of(
        Predictions.of((), np.zeros((0, 2), np.float32), class_names=("", " ")), ScalingChoice("others made it", 0)
    )
    return plain_calibration(found), calibration_section(found)


def judge(
    rows: GivenRows, session: Session, folder: Path, class_names: tuple[str, ...], metrics: Mapping[str, Any]
) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Write what promises rest on into a bundle in the making.

    Returns:
        What `calibration.json` says, what the card says, and the figures of rows that took no part.
    """
    outputs = session.collect(rows.pixels, ("logits",), with_progress=True)
    logits = outputs["logits"]
    if not np.isfinite(logits).all():
        raise InvalidValue(f"{rows.dataset.name}: {NO_NUMBER}. Such a network is not adopted; look at its scaling.")
    parts = _parts(rows)
    chosen = parts["calibration"]
    temperature = SINGLE_LABEL.fit_temperature(logits[chosen], rows.labels[chosen]) if len(chosen) else 1.0
    predictions = Predictions.of(
        rows.dataset.row_ids,
        logits,
        class_names=class_names,
        temperature=temperature,
        labels=rows.labels,
        groups=rows.dataset.groups,
    )
    calibration = predictions.take(chosen)
    fitted = calibration_of(calibration, ScalingChoice("others made it", 0))
    record = record_answers(predictions.take(parts["validation"]), calibration, seed=_SEED)
    num_bytes = 0 if record is None else write_answer_record(folder, record)
    text = calibration_section(fitted) + abstention_section(record, num_bytes, metrics=metrics)
    text += _of_calibration(rows, calibration, chosen, folder, metrics)
    told = brief_figures(predictions.take(parts["test"]))
    return plain_calibration(fitted), text, {"test": told, "num_calibration": len(chosen), "careful": LEARNED_FROM}


def _of_calibration(
    rows: GivenRows,
    calibration: Predictions,
    chosen: NDArray[np.int64],
    folder: Path,
    metrics: Mapping[str, Any],
) -> str:
    """Write what sets and `check` go by; what the card says of it."""
    dataset, pixels = rows.dataset.take(chosen), rows.pixels.take(chosen)
    certificate = certify(calibration, pixels, seed=_SEED, fingerprint=dataset.fingerprint)
    num_bytes = 0 if certificate is None else write_sets(folder, certificate)
    outputs = {"logits": calibration.logits}
    reference = refer(outputs, dataset, pixels, groups=calibration.groups, spec=rows.spec, seed=_SEED)
    num_kept = 0 if reference is None else write_reference(folder, reference)
    return sets_section(certificate, num_bytes, metrics=metrics) + reference_section(reference, num_kept)


def _parts(rows: GivenRows) -> dict[str, NDArray[np.int64]]:
    """Three equal parts of each class; images of a group, and those of the same pixels, stay together."""
    identities = content_identities(rows.pixels)
    keys = [identities[row].tobytes().hex() for row in range(len(rows.pixels))]
    if rows.dataset.groups is not None:
        keys = [f"group {name}" if name else key for name, key in zip(rows.dataset.groups.tolist(), keys, strict=True)]
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    units = sorted(first, key=lambda key: (int(rows.labels[first[key]]), position(_SEED, key)))
    # The last part first, so that a figure is had of what is rare.
    part_of = {unit: _PARTS[-1 - number % len(_PARTS)] for number, unit in enumerate(units)}
    found = np.array([part_of[key] for key in keys])
    return {name: np.flatnonzero(found == name) for name in _PARTS}


def told_figures(measured: Mapping[str, Any]) -> str:
    """The accuracy of the rows that took no part, in a line."""
    test = measured.get("test")
    if not test:
        return "too few images to measure anything"
    lower, upper = test["accuracy_interval"]
    return f"{test['accuracy']:.4f} [{lower:.4f}, {upper:.4f}] on {counted(test['num_images'], 'image')}"
