"""Train, validation, calibration and test rows: disjoint, stratified, seeded, written down, or refused as too few."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.schema import DataRecipe
from sightline.data.duplicates.search import Copies, outstanding
from sightline.data.splitting.assignment import Assignment, assign, position
from sightline.data.splitting.stratification import stratified
from sightline.errors import InvalidSource, InvalidValue, closest
from sightline.records import SPLIT_NAMES, Dataset, Splits, Store
from sightline.tasks.table import has_several_labels

SPLIT_COLUMNS = ("row_id", "split", "group")

_NAMES_SHOWN = 5


def split(dataset: Dataset, data: DataRecipe | None = None, *, seed: int = 0, copies: Copies | None = None) -> Splits:
    """Divide the rows of a dataset.

    What is asked for means the same whatever the rows are. What the source itself calls test, validation or
    calibration stays so; the rest is free. Of it goes the fraction for test first, and of what is left then those
    for validation and calibration; every class has its share of every split; the same seed gives the same rows.
    What is promised beyond differs, since it cannot be had of one rule:

    **Files**, and rows with groups or known copies, stay where they are while the source grows. Each is assigned by a
    seeded hash of its group: an explicit group and the copies of an image stay in one split, near copies
    where they stand out from images that merely look alike (`sightline.data.duplicates.search.outstanding`). Files
    count as added in the order of `Store.arrivals`, the time of their last
    change in a folder; where older files are added later, give the first run's
    `splits.csv` back instead (`read_splits_csv`). A row that would tie two splits
    together is in none of them and among `left_out`. The first group of a class goes
    to train; after that the hash is overruled only where a class, or all of them
    together, would stray from the fractions by more than one image and 5 %, so that
    without groups a split has its share of each class to within 3 images and 8 %. A class that is short of images for
    a split is told in a remark.

    **Arrays** without groups have the classes in exactly the same proportion: they are drawn at random within each
    class; of images with several labels, the rarest is dealt out first, and each has nearly its share. A row of an
    array is known by its number alone, so there is nothing to stay: with one image more, all are
    drawn anew, and copies are not looked for. A class of which none is left to train on is refused.

    Args:
        dataset: the rows.
        data: the three fractions; the defaults (0.1, 0.1, 0.2) if None.
        seed: the same seed gives the same rows.
        copies: which rows are copies of which (`sightline.data.duplicates.search.find_copies`).

    Returns:
        Ascending row indices of the four splits, with the groups, what was left out, and remarks.

    Raises:
        InvalidSource: so few images that a split would be left empty, or a class that
            the source gives for testing alone.

    Example:
        >>> import sightline
        >>> sightline.split(sightline.load("mnist"))
        Splits(train 48,000, validation 6,000, calibration 6,000, test 10,000)
    """
    data = data or DataRecipe()
    if isinstance(dataset.images, Store) or dataset.groups is not None or copies is not None:
        shares = _shares(dataset, data)
        copies, remarks = _heeded(copies)
        splits = _assigned(dataset, assign(dataset, shares, seed=seed, copies=copies), shares, remarks)
    else:
        splits = _drawn(dataset, data, seed)
    refuse_empty(dataset, data, splits)
    return splits


def _drawn(dataset: Dataset, data: DataRecipe, seed: int) -> Splits:
    """Exactly the fractions of every class, at random."""
    generator, strata = np.random.default_rng([seed, 0x5EED]), dataset.task.strata(dataset.labels)

    def draw(rows: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if not has_several_labels(dataset.task):
            return _draw(strata, rows, count, generator)
        drawn, rest = stratified(dataset.labels[rows], (count, len(rows) - count), generator)
        return rows[drawn], rows[rest]

    rows = {name: np.flatnonzero(dataset.given_splits == name) for name in ("validation", "calibration", "test")}
    free = np.flatnonzero(~np.isin(dataset.given_splits, list(rows)))
    num_free = len(free)
    for name, fraction in (
        ("test", data.test_fraction),
        ("validation", data.validation_fraction),
        ("calibration", data.calibration_fraction),
    ):
        if not len(rows[name]):
            rows[name], free = draw(free, round(fraction * num_free))
        if name == "test":
            num_free = len(free)  # the others are fractions of what it leaves
    return Splits(free, rows["validation"], rows["calibration"], rows["test"], dataset.fingerprint)


def splits_csv(dataset: Dataset, splits: Splits) -> str:
    """The splits as a table that a spreadsheet opens: row_id, split, group, in the order of the dataset.

    The group is the name of an explicit one, or the row id of that of an image's copies that came
    first. Rows that are in no split are left out.
    """
    names = np.full(len(dataset), "", dtype="<U11")
    for name in SPLIT_NAMES:
        names[splits.rows(name)] = name
    groups = dataset.row_ids if splits.groups is None else splits.groups
    return splits_table(line for line in zip(dataset.row_ids, names, groups, strict=True) if line[1])


def splits_table(lines: Iterable[Sequence[str]]) -> str:
    """The text of a `splits.csv`: row id, split and group of each line, under its head."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(SPLIT_COLUMNS)
    writer.writerows(lines)
    return stream.getvalue()


