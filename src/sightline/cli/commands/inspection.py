"""`verify`: a command that looks at what was kept, and changes nothing."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace

from sightline.cli.options import OPENING_SHORTHANDS, opened, shorthand_options
from sightline.cli.printing import print_json, print_text
from sightline.system.progress import reporting


def verify_options(parser: ArgumentParser) -> None:
    """What `verify` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle, or imagenet: the network inside the package")
    parser.add_argument(
        "source", nargs="?", help="where the test images are (default: where the run found them, if it is its bundle)"
    )
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
