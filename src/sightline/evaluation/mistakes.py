"""`mistakes`: which images of a finished run are answered wrong, or too unsurely to count, by name."""

from __future__ import annotations

import html
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.bundles.prediction import predict_dataset
from sightline.bundles.trust.abstention import USUAL_CERTAINTY
from sightline.bundles.trust.details import USUAL, Asked, detail_makers
from sightline.data.inputs.pixels import raw_images
from sightline.data.sources.loading import open_again
from sightline.errors import InvalidBundle, InvalidValue, SightlineError, UnreadableImage
from sightline.evaluation.measuring.finished_runs import FinishedRun, kept_predictions, read_run
from sightline.evaluation.measuring.judging import recorded_source
from sightline.evaluation.measuring.kept_classes import with_images_kept
from sightline.metrics.answers.decisions import is_right
from sightline.records import Bundle, Dataset, Predictions, Run, SplitName, Store, image_tag
from sightline.reporting.sheets.fonts import plain_text
from sightline.reporting.sheets.sheets import certainty_in_words, contact_sheet
from sightline.system.files import check_free, staged_folder, write_atomically
from sightline.system.paths import FreeNames, check_output, places_of, short_file_name
from sightline.system.progress import reporter
from sightline.system.text import counted, csv_line, printable
from sightline.tasks.table import has_several_labels, refuse_several_labels

SPLITS: tuple[SplitName, ...] = ("test", "validation")
NEAREST = 3
# Of so many the nearest training images are looked for: each is decoded and answered once more.
MOST_LOOKED_AT = 2_000
COLUMNS = ("row_id", "given", "predicted", "confidence", "wrong", "unsure", "nearest")
COLUMNS_OF_LABELS = ("row_id", "label", "mistake", "confidence", "given", "predicted")
# Of a class in the name of a folder for two of them.
_MOST_BYTES = 96


