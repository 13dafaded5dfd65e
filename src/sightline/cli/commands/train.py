"""`find-learning-rate`, `train`, `combine`, `distil`, `evaluate`: commands that make and measure a network."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sightline.cli.opening import opened
from sightline.cli.options import DISTIL_SHORTHANDS, RANGE_TEST_SHORTHANDS, SHORTHANDS
from sightline.cli.printing import mode_of, print_evaluation, print_json, print_run, print_text
from sightline.errors import InvalidValue
from sightline.system.outputs import check_output, check_place, default_output
from sightline.system.progress import reporting

if TYPE_CHECKING:
    from sightline.records import Run


def find_learning_rate(arguments: Namespace) -> int:
    """Try rates, draw what the loss did, and suggest one."""
    from sightline.training.search.learning_rate_finder import find_learning_rate as try_rates
    from sightline.training.setup.resolution import opened_and_chosen

    out = arguments.out or default_output(arguments.source, "-learning-rate", keep=[arguments.source])
    check_output("--out", out, keep=[arguments.source], overwrite=arguments.overwrite)
    source, asked = opened_and_chosen(arguments.source, arguments.recipe, _settings(arguments, RANGE_TEST_SHORTHANDS))
    found = try_rates(
        source,
        recipe=asked,
        out=out,
        overwrite=arguments.overwrite,
        steps=arguments.steps,
        backend=arguments.backend,
        mode=mode_of(arguments),
    )
    if arguments.json:
        print_json(
            {
                "suggestion": found.suggestion,
                "steepest": found.steepest,
                "lowest": found.lowest,
                "rates": found.rates.tolist(),
                "losses": found.losses.tolist(),
                "picture": str(out),
            }
        )
    else:
        print_text(f"{found}\nwritten to {out}")
    return 0


def _settings(arguments: Namespace, options: Iterable[str]) -> list[str]:
    """What `--set` and the options that are short for it ask for, as key=value."""
    short = {SHORTHANDS[option]: getattr(arguments, option) for option in options}
    if getattr(arguments, "no_identity", False):
        short["data.identity"] = "false"
    return [*arguments.settings, *(f"{key}={value}" for key, value in short.items() if value is not None)]


def train(arguments: Namespace) -> int:
    """Train and say what came of it."""
    from sightline.data.sources.loading import is_files
    from sightline.training.setup.resolution import announce_recipe, opened_and_chosen
    from sightline.training.train import train as train_network

    _check_folders(arguments, "out", "tensorboard")
    source, asked = opened_and_chosen(arguments.source, arguments.recipe, _settings(arguments, SHORTHANDS))
    if arguments.recipe is None and is_files(arguments.source):
        with reporting(mode_of(arguments)):
            announce_recipe(asked.name)
    run = train_network(
        source,
        recipe=asked,
        out=arguments.out,
        backend=arguments.backend,
        log_every=arguments.log_every,
        tensorboard=arguments.tensorboard,
        jobs=arguments.jobs,
        mode=mode_of(arguments),
    )
    return _told(run, arguments)


def _check_folders(arguments: Namespace, *options: str) -> None:
    """Refuse a folder to be written inside a bundle or the source that was typed."""
    keep = [] if arguments.source is None else [arguments.source]
    for option in options:
        if (folder := getattr(arguments, option)) is not None:
            check_place(f"--{option}", folder, keep=keep)


def _told(run: Run, arguments: Namespace) -> int:
    """Say what came of a run, in the form that was asked for."""
    from sightline.evaluation.scoring import run_figures

    if arguments.json:
        print_json(run_figures(run))
    else:
        print_run(run)
    return 0


def combine(arguments: Namespace) -> int:
    """Make one run of several and say what came of it."""
    from sightline.training.combine import combine as combine_runs

    _check_folders(arguments, "out")
    run = combine_runs(
        arguments.runs,
        out=arguments.out,
        votes=_votes(arguments.votes),
        most=arguments.most,
        source=arguments.source,
        mode=mode_of(arguments),
    )
    return _told(run, arguments)


def _votes(typed: str | None) -> list[float] | None:
    if typed is None:
        return None
    try:
        return [float(vote) for vote in typed.split(",")]
    except ValueError as error:
        raise InvalidValue(f"--votes takes a weight for each run, such as 2,1,1; got {typed!r}.") from error


def distil(arguments: Namespace) -> int:
    """Train a student and say what came of it."""
    from sightline.bundles.bundle import load_bundle
    from sightline.training.distil import distil as distil_bundle, student_start

    _check_folders(arguments, "out")
    settings = _settings(arguments, DISTIL_SHORTHANDS)
    for text in settings:
        if text.partition("=")[0].strip() == "model.name":
            raise InvalidValue(f"--into names the student's network; got --set {text}. Leave that out.")
    teacher = load_bundle(arguments.bundle)
    run = distil_bundle(
        teacher,
        arguments.source,
        into=arguments.into,
        recipe=student_start(teacher, arguments.source, arguments.recipe, settings),
        out=arguments.out,
        backend=arguments.backend,
        mode=mode_of(arguments),
    )
    return _told(run, arguments)


def evaluate(arguments: Namespace) -> int:
    """Measure a bundle on a source."""
    from sightline.evaluation.evaluate import evaluate as evaluate_bundle
    from sightline.evaluation.scoring import figures

    _check_folders(arguments, "out")
    with reporting(mode_of(arguments)):
        evaluation = evaluate_bundle(
            arguments.bundle, opened(arguments, to_judge=True), split=arguments.split, out=arguments.out
        )
    if arguments.json:
        print_json({"bundle": arguments.bundle, "source": arguments.source, **figures(evaluation)})
    else:
        print_evaluation(evaluation)
    return 1 if evaluation.num_unreadable else 0
