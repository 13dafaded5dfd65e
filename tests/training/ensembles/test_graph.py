"""Several networks in one graph: what it answers is what NumPy says it should, in Keras and in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.ensembles import ensemble_logits
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.training.ensembles import graph as module  # noqa: E402  # the backend is chosen first
from sightline.training.ensembles.graph import answers_of, ensemble_network  # noqa: E402
from sightline.training.packaging.contract import save_network  # noqa: E402

IMAGES = np.random.default_rng(1).integers(0, 256, (9, 5, 6, 1), dtype=np.uint8)


def _member(seed: int, *, shape: tuple[int, int, int] = (5, 6, 1), num_classes: int = 3):
    keras.utils.set_random_seed(seed)
    pixels = keras.Input(shape, dtype="uint8", name="images")
    scaled = keras.layers.Rescaling(1 / 64)(pixels)
    features = keras.layers.Flatten(name="features")(keras.layers.Conv2D(2 + seed, 3, activation="relu")(scaled))
    return keras.Model(pixels, {"features": features, "logits": keras.layers.Dense(num_classes)(features)})


def _moved_slowly(image: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width = image.shape[:2]
    moved = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            from_row, from_column = row - down, column - right
            # Beyond the border lies the mirrored neighbour, the border itself not repeated.
            from_row = abs(from_row) if from_row < height else 2 * height - 2 - from_row
            from_column = abs(from_column) if from_column < width else 2 * width - 2 - from_column
            moved[row, column] = image[from_row, from_column]
    return moved


def _views_slowly(name: str) -> list[np.ndarray]:
    views = [IMAGES]
    if name == "mirror":
        views.append(np.stack([image[:, ::-1] for image in IMAGES]))
    if name == "shifts":
        views += [
            np.stack([_moved_slowly(image, *by) for image in IMAGES]) for by in ((1, 0), (-1, 0), (0, 1), (0, -1))
        ]
    return views


def _answers_slowly(members, views: list[np.ndarray]) -> np.ndarray:
    """(num_images, num_members, num_classes): each member's mean over the views."""
    answers = []
    for member in members:
        seen = np.stack([np.asarray(member(view)["logits"]) for view in views], axis=1)
        answers.append(seen[:, 0] if len(views) == 1 else ensemble_logits(seen, np.ones(len(views))))
    return np.stack(answers, axis=1)


def _disagreement_slowly(answers: np.ndarray, logits: np.ndarray, votes: list[float]) -> np.ndarray:
    """The share of votes for another class than the ensemble's, image by image."""
    pairs = [(members.argmax(axis=1) != named.argmax()) for members, named in zip(answers, logits, strict=True)]
    return np.array([np.dot(others, votes) / sum(votes) for others in pairs])


def test_the_disagreement_of_one_in_three_and_of_none_by_hand() -> None:
    pixels = keras.Input((1, 2, 1), dtype="uint8", name="images")
    values = keras.ops.cast(keras.ops.reshape(pixels, (-1, 2)), "float32")
    sign = keras.Model(pixels, {"features": values, "logits": values})
    turned = keras.Model(pixels, {"features": values, "logits": -values})
    images = np.array([[[[0], [9]]], [[[4], [4]]]], np.uint8)
    answer = ensemble_network([sign, sign, turned], [1, 1, 1])(images)
    np.testing.assert_allclose(np.asarray(answer["disagreement"]), [1 / 3, 0], atol=1e-6)
    twice = ensemble_network([sign, sign, turned], [1, 2, 1])(images)
    np.testing.assert_allclose(np.asarray(twice["disagreement"]), [1 / 4, 0], atol=1e-6)


@pytest.mark.parametrize("views", ["none", "mirror", pytest.param("shifts", marks=pytest.mark.soak)])
def test_the_graph_answers_as_its_definition_and_so_does_its_onnx_file(views: str, tmp_path: Path) -> None:
    members, votes = [_member(seed) for seed in range(3)], [1.0, 2.0, 0.5]
    network = ensemble_network(members, votes, views=views)
    alone = _answers_slowly(members, _views_slowly(views))
    expected = {
        "member_logits": alone,
        "logits": ensemble_logits(alone, votes),
        "disagreement": _disagreement_slowly(alone, ensemble_logits(alone, votes), votes),
        "features": np.concatenate([np.asarray(member(IMAGES)["features"]) for member in members], axis=1),
    }
    assert expected["disagreement"].max() > 0
    answer = network(IMAGES)
    exported = save_network(network, tmp_path).collect(IMAGES, list(expected))
    assert set(answer) == set(exported) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(np.asarray(answer[name]), values, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(exported[name], values, atol=1e-4, err_msg=name)


def test_a_member_without_a_vote_is_left_out() -> None:
    members = [_member(seed) for seed in range(3)]
    answer, expected = (
        ensemble_network(members, [1, 0, 1])(IMAGES),
        ensemble_network([members[0], members[2]], [1, 1])(IMAGES),
    )
    assert answer["member_logits"].shape == (9, 2, 3)
    np.testing.assert_allclose(np.asarray(answer["logits"]), np.asarray(expected["logits"]))


def test_a_ensemble_of_one_is_that_one() -> None:
    member = _member(0)
    answer = ensemble_network([member], [3])(IMAGES)
    assert set(answer) == {"features", "logits"}
    np.testing.assert_array_equal(np.asarray(answer["logits"]), np.asarray(member(IMAGES)["logits"]))


def test_members_for_other_images_or_classes_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"images of one size .*; got 5x6x1 and 3 classes; 8x6x1 and 3 classes"):
        ensemble_network([_member(0), _member(1, shape=(8, 6, 1))], [1, 1])
    with pytest.raises(InvalidValue, match=r"the same classes; got 5x6x1 and 3 classes; 5x6x1 and 4 classes"):
        ensemble_network([_member(0), _member(1, num_classes=4)], [1, 1])


@pytest.mark.parametrize("votes", [[1], [1, -1], [0, 0], [1, float("nan")]])
def test_votes_that_cannot_be_used_are_refused(votes: list[float]) -> None:
    with pytest.raises(InvalidValue, match=r"weights? "):
        ensemble_network([_member(0), _member(1)], votes)


def test_answers_come_portion_by_portion_and_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    member = _member(0)
    monkeypatch.setattr(module, "PORTION_VALUES", 4 * IMAGES[0].size)
    np.testing.assert_allclose(answers_of(member, IMAGES), np.asarray(member(IMAGES)["logits"]), atol=1e-6)
    assert answers_of(member, IMAGES[:0]).shape == (0, 3)
