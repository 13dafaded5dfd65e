from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import OutOfResources
from sightline.training.loop.network import enough_memory


def of_tensorflow() -> None:
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.zeros((2**24, 2**24))


def of_jax() -> None:
    jax = pytest.importorskip("jax")
    jax.numpy.zeros((2**24, 2**24)).block_until_ready()


def of_numpy() -> None:
    np.zeros((2**24, 2**24))


@pytest.mark.parametrize("ask_for_a_petabyte", [of_tensorflow, of_jax, of_numpy])
def test_where_the_memory_does_not_suffice_a_batch_size_to_try_is_told(ask_for_a_petabyte) -> None:
    words = r"batches of 128 images\. Try --set training\.batch_size=64"
    with pytest.raises(OutOfResources, match=words), enough_memory(128):
        ask_for_a_petabyte()


def test_what_has_nothing_to_do_with_memory_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), enough_memory(1):
        1 / 0  # noqa: B018  # raising is what it is for
    with pytest.raises(OutOfResources, match=r"batches of 1 images\. Try --set data\.image_size"), enough_memory(1):
        raise MemoryError
