"""`show`, `audit`, `similar`, `compare`: commands that look, and draw what they see."""

from __future__ import annotations

from argparse import Namespace

from sightline.cli.opening import opened
from sightline.cli.printing import mode_of, print_json, print_text
from sightline.system.files import write_atomically
from sightline.system.outputs import check_output, default_output
from sightline.system.progress import reporting
from sightline.system.text import printable


def show(arguments: Namespace) -> int:
    """Write a sheet of images and say what is on it."""
    from sightline.training.preview import show as show_images
    from sightline.training.setup.resolution import opened_and_chosen

    keep = [arguments.source]
    out = arguments.out or default_output(arguments.source, "-augmented" * arguments.augmented, keep=keep)
    check_output("--out", out, keep=keep, overwrite=arguments.overwrite)
    source, asked = opened_and_chosen(opened(arguments), arguments.recipe, arguments.settings)
    with reporting(mode_of(arguments)):
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


def audit(arguments: Namespace) -> int:
    """Say what may be wrong with a source; write the page and the plan that were asked for."""
    from sightline.quality.audit import audit as audit_source
    from sightline.quality.findings import audit_figures, plan_csv
    from sightline.reporting.pages.audit import write_audit_page

    for option, target in (("--html", arguments.html), ("--plan", arguments.plan)):
        check_output(option, target, keep=[arguments.source], overwrite=arguments.overwrite)
    with reporting(mode_of(arguments)):
        found = audit_source(opened(arguments), near_duplicates=not arguments.no_near_duplicates)
        if arguments.plan is not None:
            write_atomically(arguments.plan, plan_csv(found))
        if arguments.html is not None:
            write_audit_page(found, arguments.html, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(audit_figures(found))
    else:
        print_text(found)
        for what, path in (("page", arguments.html), ("plan", arguments.plan)):
            if path is not None:
                print_text(f"{what} written to {path}")
    return 0 if found.is_clean else 1


def similar(arguments: Namespace) -> int:
    """Name the images that look most like one, and draw them."""
    from sightline.evaluation.similarity import similar as find_similar

    keep = [arguments.image, *arguments.folder]
    out = arguments.out or default_output(arguments.image, "-similar", keep=keep)
    check_output("--out", out, keep=keep, overwrite=arguments.overwrite)
    with reporting(mode_of(arguments)):
        found = find_similar(
            arguments.bundle,
            arguments.image,
            folder=arguments.folder,
            count=arguments.count,
            out=out,
            overwrite=arguments.overwrite,
        )
    rows = [
        {"path": path, "similarity": round(float(similarity), 6)}
        for path, similarity in zip(found.paths, found.similarities, strict=True)
    ]
    if arguments.json:
        errors = [{"path": path, "error": reason} for path, reason in found.errors]
        print_json({"image": found.image, "picture": str(out), "similar": rows, "errors": errors})
    else:
        for row in rows:
            print_text(f"{row['similarity']:.3f}  {printable(str(row['path']))}")
        print_text(f"written to {out}")
    return 1 if found.errors else 0


def compare(arguments: Namespace) -> int:
    """Set runs side by side and draw their curves in one picture."""
    from sightline.evaluation.comparison import compare as compare_runs, comparison_figures

    out = arguments.out or default_output("comparison", "", keep=[])
    check_output("--out", out, overwrite=arguments.overwrite)
    with reporting(mode_of(arguments)):
        found = compare_runs(arguments.runs, split=arguments.split, out=out, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(comparison_figures(found))
    else:
        print_text(f"{found}\n\nwritten to {out}")
    return 0
