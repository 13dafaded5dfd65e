"""Train, validation, calibration and test rows: disjoint, stratified, seeded, written down."""

from __future__ import annotations

import csv
import io

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidSource
from sightline.records import SPLIT_NAMES, Dataset, Splits
from sightline.schema import DataRecipe


def split(dataset: Dataset, data: DataRecipe | None = None, *, seed: int = 0) -> Splits:
    """Divide the rows of a dataset.

    Rows that the source itself calls test or validation stay so. What it does not
    fix is drawn at random within each class, so that every split has the classes
    in the same proportion: test from all rows, then validation and calibration
    from what is left to train.

    Args:
        dataset: the rows.
        data: the three fractions; the defaults (0.1, 0.1, 0.2) if None.
        seed: the same seed gives the same rows.

    Returns:
        Ascending row indices of the four splits.

    Raises:
        InvalidSource: so few images that a split or a class would be left empty.

    Example:
        >>> import sightline
        >>> sightline.split(sightline.load("mnist"))
        Splits(train 48,000, validation 6,000, calibration 6,000, test 10,000)
    """
    data = data or DataRecipe()
    generator = np.random.default_rng([seed, 0x5EED])
    given = dataset.given_splits
    free = np.flatnonzero((given == "") | (given == "train"))
    test, validation = np.flatnonzero(given == "test"), np.flatnonzero(given == "validation")
    if not len(test):
        test, free = _draw(dataset.labels, free, round(data.test_fraction * len(free)), generator)
    num_free = len(free)
    if not len(validation):
        validation, free = _draw(dataset.labels, free, round(data.validation_fraction * num_free), generator)
    calibration, train = _draw(dataset.labels, free, round(data.calibration_fraction * num_free), generator)
    drawn = Splits(train, validation, calibration, test, dataset.fingerprint)
    _check(dataset, data, drawn)
    return drawn


def splits_csv(dataset: Dataset, splits: Splits) -> str:
    """The splits as a table that a spreadsheet opens.

    Args:
        dataset: whose row ids are written.
        splits: rows of that dataset.

    Returns:
        CSV with the columns row_id, split, group, in the order of the dataset.

    Raises:
        Nothing.

    Example:
        >>> import sightline
        >>> mnist = sightline.load("mnist")
        >>> splits_csv(mnist, sightline.split(mnist)).splitlines()[0]
        'row_id,split,group'
    """
    names = np.full(len(dataset), "", dtype="<U11")
    for name in SPLIT_NAMES:
        names[splits.rows(name)] = name
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("row_id", "split", "group"))
    # Images in arrays have no groups but themselves.
    writer.writerows((row_id, name, row_id) for row_id, name in zip(dataset.row_ids, names, strict=True) if name)
    return stream.getvalue()


def read_splits_csv(text: str, dataset: Dataset) -> Splits:
    """Read a `splits.csv` back for the dataset it was written for.

    Args:
        text: the content of the file.
        dataset: the same rows, in any order.

    Returns:
        The splits, as row indices into `dataset`.

    Raises:
        InvalidSource: a row id that the dataset lacks, or an unknown split.

    Example:
        >>> import sightline
        >>> mnist = sightline.load("mnist")
        >>> splits = sightline.split(mnist)
        >>> bool((read_splits_csv(splits_csv(mnist, splits), mnist).test == splits.test).all())
        True
    """
    index = {row_id: row for row, row_id in enumerate(dataset.row_ids.tolist())}
    rows: dict[str, list[int]] = {name: [] for name in SPLIT_NAMES}
    for line in csv.DictReader(io.StringIO(text)):
        row_id, name = line.get("row_id"), line.get("split")
        if row_id not in index or name not in rows:
            raise InvalidSource(
                f"splits.csv: row {row_id!r} in split {name!r} does not fit the dataset '{dataset.name}'."
            )
        rows[name].append(index[row_id])
    arrays = {name: np.array(sorted(found), dtype=np.int64) for name, found in rows.items()}
    return Splits(**arrays, fingerprint=dataset.fingerprint)


def _draw(
    labels: NDArray[np.int64], rows: NDArray[np.int64], count: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`count` of `rows`, the classes in proportion, and the rows left over; both ascending."""
    shuffled = generator.permutation(rows)
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Every k-th of the rows sorted by class: exact in number, and each class within one of its share.
    drawn = np.zeros(len(rows), dtype=bool)
    if count:
        drawn[np.floor((np.arange(count) + generator.random()) * (len(rows) / count)).astype(np.int64)] = True
    return np.sort(ordered[drawn]), np.sort(ordered[~drawn])


def _check(dataset: Dataset, data: DataRecipe, drawn: Splits) -> None:
    fractions = {
        "validation": data.validation_fraction,
        "calibration": data.calibration_fraction,
        "test": data.test_fraction,
    }
    for name, fraction in fractions.items():
        if fraction > 0 and not len(drawn.rows(name)):  # type: ignore[arg-type]  # the keys are split names
            raise InvalidSource(
                f"{dataset.name}: {len(dataset)} images are too few to keep {fraction:g} of them for {name}. "
                f"Add images, or set data.{name}_fraction=0."
            )
    trained = np.bincount(dataset.labels[drawn.train], minlength=dataset.num_classes)
    labelled = np.bincount(dataset.labels, minlength=dataset.num_classes)
    lost = [
        name for name, rows, total in zip(dataset.class_names, trained, labelled, strict=True) if total and not rows
    ]
    if lost or not len(drawn.train):
        raise InvalidSource(
            f"{dataset.name}: no image of class {lost[0]!r} is left to train on after the splits. "
            "Add images of it, or make data.validation_fraction and data.calibration_fraction smaller."
        )
