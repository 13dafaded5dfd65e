"""Processes that learn together have the same weights, or the training stops and says which has others, and where."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import ProcessesDiffer
from sightline.system.backends import load_keras

load_keras()

from sightline.training.loop.ranks import check_digests, digest_of  # noqa: E402  # the backend is chosen first

WEIGHTS = {"model-00000": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer-00000": np.array(3)}
NODES = ("10.0.0.1 (node aaaaaaaa)", "10.0.0.2 (node bbbbbbbb)", "10.0.0.3 (node cccccccc)")


def test_equal_weights_pass() -> None:
    copy = {name: array.copy() for name, array in WEIGHTS.items()}
    check_digests([digest_of(WEIGHTS), digest_of(copy), digest_of(copy)], NODES, "At the end")


def test_a_single_bit_in_one_process_stops_all_with_its_name() -> None:
    other = {name: array.copy() for name, array in WEIGHTS.items()}
    other["model-00000"][1, 2] = np.nextafter(np.float32(5), np.float32(6))
    digests = [digest_of(WEIGHTS), digest_of(WEIGHTS), digest_of(other)]
    with pytest.raises(ProcessesDiffer) as caught:
        check_digests(digests, NODES, "After step 7 of epoch 2")
    told = str(caught.value)
    assert told.startswith("After step 7 of epoch 2, not all processes have the weights of the first one, on 10.0.0.1")
    assert "process 2 on 10.0.0.3 (node cccccccc)." in told
    assert "10.0.0.2" not in told
    assert "The last checkpoint, on which all agreed, is kept." in told


@pytest.mark.parametrize(
    "other",
    [
        {"model-00000": WEIGHTS["model-00000"].T.reshape(2, 3), "optimizer-00000": np.array(3)},
        {"model-00000": WEIGHTS["model-00000"].reshape(3, 2), "optimizer-00000": np.array(3)},
        {"model-00000": WEIGHTS["model-00000"].astype(np.float64), "optimizer-00000": np.array(3)},
        {"model-00000": -WEIGHTS["model-00000"] * 0 + WEIGHTS["model-00000"] * -1, "optimizer-00000": np.array(3)},
        {"model-00000": WEIGHTS["model-00000"], "optimizer-00000": np.array(4)},
        {"model-00000": WEIGHTS["model-00000"]},
        {"model-00001": WEIGHTS["model-00000"], "optimizer-00000": np.array(3)},
    ],
)
def test_order_shape_type_value_number_and_name_all_count(other: dict[str, np.ndarray]) -> None:
    assert digest_of(other) != digest_of(WEIGHTS)
