"""`evaluate`, `predict`, `similar`, `export`, `sign`: commands that ask a bundle, sign it, or write it anew."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.cli.options import (
    OPENING_SHORTHANDS,
    check_folders,
    interval_option,
    opened,
    overwrite_option,
    shorthand_options,
    trusted_option,
)
from sightline.cli.printing import print_evaluation, print_json, print_text, silence_stdout
from sightline.deployment.conversion.formats import FORMATS
from sightline.errors import InvalidValue
from sightline.system.paths import check_output, default_output
from sightline.system.progress import reporter, reporting
from sightline.system.text import printable


def evaluate_options(parser: ArgumentParser) -> None:
    """What `evaluate` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle")
    parser.add_argument("source", nargs="?", help="what to measure on (default: what the run was trained on)")
    parser.add_argument(
        "--split", help="train, validation, calibration, test or all (default: what the bundle did not learn from)"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for metrics.json and confusion, reliability, risk_coverage and mistakes.png"
    )
    parser.add_argument(
        "--slices", action="store_true", help="tell which parts of the images are wrong more often than the rest"
    )
    parser.add_argument(
        "--slice-table", type=Path, metavar="FILE", help="a table with a column `file`: parts by its columns, too"
    )
    interval_option(parser)
    _detail_options(parser)
    trusted_option(parser)
    shorthand_options(parser, OPENING_SHORTHANDS)


def evaluate(arguments: Namespace) -> int:
    """Measure a bundle on a source."""
    from sightline.evaluation.evaluate import evaluate as evaluate_bundle
    from sightline.evaluation.measuring.scoring import figures

    check_folders(arguments, "out")
    with reporting(arguments.mode):
        evaluation = evaluate_bundle(
            arguments.bundle,
            opened(arguments, to_judge=True),
            split=arguments.split,
            out=arguments.out,
            slices=arguments.slices,
            slice_table=arguments.slice_table,
            interval_level=arguments.interval_level,
            **_asked(arguments),
        )
    if arguments.json:
        print_json({"bundle": arguments.bundle, "source": arguments.source, **figures(evaluation)})
    else:
        # On one terminal with it, progress has told already which rows are judged.
        print_evaluation(evaluation, is_said=arguments.mode is None and sys.stdout.isatty() and sys.stderr.isatty())
    return 1 if evaluation.num_unreadable else 0


