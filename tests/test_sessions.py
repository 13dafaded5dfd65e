"""A network at work on many images: in portions, on all processors, in order."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sightline import sessions as module, workers
from sightline.bundle import load_bundle
from sightline.sessions import open_session

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def session():
    return open_session(load_bundle("imagenet"))


@pytest.fixture(params=[1, 2, 3])
def portions_of_two(request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PORTION_BYTES", 2 * IMAGES[0].nbytes)
    monkeypatch.setattr(workers.os, "cpu_count", lambda: request.param)


@pytest.mark.usefixtures("portions_of_two")
def test_portions_come_in_order_and_hold_what_the_whole_gives(session) -> None:
    starts, parts = zip(*session.portions(IMAGES, ["logits", "features"]), strict=True)
    assert starts == (0, 2, 4, 6)
    for place, whole in enumerate(session.outputs(IMAGES, ["logits", "features"])):
        assert np.allclose(np.concatenate([part[place] for part in parts]), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("portions_of_two")
def test_images_can_be_changed_on_their_way(session) -> None:
    changed = session.portions(IMAGES, ["logits"], change=lambda first, part: np.roll(part, first, axis=1))
    for first, (logits,) in changed:
        (expected,) = session.outputs(np.roll(IMAGES[first : first + 2], first, axis=1), ["logits"])
        assert np.allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("portions_of_two")
def test_an_error_in_a_portion_reaches_the_caller(session) -> None:
    def fail_late(first, part):
        if first == 4:
            raise ZeroDivisionError
        return part

    with pytest.raises(ZeroDivisionError):
        list(session.portions(IMAGES, ["logits"], change=fail_late))


@pytest.mark.usefixtures("portions_of_two")
def test_who_stops_early_leaves_no_thread_behind(session) -> None:
    before = threading.active_count()
    portions = session.portions(np.concatenate([IMAGES] * 4), ["logits"])
    next(portions)
    portions.close()
    assert threading.active_count() == before


def test_no_images_give_no_rows(session) -> None:
    assert session.logits(IMAGES[:0]).shape == (0, 1000)
    assert list(session.portions(IMAGES[:0], ["logits"])) == []
