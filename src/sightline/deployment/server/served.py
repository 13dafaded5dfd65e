"""The bundles that a server answers with: opened, looked at, and replaced as a whole when another one lies there."""

from __future__ import annotations

import base64
import functools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sightline.bundles.bundle import MANIFEST, load_bundle
from sightline.bundles.maps.class_maps import maps_maker
from sightline.bundles.prediction import ANSWERS, Answerer
from sightline.bundles.sessions import Session, session_of
from sightline.bundles.trust.abstention import read_answer_record
from sightline.bundles.trust.details import Asked, detail_makers
from sightline.bundles.trust.neighbours import read_neighbours, read_thumbnails
from sightline.deployment.server.batching import SIZES, Batcher, tried_batching
from sightline.deployment.server.limits import Refusal
from sightline.errors import InvalidValue, SightlineError
from sightline.metrics.intervals import wilson_interval
from sightline.records import Bundle
from sightline.system.files import sha256_of
from sightline.system.text import listed, printable
from sightline.tasks.multi_label import MultiLabel
from sightline.tasks.table import has_several_labels

# Each holds what it promises in memory; strangers may ask for any number of them.
_MOST_ANSWERERS = 32
_MOST_STEPS = 60
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Question:
    """What a request asks of answers.

    Attributes:
        asked: what they are to carry beside their class.
        top: how many classes a row names.
        maps: whether they tell which places speak for the class.
        invert: turn light into dark first.
    """

    asked: Asked = field(default_factory=Asked)
    top: int = 3
    maps: bool = False
    invert: bool = False


class ServedModel:
    """An opened bundle at work. What was begun with it is finished with it, whatever comes after it."""

    def __init__(self, name: str, bundle: Bundle, *, seen: Callable[[int], None] = lambda _: None) -> None:
        """Load its network; `seen` is told the size of each batch."""
        self.name, self.bundle = name, bundle
        # Before the network is read: what lies there later is another one.
        self.stamp = stamp_of(bundle.path)
        self.session: Session = session_of(bundle)
        self.version = sha256_of(bundle.path / MANIFEST)
        self.batcher = Batcher(self.session, seen=seen)
        self._answerers: OrderedDict[str, Answerer] = OrderedDict()
        self._lock = threading.Lock()
        self.answerer(Question())

    def try_batches(self) -> None:
        """Find out which batches change no answer; until that is known, images are answered one by one."""
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (SIZES[0], *self.bundle.input.shape), dtype=np.uint8)
        names = tuple(name for name in self.session.output_shapes() if name in (*ANSWERS, "features", "novelty"))
        self.batcher.batching = tried_batching(self.session, names, images)

    def known_answerer(self, question: Question) -> Answerer | None:
        """What answered such questions before; None where it has to be made, which takes a while."""
        with self._lock:
            kept = self._answerers.get(_key(question))
            if kept is not None:
                self._answerers.move_to_end(_key(question))
            return kept

    def answerer(self, question: Question) -> Answerer:
        """What answers such questions; a SightlineError where the bundle cannot."""
        if (kept := self.known_answerer(question)) is not None:
            return kept
        makers = dict(detail_makers(self.bundle, question.asked))
        if question.maps:
            makers["maps"] = maps_maker(self.bundle)
        made = Answerer(self.bundle, self.session, question.invert, makers=makers)
        with self._lock:
            self._answerers[_key(question)] = made
            if len(self._answerers) > _MOST_ANSWERERS:
                self._answerers.popitem(last=False)
        return made

    @functools.cached_property
    def thumbnails(self) -> dict[str, str]:
        """Of training images that travel with the bundle, by name: base64 of a WebP."""
        pictures = read_thumbnails(self.bundle)
        if pictures is None:
            return {}
        names = read_neighbours(self.bundle).names.tolist()
        return {name: base64.b64encode(one).decode("ascii") for name, one in zip(names, pictures, strict=False)}

    def words_of(self, error: SightlineError) -> str:
        """What is wrong, without where the bundle lies on this machine, which is no client's business."""
        place = str(self.bundle.path)
        return str(error).removeprefix(f"{place}: ").replace(place, self.name)

    def trade_off(self) -> list[dict[str, float]]:
        """What it costs to answer only where certainty is at least so much, by the calibration images.

        Each entry has that certainty, the share that is still answered, and the share of these that is wrong with its
        interval; empty where the bundle keeps no calibration images.
        """
        try:
            record = read_answer_record(self.bundle)
        except SightlineError:
            return []
        order = np.argsort(-record.certainties)
        wrong = np.cumsum(~record.is_right[order])
        counts = np.unique(np.linspace(1, len(order), min(len(order), _MOST_STEPS)).round().astype(int))
        found = []
        for count in counts.tolist():
            lower, upper = wilson_interval(int(wrong[count - 1]), count)
            found.append(
                {
                    "certainty": round(float(record.certainties[order[count - 1]]), 6),
                    "answered": round(count / len(order), 6),
                    "error": round(int(wrong[count - 1]) / count, 6),
                    "error_lower": round(lower, 6),
                    "error_upper": round(upper, 6),
                }
            )
        return found


def _key(question: Question) -> str:
    # By how they are written: True and 1.0 are equal to 1, and refused.
    return repr((question.asked, question.maps, question.invert))


def stamp_of(folder: Path) -> Stamp:
    """Of the manifest, which changes when a bundle is replaced."""
    status = (folder / MANIFEST).stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


