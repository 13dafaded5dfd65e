"""`runs`: the runs of a folder, what state each is in, and what came of it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sightline.bundles.bundle import MANIFEST
from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import REQUEST, unfinished_search_of
from sightline.metrics.figures import figure_in
from sightline.system.files import is_held
from sightline.system.stored import read_json
from sightline.system.text import as_argument

USUAL_FOLDER = "runs"
# In a folder of its own within the run: members of an ensemble, or checkpoints. Whoever is at the run holds it.
_LOCKS = "*/lock"
_BARELY_BEGUN = "it ended before it wrote anything; delete its folder"
_NOTHING: dict[str, Any] = dict.fromkeys(
    ("recipe", "network", "split", "num_images", "accuracy", "accuracy_interval", "seconds")
)


def runs(folder: str | Path = USUAL_FOLDER) -> list[dict[str, Any]]:
    """The runs that lie in a folder, the last changed first; a folder that is no run is a row that says why.

    Args:
        folder: whose folders are looked at, or one run.

    Returns:
        One mapping a run: `run`; `state`: "running", "interrupted" (`sightline.resume` goes on with it),
        "failed" (there is nothing to go on from), "finished", or "unknown"; `reason`, where there is something to say
        of it; `recipe`, `network`; `accuracy` with `accuracy_interval`, `num_images` and the `split` they are of, test
        where it was measured; `seconds`, `num_bytes`, and `changed` (UTC).

    Raises:
        InvalidValue: there is no such folder.

    Example:
        >>> import sightline
        >>> [(run["state"], run["network"]) for run in sightline.runs("runs/mnist-fast-001")]
        [('finished', 'lenet5')]
    """
    place = Path(folder)
    if not place.is_dir():
        if str(folder) == USUAL_FOLDER and not place.exists():
            return []
        raise InvalidValue(f"{place}: no such folder. Name one that holds runs, for instance {USUAL_FOLDER}.")
    try:
        found = [place] if (place / "recipe.json").exists() else sorted(_folders_in(place))
    except OSError as error:
        raise InvalidValue(f"{place}: cannot be read ({error.strerror}). Name a folder that you may read.") from error
    return sorted(map(_row, found), key=lambda row: row["changed"], reverse=True)


def _folders_in(place: Path) -> Iterator[Path]:
    # What is being written beside its place begins with a dot.
    return (path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _row(place: Path) -> dict[str, Any]:
    """What is known of one folder; whatever is wrong with it is told in its row."""
    row = {"run": str(place), "state": "unknown", "reason": "", **_NOTHING, **_size_and_time(place)}
    try:
        if (place / "recipe.json").stat().st_size == 0 and not (place / "splits.csv").exists():
            # Whoever makes a run takes its folder by this file, and writes it a moment later.
            is_held_now = any(map(is_held, place.glob(_LOCKS)))
            return row | {"state": "running"} if is_held_now else row | {"state": "failed", "reason": _BARELY_BEGUN}
        recipe = read_json(place / "recipe.json")
        row |= {"recipe": _text(recipe["name"]), "network": _text(recipe["model"]["name"])}
        state, reason = _state(place)
        if state == "finished":
            row |= _figures(read_json(place / "metrics.json"))
        return row | {"state": state, "reason": reason}
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        return row | {"reason": f"not a run: it has no {missing}" if missing == "recipe.json" else f"no {missing}"}
    except OSError as error:
        return row | {"reason": f"{Path(str(error.filename)).name} cannot be read ({error.strerror})"}
    except (ValueError, TypeError, KeyError) as error:
        return row | {"reason": f"a file of it is not what was saved ({error})"}


def _state(place: Path) -> tuple[str, str]:
    locks = list(place.glob(_LOCKS))
    has_bundle = (place / "bundle" / MANIFEST).is_file()
    if any(map(is_held, locks)):
        return "running", ""
    if (place / "metrics.json").exists():
        return ("finished", "") if has_bundle else ("unknown", "its bundle is missing")
    if has_bundle:
        why = "it ended between its bundle, which is whole, and its last figures"
        return ("interrupted", f"{why}; {_how_to_go_on(place)}") if locks else ("failed", why)
    return ("interrupted", _how_to_go_on(place)) if locks else ("failed", "nothing to go on from")


def _how_to_go_on(place: Path) -> str:
    search = unfinished_search_of(place)
    if search is not None:
        return f"a trial of the search {as_argument(search)}, which goes on by the command that began it"
    can_be_asked = next(place.glob(f"*/{REQUEST}"), None) is not None
    return f"to go on: sightline resume {as_argument(place)}" if can_be_asked else "the same call goes on with it"


def _figures(metrics: Any) -> dict[str, Any]:
    """What is told of a finished run; a KeyError, TypeError or ValueError where it is not what was written."""
    split = "test" if metrics["test"] is not None else "validation"
    told = metrics[split]
    figure = None if told is None else figure_in(told, "accuracy")
    numbers = {"seconds": metrics["seconds"]["total"]}
    if figure is not None:
        numbers |= {"accuracy": figure.value, "num_images": told["num_images"]}
    bounds = () if figure is None else figure.interval or ()
    if not all(type(number) in (int, float) for number in (*numbers.values(), *bounds)):
        raise TypeError("metrics.json: a figure is no number")
    interval = list(bounds) or None
    return numbers | {"split": None if figure is None else split, "accuracy_interval": interval}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("recipe.json: a name is no text")
    return value


def _size_and_time(place: Path) -> Mapping[str, Any]:
    """Bytes of all files within, and when the last of them was written; links are not followed."""
    num_bytes, changed = 0, 0.0
    for folder, _, names in os.walk(place):
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))  # noqa: PTH118  # a run may hold thousands
            except OSError:
                continue  # it vanished meanwhile
            num_bytes, changed = num_bytes + status.st_size, max(changed, status.st_mtime)
    try:
        changed = changed or place.lstat().st_mtime
        told = datetime.datetime.fromtimestamp(changed, datetime.UTC).isoformat(timespec="seconds")
    except (OSError, OverflowError, ValueError):
        told = ""
    return {"num_bytes": num_bytes, "changed": told}