def read_splits_csv(
    text: str, dataset: Dataset, data: DataRecipe | None = None, *, seed: int = 0, copies: Copies | None = None
) -> Splits:
    """Read a `splits.csv` back, as row indices into the dataset; the remarks count rows that came and went.

    Args:
        text: the content of the file.
        dataset: the rows that it was written for, in any order; with `data`, also fewer or more.
        data: fractions by which rows that the file lacks are assigned, as `split` would.
            Without it such rows are in no split, and a row that the dataset lacks is refused.
        seed: for the rows that the file lacks.
        copies: which rows are copies of which. A new row goes where its copies are.

    Raises:
        InvalidSource: another header, an unknown split, a row twice, or, without `data`, a
            row id that the dataset lacks.
    """
    index = {row_id: row for row, row_id in enumerate(dataset.row_ids.tolist())}
    kept: dict[int, tuple[int, str]] = {}
    num_gone = 0
    for row_id, name, group in _lines(text):
        if row_id in index:
            kept[index[row_id]] = (SPLIT_NAMES.index(name), group or row_id)
        elif data is None:
            raise InvalidSource(
                f"splits.csv: row {row_id!r} in split {name!r} does not fit the dataset '{dataset.name}'."
            )
        else:
            num_gone += 1
    if data is None:
        return _kept_alone(dataset, kept)
    if not kept:
        raise InvalidSource(
            f"splits.csv: none of its {num_gone:,} rows is in the dataset '{dataset.name}'. Give that of a run on it."
        )
    remarks = []
    if num_gone:
        remarks.append(f"{num_gone:,} rows of splits.csv are no longer in '{dataset.name}'.")
    if len(kept) < len(dataset):
        remarks.append(f"{len(dataset) - len(kept):,} images are not in splits.csv and were added by the usual rule.")
    shares = _shares(dataset, data)
    copies, untold = _heeded(copies)
    assigned = assign(dataset, shares, seed=seed, copies=copies, kept=kept)
    return _assigned(dataset, assigned, shares, [*remarks, *untold])


