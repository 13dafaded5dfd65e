"""`distil`: one small network learns labels and a finished bundle's answers, and becomes a run like any other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sightline.bundles.bundle import load_bundle
from sightline.configuration.recipes import recipe as named_recipe
from sightline.configuration.schema import Recipe
from sightline.data.sources.downloads import load_keras_for
from sightline.data.sources.loading import holds_files
from sightline.records import Bundle, Run
from sightline.system.backends import choose_backend
from sightline.system.files import check_free
from sightline.system.paths import places_of
from sightline.system.progress import Mode, reporting
from sightline.training.distillation.teacher import open_teacher, source_of_teacher, student_recipe
from sightline.training.setup.run_folder import GoingOn, may_go_on
from sightline.training.setup.unfinished import KeptRequest, read_interval
from sightline.training.train import TrainingRequest, run_training


def distil(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    bundle: str | Path | Bundle | Run,
    source: Any = None,
    *,
    into: str = "lenet5",
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    backend: str | None = None,
    checkpoint_every: str | None = None,
    resume: bool = False,
    force: bool = False,
    mode: Mode | None = None,
) -> Run:
    """Train one network on labels and the answers of a finished bundle, of an ensemble for instance.

    The student is fed what its teacher is fed, knows the teacher's classes, and is divided as its teacher was: what
    the one is tested on, the other does not learn from. Each train image is looked at in several views, and the
    student learns, half and half, the given label and what the teacher answers to the very same view. Accuracy while
    it trains is counted by the given labels. A run that was left unfinished is gone on with, as `train` does it.

    Args:
        bundle: the teacher: a bundle or a run, or its folder.
        source: whatever `sightline.load` takes; left out, the source that the teacher was trained on.
        into: name of the student's network, one that learns from nothing.
        recipe: a name, a JSON file, or a Recipe; left out: "photos" for files, else "fast". Its network is replaced by
            `into`, its loss by the cross-entropy with the teacher's answers.
        out: folder of the run; `runs/<source>-<recipe>-001`, counted up, if left out.
        backend: "tensorflow", "jax" or "torch"; else KERAS_BACKEND, else the first installed.
        checkpoint_every: how often the student is kept while it learns, as `train` takes it.
        resume: go on with an unfinished run, and refuse to begin a new one.
        force: go on, too, where another version of a package began.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.

    Returns:
        The Run; `run.teacher` says who taught it.

    Raises:
        InvalidBundle: the teacher cannot be opened.
        UnknownName: no source, recipe, model or backend is called that.
        InvalidValue: a value out of range, a student that cannot learn from answers or is not fed as its teacher is,
            or a class that the teacher does not know.
        InvalidSource: the data cannot be used.
        OutputExists: `out` is taken.
        MissingPackage: no Keras backend, or no ONNX Runtime is installed.
        TrainingFailed: the loss diverged, the teacher's answers are no numbers, or the exported network disagrees with
            the trained one.
        CannotWrite: the disk is full or read-only.

    Source:
        Hinton, Vinyals, Dean, Distilling the knowledge in a neural network, arXiv 1503.02531; Beyer et al., Knowledge
        distillation: a good teacher is patient and consistent, arXiv 2106.05237.

    Example:
        >>> import sightline
        >>> quick = sightline.recipe("fast", {"training.epochs": 2})
        >>> student = sightline.distil("runs/mnist-fast-001", into="mlp", recipe=quick, out="runs/student")
        >>> student
        Run 'runs/student': test accuracy 0... [0..., 0...] on ... images, 2 epochs on ...
        >>> student.teacher["bundle"], student.teacher["has_same_splits"]
        ('runs/mnist-fast-001/bundle', True)
    """
    teacher = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    backend = choose_backend(backend)
    place = Path(out) if out is not None else None
    going_on, interval = GoingOn(must=resume, force=force), read_interval(checkpoint_every)
    if place is not None and not may_go_on(place, Recipe()):
        going_on.check_begun(place)
        check_free(place, keep=places_of(source_of_teacher(teacher, source)))
    with reporting(mode):
        asked = recipe if isinstance(recipe, Recipe) else student_start(teacher, source, recipe)
        settled = student_recipe(asked, into, teacher)
        # Where Keras fetches the source, it is loaded here, with the backend that was chosen.
        load_keras_for(source_of_teacher(teacher, source), backend)
        opened, settled = open_teacher(teacher, source, settled)
        options = {"into": into, "bundle": str(teacher.path.absolute()), "backend": backend}
        again = KeptRequest("distil", asked.to_dict(), options | {"checkpoint_every": checkpoint_every})
        request = TrainingRequest(opened.dataset, settled.recipe, place, backend, teacher=opened)
        request = replace(request, interval=interval, going_on=going_on, again=again)
        return run_training(request, settled.changes)


def student_start(
    teacher: Bundle, source: Any, name: str | Path | None, settings: Mapping[str, Any] | Iterable[str] = ()
) -> Recipe:
    """The recipe that was named, or the one for the kind of source, with some of its keys set; "auto" not yet resolved.

    Args:
        teacher: opened.
        source: as `distil` takes it.
        name: of a recipe or its JSON file; None for "photos" where the source consists of files, else "fast".
        settings: as `sightline.recipe` takes them.
    """
    if name is None:
        name = "photos" if holds_files(source_of_teacher(teacher, source)) else "fast"
    return named_recipe(name, settings)
