"""`verify`: whether a bundle or a run still is what was saved, and still answers and scores as it did then."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import (
    CAPABILITIES,
    SIGNATURE,
    altered_files,
    check_signed,
    load_bundle,
    read_manifest,
    readable,
)
from sightline.bundles.identity import read_identity
from sightline.bundles.parity import LARGEST_DIFFERENCE, largest_difference, made_images, read_parity
from sightline.bundles.prediction import match_labels, predict_dataset
from sightline.bundles.sessions import open_session, session_of
from sightline.bundles.trust.abstention import read_answer_record
from sightline.bundles.trust.label_sets import LabelCertificate, read_label_certificate
from sightline.bundles.trust.neighbours import read_neighbours, read_thumbnails
from sightline.bundles.trust.novelty import read_novelty
from sightline.bundles.trust.reference import read_reference
from sightline.bundles.trust.sets import Certificate, read_certificate
from sightline.bundles.vetting.network_files import check_network, open_network
from sightline.errors import InvalidBundle, MissingPackage, SightlineError
from sightline.evaluation.measuring.finished_runs import FinishedRun, kept_evaluation, read_run
from sightline.evaluation.measuring.judging import choose_rows
from sightline.evaluation.measuring.kept_classes import learned_source
from sightline.evaluation.measuring.scoring import score
from sightline.metrics.figures import FIGURES
from sightline.records import Bundle, Dataset, Evaluation, Predictions, Run, SplitName
from sightline.system.backends import load_keras, usual_keras
from sightline.system.progress import reporter
from sightline.system.text import counted, printable
from sightline.tasks.table import has_several_labels

Outcome = Literal["holds", "fails", "not checked"]
Found = tuple[str, float | None]
_SCORED: tuple[SplitName, ...] = ("validation", "test")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of the check: "files", "model.onnx", "answers".
        outcome: "holds", "fails", or "not checked", of which `in_words` says why.
        in_words: what was compared with what, and what came of it.
        largest_difference: between numbers that were compared, 0 where they are equal; None where none were.
    """

    name: str
    outcome: Outcome
    in_words: str
    largest_difference: float | None = None

    def __str__(self) -> str:
        return f"{self.outcome:<12}{self.name}: {self.in_words}"


@dataclass(frozen=True, eq=False)
class Verification:
    """What came of all checks; printed, it is what `sightline verify` says.

    Attributes:
        path: the folder that was named.
        checks: in the order in which they were made.

    Example:
        >>> import sightline
        >>> found = sightline.verify("imagenet")
        >>> [check.name for check in found.checks if check.outcome == "not checked"]
        ['signature', 'model.keras', 'kept figures', 'test figures']
    """

    path: Path
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing failed; what was not checked is nothing that failed."""
        return not any(check.outcome == "fails" for check in self.checks)

    def __str__(self) -> str:
        counts = {name: sum(check.outcome == name for check in self.checks) for name in ("holds", "fails")}
        left = len(self.checks) - sum(counts.values())
        total = f"{self.path}: {counted(counts['holds'], 'check')} held, {counts['fails']} failed, {left} not made"
        return "\n".join([*map(str, self.checks), total])

    def __repr__(self) -> str:
        return str(self)


class _NotCheckedError(Exception):
    """Something that the check needs is not here; the message says what."""


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is looked at: an opened bundle, its run where one was named, and the images that were named with it."""

    bundle: Bundle
    run: FinishedRun | None
    images: Dataset | None


def verify(path: str | Path | Bundle | Run, source: Any = None) -> Verification:
    """Find out whether a bundle, or a run with its bundle, is whole and does what it did when it was saved.

    The hash of every file is computed again, each part is opened by what reads it, the network answers the images
    that the bundle keeps to be verified by, in both of its formats, and the figures of a run are made again: of the
    answers that it kept, and of its test images where they can be found.

    Args:
        path: folder of a run or a bundle, or the record of one; "imagenet", the network that comes with the package.
        source: where the test images are, whatever `sightline.load` takes. Left out: where the run found them, if
            the bundle lies in its run; what a stranger's bundle names is not opened.

    Returns:
        Every check, what it compared and the largest difference; what was not checked, and why.

    Raises:
        InvalidBundle: there is neither a run nor a bundle, or it is of a version that this Sightline does not know.
        UnknownName, InvalidSource: a source was named and cannot be opened.

    Example:
        >>> import sightline
        >>> found = sightline.verify("imagenet")
        >>> found.holds
        True
        >>> print(found.checks[0])
        holds       files: SHA-256 of 7 files as manifest.json has it
    """
    place = Path(path.path if isinstance(path, Bundle | Run) else path)
    with readable(place):
        folder, manifest = read_manifest(place)
        names_run = (place / "recipe.json").exists()
    with reporter().bar("verify", total=_MOST_STEPS, unit="checks") as bar:
        checks = []
        for check in _checks(folder, manifest, place if names_run else None, source):
            checks.append(check)
            bar.advance(1, description=f"verify: {check.name}")
    return Verification(place, tuple(checks))


