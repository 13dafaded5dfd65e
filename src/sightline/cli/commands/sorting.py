"""`sort`: the files of a folder into folders of their classes, and back again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from sightline.cli.commands.prediction import promise_options
from sightline.cli.options import on_option, overwrite_option, trusted_option
from sightline.cli.printing import print_json, print_text
from sightline.deployment.sorting.journal import WAYS
from sightline.errors import InvalidValue
from sightline.system.paths import check_output
from sightline.system.progress import reporter, reporting


def sort_options(parser: ArgumentParser) -> None:
    """What `sort` takes."""
    parser.add_argument("bundle", nargs="?", help="folder of a run or a bundle, or imagenet")
    parser.add_argument("folder", nargs="?", help="what is sorted; it is searched to the bottom")
    parser.add_argument("--into", type=Path, metavar="DIR", help="where to: a folder a class")
    parser.add_argument(
        "--by", default="copy", metavar="|".join(WAYS), help="hardlink: a second name of the same file (default: copy)"
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="less sure answers go to _unsure, as those do that are marked so; marked images go to _novel",
    )
    parser.add_argument(
        "--max-set-size", type=int, metavar="COUNT", help="answers whose set holds more classes go to _unsure"
    )
    promise_options(parser)
    parser.add_argument(
        "--pattern",
        default="{class}/{name}",
        help="of the path of each file, with {class}, {year}, {month} and {day} on which it was taken, and {name} "
        "(default: {class}/{name})",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done, and draw it")
    parser.add_argument("--page", type=Path, metavar="FILE", help="of --dry-run: the page (default: sort-plan.html)")
    parser.add_argument("--undo", type=Path, metavar="DIR", help="take back the last sorting into a folder")
    on_option(parser, "files are brought to their places from here")
    trusted_option(parser)
    overwrite_option(parser)


def sort(arguments: Namespace) -> int:
    """Sort, plan, or take back."""
    from sightline.deployment.sort import sort as sort_folder, undo_sort

    if arguments.undo is not None:
        if any(given is not None for given in (arguments.bundle, arguments.into, arguments.on)):
            raise InvalidValue("--undo DIR stands alone: it takes back what is written down in DIR.")
        with reporting(arguments.mode):
            found = undo_sort(arguments.undo)
        return _tell(found, arguments)
    if arguments.bundle is None or arguments.folder is None or arguments.into is None:
        raise InvalidValue("name a bundle, a folder and --into DIR; or --undo DIR alone to take a sorting back.")
    page = (arguments.page or Path("sort-plan.html")) if arguments.dry_run else None
    check_output("--page", page, keep=[arguments.folder], overwrite=arguments.overwrite)
    with reporting(arguments.mode):
        found = sort_folder(
            arguments.bundle,
            arguments.folder,
            arguments.into,
            by=arguments.by,
            min_confidence=arguments.min_confidence,
            coverage=arguments.coverage,
            max_set_size=arguments.max_set_size,
            max_error=arguments.max_error,
            novelty=arguments.novelty,
            certainty=arguments.certainty,
            pattern=arguments.pattern,
            dry_run=arguments.dry_run,
            on=arguments.on,
        )
        if page is not None:
            found.write_page(page)
            reporter().say(f"the plan in pictures: {page}")
    return _tell(found, arguments)


def _tell(found: Any, arguments: Namespace) -> int:
    if arguments.json:
        left = [{"file": name, "why": why} for name, why in found.left]
        told = {"into": str(found.into), "did": found.did, "by": found.by, "num_files": found.num_files}
        print_json({**told, "counts": dict(found.counts), "left": left})
    else:
        print_text(found)
    return 1 if found.left or found.num_unreadable else 0
