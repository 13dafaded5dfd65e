"""A member of an ensemble: what it learns from, its training, and the folder that keeps it."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
import traceback
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.bundles.vetting.given_networks import given_to
from sightline.bundles.vetting.network_files import open_network
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidBundle, InvalidSource, InvalidValue, SightlineError, TrainingFailed
from sightline.metrics.ensembles import bootstrap_counts
from sightline.metrics.history import checked_epochs
from sightline.system.backends import usual_keras
from sightline.system.files import staged_folder, write_arrays, write_json
from sightline.system.progress import reporting
from sightline.system.stored import read_arrays, read_json
from sightline.training.ensembles.graph import answers_of
from sightline.training.ensembles.member_recipes import member_data, starts_from_first
from sightline.training.fit_network import fit_network
from sightline.training.loop.checkpoints import Checkpoints
from sightline.training.loop.fit import Fitted
from sightline.training.loop.network import new_network
from sightline.training.loop.recording import FitOutputs, log_folder
from sightline.training.packaging.contract import contract_of
from sightline.training.setup.preparation import Prepared, prepare
from sightline.training.setup.unfinished import Interval

FINISHED = "member.json"
_DAMAGE = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class Job:
    """All that is needed to train any member anywhere: it can be pickled, and the data is prepared where it is not yet.

    Attributes:
        source: whatever `sightline.load` takes.
        recipe: as it was asked for, "auto" not yet resolved.
        folder: of the run; members go into `members/01` and so on.
        fingerprint: of the data that the run was divided from.
        log_every: print loss and accuracy every so many steps, or None.
        tensorboard: a folder that gets the figures of each epoch for TensorBoard, or None.
        interval: how often a member is kept while it learns; None for the usual.
    """

    source: Any
    recipe: Recipe
    folder: Path
    fingerprint: str
    log_every: int | None = None
    tensorboard: Path | None = None
    interval: Interval | None = None

    def folder_of(self, number: int) -> Path:
        """The folder of a member; it is there when the member is finished."""
        return self.folder / "members" / f"{number:02d}"

    def checkpoints_of(self, number: int) -> Path:
        """The folder of what a member goes on from; it is there while the member is not finished."""
        return self.folder / "members" / f"{number:02d}-checkpoints"


@dataclass(frozen=True)
class Member:
    """A finished member, as its folder keeps it.

    Attributes:
        number: from 1.
        network: name of its model.
        seed: of its start, its order of images and their augmentation.
        history: one mapping an epoch.
        chosen_epoch: 1-based; the epoch whose weights were kept.
        stopped_early: fewer epochs than its recipe allows.
        seconds: of fitting.
        images_per_second: training images, over all epochs.
    """

    number: int
    network: str
    seed: int
    history: tuple[Mapping[str, float], ...]
    chosen_epoch: int
    stopped_early: bool
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Outcome:
    """How the training of a member ended: `error` is None where it is finished; `trace` says where a bug is."""

    number: int
    error: str | None = None
    trace: str = ""


# By the folder of a run: the data of one that was begun in this process, and what it prepared for another process.
_shared: dict[Path, Prepared] = {}
_prepared: dict[Path, Prepared] = {}


@contextlib.contextmanager
def with_data(job: Job, data: Prepared) -> Iterator[None]:
    """While it is open, members that are trained in this process use this data."""
    _shared[job.folder] = data
    try:
        yield
    finally:
        del _shared[job.folder]


def train_member_or_report(job: Job, number: int) -> Outcome:
    """Train a member, and say what went wrong instead of raising it: others are not to be taken along."""
    try:
        # Another process would write between the lines of this one.
        with contextlib.nullcontext() if job.folder in _shared else reporting("quiet"):
            train_member(job, number)
    except SightlineError as error:
        return Outcome(number, str(error))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is reported, and the other members go on
        return Outcome(number, f"{type(error).__name__}: {error}", traceback.format_exc())
    return Outcome(number)


@usual_keras()
def train_member(job: Job, number: int, *, weights: NDArray[np.float64] | None = None) -> None:
    """Train a member and keep it.

    `weights` (num_train,) are what each train row counts, as boosting has it; else the kind of the ensemble decides.
    """
    data = _data(job)
    rows, is_bagging = data.splits.train, data.recipe.ensemble.kind == "bagging"
    if is_bagging:
        groups = None if data.splits.groups is None else data.splits.groups[rows]
        strata = data.dataset.task.strata(data.dataset.labels[rows])
        weights = bootstrap_counts(strata, groups, seed=(data.recipe.seed, number)).astype(float)
    own = member_data(data, number, weights)
    network = _start(job, number, own)
    started, checkpoints = time.perf_counter(), job.checkpoints_of(number)
    with staged_folder(job.folder_of(number)) as staged:
        log = None
        if job.tensorboard is not None:
            name = f"{job.folder.resolve().name}-member-{number:02d}"
            log = log_folder(job.tensorboard, name, checkpoints / "tensorboard.json")
        outputs = FitOutputs(
            history_path=staged / "history.jsonl",
            log_every=job.log_every,
            tensorboard=log,
            checkpoints=Checkpoints(checkpoints, job.interval),
        )
        network, fitted = _fit(network, own, outputs, checkpoints)
        seconds = time.perf_counter() - started
        contract = contract_of(network)
        contract.save(staged / "model.keras")
        if weights is not None:
            _write_train_answers(staged, contract, data, rows[weights == 0] if is_bagging else rows)
        member = Member(
            number,
            own.recipe.model.name,
            own.recipe.seed,
            fitted.history,
            fitted.chosen_epoch,
            fitted.stopped_early,
            seconds,
            fitted.images_per_second,
        )
        write_json(staged / FINISHED, dataclasses.asdict(member))
    shutil.rmtree(checkpoints, ignore_errors=True)


def _fit(network: keras.Model, data: Prepared, outputs: FitOutputs, checkpoints: Path) -> tuple[keras.Model, Fitted]:
    try:
        return fit_network(network, data, outputs)
    except TrainingFailed:
        # What diverged would diverge again.
        shutil.rmtree(checkpoints, ignore_errors=True)
        raise


def read_member(job: Job, number: int) -> Member | None:
    """A finished member, or None where there is none."""
    path = job.folder_of(number) / FINISHED
    if not path.exists():
        return None
    with _whole(path):
        content = read_json(path)
        member = Member(**{**content, "history": tuple(content["history"])})
        checked_epochs(member.history, member.chosen_epoch)
        kinds = {"number": int, "network": str, "seed": int, "stopped_early": bool}
        if any(type(getattr(member, name)) is not kind for name, kind in kinds.items()):
            raise TypeError(f"{FINISHED} is not what was written")
        told = (member.seconds, member.images_per_second, *(value for row in member.history for value in row.values()))
        if any(type(value) not in (int, float) for value in told):
            raise TypeError(f"{FINISHED}: a figure is no number")
        return member


def load_member(job: Job, number: int) -> keras.Model:
    """The network of a finished member: uint8 images to a dictionary of features and logits."""
    path = job.folder_of(number) / "model.keras"
    with _whole(path):
        network: keras.Model = open_network(path)
        data = _data(job)
        made = network.output if isinstance(network.output, dict) else {}
        if network.input_shape != (None, *data.spec.shape) or not {"features", "logits"} <= made.keys():
            raise ValueError("it is no network of this ensemble")
        if tuple(made["logits"].shape) != (None, data.dataset.num_classes):
            raise ValueError("it answers for other classes")
        return network


def train_answers(job: Job, number: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What a member of a bagged or boosted ensemble said of train rows: row indices and logits."""
    path = job.folder_of(number) / "train_answers.npz"
    with _whole(path):
        arrays = read_arrays(path, names=("rows", "logits"))
        rows, logits = arrays["rows"], arrays["logits"]
        dataset = _data(job).dataset
        is_sound = rows.dtype.kind in "iu" and rows.ndim == 1 and logits.shape == (len(rows), dataset.num_classes)
        if not is_sound or not ((rows >= 0) & (rows < len(dataset))).all():
            raise ValueError("its rows and answers are not those of this data")
        return rows, logits


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a file of a finished member is read, the file is damaged."""
    try:
        yield
    except (*_DAMAGE, InvalidBundle) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidValue(
            f"{path}: cannot be read ({reason}). Delete {path.parent}, and it is trained anew."
        ) from error


def _data(job: Job) -> Prepared:
    if job.folder in _shared:
        return _shared[job.folder]
    if job.folder not in _prepared:
        data = prepare(job.source, job.recipe, network=given_to(job.folder, job.recipe.model))
        if data.dataset.fingerprint != job.fingerprint:
            raise InvalidSource(f"{data.dataset.name}: the images changed while members were trained. Train anew.")
        _prepared[job.folder] = data
    return _prepared[job.folder]


def _start(job: Job, number: int, data: Prepared) -> keras.Model:
    network = new_network(data)
    if starts_from_first(job.recipe, number):
        network.set_weights(load_member(job, 1).get_weights())
    return network


def _write_train_answers(folder: Path, network: keras.Model, data: Prepared, rows: NDArray[np.int64]) -> None:
    write_arrays(folder / "train_answers.npz", rows=rows, logits=answers_of(network, data.pixels.take(rows)))