def _checks(folder: Path, manifest: Mapping[str, Any], run: Path | None, source: Any) -> Iterator[Check]:
    files = _made("files", lambda: _files(folder, manifest))
    yield files
    signed = _made("signature", lambda: _signature(folder, manifest))
    yield signed
    opened: list[Bundle] = []
    described = _made("description", lambda: _description(folder, opened))
    if files.outcome == "fails":
        described = Check("contents", "not checked", "the files are not those that were saved; none was opened")
    elif signed.outcome == "fails":
        described = Check("contents", "not checked", "the bundle is not signed as asked for; no file was opened")
    yield described
    if not opened:
        return
    images = None if source is None else learned_source(opened[0], source)
    finished: list[FinishedRun] = []
    if run is not None:
        yield _made("run", lambda: _run(run, finished))
    subject = _Subject(opened[0], finished[0] if finished else None, images)
    for name in opened[0].manifest.get("capabilities", ()):
        yield _made(printable(name), functools.partial(_capability, subject.bundle, name))
    for name, step in _STEPS.items():
        yield _made(name, functools.partial(step, subject))


def _made(name: str, step: Callable[[], Found]) -> Check:
    """What came of a step: its words and difference, or why it failed or could not be made."""
    try:
        words, difference = step()
    except _NotCheckedError as reason:
        return Check(name, "not checked", str(reason))
    except MissingPackage as error:
        return Check(name, "not checked", str(error))
    except SightlineError as error:
        return Check(name, "fails", str(error))
    except OSError as error:  # a file that vanished meanwhile
        return Check(name, "fails", f"{error.filename}: cannot be read ({error.strerror})")
    holds = difference is None or difference <= LARGEST_DIFFERENCE
    if difference is not None:
        words += f": largest difference {difference:.2g}, {LARGEST_DIFFERENCE:g} is allowed"
    return Check(name, "holds" if holds else "fails", words, difference)


def _files(folder: Path, manifest: Mapping[str, Any]) -> Found:
    altered = list(altered_files(folder, manifest))
    if altered:
        raise InvalidBundle(
            f"{'; '.join(map(printable, altered))}. Copy the whole bundle again from where it was made."
        )
    return f"SHA-256 of {len(manifest['files'])} files as manifest.json has it", None


def _signature(folder: Path, manifest: Mapping[str, Any]) -> Found:
    if check_signed(folder, manifest):
        return "signed with the key that is trusted, and nothing was added, removed or changed since", None
    if (folder / SIGNATURE).exists():
        raise _NotCheckedError("it is signed; name the public key of who signed it: --trusted FILE")
    raise _NotCheckedError("it is not signed, and no key was named")


def _description(folder: Path, opened: list[Bundle]) -> Found:
    bundle = load_bundle(folder)
    opened.append(bundle)
    height, width, channels = bundle.input.shape
    return f"{len(bundle.class_names):,} classes, images of {height}x{width}x{channels}, temperature, figures", None


def _run(folder: Path, finished: list[FinishedRun]) -> Found:
    run = read_run(folder)
    finished.append(run)
    judged = sum(len(answers.given) for answers in run.predictions.values())
    return f"recipe, splits of {len(run.splits):,} images, history, {judged:,} kept answers, figures", None


# What opens the file of each capability, and says what is in it; a capability more is a line more.
CONTENTS: dict[str, Callable[[Bundle], str]] = {
    "identity": lambda bundle: f"knows {_num_known(bundle):,} images by their pixels",
    "parity": lambda bundle: f"{len((read_parity(bundle) or ((),))[0])} images with their logits",
    "sets": lambda bundle: f"scores of {_certificate(bundle).vouching.words}",
    "abstention": lambda bundle: f"answers to {read_answer_record(bundle).vouching.words}",
    "reference": lambda bundle: f"what {read_reference(bundle).words} are like",
    "novelty": lambda bundle: f"distances of {read_novelty(bundle).vouching.words}",
    "neighbours": lambda bundle: f"names of {len(read_neighbours(bundle).names):,} training images",
    "thumbnails": lambda bundle: f"{len(read_thumbnails(bundle) or ()):,} small pictures of them",
}


def _certificate(bundle: Bundle) -> Certificate | LabelCertificate:
    return read_label_certificate(bundle) if has_several_labels(bundle.task) else read_certificate(bundle)


def _num_known(bundle: Bundle) -> int:
    identity = read_identity(bundle)
    return 0 if identity is None else sum(len(part.hashes) for part in identity.parts)


def _capability(bundle: Bundle, name: str) -> Found:
    if name not in CONTENTS:
        raise _NotCheckedError("this Sightline has nothing that reads it. Run: pip install --upgrade sightline")
    return f"{', '.join(CAPABILITIES[name])}: {CONTENTS[name](bundle)}", None


def _graph(subject: _Subject) -> Found:
    shapes = open_session(subject.bundle).output_shapes()
    return f"ONNX Runtime opens it; it takes and gives what the bundle says ({', '.join(map(printable, shapes))})", None


def _answers(subject: _Subject) -> Found:
    """The kept images once more, against their kept logits."""
    bundle = subject.bundle
    kept = read_parity(bundle)
    if kept is None:
        raise _NotCheckedError("the bundle keeps no images to be verified by")
    images, logits = kept
    difference = _apart(bundle, session_of(bundle).logits(images), logits)
    return f"model.onnx on the {len(images)} images of parity.npz, probabilities as kept there", difference


