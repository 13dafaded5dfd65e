"""A bundle's network in ONNX Runtime, on the CPU."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.graphs import check_graph
from sightline.errors import InvalidBundle, require
from sightline.records import Bundle
from sightline.system.files import sha256_of
from sightline.system.progress import reporter
from sightline.system.workers import available_processors, free_bytes, map_in_order, num_workers

# Pixels of one portion: four images of 224x224. Larger ones leave the processor's cache and are slower an image.
PORTION_BYTES = 600 * 1024
MOST_IN_PORTION = 512
# Of the memory that is free when the first network is loaded: what all of them together may take.
SHARE_OF_MEMORY = 0.8
# Of more records in use than this, those used last keep their network.
MOST_KEPT = 4
# Of these dtypes ONNX Runtime has names of its own.
_KINDS = {"float32": "float", "float64": "double"}
_REMEDY = "Make the bundle again, or ask who made it."


class Session:
    """A network loaded once: uint8 images in, logits out.

    One portion of images is spread over all processors. Many portions are worked off by one
    thread a processor, each on a portion of its own: nobody waits for anybody, which counts most
    where other work keeps the machine busy.
    """

    def __init__(
        self, path: Path, *, num_classes: int, content: bytes | None = None, input_name: str = "images"
    ) -> None:
        """Load a `model.onnx`; raises InvalidBundle if ONNX Runtime refuses it, MissingPackage if there is none.

        `content` is loaded in place of the file, which is then only what messages name. `input_name` is what a network
        of others calls what it takes.
        """
        self._onnxruntime = require("onnxruntime", purpose="prediction", install="onnxruntime")
        if not path.is_file():
            raise InvalidBundle(f"{path}: ONNX Runtime cannot load it (no such file).")
        self.num_classes = num_classes
        self.path = path
        self._content = content
        self._input_name = input_name
        self._session = self._open(threads=0)
        self._alone: Any = None

    def _open(self, *, threads: int) -> Any:
        """The file in ONNX Runtime with so many threads for one portion; 0 for one a processor."""
        options = self._onnxruntime.SessionOptions()
        # What is wrong comes as an exception, too; of a stranger's graph the words are nothing for a terminal.
        options.log_severity_level = 4
        # By itself ONNX Runtime takes all processors of the machine, whatever this process was given of them.
        is_limited = available_processors() < (os.cpu_count() or 1)
        options.intra_op_num_threads = threads or (available_processors() if is_limited else 0)
        if _is_bounded():
            options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            # Its second try, with the same processor, would be announced on stdout; before version 1.23 it is.
            return self._onnxruntime.InferenceSession(
                self._content or str(self.path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InvalidBundle(f"{self.path}: ONNX Runtime cannot load it ({reason}).") from error

    def _single(self) -> Any:
        """The network in one thread."""
        if self._alone is None:
            self._alone = self._open(threads=1)
        return self._alone

    def outputs(self, images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        """The outputs of these names for (num_images, height, width, channels) uint8, at once."""
        options = self._run_options()
        run = functools.partial(self._run, self._session, names, options=options)
        return next(map_in_order(run, [images], workers=1, stop=functools.partial(_terminate, options)))

    def _run_options(self) -> Any:
        """Of one call, which is ended by them."""
        options = self._onnxruntime.RunOptions()
        options.log_severity_level = 4
        return options

    def _run(self, session: Any, names: list[str], images: NDArray[Any], *, options: Any) -> list[NDArray[np.float32]]:
        """What the graph answers: rows of numbers, one an image, or an InvalidBundle."""
        answer = self._answer(session, names, images, options=options)
        for name, part in zip(names, answer, strict=True):
            # What is short of rows would leave the others to whatever memory held.
            if not isinstance(part, np.ndarray) or part.dtype.kind not in "fui" or part.shape[:1] != (len(images),):
                shape = getattr(part, "shape", ())
                raise InvalidBundle(f"{self.path}: gives '{name}' of shape {shape} for {len(images)} images.")
            if name == "logits" and self.num_classes and part.shape[1:] != (self.num_classes,):
                raise InvalidBundle(f"{self.path}: gives logits of shape {part.shape} for {self.num_classes} classes.")
        return answer

    def _answer(self, session: Any, names: list[str], images: NDArray[Any], *, options: Any) -> list[Any]:
        try:
            return list(session.run(names, {self._input_name: np.ascontiguousarray(images)}, options))
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InvalidBundle(f"{self.path}: ONNX Runtime cannot run it ({reason}).") from error

    def at_once(
        self, images: NDArray[np.uint8], names: Sequence[str], *, spread: bool = True
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs of these names, those that the network has, in the thread that asks: Ctrl-C does not end it.

        `spread` over all processors; else in that thread alone, which costs less where the network is small.
        """
        there = self.output_shapes()
        known = [name for name in names if name in there]
        session = self._session if spread else self._single()
        found = self._run(session, known, images, options=self._run_options())
        return dict(zip(known, found, strict=True))

    def tensors(self, images: NDArray[Any], names: Sequence[str]) -> list[NDArray[Any]]:
        """Outputs of these names for these images, of any shape: some need not have a row an image."""
        options = self._run_options()
        return [np.asarray(part) for part in self._answer(self._session, [*names], images, options=options)]

    def portions(
        self, images: Any, names: list[str], *, change: Callable[[int, NDArray[np.uint8]], Any] | None = None
    ) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
        """The outputs for any number of images, portion by portion: first row and outputs, in order.

        `images` is a uint8 array or anything that gives one when it is sliced, as `Pixels` does. `change`
        is handed the first row and the images of a portion, and gives the images that are looked at.
        """
        size = int(np.clip(PORTION_BYTES // max(int(np.prod(images.shape[1:])), 1), 1, MOST_IN_PORTION))
        starts = range(0, len(images), size)
        workers = num_workers(len(starts))
        session = self._single() if workers > 1 else self._session
        options = self._run_options()

        def answer(first: int) -> list[NDArray[np.float32]]:
            part = images[first : first + size]
            return self._run(session, names, part if change is None else change(first, part), options=options)

        stop = functools.partial(_terminate, options)
        yield from zip(starts, map_in_order(answer, starts, workers=workers, stop=stop), strict=True)

    def logits(self, images: Any, *, with_progress: bool = False) -> NDArray[np.float32]:
        """(num_images, height, width, channels) uint8 to (num_images, num_classes) float32, in bounded memory."""
        return self.collect(images, ["logits"], with_progress=with_progress)["logits"]

    def collect(
        self, images: Any, names: Sequence[str], *, with_progress: bool = False
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs of these names, those that the network has, for any number of images."""
        shapes = self.output_shapes()
        known = [name for name in names if name in shapes]
        found = {name: np.zeros((0, *self._width(name, shapes[name])), np.float32) for name in known}
        with reporter().bar("predicting", total=len(images)) if with_progress else contextlib.nullcontext() as bar:
            for first, parts in self.portions(images, known):
                for name, part in zip(known, parts, strict=True):
                    if not first:
                        found[name] = np.full((len(images), *part.shape[1:]), np.nan, np.float32)
                    if part.shape[1:] != found[name].shape[1:]:
                        raise InvalidBundle(f"{self.path}: gives '{name}' of two shapes.")
                    found[name][first : first + len(part)] = part
                if bar is not None:
                    bar.advance(len(parts[0]))
        return found

    def _width(self, name: str, shape: tuple[int | str, ...]) -> tuple[int, ...]:
        """The shape of no rows, in which a side that the graph leaves open is 0."""
        if name == "logits":
            return (self.num_classes,)
        return tuple(side if isinstance(side, int) else 0 for side in shape[1:])

    def output_shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Name to shape of every output, the batch first; a word stands for what is not fixed."""
        return {output.name: tuple(output.shape) for output in self._session.get_outputs()}

    def metadata(self) -> dict[str, str]:
        """What the file says of itself beside the graph."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def check(self, bundle: Bundle) -> None:
        """Refuse a graph that does not take what the bundle's input.json says, or gives other outputs than promised."""
        inputs = self._session.get_inputs()
        given = [(entry.name, entry.type) for entry in inputs]
        if given != [("images", "tensor(uint8)")] or not _fits(inputs[0].shape, ("batch", *bundle.input.shape)):
            raise InvalidBundle(
                f"{self.path}: takes {given} of shape {[entry.shape for entry in inputs]}; input.json says uint8 "
                f"'images' of shape {bundle.input.shape}. {_REMEDY}"
            )
        outputs = {entry.name: (entry.type, tuple(entry.shape)) for entry in self._session.get_outputs()}
        declared = {
            name: (entry["dtype"], tuple(entry["shape"])) for name, entry in bundle.manifest.get("outputs", {}).items()
        }
        promised = {**declared, "logits": ("float32", ("batch", len(bundle.class_names)))}
        if "disagreement" in outputs:
            promised["disagreement"] = ("float32", ("batch",))
        for name, (dtype, shape) in promised.items():
            kind, found = outputs.get(name, ("nothing", ()))
            if kind != f"tensor({_KINDS.get(dtype, dtype)})" or not _fits(found, shape):
                raise InvalidBundle(
                    f"{self.path}: gives {kind} of shape {found} as '{name}'; {dtype} of shape {shape} is promised. "
                    f"{_REMEDY}"
                )


def _fits(found: Sequence[int | str], wanted: Sequence[int | str]) -> bool:
    """Whether two shapes agree where both fix a side; a word, or nothing, stands for one that is not fixed."""
    return len(found) == len(wanted) and all(
        one == other or not (isinstance(one, int) and isinstance(other, int))
        for one, other in zip(found, wanted, strict=True)
    )


@functools.cache
def _is_bounded() -> bool:
    """Whether all networks take their memory from one place with a bound: a few bytes of a graph may ask for any size.

    So it is told as a refusal, and the system does not end the process. Where it does not say what is free, or the
    program has set such a place up before, there is no bound of ours.
    """
    free = free_bytes()
    if free is None:
        return False
    runtime = require("onnxruntime", purpose="prediction", install="onnxruntime")
    memory = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    usual = dict.fromkeys(("arena_extend_strategy", "initial_chunk_size_bytes", "max_dead_bytes_per_chunk"), -1)
    try:
        bound = runtime.OrtArenaCfg({"max_mem": int(SHARE_OF_MEMORY * free), **usual})
        runtime.create_and_register_allocator(memory, bound)
    except Exception:  # noqa: BLE001  # ONNX Runtime's exceptions share no class of their own
        return False
    return True


def _terminate(options: Any) -> None:
    options.terminate = True


def open_session(bundle: Bundle) -> Session:
    """The network of an opened bundle, which may be a stranger's: its graph is looked at before it is loaded.

    Raises:
        InvalidBundle: the graph could run without end or needs what lies outside, ONNX Runtime cannot load it, or it
            does not fit what the bundle says of it.
        MissingPackage: ONNX Runtime is not installed.
    """
    path = bundle.path / "model.onnx"
    check_graph(path)
    session = Session(path, num_classes=len(bundle.class_names))
    session.check(bundle)
    return session


class _KeptSessions:
    """Networks of records in use, by path and hash of their files, with the last used at the end."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.RLock()
        self._sessions: OrderedDict[tuple[Path, str], Session] = OrderedDict()
        # Several records may be of one network, which stays as long as one of them is in use.
        self._users: dict[tuple[Path, str], weakref.WeakSet[Bundle]] = {}
        self._inherited: list[Session] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    def of(self, bundle: Bundle) -> Session:
        """The one of a record, loaded if there is none."""
        path = bundle.path / "model.onnx"
        listed = bundle.manifest.get("files", {}).get(path.name, {}).get("sha256")
        key = (path.absolute(), str(listed))
        with self._lock:
            if (kept := self._sessions.get(key)) is not None:
                self._note_user(bundle, key)
                with contextlib.suppress(KeyError):  # its records may have ended this very moment
                    self._sessions.move_to_end(key)
                return kept
            if not path.is_file() or sha256_of(path) != listed:
                return open_session(bundle)  # what was altered since, or never sealed, is nothing to keep
            session = self._sessions[key] = open_session(bundle)
            self._note_user(bundle, key)
            if len(self._sessions) > MOST_KEPT:
                self._sessions.popitem(last=False)
            return session

    def _note_user(self, bundle: Bundle, key: tuple[Path, str]) -> None:
        users = self._users.setdefault(key, weakref.WeakSet())
        if bundle not in users:
            users.add(bundle)
            weakref.finalize(bundle, self._end_user, key).atexit = False

    def _end_user(self, key: tuple[Path, str]) -> None:
        """A record ended: with the last of a network, that goes, too. Called at any moment, so without the lock."""
        if not any(self._users.get(key, ())):
            self._sessions.pop(key, None)
            self._users.pop(key, None)

    def _begin_anew(self) -> None:
        """In a forked process: the threads of these are in its parent, so they are neither used nor ended here."""
        self._inherited.extend(self._sessions.values())
        self._sessions.clear()
        self._lock = threading.RLock()


_KEPT = _KeptSessions()


def session_of(bundle: Bundle) -> Session:
    """The network of an opened bundle, which stays loaded as long as the record is in use.

    It is known by the path and the hash of its file, so that a bundle saved anew in the same folder has another.
    Nothing of it is in the record, which is pickled without it; a forked process loads its own.
    """
    return _KEPT.of(bundle)