@dataclass(frozen=True)
class Mistake:
    """One image whose answer is wrong or unsure; where it may have several labels, one label of it that is wrong.

    Attributes:
        row_id: by which the source calls it: its path there.
        given: name of the class that it was given.
        predicted: name of the class that it was answered with.
        confidence: calibrated, of that answer, in (0, 1]; of a label, that it is there or, if it is missed, that it is
            not.
        is_wrong: whether the two differ; an answer that is right is here because it is unsure.
        is_unsure: whether `predict --max-error` would have marked it.
        nearest: (name, class) of the training images that the network sees most alike, the nearest first.
        label: where an image may have several, the one that is wrong; `given` and `predicted` then name all. Else None.
        is_missed: whether the image has that label and it was not said, or it was said and the image lacks it. Else
            None.
    """

    row_id: str
    given: str
    predicted: str
    confidence: float
    is_wrong: bool
    is_unsure: bool
    nearest: tuple[tuple[str, str], ...] = ()
    label: str | None = None
    is_missed: bool | None = None

    @property
    def what(self) -> str:
        """Of a label "missed" or "said wrongly", of an answer as a whole ""."""
        return {None: "", True: "missed", False: "said wrongly"}[self.is_missed]


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The wrong and the unsure answers of a run; printed, it is what `sightline mistakes` says.

    Attributes:
        run: the folder.
        split: "test" or "validation".
        rows: wrong ones first, the surest of them first; then those that are right but unsure, the least sure first.
            Where images may have several labels, a row is one label of one image, the surest first.
        num_images: that were judged; of one class, those that were given it or taken for it.
        about_unsure: what was promised of the answers that are not unsure; or why none is marked.
        about_images: why images, nearest training images and sheets are missing; "" where all are there.
        dataset: where the images are, or None.
        places: (num_rows,) int64, the row of each there; -1 where it is not there.
        class_name: of which class alone all this is told, or None.
        has_several_labels: whether an image may have several labels, so that rows are labels.

    Example:
        >>> import sightline
        >>> found = sightline.mistakes("runs/mnist-fast-001")
        >>> found.num_wrong == sum(row.given != row.predicted for row in found.rows)
        True
    """

    run: Path
    split: SplitName
    rows: tuple[Mistake, ...]
    num_images: int
    about_unsure: str
    about_images: str
    dataset: Dataset | None
    places: NDArray[np.int64]
    class_name: str | None = None
    has_several_labels: bool = False

    @property
    def num_wrong(self) -> int:
        """How many answers are wrong; where images may have several labels, how many of these."""
        return sum(row.is_wrong for row in self.rows)

    @property
    def num_unsure(self) -> int:
        """How many answers are unsure, right or wrong."""
        return sum(row.is_unsure for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        if self.has_several_labels:
            return self._of_labels
        unsure = f", {self.num_unsure:,} unsure" if self.num_unsure else ""
        images = counted(self.num_images, f"{self.split} image")
        of_class = "" if self.class_name is None else f" given {self.class_name} or taken for it"
        return f"{self.run}: of {images}{of_class}, {self.num_wrong:,} wrong{unsure}"

    __repr__ = __str__

    @property
    def _of_labels(self) -> str:
        images = counted(self.num_images, f"{self.split} image")
        of_class = "" if self.class_name is None else f" that {self.class_name} was given or said of"
        num_missed, touched = sum(row.is_missed is True for row in self.rows), len({row.row_id for row in self.rows})
        labels = f"{counted(num_missed, 'label')} missed, {len(self) - num_missed:,} said wrongly"
        return f"{self.run}: of {images}{of_class}, {touched:,} not all right: {labels}"

    def _repr_html_(self) -> str:
        drawn = "" if self.dataset is None or not (self.places >= 0).any() else image_tag(self.sheet(), alt=str(self))
        return f"<p>{html.escape(printable(str(self)))}</p>{drawn}"

    def pictures(self, most: int) -> Iterator[tuple[Mistake, NDArray[np.uint8]]]:
        """The first images that can be read, (height, width, channels) uint8, each with its row."""
        for row, place in zip(self.rows, self.places.tolist(), strict=True):
            if most < 1:
                return
            if self.dataset is None or place < 0:
                continue
            images, _ = raw_images(self.dataset, np.array([place]))
            if images:
                most -= 1
                yield row, images[0]

    def sheet(self, *, most: int = 40) -> bytes:
        """The first images as one PNG, each with its name, both classes, or the label, and the confidence."""
        drawn = list(self.pictures(most))
        if not drawn:
            why = self.about_images or "no answer is wrong or unsure"
            raise InvalidValue(f"{self.run}: there is nothing to draw: {why}.")
        captions = [f"{plain_text(PurePosixPath(row.row_id).name)}\n{_caption(row)}" for row, _ in drawn]
        what = "wrong or unsure answers, given class as predicted class"
        what = "labels that are missed or said wrongly, the surest first" if self.has_several_labels else what
        title = f"{len(drawn):,} of {len(self):,} {what}"
        return contact_sheet([image for _, image in drawn], captions, title=title)

    def write_csv(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write all rows as a table, one line an image; where it may have several labels, one a wrong label."""
        check_output("csv", Path(path), keep=self._keep(), overwrite=overwrite)
        columns, cells = (COLUMNS_OF_LABELS, _label_cells) if self.has_several_labels else (COLUMNS, _cells)
        lines = [csv_line(columns), *(csv_line(cells(row)) for row in self.rows)]
        write_atomically(Path(path), "\n".join(lines) + "\n")

    def copy_to(self, folder: str | Path) -> int:
        """Copy the images into a new folder, a folder below it for each pair of classes; how many there are now.

        Where images may have several labels, for each label that is missed and each that is said wrongly.

        Raises:
            OutputExists: the folder is taken.
            InvalidValue: the images are not at hand.
        """
        final = Path(folder)
        check_free(final, keep=self._keep())
        if self.dataset is None:
            raise InvalidValue(f"there is nothing to copy: {self.about_images}")
        num_copied, folders, files = 0, _folders(self.rows), defaultdict[str, FreeNames](FreeNames)
        with staged_folder(final) as made, reporter().bar("copying", total=len(self.rows)) as bar:
            for row, place in zip(self.rows, self.places.tolist(), strict=True):
                bar.advance(1)
                data = None if place < 0 else _bytes_of(self.dataset, place)
                if data is None:
                    continue
                folder = folders[_kind(row)]
                target = made / folder / files[folder].free(*_stem_and_ending(row.row_id, data[1]))
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(data[0])
                num_copied += 1
        return num_copied

    def _keep(self) -> list[str | Path]:
        return [] if self.dataset is None else [*places_of(self.dataset)]