def _network(subject: _Subject) -> Found:
    bundle = subject.bundle
    if "model.keras" not in bundle.manifest["files"]:
        raise _NotCheckedError("there is none: this network is run, not trained further")
    kept = read_parity(bundle)
    images = made_images(bundle.input) if kept is None else kept[0]
    path = bundle.path / "model.keras"
    check_network(path)  # before it is known whether Keras is here
    try:
        keras = load_keras()
    except MissingPackage as error:
        raise _NotCheckedError(f"Keras is not installed here ({error})") from error
    with usual_keras(), keras.device("cpu:0"):
        logits = _answered(open_network(path), images)
    words = f"opened by Keras; on {len(images)} images, probabilities as of model.onnx"
    return words, _apart(bundle, session_of(bundle).logits(images), logits)


def _answered(network: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a network of Keras answers; nothing, where it is not one of Sightline's, gives logits."""
    try:
        return np.asarray(network.predict(images, batch_size=len(images), verbose=0)["logits"])
    except Exception as error:
        raise InvalidBundle(f"Keras cannot run it ({(str(error).splitlines() or ['no reason given'])[0]})") from error


def _apart(bundle: Bundle, found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The largest difference in a probability; infinite where an answer is no number."""
    if found.shape != wanted.shape or not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return float("inf")
    probabilities = bundle.task.probabilities
    return largest_difference(probabilities(found), probabilities(wanted)) if len(found) else 0.0


def _kept_figures(subject: _Subject) -> Found:
    """The figures of the kept answers, against metrics.json of the run and of the bundle."""
    run = subject.run
    if run is None:
        raise _NotCheckedError("a bundle was named; its run keeps the answers")
    found = {split: kept_evaluation(run, split) for split in _SCORED}
    told = [(found[split], run.metrics[split]) for split in _SCORED]
    told.append((found["test"], subject.bundle.metrics.get("test")))
    differences = [_figures_apart(one, figures) for one, figures in told if one is not None and figures]
    if not differences:
        raise _NotCheckedError("the run kept no answers that were judged")
    return "figures of the answers in predictions.npz as in metrics.json", max(differences)


def _test_figures(subject: _Subject) -> Found:
    """The test images once more, from their source: figures, and of a run each answer."""
    bundle = subject.bundle
    told = bundle.metrics.get("test")
    if not told:
        raise _NotCheckedError("the bundle has no test figures")
    try:
        predictions = _judged_again(bundle, subject.images)
        found = score(predictions)
    except SightlineError as error:
        raise _NotCheckedError(f"the test images are not at hand: {error}") from error
    if found.num_images != told.get("num_images"):
        raise _NotCheckedError(
            f"{found.num_images:,} of the {told.get('num_images')} test images were found; figures of others differ"
        )
    words, difference = f"{found.num_images:,} test images once more, figures as in metrics.json", 0.0
    if subject.run is not None:
        kept = subject.run.predictions["test"]
        position = {row_id: row for row, row_id in enumerate(predictions.row_ids)}
        rows = [position[row_id] for row_id in kept.given if row_id in position]
        if len(rows) == len(kept.given):
            words += ", probabilities as in predictions.npz"
            difference = _apart(bundle, predictions.logits[rows], kept.logits)
    return words, max(difference, _figures_apart(found, told))


def _judged_again(bundle: Bundle, named: Dataset | None) -> Predictions:
    dataset = learned_source(bundle) if named is None else named
    if not set(bundle.class_names).intersection(dataset.class_names):
        match_labels(bundle.class_names, dataset, np.arange(len(dataset)))  # refuses before anything is decoded
    choice = choose_rows(bundle, dataset, "test")
    found = predict_dataset(bundle, dataset, choice.rows, pixels=choice.pixels)
    return replace(found, groups=choice.groups)


def _figures_apart(found: Evaluation, told: Mapping[str, Any]) -> float:
    """The largest difference of a figure; an older file lacks newer figures.

    Bounds of intervals are left out: a later version may make them by a better method, and the bundle be as it was.
    """
    made: dict[str, float] = {name: found.figures[name].value for name in FIGURES if name in found.figures}
    made |= {"num_correct": found.num_correct, "num_images": found.num_images}
    try:
        gaps = [_gap(made[name], told[name]) for name in made if told.get(name) is not None]
    except (TypeError, ValueError) as error:
        raise InvalidBundle("metrics.json: a figure is no number. Copy the run or the bundle again.") from error
    return float(np.nan_to_num(max(gaps), nan=np.inf))


def _gap(found: Any, told: Any) -> float:
    return float(np.abs(np.subtract(found, told, dtype=np.float64)).max())


_STEPS: dict[str, Callable[[_Subject], Found]] = {
    "model.onnx": _graph,
    "answers": _answers,
    "model.keras": _network,
    "kept figures": _kept_figures,
    "test figures": _test_figures,
}
_MOST_STEPS = 4 + len(CAPABILITIES) + len(_STEPS)
