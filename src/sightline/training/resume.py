"""`resume`: an unfinished run is asked for again, as it was, and goes on from what is kept of it."""

from __future__ import annotations

from pathlib import Path

from sightline.bundles.vetting.given_networks import given_to
from sightline.configuration.recipes import parse_recipe
from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import reopen
from sightline.integrations.tracking.addresses import NONE, read_address, without_credentials
from sightline.records import Run
from sightline.system.paths import absolute_path
from sightline.system.progress import Mode
from sightline.system.text import printable
from sightline.training.distil import distil
from sightline.training.extend import extend
from sightline.training.setup.unfinished import (
    FINISHED,
    check_is_no_trial,
    how_to_go_on,
    read_request,
    remove_checkpoints,
)
from sightline.training.train import train


def resume(
    run: str | Path,
    *,
    tensorboard: str | Path | None = None,
    track: str | None = None,
    force: bool = False,
    mode: Mode | None = None,
) -> Run:
    """Go on with a run of `train`, `distil` or `extend` that was interrupted or killed, as it was asked for.

    A network goes on from its last checkpoint, in the middle of an epoch if need be, an ensemble with the member that
    was learning. On TensorFlow and the same processors the weights are those of a run that never stopped, byte for
    byte. A run that is finished is opened and handed back.

    Args:
        run: folder of the run.
        tensorboard: where the run logs its epochs for TensorBoard, if it does. It is named again, since it lies outside
            of the folder, which may come from somebody else.
        track: where the run is tracked, if it is, named again for the same reason; the same tracked run is gone on
            with. "none" goes on without, where a tracker is gone for good.
        force: go on, too, where another version of Sightline, Keras, its backend or NumPy began; the weights are then
            those of neither.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.

    Returns:
        The Run, as `train` gives it.

    Raises:
        InvalidValue: there is no unfinished run, it is a trial of an unfinished search, or it was begun with images in
            memory, by which it has to be called again; or `tensorboard` or `track` is not what the run logs to, told
            what is.
        OutputExists: images, recipe or versions changed since, told which; or another process is at it.
        InvalidSource: the data cannot be used any more.
        TrainingFailed: as `train`.
        CannotWrite: the disk is full or read-only.

    Example:
        >>> import sightline
        >>> sightline.resume("runs/mnist-fast-001")
        Run 'runs/mnist-fast-001': test accuracy 0... [0..., 0...] on ... images, ... epochs on ...
    """
    folder = Path(run)
    if (folder / FINISHED).exists():
        finished = reopen(folder)
        if isinstance(finished, Run):
            remove_checkpoints(folder)  # of one that was killed behind its last figure
            return finished
    check_is_no_trial(folder)
    source, asked = read_request(folder)
    recipe, options = parse_recipe(asked.recipe), dict(asked.options)
    _check_logs(folder, None if tensorboard is None else Path(tensorboard), options.get("tensorboard"))
    if asked.verb == "train":
        options["track"] = _track(folder, track, options.get("track"))
    elif track is not None:
        raise InvalidValue(f"track {printable(without_credentials(track))}: this run is not tracked. Leave it out.")
    if asked.verb == "distil":
        return distil(options.pop("bundle"), source, recipe=recipe, out=folder, force=force, mode=mode, **options)
    if asked.verb == "extend":
        return extend(options.pop("run"), source=source, out=folder, force=force, mode=mode, **options)
    if options.get("processes", 1) > 1:
        # Those of RAY_ADDRESS, or of this machine: a folder that came from somebody else is not to name others.
        options["on"] = "ray"
    model = given_to(folder, recipe.model)
    return train(source, model=model, recipe=recipe, out=folder, resume=True, force=force, mode=mode, **options)


def _check_logs(folder: Path, named: Path | None, kept: str | None) -> None:
    """Refuse to write for TensorBoard where the request alone says so, or elsewhere than it says."""
    if named is None and kept is not None:
        raise InvalidValue(
            f"{folder}: this run logs for TensorBoard into {kept}, which lies outside of it. If that folder is yours, "
            f"name it to go on: {how_to_go_on(folder)}"
        )
    if named is not None and (kept is None or absolute_path(named) != absolute_path(kept)):
        into = "does not log for TensorBoard" if kept is None else f"logs for TensorBoard into {kept}"
        raise InvalidValue(f"tensorboard {named}: this run {into}. To go on: {how_to_go_on(folder)}")


def _track(folder: Path, named: str | None, kept: str | None) -> str | None:
    """Where to track to; refused where the request alone says so, or says another place."""
    if named == NONE:
        return None
    if named is None and kept is not None:
        raise InvalidValue(
            f"{folder}: this run is tracked by {printable(without_credentials(kept))}, which is outside of it. If that "
            f"is yours, name it to go on: {how_to_go_on(folder)}; or go on without: --track {NONE}"
        )
    if named is not None and (found := str(read_address(named))) != kept:
        where = "is not tracked" if kept is None else f"is tracked by {printable(without_credentials(kept))}"
        raise InvalidValue(f"track {found}: this run {where}. To go on: {how_to_go_on(folder)}")
    return named
