"""`sort`: the files of a folder into folders of their classes, and back again."""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from sightline.bundles.answers.formats import Columns
from sightline.bundles.answers.tables import AnswerTable
from sightline.bundles.bundle import load_bundle
from sightline.bundles.prediction import say_promises
from sightline.bundles.trust.abstention import USUAL_CERTAINTY
from sightline.bundles.trust.details import Asked, detail_makers
from sightline.data.decoding.decoder import decode_image
from sightline.deployment.bulk.images import BulkImages, bulk_images, holds_large_files
from sightline.deployment.bulk.step import AnswerStep, step_of
from sightline.deployment.predict_into import asked_of, write_answers
from sightline.deployment.sorting.journal import (
    WAYS,
    Journal,
    journals_in,
    mark_finished,
    next_journal,
    read_journal,
    set_aside,
    write_journal,
)
from sightline.deployment.sorting.places import USUAL_PATTERN, Rules, check_pattern
from sightline.deployment.sorting.planning import Plan, PlannedImage, make_plan, read_answers
from sightline.deployment.sorting.steps import clear_leftovers, do, make_folders, remove_folders, undo
from sightline.errors import InvalidValue, OutputExists, UnreadableImage, pick
from sightline.integrations.ray.cluster import check_on
from sightline.integrations.ray.workers import cluster_map
from sightline.metrics.classification import checked_count
from sightline.records import Bundle, Run
from sightline.reporting.pages.miniatures import SIDE, miniature_of
from sightline.reporting.pages.sorting.plan_page import DrawnImage, PlannedFolder, plan_page
from sightline.system.files import held, write_atomically, writing_to
from sightline.system.paths import absolute_path, check_place
from sightline.system.progress import reporter, reporting
from sightline.system.text import counted, is_address, printable
from sightline.system.workers import Map, map_in_order
from sightline.tasks.table import has_several_labels

_ANSWERS: Final = ".sightline-sort-answers.jsonl"
_MOST_LEFT, _MOST_DRAWN = 10, 24
# Most of a step is waiting for the disk, and no two of them share a name.
_THREADS = 4


@dataclass(frozen=True, eq=False)
class Sorting:
    """What was sorted, or taken back, or would be; printed, it is what `sightline sort` says.

    Attributes:
        into: the folder that is sorted into.
        did: "sorted", "planned" or "undone".
        by: "copy", "hardlink", "link" or "move".
        num_files: that were brought to their place or back, with what goes along with images.
        counts: folder to images in it.
        num_unreadable: of the images, those that cannot be read.
        left: (file, reason) of what was left where it was.
        plan: of a sorting that was planned in this call; None of what was gone on with or undone.

    Example:
        >>> import sightline, tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> place = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (64, 64), "white").save(place / "wall.png")
        >>> print(sightline.sort("imagenet", place, f"{place}-by-class", min_confidence=0.9, dry_run=True))
        1 _unsure/
        1 file would be copied to ...; nothing was touched
    """

    into: Path
    did: str
    by: str
    num_files: int
    counts: Mapping[str, int]
    left: Sequence[tuple[str, str]]
    num_unreadable: int = 0
    plan: Plan | None = None

    def __str__(self) -> str:
        width = max((len(f"{count:,}") for count in self.counts.values()), default=1)
        lines = [f"{count:>{width},} {printable(folder)}/" for folder, count in self.counts.items()]
        lines += [f"left: {printable(name)}: {printable(why)}" for name, why in self.left[:_MOST_LEFT]]
        if len(self.left) > _MOST_LEFT:
            lines.append(f"left: {len(self.left) - _MOST_LEFT:,} more")
        files, way = counted(self.num_files, "file"), _WORDS[self.by]
        lines.append(
            {
                "sorted": f"{files} {way} {self.into}; `sightline sort --undo {self.into}` takes them back",
                "planned": f"{files} would be {way} {self.into}; nothing was touched",
                "undone": f"{files} taken back from {self.into}",
            }[self.did]
        )
        return "\n".join(lines)

    __repr__ = __str__

    def write_page(self, path: str | Path) -> None:
        """Write a plan as one HTML page: each folder with the first of its images.

        Raises:
            InvalidValue: it is no plan (`dry_run`).
            CannotWrite: the disk is full or read-only.
        """
        if self.plan is None or self.did != "planned":
            raise InvalidValue("only a plan has a page: sort with dry_run=True.")
        write_atomically(Path(path), _page(self, self.plan))


_WORDS = {
    "copy": "copied to",
    "hardlink": "linked (the same file under a second name) to",
    "link": "linked from",
    "move": "moved to",
}


