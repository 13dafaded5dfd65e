"""One function a command. Each imports what it needs and no more, calls the library, prints."""

from __future__ import annotations

import csv
import io
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from sightline.cli.parser import SHORTHANDS
from sightline.cli.printing import print_evaluation, print_run, print_table
from sightline.cli.targets import check_target, one_line, unused
from sightline.errors import InvalidValue
from sightline.files import without_nan, write_atomically
from sightline.progress import Mode, reporter, reporting


def _mode(arguments: Namespace) -> Mode | None:
    return "quiet" if arguments.quiet else None


def _print_json(content: Any) -> None:
    print(json.dumps(without_nan(content), ensure_ascii=False, allow_nan=False))


def show(arguments: Namespace) -> int:
    """Write a sheet of images and say what is on it."""
    from sightline.preview import show as show_images
    from sightline.training.recipes import default_recipe, recipe

    out = arguments.out or unused(Path(f"{Path(arguments.source).stem}{'-augmented' * arguments.augmented}.png"))
    check_target("--out", out, ".png", keep=[arguments.source])
    asked = recipe(arguments.recipe or default_recipe(arguments.source), arguments.settings)
    with reporting(_mode(arguments)):
        picture = show_images(
            arguments.source, count=arguments.count, augmented=arguments.augmented, recipe=asked, out=out
        )
    if arguments.json:
        _print_json({"picture": str(out), "labels": list(picture.labels)})
    else:
        print(f"{picture.description}\nwritten to {out}")
    return 0


def audit(arguments: Namespace) -> int:
    """Say what may be wrong with a source; write the page and the plan that were asked for."""
    from sightline.quality.findings import audit_figures, plan_csv
    from sightline.quality.inspection import audit as audit_source
    from sightline.reporting.audit_page import write_audit_page

    check_target("--html", arguments.html, ".html", keep=[arguments.source])
    check_target("--plan", arguments.plan, ".csv", keep=[arguments.source])
    with reporting(_mode(arguments)):
        found = audit_source(arguments.source, near_duplicates=not arguments.no_near_duplicates)
        if arguments.plan is not None:
            write_atomically(arguments.plan, plan_csv(found))
        if arguments.html is not None:
            write_audit_page(found, arguments.html)
    if arguments.json:
        _print_json(audit_figures(found))
    else:
        print(found)
        for what, path in (("page", arguments.html), ("plan", arguments.plan)):
            if path is not None:
                print(f"{what} written to {path}")
    return 0 if found.is_clean else 1


def train(arguments: Namespace) -> int:
    """Train and say what came of it."""
    from sightline.data.sources import is_files
    from sightline.training.recipes import default_recipe, recipe, say_default
    from sightline.training.run import run_figures, train as train_network

    short = {key: getattr(arguments, option) for option, key in SHORTHANDS.items()}
    settings = [*arguments.settings, *(f"{key}={value}" for key, value in short.items() if value is not None)]
    name = arguments.recipe or default_recipe(arguments.source)
    asked = recipe(name, settings)
    if arguments.recipe is None and is_files(arguments.source):
        with reporting(_mode(arguments)):
            say_default(name)
    run = train_network(
        arguments.source,
        recipe=asked,
        out=arguments.out,
        backend=arguments.backend,
        log_every=arguments.log_every,
        mode=_mode(arguments),
    )
    if arguments.json:
        _print_json(run_figures(run))
        return 0
    print_run(run)
    return 0


def evaluate(arguments: Namespace) -> int:
    """Measure a bundle on a source."""
    from sightline.evaluation import evaluate as evaluate_bundle, figures

    with reporting(_mode(arguments)):
        evaluation = evaluate_bundle(arguments.bundle, arguments.source, split=arguments.split, out=arguments.out)
    if arguments.json:
        _print_json({"bundle": arguments.bundle, "source": arguments.source, **figures(evaluation)})
    else:
        print_evaluation(evaluation)
    return 1 if evaluation.num_unreadable else 0


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
    mode = "quiet" if sys.stdout.isatty() else _mode(arguments)
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
        if portion.notices[place]:
            row["notice"] = portion.notices[place]
        yield row


