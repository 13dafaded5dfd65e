"""How a run ends: its network is bundled and judged, on test rows, too, and all is written that tells of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sightline.bundles.card import Origin
from sightline.evaluation.evaluate import write_figures
from sightline.evaluation.measuring.finished_runs import kept_predictions, read_run
from sightline.evaluation.measuring.scoring import run_figures
from sightline.evaluation.report import FILE as REPORT, write_page
from sightline.integrations.tracking.tracker import Tracker
from sightline.records import Run
from sightline.system.files import write_json
from sightline.system.progress import Stopwatch
from sightline.system.text import without_nan
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.unfinished import FINISHED


def judge(learned: Any, data: Prepared, noted: Path, origin: Origin, *, stopwatch: Stopwatch, processes: int) -> Run:
    """Bundle and judge a network; the figures are noted just before the bundle appears, to be told by whoever goes on.

    Args:
        learned: a `network`, how it was `fitted`, and what is told of its members as `ensemble`, or None.
        data: prepared.
        noted: in a folder of the run's own.
        origin: where the network comes from.
        stopwatch: of the training so far.
        processes: that it learned on.
    """
    import keras

    from sightline.training.packaging.bundling import bundled

    fitted, folder = learned.fitted, noted.parent.parent
    with bundled(learned.network, data, folder, origin, stopwatch=stopwatch, ensemble=learned.ensemble) as judged:
        run = Run(
            path=folder,
            recipe=data.recipe.to_dict(),
            splits=data.splits,
            history=fitted.history,
            chosen_epoch=fitted.chosen_epoch,
            stopped_early=fitted.stopped_early,
            validation=judged.evaluations.get("validation"),
            evaluation=judged.evaluations.get("test"),
            bundle=judged.bundle,
            backend=keras.config.backend(),
            num_parameters=int(learned.network.count_params()),
            seconds={**stopwatch.seconds, "total": stopwatch.total()},
            images_per_second=fitted.images_per_second,
            stages=fitted.stages,
            processes=processes,
            ensemble=judged.ensemble,
            teacher=None if data.distillation is None else data.distillation.teacher,
        )
        write_json(noted, run_figures(run))
    return run


def finish(run: Run, metrics: Mapping[str, Any], data: Prepared, tracker: Tracker | None = None) -> Run:
    """Write what tells of a run: its figures as pictures, its page, last its `metrics.json`; then a tracker has it."""
    kept = read_run(run, metrics=json.loads(json.dumps(without_nan(metrics))))
    answers = kept_predictions(kept, "test")
    if run.evaluation is not None and answers is not None:
        row_of = {row_id: row for row, row_id in enumerate(data.dataset.row_ids.tolist())}
        rows = np.array([row_of[row_id] for row_id in answers.row_ids], dtype=np.int64)
        write_figures(run.path, run.evaluation, answers, data.pixels.take(rows))
    write_page(run.path / REPORT, kept, data.dataset)
    write_json(run.path / FINISHED, metrics)
    if tracker is not None:
        tracker.finish(run)
    return run
