"""One network fitted by several processes of a Ray cluster together; what they leave is the checkpoint of a fit's end.

Who asks for it goes on from there as from any fit that another process ended: it bundles and judges alone. So an
interruption or a process that is lost is what it is elsewhere, too: all begin again, from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.bundles.vetting.given_networks import given_to
from sightline.configuration.schema import Recipe
from sightline.data.sources.downloads import load_keras_for
from sightline.data.splitting.splits import splits_csv
from sightline.errors import CannotWrite, NotReached
from sightline.integrations.ray.teams import Line, Place, TeamWork, work_together
from sightline.system.backends import load_keras, usual_keras
from sightline.system.progress import DistantReporter, Mode, Reporter, reporter, reporting, retelling
from sightline.system.stored import read_json, read_plain
from sightline.system.workers import node_name
from sightline.training.loop.checkpoint_files import numbered
from sightline.training.setup.preparation import Prepared, prepare
from sightline.training.setup.processes import begin_on_one_processor
from sightline.training.setup.run_folder import BEGUN, lock_now
from sightline.training.setup.unfinished import CHECKPOINTS, Interval

if TYPE_CHECKING:
    from sightline.training.loop.recording import TellsEpochs

_WRITER = "writer.lock"
# A process that was given up may be at its last checkpoint.
_WAITS_FOR_WRITER_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class SharedFit:
    """All that a process needs to know of the fit; it can be pickled.

    Attributes:
        source: whatever `sightline.load` takes.
        recipe: as it was asked for, "auto" not yet resolved.
        folder: of the run, absolute; all processes see it under this path.
        log_every: print loss and accuracy every so many steps, or None.
        tensorboard: a folder that gets the figures of each epoch for TensorBoard, or None.
        interval: how often a checkpoint is made; None for the usual.
        mode: of the progress that is shown where it was asked for.
        is_tracked: whether a tracker there is to be told of epochs.
    """

    source: Any
    recipe: Recipe
    folder: Path
    log_every: int | None
    tensorboard: Path | None
    interval: Interval | None
    mode: Mode
    is_tracked: bool

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / CHECKPOINTS


def fit_on_processes(shared: SharedFit, on: str, *, count: int, tracker: TellsEpochs | None) -> None:
    """Have so many processes fit a network together, from its last checkpoint or from the beginning, to its end.

    The end is the last checkpoint then. Behind Ctrl-C, a KeyboardInterrupt, what can be gone on from is kept; so is it
    where a process is lost too often or lacks what it needs (NotReached), or has other weights than the others
    (ProcessesDiffer). What the fit raises is raised here.
    """
    with retelling() as retell:

        def hear(told: tuple[Any, ...]) -> None:
            if told[0] == "epoch" and tracker is not None:
                tracker.log_epoch(told[1])
            else:
                retell(told)

        team = TeamWork(
            count=count,
            start=begin_on_one_processor,
            prepare=_make_ready,
            work=_take_part,
            kept=lambda: [place.name for place in numbered(shared.checkpoints)],
            hear=hear,
        )
        kept = work_together(on, team, shared)
    if not all(kept):
        raise CannotWrite(f"{shared.checkpoints}: what was learned could not be kept there. Look at the disk.")


# By the folder of a run: what a process of a cluster has prepared before all of them begin at once.
_prepared: dict[Path, Prepared] = {}


def _make_ready(shared: SharedFit) -> None:
    load_keras("jax")
    with reporting("quiet"):
        load_keras_for(shared.source, "jax")
        data = prepare(shared.source, shared.recipe, network=given_to(shared.folder, shared.recipe.model))
    check_same(shared, data)
    _prepared[shared.folder] = data


def check_same(shared: SharedFit, data: Prepared) -> None:
    """Refuse to learn where the folder of the run is not seen, or was begun with other images or another recipe."""
    try:
        recipe, splits = read_json(shared.folder / BEGUN[0]), read_plain(shared.folder / BEGUN[1]).decode("utf-8")
    except (OSError, ValueError) as error:
        raise NotReached(
            f"{node_name()} does not see the folder of the run, {shared.folder}. Name a place for it that all machines "
            "share (--out)."
        ) from error
    if recipe != data.recipe.to_dict() or splits != splits_csv(data.dataset, data.splits):
        raise NotReached(
            f"{node_name()} has other images than the machine that asks, or settles the recipe otherwise. The source "
            "has to lie under the same path everywhere, and the packages have to be the same."
        )


def _take_part(shared: SharedFit, place: Place, line: Line) -> bool:
    """Fit together with the others; False where the end is not kept, since the disk is full or all were to stop."""
    from sightline.training.fit_network import fit_network
    from sightline.training.loop.checkpoints import Checkpoints
    from sightline.training.loop.network import new_network
    from sightline.training.loop.ranks import AskedToStop, fitting_together
    from sightline.training.loop.recording import FitOutputs

    data, leads = _prepared.pop(shared.folder), place.number == 0
    tell = DistantReporter(shared.mode, line.tell) if leads else Reporter("quiet")
    with reporting(tell), _only_writer(shared, leads=leads), usual_keras(), fitting_together(place, line) as ranks:
        # Read when all are here, behind whoever wrote before.
        checkpoints = Checkpoints(shared.checkpoints, shared.interval, keeps_end=True)
        if checkpoints.found is not None and checkpoints.found.is_finished:
            return True  # one was lost behind the end
        outputs = FitOutputs(
            history_path=shared.folder / "history.jsonl" if leads else None,
            log_every=shared.log_every if leads else None,
            curves_path=shared.folder / "curves.png" if leads else None,
            rescue_path=shared.folder / "last-good.keras" if leads else None,
            tensorboard=shared.tensorboard if leads else None,
            tracker=_ToldThere(line.tell) if leads and shared.is_tracked else None,
            checkpoints=checkpoints,
            ranks=ranks,
        )
        if leads and checkpoints.found is None:
            (shared.folder / "history.jsonl").unlink(missing_ok=True)  # of those that ended before they kept anything
            reporter().say(f"{place.count} processes learn together, on {', '.join(sorted(set(place.nodes)))}")
        try:
            fit_network(new_network(data), data, outputs)
        except AskedToStop:
            return False
        return checkpoints.has_end or not leads


@dataclass(frozen=True)
class _ToldThere:
    """What stands for a tracker here."""

    tell: Callable[[tuple[Any, ...]], None]

    def log_epoch(self, row: Mapping[str, float]) -> None:
        self.tell(("epoch", dict(row)))


@contextlib.contextmanager
def _only_writer(shared: SharedFit, *, leads: bool) -> Iterator[None]:
    """While it is open, nobody else writes checkpoints of this run; a process that was given up may be at one still."""
    if not leads:
        yield
        return
    with (shared.checkpoints / _WRITER).open("a", encoding="utf-8") as stream:
        deadline = time.monotonic() + _WAITS_FOR_WRITER_SECONDS
        while True:
            try:
                lock_now(stream)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise NotReached(
                        f"another process still writes to {shared.checkpoints}. Wait until it has ended, and go on."
                    ) from None
                time.sleep(0.2)
        yield
