"""Finished runs opened once more: the images that they were judged on, found to be the same, and their networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.bundles.prediction import match_labels
from sightline.bundles.vetting.network_files import open_network
from sightline.configuration.schema import DataRecipe, Recipe
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.data.sources.downloads import load_keras_for
from sightline.data.sources.loading import open_again
from sightline.errors import InvalidBundle, InvalidSource, InvalidValue, UnknownName
from sightline.evaluation.measuring.finished_runs import JUDGED_SPLITS, FinishedRun
from sightline.evaluation.measuring.judging import with_learned_labels
from sightline.records import SPLIT_NAMES, Dataset, InputSpec, Splits, Store
from sightline.system.backends import choose_backend
from sightline.system.progress import reporter
from sightline.training.combination.shared_rows import SharedRows, class_order
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.reference_rows import reference_rows


def reopen_shared_rows(
    source: Any, runs: Sequence[FinishedRun], rows: SharedRows, *, class_names: tuple[str, ...], spec: InputSpec
) -> tuple[Prepared, str]:
    """Open the source of several runs again, and read the images of the rows that they share.

    Args:
        source: where the images are; None for where the runs found them.
        runs: of that source.
        rows: that they share.
        class_names: in the order that is wanted.
        spec: what the network is fed.

    Returns:
        The data, whose pixels are those of the judged rows and of a few train rows; and what finds them again, typed.
    """
    dataset, typed = _open(source, runs)
    chosen, splits = _divided(dataset, rows, class_names)
    judged = np.sort(np.concatenate([splits.rows(name) for name in SPLIT_NAMES if name in JUDGED_SPLITS]))
    # No recipe trained what is made of them; but pictures that one of the runs keeps back stay where they are.
    parity_images = all(run.recipe.get("data", {}).get("parity_images", True) for run in runs)
    kept = [run.recipe.get("data", {}).get("neighbours", "names") for run in runs]
    neighbours = next((kind for kind in ("none", "names") if kind in kept), "thumbnails")
    # A few train images, too, to tell how far others are from them; one that can no longer be read is done without.
    references = reference_rows(chosen, splits.train, spec, seed=0, may_travel=neighbours != "none")
    wanted = np.concatenate([judged, references])
    read = read_pixels(chosen.take(wanted), spec)
    errors = {int(wanted[row]): reason for row, reason in read.errors.items()}
    if lost := [row for row in judged.tolist() if row in errors]:
        raise InvalidSource(
            f"{dataset.name}: {len(lost):,} images that the runs were judged on can no longer be read; the first is "
            f"{chosen.row_ids[lost[0]]}: {errors[lost[0]]}"
        )
    # Rows that nobody asks for have no image: to ask for one is an IndexError.
    positions = np.full(len(chosen), len(read.stored), np.int64)
    positions[wanted] = read.rows
    recipe = Recipe(name="combined", data=DataRecipe(parity_images=parity_images, neighbours=neighbours))
    return Prepared(chosen, Pixels(read.stored, positions, errors), splits, spec, recipe), typed


def reopened_network(run: FinishedRun, class_names: tuple[str, ...]) -> Any:
    """The network of a run, uint8 images to features and calibrated logits, in the order of these classes."""
    import keras

    from sightline.training.packaging.contract import contract_of

    path = run.bundle.path / "model.keras"
    contract = contract_of(open_network(path))
    if not {"features", "logits"} <= set(contract.output):
        raise InvalidBundle(f"{run.path}: its network gives no features; it was made by an older version. Train again.")
    # Networks are more or less sure of themselves than they are right, distilled ones above all: before
    # their probabilities are averaged, each is as sure as its own calibration rows allow.
    logits = keras.ops.divide(contract.output["logits"], run.bundle.temperature)
    order = class_order(run.bundle.class_names, class_names)
    if order != sorted(order):
        logits = keras.ops.take(logits, order, axis=-1)
    return keras.Model(contract.input, {"features": contract.output["features"], "logits": logits})


def _open(source: Any, runs: Sequence[FinishedRun]) -> tuple[Dataset, str]:
    if kept := next((run.path for run in runs if run.source.get("kept")), None):
        raise InvalidValue(f"{kept}: keeps classes by images of another run, and is not combined. Name other runs.")
    recorded = next((run.source for run in runs if run.source.get("typed")), None)
    if source is None and recorded is None:
        raise InvalidValue(f"{runs[0].path}: this run does not say where its images are. Name them with --source.")
    wanted = source if source is not None or recorded is None else recorded["typed"]
    load_keras_for(wanted, choose_backend())
    try:
        dataset = with_learned_labels(runs[0].bundle, open_again(wanted, runs[0].source))
    except (UnknownName, InvalidSource) as error:
        if source is not None:
            raise
        raise InvalidValue(
            f"{wanted}: what the runs were trained on cannot be opened ({error}) Name with --source where it is now."
        ) from error
    if dataset.fingerprint not in {run.source.get("fingerprint") for run in runs}:
        # A folder that was copied has other times; that its files are the same images was the user's word.
        if source is None or not isinstance(dataset.images, Store):
            raise InvalidValue(
                f"{dataset.name}: these are not the images that the runs were trained on, or some changed since. "
                "Name the right ones with --source."
            )
        reporter().say(
            "note: another state of the source: files of the same name and class are taken for the same image."
        )
    return dataset, str(wanted) if isinstance(wanted, str | Path) else ""


def _divided(dataset: Dataset, rows: SharedRows, class_names: tuple[str, ...]) -> tuple[Dataset, Splits]:
    """The rows that are in a split, their classes in the order wanted."""
    row_of = {row_id: row for row, row_id in enumerate(dataset.row_ids.tolist())}
    missing = [row_id for row_id in rows.given if row_id not in row_of]
    if missing:
        raise InvalidValue(
            f"{dataset.name}: {len(missing):,} images that the runs were judged on are not in it, such as "
            f"{missing[0]!r}. Name the images that they were trained on with --source."
        )
    used = np.array(sorted(row_of[row_id] for row_id in rows.splits if row_id in row_of), np.int64)
    taken, labels = dataset.take(used), match_labels(class_names, dataset, used)
    taken = dataclasses.replace(taken, class_names=class_names, labels=labels)
    row_ids = taken.row_ids.tolist()
    for row_id, name in zip(row_ids, taken.named(), strict=True):
        if rows.given.get(row_id, name) != name:
            raise InvalidValue(
                f"{dataset.name}: {row_id!r} is '{name}' in it and was '{rows.given[row_id]}' for the "
                "runs. Name the images that they were trained on with --source."
            )
    names = np.array([rows.splits[row_id] for row_id in row_ids])
    groups = np.array([rows.groups[row_id] for row_id in row_ids])
    found = {name: np.flatnonzero(names == name) for name in SPLIT_NAMES}
    splits = Splits(
        **found, fingerprint=dataset.fingerprint, left_out=rows.left_out, groups=groups, remarks=rows.remarks
    )
    return taken, splits
