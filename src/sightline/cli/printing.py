"""Tables and figures on a terminal, and as plain columns in a pipe."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sightline.system.text import counted, json_line, printable, printable_lines, shorten, without_nan

if TYPE_CHECKING:
    from sightline.records import Evaluation, Figure, Run

# Fewer test images than this say little about a class.
LEAST = 20
# On a terminal longer names lose their middle.
_LONGEST_NAME = 30
_PIPE_WIDTH = 100_000


def print_json(content: Any) -> None:
    """Print plain values as one line of JSON; NaN becomes null.

    Args:
        content: dicts, lists, strings, numbers, booleans, None.
    """
    try:
        line = json_line(content)
    except ValueError:
        # NaN is rare, and looking for it in each of many rows takes longer than writing them.
        content = without_nan(content)
        line = json_line(content)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # What a terminal writes instead of a letter that it lacks would be no JSON.
        line = json.dumps(content, allow_nan=False)
    print(line)


def print_text(text: object) -> None:
    """Print lines in which names of strangers may stand: nothing of them acts on the terminal."""
    print(printable_lines(str(text)))


def shown_name(name: str) -> str:
    """A name of a class as it is printed: whole in a pipe, and at most 30 letters of it on a terminal."""
    shown = printable(name)
    return shorten(shown, lambda text: len(text) <= _LONGEST_NAME) if sys.stdout.isatty() else shown


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows under their column names; long text wraps inside its column, and numbers stay whole."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width: nothing is wrapped or cut there.
        console = Console(highlight=False, width=_PIPE_WIDTH)
    table = Table(box=box.SIMPLE if console.is_terminal else None, pad_edge=True)
    for column in columns:
        numeric = all(isinstance(row[column], int | float) for row in rows)
        is_whole = not any(letter.isalpha() for row in rows for letter in str(row[column]))
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=is_whole)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        from sightline.configuration.values import as_typed

        return as_typed(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    from rich.markup import escape

    return escape(printable_lines(str(value)))


def size_in_words(num_bytes: int) -> str:
    """Bytes as a person reads them: "1.2 MiB"."""
    for unit, divisor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= divisor:
            return f"{num_bytes / divisor:.3g} {unit}"
    return f"{num_bytes} bytes"


def print_run(run: Run) -> None:
    """Print what came of a training: figures, what it confuses, what to be careful with, where it lies."""
    # Here, so that a command that prints a list does not wait for what evaluates.
    from sightline.bundles.trust.details import brief_promise_lines
    from sightline.metrics.figures import told_in

    for name, evaluation in (("validation", run.validation), ("test", run.evaluation)):
        if evaluation is not None:
            print_text(f"{name:<11}{evaluation}")
    if run.evaluation is not None:
        test = run.evaluation
        # The first of them stands in the line above.
        print_text(f"{'':<11}{', '.join(str(test.figures[name]) for name in told_in('training', test.figures)[1:])}")
        if test.most_confused:
            confused = test.most_confused[:5]
            pairs = (f"{shown_name(given)} as {shown_name(taken)} ({count})" for given, taken, count in confused)
            print_text(f"{'confused':<11}{', '.join(pairs)}")
        rough = test.rough and f"intervals, but those of shares of images, are rough: {test.rough}"
        for remark in filter(None, (rough, small_classes(test))):
            print_text(f"{'careful':<11}{remark}")
        for number, line in enumerate(brief_promise_lines(test)):
            print_text(f"{'' if number else 'promises':<11}{line}")
    if run.ensemble is not None:
        print_text("\n".join(ensemble_lines(run.ensemble)))
    if run.teacher is not None:
        print_text(teacher_line(run.teacher))
    seconds = f"{run.seconds['total']:.1f}"
    if "fit" in run.seconds:
        seconds += f", of which fit {run.seconds['fit']:.1f} ({run.images_per_second:,.0f} images/s)"
    print_text(f"{'seconds':<11}{seconds}\n{'run':<11}{run.path}\n{'bundle':<11}{run.bundle.path}")


def ensemble_lines(ensemble: Mapping[str, Any]) -> list[str]:
    """An ensemble in a few lines: what it is made of, how its members do alone, what it knows out of the bag."""
    members = [member for member in ensemble["members"] if member["vote"] > 0]
    num_members = len(ensemble["members"])
    of_how_many = f" of {num_members}" if len(members) < num_members else ""
    lines = [f"{'ensemble':<11}{ensemble['kind']} of {len(members)}{of_how_many} member{'s' * (num_members != 1)}"]
    judged = sorted(member["test"]["accuracy"] for member in members if member.get("test"))
    if len(judged) > 1:
        mean = sum(judged) / len(judged)
        lines[0] += f", each alone {mean:.4f} on test (from {judged[0]:.4f} to {judged[-1]:.4f})"
    if apart := ensemble["disagreement"]:
        name = "test" if "test" in apart else "validation"
        told = (
            f"on average {apart[name]:.2%}{_bounds(ensemble, name)} of the members name another class than all together"
        )
        if not apart[name]:
            told = "all members name the same class, and one alone would answer as well at less cost"
        lines.append(f"{'':<11}on {name} images, {told}")
    if bag := ensemble["out_of_bag"]:
        lower, upper = bag["accuracy_interval"]
        lines.append(
            f"{'out of bag':<11}accuracy {bag['accuracy']:.4f} [{lower:.4f}, {upper:.4f}] on {bag['num_images']:,} "
            "train images, each judged by members that did not see it"
        )
    return lines + (_combined_lines(ensemble) if ensemble["kind"] == "combined" else [])


def _bounds(ensemble: Mapping[str, Any], name: str) -> str:
    """Of the disagreement; runs of an earlier version kept none."""
    bounds = (ensemble.get("disagreement_interval") or {}).get(name)
    return "" if bounds is None else f" [{bounds[0]:.2%}, {bounds[1]:.2%}]"


def _combined_lines(ensemble: Mapping[str, Any]) -> list[str]:
    """Which run has which vote, and whether all together are better than the best of them."""
    members = ensemble["members"]
    total, lines = sum(member["vote"] for member in members), []
    for member in members:
        alone = [f"{name} {member[name]['accuracy']:.4f}" for name in ("validation", "test") if member[name]]
        vote = f"{member['vote']:g} of {total:g} votes"
        lines.append(f"{'':<11}{vote}: {member['run']} ({', '.join([member['network'], *alone])})")
    heard = [member["run"] for member in members if member["vote"] > 0]
    if len(heard) == 1:
        why = "no other run makes it better" if ensemble["is_selected"] else "no other has a vote"
        lines.append(f"{'alone':<11}only {heard[0]} is heard, an ensemble of one: {why}")
    if against := ensemble["against_best"]:
        lines.append(f"{'against':<11}{against['in_words']}")
    return lines


def teacher_line(teacher: Mapping[str, Any]) -> str:
    """Who taught a student, and how it does on the student's validation images."""
    parts = [str(teacher["bundle"])]
    if (judged := teacher["validation"]) is not None:
        lower, upper = judged["accuracy_interval"]
        parts.append(f"accuracy {judged['accuracy']:.4f} [{lower:.4f}, {upper:.4f}] on the same validation images")
    if teacher["test_accuracy"] is not None:
        told = f"test accuracy {teacher['test_accuracy']:.4f}"
        # Runs of an earlier version kept none.
        if (bounds := teacher.get("test_accuracy_interval")) is not None:
            told += f" [{bounds[0]:.4f}, {bounds[1]:.4f}]"
        parts.append(told)
    return f"{'teacher':<11}{', '.join(parts)}; {counted(teacher['num_views'], 'view')} of each train image"


