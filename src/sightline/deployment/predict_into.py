"""`predict_into`: answers to any number of images, written to a file as they come; a stopped one is gone on with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.bundles.answers.formats import Columns, check_columns, format_of_table
from sightline.bundles.answers.notes import Tally
from sightline.bundles.answers.tables import AnswerTable
from sightline.bundles.bundle import load_bundle
from sightline.bundles.prediction import Makers, say_promises
from sightline.bundles.trust.abstention import USUAL_CERTAINTY
from sightline.bundles.trust.details import Asked, detail_makers
from sightline.bundles.trust.sets import USUAL_SCORE
from sightline.data.sources.local.tables import Columns as TableColumns
from sightline.deployment.bulk.images import BulkImages, bulk_images
from sightline.deployment.bulk.part_folder import PARTS, PartFolder, format_of_parts, part_folder
from sightline.deployment.bulk.parts import PartNote, PartStep
from sightline.deployment.bulk.step import PART, AnsweredPortion, AnswerStep, step_of
from sightline.errors import InvalidValue, NotReached
from sightline.integrations.ray.cluster import check_on
from sightline.integrations.ray.workers import cluster_map
from sightline.metrics.classification import checked_count
from sightline.records import Bundle, Run
from sightline.system.paths import absolute_path, check_output, check_place
from sightline.system.progress import reporter, reporting
from sightline.system.text import counted, printable
from sightline.system.workers import Map

_MOST_CLASSES_TOLD = 20
_IN_ORDER = "It has to give each result once, in the order of its items."


@dataclass(frozen=True, eq=False)
class WrittenAnswers:
    """What was written, in numbers; printed, it is what `sightline predict --out` says.

    Attributes:
        path: the file.
        num_images: rows in it.
        num_before: of them, those that a stopped command had written already.
        num_unreadable: rows with an error.
        classes: class name to answers that name it.
        flags: "unsure" and "novel" to answers that are, where that was asked for.
    """

    path: Path
    num_images: int
    num_before: int = 0
    num_unreadable: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = []
        if self.num_before:
            lines.append(f"{counted(self.num_before, 'answer')} of a stopped command were there already")
        ranked = sorted(self.classes.items(), key=lambda entry: (-entry[1], entry[0]))
        width = max((len(f"{count:,}") for _, count in ranked), default=1)
        lines += [f"{count:>{width},} {printable(name)}" for name, count in ranked[:_MOST_CLASSES_TOLD]]
        if more := len(ranked) - _MOST_CLASSES_TOLD:
            lines += [f"and {counted(more, 'class', 'classes')} more"] * (more > 0)
        lines += [f"{count:>{width},} {name}" for name, count in self.flags.items()]
        if self.num_unreadable:
            lines.append(f"{self.num_unreadable:>{width},} could not be read")
        lines.append(f"{counted(self.num_images, 'image')}, written to {self.path}")
        return "\n".join(lines)

    __repr__ = __str__


def predict_into(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    bundle: str | Path | Bundle | Run,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    top: int = 3,
    invert: bool = False,
    coverage: float | None = None,
    per_class: bool = False,
    score: str = USUAL_SCORE,
    max_error: float | None = None,
    novelty: float | None = None,
    certainty: float = USUAL_CERTAINTY,
    nearest: int | None = None,
    features: bool = False,
    probabilities: bool = False,
    columns: TableColumns | None = None,
    map: Map | None = None,  # noqa: A002  # the word of Python for it
    on: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> WrittenAnswers:
    """Answer any number of images into one file, in memory that does not grow with them.

    Rows are written as they come. What ends it early leaves them beside the file, and the same call goes on behind
    them: nothing is answered twice, and the file is the same, byte for byte, as of a call that was not stopped.

    Args:
        bundle: a bundle or a run, or its folder.
        images: files, folders, which are searched to the bottom, tables of paths (.csv, .tsv, .parquet), archives
            (.zip, .tar) and tar shards (a folder of them, or a list in braces); one of them, or several in a list.
        out: the file: .csv, .jsonl (a JSON object a line) or .parquet.
        top: how many classes a row names.
        invert: turn light into dark first.
        coverage: sets of classes that hold the right one of this share, as `predict` takes it; so are the next five.
        per_class: keep that promise for each class.
        score: by what classes are put into a set.
        max_error: mark unsure answers.
        novelty: mark images unlike those it learned.
        certainty: with which these two are kept.
        nearest: name so many training images.
        features: what the network sees before it decides; for .jsonl and .parquet.
        probabilities: those of all classes, too.
        columns: of a table, {"path": name} where its column of paths is called otherwise.
        map: does the work: Python's own `map` of one function and one iterable, an executor's or a cluster's, which
            gives results in order; of parts of 2,048 images. One that takes all parts at once, as executors do, holds
            what is not written yet. Left out: here, by several threads.
        on: where the work is done: "ray" for the cluster of RAY_ADDRESS, or, without one, a process for each processor
            here; "ray://HOST" for another. Images, bundle and `out` lie under the same paths on each of its nodes.
            Answers are written there in parts, `out` with ".parts" behind it, and joined at the end; where `out` has no
            ending it is a folder, and the parts stay: JSON Lines, with a manifest that has the SHA-256 of each.
        overwrite: whether a file there may be lost, and what a stopped call left that cannot be gone on with.
        progress: False prints nothing.

    Returns:
        How many images there were, could not be read, and are of which class.

    Raises:
        InvalidBundle: the bundle cannot be used, or cannot promise what is asked for.
        InvalidValue, InvalidSource: no image was named, or an option is out of range; the ending of `out` is none of
            those above.
        OutputExists: the file is there, or a stopped call left answers to other questions or files.
        MissingPackage: Parquet needs pyarrow, `on` needs Ray.
        CannotWrite: the disk is full or read-only; what was answered is kept.
        NotReached: no cluster answers there, or a node of it lacks the images; what was answered is kept.

    Example:
        >>> import sightline, tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (64, 64), "white").save(folder / "wall.png")
        >>> written = sightline.predict_into("imagenet", folder, folder.with_suffix(".csv"), progress=False)
        >>> written.num_images, written.num_unreadable
        (1, 0)
    """
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    asked = Asked(coverage, per_class, score, max_error, certainty, novelty, nearest, features)
    makers = detail_makers(opened, asked)
    checked_count(top, name="top", at_least=1)
    names = [images] if isinstance(images, str | Path) else list(images)
    target = Path(out)
    check_on(on)
    if on is not None and map is not None:
        raise InvalidValue("map and on both say who does the work. Pass one of them.")
    form = format_of_parts(target) if on is not None else format_of_table(target)
    told = Columns(min(top, len(opened.class_names)), opened.class_names if probabilities else ())
    check_columns(form, features=features)
    if on is not None and not target.suffix:
        check_place("out", target, keep=names)
    else:
        check_output("out", target, keep=names, overwrite=overwrite)
    with reporting(None if progress else "quiet"):
        say_promises(makers)
        step = step_of(opened, asked, top=top, with_probabilities=probabilities, invert=invert)
        listed, known = bulk_images(names, columns=columns), asked_of(step, makers, names, told)
        if on is not None:
            known["parts"] = form
        table = AnswerTable(target, opened.task, columns=told, form=form, asked=known, overwrite=overwrite)
        if on is None:
            return write_answers(opened, step, listed, table, each=map)
        return write_on(on, step, listed, table, as_parts=not target.suffix)


def asked_of(step: AnswerStep, makers: Makers, names: Sequence[str | Path], columns: Columns) -> dict[str, Any]:
    """What the note of a table says that its answers depend on."""
    return {
        "bundle": str(step.bundle),
        "manifest_sha256": step.manifest,
        "images": [str(name) for name in names],
        "top": columns.most_classes,
        "invert": step.invert,
        "probabilities": bool(columns.class_names),
        **{name: maker.promise for name, maker in makers.items()},
    }


def write_answers(
    bundle: Bundle,
    step: AnswerStep,
    images: BulkImages,
    table: AnswerTable,
    *,
    each: Map | None = None,
    shown: Callable[[AnsweredPortion, Any], None] | None = None,
) -> WrittenAnswers:
    """Answer what a table does not have yet, and write it.

    Args:
        bundle: opened.
        step: what answers a part.
        images: all of them.
        table: not yet entered.
        each: a map; None to do it here.
        shown: is given each portion, and the Predictions that it was made of where they were made here.
    """
    with table, reporter().bar("predicting", total=len(images)) as bar:
        if table.num_rows and (why := _why_not_the_same(table, images)):
            table.begin_anew(why)
        if table.num_rows:
            reporter().say(f"going on behind the {counted(table.num_rows, 'answer')} that a stopped command left")
            bar.advance(table.num_rows)
        for portion, made_of in portions_of(bundle, step, images, table.num_rows, each=each):
            _check_place(portion, images, table.num_rows)
            _check_seen(portion, images, table.num_rows)
            table.add(portion.rows, asked_for=portion.asked_for, stamps=portion.stamps)
            if shown is not None:
                shown(portion, made_of)
            bar.advance(len(portion.rows))
        if table.num_rows != len(images):
            raise InvalidValue(f"map gave {table.num_rows:,} answers to {len(images):,} images. {_IN_ORDER}")
    begun = 0 if table.kept is None else table.kept.num_rows
    counts, flags = table.tally.classes, table.tally.flags
    asked: dict[str, int] = {name: flags[name] for name in ("unsure", "novel") if name in table.asked_for}
    return WrittenAnswers(table.typed, len(images), begun, flags["unreadable"], dict(counts), asked)


def write_on(on: str, step: AnswerStep, images: BulkImages, table: AnswerTable, *, as_parts: bool) -> WrittenAnswers:
    """Answer on a cluster, in parts that are written there.

    Args:
        on: which one, as `cluster_map` takes it.
        step: what answers.
        images: all of them.
        table: what the parts are joined in, not yet entered.
        as_parts: leave them where the table would be, as a folder, and join nothing.
    """
    place = table.typed if as_parts else table.typed.with_name(f"{table.typed.name}{PARTS}")
    parts = PartStep(step, absolute_path(place), table.task, table.columns, table.form)
    notes: list[PartNote] = []
    with contextlib.nullcontext() if as_parts else table:
        with part_folder(place, images, table.asked, overwrite=table.overwrite) as folder, cluster_map(on) as each:
            with reporter().bar("predicting", total=len(images)) as bar:
                for note in folder.notes(parts, images, each=each or map):
                    notes.append(note)
                    bar.advance(note.rows)
            if as_parts:
                folder.finish(notes, table.asked)
        if not as_parts:
            _join(folder, notes, images, table)
    if not as_parts:
        folder.remove()
    tally = Tally()
    for note in notes:
        tally.add(note.tally)
    asked: dict[str, int] = {name: tally.flags[name] for name in ("unsure", "novel") if name in notes[0].asked_for}
    before = sum(note.rows for note in notes if note.was_there)
    return WrittenAnswers(table.typed, len(images), before, tally.flags["unreadable"], dict(tally.classes), asked)


def _join(folder: PartFolder, notes: Sequence[PartNote], images: BulkImages, table: AnswerTable) -> None:
    if table.num_rows and not table.pass_over(images.names(0, table.num_rows)):
        table.begin_anew("They are of other images, or in another order: files were added, removed or renamed since.")
    begun = table.num_rows
    for number, (note, (first, last)) in enumerate(zip(notes, folder.cuts, strict=True)):
        if first >= begun:
            names = list(images.names(first, last))
            table.add_lines(folder.content(number, note), names, note.tally, asked_for=note.asked_for)


def portions_of(
    bundle: Bundle, step: AnswerStep, images: BulkImages, first: int = 0, *, each: Map | None = None
) -> Iterator[tuple[AnsweredPortion, Any]]:
    """Answers from one row on, as they come, and the Predictions that they were made of where they were made here."""
    if each is not None:
        for portions in each(step, images.parts(first, size=PART)):
            yield from ((portion, None) for portion in portions)
        return
    for piece in images.parts(first, size=len(images)):
        yield from step.portions(bundle, piece)


def _check_place(portion: AnsweredPortion, images: BulkImages, first: int) -> None:
    """Refuse what stands in another place than its images do: a table is gone on with by their order."""
    names = list(images.names(first, first + len(portion.rows)))
    if [row["path"] for row in portion.rows] != names:
        raise InvalidValue(f"map gave answers to other images than those behind the first {first:,}. {_IN_ORDER}")


def _check_seen(portion: AnsweredPortion, images: BulkImages, first: int) -> None:
    """Refuse what is an error since a machine lacks the file, which lies here."""
    if not portion.node:
        return
    for row, answer in enumerate(portion.rows):
        if answer["error"] is not None and portion.stamps[row] is None:
            (here,) = images.stamps(first + row, first + row + 1)
            if here is not None:
                raise NotReached(
                    f"{portion.node} has other files than this machine: {printable(answer['path'])}: there is no such "
                    "file. Bring them under the same path on each node, and run the same command once more."
                )


def _why_not_the_same(table: AnswerTable, images: BulkImages) -> str:
    """Why the images that a stopped command answered are not those that would be answered now; "" where they are."""
    kept = table.kept
    if kept is None:
        return ""
    if kept.num_rows > len(images) or not table.pass_over(images.names(0, kept.num_rows)):
        return "They are of other images, or in another order: files were added, removed or renamed since."
    now = enumerate(images.stamps(0, kept.num_rows))
    changed = [row for row, stamp in now if stamp != kept.stamp(row)]
    if not changed:
        return ""
    first = printable(next(images.names(changed[0], changed[0] + 1)))
    return f"They are of {counted(len(changed), 'file')} that changed since, such as {first}."
