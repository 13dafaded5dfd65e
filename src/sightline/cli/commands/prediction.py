"""`predict`: what is on images, as lines as they come, or in a file."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.cli.options import on_option, overwrite_option, trusted_option
from sightline.cli.printing import print_json, print_text, silence_stdout
from sightline.errors import InvalidValue
from sightline.system.paths import check_output
from sightline.system.progress import reporter, reporting
from sightline.system.text import printable

# Of more images than that, a file that they are written to is told of in numbers.
_MOST_PRINTED = 100


def detail_options(parser: ArgumentParser) -> None:
    """What answers are to carry beside their class."""
    promise_options(parser)
    parser.add_argument(
        "--per-class", action="store_true", help="keep the coverage for the images of each class by themselves"
    )
    parser.add_argument(
        "--score",
        default="lac",
        metavar="lac|aps|raps",
        help="lac makes the smallest sets (default), aps larger ones where an image is hard, raps cuts their tails",
    )


def promise_options(parser: ArgumentParser) -> None:
    """What is promised of answers, and with which certainty."""
    parser.add_argument(
        "--coverage",
        type=float,
        metavar="SHARE",
        help="answer with sets, too, that hold the right class of this share of images like the calibration images",
    )
    parser.add_argument(
        "--max-error",
        type=float,
        metavar="SHARE",
        help="mark answers as unsure, so that at most this share of the others is wrong on images like those",
    )
    parser.add_argument(
        "--novelty",
        type=float,
        metavar="SHARE",
        help="mark images unlike those it learned, and of images like the calibration images at most this share",
    )
    parser.add_argument(
        "--certainty",
        type=float,
        default=0.95,
        metavar="SHARE",
        help="with which max_error and novelty are kept (default: 0.95)",
    )


def asked_of_answers(arguments: Namespace) -> dict[str, Any]:
    """By the names of `sightline.bundles.trust.details.Asked`."""
    names = ("coverage", "per_class", "score", "max_error", "certainty", "novelty", "nearest", "features")
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def predict_options(parser: ArgumentParser) -> None:
    """What `predict` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle, or imagenet: the network inside the package")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="images",
        help="files; folders, which are searched to the bottom; a table of paths (.csv, .tsv, .parquet); an archive "
        "(.zip, .tar); tar shards or Parquet files of images: a folder of them, or a list in braces",
    )
    parser.add_argument("--top", type=int, default=3, metavar="K", help="how many classes to name (default: 3)")
    parser.add_argument("--invert", action="store_true", help="turn light into dark first")
    detail_options(parser)
    parser.add_argument(
        "--nearest", type=int, metavar="COUNT", help="name the training images that look most alike to it, up to 5"
    )
    parser.add_argument("--probabilities", action="store_true", help="tell those of all classes, too")
    parser.add_argument(
        "--features", action="store_true", help="tell what the network sees before it decides, too (JSON and Parquet)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the rows to a .csv, .jsonl or .parquet file; stopped, the same command goes on",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the same as a CSV, whatever the file is called")
    on_option(parser, "a name without an ending for --out makes a folder of parts")
    parser.add_argument(
        "--column", default="", metavar="path=NAME", help="what the column of paths is called in a table"
    )
    trusted_option(parser)
    overwrite_option(parser)


def predict(arguments: Namespace) -> int:
    """Stream a row an image, as the answers come, or write them to a file."""
    from sightline.bundles.bundle import load_bundle
    from sightline.bundles.given_images import check_there
    from sightline.bundles.prediction import say_promises
    from sightline.bundles.trust.details import Asked, detail_makers
    from sightline.data.sources.loading import named_columns
    from sightline.deployment.bulk.images import bulk_images, stands_for_many
    from sightline.deployment.bulk.step import step_of

    if arguments.on is not None:
        return _predict_on(arguments)
    bundle = load_bundle(arguments.bundle)
    asked = Asked(**asked_of_answers(arguments))
    makers = detail_makers(bundle, asked)
    if not arguments.top >= 1:
        raise InvalidValue(f"--top must be a whole number of at least 1; got {arguments.top}.")
    told = {"top": arguments.top, "with_probabilities": arguments.probabilities, "invert": arguments.invert}
    step = step_of(bundle, asked, **told)
    table = _table(arguments, bundle, step, makers)
    check_there(name for name in arguments.images if not stands_for_many(name))
    with reporting(arguments.mode):
        images = bulk_images(arguments.images, columns=named_columns(arguments.column))
        say_promises(makers)
        if table is not None:
            num_unreadable = _write(bundle, step, images, arguments, table=table)
        else:
            num_unreadable = _stream(bundle, step, images, arguments)
            reporter().say(_counted(images, num_unreadable))
    return 1 if num_unreadable else 0


def _predict_on(arguments: Namespace) -> int:
    """Have a cluster answer into a file or a folder."""
    from sightline.bundles.given_images import check_there
    from sightline.data.sources.loading import named_columns
    from sightline.deployment.predict_into import predict_into

    if arguments.csv is not None or arguments.out is None:
        raise InvalidValue("--on writes what several machines answer. Name a file or a folder: --out FILE.")
    if arguments.json:
        raise InvalidValue("--json prints answers as they come here; with --on they go to --out. Leave out one.")
    if arguments.out.suffix:
        check_output("--out", arguments.out, keep=arguments.images, overwrite=arguments.overwrite)
    check_there(arguments.images)
    with reporting(arguments.mode):
        written = predict_into(
            arguments.bundle,
            arguments.images,
            arguments.out,
            top=arguments.top,
            invert=arguments.invert,
            probabilities=arguments.probabilities,
            columns=named_columns(arguments.column),
            on=arguments.on,
            overwrite=arguments.overwrite,
            **asked_of_answers(arguments),
        )
    print_text(written)
    return 1 if written.num_unreadable else 0


def _counted(images: Any, num_unreadable: int) -> str:
    told = f"{len(images):,} image{'s' * (len(images) != 1)}"
    return f"{told}, {num_unreadable:,} could not be read" if num_unreadable else told


def _table(arguments: Namespace, bundle: Any, step: Any, makers: Mapping[str, Any]) -> Any:
    """The table that the answers go to, not yet entered; None where they are printed alone."""
    from sightline.bundles.answers.formats import Columns, check_columns, format_of_table
    from sightline.bundles.answers.tables import AnswerTable
    from sightline.deployment.predict_into import asked_of

    if arguments.out is not None and arguments.csv is not None:
        raise InvalidValue("--csv FILE is --out FILE for a CSV. Name one of them.")
    option, target = ("--out", arguments.out) if arguments.csv is None else ("--csv", arguments.csv)
    if target is None:
        return None
    form = "csv" if arguments.csv is not None else format_of_table(target, option=option)
    check_columns(form, features=arguments.features)
    check_output(option, target, keep=arguments.images, overwrite=arguments.overwrite)
    names = bundle.class_names
    columns = Columns(min(arguments.top, len(names)), names if arguments.probabilities else ())
    told = asked_of(step, makers, arguments.images, columns)
    return AnswerTable(target, bundle.task, columns=columns, form=form, asked=told, overwrite=arguments.overwrite)


def _stream(bundle: Any, step: Any, images: Any, arguments: Namespace) -> int:
    """Print the answers; how many images could not be read."""
    from sightline.deployment.predict_into import portions_of

    num_unreadable = 0
    # On a terminal the rows are the progress: a bar would share their lines.
    with reporting("quiet" if sys.stdout.isatty() else None), reporter().bar("predicting", total=len(images)) as bar:
        for portion, made_of in portions_of(bundle, step, images):
            num_unreadable += sum(row["error"] is not None for row in portion.rows)
            if (fault := _print_rows(portion.rows, made_of, arguments)) is not None:
                raise fault
            bar.advance(len(portion.rows))
    return num_unreadable


def _write(bundle: Any, step: Any, images: Any, arguments: Namespace, *, table: Any) -> int:
    """Write the answers, and print few of them, or all as JSON; how many images could not be read."""
    from sightline.deployment.predict_into import write_answers

    faults: list[OSError] = []

    def shown(portion: Any, made_of: Any) -> None:
        if not faults and (fault := _print_rows(portion.rows, made_of, arguments)) is not None:
            faults.append(fault)  # the table is written nonetheless

    is_printed = arguments.json or len(images) <= _MOST_PRINTED
    with reporting("quiet" if is_printed and sys.stdout.isatty() else None):
        written = write_answers(bundle, step, images, table, shown=shown if is_printed else None)
    if is_printed:
        reporter().say(f"{_counted(images, written.num_unreadable)}; written to {written.path}")
    else:
        print_text(written)
    if faults and not isinstance(faults[0], BrokenPipeError):
        raise faults[0]
    return written.num_unreadable


def _print_rows(rows: Sequence[dict[str, Any]], portion: Any, arguments: Namespace) -> OSError | None:
    """Print a portion; where stdout takes no more, say why, once: a table may still be written."""
    try:
        for row in rows:
            print_answer(row, portion, arguments)
        sys.stdout.flush()
    except OSError as error:
        silence_stdout()
        return error
    return None


def print_answer(row: dict[str, Any], portion: Any, arguments: Namespace) -> None:
    """One answer as a line."""
    if arguments.json:
        print_json(row)
        return
    path = printable(row["path"])
    if row["error"]:
        print_text(f"{path}: error: {printable(row['error']).removeprefix(f'{path}: ')}")
        return
    notice = f"  ({row['notice']})" if "notice" in row else ""
    if row.get("disagreement"):
        notice = f"  ({row['disagreement']:.0%} of the members disagree){notice}"
    details = "".join(f"  {words}" for detail in portion.details.values() if (words := detail.words(row)))
    print_text(f"{path}: {portion.task.line(row)}{details}{notice}")
