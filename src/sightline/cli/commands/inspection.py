"""`verify`, `runs`: commands that look at what was kept, and change nothing."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.cli.options import OPENING_SHORTHANDS, opened, shorthand_options, trusted_option
from sightline.cli.printing import print_json, print_table, print_text, size_in_words
from sightline.system.progress import reporting


def verify_options(parser: ArgumentParser) -> None:
    """What `verify` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle, or imagenet: the network inside the package")
    parser.add_argument(
        "source", nargs="?", help="where the test images are (default: where the run found them, if it is its bundle)"
    )
    trusted_option(parser)
    shorthand_options(parser, OPENING_SHORTHANDS)


def verify(arguments: Namespace) -> int:
    """Tell of each check what it compared and what came of it."""
    from sightline.evaluation.verification import verify as verify_path

    with reporting(arguments.mode):
        found = verify_path(arguments.bundle, opened(arguments, to_judge=True))
    if arguments.json:
        checks = [dataclasses.asdict(check) for check in found.checks]
        print_json({"path": str(found.path), "holds": found.holds, "checks": checks})
    else:
        print_text(found)
    return 0 if found.holds else 1


def runs_options(parser: ArgumentParser) -> None:
    """What `runs` takes."""
    parser.add_argument("folder", nargs="?", default="runs", help="where the runs lie, or one run (default: runs)")


def runs(arguments: Namespace) -> int:
    """List runs with their state and figures."""
    from sightline.evaluation.kept_runs import runs as list_runs

    rows = list_runs(arguments.folder)
    if arguments.json:
        print_json(rows)
    elif rows:
        print_table(list(map(_in_cells, rows)), ("run", "state", "accuracy", "network", "size", "changed", "remark"))
    else:
        print_text(f"{arguments.folder}: no run. Train one: sightline train mnist")
    return 0


def _in_cells(row: Mapping[str, Any]) -> dict[str, str]:
    accuracy = "-"
    if row["accuracy"] is not None:
        lower, upper = row["accuracy_interval"] or (row["accuracy"],) * 2
        accuracy = f"{row['accuracy']:.4f} [{lower:.4f}, {upper:.4f}] on {row['num_images']:,} {row['split']}"
    return {
        "run": Path(row["run"]).name or row["run"],
        "state": row["state"],
        "accuracy": accuracy,
        "network": row["network"] or "-",
        "size": size_in_words(row["num_bytes"]),
        "changed": row["changed"][:16].replace("T", " "),
        "remark": row["reason"],
    }
