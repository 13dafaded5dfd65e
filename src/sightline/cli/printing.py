"""Tables and figures on a terminal, and as plain columns in a pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sightline.results import Evaluation


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows under their column names; text wraps inside its column.

    Args:
        rows: mappings that have all of `columns`.
        columns: in order.

    Raises:
        Nothing.

    Example:
        >>> print_table([{"name": "mlp", "parameters": 5}], ("name", "parameters"))
         name   parameters
         mlp             5
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width: nothing is wrapped or cut there.
        console = Console(highlight=False, width=400)
    table = Table(box=box.SIMPLE if console.is_terminal else None, pad_edge=True)
    for column in columns:
        numeric = all(isinstance(row[column], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    from rich.markup import escape

    return escape(str(value))


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the figures of an evaluation, the classes as a table.

    Args:
        evaluation: from `sightline.evaluate`.

    Raises:
        Nothing.

    Example:
        >>> import inspect
        >>> list(inspect.signature(print_evaluation).parameters)
        ['evaluation']
    """
    print(evaluation)
    print(
        f"cross-entropy {evaluation.cross_entropy:.4f}, balanced accuracy {evaluation.balanced_accuracy:.4f}, "
        f"macro F1 {evaluation.macro_f1:.4f}, calibration error {evaluation.calibration_error:.4f}"
    )
    rows = [
        {
            "class": name,
            "images": int(evaluation.confusion[label].sum()),
            "precision": f"{evaluation.precision[label]:.4f}",
            "recall": f"{evaluation.recall[label]:.4f}",
            "F1": f"{evaluation.f1[label]:.4f}",
        }
        for label, name in enumerate(evaluation.class_names)
    ]
    print_table(rows, ("class", "images", "precision", "recall", "F1"))
    for given, predicted, count in evaluation.most_confused:
        print(f"{given} taken for {predicted}: {count}")
    if evaluation.num_unreadable:
        print(f"{evaluation.num_unreadable} images could not be read; they are in no figure")
