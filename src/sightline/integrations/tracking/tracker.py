"""What a training tells its tracker, and what it does where that cannot be told: it says so once, and goes on."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sightline.integrations.tracking.addresses import MLFLOW, TrackAddress, without_credentials
from sightline.integrations.tracking.mlflow_store import MlflowStore, first_line
from sightline.integrations.tracking.telling import (
    About,
    Store,
    figures_of_epoch,
    figures_of_test,
    labels_of_test,
    small_files,
)
from sightline.integrations.tracking.wandb_project import WandbProject
from sightline.records import Run
from sightline.system.files import write_json
from sightline.system.progress import reporter
from sightline.system.stored import read_json
from sightline.system.text import printable

# Beside the checkpoints: which tracked run an unfinished one goes on with.
NOTE = "tracking.json"
_IDENTITY = re.compile(r"[0-9a-zA-Z_-]{4,64}")


class Tracker:
    """Tells a tracker of one run. Only `check` raises: once there is a run, nothing that fails here ends it."""

    def __init__(self, address: TrackAddress) -> None:
        """Nothing is opened, and nothing imported, yet."""
        self.address = address
        self._store: Store = MlflowStore(address) if address.tracker == MLFLOW else WandbProject(address)
        self._is_begun = self._is_broken = False
        self._logged: set[int] = set()

    def check(self) -> None:
        """Refuse what cannot be tracked to, before an image is read; MissingPackage, InvalidValue or CannotWrite."""
        with _without_warnings():
            self._store.check()

    @contextlib.contextmanager
    def following(self, about: About, note: Path) -> Iterator[None]:
        """While it is open, epochs may be logged; `note`, a file of the run, says which tracked run it goes on with."""
        self._try(lambda: self._begin(about, note))
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            if self._is_begun:
                self._try(lambda: self._store.end(status), again=True)

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Log a line of the history, unless it is there."""
        self._try(lambda: self._log(row))

    def finish(self, run: Run) -> None:
        """Log what is known at the end, and what could not be logged before: a tracker may have come back."""
        was_broken = self._is_broken

        def tell() -> None:
            for row in run.history:
                self._log(row)
            self._store.finish(figures_of_test(run.evaluation), labels_of_test(run), small_files(run.path))

        if self._is_begun and self._try(tell, again=True) and was_broken:
            reporter().say(f"note: {self._named} could be reached again, and has all of it")

    @property
    def _named(self) -> str:
        return printable(without_credentials(str(self.address)))

    def _begin(self, about: About, note: Path) -> None:
        identity = self._store.begin(_noted(note, self.address), about)
        write_json(note, {"track": str(self.address), "identity": identity})
        self._is_begun, self._logged = True, self._store.logged_epochs()
        reporter().say(f"tracked by {self._named}, there run {identity}")

    def _log(self, row: Mapping[str, float]) -> None:
        epoch = int(row["epoch"])
        if epoch not in self._logged:
            self._store.log(figures_of_epoch(row), epoch=epoch)
            self._logged.add(epoch)

    def _try(self, tell: Callable[[], None], *, again: bool = False) -> bool:
        """Tell; where it fails, say so once. Asked for `again`, what failed before is tried all the same."""
        if self._is_broken and not again:
            return False
        try:
            with _without_warnings():
                tell()
        except Exception as error:  # noqa: BLE001  # a training of hours is worth more than its record elsewhere
            if not self._is_broken:
                reason = printable(without_credentials(first_line(error)))
                reporter().say(f"note: {self._named} could not be told of this run ({reason}); the run goes on")
            self._is_broken = True
            return False
        self._is_broken = False
        return True


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """What libraries of others say of one another is nothing that our user can put right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _noted(note: Path, address: TrackAddress) -> str | None:
    """The tracked run that a file notes for this address; None where there is none, or none that could be."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = read_json(note)
        if kept["track"] == str(address) and _IDENTITY.fullmatch(kept["identity"]):
            return str(kept["identity"])
    return None
