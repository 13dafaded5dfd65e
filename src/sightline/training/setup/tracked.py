"""The tracker that is told of a run: asked before an image is read, and noted beside the checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from sightline.integrations.tracking.addresses import read_address
from sightline.integrations.tracking.telling import about_run
from sightline.integrations.tracking.tracker import NOTE, Tracker
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.unfinished import folder_of_parts, plan_of


def tracker_of(track: str | None, keep: Iterable[str | Path]) -> Tracker | None:
    """What `--track` names, asked whether it can be told of a run; nothing in `keep` is written."""
    if track is None:
        return None
    tracker = Tracker(read_address(track, keep=keep))
    tracker.check()
    return tracker


def tracked(
    tracker: Tracker | None, data: Prepared, folder: Path, backend: str
) -> contextlib.AbstractContextManager[None]:
    """While it is open, a tracker is told of the run in a folder, if one is."""
    if tracker is None:
        return contextlib.nullcontext()
    parts = folder_of_parts(folder, is_ensemble=data.recipe.ensemble.kind != "none")
    about = about_run(folder, data.recipe.to_dict(), source=data.dataset.name, backend=backend, plan=plan_of(data))
    return tracker.following(about, parts / NOTE)
