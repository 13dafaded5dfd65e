"""The entry point: parse, call, turn the caller's mistakes into one sentence and exit code 2."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from argparse import ArgumentParser, Namespace

from sightline.cli.parser import COMMANDS, build_parser
from sightline.cli.streams import prepare_streams, silence_stdout
from sightline.errors import SightlineError
from sightline.system.interruption import heeding_interrupts
from sightline.system.text import printable_lines

FINE, REFUSED, BUG, INTERRUPTED = 0, 2, 70, 130
# What the machine refuses, whatever the command: never a fault of the program.
_MACHINE = (
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
)


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: what was typed behind `sightline`; from the process if None.

    Returns:
        0 fine; 1 done, with findings, such as unreadable images; 2 refused; 70 a bug, with its traceback; 130
        interrupted.

    Raises:
        SystemExit: argparse's own, after --help or a mistyped option.

    Example:
        >>> main(["models", "--json", "--quiet"]) # doctest: +ELLIPSIS
        [...
        0
    """
    prepare_streams()
    parser = build_parser()
    _complete(parser)
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return REFUSED
    if sys.stdout is None:
        # The next file to be opened would get its number, and a library that prints would write into it.
        return _refuse(arguments, "standard output is closed. Send it to a file, or to /dev/null for none.")
    try:
        return _carry_out(arguments)
    except SightlineError as error:
        return _refuse(arguments, str(error))
    except KeyboardInterrupt:
        print(f"sightline {arguments.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last place that can tell a bug from findings
        return _explain(arguments, error)


def _complete(parser: ArgumentParser) -> None:
    """Answer a shell that asks what could be typed next; it does so by this variable."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


def _carry_out(arguments: Namespace) -> int:
    with heeding_interrupts():
        code = COMMANDS[arguments.command].carry_out(arguments)
    sys.stdout.flush()
    return code


def _refuse(arguments: Namespace, reason: str) -> int:
    print(f"sightline {arguments.command}: {printable_lines(reason)}", file=sys.stderr)
    return REFUSED


def _explain(arguments: Namespace, error: Exception) -> int:
    """Tell a closed pipe, a full disk and a folder that may not be entered from a bug."""
    if isinstance(error, BrokenPipeError):
        # `sightline predict ... | head` closes the pipe early; that is no fault of anyone.
        silence_stdout()
        return FINE
    if isinstance(error, OSError) and error.errno in _MACHINE:
        if error.filename is not None:
            return _refuse(arguments, f"{error.filename!s}: {error.strerror}. It cannot be used.")
        silence_stdout()
        return _refuse(arguments, f"the answer could not be written to standard output: {error.strerror}.")
    traceback.print_exception(error)
    print(
        f"sightline {arguments.command}: this is a bug in Sightline. Please report it with the lines above.",
        file=sys.stderr,
    )
    return BUG


if __name__ == "__main__":
    sys.exit(main())
