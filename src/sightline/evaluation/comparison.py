"""`compare`: finished runs side by side, and whether their difference is more than chance."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.configuration.recipes import flatten
from sightline.configuration.values import as_typed
from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import FinishedRun, distinct_places, metrics_at, read_run
from sightline.evaluation.measuring.paired_tests import PairedTest, pair, paired_figures
from sightline.metrics.figures import FIGURES, figure_in, told_in
from sightline.metrics.intervals import USUAL_LEVEL, checked_confidence
from sightline.metrics.significance import holm
from sightline.records import Run, image_tag
from sightline.reporting.charts.canvas import check_drawable
from sightline.reporting.charts.overlay import MOST_CURVES, Course, overlay_png
from sightline.system.files import write_atomically
from sightline.system.paths import check_output
from sightline.system.text import exact_percent, shorten

SPLITS = ("test", "validation")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LONGEST_VALUE = 24
_WIDTH, _GAP = 80, "  "


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One run of a comparison.

    Attributes:
        letter: how it is called beside the others, "A" for the first.
        path: its folder.
        metrics: as `sightline train --json` prints them, without the recipe.
    """

    letter: str
    path: Path
    metrics: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side; printed, it is what `sightline compare` says.

    Attributes:
        split: "test" or "validation", the rows that the tests are made on.
        runs: in the order given.
        differences: recipe key, "source" or "backend" to its value in each run, where not all
            are equal; None where a recipe has no such key.
        tests: each other run against the first.
        remarks: on all of it, a sentence each.
        png: the curves of all runs in one picture.
        path: the file, or None.
        interval_level: of all intervals.
    """

    split: str
    runs: tuple[ComparedRun, ...]
    differences: Mapping[str, tuple[Any, ...]]
    tests: tuple[PairedTest, ...]
    remarks: tuple[str, ...]
    png: bytes
    path: Path | None
    interval_level: float = USUAL_LEVEL

    def __str__(self) -> str:
        names = "\n".join(f"{run.letter}  {run.path}" for run in self.runs)
        differences = [["what differs", *(run.letter for run in self.runs)]]
        differences += [[key, *map(_value, values)] for key, values in self.differences.items()]
        alike = "their recipes do not differ"
        said = [line for test in self.tests for line in (str(test), *(f"  {remark}" for remark in test.remarks))]
        level = f"in brackets: {exact_percent(self.interval_level)} intervals"
        parts = [names, *_figure_tables(self), level, _columns(differences) if self.differences else alike]
        return "\n\n".join([*parts, "\n".join([*said, *self.remarks])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>{image_tag(self.png, alt='curves of all runs')}"


def compare(
    runs: Sequence[str | Path | Run],
    *,
    split: str = "test",
    out: str | Path | None = None,
    overwrite: bool = False,
    interval_level: float = USUAL_LEVEL,
) -> Comparison:
    """Set finished runs side by side: curves, figures, recipes, and a paired test of each against the first.

    The tests are McNemar's, exact, on the rows that both runs were judged on, found by row id; where images come
    in groups, whole groups are tested in their place. Where an image may have several labels, an answer is right if all
    are; micro F1 is compared by exchanging answers, and each label is tested by itself. Classes are matched by name. Of
    several tests the p-values are adjusted by Holm. Nothing is chosen: which run to keep was for the validation rows to
    say.

    Args:
        runs: two or more, each a Run or its folder.
        split: "test", or "validation".
        out: a PNG to write.
        overwrite: whether a file at `out` that Sightline did not write may be replaced.
        interval_level: of all intervals; figures that a run told at another one are computed anew from its answers.

    Returns:
        The Comparison.

    Raises:
        InvalidBundle: one is no finished run.
        InvalidValue: fewer than two runs, one given twice, more than can be drawn, an unknown
            split, a run without rows in it, two that share none, or no label, or of which one alone has several
            labels an image, `out` lies in a bundle or among the files of a run, or
            the level is outside (0, 1).
        OutputExists: `out` is a file that Sightline did not write.
        MissingPackage: matplotlib is not installed.
        CannotWrite: `out` cannot be written.

    Example:
        >>> import sightline
        >>> sightline.compare(["runs/mnist-fast-001", "runs/mnist-fast-002"])
        A  runs/mnist-fast-001
        B  runs/mnist-fast-002
        <BLANKLINE>
           test accuracy     validation accuracy  test cross-entropy
        A  0... [0..., 0...]  0... [0..., 0...]               ...
        B  0... [0..., 0...]  0... [0..., 0...]               ...
        ...
        what differs      A       B
        ...
        model.name        lenet5  mlp
        ...on ...200 images...(McNemar p ...); B alone is right on ..., A alone on ...
    """
    if split not in SPLITS:
        raise InvalidValue(f"split must be {' or '.join(SPLITS)}; got {split!r}.")
    level = checked_confidence(interval_level, name="interval_level")
    path = Path(out) if out is not None else None
    check_output("out", path, overwrite=overwrite)
    check_drawable()
    places = distinct_places(runs, command="compare", most=MOST_CURVES)
    finished = [read_run(place) for place in places]
    for run in finished:
        if not run.predictions[split].given:
            other = SPLITS[1 - SPLITS.index(split)]
            remedy = f"Try --split {other}." if run.predictions[other].given else f"It has no {other} rows either."
            raise InvalidValue(f"{run.path}: this run has no {split} rows. {remedy}")
    tests = _adjusted(
        [
            pair(
                finished[0],
                run,
                names=(_LETTERS[0], letter),
                split=split,
                interval_level=level,
                num_tests=len(finished) - 1,
            )
            for letter, run in zip(_LETTERS[1:], finished[1:], strict=False)
        ]
    )
    courses = [
        Course(letter, name, run.history, run.metrics["chosen_epoch"])
        for letter, name, run in zip(_LETTERS, _names(places), finished, strict=False)
    ]
    png = overlay_png(courses)
    if path is not None:
        write_atomically(path, png)
    compared = tuple(
        ComparedRun(letter, run.path, metrics_at(run, level)) for letter, run in zip(_LETTERS, finished, strict=False)
    )
    differences = _differences(finished)
    remarks = _remarks(finished, tests, differences, split)
    return Comparison(split, compared, differences, tests, remarks, png, path, level)


def _names(places: Sequence[Path]) -> list[str]:
    """What stands in the picture: the folder's name where no two are alike, else the path."""
    names = [place.resolve().name for place in places]
    return names if len(set(names)) == len(names) else [str(place) for place in places]


