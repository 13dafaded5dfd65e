"""`verify`, `runs`, `mistakes`, `report`: commands that look at what was kept, and change nothing."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.cli.options import (
    OPENING_SHORTHANDS,
    check_folders,
    opened,
    overwrite_option,
    shorthand_options,
    trusted_option,
)
from sightline.cli.printing import print_json, print_table, print_text, size_in_words
from sightline.errors import InvalidValue
from sightline.system.paths import check_output
from sightline.system.progress import reporting

if TYPE_CHECKING:
    from sightline.evaluation.mistakes import Mistake


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


def mistakes_options(parser: ArgumentParser) -> None:
    """What `mistakes` takes."""
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("source", nargs="?", help="where the images are (default: where the run found them)")
    shorthand_options(parser, OPENING_SHORTHANDS)
    parser.add_argument("--split", default="test", help="test or validation (default: test)")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="only those of this class or taken for it")
    parser.add_argument(
        "--max-error", type=float, metavar="SHARE", help="which answers are unsure, as predict takes it (default: 0.01)"
    )
    parser.add_argument("--certainty", type=float, default=0.95, metavar="SHARE", help="of that (default: 0.95)")
    parser.add_argument("--most", type=int, default=20, metavar="N", help="how many to print (default: 20)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all of them as a table, too")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw the first forty as a PNG, too")
    parser.add_argument("--copy-to", type=Path, metavar="DIR", help="copy the images into a new folder, by classes")
    trusted_option(parser)
    overwrite_option(parser)


def mistakes(arguments: Namespace) -> int:
    """Name the images that a run answers wrong or too unsurely."""
    from sightline.evaluation.mistakes import mistakes as find_mistakes
    from sightline.system.files import write_atomically

    for option in ("csv", "sheet"):
        check_output(f"--{option}", getattr(arguments, option), keep=[arguments.run], overwrite=arguments.overwrite)
    check_folders(arguments, "copy_to")
    if arguments.most < 1:
        raise InvalidValue(f"--most must be a whole number of at least 1; got {arguments.most}.")
    with reporting(arguments.mode):
        found = find_mistakes(
            arguments.run,
            opened(arguments, to_judge=True),
            split=arguments.split,
            class_name=arguments.class_name,
            max_error=arguments.max_error,
            certainty=arguments.certainty,
        )
        if arguments.csv is not None:
            found.write_csv(arguments.csv, overwrite=arguments.overwrite)
        if arguments.sheet is not None:
            write_atomically(arguments.sheet, found.sheet())
        num_copied = None if arguments.copy_to is None else found.copy_to(arguments.copy_to)
    if arguments.json:
        left_out = () if found.has_several_labels else ("label", "is_missed")
        rows = [
            {key: value for key, value in dataclasses.asdict(row).items() if key not in left_out} for row in found.rows
        ]
        told = {"class": found.class_name, "num_images": found.num_images, "num_wrong": found.num_wrong}
        told |= {"num_unsure": found.num_unsure}
        print_json({"run": str(found.run), "split": found.split, **told, "num_copied": num_copied, "rows": rows})
        return 0
    _print_mistakes(found, arguments.most)
    return 0


def _print_mistakes(found: Any, most: int) -> None:
    for line in (str(found), found.about_unsure, found.about_images):
        if line:
            print_text(line)
    rows = [_label_cells(row) if found.has_several_labels else _cells(row) for row in found.rows[:most]]
    if rows:
        print_table(rows, tuple(rows[0]))
    if len(found) > most:
        print_text(f"and {len(found) - most:,} more: --most N prints more, --csv FILE writes all")


def _cells(row: Mistake) -> dict[str, str]:
    return {
        "image": row.row_id,
        "given": row.given,
        "predicted": row.predicted,
        "confidence": f"{row.confidence:.4f}",
        "remark": "unsure" if row.is_unsure else "",
        "nearest": ", ".join(f"{name} ({label})" for name, label in row.nearest[:1]),
    }


def _label_cells(row: Mistake) -> dict[str, str]:
    told = {"image": row.row_id, "label": row.label or "", "mistake": row.what, "confidence": f"{row.confidence:.4f}"}
    return {**told, "given": row.given, "predicted": row.predicted}


def report_options(parser: ArgumentParser) -> None:
    """What `report` takes."""
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("source", nargs="?", help="where the images are (default: where the run found them)")
    shorthand_options(parser, OPENING_SHORTHANDS)
    parser.add_argument(
        "--full",
        action="store_true",
        help="compute what takes minutes, too: maps, weak parts, labels, robustness; once",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the HTML to write (default: report.html of the run)")
    trusted_option(parser)
    overwrite_option(parser)


def report(arguments: Namespace) -> int:
    """Write the report of a run."""
    from sightline.evaluation.report import report as write_report

    keep = [] if arguments.source is None else [arguments.source]
    check_output("--out", arguments.out, keep=keep, overwrite=arguments.overwrite)
    with reporting(arguments.mode):
        page = write_report(
            arguments.run,
            opened(arguments, to_judge=True),
            full=arguments.full,
            out=arguments.out,
            overwrite=arguments.overwrite,
        )
    if arguments.json:
        print_json({"report": str(page)})
    else:
        print_text(f"written to {page}; open it in a browser")
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
