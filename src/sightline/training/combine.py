"""`combine`: finished runs become one, their votes chosen on validation rows that none of them learned from."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.bundles.card import Origin, licences_of
from sightline.bundles.identity import merged_identities, read_identity
from sightline.data.splitting.splits import splits_table
from sightline.errors import InvalidValue
from sightline.evaluation.evaluate import write_figures
from sightline.evaluation.measuring.finished_runs import (
    JUDGED_SPLITS,
    FinishedRun,
    SplitPredictions,
    distinct_places,
    has_known_train_rows,
    read_run,
)
from sightline.evaluation.measuring.paired_tests import pair, paired_figures
from sightline.evaluation.measuring.scoring import run_figures
from sightline.evaluation.report import report as write_report
from sightline.metrics.classification import checked_count
from sightline.metrics.ensembles import checked_votes
from sightline.quality.labels.label_table import changed_labels_csv
from sightline.records import Bundle, Predictions, Run, SplitName
from sightline.system.backends import check_packages, choose_backend, load_keras, usual_keras
from sightline.system.files import check_free, staged_folder, write_atomically, write_json, writing_to
from sightline.system.interruption import heeding_interrupts
from sightline.system.paths import places_of
from sightline.system.progress import Mode, Stopwatch, reporter, reporting
from sightline.system.workers import free_bytes
from sightline.tasks.table import has_several_labels
from sightline.training.combination.reopening import reopen_shared_rows, reopened_network
from sightline.training.combination.selection import Selection, choose, members_of
from sightline.training.combination.shared_rows import (
    SharedRows,
    shared_classes,
    shared_input,
    shared_recipe,
    shared_rows,
)
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.resolution import SettledKey
from sightline.training.setup.run_folder import give_up, make_run_folder, write_resolution

KIND = "combined"
MOST_STEPS = 20
MOST_RUNS = 200


def combine(
    runs: Sequence[str | Path | Run],
    *,
    out: str | Path | None = None,
    votes: Sequence[float] | None = None,
    most: int | None = None,
    source: Any = None,
    mode: Mode | None = None,
) -> Run:
    """Make one run of several finished ones, which answers with the weighted mean of their probabilities.

    The weights come from greedy selection with replacement: step by step the run is taken that lowers the cross-entropy
    of all taken so far most, on the validation rows that the runs share, until nothing lowers it. A row counts as
    validation, calibration or test if it is that in every run, so that nothing is judged on what one of them
    learned from; `splits.csv` calls train what any of them learned from, and all other rows are in `excluded.csv`.
    The test rows are looked at once, after the selection. The history of the new run has a line a step of it.

    Args:
        runs: two or more, each a Run or its folder; of the same classes and the same size of images.
        out: folder of the new run; `runs/<source>-combined-001`, counted up, if left out.
        votes: a weight a run, 0 or more; nothing is selected then.
        most: steps of the selection at most; 20 if left out.
        source: where the images are, if not where the runs found them.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.

    Returns:
        The Run; `run.ensemble` lists the members with their votes, and how the new run does against the best of
        them on the test rows.

    Raises:
        InvalidBundle: one is no finished run.
        InvalidValue: fewer than two runs, one given twice, runs that do not go together or share no rows to choose by,
            unusable votes, or images that are no longer what they were.
        OutputExists: `out` is taken.
        MissingPackage: no Keras backend is installed.
        TrainingFailed: the exported network disagrees with its members.
        CannotWrite: the disk is full or read-only.

    Source:
        Caruana, Niculescu-Mizil, Crew, Ksikes, Ensemble selection from libraries of models, ICML 2004.

    Example:
        >>> import sightline
        >>> run = sightline.combine(["runs/mnist-fast-001", "runs/mnist-fast-002"], votes=[1, 3])
        >>> run
        Run 'runs/...-combined-001': test accuracy 0... [0..., 0...] on ... images, 2 runs combined
        >>> [member["vote"] for member in run.ensemble["members"]]
        [1.0, 3.0]
    """
    places = distinct_places(runs, command="combine", most=MOST_RUNS)
    if votes is not None and most is not None:
        raise InvalidValue(
            f"most={most!r} bounds a selection, and votes leave nothing to select. Leave one of them out."
        )
    if votes is not None:
        checked_votes(votes, len(places))
    steps = checked_count(MOST_STEPS if most is None else most, name="most", at_least=1)
    place = Path(out) if out is not None else None
    if place is not None:
        check_free(place, keep=places_of(source))
    check_packages(choose_backend())
    with reporting(mode):
        stopwatch = Stopwatch()
        finished = [read_run(one) for one in places]
        _check_tasks(finished)
        class_names, spec = shared_classes(finished), shared_input(finished)
        rows = shared_rows(finished)
        for remark in rows.remarks:
            reporter().say(f"note: {remark}")
        reporter().say(_opening(finished, rows))
        choice = choose(finished, rows, class_names, votes=votes, most=steps)
        stopwatch.lap("choose")
        data, typed = reopen_shared_rows(source, finished, rows, class_names=class_names, spec=spec)
        heard = [run for run, vote in zip(finished, choice.votes.tolist(), strict=True) if vote > 0]
        data = dataclasses.replace(data, identity=merged_identities(read_identity(run.bundle) for run in heard))
        stopwatch.lap("data")
        combination = _Combination(tuple(finished), rows, choice, data, typed)
        reporter().say(_chosen(combination))
        return _write(combination, place=place, stopwatch=stopwatch)


def _check_tasks(runs: Sequence[FinishedRun]) -> None:
    """Refuse runs of which some answer with one class and others with several labels, or with labels in two orders."""
    first = runs[0]
    for run in runs[1:]:
        if run.bundle.task.name != first.bundle.task.name:
            raise InvalidValue(
                f"{first.path} answers as {first.bundle.task.name}, and {run.path} as {run.bundle.task.name}: their "
                "answers have no mean. Combine runs of one task."
            )
        names = first.bundle.class_names, run.bundle.class_names
        if has_several_labels(run.bundle.task) and names[0] != names[1] and set(names[0]) == set(names[1]):
            raise InvalidValue(
                f"{first.path} and {run.path} have the same labels in two orders. Train again from one source, in "
                "which they stand in one order."
            )


@dataclass(frozen=True, eq=False)
class _Combination:
    """Finished runs, the rows that they share, and which of them are heard."""

    runs: tuple[FinishedRun, ...]
    rows: SharedRows
    choice: Selection
    data: Prepared
    typed: str

    def heard(self) -> list[tuple[FinishedRun, float]]:
        """The runs that have a vote, with it."""
        return [(run, vote) for run, vote in zip(self.runs, self.choice.votes.tolist(), strict=True) if vote > 0]


def _opening(runs: Sequence[FinishedRun], rows: SharedRows) -> str:
    counts = ", ".join(f"{name} {len(rows.rows(name)):,}" for name in JUDGED_SPLITS)
    return f"{len(runs)} runs share {counts} rows that none of them learned from"


def _chosen(combination: _Combination) -> str:
    heard, runs = combination.heard(), combination.runs
    if len(heard) == 1:
        why = ", which no other makes better" if combination.choice.is_selected else ""
        return f"only {heard[0][0].path} is heard{why}: an ensemble of one"
    return f"{len(heard)} of {len(runs)} runs {combination.choice.made}"


def _write(combination: _Combination, *, place: Path | None, stopwatch: Stopwatch) -> Run:
    data = combination.data
    load_keras()
    stopwatch.lap("import")
    stem = f"{data.dataset.name}-combined"
    with heeding_interrupts(), usual_keras(), _whole_folder(place, stem=stem) as (folder, staged):
        network = _joined(combination)
        write_json(staged / "recipe.json", _recipe(combination))
        choice = combination.choice
        chosen = SettledKey("ensemble.votes", None, choice.votes.tolist(), choice.made)
        write_resolution(staged, [chosen] if choice.is_selected else [])
        rows = combination.rows
        lines = ((row_id, split, rows.groups[row_id]) for row_id, split in rows.splits.items())
        write_atomically(staged / "splits.csv", splits_table(lines))
        write_atomically(staged / "excluded.csv", data.excluded_csv())
        write_atomically(staged / "labels.csv", changed_labels_csv(data.dataset))
        history = "".join(json.dumps(line) + "\n" for line in combination.choice.history)
        write_atomically(staged / "history.jsonl", history)
        run = _judge(network, combination, folder, staged, stopwatch=stopwatch)
        write_json(staged / "metrics.json", run_figures(run))
    write_report(run, data.dataset)
    return run


@contextlib.contextmanager
def _whole_folder(out: Path | None, *, stem: str) -> Iterator[tuple[Path, Path]]:
    """The folder of a new run, taken at once, and the one in it whose content it gets when that is whole."""
    folder = make_run_folder(out, stem=stem)
    staged = folder / ".whole"
    try:
        with staged_folder(staged) as partial:
            yield folder, partial
        with writing_to(folder):
            # With metrics.json a run is finished.
            for path in sorted(staged.iterdir(), key=lambda path: path.name == "metrics.json"):
                path.replace(folder / path.name)
            staged.rmdir()
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        give_up(folder)
        if out is None:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _joined(combination: _Combination) -> Any:
    """The network of all that are heard."""
    from sightline.training.ensembles.graph import check_joined, ensemble_network

    heard = combination.heard()
    free, num_parameters = free_bytes(), sum(int(run.metrics["num_parameters"]) for run, _ in heard)
    if free is not None:
        check_joined(num_parameters, free, said=f"{len(heard)} networks of together {num_parameters:,} weights")
    networks = [reopened_network(run, combination.data.dataset.class_names) for run, _ in heard]
    return ensemble_network(networks, [vote for _, vote in heard], task=combination.data.dataset.task)


def _recipe(combination: _Combination) -> dict[str, Any]:
    """What was set alike for all that are heard; nothing trained the whole, whose runs and votes metrics.json names."""
    return {**shared_recipe([run.recipe for run, _ in combination.heard()]), "name": KIND}


def _origin(combination: _Combination) -> Origin:
    heard = combination.heard()
    licences = (
        f"{run.path}: {licences_of((run.bundle.path / 'card.md').read_text(encoding='utf-8'))}" for run, _ in heard
    )
    made = f"from {len(heard)} of {len(combination.runs)} finished runs, {combination.choice.made}"
    if not _knows_its_rows(combination):
        made += ". What a teacher of theirs learned from is not known; the test images may be among it"
    return Origin(
        combination.typed,
        str(combination.runs[0].source.get("label_from", "first")),
        KIND,
        made,
        "\n\n".join(licences),
        str(combination.runs[0].source.get("columns") or ""),
    )


def _knows_its_rows(combination: _Combination) -> bool:
    return all(has_known_train_rows(run.bundle) for run, _ in combination.heard())


def _judge(network: Any, combination: _Combination, folder: Path, staged: Path, *, stopwatch: Stopwatch) -> Run:
    import keras

    from sightline.training.packaging.bundling import bundled

    data, choice = combination.data, combination.choice
    members = members_of(combination.runs, combination.rows, data.dataset.class_names, choice)
    ensemble = {
        "kind": KIND,
        "members": members,
        "out_of_bag": None,
        "is_selected": choice.is_selected,
        "has_same_splits": _knows_its_rows(combination),
    }
    with bundled(network, data, staged, _origin(combination), stopwatch=stopwatch, ensemble=ensemble) as judged:
        bundle = dataclasses.replace(judged.bundle, path=folder / "bundle")
    if "test" in judged.evaluations:
        write_figures(
            staged, judged.evaluations["test"], judged.predictions["test"], data.pixels.take(data.splits.test)
        )
    stopwatch.lap("evaluate")
    against = _against_best(combination, judged.predictions, bundle)
    return Run(
        path=folder,
        recipe=_recipe(combination),
        splits=data.splits,
        history=choice.history,
        chosen_epoch=len(choice.history),
        stopped_early=False,
        validation=judged.evaluations.get("validation"),
        evaluation=judged.evaluations.get("test"),
        bundle=bundle,
        backend=keras.config.backend(),
        num_parameters=int(network.count_params()),
        seconds={**stopwatch.seconds, "total": stopwatch.total()},
        ensemble={**(judged.ensemble or ensemble), "against_best": against},
    )


def _against_best(
    combination: _Combination, predictions: Mapping[SplitName, Predictions], bundle: Bundle
) -> dict[str, Any] | None:
    """The paired test on the shared test rows, against the run that is best alone on the validation rows."""
    best, rows, class_names = combination.runs[combination.choice.best], combination.rows, bundle.class_names
    is_best_alone = [run for run, _ in combination.heard()] == [best]
    if is_best_alone or not len(predictions["test"]):
        return None
    told: dict[str, SplitPredictions] = {}
    for name in JUDGED_SPLITS:
        found = predictions[name]
        given = {row_id: rows.given[row_id] for row_id in found.row_ids}
        said = dict(zip(found.row_ids, map(str, found.predicted), strict=True))
        told[name] = SplitPredictions(given, said, np.asarray(found.labels), found.logits)
    these = dataclasses.replace(
        best,
        path=bundle.path.parent,
        splits=rows.splits,
        groups=rows.groups,
        source=bundle.metrics["source"],
        class_names=class_names,
        predictions=told,
        bundle=bundle,
    )
    names = (str(best.path), "the combined run")
    return paired_figures(pair(best, these, names=names, split="test"))
