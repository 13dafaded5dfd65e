"""`export`: a bundle as one file for elsewhere, kept only if it answers as the bundle does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline._version import __version__
from sightline.bundles.bundle import FOLDER, load_bundle
from sightline.bundles.sessions import session_of
from sightline.deployment.conversion.description import describe
from sightline.deployment.conversion.formats import FORMATS, Format
from sightline.deployment.conversion.gate import check_export
from sightline.deployment.conversion.readme import readme
from sightline.deployment.conversion.rows import ComparedRows, rows_to_compare
from sightline.errors import ExportRefused, InvalidBundle, pick, require
from sightline.evaluation.measuring.judging import run_of
from sightline.records import Bundle, Run
from sightline.system.files import sha256_of, staged_files, write_atomically, write_json
from sightline.system.paths import absolute_path, check_output, places_of
from sightline.system.stored import read_json
from sightline.system.text import printable

MARK = "sightline-export"
REPORT, README = "parity.json", "README.md"


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
        taken, sizes = told["milliseconds_per_image"], told["bytes"]
        lines = [
            f"{'compared':<11}on {told['compared_on']['in_words']}: largest difference of a probability "
            f"{told['largest_difference']:.2g} ({told['tolerance']:g} is allowed), "
            f"{told['agreement']:.2%} of labels equal"
        ]
        if told["compared_on"]["remark"]:
            lines.append(f"{'careful':<11}{told['compared_on']['remark']}")
        if told["num_unreadable"]:
            lines.append(f"{'left out':<11}{told['num_unreadable']:,} that could not be read")
        if told["accuracy"] is not None:
            lines.append(
                f"{'accuracy':<11}{told['accuracy']['export']:.4f} (bundle {told['accuracy']['bundle']:.4f}): "
                f"{told['accuracy']['paired']['in_words']}"
            )
        lines.append(f"{'size':<11}{sizes['export']:,} bytes (the bundle's network {sizes['bundle']:,})")
        lines.append(f"{'one image':<11}{taken['export']:.2f} ms (bundle {taken['bundle']:.2f})")
        lines.append(f"{'export':<11}{self.path}, with {self.report.name} and {self.readme.name}")
        return "\n".join(lines)

    __repr__ = __str__


def export(
    bundle: str | Path | Bundle | Run,
    format: str,  # noqa: A002  # the word that everybody looks for
    *,
    out: str | Path | None = None,
    images: Any = None,
    overwrite: bool = False,
) -> Export:
    """Write a bundle as a file of another format, and keep it only if it answers as the bundle does.

    The file is run by its own runtime on real images, decoded and resized as `predict` does it: the calibration images
    of the run's source, or those that are named; where neither can be had, the few that the bundle keeps in
    `parity.npz`, and that is said. Of more than 1,000 images, 1,000 are taken. A file whose probabilities differ by
    more than 0.0001, or that says something else of classes, preprocessing or calibration, is not kept.

    Args:
        bundle: a bundle or a run, or its folder.
        format: "onnx": one file that holds class names, preprocessing and calibration, too.
        out: the file, or a folder for it. Left out: `exports/onnx` in the run; `NAME-exports/onnx` beside a bundle that
            lies apart from its run, in the current folder for "imagenet".
        images: whatever `sightline.load` takes, of classes that the bundle knows.
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
        ExportRefused: the file does not answer as the bundle does.
        OutputExists: a file is in the way.
        MissingPackage: what runs the file is not installed.
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
    form = pick(FORMATS, format, kind="export format")
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    places = _places(opened, format, form, None if out is None else Path(out))
    typed = opened.metrics.get("source", {}).get("typed") if run_of(opened) is not None else None
    _check_places(places, places_of(typed if images is None else images), overwrite=overwrite)
    runtime = require(form.runtime, purpose=f"the format {format}", install=form.install)
    session_of(opened)  # refuses a graph that is unsafe before anything is made of it
    rows = rows_to_compare(opened, images)
    path, report, text = places
    with staged_files(path.parent) as staging:
        made = staging / path.name
        form.module().convert(opened, made)
        checked = _compared(opened, form, rows, made, path)
        figures = {
            "made_by": MARK,
            "format": format,
            "versions": {"sightline": __version__, form.runtime: getattr(runtime, "__version__", "unknown")},
            "bundle": describe(opened)["bundle"],
            **checked,
            "bytes": {"bundle": (opened.path / "model.onnx").stat().st_size, "export": made.stat().st_size},
        }
        write_atomically(staging / text.name, readme(form, opened, figures, file=path.name, report=report.name))
        figures["files"] = {name.name: {"sha256": sha256_of(staging / name.name)} for name in (path, text)}
        write_json(staging / report.name, figures)
    return Export(path, report, text, figures)


def _compared(bundle: Bundle, form: Format, rows: ComparedRows, made: Path, path: Path) -> dict[str, Any]:
    """The figures of the gate; what its runtime refuses is told of the place that the file is for."""
    try:
        return check_export(bundle, form.module().open_exported(made), rows, name=printable(str(path)))
    except InvalidBundle as error:
        raise ExportRefused(f"{str(error).replace(str(made), str(path))} The export was not kept.") from error


def _places(bundle: Bundle, name: str, form: Format, out: Path | None) -> tuple[Path, Path, Path]:
    """Where the file, its report and its README go; beside a file that was named, they bear its name."""
    if out is not None and out.suffix.lower() == Path(form.file).suffix and not out.is_dir():
        return out, out.with_name(f"{out.stem}.{REPORT}"), out.with_name(f"{out.stem}.{README}")
    folder = out if out is not None else _folder(bundle) / name
    return folder / form.file, folder / REPORT, folder / README


def _folder(bundle: Bundle) -> Path:
    # "." and ".." are no names to put a folder beside.
    place = bundle.path if bundle.path.name not in ("", "..") else absolute_path(bundle.path, follow_links=False)
    if (run := run_of(bundle)) is not None:
        return (place.parent if place.parent.samefile(run) else run) / "exports"
    return (Path() if place == FOLDER else place.parent) / f"{place.name}-exports"


def _check_places(places: tuple[Path, Path, Path], keep: list[Path], *, overwrite: bool) -> None:
    """Refuse what others made, before any work is done: ours is what the report there says, byte by byte."""
    report = places[1]
    written: Any = {}
    if report.is_file():
        try:
            content = read_json(report)
            written = content["files"] if content["made_by"] == MARK else {}
        except (OSError, ValueError, TypeError, KeyError):
            pass
    for place in places:
        entry = written.get(place.name, {}) if isinstance(written, dict) else {}
        is_ours = bool(written) if place == report else place.is_file() and _hash(entry) == sha256_of(place)
        check_output("--out", place, keep=keep, overwrite=overwrite or is_ours)


def _hash(entry: Any) -> Any:
    return entry.get("sha256") if isinstance(entry, Mapping) else None
