"""Several processes that fit one network together on JAX, each on its share of every batch.

What Keras compiles is one program over all of them: statistics of a batch, what is drawn at random and the mean of the
loss are those of the whole batch, as in one process, but for the order in which numbers are added. Every process has
all weights. Whether they are still the same is not believed but looked at: a training was seen elsewhere in which each
process learned for itself, and none said so.

All processes have to come to each computation in the same order, or they wait for one another for ever. So nothing that
goes by the clock is decided by each for itself: the first one decides, and the others are told (`agreed`).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.errors import NotReached, ProcessesDiffer
from sightline.integrations.ray.teams import Line, Place
from sightline.training.loop.batches import Order
from sightline.training.loop.shares import Share


class AskedToStop(Exception):  # it is no error
    """All stop after this step, which is kept."""


class Ranks:
    """This process among those that fit together, by their numbers its rank.

    Attributes:
        is_first: whether it writes, tells and decides.
        share: its part of a batch.
    """

    def __init__(self, place: Place, line: Line, *, whole: Any = None) -> None:
        """`whole` is how JAX places an array that each has all of."""
        self.place, self.line, self._whole = place, line, whole
        self.is_first, self.share = place.number == 0, Share(place.number, place.count)

    def agreed(self, *numbers: int) -> list[int]:
        """The numbers of the first, each below 2 ** 31, whatever the others say; all wait for it here."""
        from jax.experimental import multihost_utils

        told = multihost_utils.process_allgather(np.array(numbers, np.int32))
        return [int(number) for number in np.asarray(told).reshape(self.place.count, -1)[0]]

    def check_equal(self, arrays: Mapping[str, NDArray[Any]], where: str) -> None:
        """Stop all of them where one has other numbers than the first; a ProcessesDiffer says which, and `where`."""
        from jax.experimental import multihost_utils

        own = np.frombuffer(digest_of(arrays), np.uint8)
        told = np.asarray(multihost_utils.process_allgather(own)).reshape(self.place.count, -1)
        check_digests([each.tobytes() for each in told], self.place.nodes, where)

    def feed_tails(self, model: keras.Model, train: Order, validation: Order | None) -> None:
        """Let a compiled model learn from, and be judged by, a last batch that does not divide.

        Each process computes all of it, so that it is the batch that one process would have.
        """
        # What is compiled says where all variables lie, which have to be there.
        model.optimizer.build(model.trainable_variables)
        model.make_train_function()
        model.train_function = self._cutting(model.train_function, train)
        if validation is not None:
            model.make_test_function()
            model.test_function = self._cutting(model.test_function, validation)

    def _cutting(self, compute: Callable[[Any, Any], Any], order: Order) -> Callable[[Any, Any], Any]:
        import jax

        num_images = len(order.rows) % order.batch_size
        if num_images % self.share.count == 0:
            return compute
        fed = self.share.num_fed(num_images, batch_size=order.batch_size)

        def own(batch: Any) -> Any:
            return jax.tree_util.tree_map(lambda array: array[:num_images], batch)

        cut = jax.jit(own, out_shardings=self._whole)

        def cutting(state: Any, iterator: Any) -> Any:
            batch = next(iterator)
            is_last = jax.tree_util.tree_leaves(batch)[0].shape[0] == fed
            return compute(state, iter((cut(batch) if is_last else batch,)))

        return cutting

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While it is open, what is built is this process's own, for which no other has to be there."""
        distribution = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(distribution)


@contextlib.contextmanager
def fitting_together(place: Place, line: Line) -> Iterator[Ranks]:
    """While it is open, what Keras builds and fits here is built and fitted by all of them together.

    JAX must not have computed anything in this process; and it does not let go of the others before the process ends.
    """
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
    keras.distribution.initialize(place.address, place.count, place.number)
    if jax.process_count() != place.count or jax.device_count() != place.count:
        raise NotReached(
            f"{place.count} processes were to learn together, each on one device, and JAX sees {jax.process_count()} "
            f"with {jax.device_count()} devices. Unset XLA_FLAGS and other settings of JAX on the nodes."
        )
    # Each feeds its own part: Keras is not to divide it once more.
    parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
    everything = jax.sharding.PartitionSpec()  # type: ignore[no-untyped-call]
    whole = jax.sharding.NamedSharding(parallel.device_mesh.backend_mesh, everything)
    with parallel.scope():
        yield Ranks(place, line, whole=whole)


def digest_of(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """SHA-256 of arrays with their names, types and shapes."""
    found = hashlib.sha256()
    for name, array in arrays.items():
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()


def check_digests(digests: Sequence[bytes], nodes: Sequence[str], where: str) -> None:
    """A ProcessesDiffer where one of the processes has another digest than the first.

    Args:
        digests: of each process.
        nodes: on which each is.
        where: in the fit they were made, "after step 5 of epoch 2".
    """
    others = [number for number, digest in enumerate(digests) if digest != digests[0]]
    if others:
        named = ", ".join(f"{number} on {nodes[number]}" for number in others)
        raise ProcessesDiffer(
            f"{where}, not all processes have the weights of the first one, on {nodes[0]}; other ones has process "
            f"{named}. They no longer learn one network, and the training stops. The last checkpoint, on which all "
            "agreed, is kept. Processors of another kind, or other packages, compute other last digits: go on with "
            "nodes that are alike."
        )
