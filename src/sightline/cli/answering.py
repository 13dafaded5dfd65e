"""`predict`: a row an image, as the answers come."""

from __future__ import annotations

import csv
import io
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from sightline.cli.printing import mode_of
from sightline.cli.targets import check_target
from sightline.errors import InvalidValue
from sightline.files import write_atomically
from sightline.progress import reporter, reporting
from sightline.text import printable


def predict(arguments: Namespace) -> int:
    """Stream a row an image, as the answers come."""
    from sightline.bundle import load_bundle
    from sightline.inference import find_images, predict_files

    bundle = load_bundle(arguments.bundle)
    if not arguments.top >= 1:
        raise InvalidValue(f"--top must be a whole number of at least 1; got {arguments.top}.")
    check_target("--csv", arguments.csv, ".csv", keep=[*arguments.images, arguments.bundle])
    paths = find_images(arguments.images)
    rows: list[dict[str, Any]] = []
    # On a terminal the rows are the progress: a bar would share their lines.
    mode = "quiet" if sys.stdout.isatty() else mode_of(arguments)
    with reporting(mode), reporter().bar("predicting", total=len(paths)) as bar:
        for portion in predict_files(bundle, paths, invert=arguments.invert):
            for row in _rows(portion, arguments.top):
                rows.append(row)
                _print_row(row, arguments)
            bar.advance(len(portion))
    if arguments.csv is not None:
        write_atomically(arguments.csv, _csv(rows, arguments.top))
    return 1 if any(row["error"] for row in rows) else 0


def _rows(portion: Any, top: int) -> Iterator[dict[str, Any]]:
    import numpy as np

    from sightline.metrics.scores import softmax

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


def _print_row(row: dict[str, Any], arguments: Namespace) -> None:
    if arguments.json:
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    if row["error"]:
        reason = row["error"].removeprefix(f"{row['path']}: ")
        print(f"{printable(row['path'])}: error: {printable(reason)}")
        return
    others = "  ".join(f"{printable(entry['label'])} {entry['confidence']:.3f}" for entry in row["top"][1:])
    notice = f"  ({row['notice']})" if "notice" in row else ""
    if row.get("disagreement"):
        notice = f"  ({row['disagreement']:.0%} of the members disagree){notice}"
    print(
        f"{printable(row['path'])}: {row['label']} {row['confidence']:.3f}{'  | ' + others if others else ''}{notice}"
    )


def _csv(rows: list[dict[str, Any]], top: int) -> str:
    most = min(top, max((len(row["top"]) for row in rows), default=0))
    ranked = [name for rank in range(2, most + 1) for name in (f"label_{rank}", f"confidence_{rank}")]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    asked = ["disagreement"] if any("disagreement" in row for row in rows) else []
    writer.writerow(["path", "label", "confidence", *ranked, *asked, "notice", "error"])
    for row in rows:
        others = [value for entry in row["top"][1:] for value in (entry["label"], entry["confidence"])]
        others += [""] * (len(ranked) - len(others))
        first = ["" if row[key] is None else row[key] for key in ("label", "confidence")]
        others += [row.get(key, "") for key in asked]
        writer.writerow([row["path"], *first, *others, row.get("notice", ""), row["error"] or ""])
    return stream.getvalue()
