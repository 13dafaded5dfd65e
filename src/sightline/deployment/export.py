"""`export`: a bundle in another format for elsewhere, kept only if it answers as the bundle does."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline._version import __version__
from sightline.bundles.bundle import load_bundle
from sightline.bundles.sessions import session_of
from sightline.deployment.conversion.description import describe
from sightline.deployment.conversion.formats import Format, format_of
from sightline.deployment.conversion.gate import check_export
from sightline.deployment.conversion.places import MARK, Places, check_places, places_for
from sightline.deployment.conversion.readme import readme
from sightline.deployment.conversion.rows import MOST_ROWS, ComparedRows, NothingToCompare, halves, rows_to_compare
from sightline.errors import ExportRefused, InvalidBundle, InvalidValue, MissingPackage, require
from sightline.evaluation.measuring.judging import run_of
from sightline.records import Bundle, Run
from sightline.system.files import staged_files, write_atomically, write_json
from sightline.system.paths import places_of
from sightline.system.text import printable
from sightline.tasks.multi_label import MULTI_LABEL

# As `platform.system()` calls them, and as people do.
_SYSTEMS = {"Darwin": "macOS"}


@dataclass(frozen=True, eq=False)
class Export:
    """An exported file that was compared with its bundle; printed, it is what `sightline export` says.

    Attributes:
        path: the exported file.
        report: `parity.json`, which holds `figures`.
        readme: what the file is, and a program that uses it without Sightline.
        figures: format, what it was compared on and how it came out, size and time beside the bundle's.
    """

    path: Path
    report: Path
    readme: Path
    figures: Mapping[str, Any]

    def __str__(self) -> str:
        told = self.figures
        lines = [f"{'unchecked':<11}{told['unchecked']}"] if told["unchecked"] is not None else _lines(told)
        if told["num_unreadable"]:
            lines.append(f"{'left out':<11}{told['num_unreadable']:,} that could not be read")
        sizes = told["bytes"]
        lines.append(f"{'size':<11}{sizes['export']:,} bytes (the bundle's network {sizes['bundle']:,})")
        lines.append(f"{'export':<11}{self.path}, with {self.report.name} and {self.readme.name}")
        return "\n".join(lines)

    __repr__ = __str__


def _lines(told: Mapping[str, Any]) -> list[str]:
    """How the comparison came out, a line each."""
    allowed = "" if told["tolerance"] is None else f" ({told['tolerance']:g} is allowed)"
    lines = [
        f"{'compared':<11}on {told['compared_on']['in_words']}: largest difference of a probability "
        f"{told['largest_difference']:.2g}{allowed}, {told['agreement']:.2%} of labels equal"
    ]
    if told.get("pixels") is not None:
        lines += _lines_of_pixels(told["pixels"])
    if told["compared_on"]["remark"]:
        lines.append(f"{'careful':<11}{told['compared_on']['remark']}")
    if told["accuracy"] is not None:
        called = "all right" if told["task"] == MULTI_LABEL.name else "accuracy"
        lines.append(
            f"{called:<11}{told['accuracy']['export']:.4f} (bundle {told['accuracy']['bundle']:.4f}): "
            f"{told['accuracy']['paired']['in_words']}"
        )
    if told["quantised"] is not None:
        lines.append(f"{'loss':<11}{told['quantised']['could_hide']}")
        tried = told["conversion"]
        each = ", ".join(f"{name} {distance:.2g}" for name, distance in tried["distances"].items())
        lines.append(
            f"{'tried':<11}{each} away from the bundle on {tried['num_choosing_images']:,} other images; kept: "
            f"{tried['kept']}"
        )
    taken, rate = told["milliseconds_per_image"], told["images_per_second"]
    lines.append(f"{'one image':<11}{taken['export']:.2f} ms (bundle {taken['bundle']:.2f})")
    lines.append(f"{'speed':<11}{rate['export']:,.0f} images a second (bundle {rate['bundle']:,.0f})")
    if told["quantised"] is not None and _is_no_faster(told["conversion"], rate):
        keep = told["format"].removesuffix("-int8")
        lines.append(
            f"{'not worth':<11}on this machine it is no faster than the network in floating point: keep {keep}"
        )
    return lines


def _is_no_faster(conversion: Mapping[str, Any], rate: Mapping[str, float]) -> bool:
    """Whether whole numbers gain nothing over floating point in the same runtime; the bundle's is ONNX Runtime."""
    timed = conversion.get("images_per_second", {"float": rate["bundle"], "kept": rate["export"]})
    return bool(timed["kept"] <= timed["float"])


