"""`report`: a finished run as one HTML page, from what its folder keeps and, where they are at hand, its images."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidBundle, InvalidValue, OutputExists
from sightline.evaluation.kept_sections import Judged, Maps, maps_of, sections_of
from sightline.evaluation.measuring.finished_runs import FinishedRun, kept_evaluation, kept_predictions, read_run
from sightline.evaluation.measuring.judging import with_learned_labels
from sightline.evaluation.mistakes import SPLITS, Mistake, Mistakes, images_of, mistakes
from sightline.metrics.answers.decisions import is_right
from sightline.metrics.figures import FIGURES
from sightline.quality.findings import KINDS, Finding, line_of
from sightline.records import SPLIT_NAMES, Dataset, Evaluation, Run, SplitName
from sightline.reporting.pages.report import report_page
from sightline.reporting.pages.report_content import (
    MOST_PICTURES,
    MOST_SUREST,
    MOST_UNSURE,
    NoticedThing,
    ReportContent,
    ReportedAnswer,
    ThresholdStep,
)
from sightline.system.files import write_atomically
from sightline.system.paths import check_output, places_of
from sightline.system.stored import read_json, read_plain
from sightline.tasks.table import has_several_labels

FILE: Final = "report.html"


def report(
    run: str | Path | Run,
    source: Any = None,
    *,
    full: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write what a finished run is worth as one HTML page, which needs no network and no other file.

    It begins in plain words and ends with every number: how often it is right, what it promises and what was
    measured, what happens where only sure answers count, each class, what is taken for what, the wrong answers with
    their pictures and the training images that look most alike, whether confidences come true, data and training.

    What takes minutes is computed once, with `full`, and kept in the folder of the run: which places of its surest
    wrong answers speak for them, on which parts of the images it is wrong more often, which labels may be doubtful,
    what is left of it where images go bad. Every later report shows what is kept, as long as bundle, splits and images
    are the same.

    Args:
        run: a run or its folder.
        source: where the images are, whatever `sightline.load` takes; left out, where the run found them. Without
            them the page has no pictures, and says so.
        full: whether what is not kept yet is computed. Interrupted, what was finished stays.
        out: the HTML file; left out, report.html in the folder of the run.
        overwrite: whether a file at `out` that Sightline did not write may be replaced.

    Returns:
        Where the page is.

    Raises:
        InvalidBundle: there is no finished run.
        UnknownName, InvalidSource: a source was named and cannot be opened.
        OutputExists: `out` is a file that Sightline did not write, or a link lies where the run would be written to.
        CannotWrite: `out` cannot be written, or with `full` the folder of the run.

    Example:
        >>> import sightline
        >>> page = sightline.report("runs/mnist-fast-001")
        >>> page.name, page.read_text(encoding="utf-8")[:15]
        ('report.html', '<!doctype html>')
    """
    finished = read_run(run)
    target = finished.path / FILE
    if out is not None:
        target = Path(out)
        keep = places_of(source)
        source, _ = images_of(finished, source)
        check_output("out", target, keep=[*keep, *places_of(source)], overwrite=overwrite)
    elif target.is_symlink():
        raise OutputExists(f"{target} is a link, and a run may come from somebody else. Name a file with --out.")
    write_page(target, finished, source, is_full=full)
    return target


def write_page(target: Path, finished: FinishedRun, source: Any = None, *, is_full: bool = False) -> None:
    """Write the page of a run, of one that lacks nothing but its last file, too."""
    write_atomically(target, report_page(gathered(finished, source, is_full=is_full)))