def mistakes(
    run: str | Path | Run | FinishedRun,
    source: Any = None,
    *,
    split: SplitName = "test",
    class_name: str | None = None,
    max_error: float | None = None,
    certainty: float = USUAL_CERTAINTY,
) -> Mistakes:
    """The images of a finished run that it answers wrong or too unsurely, by name, with what they were taken for.

    Where an image may have several labels, each label that is missed or said wrongly, with how sure it was of that.

    Args:
        run: a run or its folder.
        source: where the images are, whatever `sightline.load` takes; left out, where the run found them. Without
            them the names are told all the same.
        split: "test" or "validation".
        class_name: only images that were given this class, or taken for it.
        max_error: as `sightline.predict` takes it: which answers are unsure. Left out: 0.01, if the bundle can
            promise that; else none is.
        certainty: as `sightline.predict` takes it.

    Returns:
        The rows, and what can be made of them: a table, a sheet, a folder of copies.

    Raises:
        InvalidBundle: there is no finished run.
        InvalidValue: no such split or class; a max_error that cannot be promised, or is asked for where images may
            have several labels.
        UnknownName, InvalidSource: a source was named and cannot be opened.

    Example:
        >>> import sightline
        >>> found = sightline.mistakes("runs/mnist-fast-001")
        >>> found
        runs/mnist-fast-001: of ... test images, ... wrong...
        >>> [row.confidence >= found.rows[0].confidence for row in found.rows if row.is_wrong].count(True)
        1
    """
    if split not in SPLITS:
        raise InvalidValue(f"split must be one of {', '.join(SPLITS)}; got {split!r}.")
    finished = run if isinstance(run, FinishedRun) else read_run(run)
    if class_name is not None and class_name not in finished.class_names:
        known = ", ".join(finished.class_names[:20])
        raise InvalidValue(f"class_name must be one of the classes of the run; got {class_name!r}. Known: {known}.")
    answers = kept_predictions(finished, split)
    if answers is None:
        others = [name for name in SPLITS if finished.predictions[name].given]
        raise InvalidValue(
            f"{finished.path}: it kept no answers to {split} rows. It kept some to: {', '.join(others) or 'none'}."
        )
    is_of_labels = has_several_labels(answers.task)
    if is_of_labels:
        if max_error is not None:
            refuse_several_labels(answers.task, "max_error", "answers are right in part. Leave it out.")
        rows, about_unsure = _label_rows(answers), ""
    else:
        is_unsure, about_unsure = _unsure(finished.bundle, answers, max_error=max_error, certainty=certainty)
        rows = _rows(answers, is_unsure)
    num_images = len(answers)
    if class_name is not None:
        rows = [row for row in rows if class_name in ((row.label,) if is_of_labels else (row.given, row.predicted))]
        num_images = _num_concerned(answers, class_name)
    dataset, about_images = images_of(finished, source)
    places = _places(dataset, rows)
    if dataset is not None and (num_missing := int((places < 0).sum())):
        about_images = f"{num_missing:,} of {len(rows):,} are not in {dataset.name} any more"
    if dataset is not None and not is_of_labels:
        rows = _with_nearest(finished.bundle, dataset, rows, places)
    return Mistakes(
        finished.path,
        split,
        tuple(rows),
        num_images,
        about_unsure,
        about_images,
        dataset,
        places,
        class_name,
        is_of_labels,
    )


def _num_concerned(answers: Predictions, class_name: str) -> int:
    """How many images were given a class, or said to be of it."""
    task, number = answers.task, answers.class_names.index(class_name)
    is_said = task.is_of(task.decided(answers.logits), number)
    return int((task.is_of(np.asarray(answers.labels), number) | is_said).sum())


def _unsure(
    bundle: Bundle, answers: Predictions, *, max_error: float | None, certainty: float
) -> tuple[NDArray[np.bool_], str]:
    asked = Asked(max_error=USUAL.max_error if max_error is None else max_error, certainty=certainty)
    try:
        maker = detail_makers(bundle, asked)["abstention"]
    except (InvalidBundle, InvalidValue) as error:
        if max_error is not None:
            raise
        return np.zeros(len(answers), bool), f"no answer is marked unsure: {error}"
    marked = replace(answers, details={"abstention": maker.make({"logits": answers.logits}, None)})
    return np.asarray(marked.unsure), maker.in_words


def _rows(answers: Predictions, is_unsure: NDArray[np.bool_]) -> list[Mistake]:
    right, confidences = is_right(answers), answers.confidences
    given = answers.task.named(np.asarray(answers.labels), answers.class_names)
    chosen = np.flatnonzero(~right | is_unsure)
    # Wrong ones from the surest on, then right ones from the least sure on.
    order = np.lexsort((np.where(right, confidences, -confidences)[chosen], right[chosen]))
    predicted = answers.predicted
    return [
        Mistake(
            answers.row_ids[row],
            given[row],
            str(predicted[row]),
            float(confidences[row]),
            bool(not right[row]),
            bool(is_unsure[row]),
        )
        for row in chosen[order].tolist()
    ]