def sample_fraction(dataset: Dataset, fraction: float, *, seed: int) -> NDArray[np.int64]:
    """Ascending rows, the same share of every class and given split; groups are taken whole.

    At least one group of every class in every given split is among them. The same seed gives the same rows, and a
    larger fraction holds those of a smaller one.

    Raises:
        InvalidValue: the fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise InvalidValue(f"data.fraction must be above 0 and at most 1; got {fraction!r}.")
    groups: dict[str, list[int]] = {}
    names = (
        dataset.row_ids if dataset.groups is None else np.where(dataset.groups == "", dataset.row_ids, dataset.groups)
    )
    for row, name in enumerate(names.tolist()):
        groups.setdefault(name, []).append(row)
    # A group belongs to the class and split of its first row, whatever else is in it.
    stratum_of = dataset.task.strata(dataset.labels)
    strata: dict[tuple[int, str], list[str]] = {}
    for name, rows in groups.items():
        strata.setdefault((int(stratum_of[rows[0]]), str(dataset.given_splits[rows[0]])), []).append(name)
    taken: list[int] = []
    for members in strata.values():
        members.sort(key=lambda name: position(seed, name))
        sizes = np.array([len(groups[name]) for name in members])
        # Up to the group whose middle passes the share; a half rounds down, as it would for one row.
        count = int(np.sum(np.cumsum(sizes) - sizes / 2 < fraction * sizes.sum()))
        taken += [row for name in members[: max(1, count)] for row in groups[name]]
    return np.array(sorted(taken), np.int64)


def _shares(dataset: Dataset, data: DataRecipe) -> tuple[float, ...]:
    """The share of each split in the rows that are free to go anywhere."""
    given = set(np.unique(dataset.given_splits).tolist())
    test, validation, calibration = (
        0.0 if name in given else fraction
        for name, fraction in (
            ("test", data.test_fraction),
            ("validation", data.validation_fraction),
            ("calibration", data.calibration_fraction),
        )
    )
    rest = 1 - test
    return (rest * max(0.0, 1 - validation - calibration), rest * validation, rest * calibration, test)


def _draw(
    strata: NDArray[np.int64], rows: NDArray[np.int64], count: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`count` of `rows`, the classes in proportion, and the rows left over; both ascending."""
    shuffled = generator.permutation(rows)
    ordered = shuffled[np.argsort(strata[shuffled], kind="stable")]
    # Every k-th of the rows sorted by class: exact in number, and each class within one of its share.
    drawn = np.zeros(len(rows), dtype=bool)
    if count:
        drawn[np.floor((np.arange(count) + generator.random()) * (len(rows) / count)).astype(np.int64)] = True
    return np.sort(ordered[drawn]), np.sort(ordered[~drawn])


def _lines(text: str) -> list[tuple[str, str, str]]:
    """(row id, split, group) of each line, checked for what can be wrong without the dataset."""
    table = csv.DictReader(io.StringIO(text))
    try:
        header, content = tuple(table.fieldnames or ()), list(table)
    except csv.Error as error:
        raise InvalidSource(f"splits.csv: is not a readable table ({error}). Give that of a run.") from error
    if not set(SPLIT_COLUMNS[:2]) <= set(header):
        found = ",".join(header)[:80] or "nothing"
        raise InvalidSource(f"splits.csv: the first line must be {','.join(SPLIT_COLUMNS)}; got {found!r}.")
    lines, seen = [], set()
    for line in content:
        row_id, name = line["row_id"] or "", line["split"] or ""
        if name not in SPLIT_NAMES:
            raise InvalidSource(
                f"splits.csv: row {row_id!r} in split {name!r}: no split is called so. {closest(name, SPLIT_NAMES)}"
            )
        if row_id in seen:
            raise InvalidSource(f"splits.csv: row {row_id!r} stands in it twice. Keep one of the lines.")
        seen.add(row_id)
        lines.append((row_id, name, line.get("group") or ""))
    return lines


def _heeded(copies: Copies | None) -> tuple[Copies | None, list[str]]:
    """The copies that stand out, and a remark where others do not."""
    if copies is None:
        return None, []
    heeded, num_untold = outstanding(copies)
    if not num_untold:
        return heeded, []
    remark = (
        f"{num_untold:,} of {len(copies.can_tell):,} images look so much like others, as under a fixed camera, that "
        "near copies of them cannot be told: only exact ones are kept together (data.group_near_duplicates). If they "
        "are frames of a film or several pictures of one thing, name the groups (data.group_by)."
    )
    return heeded, [remark]


