from __future__ import annotations

import numpy as np
import pytest

import sightline
from sightline.bundles.sessions import session_of
from sightline.deployment.conversion.choosing import TriedSettings, try_settings
from sightline.deployment.conversion.rows import ComparedRows
from sightline.errors import ExportRefused


def test_of_settings_that_are_as_near_as_any_the_cheapest_is_kept() -> None:
    near = np.random.default_rng(0).exponential(0.005, 400)
    for distances, kept in (
        ({"a": 4 * near, "b": near + 1e-5, "c": near, "d": 0.99 * near}, "b"),
        ({"a": 4 * near, "b": 3 * near, "c": 2 * near, "d": near}, "d"),
        ({"a": near + 0.0009, "b": near}, "a"),  # on 400 images that can be seen, and matters to nobody
        ({"a": near + 0.0011, "b": near}, "b"),
    ):
        assert TriedSettings(400, distances, dict.fromkeys(distances, 1.0)).kept == kept


@pytest.fixture
def rows(many_photos) -> ComparedRows:
    images, labels = many_photos
    return ComparedRows("images", "300 images", [str(row) for row in range(300)], images, labels=labels)


def test_a_setting_is_as_far_away_as_its_probabilities_are_at_a_temperature_of_its_own(
    make_bundle, rows: ComparedRows
) -> None:
    bundle = sightline.reopen(make_bundle())
    session = session_of(bundle)
    tried = try_settings(
        bundle,
        rows,
        [
            ("twice as sure", lambda images: 2 * session.logits(images)),
            ("as it is", session.logits),
            ("no number", lambda images: session.logits(images) * np.float32(np.nan)),
            ("turned", lambda images: session.logits(images)[:, ::-1]),
        ],
        of=4,
    )
    told = tried.told()
    assert list(told["distances"]) == ["twice as sure", "as it is", "turned"]
    assert told["distances"]["twice as sure"] == pytest.approx(told["distances"]["as it is"], rel=0.05)
    doubled = 2 * session.logits(rows.images)
    assert tried.temperatures["twice as sure"] == bundle.task.fit_temperature(doubled, rows.known_labels)
    assert told["distances"]["turned"] > 0.3
    assert (told["kept"], told["num_choosing_images"]) == ("twice as sure", 300)


def test_where_no_setting_gives_a_number_it_is_refused(make_bundle, rows: ComparedRows) -> None:
    bundle = sightline.reopen(make_bundle())
    nothing = ("none", lambda images: np.full((len(images), 3), np.nan, np.float32))
    with pytest.raises(ExportRefused, match=r"no setting of whole numbers gives an answer\. Keep"):
        try_settings(bundle, rows, [nothing], of=1)
