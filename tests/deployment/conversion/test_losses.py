from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.deployment.conversion.description import ExportedModel, describe
from sightline.deployment.conversion.losses import check_loss
from sightline.deployment.conversion.rows import ComparedRows, halves
from sightline.errors import ExportRefused
from sightline.records import Bundle


def rows_of(labels: np.ndarray, groups: np.ndarray | None = None) -> ComparedRows:
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    ids = [str(number) for number in range(len(labels))]
    return ComparedRows("images", "some images", ids, images, labels=labels, groups=groups)


def judged(bundle: Bundle, *, num_images: int, num_lost: int, gap: float = 6.0, temperature: float = 1.7):
    """An export that takes the next class in the first images, where the bundle is always right."""
    labels = np.arange(num_images) % 3
    expected = np.eye(3, dtype=np.float32)[labels] * np.float32(gap)
    found = expected.copy()
    found[:num_lost] = np.roll(found[:num_lost], 1, axis=1)
    told = describe(bundle)
    told["calibration"]["temperature"] = temperature
    model = ExportedModel(told, lambda images: found)
    return check_loss(bundle, model, rows_of(labels), expected, found, name="it")


@pytest.fixture
def bundle(make_bundle) -> Bundle:
    return sightline.reopen(make_bundle())


def test_no_lost_answer_in_a_thousand_is_kept_with_the_bound_of_what_could_hide(bundle: Bundle) -> None:
    told = judged(bundle, num_images=1000, num_lost=0)
    assert told["could_hide"] == "at most 0.27 points of accuracy are lost (95 % sure)"
    assert told["confident_agreement"] == 1


def test_answers_that_are_lost_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ExportRefused, match=r"it loses answers \(export is worse than bundle by 2.0 points"):
        judged(bundle, num_images=400, num_lost=8, gap=1)
    with pytest.raises(ExportRefused, match=r"it may lose 1\.0\d points of accuracy, and 1 are allowed"):
        judged(bundle, num_images=1000, num_lost=5, gap=1)


def test_where_images_are_too_few_it_is_said_how_much_could_hide(bundle: Bundle) -> None:
    told = judged(bundle, num_images=81, num_lost=1, gap=1)
    assert told["could_hide"].startswith("81 images are too few to tell: up to 5.35 points of accuracy may be lost")


def test_answers_of_which_the_bundle_was_sure_have_to_stay(bundle: Bundle) -> None:
    with pytest.raises(ExportRefused, match=r"of which the bundle is at least 90% sure, it gives 98\.0%, and 99% are"):
        judged(bundle, num_images=200, num_lost=4)


def test_confidences_have_to_come_true_as_before(bundle: Bundle) -> None:
    with pytest.raises(ExportRefused, match="its confidences are off by"):
        judged(bundle, num_images=300, num_lost=0, temperature=9.0)


def test_halves_hold_every_class_and_tear_no_group(bundle: Bundle) -> None:
    labels = np.repeat(np.arange(3), 8)
    groups = np.repeat(np.arange(12), 2).astype(str)
    first, second = halves(rows_of(labels, groups))
    assert len(first.row_ids) == len(second.row_ids) == 12
    assert not set(first.row_ids) & set(second.row_ids)
    assert not set(first.groups.tolist()) & set(second.groups.tolist())
    assert set(first.labels.tolist()) == set(second.labels.tolist()) == {0, 1, 2}
    assert first.words == "12 of some images"


def test_a_kept_folder_of_images_is_sliced_alike(run: Path) -> None:
    from sightline.deployment.conversion.rows import rows_to_compare

    rows = rows_to_compare(sightline.reopen(run / "bundle"), None)
    first, second = halves(rows)
    assert first.images[:].shape[1:] == rows.images[:].shape[1:]
    assert len(first.images) + len(second.images) == len(rows.images)