def _lines_of_pixels(seen: Mapping[str, Any]) -> list[str]:
    """What a format that decodes files itself makes of them."""
    kinds = ", ".join(f"{kind} by {most}" for kind, most in seen["largest_difference"].items())
    beside = seen["beside_predict"]
    lines = [
        f"{'pixels':<11}differ from ours at most: {kinds} of 255; beside predict, a probability differs by up to "
        f"{beside['largest_difference']:.2g}, and {beside['agreement']:.2%} of labels are equal"
    ]
    if seen["not_opened"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in seen["not_opened"].items())
        lines.append(f"{'not opened':<11}{kinds}: not by this browser")
    return lines


def export(
    bundle: str | Path | Bundle | Run,
    format: str,  # noqa: A002  # the word that everybody looks for
    *,
    out: str | Path | None = None,
    images: Any = None,
    unchecked: bool = False,
    overwrite: bool = False,
) -> Export:
    """Write a bundle as a file of another format, and keep it only if it answers as the bundle does.

    The file is run by its own runtime on real images, decoded and resized as `predict` does it: the calibration images
    of the run's source, or those that are named; where neither can be had, the few that the bundle keeps in
    `parity.npz`, and that is said. Of more than 1,000 images, 1,000 are taken. A file whose probabilities differ by
    more than 0.0001, that is run in a shorter number than float32, or that says something else of classes,
    preprocessing or calibration, is not kept. Of one in whole numbers the probabilities are others: half of up to 2,000
    labelled images choose among its settings, the others judge what it loses; a temperature is fitted anew, and
    thresholds of sets, unsure answers and novelty are left out.

    Args:
        bundle: a bundle or a run, or its folder.
        format: "onnx": one file that holds class names, preprocessing and calibration, too; "onnx-int8": the same in
            whole numbers of 8 bits; "openvino"; and what `sightline export --help` lists.
        out: the file, or a folder for it. Left out: `exports/onnx` in the run; `NAME-exports/onnx` beside a bundle that
            lies apart from its run, in the current folder for "imagenet".
        images: whatever `sightline.load` takes, of classes that the bundle knows.
        unchecked: whether what cannot be compared, as its runtime is not installed or there is no image, is kept all
            the same, under a name that says so. What can be compared is, and is refused as ever.
        overwrite: whether files there that Sightline did not write, or that were changed since, may be replaced.

    Returns:
        The Export: where the file, its report and its README lie, and the figures. Accuracies say whether bundle and
        export differ, not how good they are: images that are named may have been learned from.

    Raises:
        UnknownName: no format is called that.
        InvalidBundle: the bundle cannot be used.
        InvalidValue: there is nothing to compare on, a class that the bundle does not know, or `out` lies in a bundle,
            among the files of a run or among the images.
        InvalidSource, UnreadableImage: `images` cannot be opened, or none of them read.
        ExportRefused: the file does not answer as the bundle does, the format cannot hold this network, or this system
            does not run it.
        OutputExists: a file is in the way.
        MissingPackage: what writes or runs the file is not installed.
        CannotWrite: the disk is full or read-only.

    Example:
        >>> import sightline, tempfile
        >>> from pathlib import Path
        >>> exported = sightline.export("imagenet", "onnx", out=Path(tempfile.mkdtemp()) / "names.onnx")
        >>> exported.path.name, exported.report.name, exported.readme.name
        ('names.onnx', 'names.parity.json', 'names.README.md')
        >>> exported.figures["num_images"], exported.figures["largest_difference"] < 1e-4
        (13, True)
    """
    form = format_of(format)
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    if not isinstance(unchecked, bool):
        raise InvalidValue(f"unchecked must be True or False; got {unchecked!r}.")
    typed = opened.metrics.get("source", {}).get("typed") if run_of(opened) is not None else None
    keep = places_of(typed if images is None else images)

    def places(*, is_checked: bool) -> Places:
        found = places_for(opened, format, form, None if out is None else Path(out), is_checked=is_checked)
        check_places(found, keep, overwrite=overwrite)
        return found

    runtime, why = _runtime(form, format, unchecked=unchecked)
    found = places(is_checked=why is None)
    session_of(opened)  # refuses a graph that is unsafe before anything is made of it
    rows = None
    try:
        rows = _rows(opened, form, images) if why is None or form.is_quantised else None
    except NothingToCompare as error:
        if not unchecked or form.is_quantised:  # whose setting and temperature only labelled images tell
            raise
        why, found = str(error), places(is_checked=False)
    with staged_files(found.file.parent) as staging:
        figures = {
            "made_by": MARK,
            "format": format,
            "unchecked": why,
            "task": opened.task.name,
            "versions": _versions(form, runtime),
            "bundle": describe(opened)["bundle"],
            **_made(opened, form, rows, staging, found, is_checked=why is None),
            "bytes": {
                "bundle": (opened.path / "model.onnx").stat().st_size,
                "export": sum(path.stat().st_size for path in staging.rglob("*") if path.is_file()),
            },
        }
        text = readme(form, opened, figures, file=found.file.name, report=found.report.name)
        write_atomically(staging / found.readme.name, text)
        figures["files"] = found.hashes(staging)
        write_json(staging / found.report.name, figures)
    return Export(found.file, found.report, found.readme, figures)