def _adjusted(tests: Sequence[PairedTest]) -> tuple[PairedTest, ...]:
    adjusted = holm([test.p_value for test in tests]).tolist()
    tests = [dataclasses.replace(test, adjusted_p_value=p_value) for test, p_value in zip(tests, adjusted, strict=True)]
    wholes = [test.micro_f1 for test in tests if test.micro_f1 is not None]
    if not wholes:
        return tuple(tests)
    of_wholes = holm([whole.p_value for whole in wholes]).tolist()
    # Labels are a family of their own, over all tests: whoever looks for the one that differs looks at all of them.
    of_labels = iter(holm([label.p_value for test in tests for label in test.labels]).tolist())
    return tuple(
        dataclasses.replace(
            test,
            micro_f1=dataclasses.replace(whole, adjusted_p_value=p_value),
            labels=tuple(dataclasses.replace(label, adjusted_p_value=next(of_labels)) for label in test.labels),
        )
        for test, whole, p_value in zip(tests, wholes, of_wholes, strict=True)
    )


def _differences(runs: Sequence[FinishedRun]) -> dict[str, tuple[Any, ...]]:
    trees = []
    for run in runs:
        fingerprint = str(run.source.get("fingerprint"))
        source = f"{run.source.get('typed') or run.source.get('name')} ({fingerprint[:8]})"
        recipe = dict(flatten(run.recipe))
        if (run.metrics["ensemble"] or {}).get("kind") == "combined":
            recipe["ensemble.kind"] = "combined"  # which no recipe says: nothing is trained by it
        if recipe["ensemble.kind"] == "none":
            recipe.pop("ensemble.members", None)  # its default would say that a single network had members
        trees.append({"source": source, **recipe, "backend": run.metrics["backend"]})
    keys = dict.fromkeys(key for tree in trees for key in tree)
    # What was typed may differ, "./photos" and "photos": the same fingerprint is the same source.
    if len({run.source.get("fingerprint") for run in runs}) == 1:
        del keys["source"]
    rows = {key: tuple(tree.get(key) for tree in trees) for key in keys}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def _remarks(
    runs: Sequence[FinishedRun], tests: Sequence[PairedTest], differences: Mapping[str, Any], split: str
) -> tuple[str, ...]:
    remarks = []
    if len(tests) > 1:
        remarks.append(
            f"{len(tests)} tests were made: their p-values are adjusted by Holm, so that a difference where there is "
            "none is seen in at most one comparison of twenty. Each interval is one for itself."
        )
    if set(differences) - {"seed"}:
        remarks.append(
            "The tests are of these networks, not of their recipes: with another seed each gives another network."
        )
    if _losses_differ(differences):
        remarks.append(
            "The runs made different losses small, so their loss curves do not show one quantity; the table's "
            "cross-entropy does."
        )
    if split == "validation":
        remarks.append("Validation rows have chosen the epoch of each run: figures on them flatter.")
    if len({frozenset(run.class_names) for run in runs}) > 1:
        remarks.append("The runs do not tell the same classes apart: compare them with care.")
    return tuple(remarks)