def _kept_alone(dataset: Dataset, kept: Mapping[int, tuple[int, str]]) -> Splits:
    rows: list[list[int]] = [[] for _ in SPLIT_NAMES]
    groups = dataset.row_ids.tolist()
    for row in sorted(kept):
        number, groups[row] = kept[row]
        rows[number].append(row)
    train, validation, calibration, test = (np.array(found, dtype=np.int64) for found in rows)
    names = np.array(groups, dtype=str)
    return Splits(train, validation, calibration, test, dataset.fingerprint, groups=names)


def _assigned(dataset: Dataset, assigned: Assignment, shares: Sequence[float], notes: Sequence[str] = ()) -> Splits:
    train, validation, calibration, test = (np.flatnonzero(assigned.splits == number) for number in range(4))
    splits = Splits(train, validation, calibration, test, dataset.fingerprint, assigned.left_out, assigned.groups)
    remarks = [*notes]
    if assigned.left_out:
        remarks.append(f"{_images(len(assigned.left_out))} left out, which would have tied two splits together.")
    if assigned.num_crossing:
        remarks.append(
            f"{_images(assigned.num_crossing)} left where the source has them, though copies of them, or images of "
            "their group, lie in another split. Run `sightline audit`."
        )
    return replace(splits, remarks=(*remarks, *class_remarks(dataset, splits, shares)))


def _images(count: int) -> str:
    return "1 image was" if count == 1 else f"{count:,} images were"


def refuse_empty(dataset: Dataset, data: DataRecipe, splits: Splits) -> None:
    """Refuse splits of which one came out empty, or none of which teaches a class."""
    given = set(dataset.given_splits.tolist())
    if given and not given & {"", "train"}:
        raise InvalidSource(
            f"{dataset.name}: all of its images are in the given splits {' and '.join(sorted(given))}. "
            "There is none to learn from. Add a train split, or take the folders for one whole."
        )
    fractions = {
        "validation": data.validation_fraction,
        "calibration": data.calibration_fraction,
        "test": data.test_fraction,
    }
    for name, fraction in fractions.items():
        if fraction > 0 and not len(splits.rows(name)):  # type: ignore[arg-type]  # the keys are split names
            share = fraction if name == "test" else fraction * (1 - data.test_fraction)
            kind = "images" if splits.groups is None else "groups of images"
            raise InvalidSource(
                f"{dataset.name}: {_few(dataset, splits)} to keep {fraction:g} of them for {name}. "
                f"Add images, or set data.{name}_fraction=0. About {groups_needed(share)} {kind} are needed."
            )
    lost = _without(dataset, splits.train)
    if splits.groups is not None and len(splits.train):
        # Of files, a class whose few images went with their copies is told in a remark and stops nobody.
        is_free = (dataset.given_splits == "") | (dataset.given_splits == "train")
        lost = [label for label in lost if not dataset.counts(is_free)[label]]
    if lost or not len(splits.train):
        name = dataset.class_names[lost[0]] if lost else dataset.named(slice(0, 1))[0]
        raise InvalidSource(
            f"{dataset.name}: no image of class {name!r} is left to train on after the splits. "
            "Add images of it, or make data.validation_fraction and data.calibration_fraction smaller."
        )


def _few(dataset: Dataset, splits: Splits) -> str:
    """How few images there are, or groups of them where copies or groups are tied; refuses a single picture."""
    num_groups = len(dataset) if splits.groups is None else len(np.unique(splits.groups))
    if num_groups == len(dataset):
        return f"{len(dataset)} images are too few"
    if num_groups == 1 and (dataset.groups is None or not dataset.groups[0]):
        raise InvalidSource(
            f"{dataset.name}: all {len(dataset):,} images are copies of one picture ({dataset.row_ids[0]}), from which "
            "nothing can be learned. Look at the files: were they written by a camera or a program that failed?"
        )
    counted = "one group" if num_groups == 1 else f"{num_groups:,} groups"
    return f"{len(dataset):,} images in {counted}, such as copies of one picture, are too few"


