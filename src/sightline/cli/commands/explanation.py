"""`explain`: which places of images speak for a class, and which training images are most alike."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from sightline.cli.commands.prediction import print_answer
from sightline.cli.options import overwrite_option, trusted_option
from sightline.cli.printing import print_json, print_text
from sightline.system.progress import reporting

_TOP = 3


def explain_options(parser: ArgumentParser) -> None:
    """What `explain` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle, or imagenet: the network inside the package")
    parser.add_argument("images", nargs="+", metavar="image_or_folder", help="folders are searched to the bottom")
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="what speaks for this class (default: the answer of each)"
    )
    parser.add_argument(
        "--method",
        default="auto",
        metavar="auto|activations|occlusion",
        help="activations: what each place adds to the logit, exactly, where the network ends in a mean over positions "
        "or in layers with ReLU; occlusion: what covering each place changes (default: the first where it can be had)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE|FOLDER",
        help="a page to write (.html), a sheet (.png), or a new folder for a picture of each image",
    )
    trusted_option(parser)
    overwrite_option(parser)


def explain(arguments: Namespace) -> int:
    """Tell of each image its answer, its nearest training images, and where most of what speaks for a class lies."""
    from sightline.bundles.answers.rows import answer_rows
    from sightline.evaluation.explain import check_out, explain as explain_images

    if arguments.out is not None:
        check_out(arguments.out, arguments.images, overwrite=arguments.overwrite, option="--out")
    with reporting(arguments.mode):
        found = explain_images(
            arguments.bundle,
            arguments.images,
            class_name=arguments.class_name,
            method=arguments.method,
            out=arguments.out,
            overwrite=arguments.overwrite,
        )
    rows = list(answer_rows(found.predictions, _TOP))
    if arguments.json:
        out = None if arguments.out is None else str(arguments.out)
        told: dict[str, Any] = {"bundle": arguments.bundle, "method": found.method, "scale": found.scale, "out": out}
        print_json({**told, "images": rows})
    else:
        for row in rows:
            print_answer(row, found.predictions, arguments)
        if arguments.out is not None:
            print_text(f"written to {arguments.out}")
    return 1 if any(row["error"] for row in rows) else 0