def sort(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    bundle: str | Path | Bundle | Run,
    folder: str | Path,
    into: str | Path,
    *,
    by: str = "copy",
    min_confidence: float = 0.0,
    coverage: float | None = None,
    max_set_size: int | None = None,
    max_error: float | None = None,
    novelty: float | None = None,
    certainty: float = USUAL_CERTAINTY,
    pattern: str = USUAL_PATTERN,
    dry_run: bool = False,
    on: str | None = None,
    progress: bool = True,
) -> Sorting:
    """Sort the images of a folder into one folder a class.

    Where an image may have several labels, it goes to the folder of each, under one name, and to `_no_label` where it
    has none: `load` reads such folders back with `task="multi-label"`, once those beside the labels are moved away.

    What cannot be read goes to `_unreadable`, what is unlike all that was learned (`novelty`) to `_novel`, and what
    `min_confidence`, `max_set_size` or `max_error` call doubtful to `_unsure`. Files keep their names, or get a number
    before them where two would be one; settings, edits and films beside a photograph (.xmp, .aae, .mov, .mp4) go along.
    Nothing is ever written over. All steps are written down before the first, so that the same call goes on after an
    interruption, and `undo_sort` takes everything back.

    Args:
        bundle: a bundle or a run, or its folder.
        folder: is searched to the bottom; links in it stay where they are.
        into: may hold other things; it does not lie in the folder, nor the folder in it.
        by: "copy"; "hardlink", a second name of the same file; "link", a symbolic link; or "move", which images that
            may have several labels are not.
        min_confidence: of answers that are taken, 0 to 1; of several labels, each goes by its own.
        coverage: make sets that hold the right class of this share, for `max_set_size`.
        max_set_size: how many classes the set of an answer that is taken may hold.
        max_error: at most this share of the answers that are taken is wrong, on images like the calibration images.
        novelty: mark images unlike those it learned, and of images like the calibration images at most this share.
        certainty: with which these two are kept.
        pattern: of the path of each file: {class}, {year}, {month} and {day} on which it was taken ("unknown" where it
            does not say so), and at the end {name}.
        dry_run: only plan.
        on: where images are answered: "ray" or "ray://HOST", as `predict_into` takes it. Files are brought to their
            places from here.
        progress: False prints nothing.

    Returns:
        How many files went where, and what was left.

    Raises:
        InvalidBundle: the bundle cannot be used, or cannot promise what is asked for.
        InvalidValue: there is no image in the folder, one folder lies in the other, or an option is out of range.
        OutputExists: another sorting into that folder was stopped, or is under way.
        CannotWrite: the disk is full or read-only; the same call goes on when there is room.
        MissingPackage, NotReached: Ray is not installed, no cluster answers there, or a node of it lacks the images.

    Example:
        >>> import sightline, tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> place = Path(tempfile.mkdtemp())
        >>> (place / "photos").mkdir()
        >>> Image.new("RGB", (64, 64), "white").save(place / "photos" / "wall.png")
        >>> found = sightline.sort("imagenet", place / "photos", place / "sorted", min_confidence=0.5, progress=False)
        >>> found.counts, [path.name for path in (place / "sorted" / "_unsure").iterdir()]
        ({'_unsure': 1}, ['wall.png'])
        >>> sightline.undo_sort(place / "sorted").num_files
        1
    """
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    asked = Asked(coverage=coverage, max_error=max_error, certainty=certainty, novelty=novelty)
    makers = detail_makers(opened, asked)
    rules = _checked(min_confidence, max_set_size, pattern, has_sets=coverage is not None)
    pick(dict.fromkeys(WAYS), by, kind="way of sorting")
    if has_several_labels(opened.task):
        _check_for_labels(by, pattern)
    check_on(on)
    source, target = absolute_path(folder), absolute_path(into)
    _check_places(source, target, by, folder)
    step = step_of(opened, asked, top=1, with_probabilities=False, invert=False)
    told = asked_of(step, makers, [source], Columns(1)) | {
        "min_confidence": min_confidence,
        "max_set_size": max_set_size,
        "pattern": pattern,
    }
    with reporting(None if progress else "quiet"), contextlib.ExitStack() as open_now:
        # What is no folder of images is refused before another one is made for it.
        images = None if journals_in(target) else bulk_images([source])
        if dry_run:
            work, is_new = Path(open_now.enter_context(tempfile.TemporaryDirectory())), False
        else:
            work, is_new = target, _is_ours_alone(target)
            open_now.enter_context(_alone(target))
            if (begun := _unfinished(target, source, by, told)) is not None:
                reporter().say(f"going on with {begun.path}, in which a stopped command wrote down its steps")
                return carry_out(begun, None)
        say_promises(makers)
        journal = Journal(next_journal(target), source, target, by, told, (), (), is_new=is_new)
        images = bulk_images([source]) if images is None else images
        with cluster_map(on) as each:
            plan = _plan(opened, step, images, journal, work, rules, each=each)
        if dry_run:
            return _sorting("planned", plan.journal, len(plan.journal.steps), plan.journal.told.left, plan)
        with writing_to(target):
            write_journal(plan.journal)
        return carry_out(plan.journal, plan)


