"""What an ensemble needs, looked at before its first member is trained."""

from __future__ import annotations

from sightline.configuration.names import SOUPS
from sightline.errors import InvalidValue
from sightline.system.workers import free_bytes
from sightline.training.ensembles.graph import check_joined
from sightline.training.ensembles.member_recipes import check_differ, member_data
from sightline.training.loop.network import new_network
from sightline.training.setup.preparation import Prepared

# Of a process that trains one member beside others, without its images.
PROCESS_BYTES = 2**30


def num_weights(data: Prepared) -> int:
    """The weights of all members together.

    Args:
        data: its recipe names the networks.

    Returns:
        Their number; each network is built once.

    Raises:
        InvalidValue, MissingPackage, UnknownName: a network that cannot be built here, such as one whose pretrained
            weights are not to be had.

    Example:
        >>> import inspect
        >>> list(inspect.signature(num_weights).parameters)
        ['data']
    """
    sizes: dict[str, int] = {}
    total = 0
    for number in range(1, data.recipe.ensemble.members + 1):
        own = member_data(data, number, None)
        name = own.recipe.model.name
        if name not in sizes:
            sizes[name] = int(new_network(own).count_params())
        total += sizes[name]
    return total


def check_possible(data: Prepared, *, jobs: int) -> None:
    """Refuse a soup that nothing can judge, equal members, and more than memory allows, before any is trained.

    Args:
        data: its recipe says how many members there will be.
        jobs: how many are trained at once.

    Raises:
        InvalidValue: there are no validation rows, members would be the same, or need more memory than is free.
        MissingPackage, UnknownName: as `num_weights`.

    Example:
        >>> import inspect
        >>> list(inspect.signature(check_possible).parameters)
        ['data', 'jobs']
    """
    if data.recipe.ensemble.kind in SOUPS and not len(data.splits.validation):
        raise InvalidValue(
            f"ensemble.kind={data.recipe.ensemble.kind} judges weights on validation rows, and '{data.dataset.name}' "
            "has none. Set data.validation_fraction higher, or take ensemble.kind=deep."
        )
    check_differ(data)
    total, free = num_weights(data), free_bytes()
    if free is None:
        return
    check_joined(total, free, said=f"ensemble.members={data.recipe.ensemble.members} networks of {total:,} weights")
    gib = 2**30
    apart = jobs * (PROCESS_BYTES + data.pixels.nbytes)
    if jobs > 1 and apart > free:
        raise InvalidValue(
            f"--jobs {jobs} processes need about {apart / gib:.1f} GiB of memory, and {free / gib:.1f} GiB are free. "
            "Train fewer members at once."
        )
