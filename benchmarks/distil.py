"""How a small network learns from an ensemble: labels or answers, augmentation on top or views that both look at.

    python benchmarks/distil.py TEACHER --passes 16 --seeds 0 1 2

TEACHER is a run on a part of MNIST: `sightline train mnist --recipe accurate --ensemble deep --members 3 --fraction 0.1
--epochs 6 --set training.precision=mixed_bfloat16`. Students learn its train rows. They are judged on validation rows
only: 20,000 images of MNIST's train split that are in the validation split of that run, or in none. Test images are not
looked at.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

import sightline
from sightline.bundles.bundle import load_bundle
from sightline.bundles.sessions import open_session
from sightline.configuration.schema import Recipe
from sightline.metrics.calibration.temperature import fit_temperature
from sightline.metrics.classification import cross_entropy, softmax
from sightline.records import Bundle
from sightline.system.backends import load_keras
from sightline.system.progress import reporting

keras = load_keras()

from sightline.networks.building import build_network  # noqa: E402  # the backend is chosen first
from sightline.training.augmentation.pipeline import build_augmentation  # noqa: E402
from sightline.training.augmentation.views import augmented_views  # noqa: E402
from sightline.training.ensembles.graph import answers_of  # noqa: E402
from sightline.training.loop.batches import LabelledImages  # noqa: E402
from sightline.training.loop.fit import fit  # noqa: E402
from sightline.training.loop.recording import FitOutputs  # noqa: E402
from sightline.training.setup.resolution import settle  # noqa: E402

MOST_JUDGED = 20_000
# Name, number of views, softening, part of the given labels in what is learned, whether augmentation is on top; no
# softening: labels alone, smoothed as the recipe says.
WAYS: dict[str, tuple[int, float | None, float, bool]] = {
    "labels, augmentation on top": (1, None, 1.0, True),
    "answers, augmentation on top": (1, 1.0, 0.0, True),
    "answers softened by 4, augmentation on top": (1, 4.0, 0.0, True),
    "answers softened by 4, half labels, augmentation on top": (1, 4.0, 0.5, True),
    "2 views": (2, 1.0, 0.0, False),
    "4 views": (4, 1.0, 0.0, False),
    "8 views": (8, 1.0, 0.0, False),
    "8 views, softened by 2": (8, 2.0, 0.0, False),
    "8 views, softened by 4": (8, 4.0, 0.0, False),
    "8 views, softened by 4, augmentation on top": (8, 4.0, 0.0, True),
    "8 views, softened by 4, half labels": (8, 4.0, 0.5, False),
    "16 views, softened by 4": (16, 4.0, 0.0, False),
    "16 views, softened by 4, three tenths labels": (16, 4.0, 0.3, False),
    "16 views, softened by 4, half labels": (16, 4.0, 0.5, False),
    "16 views, softened by 4, seven tenths labels": (16, 4.0, 0.7, False),
    "16 views, softened by 8, half labels": (16, 8.0, 0.5, False),
}


def main() -> None:
    """Train every student that was asked for, a line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--passes", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--out", type=Path, default=Path("distil.jsonl"))
    arguments = parser.parse_args()
    school = School(load_bundle(arguments.teacher), max(WAYS[way][0] for way in arguments.ways))
    report(
        arguments.out, {"way": "teacher", "train": len(school.train), **school.judge(school.said, school.temperature)}
    )
    for seed in arguments.seeds:
        for way in arguments.ways:
            told = school.student(
                WAYS[way], sightline.recipe("fast", {"seed": seed, "training.epochs": arguments.passes})
            )
            report(arguments.out, {"way": way, "passes": arguments.passes, "seed": seed, **told})


class School:
    """A teacher, its rows, and what it says of those that students are judged on."""

    def __init__(self, bundle: Bundle, most_views: int) -> None:
        """Divide MNIST as the teacher's run did."""
        self.session, self.spec, self.temperature = open_session(bundle), bundle.input, bundle.temperature
        self.data = sightline.load("mnist")
        self.images = np.asarray(self.data.images)
        with (bundle.path.parent / "splits.csv").open(encoding="utf-8", newline="") as stream:
            listed = {line["row_id"]: line["split"] for line in csv.DictReader(stream)}
        splits = np.array([listed.get(row_id, "") for row_id in self.data.row_ids.tolist()])
        is_free = (self.data.given_splits == "train") & ((splits == "validation") | (splits == ""))
        self.train, self.calibration = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "calibration")
        self.judged = np.flatnonzero(is_free)[:MOST_JUDGED]
        self.said = self.session.logits(self.images[self.judged])
        self.most_views = most_views
        self.kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def student(self, way: tuple[int, float | None, float, bool], asked: Recipe) -> dict[str, float]:
        """Train one and judge it."""
        num_views, softening, part, on_top = way
        recipe = settle(asked, dataset=self.data).recipe
        keras.utils.set_random_seed(recipe.seed)
        network = build_network(self.spec.shape, 10, recipe.model)
        augmentation = build_augmentation(recipe.augmentation, self.spec, seed=recipe.seed)
        rows = LabelledImages(self.images[self.train], self.data.labels[self.train])
        if softening is not None:
            recipe = recipe.changed({"loss.label_smoothing": 0.0})
            views, logits = self.views(recipe.seed, augmentation)
            count = num_views * len(self.train)
            given = np.eye(10)[np.tile(rows.labels, num_views)]
            said = softmax(logits[:count], temperature=self.temperature * softening)
            answers = (part * given + (1 - part) * said).astype(np.float32)
            rows = LabelledImages(views[:count], rows.labels, soft_labels=answers)
        changing = augmentation if on_top else None
        with reporting("quiet"):
            fit(network, rows, validation=None, recipe=recipe, augmentation=changing, outputs=FitOutputs())
        known = answers_of(network, self.images[self.calibration])
        logits = answers_of(network, self.images[self.judged])
        return {
            **self.judge(logits, fit_temperature(known, self.data.labels[self.calibration])),
            "agreement": round(float((logits.argmax(1) == self.said.argmax(1)).mean()), 5),
        }

    def views(self, seed: int, augmentation: Any) -> tuple[np.ndarray, np.ndarray]:
        """The most views that are wanted, which begin with fewer, and what the teacher says of them; kept by seed."""
        if seed not in self.kept:
            views = augmented_views(self.images[self.train], augmentation, num_views=self.most_views)
            self.kept[seed] = views, self.session.logits(views)
        return self.kept[seed]

    def judge(self, logits: np.ndarray, temperature: float) -> dict[str, float]:
        """Errors and calibrated cross-entropy."""
        labels = self.data.labels[self.judged]
        return {
            "images": len(labels),
            "errors": int((logits.argmax(1) != labels).sum()),
            "cross_entropy": round(float(cross_entropy(logits, labels, temperature=temperature)), 5),
            "temperature": round(temperature, 3),
        }


def report(out: Path, line: dict[str, object]) -> None:
    """Print a line and keep it."""
    print(json.dumps(line), flush=True)
    with out.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
