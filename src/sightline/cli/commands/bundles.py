"""`evaluate`, `similar`, `adopt`, `sign`: commands that ask a bundle, make one of a file, or sign it."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from sightline.cli.commands.prediction import asked_of_answers, detail_options
from sightline.cli.options import (
    OPENING_SHORTHANDS,
    check_folders,
    interval_option,
    opened,
    overwrite_option,
    shorthand_options,
    trusted_option,
)
from sightline.cli.printing import print_evaluation, print_json, print_text
from sightline.errors import InvalidValue
from sightline.system.paths import check_output, default_output
from sightline.system.progress import reporting
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
    detail_options(parser)
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
            **asked_of_answers(arguments),
        )
    if arguments.json:
        print_json({"bundle": arguments.bundle, "source": arguments.source, **figures(evaluation)})
    else:
        # On one terminal with it, progress has told already which rows are judged.
        print_evaluation(evaluation, is_said=arguments.mode is None and sys.stdout.isatty() and sys.stderr.isatty())
    return 1 if evaluation.num_unreadable else 0


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


def adopt_options(parser: ArgumentParser) -> None:
    """What `adopt` takes."""
    parser.add_argument("file", help="the network: .onnx, .keras, .h5, or Teachable Machine's keras_model.h5")
    parser.add_argument(
        "--labels", type=Path, required=True, metavar="FILE", help="class names in the order of the answers, one a line"
    )
    parser.add_argument("--scaling", help="what bytes become: 0..1, -1..1, 0..255 or imagenet")
    parser.add_argument("--resize", help="how images were brought to size: fill (cropped), stretch or fit (padded)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the images, where the file takes any")
    parser.add_argument("--colors", help="rgb, bgr or grey (default: rgb, or grey where one channel is taken)")
    parser.add_argument("--layout", help="channels_last or channels_first (default: as the file says)")
    parser.add_argument("--output", help="probabilities or logits (default: as they look)")
    parser.add_argument(
        "--description", type=Path, metavar="FILE", help="a JSON file of the same, and of mean and std, for 0..1"
    )
    parser.add_argument(
        "--images", metavar="SOURCE", help="labelled images to compare, calibrate and measure on (default: made images)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="the bundle (default: the file's name with -bundle behind it)"
    )


def adopt(arguments: Namespace) -> int:
    """Make a bundle of a file, and tell how it came out."""
    from sightline.deployment.adopt import adopt as adopt_network
    from sightline.deployment.adoption.preparation import read_fields

    said = {key: getattr(arguments, key) for key in ("scaling", "resize", "size", "colors", "layout", "output")}
    description = {} if arguments.description is None else dict(read_fields(arguments.description))
    description |= {key: value for key, value in said.items() if value is not None}
    with reporting(arguments.mode):
        adopted = adopt_network(
            arguments.file, arguments.labels, description=description, images=arguments.images, out=arguments.out
        )
    if arguments.json:
        print_json({"bundle": str(adopted.bundle.path), **adopted.figures})
    else:
        print_text(str(adopted))
    return 1 if adopted.figures["num_unreadable"] else 0


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