def gathered(finished: FinishedRun, source: Any = None, *, is_full: bool = False) -> ReportContent:
    """What the report of a run tells; with `is_full` what takes long is computed where it is not kept."""
    split = next((name for name in SPLITS if finished.metrics[name] is not None), None)
    judged = None if split is None else kept_evaluation(finished, split)
    if has_several_labels(finished.bundle.task):
        return _gathered_of_labels(finished, split, judged)
    found = None if split is None or judged is None else mistakes(finished, source, split=split)
    dataset, why = (None, "there are no answers to judge") if found is None else (found.dataset, found.about_images)
    dataset = None if dataset is None else with_learned_labels(finished.bundle, dataset)
    surest = () if found is None else tuple(row.row_id for row in found.rows if row.is_wrong)[:MOST_SUREST]
    subject = Judged(finished, split, dataset, why, surest)
    maps, about_maps = maps_of(subject, is_full=is_full)
    wrong, unsure = ([], []) if found is None else _reported(found, subject, maps)
    missing = [] if found is None or not found.about_images else [f"Pictures: {found.about_images}."]
    if split != "test":
        missing.append("Test figures: the run had no test images.")
    if found is not None and found.num_wrong > MOST_PICTURES:
        missing.append(f"Pictures of all {found.num_wrong:,} wrong answers: the {MOST_PICTURES} surest have one.")
    totals = Counter(finished.splits.values())
    return ReportContent(
        name=finished.path.resolve().name,
        facts=tuple(_facts(finished)),
        split=None if judged is None else split,
        figures={} if split is None else finished.metrics[split],
        counts={} if dataset is None else _counts(finished, dataset),
        split_totals={name: totals[name] for name in SPLIT_NAMES if totals[name]},
        left_out=_left_out(finished.path / "excluded.csv"),
        promises=[] if judged is None else list(_promises(judged)),
        steps=[] if split is None or judged is None else threshold_steps(finished, split),
        wrong=wrong,
        unsure=unsure,
        about_maps=about_maps,
        about_unsure="" if found is None else found.about_unsure,
        findings=_findings(finished.path / "findings.json"),
        history=finished.history,
        chosen_epoch=finished.metrics["chosen_epoch"],
        missing=missing,
        bundle=str(finished.path),
        sections=list(sections_of(subject, is_full=is_full)),
    )


def _gathered_of_labels(finished: FinishedRun, split: SplitName | None, judged: Evaluation | None) -> ReportContent:
    """The same where an image may have several labels: what only goes with one class an image is left out, and said."""
    totals = Counter(finished.splits.values())
    missing = [] if split == "test" else ["Test figures: the run had no test images."]
    missing.append(
        "Wrong labels one by one, maps, slices and robustness, which the commands mistakes, explain, evaluate --slices "
        "and stress tell; thresholds of the whole answer and doubtful labels, which are for one class an image. "
        "mistakes.png of the run shows images whose labels are not all right."
    )
    return ReportContent(
        name=finished.path.resolve().name,
        facts=tuple(_facts(finished)),
        split=None if judged is None else split,
        figures={} if split is None else finished.metrics[split],
        counts={},
        split_totals={name: totals[name] for name in SPLIT_NAMES if totals[name]},
        left_out=_left_out(finished.path / "excluded.csv"),
        promises=[] if judged is None else list(_promises(judged)),
        steps=[],
        wrong=[],
        unsure=[],
        about_maps="",
        about_unsure="",
        findings=_findings(finished.path / "findings.json"),
        history=finished.history,
        chosen_epoch=finished.metrics["chosen_epoch"],
        missing=missing,
        bundle=str(finished.path),
    )


def _facts(finished: FinishedRun) -> Iterator[tuple[str, str]]:
    ensemble = finished.metrics["ensemble"]
    network = str(finished.recipe.get("model", {}).get("name", ""))
    yield "network", network if ensemble is None else f"{len(ensemble['members'])} networks ({ensemble['kind']})"
    yield "trained on", str(finished.source.get("name", "images"))
    yield "made on", str(finished.bundle.manifest.get("created", ""))[:10]
    # That of combined runs holds what theirs share.
    yield "recipe", ", seed ".join(str(finished.recipe[key]) for key in ("name", "seed") if key in finished.recipe)
    yield "parameters", f"{finished.metrics['num_parameters']:,}"
    yield "training took", f"{finished.metrics['seconds']['total']:,.0f} s"