class ServedModels:
    """By name; the first is asked where no other is named."""

    def __init__(self, places: Mapping[str, Path | str], *, seen: Callable[[str, int], None] = lambda *_: None) -> None:
        """Open all of them, or an InvalidBundle."""
        self._places, self._seen = dict(places), seen
        self._models = {name: self._opened(name) for name in self._places}
        self.are_ready = False
        # What broke when it was looked at last, so that it is said once.
        self._broken: dict[str, Stamp | None] = {}

    def _opened(self, name: str) -> ServedModel:
        return ServedModel(name, load_bundle(self._places[name]), seen=lambda size: self._seen(name, size))

    def try_batches(self) -> None:
        """Of all of them, which makes them ready."""
        for model in self.all():
            model.try_batches()
        self.are_ready = True

    def retire(self) -> None:
        """Keep no threads."""
        for model in self.all():
            model.batcher.retire()

    def all(self) -> list[ServedModel]:
        """In the order in which they were named."""
        return list(self._models.values())

    def of(self, name: str | None) -> ServedModel:
        """A model by its name; a Refusal, 404, where there is none."""
        if name is None:
            return next(iter(self._models.values()))
        if (found := self._models.get(name)) is None:
            words = f"no model is called {printable(name)[:100]!r}. There are: {listed(list(self._models), most=20)}."
            raise Refusal(404, words)
        return found

    def reload_changed(self) -> list[tuple[str, str | None]]:
        """Open again what lies elsewhere or was replaced: (name, None), or (name, why not) where the old one stays."""
        return [told for name, model in list(self._models.items()) if (told := self._reloaded(name, model))]

    def _reloaded(self, name: str, model: ServedModel) -> tuple[str, str | None] | None:
        stamp = None
        try:
            stamp = stamp_of(model.bundle.path)
            if stamp in (model.stamp, self._broken.get(name, model.stamp)):
                return None
            opened = self._opened(name)
            opened.try_batches()
        except (SightlineError, OSError) as error:
            if name in self._broken and self._broken[name] == stamp:
                return None
            self._broken[name] = stamp
            return name, str(error)
        self._models[name] = opened
        self._broken.pop(name, None)
        model.batcher.retire()
        return name, None


def named_bundles(words: Sequence[str]) -> dict[str, str]:
    """Names and places of "BUNDLE" and "NAME=BUNDLE"; a name that is left out is that of the folder."""
    places: dict[str, str] = {}
    for word in words:
        name, given, place = word.partition("=")
        if not given:
            name, place = usual_name(word), word
        if checked_name(name) in places:
            raise InvalidValue(f"two models are called {name!r}. Name them: sightline serve ONE=BUNDLE TWO=BUNDLE")
        places[name] = place
    return places


def checked_name(name: object) -> str:
    """What can stand in an address; an InvalidValue of anything else."""
    if not isinstance(name, str) or not re.fullmatch(r"[^\W_][\w.-]{0,99}", name):
        told = printable(str(name))[:100]
        raise InvalidValue(f"a model's name is letters, digits and signs such as - . _; got {told!r}.")
    return name


def usual_name(place: str | Path) -> str:
    """That of the folder of a bundle or of its run, in letters that can stand in an address."""
    folder = Path(place).absolute()
    name = folder.parent.name if folder.name == "bundle" else folder.name
    return re.sub(r"^[\W_]+|[^\w.-]+", "-", name).lstrip("-._")[:100] or "model"


def described(model: ServedModel) -> dict[str, Any]:
    """What a client sees of a model before it asks."""
    bundle, spec = model.bundle, model.bundle.input
    return {
        "name": model.name,
        "bundle": model.version,
        "task": bundle.task.name,
        "classes": list(bundle.class_names),
        **({"said_from": _said_from(bundle)} if has_several_labels(bundle.task) else {}),
        "input": {
            "height": spec.height,
            "width": spec.width,
            "channels": spec.channels,
            "color_mode": spec.color_mode,
        },
        "promises": {name: _possible(model, question) for name, question in _PROMISES.items()},
        "nearest": _possible(model, Question(Asked(nearest=3))),
        "maps": _possible(model, Question(maps=True)),
        "trade_off": model.trade_off(),
        "temperature": bundle.temperature,
        "figures": _figures(bundle.metrics.get("test")),
    }


def _said_from(bundle: Bundle) -> list[float]:
    """Of each label the confidence from which on it is said, as long as rows tell them."""
    limits = bundle.task.limits(len(bundle.class_names)) if isinstance(bundle.task, MultiLabel) else np.empty(0)
    return [round(share, 6) for share in bundle.task.probabilities(limits, temperature=bundle.temperature).tolist()]


def _figures(test: Any) -> dict[str, Any] | None:
    """How often it was right on its test images, of several labels how well, with intervals; None without images."""
    return {name: test[name] for name in _FIGURES if name in test} if isinstance(test, dict) else None


_FIGURES = ("num_images", "accuracy", "accuracy_interval", "micro_f1", "micro_f1_interval")


_PROMISES = {
    "coverage": Question(Asked(coverage=0.95)),
    "max_error": Question(Asked(max_error=0.01)),
    "novelty": Question(Asked(novelty=0.05)),
}


def _possible(model: ServedModel, question: Question) -> dict[str, Any]:
    try:
        model.answerer(question)
    except SightlineError as error:
        return {"possible": False, "why": model.words_of(error)}
    return {"possible": True, "why": None}