def _label_rows(answers: Predictions) -> list[Mistake]:
    """Each label that is missed or said wrongly, the surest first."""
    task, labels = answers.task, np.asarray(answers.labels, bool)
    said, chances = (
        task.decided(answers.logits) != 0,
        task.probabilities(answers.logits, temperature=answers.temperature),
    )
    sureness = np.where(said, chances, 1 - chances)
    rows, columns = np.nonzero(said != labels)
    given, predicted = task.named(np.asarray(answers.labels), answers.class_names), answers.predicted
    order = np.argsort(-sureness[rows, columns], kind="stable")
    return [
        Mistake(
            answers.row_ids[row],
            given[row],
            str(predicted[row]),
            float(sureness[row, column]),
            is_wrong=True,
            is_unsure=False,
            label=answers.class_names[column],
            is_missed=bool(labels[row, column]),
        )
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    ]


def images_of(finished: FinishedRun, source: Any) -> tuple[Dataset | None, str]:
    """Where the images are, or why they are not at hand; a source that was named has to open."""
    if source is not None:
        return open_again(source, finished.source), ""
    try:
        opened = open_again(recorded_source(finished.bundle), finished.source)
        return with_images_kept(finished.bundle, opened), ""
    except SightlineError as error:
        return None, f"the images are not at hand: {error}"


def _places(dataset: Dataset | None, rows: Sequence[Mistake]) -> NDArray[np.int64]:
    """The row of each in the source; -1 where it is not there."""
    if dataset is None:
        return np.full(len(rows), -1, np.int64)
    row_of = {row_id: row for row, row_id in enumerate(dataset.row_ids.tolist())}
    return np.array([row_of.get(row.row_id, -1) for row in rows], dtype=np.int64)


def _with_nearest(bundle: Bundle, dataset: Dataset, rows: list[Mistake], places: NDArray[np.int64]) -> list[Mistake]:
    looked = np.flatnonzero(places >= 0)[:MOST_LOOKED_AT]
    try:
        makers = detail_makers(bundle, Asked(nearest=NEAREST))
    except InvalidBundle:  # it was made without
        return rows
    if not len(looked):
        return rows
    told = predict_dataset(bundle, dataset, places[looked], makers=makers)
    found: Any = told.details["neighbours"]
    rows = rows.copy()
    for position, row in enumerate(looked.tolist()):
        pairs = zip(found.names[position].tolist(), found.classes[position].tolist(), strict=True)
        rows[row] = replace(rows[row], nearest=tuple((name, label) for name, label in pairs if name))
    return rows


def _cells(row: Mistake) -> Iterable[str | float]:
    nearest = "; ".join(f"{name} ({label})" for name, label in row.nearest)
    wrong, unsure = (str(value).lower() for value in (row.is_wrong, row.is_unsure))
    return (row.row_id, row.given, row.predicted, round(row.confidence, 6), wrong, unsure, nearest)


def _label_cells(row: Mistake) -> Iterable[str | float]:
    return (row.row_id, row.label or "", row.what, round(row.confidence, 6), row.given, row.predicted)


def _caption(row: Mistake) -> str:
    what = f"{plain_text(row.given)} as {plain_text(row.predicted)}"
    if row.label is not None:
        what = f"{plain_text(row.label)} {row.what}"
    return f"{what} ({certainty_in_words(row.confidence)})"


def _bytes_of(dataset: Dataset, place: int) -> tuple[bytes, str] | None:
    """A file as it is, or pixels as PNG, with its suffix; None where it cannot be read."""
    if isinstance(dataset.images, Store):
        try:
            return dataset.images.read(place), ""
        except (UnreadableImage, OSError):
            return None
    pixels = np.asarray(dataset.images[place])
    stream = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue(), ".png"


def _kind(row: Mistake) -> tuple[str, str]:
    """What makes a folder of copies: two classes, or a label and what is wrong of it."""
    return (row.given, row.predicted) if row.label is None else (row.label, row.what)


def _folders(rows: Iterable[Mistake]) -> dict[tuple[str, str], str]:
    """The folder of each kind, both parts of it told; no two kinds have one."""
    names = FreeNames()
    kinds = {_kind(row): " as " if row.label is None else " " for row in rows}
    short = {name: short_file_name(name, most_bytes=_MOST_BYTES) for kind in kinds for name in kind}
    return {kind: names.free(f"{short[kind[0]]}{between}{short[kind[1]]}") for kind, between in kinds.items()}


def _stem_and_ending(row_id: str, added: str) -> tuple[str, str]:
    """Of a name of a file; what is added to it is its ending."""
    path = PurePosixPath(row_id)
    return (path.name, added) if added else (path.stem, path.suffix)