def _counts(finished: FinishedRun, dataset: Dataset) -> Mapping[str, Mapping[str, int]]:
    """Class to split to images."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in dataset.class_names}
    for row_id, name in zip(dataset.row_ids.tolist(), dataset.named(slice(None)), strict=True):
        if split := finished.splits.get(row_id):
            counts[name][split] += 1
    return counts


def _left_out(table: Path) -> list[tuple[str, str]]:
    if not table.exists():
        return []
    try:
        lines = csv.DictReader(io.StringIO(read_plain(table).decode("utf-8"), newline=""))
        return [(str(line["file"]), str(line["reason"])) for line in lines]
    except (OSError, csv.Error, KeyError, ValueError) as error:
        raise InvalidBundle(f"{table}: cannot be read ({error}). Copy the run again, or train again.") from error


def _promises(judged: Evaluation) -> Iterator[tuple[str, str]]:
    for name, promise in judged.promises.items():
        if (refused := promise.get("refused")) is not None:
            yield f"No promise of {name}: {refused}", ""
            continue
        measured = ", ".join(str(figure) for key, figure in judged.figures.items() if FIGURES[key].needs == name)
        draw = f" ({promise['draw']['in_words']})" if "draw" in promise else ""
        yield f"{promise['in_words'][0].upper()}{promise['in_words'][1:]}.", f"{measured}{draw}"


def threshold_steps(finished: FinishedRun, split: SplitName) -> list[ThresholdStep]:
    """What is answered from which confidence on: all, then fewer and fewer."""
    answers = kept_predictions(finished, split)
    if answers is None:
        raise InvalidValue(f"{finished.path}: it kept no answers to {split} rows.")
    return _steps(answers.confidences, is_right(answers))


# Every hundredth, and beyond the last every thousandth and ten thousandth.
_LEVELS = np.concatenate([np.arange(100) / 100, 0.99 + np.arange(1, 10) / 1000, 0.999 + np.arange(1, 10) / 10_000])


def _steps(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> list[ThresholdStep]:
    steps: list[ThresholdStep] = []
    for level in _LEVELS.tolist():
        counts = confidences >= level
        num_answered = int(counts.sum())
        # A level that leaves the same answers says nothing new.
        if num_answered and (not steps or num_answered < steps[-1].num_answered):
            steps.append(ThresholdStep(level, num_answered, int((counts & ~right).sum())))
    return steps


def _reported(found: Mistakes, judged: Judged, maps: Maps) -> tuple[list[ReportedAnswer], list[ReportedAnswer]]:
    """The wrong answers, and the right ones that are unsure; the first of both with their pictures."""
    wrong = [row for row in found.rows if row.is_wrong]
    unsure = [row for row in found.rows if not row.is_wrong]
    surest = [_with_map(_answer(row, judged, has_nearest=True), maps) for row in wrong[:MOST_SUREST]]
    pictured = [_answer(row, judged) for row in wrong[MOST_SUREST:MOST_PICTURES]]
    rest = [_answer(row, None) for row in wrong[MOST_PICTURES:]]
    right = [_answer(row, judged if place < MOST_UNSURE else None) for place, row in enumerate(unsure)]
    return [*surest, *pictured, *rest], right


def _with_map(answer: ReportedAnswer, maps: Maps) -> ReportedAnswer:
    if answer.row_id not in maps:
        return answer
    drawn, words = maps[answer.row_id]
    return replace(answer, map=drawn, map_words=words)


def _answer(row: Mistake, judged: Judged | None, *, has_nearest: bool = False) -> ReportedAnswer:
    picture = None if judged is None else judged.picture(row.row_id)
    nearest = tuple(judged.picture(name) for name, _ in row.nearest) if judged is not None and has_nearest else ()
    return ReportedAnswer(
        row.row_id, row.given, row.predicted, row.confidence, row.nearest, picture, row.is_unsure, nearest
    )


def _findings(table: Path) -> list[NoticedThing] | None:
    """What training noticed; None of a run that kept nothing of it."""
    if not table.exists():
        return None
    try:
        return [_noticed(entry) for entry in read_json(table)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidBundle(f"{table}: cannot be read ({error}). Copy the run again, or train again.") from error


def _noticed(entry: Mapping[str, Any]) -> NoticedThing:
    kind = KINDS.get(entry["kind"])
    found = Finding(str(entry["kind"]), entry["severity"], tuple(map(str, entry["paths"])), str(entry["detail"]))
    return NoticedThing(str(found.severity), found.kind if kind is None else kind.title, line_of(found))