def refuse_unreadable(dataset: Dataset, errors: Mapping[int, str], limit: float) -> None:
    """Refuse a dataset of which more than a share cannot be read (row to reason), or a class is lost by it."""
    if not errors:
        return
    first = f"the first is {dataset.row_ids[next(iter(errors))]}: {next(iter(errors.values()))}"
    lost = f"{len(errors):,} of {len(dataset):,} files cannot be read"
    if len(errors) > limit * len(dataset):
        raise InvalidSource(
            f"{dataset.name}: {lost}, more than {limit:.0%} ({kinds_of_errors(errors)}); {first} "
            "Run `sightline audit`, or set data.unreadable_limit higher."
        )
    readable = np.setdiff1d(np.arange(len(dataset)), np.fromiter(errors, dtype=np.int64))
    if gone := _without(dataset, readable):
        raise InvalidSource(
            f"{dataset.name}: {_named(dataset, gone)} no image that can be read ({lost}: {kinds_of_errors(errors)}); "
            f"{first} Convert them, or leave the class out."
        )


def kinds_of_errors(errors: Mapping[int, str]) -> str:
    """How many files cannot be read for which kind of reason, the most frequent first.

    Example:
        >>> kinds_of_errors({0: "a HEIC image, not a ...", 3: "a HEIC image, ...", 4: "empty file (0 bytes)."})
        '2 times: a HEIC image; once: empty file'
    """
    counts = Counter(re.split(r"[,;(:]|\d[\d,]+ ", reason)[0].strip(" .") for reason in errors.values())
    told = [
        f"{'once' if count == 1 else f'{count:,} times'}: {kind}" for kind, count in counts.most_common(_NAMES_SHOWN)
    ]
    return "; ".join(told)


def class_remarks(dataset: Dataset, splits: Splits, shares: Sequence[float]) -> tuple[str, ...]:
    """Which classes have too few images for every split, and what was done with those they have."""
    counts = dataset.counts()
    remarks = []
    single = [label for label in np.flatnonzero(counts == 1).tolist() if label not in _without(dataset, splits.train)]
    if single:
        remarks.append(
            f"{_named(dataset, single)} one image only, which is in train: "
            "nothing will tell how well it is recognised. Add images."
        )
    untaught = _without(dataset, splits.train)
    if untaught:
        remarks.append(
            f"{_named(dataset, untaught)} no image in train, since all are copies of images in other splits: "
            "the network cannot learn it. Add images, or remove the copies."
        )
    for name, share in zip(SPLIT_NAMES[1:], shares[1:], strict=True):
        lacking = [label for label in _without(dataset, splits.rows(name)) if counts[label] > 1]
        if share > 0 and lacking:
            remarks.append(
                f"{_named(dataset, lacking)} too few groups of images for one in {name}; "
                f"about {groups_needed(share)} a class are needed. Those there are were left in the other splits."
            )
    return tuple(remarks)


def groups_needed(share: float) -> int:
    """How many groups a class needs so that a split of this share surely has one."""
    # A class may lag behind its share by 5 % before it gets one (SLACK); two more, as two splits may be served before.
    return math.ceil(1 / (0.95 * share)) + 2


def _without(dataset: Dataset, rows: NDArray[np.int64]) -> list[int]:
    """Labels that the dataset has and these rows have not."""
    return np.flatnonzero((dataset.counts() > 0) & (dataset.counts(rows) == 0)).tolist()


def _named(dataset: Dataset, labels: Sequence[int]) -> str:
    names = ", ".join(repr(dataset.class_names[label]) for label in labels[:_NAMES_SHOWN])
    more = f" and {len(labels) - _NAMES_SHOWN} more" if len(labels) > _NAMES_SHOWN else ""
    return f"{'classes' if len(labels) > 1 else 'class'} {names}{more} {'have' if len(labels) > 1 else 'has'}"
