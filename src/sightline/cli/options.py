"""Options that several commands share, and what they ask for."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import Any

from sightline.errors import InvalidValue, OneClassOnly
from sightline.system.paths import check_place

SOURCE_HELP = (
    "a folder with a sub-folder a class, a table, an archive, an .npz file, or a name from `sightline datasets`"
)
BACKEND_HELP = "tensorflow, jax or torch (default: KERAS_BACKEND, or the first installed)"
# Options of `train` that set one recipe key.
SHORTHANDS: dict[str, str] = {
    "model": "model.name",
    "epochs": "training.epochs",
    "seed": "seed",
    "splits": "data.splits_file",
    "exclude": "data.exclude_file",
    "labels": "data.labels_file",
    "fraction": "data.fraction",
    "time_budget": "training.time_budget_seconds",
    "column": "data.columns",
    "label_from": "data.label_from",
    "task": "data.task",
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
    "labels": ("FILE", "a table of labels to take instead of the given ones, as `audit --label-table` writes it"),
    "fraction": ("SHARE", "share of the images to use, above 0 to 1"),
    "time_budget": ("SECONDS", "for the whole run: as many epochs as fit"),
    "column": ("path=...,label=...", "what the columns of a table are called; split, group and weight, too"),
    "label_from": ("first|last|top", "which folder names the class; top: even one that is called as a split is"),
    "task": ("single-label|multi-label", "whether an image has one class, or several labels or none, as cat;dog"),
    "ensemble": ("KIND", "train several networks: deep, bagging, boosting, soup or greedy-soup"),
    "members": ("N", "how many networks an ensemble has"),
}
# Those of them that a range test has a use for.
RANGE_TEST_SHORTHANDS = ("model", "seed", "fraction", "column", "label_from", "task")
# Those of them that a student has a use for: its network, rows and number are settled otherwise.
DISTIL_SHORTHANDS = ("epochs", "seed", "exclude", "labels", "fraction", "time_budget", "column", "label_from")
# Those of them that a search has a use for: its budget is its own, and an ensemble is not searched for.
SEARCH_SHORTHANDS = ("model", "epochs", "seed", "splits", "exclude", "labels", "fraction", "column", "label_from")
# Those of them that say how a source is opened.
OPENING_SHORTHANDS = ("column", "label_from", "task")


def recipe_options(parser: ArgumentParser) -> None:
    """Where a recipe comes from, and what is changed in it."""
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


def shorthand_options(parser: ArgumentParser, options: Iterable[str]) -> None:
    """Options that are short for `--set`, as many of `SHORTHANDS` as are named."""
    has_set = parser.get_default("settings") is not None
    for option in options:
        value, meaning = _MEANINGS[option]
        shown = f"{meaning} (short for --set {SHORTHANDS[option]}={value})" if has_set else meaning
        action = _Joined if option == "column" else _Once
        parser.add_argument(f"--{option.replace('_', '-')}", metavar=value, help=shown, action=action)


class _Once(argparse.Action):
    """An option that sets a key: one with two values is refused, as `--set` does it."""

    def __call__(self, _: object, namespace: argparse.Namespace, values: object, __: str | None = None) -> None:
        before = getattr(namespace, self.dest)
        if before not in (None, values):
            raise argparse.ArgumentError(self, f"it is set twice, to {before} and to {values}. Set it once.")
        setattr(namespace, self.dest, values)


class _Joined(argparse.Action):
    """An option that may be typed several times: path=... and label=... one by one."""

    def __call__(self, _: object, namespace: argparse.Namespace, values: object, __: str | None = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, f"{before},{values}" if before else values)


def overwrite_option(parser: ArgumentParser) -> None:
    """Whether a file may be replaced that is there already."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a file that Sightline did not write, or a table"
    )


def on_option(parser: ArgumentParser, more: str = "") -> None:
    """Where the work is done, if not here."""
    words = "do the work on a Ray cluster: ray for that of RAY_ADDRESS or, without one, for the processors here"
    parser.add_argument("--on", metavar="ray|ray://HOST", help=f"{words}{'; ' * bool(more)}{more}")


def trusted_option(parser: ArgumentParser) -> None:
    """Which bundles may be opened: `main` sees to it, for every command that has this."""
    parser.add_argument(
        "--trusted", metavar="KEY", help="open only a bundle that is signed with the key of this public file"
    )


def interval_option(parser: ArgumentParser) -> None:
    """At which level intervals are given."""
    parser.add_argument(
        "--interval-level",
        type=float,
        default=0.95,
        metavar="LEVEL",
        help="how often intervals hold the truth (default: 0.95)",
    )


def privacy_options(parser: ArgumentParser) -> None:
    """What of the data does not travel in the bundle; behind `recipe_options`."""
    for option, key, meaning in (
        ("--no-parity-images", "data.parity_images", "put made images in place of some of the data into the bundle"),
        ("--no-identity", "data.identity", "keep no hashes of the images in the bundle"),
    ):
        shown = f"{meaning} (short for --set {key}=false)"
        parser.add_argument(option, action="append_const", const=f"{key}=false", dest="settings", help=shown)
    parser.add_argument(
        "--neighbours",
        action="append",
        type="data.neighbours={}".format,
        dest="settings",
        metavar="names|thumbnails|none",
        help="what is kept of train images, to name those nearest to a new one (short for --set data.neighbours=)",
    )


def settings_of(arguments: Namespace, options: Iterable[str]) -> list[str]:
    """What `--set` and the options that are short for it ask for, as key=value."""
    short = {SHORTHANDS[option]: getattr(arguments, option) for option in options}
    return [*arguments.settings, *(f"{key}={value}" for key, value in short.items() if value is not None)]


def check_folders(arguments: Namespace, *options: str) -> None:
    """Refuse a folder to be written inside a bundle or the source that was typed."""
    keep = [] if arguments.source is None else [arguments.source]
    for option in options:
        if (folder := getattr(arguments, option)) is not None:
            check_place(f"--{option}", folder, keep=keep)


def opened(arguments: Namespace, *, to_judge: bool = False) -> Any:
    """What was typed, for the function to open; or a Dataset where `--column`, `--label-from` or `--task` says how.

    To judge a network, one class is enough.
    """
    if arguments.column is None and arguments.label_from is None and arguments.task is None:
        return arguments.source
    from sightline.data.sources.loading import load, named_columns

    if arguments.source is None:
        raise InvalidValue("--column, --label-from and --task say how a source is opened; name one.")
    columns = named_columns(arguments.column or "")
    try:
        return load(
            arguments.source,
            label_from=arguments.label_from or "first",
            columns=columns,
            task=arguments.task or "single-label",
        )
    except OneClassOnly as error:
        if not to_judge:
            raise
        return error.dataset
