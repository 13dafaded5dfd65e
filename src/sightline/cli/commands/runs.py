"""`train`, `resume`, `extend`, `combine`, `distil`, `compare`: commands that make runs, and set them side by side."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.cli.options import (
    BACKEND_HELP,
    DISTIL_SHORTHANDS,
    SHORTHANDS,
    SOURCE_HELP,
    check_folders,
    interval_option,
    on_option,
    overwrite_option,
    privacy_options,
    recipe_options,
    settings_of,
    shorthand_options,
    trusted_option,
)
from sightline.cli.printing import print_json, print_run, print_text
from sightline.errors import InvalidValue
from sightline.system.paths import check_output, default_output
from sightline.system.progress import reporting

if TYPE_CHECKING:
    from sightline.records import Run


def train_options(parser: ArgumentParser) -> None:
    """What `train` takes."""
    parser.add_argument("source", help=SOURCE_HELP)
    recipe_options(parser)
    shorthand_options(parser, SHORTHANDS)
    privacy_options(parser)
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="RUN",
        help="begin with the network of a finished run, classes matched by name (default recipe: that of the run)",
    )
    parser.add_argument(
        "--keep-classes",
        action="store_true",
        help="with --from: classes that the run knew and SOURCE lacks stay, by the images that the run was made with",
    )
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/<source>-<recipe>-001, counted up)")
    parser.add_argument("--backend", help=BACKEND_HELP)
    parser.add_argument("--log-every", type=int, metavar="STEPS", help="print loss and accuracy every so many steps")
    parser.add_argument("--jobs", type=int, default=1, help="members of an ensemble trained at once (default: 1)")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="on how many one network learns, each with its part of every batch; needs --backend jax and --on ray",
    )
    on_option(
        parser, "there --processes learn, or members of an ensemble are trained, --jobs of them on a node at once"
    )
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="log each epoch for TensorBoard, too")
    parser.add_argument(
        "--track",
        metavar="TRACKER:PLACE",
        help="tell a tracker of the run: mlflow:FOLDER, mlflow:https://SERVER or wandb:PROJECT",
    )
    _survival_options(parser)


def _survival_options(parser: ArgumentParser) -> None:
    """How a training is kept, and gone on with."""
    parser.add_argument(
        "--checkpoint-every",
        metavar="EVERY",
        help="how often to keep a network while it learns: 500steps, 30s, 5m, 1h (default: each minute)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished run, and begin no new one")
    _force_option(parser)


def _force_option(parser: ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="go on though another version of a package began the run")


def train(arguments: Namespace) -> int:
    """Train and say what came of it."""
    from sightline.configuration.recipes import override
    from sightline.data.sources.loading import holds_files
    from sightline.training.setup.resolution import announce_recipe, opened_and_chosen
    from sightline.training.setup.starting import begun_with
    from sightline.training.train import train as train_network

    check_folders(arguments, "out", "tensorboard")
    settings = settings_of(arguments, SHORTHANDS)
    with reporting(arguments.mode):
        if arguments.start is not None and arguments.recipe is None:
            source, asked = arguments.source, override(begun_with(arguments.start), settings)
        else:
            source, asked = opened_and_chosen(arguments.source, arguments.recipe, settings)
        if arguments.recipe is None and arguments.start is None and holds_files(source):
            announce_recipe(asked.name)
    run = train_network(
        source,
        recipe=asked,
        start=arguments.start,
        keep_classes=arguments.keep_classes,
        out=arguments.out,
        backend=arguments.backend,
        log_every=arguments.log_every,
        tensorboard=arguments.tensorboard,
        track=arguments.track,
        jobs=arguments.jobs,
        processes=arguments.processes,
        on=arguments.on,
        checkpoint_every=arguments.checkpoint_every,
        resume=arguments.resume,
        force=arguments.force,
        mode=arguments.mode,
    )
    return _told(run, arguments)


def resume_options(parser: ArgumentParser) -> None:
    """What `resume` takes."""
    parser.add_argument("run", type=Path, help="folder of a run that `train`, `distil` or `extend` left unfinished")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="where it logs for TensorBoard, if it does")
    parser.add_argument("--track", metavar="TRACKER:PLACE", help="where it is tracked, if it is; none: no longer")
    _force_option(parser)


def resume(arguments: Namespace) -> int:
    """Go on with a run and say what came of it."""
    from sightline.training.resume import resume as resume_run

    options = {name: getattr(arguments, name) for name in ("tensorboard", "track", "force", "mode")}
    return _told(resume_run(arguments.run, **options), arguments)


def extend_options(parser: ArgumentParser) -> None:
    """What `extend` takes."""
    parser.add_argument("run", type=Path, help="folder of a finished run of one network that learned from nothing")
    parser.add_argument("--epochs", type=int, required=True, help="how many more")
    parser.add_argument("--source", help="where the images are (default: what the run was trained on)")
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/<source>-<recipe>-001, counted up)")
    parser.add_argument("--backend", help=BACKEND_HELP)
    _survival_options(parser)


def extend(arguments: Namespace) -> int:
    """Learn for some epochs more and say what came of it."""
    from sightline.training.extend import extend as extend_run

    check_folders(arguments, "out")
    run = extend_run(
        arguments.run,
        epochs=arguments.epochs,
        source=arguments.source,
        out=arguments.out,
        backend=arguments.backend,
        checkpoint_every=arguments.checkpoint_every,
        resume=arguments.resume,
        force=arguments.force,
        mode=arguments.mode,
    )
    return _told(run, arguments)


def _told(run: Run, arguments: Namespace) -> int:
    """Say what came of a run, in the form that was asked for."""
    from sightline.evaluation.measuring.scoring import run_figures

    if arguments.json:
        print_json(run_figures(run))
    else:
        print_run(run)
    return 0


def combine_options(parser: ArgumentParser) -> None:
    """What `combine` takes."""
    parser.add_argument("runs", nargs="+", metavar="run", help="folders of finished runs, trained on the same splits")
    parser.add_argument("--votes", metavar="2,1,1", help="a weight for each run (default: chosen on validation rows)")
    parser.add_argument("--most", type=int, metavar="N", help="steps of that choice at most (default: 20)")
    parser.add_argument("--source", help="where the images are (default: what the runs were trained on)")
    trusted_option(parser)
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/<source>-combined-001, counted up)")


def combine(arguments: Namespace) -> int:
    """Make one run of several and say what came of it."""
    from sightline.training.combine import combine as combine_runs

    check_folders(arguments, "out")
    run = combine_runs(
        arguments.runs,
        out=arguments.out,
        votes=_votes(arguments.votes),
        most=arguments.most,
        source=arguments.source,
        mode=arguments.mode,
    )
    return _told(run, arguments)


def _votes(typed: str | None) -> list[float] | None:
    if typed is None:
        return None
    try:
        return [float(vote) for vote in typed.split(",")]
    except ValueError as error:
        raise InvalidValue(f"--votes takes a weight for each run, such as 2,1,1; got {typed!r}.") from error


def distil_options(parser: ArgumentParser) -> None:
    """What `distil` takes."""
    parser.add_argument("bundle", help="the teacher: folder of a run or a bundle, of an ensemble for instance")
    parser.add_argument("source", nargs="?", help="what to learn from (default: what the teacher was trained on)")
    parser.add_argument("--into", default="lenet5", metavar="MODEL", help="the student's network (default: lenet5)")
    trusted_option(parser)
    recipe_options(parser)
    shorthand_options(parser, DISTIL_SHORTHANDS)
    privacy_options(parser)
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/<source>-<recipe>-001, counted up)")
    parser.add_argument("--backend", help=BACKEND_HELP)
    _survival_options(parser)


def distil(arguments: Namespace) -> int:
    """Train a student and say what came of it."""
    from sightline.bundles.bundle import load_bundle
    from sightline.training.distil import distil as distil_bundle, student_start

    check_folders(arguments, "out")
    settings = settings_of(arguments, DISTIL_SHORTHANDS)
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
        checkpoint_every=arguments.checkpoint_every,
        resume=arguments.resume,
        force=arguments.force,
        mode=arguments.mode,
    )
    return _told(run, arguments)


def compare_options(parser: ArgumentParser) -> None:
    """What `compare` takes."""
    parser.add_argument(
        "runs", nargs="+", metavar="run", help="folders of finished runs; the others are tested against the first"
    )
    parser.add_argument("--split", default="test", help="rows to test on, test or validation (default: test)")
    parser.add_argument("--out", type=Path, help="the PNG to write (default: comparison.png)")
    interval_option(parser)
    overwrite_option(parser)


def compare(arguments: Namespace) -> int:
    """Set runs side by side and draw their curves in one picture."""
    from sightline.evaluation.comparison import compare as compare_runs, comparison_figures

    out = arguments.out or default_output("comparison", "", keep=[])
    check_output("--out", out, overwrite=arguments.overwrite)
    with reporting(arguments.mode):
        found = compare_runs(
            arguments.runs,
            split=arguments.split,
            out=out,
            overwrite=arguments.overwrite,
            interval_level=arguments.interval_level,
        )
    if arguments.json:
        print_json(comparison_figures(found))
    else:
        print_text(f"{found}\n\nwritten to {out}")
    return 0
