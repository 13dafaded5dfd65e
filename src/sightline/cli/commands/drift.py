"""`check`: the command that asks whether images are like those that a bundle was measured on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from sightline.cli.options import trusted_option
from sightline.cli.printing import print_json, print_table, print_text
from sightline.system.progress import reporting
from sightline.system.text import told_p_value


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
