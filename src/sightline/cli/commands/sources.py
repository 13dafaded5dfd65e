"""`show`, `audit`, `find-learning-rate`, `learning-curve`, `search`: looking at a source, and for a recipe."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.cli.options import (
    BACKEND_HELP,
    OPENING_SHORTHANDS,
    RANGE_TEST_SHORTHANDS,
    SEARCH_SHORTHANDS,
    SOURCE_HELP,
    check_folders,
    on_option,
    opened,
    overwrite_option,
    recipe_options,
    settings_of,
    shorthand_options,
)
from sightline.cli.printing import print_json, print_table, print_text
from sightline.system.paths import check_output, default_output
from sightline.system.progress import reporting
from sightline.system.text import counted, listed

if TYPE_CHECKING:
    from sightline.training.search.learning_curve import LearningCurve


def show_options(parser: ArgumentParser) -> None:
    """What `show` takes."""
    parser.add_argument("source", help=SOURCE_HELP)
    parser.add_argument(
        "--count", type=int, metavar="N", help="how many images in all (default: three of each class, 24 to 120)"
    )
    parser.add_argument("--augmented", action="store_true", help="beside each image, variants as the network sees them")
    parser.add_argument("--out", type=Path, help="the PNG to write (default: <source>.png)")
    recipe_options(parser)
    shorthand_options(parser, OPENING_SHORTHANDS)
    overwrite_option(parser)


def show(arguments: Namespace) -> int:
    """Write a sheet of images and say what is on it."""
    from sightline.training.preview import show as show_images
    from sightline.training.setup.resolution import opened_and_chosen

    keep = [arguments.source]
    out = arguments.out or default_output(arguments.source, "-augmented" * arguments.augmented, keep=keep)
    check_output("--out", out, keep=keep, overwrite=arguments.overwrite)
    with reporting(arguments.mode):
        source, asked = opened_and_chosen(opened(arguments), arguments.recipe, arguments.settings)
        picture = show_images(
            source,
            count=arguments.count,
            augmented=arguments.augmented,
            recipe=asked,
            out=out,
            overwrite=arguments.overwrite,
        )
    if arguments.json:
        print_json({"picture": str(out), "labels": list(picture.labels)})
    else:
        print_text(f"{picture.description}\nwritten to {out}")
    return 0


def audit_options(parser: ArgumentParser) -> None:
    """What `audit` takes."""
    parser.add_argument("source", help=SOURCE_HELP)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write everything as one page with small pictures")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="write what could be left out, for train --exclude")
    parser.add_argument("--no-near-duplicates", action="store_true", help="look for exact copies alone")
    parser.add_argument("--labels", action="store_true", help="judge the labels, too, by what a frozen network sees")
    parser.add_argument(
        "--label-table",
        type=Path,
        metavar="FILE",
        help="write the doubtful labels as a table to edit, for train --labels (judges them, too)",
    )
    on_option(parser, "labels are judged here")
    shorthand_options(parser, OPENING_SHORTHANDS)
    overwrite_option(parser)


def audit(arguments: Namespace) -> int:
    """Say what may be wrong with a source; write the page, the plan and the labels that were asked for."""
    from sightline.quality.audit import audit as audit_source
    from sightline.quality.findings import audit_figures, plan_csv
    from sightline.quality.labels.label_table import label_csv
    from sightline.reporting.pages.audit import write_audit_page
    from sightline.system.files import write_atomically

    table = arguments.label_table
    for option, target in (("--html", arguments.html), ("--plan", arguments.plan), ("--label-table", table)):
        check_output(option, target, keep=[arguments.source], overwrite=arguments.overwrite)
    with reporting(arguments.mode):
        found = audit_source(
            opened(arguments),
            near_duplicates=not arguments.no_near_duplicates,
            labels=arguments.labels or table is not None,
            on=arguments.on,
        )
        if table is not None and found.labels is not None:
            write_atomically(table, label_csv(found.dataset, found.labels))
        if arguments.plan is not None:
            write_atomically(arguments.plan, plan_csv(found))
        if arguments.html is not None:
            write_audit_page(found, arguments.html, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(audit_figures(found))
    else:
        print_text(found)
        written_labels = table if found.labels is not None else None
        for what, path in (("page", arguments.html), ("plan", arguments.plan), ("labels", written_labels)):
            if path is not None:
                print_text(f"{what} written to {path}")
    return 0 if found.is_clean else 1


def find_learning_rate_options(parser: ArgumentParser) -> None:
    """What `find-learning-rate` takes."""
    parser.add_argument("source", help=SOURCE_HELP)
    recipe_options(parser)
    shorthand_options(parser, RANGE_TEST_SHORTHANDS)
    parser.add_argument("--steps", type=int, default=200, help="how many rates to try (default: 200)")
    parser.add_argument("--out", type=Path, help="the PNG to write (default: <source>-learning-rate.png)")
    parser.add_argument("--backend", help=BACKEND_HELP)
    overwrite_option(parser)


def find_learning_rate(arguments: Namespace) -> int:
    """Try rates, draw what the loss did, and suggest one."""
    from sightline.training.search.learning_rate_finder import find_learning_rate as try_rates
    from sightline.training.setup.resolution import opened_and_chosen

    out = arguments.out or default_output(arguments.source, "-learning-rate", keep=[arguments.source])
    check_output("--out", out, keep=[arguments.source], overwrite=arguments.overwrite)
    settings = settings_of(arguments, RANGE_TEST_SHORTHANDS)
    with reporting(arguments.mode):
        source, asked = opened_and_chosen(arguments.source, arguments.recipe, settings)
    found = try_rates(
        source,
        recipe=asked,
        out=out,
        overwrite=arguments.overwrite,
        steps=arguments.steps,
        backend=arguments.backend,
        mode=arguments.mode,
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


def learning_curve_options(parser: ArgumentParser) -> None:
    """What `learning-curve` takes."""
    parser.add_argument("source", help=SOURCE_HELP)
    parser.add_argument("--out", type=Path, help="the PNG to write (default: <source>-learning-curve.png)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (default: 0)")
    shorthand_options(parser, OPENING_SHORTHANDS)
    overwrite_option(parser)


def learning_curve(arguments: Namespace) -> int:
    """Tell how accuracy grows with the number of images."""
    from sightline.training.search.learning_curve import curve_figures, learning_curve as draw_curve

    out = arguments.out or default_output(arguments.source, "-learning-curve", keep=[arguments.source])
    check_output("--out", out, keep=[arguments.source], overwrite=arguments.overwrite)
    found = draw_curve(
        opened(arguments), out=out, seed=arguments.seed, mode=arguments.mode, overwrite=arguments.overwrite
    )
    if arguments.json:
        print_json(curve_figures(found))
    else:
        _print_curve(found)
    return 1 if found.errors else 0


def _print_curve(found: LearningCurve) -> None:
    print_text(
        f"{found.name}: {found.num_images:,} images of {len(found.class_names):,} classes, {found.num_groups:,} that "
        "do not hang together; by a frozen network at 96 pixels, judged on images that were not learned from"
    )
    measured = [("all but a fifth" if one.images_a_class is None else one.images_a_class, one) for one in found.points]
    projected = [
        ("all there are" if one.times == 1 else f"{one.times} times as many", one) for one in found.projections
    ]
    rows = [
        {
            "images a class": words,
            "images": round(one.num_images),
            "accuracy": f"{one.accuracy:.4f} [{one.interval[0]:.4f}, {one.interval[1]:.4f}]",
            "": what,
        }
        for what, kind in (("measured", measured), ("projected", projected))
        for words, one in kind
    ]
    print_table(rows, tuple(rows[0]))
    if found.remark:
        print_text(found.remark)
    if found.left_out:
        few = [f"'{name}' ({count:,})" for name, count in found.left_out]
        print_text(f"left out, for fewer than 5 images that do not hang together: {listed(few)}")
    if found.errors:
        name, reason = found.errors[0]
        print_text(f"{counted(len(found.errors), 'file')} could not be read, {name}: {reason}")
    print_text(f"written to {found.path}")


def search_options(parser: ArgumentParser) -> None:
    """What `search` takes."""
    parser.add_argument("source", help=SOURCE_HELP)
    parser.add_argument(
        "--time-budget",
        metavar="TIME",
        help="of all of it, such as 90s, 30m or 1h; with --trials, whichever ends first",
    )
    parser.add_argument(
        "--trials", type=int, metavar="N", help="at most so many, the recipe as it is asked for among them"
    )
    recipe_options(parser)
    shorthand_options(parser, SEARCH_SHORTHANDS)
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="KEY=RANGE",
        help="a recipe key to vary, for instance optimizer.learning_rate=1e-4..1e-2:log or "
        "training.batch_size=32,64; repeatable (default: what is usual for the recipe)",
    )
    parser.add_argument("--space", type=Path, metavar="FILE", help="a JSON file of keys to vary, with values or ranges")
    parser.add_argument("--sampler", default="tpe", metavar="NAME", help="tpe, or random as a control (default: tpe)")
    parser.add_argument(
        "--pruner", default="halving", metavar="NAME", help="halving, hyperband or none (default: halving)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trials at once (default: 1)")
    on_option(parser)
    parser.add_argument("--out", type=Path, help="folder of the search (default: runs/<source>-search-001, counted up)")
    parser.add_argument("--backend", help=BACKEND_HELP)


def search(arguments: Namespace) -> int:
    """Search, and say what was found."""
    from sightline.data.sources.loading import holds_files
    from sightline.training.search.search import search as search_recipes
    from sightline.training.setup.resolution import announce_recipe, opened_and_chosen

    check_folders(arguments, "out")
    settings = settings_of(arguments, SEARCH_SHORTHANDS)
    with reporting(arguments.mode):
        source, asked = opened_and_chosen(arguments.source, arguments.recipe, settings)
        if arguments.recipe is None and holds_files(source):
            announce_recipe(asked.name)
    found = search_recipes(
        source,
        time_budget=arguments.time_budget,
        trials=arguments.trials,
        recipe=asked,
        space=arguments.space,
        vary=arguments.vary,
        sampler=arguments.sampler,
        pruner=arguments.pruner,
        out=arguments.out,
        backend=arguments.backend,
        jobs=arguments.jobs,
        on=arguments.on,
        mode=arguments.mode,
    )
    if arguments.json:
        print_json({"search": str(found.path), "run": str(found.run), **found.figures})
    else:
        print_text(f"{found}\nrun   {found.run}\npage  {found.path / 'search.html'}")
    return 0
