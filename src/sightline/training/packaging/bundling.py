"""Calibrate, evaluate, compare, seal: a fitted network becomes a bundle, whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import capabilities_of, load_bundle, write_description, write_manifest
from sightline.bundles.card import Origin, card
from sightline.bundles.identity import write_identity
from sightline.bundles.parity import made_images, parity_section, write_parity
from sightline.bundles.sessions import Session
from sightline.bundles.trust.abstention import abstention_section, record_answers, write_answer_record
from sightline.bundles.trust.calibration import calibration_of, calibration_section, plain_calibration
from sightline.bundles.trust.details import (
    DetailMaker,
    promises_section,
    thresholds_of,
    usual_makers,
    with_promises,
)
from sightline.bundles.trust.reference import refer, reference_section, write_reference
from sightline.bundles.trust.sets import certify, sets_section, write_sets
from sightline.evaluation.measuring.scoring import brief_figures, figures, score
from sightline.metrics.calibration.scaling import ScalingChoice, choose_scaling
from sightline.metrics.uncertainty.bootstrap import mean_interval
from sightline.records import Bundle, Evaluation, Predictions, SplitName
from sightline.system.backends import without_retracing_notes
from sightline.system.files import staged_folder, write_arrays, write_atomically, write_json
from sightline.system.progress import Stopwatch, reporter
from sightline.tasks.table import has_several_labels
from sightline.training.packaging.contract import (
    largest_probability_difference,
    logits_layer,
    member_width,
    save_network,
    scale_classes,
)
from sightline.training.packaging.label_calibration import LabelCalibration, calibrate_labels, write_label_promises
from sightline.training.packaging.novelty_files import with_novelty, write_neighbour_files, write_novelty_file
from sightline.training.packaging.novelty_fit import FittedNovelty, fit_novelty
from sightline.training.packaging.novelty_graph import seeing
from sightline.training.setup.preparation import Prepared

JUDGED: tuple[SplitName, ...] = ("validation", "calibration", "test")
# The two files of a bundle are compared on so many pixels at most: 2,000 images of MNIST, 31 of 224x224.
MOST_COMPARED = 2_000 * 28 * 28
FEWEST_COMPARED = 31
# Only an ensemble has the second and the third, and the last where there were rows to fit it by.
OUTPUTS = ("logits", "disagreement", "member_logits", "novelty")


@dataclass(frozen=True, eq=False)
class Judged:
    """What the deployed network says of the rows that it did not learn from, and the bundle as it is about to be."""

    predictions: dict[SplitName, Predictions]
    evaluations: dict[SplitName, Evaluation]
    ensemble: dict[str, Any] | None
    bundle: Bundle


@contextlib.contextmanager
def bundled(
    network: keras.Model,
    data: Prepared,
    folder: Path,
    origin: Origin,
    *,
    stopwatch: Stopwatch,
    ensemble: dict[str, Any] | None = None,
) -> Iterator[Judged]:
    """Write `predictions.npz` into a run's folder, and `bundle/`, which appears in it at the end, if all went well.

    What is written within the block is there before the bundle is.

    `ensemble` is what metrics.json says of one and its members; their figures are added to it.
    """
    with without_retracing_notes(), staged_folder(folder / "bundle") as staged:
        export = _exported_labels if has_several_labels(data.dataset.task) else _exported
        exported = export(network, data, staged, stopwatch=stopwatch)
        predictions, outputs = exported.predictions, exported.outputs
        evaluations = {name: score(rows) for name, rows in predictions.items() if len(rows)}
        if ensemble is not None:
            members = _judged_members(ensemble["members"], predictions, outputs)
            ensemble = ensemble | {"members": members, **_mean_disagreement(predictions)}
        made_of = {
            "ensemble": ensemble,
            "teacher": None if data.distillation is None else dict(data.distillation.teacher),
        }
        sections = _write_parts(staged, data, exported, made_of)
        makers, judged = _keep_promises(staged, data, predictions["test"], outputs["test"], made_of)
        evaluations |= {} if judged is None else {"test": judged}
        _write_predictions(folder / "predictions.npz", data, predictions, outputs)
        stopwatch.lap("evaluate")
        difference = _compare(staged, exported.session, data, predictions["test"])
        calibration = calibration_of(predictions["calibration"], exported.scaling)
        told = plain_calibration(calibration) | {"thresholds": thresholds_of(makers)}
        write_description(staged, spec=data.spec, class_names=data.dataset.class_names, calibration=told)
        test = evaluations.get("test")
        write_json(staged / "metrics.json", _metrics(data, origin, test, difference, made_of))
        num_bytes = None if data.identity is None else write_identity(staged, data.identity)
        text = card(data.dataset, data.spec, origin, evaluation=test, ensemble=ensemble, identity_bytes=num_bytes)
        text += calibration_section(calibration) + _write_parity(staged, exported.session, data) + sections
        text += promises_section(test) + _write_reference(staged, data, outputs["calibration"])
        write_atomically(staged / "card.md", text)
        write_manifest(staged, task=data.dataset.task)
        stopwatch.lap("export")
        bundle = dataclasses.replace(load_bundle(staged, is_own=True), path=folder / "bundle")
        yield Judged(predictions, evaluations, ensemble, bundle)


GraphOutputs = dict[SplitName, dict[str, NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class _Exported:
    """A network in both formats, what it says, and what was fitted to that; of labels or of novelty, as it has them."""

    session: Session
    predictions: dict[SplitName, Predictions]
    outputs: GraphOutputs
    scaling: ScalingChoice
    novelty: FittedNovelty | None = None
    of_labels: LabelCalibration | None = None


def _exported(network: keras.Model, data: Prepared, staged: Path, *, stopwatch: Stopwatch) -> _Exported:
    """The network in both formats and what it says, after classes got factors and shifts where validation likes them.

    They are in the network that is saved, so that whatever asks it later, in whatever format, asks one and the same.
    """
    session, width = save_network(network, staged), member_width(network)
    with seeing(session, width=width) as looking:
        novelty = fit_novelty(looking, data)
    session = with_novelty(session, data, novelty, width=width)
    stopwatch.lap("export")
    predictions, outputs = _predict(session, data)
    scaling = _class_scaling(network, predictions["validation"], data)
    if scaling.is_chosen:
        # What it sees stays what it was.
        session = with_novelty(save_network(network, staged), data, novelty, width=width)
        predictions, outputs = _predict(session, data)
    return _Exported(session, predictions, outputs, scaling, novelty=novelty)


def _exported_labels(network: keras.Model, data: Prepared, staged: Path, *, stopwatch: Stopwatch) -> _Exported:
    """The same where an image may have several labels, each of which has a threshold, a factor and a shift."""
    session = save_network(network, staged)
    stopwatch.lap("export")
    predictions, outputs = _predict(session, data)
    found = calibrate_labels(network, predictions["validation"], predictions["calibration"])
    if found.scaling.is_chosen:
        session = save_network(network, staged)
        predictions, outputs = _predict(session, data)
    told = {name: dataclasses.replace(rows, task=found.task) for name, rows in predictions.items()}
    return _Exported(session, told, outputs, found.scaling, of_labels=found)


def _write_parts(staged: Path, data: Prepared, exported: _Exported, made_of: Mapping[str, Any]) -> str:
    """Keep what promises are made by, where there are rows for it; what the card says of it."""
    if exported.of_labels is not None:
        calibration, seed = exported.predictions["calibration"], data.recipe.seed
        return write_label_promises(staged, exported.of_labels, calibration, seed=seed, made_of=made_of)
    sections = _write_promises(staged, data, exported.predictions, made_of)
    sections += write_novelty_file(staged, data, exported.novelty, exported.outputs["calibration"], made_of)
    return sections + write_neighbour_files(staged, data, exported.novelty)


def _predict(session: Session, data: Prepared) -> tuple[dict[SplitName, Predictions], GraphOutputs]:
    """Answers of the deployed graph for every judged split, at the temperature of the calibration rows."""
    outputs: GraphOutputs = {
        name: session.collect(data.pixels.take(data.splits.rows(name)), OUTPUTS, with_progress=True) for name in JUDGED
    }
    temperature = 1.0
    if len(data.splits.calibration):
        labels = data.dataset.labels[data.splits.calibration]
        temperature = data.dataset.task.fit_temperature(outputs["calibration"]["logits"], labels)
    predictions: dict[SplitName, Predictions] = {}
    for name in JUDGED:
        rows = data.splits.rows(name)
        predictions[name] = Predictions.of(
            data.dataset.row_ids[rows],
            outputs[name]["logits"],
            class_names=data.dataset.class_names,
            temperature=temperature,
            labels=data.dataset.labels[rows],
            disagreements=outputs[name].get("disagreement"),
            groups=None if data.splits.groups is None else data.splits.groups[rows],
            task=data.dataset.task,
        )
    return predictions, outputs


def _class_scaling(network: keras.Model, validation: Predictions, data: Prepared) -> ScalingChoice:
    """Give the logits of each class a factor and a shift of their own, where that helps validation images."""
    layer, training = logits_layer(network), data.recipe.training
    why = ""
    if layer is None:
        why = "its logits are not the sums of one last layer"
    elif not len(validation):
        why = "there are no validation images"
    elif training.class_weights != "none" or training.sampling != "natural":
        why = "rare classes were made to count more in training, and it would undo that"
    if layer is None or why:
        return ScalingChoice(why, len(validation))
    choice = choose_scaling(validation.logits, np.asarray(validation.labels), validation.groups)
    if choice.is_chosen:
        scale_classes(layer, choice.factors, choice.shifts)
        reporter().say(f"each class has a factor and a shift of its own: {choice.why}")
    return choice


def _judged_members(
    members: list[dict[str, Any]], predictions: dict[SplitName, Predictions], outputs: GraphOutputs
) -> list[dict[str, Any]]:
    """Members with their own figures, where their answers are in the graph; those of a soup are not."""
    judged: list[dict[str, Any]] = [{"validation": None, "test": None, **member} for member in members]
    for name in ("validation", "test"):
        logits, rows = outputs[name].get("member_logits"), predictions[name]
        if logits is None or not len(rows):
            continue
        # Members without a vote are not in the graph.
        for index, member in enumerate(member for member in judged if member["vote"] > 0):
            member[name] = brief_figures(dataclasses.replace(rows, logits=logits[:, index]))
    return judged


def _mean_disagreement(predictions: dict[SplitName, Predictions]) -> dict[str, Any]:
    """By split, the share of members that name another class than all together, over its images; and its interval."""
    found: dict[str, dict[str, Any]] = {"disagreement": {}, "disagreement_interval": {}}
    for name in ("validation", "test"):
        rows = predictions[name]
        if len(rows) and rows.disagreements is not None:
            lower, upper = mean_interval(rows.disagreements, rows.groups)
            found["disagreement"][name] = float(rows.disagreements.mean())
            # Of one image nothing is known but that it is a share.
            found["disagreement_interval"][name] = [max(lower, 0.0), min(upper, 1.0)]
    return {key: told or None for key, told in found.items()}


def _write_predictions(
    path: Path, data: Prepared, predictions: dict[SplitName, Predictions], outputs: GraphOutputs
) -> None:
    arrays: dict[str, Any] = {"class_names": np.array(data.dataset.class_names)}
    for name, rows in predictions.items():
        arrays[f"{name}_row_ids"] = np.array(rows.row_ids, dtype=str)
        arrays[f"{name}_labels"] = rows.labels
        arrays[f"{name}_logits"] = rows.logits
        if rows.groups is not None:
            arrays[f"{name}_groups"] = rows.groups.astype(str)
        if "member_logits" in outputs[name]:
            arrays[f"{name}_member_logits"] = outputs[name]["member_logits"]
    write_arrays(path, **arrays)


def _compare(staged: Path, session: Session, data: Prepared, test: Predictions) -> float:
    # Without test rows the comparison takes others: it judges the files, not the network.
    most = max(MOST_COMPARED // (data.spec.height * data.spec.width), FEWEST_COMPARED)
    splits = (data.splits.test, data.splits.validation, data.splits.train)
    rows = next((found for found in splits if len(found)), data.splits.train)[:most]
    images = data.pixels.take(rows)[:]
    logits = test.logits[:most] if len(test) else session.logits(images, with_progress=True)
    return largest_probability_difference(staged / "model.keras", images, logits, data.dataset.task)


def _write_parity(staged: Path, session: Session, data: Prepared) -> str:
    """Keep a few network inputs with their logits; what the card says of them."""
    are_made = not data.recipe.data.parity_images
    images = made_images(data.spec)
    if not are_made:
        rows = next(rows for rows in (data.splits.test, data.splits.validation, data.splits.train) if len(rows))
        spread = np.linspace(0, len(rows) - 1, min(len(images), len(rows))).astype(np.int64)
        images = data.pixels.take(rows[spread])[:]
    write_parity(staged, session, images, are_made=are_made)
    return parity_section(len(images), are_made=are_made)


def _keep_promises(
    staged: Path,
    data: Prepared,
    test: Predictions,
    outputs: dict[str, NDArray[np.float32]],
    made_of: Mapping[str, Any],
) -> tuple[dict[str, DetailMaker], Evaluation | None]:
    """What keeps the usual promises, and the figures of the test rows, if there are any, with how they are kept."""
    bundle = Bundle(
        path=staged,
        class_names=test.class_names,
        input=data.spec,
        temperature=test.temperature,
        num_calibration_images=len(data.splits.calibration),
        metrics=made_of,
        manifest={"capabilities": capabilities_of(staged), "outputs": dict.fromkeys(outputs)},
        task=test.task,
    )
    makers, refused = usual_makers(bundle)
    if not len(test):
        return makers, None
    images = data.pixels.take(data.splits.test)
    details = {name: maker.make(outputs, images) for name, maker in makers.items()}
    refused = {
        name: words.replace(f". {staged}", ". The bundle").replace(str(staged), "the bundle")
        for name, words in refused.items()
    }
    return makers, with_promises(score(dataclasses.replace(test, details=details)), makers, refused)


def _write_promises(
    staged: Path, data: Prepared, predictions: dict[SplitName, Predictions], made_of: Mapping[str, Any]
) -> str:
    """Keep what sets and unsure answers are made by, where there are rows for it; what the card says of it."""
    images, seed = data.pixels.take(data.splits.calibration), data.recipe.seed
    certificate = certify(predictions["calibration"], images, seed=seed, fingerprint=data.dataset.fingerprint)
    record = record_answers(predictions["validation"], predictions["calibration"], seed=seed)
    text = sets_section(certificate, 0 if certificate is None else write_sets(staged, certificate), metrics=made_of)
    num_bytes = 0 if record is None else write_answer_record(staged, record)
    return text + abstention_section(record, num_bytes, metrics=made_of)


def _write_reference(staged: Path, data: Prepared, outputs: Mapping[str, NDArray[np.float32]]) -> str:
    """Keep what other images are compared with, where there are calibration rows; what the card says of it."""
    if has_several_labels(data.dataset.task):
        return ""
    rows, groups = data.splits.calibration, data.splits.groups
    found = refer(
        outputs,
        data.dataset.take(rows),
        data.pixels.take(rows),
        groups=None if groups is None else groups[rows],
        spec=data.spec,
        seed=data.recipe.seed,
    )
    return reference_section(found, 0 if found is None else write_reference(staged, found))


def _metrics(
    data: Prepared, origin: Origin, test: Evaluation | None, difference: float, made_of: Mapping[str, Any]
) -> dict[str, Any]:
    source = {
        "name": data.dataset.name,
        "typed": origin.typed,
        "label_from": origin.label_from,
        "columns": origin.columns,
        "fingerprint": data.dataset.fingerprint,
    }
    if has_several_labels(data.dataset.task):
        source["task"] = data.dataset.task.name
    if data.recipe.data.keep_classes:
        source["kept"] = data.recipe.model.weights
    return {
        "source": source,
        "test": _without_matrix(figures(test)) if test else None,
        "largest_probability_difference": difference,
        **{name: told for name, told in made_of.items() if told is not None},
    }


def _without_matrix(told: dict[str, Any]) -> dict[str, Any]:
    """Figures without the confusion of each class with each, which is the run's to tell: every predict reads these."""
    return {key: value for key, value in told.items() if key != "confusion"}
