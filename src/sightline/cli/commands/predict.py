"""`predict`: a row an image, as the answers come."""

from __future__ import annotations

import contextlib
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from sightline.cli.printing import mode_of, print_json, print_text
from sightline.cli.streams import silence_stdout
from sightline.errors import InvalidValue
from sightline.system.outputs import check_output
from sightline.system.progress import reporter, reporting
from sightline.system.text import printable


def predict(arguments: Namespace) -> int:
    """Stream a row an image, as the answers come."""
    from sightline.bundles.bundle import load_bundle
    from sightline.bundles.given_images import check_there
    from sightline.bundles.prediction import find_images

    bundle = load_bundle(arguments.bundle)
    if not arguments.top >= 1:
        raise InvalidValue(f"--top must be a whole number of at least 1; got {arguments.top}.")
    check_output("--csv", arguments.csv, keep=arguments.images, overwrite=arguments.overwrite)
    check_there(arguments.images)
    with reporting(mode_of(arguments)):
        paths = find_images(arguments.images)
        num_unreadable, fault = _answer(bundle, paths, arguments)
        told = f"{len(paths):,} image{'s' * (len(paths) != 1)}"
        told += f", {num_unreadable:,} could not be read" if num_unreadable else ""
        reporter().say(told if arguments.csv is None else f"{told}; written to {arguments.csv}")
    if fault is not None and not isinstance(fault, BrokenPipeError):
        raise fault
    return 1 if num_unreadable else 0


def _answer(bundle: Any, paths: Sequence[str], arguments: Namespace) -> tuple[int, OSError | None]:
    """Answer, print and write; how many images could not be read, and what ended the printing early."""
    from sightline.bundles.answer_tables import AnswerTable
    from sightline.bundles.prediction import predict_files

    num_unreadable, fault, table = 0, None, None
    with contextlib.ExitStack() as open_now:
        if arguments.csv is not None:
            asked = {
                "bundle": arguments.bundle,
                "created": bundle.manifest.get("created"),
                "images": arguments.images,
                "top": arguments.top,
                "invert": arguments.invert,
            }
            most = min(arguments.top, len(bundle.class_names))
            table = open_now.enter_context(
                AnswerTable(arguments.csv, most_classes=most, asked=asked, overwrite=arguments.overwrite)
            )
        # On a terminal the rows are the progress: a bar would share their lines.
        open_now.enter_context(reporting("quiet" if sys.stdout.isatty() else None))
        bar = open_now.enter_context(reporter().bar("predicting", total=len(paths)))
        for portion in predict_files(bundle, paths, invert=arguments.invert):
            rows = list(_rows(portion, arguments.top))
            num_unreadable += sum(row["error"] is not None for row in rows)
            fault = fault or _print_rows(rows, arguments)
            if fault is not None and table is None:
                raise fault
            if table is not None:
                table.add(rows, with_disagreement=portion.disagreements is not None)
            bar.advance(len(portion))
    return num_unreadable, fault


def _rows(portion: Any, top: int) -> Iterator[dict[str, Any]]:
    import numpy as np

    from sightline.metrics.classification import softmax

    for place, path in enumerate(portion.row_ids):
        row: dict[str, Any] = {
            "path": path,
            "label": None,
            "confidence": None,
            "top": [],
            "error": portion.errors[place],
        }
        if row["error"] is None:
            probabilities = softmax(portion.logits[place : place + 1], temperature=portion.temperature)[0]
            best = np.argsort(-probabilities, kind="stable")[:top]
            row["top"] = [
                {"label": portion.class_names[label], "confidence": round(float(probabilities[label]), 6)}
                for label in best
            ]
            row |= row["top"][0]
            if portion.disagreements is not None:
                row["disagreement"] = round(float(portion.disagreements[place]), 6)
        if portion.notices[place]:
            row["notice"] = portion.notices[place]
        yield row


def _print_rows(rows: Sequence[dict[str, Any]], arguments: Namespace) -> OSError | None:
    """Print a portion; where stdout takes no more, say why, once: a table may still be written."""
    try:
        for row in rows:
            _print_row(row, arguments)
        sys.stdout.flush()
    except OSError as error:
        silence_stdout()
        return error
    return None


def _print_row(row: dict[str, Any], arguments: Namespace) -> None:
    if arguments.json:
        print_json(row)
        return
    path = printable(row["path"])
    if row["error"]:
        print_text(f"{path}: error: {printable(row['error']).removeprefix(f'{path}: ')}")
        return
    others = "  ".join(f"{printable(entry['label'])} {entry['confidence']:.3f}" for entry in row["top"][1:])
    notice = f"  ({row['notice']})" if "notice" in row else ""
    if row.get("disagreement"):
        notice = f"  ({row['disagreement']:.0%} of the members disagree){notice}"
    beside = f"  | {others}" if others else ""
    print_text(f"{path}: {printable(row['label'])} {row['confidence']:.3f}{beside}{notice}")
