"""`stress` and `check`: what a bundle still gets right where images go bad, and whether images are like its own."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

from sightline.cli.options import OPENING_SHORTHANDS, opened, overwrite_option, shorthand_options, trusted_option
from sightline.cli.printing import print_json, print_table, print_text
from sightline.errors import InvalidValue
from sightline.system.paths import check_output
from sightline.system.progress import reporting
from sightline.system.text import told_p_value


def stress_options(parser: ArgumentParser) -> None:
    """What `stress` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle")
    parser.add_argument("source", nargs="?", help="what to spoil (default: what the run was trained on)")
    parser.add_argument("--corruptions", metavar="NAME,NAME", help='some of them, "fog,motion blur" (default: all 15)')
    parser.add_argument("--severities", default="1,2,3,4,5", metavar="N,N", help="some of 1 to 5 (default: all)")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="at most so many images (default: 1000)")
    parser.add_argument("--split", help="as `evaluate` takes it (default: what the bundle did not learn from)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another one draws other images and noise")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the picture of it, a PNG")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the figures as a table")
    shorthand_options(parser, OPENING_SHORTHANDS)
    overwrite_option(parser)
    trusted_option(parser)


def stress(arguments: Namespace) -> int:
    """Say the one figure, the worst corruption, and each of them in a table."""
    from sightline.evaluation.stress import stress as stress_bundle
    from sightline.system.files import write_atomically

    names = None if arguments.corruptions is None else [name.strip() for name in arguments.corruptions.split(",")]
    severities = _numbers(arguments.severities)
    keep = [] if arguments.source is None else [arguments.source]
    check_output("--csv", arguments.csv, keep=keep, overwrite=arguments.overwrite)
    with reporting(arguments.mode):
        found = stress_bundle(
            arguments.bundle,
            opened(arguments, to_judge=True),
            corruptions=names,
            severities=severities,
            limit=arguments.limit,
            split=arguments.split,
            seed=arguments.seed,
            out=arguments.out,
            overwrite=arguments.overwrite,
        )
        if arguments.csv is not None:
            write_atomically(arguments.csv, found.csv())
    if arguments.json:
        print_json({"bundle": arguments.bundle, "source": arguments.source, **found.figures()})
    else:
        print_text(found.in_words)
        rows = [
            {
                "corruption": whole.corruption,
                "mean": f"{whole.score:.4f}",
                **{
                    str(level.severity): f"{level.score:.4f}"
                    for level in found.levels
                    if level.corruption == whole.corruption
                },
            }
            for whole in found.corruptions
        ]
        print_table(rows, tuple(rows[0]))
        if found.errors:
            print_text(f"images that could not be read and are in no figure: {len(found.errors)}")
        for path in (arguments.out, arguments.csv):
            if path is not None:
                print_text(f"written to {path}")
    return 1 if found.errors else 0


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidValue(
            f"--severities must be whole numbers from 1 to 5 with commas between; got {text!r}."
        ) from error


def check_options(parser: ArgumentParser) -> None:
    """What `check` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle")
    parser.add_argument("images", nargs="+", metavar="image_or_folder", help="folders are searched to the bottom")
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="how often, at most, images that are alike are called different (default: 0.01)",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="look at one after the other, in the order given, folders by name, and tell after how many they differ",
    )
    trusted_option(parser)


def check(arguments: Namespace) -> int:
    """Say it in a sentence, and how each property stands."""
    from sightline.bundles.given_images import check_there
    from sightline.evaluation.check import check as check_images

    check_there(arguments.images)
    with reporting(arguments.mode):
        found = check_images(
            arguments.bundle, arguments.images, false_alarms=arguments.false_alarms, stream=arguments.stream
        )
    if arguments.json:
        errors = [{"path": path, "error": reason} for path, reason in found.errors]
        print_json({"bundle": arguments.bundle, **asdict(found), "errors": errors})
    else:
        print_text(found)
        rows = [
            {
                "property": one.name,
                "moved": "yes" if one.has_moved else "no",
                "p-value": told_p_value(one.p_value).removeprefix("= "),
                "how": one.in_words,
            }
            for one in found.properties
        ]
        print_table(rows, ("property", "moved", "p-value", "how"))
        if found.errors:
            print_text(f"images that could not be read and are in no figure: {len(found.errors)}")
    return 0 if found.is_alike and not found.errors else 1
