"""What can be typed: one table of commands, each bearing the name of the function it calls."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from sightline._version import __version__
from sightline.system.text import printable

DESCRIPTION = "Turn labelled pictures into an image classifier that its owner can trust."
EPILOG = """first steps:
  sightline train mnist                    train LeNet-5 on the embedded MNIST
  sightline predict runs/mnist-fast-001 digit.png
  sightline show mnist --count 5 --augmented"""


SOURCE_HELP = (
    "a folder with a sub-folder a class, a table, an archive, an .npz file, or a name from `sightline datasets`"
)
BACKEND_HELP = "tensorflow, jax or torch (default: KERAS_BACKEND, or the first installed)"
SHELLS = ("bash", "zsh", "fish", "powershell")
# Options of `train` that set one recipe key.
SHORTHANDS: dict[str, str] = {
    "model": "model.name",
    "epochs": "training.epochs",
    "seed": "seed",
    "splits": "data.splits_file",
    "exclude": "data.exclude_file",
    "fraction": "data.fraction",
    "time_budget": "training.time_budget_seconds",
    "column": "data.columns",
    "label_from": "data.label_from",
    "ensemble": "ensemble.kind",
    "members": "ensemble.members",
}
# What stands for the value, and what it does; said here, since a recipe is not imported for --help.
_MEANINGS: dict[str, tuple[str, str]] = {
    "model": ("NAME", "the network, one of `sightline models`"),
    "epochs": ("N", "passes over the train images, at most"),
    "seed": ("N", "the same seed on the same machine gives the same network"),
    "splits": ("FILE", "a splits.csv to go by"),
    "exclude": ("FILE", "a table of what to leave out, as `audit --plan` writes it"),
    "fraction": ("SHARE", "share of the images to use, above 0 to 1"),
    "time_budget": ("SECONDS", "for the whole run: as many epochs as fit"),
    "column": ("path=...,label=...", "what the columns of a table are called; split, group and weight, too"),
    "label_from": ("first|last|top", "which folder names the class; top: even one that is called as a split is"),
    "ensemble": ("KIND", "train several networks: deep, bagging, boosting, soup or greedy-soup"),
    "members": ("N", "how many networks an ensemble has"),
}
# Those of them that a range test has a use for.
RANGE_TEST_SHORTHANDS = ("model", "seed", "fraction", "column", "label_from")
# Those of them that a student has a use for: its network, rows and number are settled otherwise.
DISTIL_SHORTHANDS = ("epochs", "seed", "exclude", "fraction", "time_budget", "column", "label_from")
# Those of them that say how a source is opened.
OPENING_SHORTHANDS = ("column", "label_from")


class _Parser(argparse.ArgumentParser):
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


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="sightline", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (_, summary, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        add_options(command)
        command.add_argument("--json", action="store_true", help="print JSON on stdout, all else on stderr")
        command.add_argument("--quiet", action="store_true", help="no progress, no remarks")
    return parser


def _recipe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe", metavar="NAME|FILE", help="see `sightline recipes` (default: by the kind of source)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="set a recipe key, for instance training.epochs=3; repeatable (keys: `sightline recipes --keys`)",
    )


def _shorthand_options(parser: argparse.ArgumentParser, options: Iterable[str]) -> None:
    has_set = parser.get_default("settings") is not None
    for option in options:
        value, meaning = _MEANINGS[option]
        shown = f"{meaning} (short for --set {SHORTHANDS[option]}={value})" if has_set else meaning
        action = _Joined if option == "column" else "store"
        parser.add_argument(f"--{option.replace('_', '-')}", metavar=value, help=shown, action=action)


class _Joined(argparse.Action):
    """An option that may be typed several times: path=... and label=... one by one."""

    def __call__(self, _: object, namespace: argparse.Namespace, values: object, __: str | None = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, f"{before},{values}" if before else values)


def _overwrite_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a file that Sightline did not write, or a table"
    )


def _show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help=SOURCE_HELP)
    parser.add_argument("--count", type=int, default=25, help="how many images (default: 25)")
    parser.add_argument("--augmented", action="store_true", help="beside each image, variants as the network sees them")
    parser.add_argument("--out", type=Path, help="the PNG to write (default: <source>.png)")
    _recipe_options(parser)
    _shorthand_options(parser, OPENING_SHORTHANDS)
    _overwrite_option(parser)


def _audit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help=SOURCE_HELP)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write everything as one page with small pictures")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="write what could be left out, for train --exclude")
    parser.add_argument("--no-near-duplicates", action="store_true", help="look for exact copies alone")
    _shorthand_options(parser, OPENING_SHORTHANDS)
    _overwrite_option(parser)


def _find_learning_rate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help=SOURCE_HELP)
    _recipe_options(parser)
    _shorthand_options(parser, RANGE_TEST_SHORTHANDS)
    parser.add_argument("--steps", type=int, default=200, help="how many rates to try (default: 200)")
    parser.add_argument("--out", type=Path, help="the PNG to write (default: <source>-learning-rate.png)")
    parser.add_argument("--backend", help=BACKEND_HELP)
    _overwrite_option(parser)


def _train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help=SOURCE_HELP)
    _recipe_options(parser)
    _shorthand_options(parser, SHORTHANDS)
    _parity_option(parser)
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/<source>-<recipe>-001, counted up)")
    parser.add_argument("--backend", help=BACKEND_HELP)
    _identity_option(parser)
    parser.add_argument("--log-every", type=int, metavar="STEPS", help="print loss and accuracy every so many steps")
    parser.add_argument("--jobs", type=int, default=1, help="members of an ensemble trained at once (default: 1)")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="log each epoch for TensorBoard, too")


def _parity_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-parity-images",
        action="append_const",
        const="data.parity_images=false",
        dest="settings",
        help="put made images in place of some of the data into the bundle (short for --set data.parity_images=false)",
    )


def _combine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="run", help="folders of finished runs, trained on the same splits")
    parser.add_argument("--votes", metavar="2,1,1", help="a weight for each run (default: chosen on validation rows)")
    parser.add_argument("--most", type=int, metavar="N", help="steps of that choice at most (default: 20)")
    parser.add_argument("--source", help="where the images are (default: what the runs were trained on)")
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/<source>-combined-001, counted up)")


def _identity_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-identity",
        action="store_true",
        help="keep no hashes of the images in the bundle (short for --set data.identity=false)",
    )


def _distil_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="the teacher: folder of a run or a bundle, of an ensemble for instance")
    parser.add_argument("source", nargs="?", help="what to learn from (default: what the teacher was trained on)")
    parser.add_argument("--into", default="lenet5", metavar="MODEL", help="the student's network (default: lenet5)")
    _recipe_options(parser)
    _shorthand_options(parser, DISTIL_SHORTHANDS)
    _parity_option(parser)
    _identity_option(parser)
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/<source>-<recipe>-001, counted up)")
    parser.add_argument("--backend", help=BACKEND_HELP)


def _evaluate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="folder of a run or a bundle")
    parser.add_argument("source", nargs="?", help="what to measure on (default: what the run was trained on)")
    parser.add_argument(
        "--split", help="train, validation, calibration, test or all (default: what the bundle did not learn from)"
    )
    parser.add_argument("--out", type=Path, help="folder for confusion.png, mistakes.png and metrics.json")
    _shorthand_options(parser, OPENING_SHORTHANDS)


def _predict_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="folder of a run or a bundle, or imagenet: the network inside the package")
    parser.add_argument("images", nargs="+", metavar="image_or_folder", help="folders are searched to the bottom")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="how many classes to name (default: 3)")
    parser.add_argument("--invert", action="store_true", help="turn light into dark first")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the rows as a table, too")
    _overwrite_option(parser)


def _similar_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="folder of a run or a bundle, or imagenet: the network inside the package")
    parser.add_argument("image", help="what the others are compared with")
    parser.add_argument(
        "--in", dest="folder", nargs="+", action="extend", required=True, metavar="FOLDER", help="where to look"
    )
    parser.add_argument("--count", type=int, default=10, help="how many to name (default: 10)")
    parser.add_argument("--out", type=Path, help="the PNG to write (default: <image>-similar.png)")
    _overwrite_option(parser)


def _compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="run", help="folders of finished runs; the others are tested against the first"
    )
    parser.add_argument("--split", default="test", help="rows to test on, test or validation (default: test)")
    parser.add_argument("--out", type=Path, help="the PNG to write (default: comparison.png)")
    _overwrite_option(parser)


def _no_options(_: argparse.ArgumentParser) -> None:
    pass


def _recipes_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", action="store_true", help="list every key with its default and meaning")


def _completion_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="where you type")


def _cache_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--empty", action="store_true", help="remove all of it; the next command makes it again")


# Name to the module below `sightline.cli.commands` that carries it out, what it does, and its options.
COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {
    "show": ("look", "draw the first images of a source with their labels", _show_options),
    "audit": ("look", "find broken files, copies, leaks, contradictory labels and likely shortcuts", _audit_options),
    "find-learning-rate": (
        "train",
        "try learning rates on train images, draw the loss, suggest one",
        _find_learning_rate_options,
    ),
    "train": ("train", "train a classifier: split, fit, calibrate, evaluate, save", _train_options),
    "combine": ("train", "make one classifier of several finished runs", _combine_options),
    "distil": ("train", "train one small network on labels and the answers of a bundle", _distil_options),
    "evaluate": ("train", "measure a bundle on labelled images", _evaluate_options),
    "predict": ("predict", "name what is on images", _predict_options),
    "similar": ("look", "find the images that look most like one", _similar_options),
    "compare": ("look", "set finished runs side by side and test their difference", _compare_options),
    "models": ("lists", "list the networks", _no_options),
    "datasets": ("lists", "list the sources that go by a name", _no_options),
    "recipes": ("lists", "list the recipes and their keys", _recipes_options),
    "cache": ("lists", "tell what is kept for the next time, where and how large; empty it", _cache_options),
    "completion": ("lists", "print what makes a shell complete commands and options", _completion_options),
    "doctor": ("lists", "tell versions, backends, devices, and what is missing", _no_options),
}
