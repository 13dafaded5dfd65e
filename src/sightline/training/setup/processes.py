"""How many processes a training may have."""

from __future__ import annotations

from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue
from sightline.system.workers import available_processors


def check_jobs(jobs: int, recipe: Recipe) -> None:
    """Refuse a number of processes that cannot be, or that nothing can be spread over."""
    if not (type(jobs) is int and jobs >= 1):
        raise InvalidValue(f"jobs must be a whole number of at least 1; got {jobs!r}.")
    if jobs == 1:
        return
    if recipe.ensemble.kind == "none":
        raise InvalidValue(f"jobs={jobs} trains members of an ensemble at once, and there is none. Set ensemble.kind.")
    if recipe.ensemble.kind == "boosting":
        raise InvalidValue(
            f"jobs={jobs}: members of a boosted ensemble build on one another and are trained in turn. Leave jobs out."
        )
    if jobs > available_processors():
        raise InvalidValue(
            f"jobs={jobs} processes are more than there are processors to use, {available_processors()}. "
            "Set as many or fewer."
        )
