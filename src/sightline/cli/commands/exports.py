"""`export`, `publish`: commands that write a bundle for elsewhere."""

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


def publish_options(parser: ArgumentParser) -> None:
    """What `publish` takes."""
    parser.add_argument("bundle", help="folder of a run or a bundle")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to")
    parser.add_argument(
        "--hub",
        metavar="OWNER/NAME",
        help="upload it there, by the login of `hf auth login` (default: nothing is sent)",
    )
    parser.add_argument(
        "--public", action="store_true", help="with --hub: a new repository may be seen by all (default: private)"
    )
    parser.add_argument(
        "--licence", "--license", metavar="NAME", help="of the whole, as the hub calls it: apache-2.0 (default: other)"
    )
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="OWNER/NAME",
        help="a data set on the hub that it learned from; repeatable",
    )
    parser.add_argument(
        "--with-images", action="store_true", help="let the images and names travel that the bundle has of its data"
    )
    trusted_option(parser)
    parser.add_argument("--overwrite", action="store_true", help="renew a folder that was published before")


def publish(arguments: Namespace) -> int:
    """Write the folder, upload it where that was asked for, and say what was changed."""
    from sightline.integrations.publish import publish as publish_bundle

    with reporting(arguments.mode):
        published = publish_bundle(
            arguments.bundle,
            out=arguments.out,
            hub=arguments.hub,
            public=arguments.public,
            licence=arguments.licence,
            datasets=arguments.dataset,
            with_images=arguments.with_images,
            overwrite=arguments.overwrite,
        )
    if arguments.json:
        places = {name: str(getattr(published, name)) for name in ("path", "readme", "bundle")}
        print_json({**places, "remarks": list(published.remarks), "page": published.page})
    else:
        print_text(published)
    return 0
