"""The entry point: parse, call, turn the caller's mistakes into one sentence and exit code 2."""

from __future__ import annotations

import importlib
import os
import sys

from sightline.cli.parser import COMMANDS, build_parser
from sightline.errors import SightlineError
from sightline.interruption import heeding_interrupts

FINE, REFUSED, INTERRUPTED = 0, 2, 130


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: what was typed behind `sightline`; from the process if None.

    Returns:
        0 fine; 1 done, with unreadable images among others; 2 refused; 130 interrupted.

    Raises:
        SystemExit: argparse's own, after --help or a mistyped option.

    Example:
        >>> main(["models", "--json", "--quiet"]) # doctest: +ELLIPSIS
        [...
        0
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return REFUSED
    module, _, _ = COMMANDS[arguments.command]
    carry_out = getattr(importlib.import_module(f"sightline.cli.{module}"), arguments.command.replace("-", "_"))
    try:
        with heeding_interrupts():
            code: int = carry_out(arguments)
        sys.stdout.flush()
    except SightlineError as error:
        print(f"sightline {arguments.command}: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(f"sightline {arguments.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # `sightline predict ... | head` closes the pipe early; that is no fault of anyone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    return code


if __name__ == "__main__":
    sys.exit(main())
