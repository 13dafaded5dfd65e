"""Ensembles of finished runs: how `ensembles.py of-runs` draws and judges them. Imports no Keras."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import json
import math
import statistics
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from seeds import mean_interval

from sightline.metrics.ensembles import ensemble_logits


@dataclasses.dataclass(frozen=True, eq=False)
class RunPredictions:
    """What several runs said of the same test images.

    Attributes:
        logits: (num_images, num_runs, num_classes).
        labels: (num_images,) as given.
        row_ids: (num_images,) strings.
        class_names: in the order of the logits.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    row_ids: NDArray[np.str_]
    class_names: tuple[str, ...]


def report(arguments: argparse.Namespace) -> None:
    """Print single runs and ensembles of them, by raw labels and, if there are any, by corrected ones."""
    folders = sorted(
        path.parent for path in arguments.folder.glob(f"{arguments.prefix}*/predictions.npz") if path.is_file()
    )
    if len(folders) < 2:
        sys.exit(f"{arguments.folder}: {len(folders)} finished runs begin with '{arguments.prefix}'; it takes two.")
    predictions = read_predictions(folders)
    print(f"{len(folders)} runs, {folders[0].name} to {folders[-1].name}: {len(predictions.labels):,} test images")
    print(costs(folders))
    size = sensible_size(len(folders), arguments.size)
    chosen = draws(len(folders), size, most=arguments.draws)
    if size < arguments.size:
        print(f"Too few runs for ensembles of {arguments.size} that differ: ensembles of {size} instead.")
    how = "all there are" if len(chosen) == math.comb(len(folders), size) else "drawn by chance"
    print(
        f"{len(chosen)} ensembles of {size}: {how}. They share members, so they spread less than ensembles that were "
        "trained apart."
    )
    together = [ensemble_logits(predictions.logits[:, members], np.ones(size)).argmax(axis=1) for members in chosen]
    alone = [predictions.logits[:, run].argmax(axis=1) for run in range(len(folders))]
    labels = {"raw": predictions.labels}
    if arguments.corrections is None:
        print("Measured by raw labels only: --corrections FILE names what people have confirmed to be wrong.")
    else:
        labels["corrected"] = corrected(predictions, arguments.corrections)
    print("\n| labels | what | errors, mean | least to most | accuracy, mean |\n|---|---|---|---|---|")
    for which, given in labels.items():
        for what, said in (("one network", alone), (f"ensemble of {size}", together)):
            print(f"| {which} | {what} | {errors_of(said, given, is_alone=said is alone)} |")


def read_predictions(folders: list[Path]) -> RunPredictions:
    """The test predictions of runs, which must be of the same images."""
    found = []
    for folder in folders:
        with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
            found.append({name: arrays[name] for name in ("test_row_ids", "test_labels", "test_logits", "class_names")})
        if not np.array_equal(found[-1]["test_row_ids"], found[0]["test_row_ids"]):
            sys.exit(f"{folder}: was tested on other images than {folders[0]}.")
    logits = np.stack([one["test_logits"].astype(np.float64) for one in found], axis=1)
    first = found[0]
    return RunPredictions(logits, first["test_labels"], first["test_row_ids"], tuple(first["class_names"].tolist()))


def costs(folders: list[Path]) -> str:
    """Processor time of all trainings together, from what `records.py` leaves beside each run."""
    paths = [folder.with_name(f"{folder.name}-cost.json") for folder in folders]
    found = [json.loads(path.read_text(encoding="utf-8"))["cpu"] for path in paths if path.is_file()]
    missing = f"; of {len(paths) - len(found)} it is not known" if len(found) < len(paths) else ""
    if not found:
        return "processor time of the trainings: not known"
    return (
        f"processor time of {len(found)} trainings: {sum(found):,.0f} s, {statistics.mean(found):,.0f} s each{missing}"
    )


def sensible_size(num_runs: int, asked: int) -> int:
    """The largest size up to that asked for of which there are several ensembles."""
    return min(asked, num_runs - 1) if num_runs > 2 else num_runs


def draws(num_runs: int, size: int, *, most: int) -> list[list[int]]:
    """All ensembles of a size, or different ones drawn by chance where there are more."""
    if math.comb(num_runs, size) <= most:
        return [list(members) for members in itertools.combinations(range(num_runs), size)]
    chance, found = np.random.default_rng(0), set[tuple[int, ...]]()
    while len(found) < most:
        found.add(tuple(sorted(chance.choice(num_runs, size, replace=False).tolist())))
    return [list(members) for members in sorted(found)]


def corrected(predictions: RunPredictions, path: Path) -> NDArray[np.int64]:
    """The labels as people agreed on them; -1 where they agreed on none, so that the row is left out."""
    labels = predictions.labels.copy()
    places = {row_id: place for place, row_id in enumerate(predictions.row_ids.tolist())}
    known = {name: label for label, name in enumerate(predictions.class_names)} | {"": -1}
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if wrong := [row for row in rows if row["row_id"] not in places or row["label"] not in known]:
        sys.exit(f"{path}: {wrong[0]} names no test image, or no class of these runs.")
    for row in rows:
        labels[places[row["row_id"]]] = known[row["label"]]
    left_out = int((labels < 0).sum())
    print(f"{len(rows)} labels corrected; {left_out} of these images are left out, as people agreed on no other class.")
    return labels


def errors_of(said: list[NDArray[np.int64]], labels: NDArray[np.int64], *, is_alone: bool) -> str:
    """Mean and range of errors, and the mean accuracy, as cells of a table."""
    judged = labels >= 0
    errors = [int((answer != labels)[judged].sum()) for answer in said]
    accuracies = [1 - count / int(judged.sum()) for count in errors]
    interval = ""
    # Ensembles share members: an interval over them would be too narrow, so only their range is told.
    if is_alone:
        lower, upper = mean_interval(accuracies)
        interval = f" [{lower:.5f}, {upper:.5f}]"
    mean = statistics.mean(accuracies)
    return f"{statistics.mean(errors):.2f} | {min(errors)} to {max(errors)} | {mean:.5f}{interval}"