def _runtime(form: Format, name: str, *, unchecked: bool) -> tuple[Any, str | None]:
    """What runs the file, and why it cannot be run: that is refused but where it is to be kept unchecked."""
    if form.system not in ("", platform.system()):
        reason = f"{name} is run on {_SYSTEMS[form.system]} alone, and this machine runs {platform.system()}"
        if not unchecked:
            raise ExportRefused(
                f"{reason}: what cannot be compared is not kept. Export it on a machine that runs it, or add "
                "--unchecked (unchecked=True in Python), which keeps it under a name that says so."
            )
        return None, reason
    quietly = getattr(form.module(), "quietly", contextlib.nullcontext)
    try:
        with quietly():
            if (find := getattr(form.module(), "find_runtime", None)) is not None:
                return find(), None
            return require(form.runtime, purpose=f"the format {name}", install=form.extra or form.install), None
    except MissingPackage as error:
        if not unchecked:
            raise
        return None, str(error)


def _versions(form: Format, runtime: Any) -> dict[str, str]:
    told = {} if runtime is None else {form.runtime: str(getattr(runtime, "__version__", "unknown"))}
    return {"sightline": __version__, **told}


def _rows(bundle: Bundle, form: Format, images: Any) -> ComparedRows:
    """The images to compare on; of a format with whole numbers twice as many, labelled, to choose and to judge by."""
    if not form.is_quantised:
        return rows_to_compare(bundle, images, most=form.most_rows or None)
    rows = rows_to_compare(bundle, images, most=2 * MOST_ROWS)
    # What hangs together chooses or judges, but not both.
    is_tied = rows.groups is not None and len(set(rows.groups.tolist())) < 2
    if rows.labels is None or len(rows.labels) < 2 or is_tied:
        raise InvalidValue(
            f"{printable(str(bundle.path))}: whole numbers are chosen by labelled images, half of which judge what was "
            f"lost, and there are only {rows.words}{', all of one group' * is_tied}. Name images "
            "of its classes: --images SOURCE (images=... in Python)."
        )
    return rows


def _made(
    bundle: Bundle, form: Format, rows: ComparedRows | None, staging: Path, found: Places, *, is_checked: bool
) -> dict[str, Any]:
    """Write the file, and compare it; what its runtime refuses is told of the place that the file is for."""
    module, made = form.module(), staging / found.file.name
    if form.is_quantised and rows is not None:
        choosing, rows = halves(rows)
        told = {"conversion": module.convert(bundle, made, choosing)}
    else:
        told = {"conversion": module.convert(bundle, made)}
    if not is_checked or rows is None:
        return {**told, "num_unreadable": 0}
    name = printable(str(found.file))
    try:
        started = time.perf_counter()
        with contextlib.closing(module.open_exported(made)) as model:
            model.logits(rows.images[:1])
            cold = round(1000 * (time.perf_counter() - started), 1)
            if form.decodes_files:
                rows, told["pixels"] = module.check_files(bundle, model, rows, name=name)
            told |= check_export(bundle, model, rows, name=name, is_quantised=form.is_quantised)
    except InvalidBundle as error:
        raise ExportRefused(f"{str(error).replace(str(made), name)} The export was not kept.") from error
    return {**told, "cold_start_milliseconds": cold}
