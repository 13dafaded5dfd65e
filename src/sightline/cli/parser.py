"""What can be typed: one table of commands, each bearing the name of the function it calls."""

from __future__ import annotations

import argparse
import difflib
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from sightline._version import __version__
from sightline.cli.commands import bundles, lists, machine, runs, sources
from sightline.system.text import printable

DESCRIPTION = "Turn labelled pictures into an image classifier that its owner can trust."
EPILOG = """first steps:
  sightline train mnist                    train LeNet-5 on the embedded MNIST
  sightline predict runs/mnist-fast-001 digit.png
  sightline show mnist --count 5 --augmented"""


def _no_options(_: ArgumentParser) -> None:
    pass


@dataclass(frozen=True)
class Command:
    """What a command does, in words and as a function that gives the exit code, and its options."""

    summary: str
    carry_out: Callable[[Namespace], int]
    add_options: Callable[[ArgumentParser], None] = _no_options


# In the order of `sightline --help`. Whatever these modules import at their top, --help waits for.
COMMANDS: dict[str, Command] = {
    "show": Command("draw the first images of a source with their labels", sources.show, sources.show_options),
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
    "train": Command("train a classifier: split, fit, calibrate, evaluate, save", runs.train, runs.train_options),
    "combine": Command("make one classifier of several finished runs", runs.combine, runs.combine_options),
    "distil": Command(
        "train one small network on labels and the answers of a bundle", runs.distil, runs.distil_options
    ),
    "evaluate": Command("measure a bundle on labelled images", bundles.evaluate, bundles.evaluate_options),
    "predict": Command("name what is on images", bundles.predict, bundles.predict_options),
    "similar": Command("find the images that look most like one", bundles.similar, bundles.similar_options),
    "compare": Command("set finished runs side by side and test their difference", runs.compare, runs.compare_options),
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


def build_parser() -> ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="sightline", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, row in COMMANDS.items():
        command = commands.add_parser(name, help=row.summary, description=f"{row.summary[0].upper()}{row.summary[1:]}.")
        row.add_options(command)
        command.add_argument("--json", action="store_true", help="print JSON on stdout, all else on stderr")
        command.add_argument("--quiet", action="store_true", help="no progress, no remarks")
    return parser