def _detail_options(parser: ArgumentParser) -> None:
    """What answers are to carry beside their class."""
    parser.add_argument(
        "--coverage",
        type=float,
        metavar="SHARE",
        help="answer with sets, too, that hold the right class of this share of images like the calibration images",
    )
    parser.add_argument(
        "--per-class", action="store_true", help="keep that promise for the images of each class by themselves"
    )
    parser.add_argument(
        "--score",
        default="lac",
        metavar="lac|aps|raps",
        help="lac makes the smallest sets (default), aps larger ones where an image is hard, raps cuts their tails",
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


def _asked(arguments: Namespace) -> dict[str, Any]:
    """By the names of `sightline.bundles.trust.details.Asked`."""
    names = ("coverage", "per_class", "score", "max_error", "certainty", "novelty", "nearest")
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def predict_options(parser: ArgumentParser) -> None:
    """What `predict` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle, or imagenet: the network inside the package")
    parser.add_argument("images", nargs="+", metavar="image_or_folder", help="folders are searched to the bottom")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="how many classes to name (default: 3)")
    parser.add_argument("--invert", action="store_true", help="turn light into dark first")
    _detail_options(parser)
    parser.add_argument(
        "--nearest", type=int, metavar="COUNT", help="name the training images that look most alike to it, up to 5"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the rows as a table, too")
    trusted_option(parser)
    overwrite_option(parser)


def predict(arguments: Namespace) -> int:
    """Stream a row an image, as the answers come."""
    from sightline.bundles.bundle import load_bundle
    from sightline.bundles.given_images import check_there
    from sightline.bundles.prediction import find_images
    from sightline.bundles.trust.details import Asked, detail_makers

    bundle = load_bundle(arguments.bundle)
    makers = detail_makers(bundle, Asked(**_asked(arguments)))
    if not arguments.top >= 1:
        raise InvalidValue(f"--top must be a whole number of at least 1; got {arguments.top}.")
    check_output("--csv", arguments.csv, keep=arguments.images, overwrite=arguments.overwrite)
    check_there(arguments.images)
    with reporting(arguments.mode):
        paths = find_images(arguments.images)
        for maker in makers.values():
            reporter().say(maker.in_words)
        num_unreadable, fault = _answer(bundle, paths, arguments, makers)
        told = f"{len(paths):,} image{'s' * (len(paths) != 1)}"
        told += f", {num_unreadable:,} could not be read" if num_unreadable else ""
        reporter().say(told if arguments.csv is None else f"{told}; written to {arguments.csv}")
    if fault is not None and not isinstance(fault, BrokenPipeError):
        raise fault
    return 1 if num_unreadable else 0


def _answer(
    bundle: Any, paths: Sequence[str], arguments: Namespace, makers: Mapping[str, Any]
) -> tuple[int, OSError | None]:
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
                **{name: maker.promise for name, maker in makers.items()},
            }
            most = min(arguments.top, len(bundle.class_names))
            table = open_now.enter_context(
                AnswerTable(arguments.csv, bundle.task, most_classes=most, asked=asked, overwrite=arguments.overwrite)
            )
        # On a terminal the rows are the progress: a bar would share their lines.
        open_now.enter_context(reporting("quiet" if sys.stdout.isatty() else None))
        bar = open_now.enter_context(reporter().bar("predicting", total=len(paths)))
        for portion in predict_files(bundle, paths, invert=arguments.invert, makers=makers):
            rows = list(answer_rows(portion, arguments.top))
            num_unreadable += sum(row["error"] is not None for row in rows)
            fault = fault or _print_rows(rows, portion, arguments)
            if fault is not None and table is None:
                raise fault
            if table is not None:
                table.add(rows, asked_for=_asked_for(portion))
            bar.advance(len(portion))
    return num_unreadable, fault


def _asked_for(portion: Any) -> list[str]:
    """What the rows of some answers have that not every answer has."""
    details = [column for detail in portion.details.values() for column in detail.columns]
    return [*["disagreement"] * (portion.disagreements is not None), *details]


def answer_rows(portion: Any, top: int) -> Iterator[dict[str, Any]]:
    """Each answer as JSON tells it, with so many classes."""
    logits = portion.logits[portion.readable]
    answers = iter(portion.task.answers(logits, portion.class_names, temperature=portion.temperature, top=top))
    for index, (path, error) in enumerate(zip(portion.row_ids, portion.errors, strict=True)):
        answer = portion.task.unanswered if error is not None else next(answers)
        row: dict[str, Any] = {"path": path, **answer, "error": error}
        if error is None and portion.disagreements is not None:
            row["disagreement"] = round(float(portion.disagreements[index]), 6)
        for detail in portion.details.values():
            nothing = dict.fromkeys(detail.columns)
            row |= nothing if error is not None else detail.cells(index, portion.logits[index], portion.class_names)
        if portion.notices[index]:
            row["notice"] = portion.notices[index]
        yield row


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


def similar_options(parser: ArgumentParser) -> None:
    """What `similar` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle, or imagenet: the network inside the package")
    parser.add_argument("image", help="what the others are compared with")
    parser.add_argument(
        "--in", dest="folder", nargs="+", action="extend", required=True, metavar="FOLDER", help="where to look"
    )
    parser.add_argument("--count", type=int, default=10, help="how many to name (default: 10)")
    parser.add_argument("--out", type=Path, help="the PNG to write (default: <image>-similar.png)")
    trusted_option(parser)
    overwrite_option(parser)


def similar(arguments: Namespace) -> int:
    """Name the images that look most like one, and draw them."""
    from sightline.evaluation.similarity import similar as find_similar

    keep = [arguments.image, *arguments.folder]
    out = arguments.out or default_output(arguments.image, "-similar", keep=keep)
    check_output("--out", out, keep=keep, overwrite=arguments.overwrite)
    with reporting(arguments.mode):
        found = find_similar(
            arguments.bundle,
            arguments.image,
            folder=arguments.folder,
            count=arguments.count,
            out=out,
            overwrite=arguments.overwrite,
        )
    rows = [
        {"path": path, "similarity": round(float(similarity), 6)}
        for path, similarity in zip(found.paths, found.similarities, strict=True)
    ]
    if arguments.json:
        errors = [{"path": path, "error": reason} for path, reason in found.errors]
        print_json({"image": found.image, "picture": str(out), "similar": rows, "errors": errors})
    else:
        for row in rows:
            print_text(f"{row['similarity']:.3f}  {printable(str(row['path']))}")
        print_text(f"written to {out}")
    return 1 if found.errors else 0


def export_options(parser: ArgumentParser) -> None:
    """What `export` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle, or imagenet: the network inside the package")
    listed = "; ".join(f"{name}: {row.summary}" for name, row in FORMATS.items())
    action = parser.add_argument("format", metavar="format", help=listed)
    # For completion alone: a wrong one is told what may have been meant.
    action.completer = lambda **_: list(FORMATS)  # type: ignore[attr-defined]  # looked for by argcomplete
    parser.add_argument(
        "--images",
        metavar="SOURCE",
        help="labelled images to compare both on (default: the run's calibration images, else what the bundle keeps)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE|FOLDER", help="where to (default: exports/<format> in the run)"
    )
    trusted_option(parser)
    overwrite_option(parser)


def export(arguments: Namespace) -> int:
    """Write, compare, and tell how it came out."""
    from sightline.deployment.export import export as export_bundle

    with reporting(arguments.mode):
        exported = export_bundle(
            arguments.bundle,
            arguments.format,
            out=arguments.out,
            images=arguments.images,
            overwrite=arguments.overwrite,
        )
    if arguments.json:
        places = {name: str(getattr(exported, name)) for name in ("path", "report", "readme")}
        print_json({**places, **exported.figures})
    else:
        print_text(exported)
    return 1 if exported.figures["num_unreadable"] else 0


def sign_options(parser: ArgumentParser) -> None:
    """What `sign` takes."""
    parser.add_argument("bundle", nargs="?", help="folder of a run or a bundle")
    parser.add_argument("--key", type=Path, metavar="FILE", help="your private key")
    parser.add_argument(
        "--new-key",
        type=Path,
        metavar="FILE",
        help="make a private key, for you alone, and beside it FILE.pub, for whoever trusts you",
    )


def sign(arguments: Namespace) -> int:
    """Make keys, sign a bundle, or both."""
    from sightline.bundles.bundle import sign as sign_bundle
    from sightline.system.signatures import new_key

    key, is_new = arguments.key or arguments.new_key, arguments.new_key is not None
    if key is None or (is_new and arguments.key is not None) or not (is_new or arguments.bundle):
        raise InvalidValue("name a bundle with --key FILE to sign it, or --new-key FILE to make a pair of keys.")
    written = {"private_key": str(key), "public_key": str(new_key(key))} if is_new else {}
    if arguments.bundle is not None:
        written["signature"] = str(sign_bundle(arguments.bundle, key))
    if arguments.json:
        print_json(written)
        return 0
    if is_new:
        print_text(f"private key: {written['private_key']}. Keep it to yourself; who has it can sign as you.")
        print_text(f"public key: {written['public_key']}. Give it to whoever is to trust what you sign.")
    if "signature" in written:
        print_text(f"signed: {written['signature']}")
    return 0