def _plan(  # noqa: PLR0913  # what `sort` has settled
    bundle: Bundle,
    step: AnswerStep,
    images: BulkImages,
    journal: Journal,
    work: Path,
    rules: Rules,
    *,
    each: Map | None,
) -> Plan:
    """Answer all images into a file in a folder, and plan by it."""
    answers = work / _ANSWERS
    answers.unlink(missing_ok=True)
    # Those of a stopped sorting that is the same are gone on with; others are ours to be lost.
    table = AnswerTable(answers, bundle.task, columns=Columns(1), form="jsonl", asked=journal.asked, overwrite=True)
    write_answers(bundle, step, images, table, each=each)
    is_of_labels = has_several_labels(bundle.task)
    return make_plan(journal, read_answers(answers), bundle.class_names, rules, has_several_labels=is_of_labels)


def undo_sort(into: str | Path, *, progress: bool = True) -> Sorting:
    """Take back the last sorting into a folder: each file to where it was, and the folders away that it made.

    What its user changed, renamed or removed since is left as it is, and told. Once more takes back the one before.

    Args:
        into: the folder that was sorted into.
        progress: False prints nothing.

    Returns:
        How many files were taken back, and what was left.

    Raises:
        InvalidSource: its journal cannot be read, or is of another folder.
        InvalidValue: there is no sorting to take back.
        OutputExists: a sorting into that folder is under way.
        CannotWrite: the disk is full or read-only; the same call goes on.

    Example:
        >>> import sightline, tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> place = Path(tempfile.mkdtemp())
        >>> (place / "photos").mkdir()
        >>> Image.new("RGB", (64, 64), "white").save(place / "photos" / "wall.png")
        >>> moved = sightline.sort("imagenet", place / "photos", place / "sorted", by="move", progress=False)
        >>> sightline.undo_sort(place / "sorted").num_files, (place / "photos" / "wall.png").exists()
        (1, True)
    """
    target = absolute_path(into)
    if not journals_in(target):
        raise InvalidValue(f"{into}: there is no sorting to take back here. Name the folder that was sorted into.")
    with reporting(None if progress else "quiet"), _alone(target):
        journal = read_journal(journals_in(target)[-1])
        left, num_files, may_be_repeated = [], 0, False
        reporter().say(f"taking back what was {_WORDS[journal.by]} {journal.into}, from {journal.source}")
        with writing_to(journal.source if journal.by == "move" else target), _bar("taking back", journal) as bar:
            clear_leftovers(journal)
            for outcome in map_in_order(partial(undo, journal), reversed(journal.steps), workers=_THREADS):
                num_files += outcome.is_changed
                left += [(outcome.step.target, outcome.why_left)] * bool(outcome.why_left)
                may_be_repeated |= outcome.may_be_repeated
                bar.advance(1)
            remove_folders(journal)
            if may_be_repeated:
                reporter().say("note: clear what is in the way, and take it back once more")
            elif left:
                set_aside(journal)
            else:
                journal.path.unlink()
                if journal.is_new:
                    with contextlib.suppress(OSError):  # there is something of its user's in it
                        target.rmdir()
    return Sorting(target, "undone", journal.by, num_files, {}, left[::-1])


def _is_ours_alone(target: Path) -> bool:
    """Whether a folder is missing, or holds nothing but what a sorting left that was stopped before its first step."""
    return not target.exists() or all(path.name.startswith(_ANSWERS) for path in target.iterdir())


def _checked(min_confidence: float, max_set_size: int | None, pattern: str, *, has_sets: bool) -> Rules:
    if isinstance(min_confidence, bool) or not isinstance(min_confidence, int | float) or not 0 <= min_confidence <= 1:
        raise InvalidValue(f"min_confidence must be a number from 0 to 1; got {min_confidence!r}.")
    if max_set_size is not None:
        checked_count(max_set_size, name="max_set_size", at_least=1)
        if not has_sets:
            raise InvalidValue("max_set_size is about sets of classes. Name a coverage, too, such as 0.95.")
    check_pattern(pattern)
    return Rules(float(min_confidence), max_set_size, pattern)


