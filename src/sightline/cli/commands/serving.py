"""`serve` and `studio`: bundles behind HTTP, and all of it on a page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from sightline.cli.options import on_option, trusted_option
from sightline.cli.printing import print_json
from sightline.errors import InvalidValue
from sightline.system.progress import reporting


def serve_options(parser: ArgumentParser) -> None:
    """What `serve` takes."""
    parser.add_argument("bundles", nargs="+", metavar="[NAME=]bundle", help="folder of a run or a bundle, or imagenet")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, default=8000, help="of it; 0 for any that is free (default: 8000)")
    parser.add_argument(
        "--keys", type=Path, metavar="FILE", help="a key a line, of which every request has to name one"
    )
    parser.add_argument("--rate", type=float, metavar="COUNT", help="requests a minute of one key or address")
    parser.add_argument("--deadline", type=float, default=10.0, metavar="SECONDS", help="for an answer (default: 10)")
    parser.add_argument(
        "--max-body", type=float, default=32.0, metavar="MIB", help="of one request, as it is sent (default: 32)"
    )
    parser.add_argument("--max-images", type=int, default=64, metavar="COUNT", help="in one request (default: 64)")
    parser.add_argument(
        "--max-in-flight", type=int, default=256, metavar="COUNT", help="requests let in at a time (default: 256)"
    )
    parser.add_argument(
        "--decoders", type=int, default=0, metavar="COUNT", help="processes that open files (default: one a processor)"
    )
    parser.add_argument(
        "--cors",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a site whose pages may ask, as https://example.org",
    )
    parser.add_argument(
        "--host-name", action="append", default=[], metavar="NAME", help="a name by which the server may be asked"
    )
    parser.add_argument(
        "--tls", nargs=2, type=Path, metavar=("CERTIFICATE", "KEY"), help="PEM files, to be asked by https"
    )
    parser.add_argument(
        "--reload",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="how often to look whether a bundle was replaced; 0 for never (default: 2)",
    )
    on_option(parser, "networks answer there, and this machine lets in what comes")
    parser.add_argument(
        "--replicas", type=int, metavar="COUNT", help="processes there, each with all bundles (default: 2)"
    )
    trusted_option(parser)


def serve(arguments: Namespace) -> int:
    """Answer until Ctrl-C or SIGTERM."""
    from sightline.deployment.serve import serve as serve_bundles
    from sightline.deployment.server.served import named_bundles

    limits = {
        "max_body_mib": arguments.max_body,
        "max_images": arguments.max_images,
        "max_in_flight": arguments.max_in_flight,
        "deadline_seconds": arguments.deadline,
        "requests_per_minute": arguments.rate,
        "decoders": arguments.decoders,
    }
    places = named_bundles(arguments.bundles)
    with reporting(arguments.mode):
        serve_bundles(
            places,
            host=arguments.host,
            port=arguments.port,
            keys=_keys(arguments.keys),
            limits=limits,
            origins=tuple(arguments.cors),
            host_names=tuple(arguments.host_name),
            tls=None if arguments.tls is None else tuple(arguments.tls),
            reload_seconds=arguments.reload,
            started=lambda address: print_json({"address": address, "models": [*places]}) if arguments.json else None,
            on=arguments.on,
            replicas=arguments.replicas,
        )
    return 0


def studio_options(parser: ArgumentParser) -> None:
    """What `studio` takes."""
    parser.add_argument(
        "folder", nargs="?", default=".", help="below which pictures and runs lie (default: the current one)"
    )
    parser.add_argument("--port", type=int, default=0, help="to listen on (default: any that is free)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def studio(arguments: Namespace) -> int:
    """Show the page until Ctrl-C or SIGTERM."""
    from sightline.deployment.studio import studio as open_studio

    with reporting(arguments.mode):
        open_studio(arguments.folder, port=arguments.port, opens_browser=not arguments.no_browser)
    return 0


def _keys(file: Path | None) -> tuple[str, ...]:
    if file is None:
        return ()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"--keys {file} cannot be read ({error}). Name a text file with a key a line.") from error
    keys = tuple(line.strip() for line in lines if line.strip())
    if short := [key for key in keys if len(key) < 16]:
        raise InvalidValue(f"--keys {file}: a key has at least 16 letters; one has {len(short[0])}.")
    if not keys:
        raise InvalidValue(f"--keys {file} holds no key. Write one a line, of at least 16 letters.")
    return keys
