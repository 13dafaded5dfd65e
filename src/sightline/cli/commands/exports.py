"""`export`: the command that writes a bundle for elsewhere."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from sightline.cli.options import overwrite_option, trusted_option
from sightline.cli.printing import print_json, print_text
from sightline.deployment.conversion.formats import FORMATS
from sightline.system.progress import reporting


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
    parser.add_argument(
        "--unchecked",
        action="store_true",
        help="keep what cannot be compared, as its runtime or images are missing, under a name that says so",
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
            unchecked=arguments.unchecked,
            overwrite=arguments.overwrite,
        )
    if arguments.json:
        places = {name: str(getattr(exported, name)) for name in ("path", "report", "readme")}
        print_json({**places, **exported.figures})
    else:
        print_text(exported)
    return 1 if exported.figures["num_unreadable"] or exported.figures["unchecked"] is not None else 0
