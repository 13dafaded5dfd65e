"""Weights & Biases: a run of a project, online or as its own settings say; nothing of the machine is told."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.errors import CannotWrite, require
from sightline.integrations.tracking.addresses import TrackAddress
from sightline.integrations.tracking.telling import About

# Read when it is imported: it reports its own faults to its makers otherwise.
_QUIET = {"WANDB_ERROR_REPORTING": "false"}
_OFFLINE = ("offline", "dryrun", "disabled")
# Each would tell something that nobody asked for: the host and its user, the command, the code, packages, its load.
_TOLD_NOTHING = {
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "disable_job_creation": True,
    "save_code": False,
    "host": "not told",
    "silent": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}
_INIT_SECONDS = 60


class WandbProject:
    """One tracked run in a project of Weights & Biases."""

    def __init__(self, address: TrackAddress) -> None:
        """Nothing is opened yet."""
        self.address = address
        self._run: Any = None

    def check(self) -> None:
        """Refuse what cannot be tracked to."""
        wandb = self._imported()
        if os.environ.get("WANDB_MODE", "online") not in _OFFLINE and not _is_logged_in(wandb):
            raise CannotWrite(
                f"--track {self.address}: nobody is logged in to Weights & Biases. Run: wandb login; or set "
                "WANDB_MODE=offline, which keeps the run in ./wandb, from where `wandb sync` sends it."
            )

    def begin(self, identity: str | None, about: About) -> str:
        """Go on with a tracked run, or begin one; its identity."""
        wandb = self._imported()
        entity, _, project = self.address.place.rpartition("/")
        identity = identity or secrets.token_hex(8)
        self._run = wandb.init(
            entity=entity or None,
            project=project,
            id=identity,
            resume="allow",
            name=about.name,
            config={**about.parameters, **about.labels},
            settings=wandb.Settings(init_timeout=_INIT_SECONDS, **_known(wandb)),
        )
        self._run.define_metric("*", step_metric="epoch")
        return identity

    def logged_epochs(self) -> set[int]:
        """Of a run that is gone on with, the server knows; what is logged again stands at the same epoch."""
        before = self._run.summary.get("epoch") if self._run.resumed else None
        return set(range(1, int(before) + 1)) if isinstance(before, int | float) else set()

    def log(self, figures: Mapping[str, float], *, epoch: int) -> None:
        """Log figures of an epoch."""
        self._run.log({"epoch": epoch, **figures})

    def finish(self, figures: Mapping[str, float], labels: Mapping[str, str], files: list[Path]) -> None:
        """Log the last figures and files."""
        for name, value in {**figures, **labels}.items():
            self._run.summary[name] = value
        artifact = self._imported().Artifact(f"run-{self._run.id}", type="sightline-run")
        for path in files:
            artifact.add_file(str(path), name=path.name)
        self._run.log_artifact(artifact)

    def end(self, status: str) -> None:
        """Say how it ended: FINISHED, FAILED or KILLED."""
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)

    def _imported(self) -> Any:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        return require("wandb", purpose=f"--track {self.address}", install="sightline[wandb]")


def _known(wandb: Any) -> dict[str, Any]:
    """The settings that this version of wandb has."""
    return {name: value for name, value in _TOLD_NOTHING.items() if name in wandb.Settings.model_fields}


def _is_logged_in(wandb: Any) -> bool:
    """Whether there is a key to send with; nobody is asked for one."""
    try:
        return bool(wandb.login(prompt=False))
    except TypeError:  # before it had that word
        return bool(wandb.api.api_key)
    except Exception:  # noqa: BLE001  # whatever it is: nothing can be sent
        return False