def small_classes(evaluation: Evaluation) -> str:
    """Name the classes whose figure means little, because it rests on too few images."""
    counts = evaluation.class_counts
    few = [
        f"'{shown_name(name)}' ({count})"
        for name, count in zip(evaluation.class_names, counts, strict=True)
        if 0 < count < LEAST
    ]
    if not few:
        return ""
    more = f" and {len(few) - 5} more" if len(few) > 5 else ""
    return f"too few test images for a figure of its own: {', '.join(few[:5])}{more}; {LEAST} are the least"


# With three intervals in a line, percent fit into it.
_CLASS_COLUMNS = {"precision %": "precision", "recall %": "recall", "F1 %": "f1"}


def _in_percent(figure: Figure) -> str:
    """One digit behind the point, or a dash where there is nothing to count."""
    bounds = None if figure.interval is None else (100 * figure.interval[0], 100 * figure.interval[1])
    shown = dataclasses.replace(figure, value=100 * figure.value, interval=bounds, digits=1).numbers
    return shown.replace("100.0", "100")


def print_evaluation(evaluation: Evaluation, *, is_said: bool = False) -> None:
    """Print the figures of an evaluation, the classes as a table; `is_said`: which rows were judged stands above it."""
    # Here, so that a command that prints a list does not wait for what evaluates.
    from sightline.bundles.trust.details import promise_lines
    from sightline.evaluation.slicing.finding import slice_lines
    from sightline.metrics.figures import FIGURES

    print_text(evaluation)
    if evaluation.rows is not None:
        for line in (*([] if is_said else [evaluation.rows["in_words"]]), *evaluation.rows["notes"]):
            print_text(line)
    others = [figure for name, figure in evaluation.figures.items() if not FIGURES[name].needs][1:]
    width = max(len(figure.words) for figure in others)
    for figure in others:
        print_text(f"{figure.words:<{width}}  {figure.numbers}")
    print_text(evaluation.about_intervals)
    if evaluation.reliability is not None:
        print_text(evaluation.reliability.in_words)
    for line in (*promise_lines(evaluation), *slice_lines(evaluation.slices)):
        print_text(line)
    rows = [
        {
            "class": shown_name(name),
            "images": int(evaluation.class_counts[label]),
            **{head: _in_percent(evaluation.class_figure(key, label)) for head, key in _CLASS_COLUMNS.items()},
        }
        for label, name in enumerate(evaluation.class_names)
    ]
    print_table(rows, ("class", "images", *_CLASS_COLUMNS))
    if remark := small_classes(evaluation):
        print_text(remark)
    for given, predicted, count in evaluation.most_confused:
        print_text(f"{shown_name(given)} taken for {shown_name(predicted)}: {count}")
    if evaluation.num_unreadable:
        print_text(f"images that could not be read and are in no figure: {evaluation.num_unreadable}")


def silence_stdout() -> None:
    """Throw away what is printed from here on, and what still waits: after a fault the end would print it again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
