"""The entry point: what can be typed, and what comes of it; the caller's mistakes in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import io
import os
import re
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sightline._version import __version__
from sightline.cli.commands import (
    bundles,
    explanation,
    exports,
    inspection,
    lists,
    machine,
    prediction,
    robustness,
    runs,
    serving,
    sorting,
    sources,
)
from sightline.cli.printing import silence_stdout
from sightline.errors import SightlineError
from sightline.system.interruption import Stopped, heeding_interrupts
from sightline.system.paths import GONE, is_here_gone
from sightline.system.text import printable, printable_lines

FINE, REFUSED, BUG, INTERRUPTED = 0, 2, 70, 130
# As a shell tells it: 143 for SIGTERM, 129 for SIGHUP.
BY_SIGNAL = 128
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

DESCRIPTION = "Turn labelled pictures into an image classifier that its owner can trust."
EPILOG = """first steps:
  sightline train mnist                    train LeNet-5 on the embedded MNIST
  sightline predict runs/mnist-fast-001 digit.png
  sightline show mnist --count 5 --augmented"""


@dataclass(frozen=True)
class Command:
    """What a command does, in words and as a function that gives the exit code, and its options."""

    summary: str
    carry_out: Callable[[Namespace], int]
    add_options: Callable[[ArgumentParser], None] | None = None


# In the order of `sightline --help`. Whatever these modules import at their top, --help waits for.
COMMANDS: dict[str, Command] = {
    "show": Command("draw a few images of each class with their labels", sources.show, sources.show_options),
    "audit": Command(
        "find broken files, copies, leaks, contradictory labels and likely shortcuts",
        sources.audit,
        sources.audit_options,
    ),
    "find-learning-rate": Command(
        "try learning rates on train images, draw the loss, suggest one",
        sources.find_learning_rate,
        sources.find_learning_rate_options,
    ),
    "learning-curve": Command(
        "tell how accuracy grows with the number of images, and what more of them would bring",
        sources.learning_curve,
        sources.learning_curve_options,
    ),
    "search": Command(
        "try recipes within a budget, choose by validation images, judge the choice once on test images",
        sources.search,
        sources.search_options,
    ),
    "train": Command("train a classifier: split, fit, calibrate, evaluate, save", runs.train, runs.train_options),
    "resume": Command("go on with a training that was interrupted", runs.resume, runs.resume_options),
    "extend": Command("let a finished run learn for some epochs more", runs.extend, runs.extend_options),
    "combine": Command("make one classifier of several finished runs", runs.combine, runs.combine_options),
    "distil": Command(
        "train one small network on labels and the answers of a bundle", runs.distil, runs.distil_options
    ),
    "evaluate": Command("measure a bundle on labelled images", bundles.evaluate, bundles.evaluate_options),
    "predict": Command("name what is on images", prediction.predict, prediction.predict_options),
    "explain": Command(
        "show which places of images speak for a class, and the training images most like them",
        explanation.explain,
        explanation.explain_options,
    ),
    "stress": Command(
        "tell what a bundle still gets right where images go bad: noise, blur, weather, compression",
        robustness.stress,
        robustness.stress_options,
    ),
    "sort": Command("sort a folder into one folder a class, and take it back", sorting.sort, sorting.sort_options),
    "check": Command(
        "tell whether images are like those that a bundle was measured on", robustness.check, robustness.check_options
    ),
    "similar": Command("find the images that look most like one", bundles.similar, bundles.similar_options),
    "compare": Command("set finished runs side by side and test their difference", runs.compare, runs.compare_options),
    "adopt": Command(
        "make a bundle of a network that others made: Teachable Machine, Keras, ONNX",
        bundles.adopt,
        bundles.adopt_options,
    ),
    "export": Command(
        "write a bundle as a file for elsewhere, kept if it answers the same", exports.export, exports.export_options
    ),
    "publish": Command(
        "write a bundle as a repository of the Hugging Face Hub, and upload it if that is asked for",
        exports.publish,
        exports.publish_options,
    ),
    "serve": Command("answer pictures over HTTP, on a page and for programs", serving.serve, serving.serve_options),
    "studio": Command(
        "do all of it on a page in the browser, over a folder of this machine", serving.studio, serving.studio_options
    ),
    "sign": Command("sign a bundle, or make a pair of keys to sign with", bundles.sign, bundles.sign_options),
    "verify": Command(
        "find out whether a bundle or a run is whole, and does what it did",
        inspection.verify,
        inspection.verify_options,
    ),
    "runs": Command(
        "list runs: state, figures, size, when they were changed", inspection.runs, inspection.runs_options
    ),
    "mistakes": Command(
        "name the images that a run answers wrong or too unsurely", inspection.mistakes, inspection.mistakes_options
    ),
    "report": Command("write what a run is worth as one HTML page", inspection.report, inspection.report_options),
    "models": Command("list the networks", lists.models),
    "datasets": Command("list the sources that go by a name", lists.datasets),
    "recipes": Command("list the recipes and their keys", lists.recipes, lists.recipes_options),
    "cache": Command(
        "tell what is kept for the next time, where and how large; empty it", machine.cache, machine.cache_options
    ),
    "completion": Command(
        "print what makes a shell complete commands and options", machine.completion, machine.completion_options
    ),
    "doctor": Command("tell versions, backends, devices, and what is missing", machine.doctor),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: what was typed behind `sightline`; from the process if None.

    Returns:
        0 fine; 1 done, with findings, such as unreadable images; 2 refused; 70 a bug, with its traceback; 130
        interrupted; 143 and 129 ended by SIGTERM and SIGHUP.

    Raises:
        SystemExit: argparse's own, after --help or a mistyped option.

    Example:
        >>> main(["models", "--json", "--quiet"]) # doctest: +ELLIPSIS
        [...
        0
    """
    _prepare_streams()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could be typed next
        import argcomplete

        argcomplete.autocomplete(build_parser())
    typed = sys.argv[1:] if argv is None else argv
    parser = build_parser(typed)
    arguments = parser.parse_args(typed)
    if arguments.command is None:
        parser.print_help()
        return REFUSED
    if sys.stdout is None:
        # The next file to be opened would get its number, and a library that prints would write into it.
        return _refuse(arguments, "standard output is closed. Send it to a file, or to /dev/null for none.")
    try:
        with heeding_interrupts(), _trusting(arguments):
            code = COMMANDS[arguments.command].carry_out(arguments)
        sys.stdout.flush()
    except SightlineError as error:
        return _refuse(arguments, str(error))
    except KeyboardInterrupt as stop:
        with contextlib.suppress(OSError):  # of a terminal that was closed
            print(f"sightline {arguments.command}: {str(stop) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED if not isinstance(stop, Stopped) else BY_SIGNAL + stop.signal
    except Exception as error:  # noqa: BLE001  # the last place that can tell a bug from findings
        return _explain(arguments, error)
    return code


def _trusting(arguments: Namespace) -> contextlib.AbstractContextManager[None]:
    """Where a key was named that is trusted, no bundle is opened that is not signed with it."""
    key = getattr(arguments, "trusted", None)
    if key is None:
        return contextlib.nullcontext()
    from sightline.bundles.bundle import trusting

    return trusting(key)


class _Parser(ArgumentParser):
    """A parser that suggests what may have been meant."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse unknown options here, where those of the command are known, not in the parser above."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            typed = unknown[0].partition("=")[0]
            near = _near(typed, self._option_string_actions) if typed.startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}.{near}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Print the usage and one sentence, in which a mistyped command is told the nearest."""
        if match := re.match(r"argument COMMAND: invalid choice: '(.*?)'", message):
            message = f"no command is called '{match[1]}'.{_near(match[1], COMMANDS)} Known: {', '.join(COMMANDS)}."
        super().error(printable(message))


def _near(typed: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(typed.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def build_parser(typed: Sequence[str] | None = None) -> ArgumentParser:
    """The command line; where it is known what was typed, with the options of no other command than that."""
    parser = _Parser(
        prog="sightline", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, row in COMMANDS.items():
        command = commands.add_parser(name, help=row.summary, description=f"{row.summary[0].upper()}{row.summary[1:]}.")
        if typed is not None and name not in typed:
            continue
        if row.add_options is not None:
            row.add_options(command)
        command.add_argument("--json", action="store_true", help="print JSON on stdout, all else on stderr")
        # Without it, what stderr is decides.
        command.add_argument(
            "--quiet", action="store_const", const="quiet", dest="mode", help="no progress, no remarks"
        )
    return parser


def _prepare_streams() -> None:
    """See to it that no letter and no missing stream ends a command."""
    if sys.stderr is None:
        # print(file=None) would write progress to stdout, between the results.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for the rest of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another encoding shows what it lacks as \u732b.
            stream.reconfigure(errors="backslashreplace")


def _refuse(arguments: Namespace, reason: str) -> int:
    print(f"sightline {arguments.command}: {printable_lines(reason)}", file=sys.stderr)
    return REFUSED


def _explain(arguments: Namespace, error: Exception) -> int:
    """Tell a closed pipe, a full disk and a folder that may not be entered from a bug."""
    if isinstance(error, BrokenPipeError):
        # `sightline predict ... | head` closes the pipe early; that is no fault of anyone.
        silence_stdout()
        return FINE
    if isinstance(error, MemoryError):
        return _refuse(arguments, "the memory does not suffice. End other programs, or ask for less at once.")
    if isinstance(error, FileNotFoundError) and is_here_gone():
        return _refuse(arguments, GONE)
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
