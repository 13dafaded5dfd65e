"""MLflow: a database in a folder, or a server; its own client writes, and its telemetry stays off."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sightline.errors import CannotWrite, InvalidValue, SightlineError, require
from sightline.integrations.tracking.addresses import TrackAddress
from sightline.integrations.tracking.telling import FINGERPRINT, TRAIN_LOSS, About
from sightline.system.files import writing_to
from sightline.system.text import printable

DATABASE, ARTIFACTS = "mlflow.db", "artifacts"
EXPERIMENT = "sightline"
# MLflow's own: so many of each in one call, and so many letters of a parameter.
_MOST_PARAMETERS, _LONGEST = 100, 6000
# Read when MLflow is imported: it sends events of its use otherwise. It compares the second with "true" alone.
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
# A server that is gone would be waited for by the minute, and the training with it.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MlflowStore:
    """One tracked run in a store of MLflow."""

    def __init__(self, address: TrackAddress) -> None:
        """Nothing is opened yet."""
        self.address = address
        self._client: Any = None
        self._run = ""

    def check(self) -> None:
        """Refuse what cannot be tracked to: packages that are missing, a store of files, a server that is not there."""
        try:
            self._imported()
            with _quietly():
                self._opened().get_experiment_by_name(_experiment())
        except SightlineError:
            raise
        except Exception as error:
            what = "MLflow does not answer there" if self.address.is_server else "no store of MLflow can be kept there"
            raise CannotWrite(
                f"--track {self.address}: {what} ({printable(first_line(error))}). Name another place, or leave "
                "--track out."
            ) from error

    def begin(self, identity: str | None, about: About) -> str:
        """Go on with a tracked run of the same images, or begin one; its identity."""
        self._imported()
        with _quietly():
            client = self._opened()
            if identity is None or not self._is_ours(client, identity, about):
                identity = self._created(client, about)
            self._run = identity
            client.update_run(identity, status="RUNNING")
        return identity

    def logged_epochs(self) -> set[int]:
        """The epochs that are there already."""
        return {int(metric.step) for metric in self._opened().get_metric_history(self._run, TRAIN_LOSS)}

    def log(self, figures: Mapping[str, float], *, epoch: int) -> None:
        """Log figures of an epoch."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, epoch) for name, value in figures.items()]
        self._opened().log_batch(self._run, metrics=metrics)

    def finish(self, figures: Mapping[str, float], labels: Mapping[str, str], files: Iterable[Path]) -> None:
        """Log the last figures and files."""
        client = self._opened()
        self.log(figures, epoch=0)
        for name, value in labels.items():
            client.set_tag(self._run, name, value)
        for path in files:
            client.log_artifact(self._run, str(path))

    def end(self, status: str) -> None:
        """Say how it ended: FINISHED, FAILED or KILLED."""
        self._opened().set_terminated(self._run, status=status)

    def _opened(self) -> Any:
        if self._client is None:
            uri = self._uri()
            self._client = self._imported().MlflowClient(tracking_uri=uri, registry_uri=uri)
        return self._client

    def _imported(self) -> Any:
        for name, value in (_QUIET | _PATIENCE).items():
            os.environ.setdefault(name, value)
        options = {"purpose": f"--track {self.address}", "install": "sightline[mlflow]"}
        if not self.address.is_server:
            require("sqlalchemy", **options)
            require("alembic", **options)
        # What it logs by is set up by its import.
        return require("mlflow", **options)

    def _uri(self) -> str:
        if self.address.is_server:
            return self.address.place
        folder = Path(self.address.place)
        _refuse_files(folder)
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{(folder / DATABASE).as_posix()}"

    def _created(self, client: Any, about: About) -> str:
        from mlflow.entities import Param

        run = client.create_run(self._experiment(client), run_name=about.name, tags=dict(about.labels))
        told = [Param(name, value[:_LONGEST]) for name, value in about.parameters.items()]
        for start in range(0, len(told), _MOST_PARAMETERS):
            client.log_batch(run.info.run_id, params=told[start : start + _MOST_PARAMETERS])
        return str(run.info.run_id)

    def _experiment(self, client: Any) -> str:
        name = _experiment()
        found = client.get_experiment_by_name(name)
        if found is None:
            # A server knows where it keeps files; in a folder they lie beside the database.
            place = None if self.address.is_server else (Path(self.address.place) / ARTIFACTS).as_uri()
            with contextlib.suppress(Exception):  # another training has just made it
                return str(client.create_experiment(name, artifact_location=place))
            found = client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def _is_ours(self, client: Any, identity: str, about: About) -> bool:
        """Whether a run there is the one that is gone on with: of the same images, neither done nor removed."""
        from mlflow.exceptions import MlflowException

        try:
            run = client.get_run(identity)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        is_open = run.info.lifecycle_stage == "active" and run.info.status != "FINISHED"
        return bool(is_open and run.data.tags.get(FINGERPRINT) == about.labels[FINGERPRINT])


def first_line(error: BaseException) -> str:
    """What a library of others says went wrong, in a few words."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def _experiment() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def _refuse_files(folder: Path) -> None:
    if not (folder / DATABASE).exists() and any(folder.glob("*/meta.yaml")):
        raise InvalidValue(
            f"--track mlflow:{folder}: it holds a store of files, to which MLflow itself writes no longer. Name "
            "another folder, or bring it over with MLflow's own command: mlflow migrate-filestore"
        )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the lines in which a database is told to be made."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