def _print_row(row: dict[str, Any], arguments: Namespace) -> None:
    if arguments.json:
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    if row["error"]:
        reason = row["error"].removeprefix(f"{row['path']}: ")
        print(f"{one_line(row['path'])}: error: {one_line(reason)}")
        return
    others = "  ".join(f"{entry['label']} {entry['confidence']:.3f}" for entry in row["top"][1:])
    notice = f"  ({row['notice']})" if "notice" in row else ""
    print(f"{one_line(row['path'])}: {row['label']} {row['confidence']:.3f}{'  | ' + others if others else ''}{notice}")


def _csv(rows: list[dict[str, Any]], top: int) -> str:
    most = min(top, max((len(row["top"]) for row in rows), default=0))
    ranked = [name for rank in range(2, most + 1) for name in (f"label_{rank}", f"confidence_{rank}")]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "label", "confidence", *ranked, "notice", "error"])
    for row in rows:
        others = [value for entry in row["top"][1:] for value in (entry["label"], entry["confidence"])]
        others += [""] * (len(ranked) - len(others))
        first = ["" if row[key] is None else row[key] for key in ("label", "confidence")]
        writer.writerow([row["path"], *first, *others, row.get("notice", ""), row["error"] or ""])
    return stream.getvalue()


def similar(arguments: Namespace) -> int:
    """Name the images that look most like one, and draw them."""
    from sightline.similarity import similar as find_similar

    out = arguments.out or unused(Path(f"{Path(arguments.image).stem}-similar.png"))
    check_target("--out", out, ".png", keep=[arguments.image, *arguments.folder, arguments.bundle])
    with reporting(_mode(arguments)):
        found = find_similar(arguments.bundle, arguments.image, folder=arguments.folder, count=arguments.count, out=out)
    rows = [
        {"path": path, "similarity": round(float(similarity), 6)}
        for path, similarity in zip(found.paths, found.similarities, strict=True)
    ]
    if arguments.json:
        errors = [{"path": path, "error": reason} for path, reason in found.errors]
        _print_json({"image": found.image, "picture": str(out), "similar": rows, "errors": errors})
    else:
        for row in rows:
            print(f"{row['similarity']:.3f}  {one_line(str(row['path']))}")
        print(f"written to {out}")
    return 1 if found.errors else 0


def models(arguments: Namespace) -> int:
    """List the networks."""
    from sightline.tables import models as list_models

    rows = list_models()
    if arguments.json:
        _print_json(rows)
    else:
        print_table(rows, ("name", "parameters", "input", "summary", "source"))
    return 0


def datasets(arguments: Namespace) -> int:
    """List the sources that go by a name."""
    from sightline.tables import datasets as list_datasets

    rows = list_datasets()
    if arguments.json:
        _print_json(rows)
    else:
        print_table(rows, ("name", "train", "test", "shape", "content", "licence", "origin"))
    return 0


def recipes(arguments: Namespace) -> int:
    """List the recipes, or every key."""
    from sightline.config import keys
    from sightline.schema import Recipe
    from sightline.tables import recipes as list_recipes

    if not arguments.keys:
        rows = list_recipes()
        if arguments.json:
            _print_json(rows)
        else:
            print_table(
                [
                    {**row, "settings": "\n".join(f"{key}={value}" for key, value in row["settings"].items())}
                    for row in rows
                ],
                ("name", "summary", "settings"),
            )
        return 0
    described = []
    for key, entry in keys().items():
        default = entry.default if entry.default is not MISSING else getattr(Recipe(), key)
        known = ", ".join(entry.metadata.get("known", ()))
        described.append({"key": key, "default": default, "meaning": entry.metadata.get("doc", ""), "values": known})
    if arguments.json:
        _print_json(described)
    else:
        print_table(described, ("key", "default", "meaning", "values"))
    return 0


def doctor(arguments: Namespace) -> int:
    """Tell what is installed and what is missing."""
    from sightline.doctor import examine

    report = examine()
    if arguments.json:
        _print_json(report)
        return 0
    print_table([{"what": key, "found": value} for key, value in report["found"].items()], ("what", "found"))
    for entry in report["missing"]:
        print(f"missing: {entry['what']}. Run: {entry['command']}", file=sys.stdout)
    return 0