def _check_for_labels(by: str, pattern: str) -> None:
    if by == "move":
        raise InvalidValue(
            "--by move: an image with several labels goes to the folder of each, and a file that is moved lies in one. "
            "Sort by link, hardlink or copy."
        )
    check_pattern(pattern, has_several_labels=True)


def _check_places(source: Path, target: Path, by: str, folder: str | Path) -> None:
    if not source.is_dir():
        if is_address(str(folder)):
            raise InvalidValue(f"{printable(str(folder))}: files of this machine are sorted alone. Fetch them first.")
        raise InvalidValue(f"{source}: there is no such folder. Name a folder with images.")
    if holds_large_files(source):
        raise InvalidValue(
            f"{source}: its images lie several in one file and are no files of their own. Unpack them, or write their "
            "answers with: sightline predict --out"
        )
    if target == source or target.is_relative_to(source) or source.is_relative_to(target):
        raise InvalidValue(
            f"--into {target}: it lies in {source}, or that in it. Name a folder beside it, so that nothing is sorted "
            "twice."
        )
    check_place("--into", target)
    if target.exists() and not target.is_dir():
        raise OutputExists(f"--into {target} is a file. Name a folder.")
    near = next(place for place in (target, *target.parents) if place.exists())
    if by == "hardlink" and near.stat().st_dev != source.stat().st_dev:
        raise InvalidValue(f"--by hardlink: {target} lies on another disk than {source}. Sort by copy, link or move.")


@contextlib.contextmanager
def _alone(into: Path) -> Iterator[None]:
    """While it is open, nobody else sorts into that folder, which is made if it is missing."""
    with writing_to(into):
        into.mkdir(parents=True, exist_ok=True)
    try:
        with held(into):
            yield
    except BlockingIOError as error:
        raise OutputExists(f"{into}: another command is sorting into it. Wait for its end.") from error


def _unfinished(into: Path, source: Path, by: str, told: Mapping[str, Any]) -> Journal | None:
    """The sorting that was stopped here, if this call is the same; another one is refused."""
    last = journals_in(into)[-1:]
    if not last or (journal := read_journal(last[0])).is_finished:
        return None
    if (journal.source, journal.by, dict(journal.asked)) != (source, by, dict(told)):
        raise OutputExists(
            f"{into}: another sorting was stopped here, of {journal.source} by {journal.by}. Repeat its command to go "
            f"on with it, or take it back: sightline sort --undo {into}."
        )
    return journal


def _bar(what: str, journal: Journal) -> Any:
    return reporter().bar(what, total=len(journal.steps), unit="files")


def carry_out(journal: Journal, plan: Plan | None) -> Sorting:
    """Go through the steps of a journal that is on the disk; what is done already is found so."""
    left, num_files = list(journal.told.left), 0
    (journal.into / _ANSWERS).unlink(missing_ok=True)
    with writing_to(journal.into), _bar("sorting", journal) as bar:
        make_folders(journal)
        for outcome in map_in_order(partial(do, journal), journal.steps, workers=_THREADS):
            if outcome.why_left:
                left.append((outcome.step.source, outcome.why_left))
            else:
                num_files += 1
            bar.advance(1)
        mark_finished(journal)
    return _sorting("sorted", journal, num_files, left, plan)


def _sorting(did: str, journal: Journal, num_files: int, left: Sequence[tuple[str, str]], plan: Plan | None) -> Sorting:
    told = journal.told
    return Sorting(journal.into, did, journal.by, num_files, told.counts, left, told.num_unreadable, plan)


def _page(sorting: Sorting, plan: Plan) -> str:
    of_folder: dict[str, list[PlannedImage]] = defaultdict(list)
    for image in plan.images:
        of_folder[plan.folders[image.of]].append(image)
    folders = [
        PlannedFolder(name, count, [_drawn(plan.journal.source, image) for image in of_folder[name][:_MOST_DRAWN]])
        for name, count in sorting.counts.items()
    ]
    files = counted(sorting.num_files, "file")
    with_others = ", with what goes along with them" if sorting.num_files > len(plan.images) else ""
    remarks = [f"{files} of {plan.journal.source} would be {_WORDS[sorting.by]} {sorting.into}{with_others}."]
    return plan_page("What sorting would do", folders, left=plan.left, remarks=remarks)


def _drawn(source: Path, image: PlannedImage) -> DrawnImage:
    try:
        pixels = decode_image(source / image.source, color_mode="rgb", minimum_size=(SIDE, SIDE))
    except UnreadableImage:
        return DrawnImage(image.source, image.target, image.about, None)
    return DrawnImage(image.source, image.target, image.about, miniature_of(pixels))
