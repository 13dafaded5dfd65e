"""Soft labels: views of the train images, and what a teacher answers to each of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from sightline.bundles.sessions import Session, open_session
from sightline.errors import InvalidValue, TrainingFailed
from sightline.evaluation.measuring.scoring import figures, score
from sightline.records import Predictions
from sightline.system.progress import reporter
from sightline.tasks.table import has_several_labels
from sightline.training.augmentation.pipeline import build_augmentation
from sightline.training.augmentation.views import augmented_views
from sightline.training.distillation.teacher import Teacher
from sightline.training.setup.preparation import DistillationTargets, Prepared

# Settled on validation rows: docs/decisions/0021-how-distilling-learns.md and 0024-half-of-a-lesson-are-labels.md.
MOST_VIEWS = 8
SOFTENING = 4.0
PART_OF_LABELS = 0.5
TOLD = ("num_images", "num_correct", "accuracy", "accuracy_interval", "cross_entropy")


def distillation_targets(data: Prepared, teacher: Teacher) -> DistillationTargets:
    """Make views of the train images by the student's augmentation and ask the teacher about every one.

    Returns:
        Views, each with the mean of its given label and the teacher's calibrated probabilities, which are softened by
        SOFTENING; and the teacher's figures on the validation rows, None where it may have learned from them.

    Source:
        Hinton, Vinyals, Dean, arXiv 1503.02531; teacher and student look at the same view: Beyer et al.,
        Knowledge distillation: a good teacher is patient and consistent, arXiv 2106.05237.
    """
    augmentation = build_augmentation(data.recipe.augmentation, data.spec, seed=data.recipe.seed)
    images: Any = data.pixels.take(data.splits.train)
    num_views = 1 if augmentation is None else _num_views(data, images.nbytes)
    if augmentation is not None and num_views > 1:
        images = augmented_views(images, augmentation, num_views=num_views)
    session = open_session(teacher.bundle)
    logits = session.logits(images, with_progress=True)
    if not np.isfinite(logits).all():
        raise TrainingFailed(f"{teacher.bundle.path}: this teacher answers with something else than finite numbers.")
    # The calibration of the student takes the softening back; without rows for it, there must be none.
    softening = SOFTENING if len(data.splits.calibration) else 1.0
    task, dataset = data.dataset.task, data.dataset
    said = task.probabilities(logits, temperature=teacher.bundle.temperature * softening)
    given = task.targets(dataset.labels[data.splits.train], num_classes=dataset.num_classes, one_hot=True)
    given = np.tile(given, (num_views, 1))
    soft_labels = (PART_OF_LABELS * given + (1 - PART_OF_LABELS) * said).astype(np.float32)
    test = teacher.bundle.metrics.get("test") or {}
    told = {
        "bundle": str(teacher.bundle.path),
        "test_accuracy": test.get("accuracy"),
        "test_accuracy_interval": test.get("accuracy_interval"),
        # Of rows that it may have learned from, its figures would say nothing.
        "validation": _judged(session, data, teacher) if teacher.is_known else None,
        "num_views": num_views,
        "has_same_splits": teacher.is_known,
    }
    return DistillationTargets(images, soft_labels, told)


def _num_views(data: Prepared, num_bytes: int) -> int:
    """As many as are of use and memory may hold."""
    limit = data.recipe.data.memory_limit_mib * 2**20
    wanted = min(MOST_VIEWS, int(data.recipe.training.epochs))
    if wanted > 1 and 2 * num_bytes > limit:
        raise InvalidValue(
            f"data.memory_limit_mib={data.recipe.data.memory_limit_mib} holds no second view of "
            f"{len(data.splits.train):,} train images, which take {num_bytes / 2**20:,.0f} MiB. Set it to "
            f"{2 * num_bytes / 2**20 + 1:,.0f} or more, take a part of the images (data.fraction), or learn without "
            "augmentation (augmentation.policy=none)."
        )
    return min(wanted, max(limit // max(num_bytes, 1), 1))


def _judged(session: Session, data: Prepared, teacher: Teacher) -> dict[str, Any] | None:
    """The teacher's figures on the rows that the student is chosen by."""
    rows = data.splits.validation
    if not len(rows):
        return None
    answers = Predictions.of(
        data.dataset.row_ids[rows],
        session.logits(data.pixels.take(rows)),
        class_names=data.dataset.class_names,
        temperature=teacher.bundle.temperature,
        labels=data.dataset.labels[rows],
        groups=None if data.splits.groups is None else data.splits.groups[rows],
        task=teacher.bundle.task,
    )
    judged = figures(score(answers))
    called = "exact match" if has_several_labels(answers.task) else "accuracy"
    reporter().say(f"teacher: {called} {judged['accuracy']:.4f} on the {len(rows):,} validation images")
    return {key: judged[key] for key in TOLD}