def _losses_differ(differences: Mapping[str, Any]) -> bool:
    # Sparse or not, cross-entropy is the same; all else that a loss has changes its value.
    is_focal = {"focal" in str(name) for name in differences.get("loss.name", ())}
    return len(is_focal) > 1 or any(key.startswith("loss.") for key in set(differences) - {"loss.name"})


def _figure_tables(comparison: Comparison) -> list[str]:
    """How well, and at what cost: as many tables as fit 80 columns."""
    letters = ["", *(run.letter for run in comparison.runs)]
    is_of_labels = any(test.micro_f1 is not None for test in comparison.tests)
    passed_over, first = ("one", "micro_f1") if is_of_labels else ("several", "accuracy")
    columns = [
        [
            f"{split} {(is_of_labels and FIGURES[name].words_of_labels) or FIGURES[name].words}",
            *(_figure(name, run.metrics[split]) for run in comparison.runs),
        ]
        for name in told_in("comparison", (name for name, figure in FIGURES.items() if figure.labels != passed_over))
        # The first stands for both splits: its interval says how much of a difference between them is chance.
        for split in (SPLITS if name == first else (comparison.split,))
    ]
    columns += [list(column) for column in zip(*_costs(comparison), strict=True)]
    tables = [[letters]]
    for column in columns:
        if sum(_width(taken) + len(_GAP) for taken in tables[-1]) + _width(column) > _WIDTH:
            tables.append([letters])
        tables[-1].append(column)
    return [_columns(list(zip(*table, strict=True))) for table in tables]


def _costs(comparison: Comparison) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("parameters", "epochs", "seconds")]
    for run in comparison.runs:
        epochs = f"{run.metrics['chosen_epoch']} of {run.metrics['epochs']}"
        rows.append((f"{run.metrics['num_parameters']:,}", epochs, f"{run.metrics['seconds']['total']:,.1f}"))
    return rows


def _figure(name: str, told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "no rows"
    figure = figure_in(told, name)
    return "-" if figure is None else figure.numbers


def _value(value: Any) -> str:
    return shorten(as_typed(value), lambda words: len(words) <= _LONGEST_VALUE)


def _width(column: Sequence[str]) -> int:
    return max(map(len, column))


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows under their head, text to the left and numbers to the right."""
    columns = []
    for head, *cells in zip(*rows, strict=True):
        width = _width((head, *cells))
        is_numeric = all(cell.replace(",", "").replace(".", "").isdecimal() for cell in cells)
        columns.append([cell.rjust(width) if is_numeric else cell.ljust(width) for cell in (head, *cells)])
    return "\n".join(_GAP.join(cells).rstrip() for cells in zip(*columns, strict=True))


def comparison_figures(comparison: Comparison) -> dict[str, Any]:
    """A comparison as `sightline compare --json` prints it."""
    return {
        "split": comparison.split,
        "interval_level": comparison.interval_level,
        "runs": [{"letter": run.letter, "run": str(run.path), **run.metrics} for run in comparison.runs],
        "differences": {key: list(values) for key, values in comparison.differences.items()},
        "tests": [paired_figures(test) for test in comparison.tests],
        "remarks": list(comparison.remarks),
        "picture": str(comparison.path) if comparison.path else None,
    }
