"""Kills trainings by SIGKILL, goes on each time, and compares their weights with those of trainings never stopped.

    python tools/kill_training.py 100
    python tools/kill_training.py 25 --kinds ensemble --json kills.json

Trainings of four kinds are killed in turn: one network with augmentation, dropout, averaged weights and early
stopping; a bagged ensemble of such; a student of a bundle; a pretrained network that is fine-tuned. A checkpoint is
made every few steps. Every other kill comes at a random instant of the processor time that a training takes, the
others are aimed: between the files of a checkpoint, before and after a rename (of a checkpoint, a member, a bundle, a
table of a cache), between two steps, where an epoch begins, between the bundle and the last figures. After up to
`--per-run` kills a run is let to its end.
With `--gently` they are asked to end, by SIGTERM and SIGINT, at random instants alone.

Each training is a process of its own, forked from one that has imported everything and computed nothing yet.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ONE = [
    *("mnist", "--fraction", "0.01", "--epochs", "5", "--quiet", "--checkpoint-every", "3steps"),
    *("--set", "model.dropout=0.2", "--set", "training.batch_size=32", "--set", "optimizer.ema_momentum=0.9"),
    *("--set", "training.early_stopping_patience=3"),
]
MLP = ("--set", "model.name=mlp")
KINDS: dict[str, list[str]] = {
    "one network": ["train", *ONE, *MLP, "--log-every", "4"],
    "ensemble": ["train", *ONE, *MLP, "--ensemble", "bagging", "--members", "3"],
    "student": ["distil", "{teacher}", *ONE, "--into", "mlp"],
    "fine-tuned": [
        *("train", "{photographs}", "--recipe", "transfer", "--quiet", "--checkpoint-every", "1step"),
        *("--set", "training.finetune_epochs=4", "--set", "training.feature_variants=2"),
        *("--set", "data.image_size=64", "--set", "training.batch_size=16", "--set", "optimizer.learning_rate=0.0001"),
    ],
}
# Functions before whose call a process kills itself, as often as they are called in a training.
AIMS = (
    ("sightline.training.loop.checkpoint_files", "sha256_of"),
    ("sightline.training.loop.checkpoint_files", "write_json"),
    ("sightline.system.files", "_rename"),
    ("sightline.system.files", "flush_folder"),
    ("sightline.training.loop.checkpoints", "StateKeeper.end_steps"),
    ("sightline.training.loop.checkpoints", "StateKeeper.on_epoch_begin"),
    ("sightline.training.loop.monitor", "record_epoch"),
    ("sightline.training.end_of_run", "write_figures"),
    ("sightline.training.end_of_run", "write_page"),
)
MOST_CALLS = 12


def weights_of(run: Path) -> str:
    """A hash of what a network learned: the arrays of its file, without the times that an archive keeps."""
    import h5py  # type: ignore[import-untyped]  # it carries no annotations

    with zipfile.ZipFile(run / "bundle" / "model.keras") as archive:
        content = archive.read("model.weights.h5")
    found = hashlib.sha256()
    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(lambda _, item: found.update(item[()].tobytes()) if hasattr(item, "shape") else None)
    return found.hexdigest()


def import_all() -> None:
    """What takes longest in a short training, done once; nothing is computed, so that a fork is as good as new."""
    from sightline.system.backends import load_keras

    load_keras("tensorflow")
    import tf2onnx  # noqa: F401

    import sightline.bundles.sessions
    import sightline.cli.main
    import sightline.training.ensembles.train_members
    import sightline.training.fit_network
    import sightline.training.packaging.bundling
    import sightline.training.train  # noqa: F401


def aim_at(module: str, name: str, call: int) -> None:
    """Let this process kill itself before a call of a function."""
    owner, calls = sys.modules[module], 0
    for part in name.split(".")[:-1]:
        owner = getattr(owner, part)
    usual: Callable[..., Any] = getattr(owner, name.split(".")[-1])

    def kill_or_call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(*arguments, **options)

    setattr(owner, name.split(".")[-1], kill_or_call)


def begin(folder: Path, words: Sequence[str], aim: tuple[str, str, int] | None) -> int:
    """A training in a process of its own; its number."""
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        os.chdir(folder)
        stream = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        # A fork of a random generator goes on with the numbers of its parent: names of temporary files do not matter.
        from sightline.cli.main import main

        # Where this program was begun in the background, Ctrl-C is ignored in it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if aim is not None:
            aim_at(*aim)
        code = main([*words, "--out", "run"])
    finally:
        sys.stdout.flush()
        os._exit(code)


def processor_seconds(number: int) -> float:
    """What a process has computed so far."""
    fields = Path(f"/proc/{number}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end(number: int, after: float | None, by: int = signal.SIGKILL) -> int:
    """Wait for a process, and end it after so many seconds of computing; its exit code, or minus its signal."""
    while True:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if after is not None and processor_seconds(number) >= after:
            os.kill(number, by)
            after = None
        time.sleep(0.01)


def make_photographs(place: Path) -> None:
    """Two textures, 24 pictures each."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for name in ("checks", "stripes"):
        (place / name).mkdir(parents=True)
        for number in range(24):
            rows, columns = np.mgrid[0:80, 0:80]
            step = int(generator.integers(5, 12))
            pattern = (rows // step + columns // step) % 2 if name == "checks" else columns // step % 2
            image = pattern[..., None] * generator.uniform(60, 120, 3) + generator.uniform(0, 70, 3)
            image = np.clip(image + generator.normal(0, 40, image.shape), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(place / name / f"{number:02d}.png")


class Campaign:
    """Kills trainings of one kind until there were so many kills."""

    def __init__(self, place: Path, kind: str, words: Sequence[str], seed: int) -> None:
        """Train once without a kill."""
        self.place, self.kind, self.words, self.draw = place, kind, words, random.Random(seed)  # noqa: S311  # no secret
        self.kills: dict[str, int] = {}
        self.runs = self.equal = 0
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        folder = self._folder("whole")
        self._check(folder, end(begin(folder, words, None), None))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.expected = weights_of(folder / "run")

    def kill_one_run(self, most: int, *, gently: bool) -> int:
        """Kill a training up to so many times, let it end, compare; how often it was killed."""
        signals = (signal.SIGTERM, signal.SIGINT) if gently else (signal.SIGKILL,)
        self.runs += 1
        folder, done = self._folder(f"run-{self.runs}"), 0
        while done < most:
            aim, after, by = None, None, signals[sum(self.kills.values()) % len(signals)]
            if not gently and self.draw.random() < 0.5:
                aim = (*self.draw.choice(AIMS), self.draw.randint(1, MOST_CALLS))
            else:
                after = self.draw.uniform(0.05, 0.95) * self.seconds
            code = end(begin(folder, self.words, aim), after, by)
            # Asked to end: before anybody listens, by the signal itself, else by the exit code that stands for it.
            if code not in (-by, 128 + by):
                self._check(folder, code)
                break
            done += 1
            name = f"{signal.Signals(by).name} at random" if aim is None else f"before {aim[1]}"
            self.kills[name] = self.kills.get(name, 0) + 1
        else:
            self._check(folder, end(begin(folder, self.words, None), None))
        is_equal = weights_of(folder / "run") == self.expected
        left = [path.name for path in folder.glob("run/checkpoints")] + [*folder.rglob("*-checkpoints")]
        self.equal += is_equal and not left
        print(f"{self.kind}: killed {done} times, {'equal' if is_equal else 'NOT EQUAL'} {left or ''}", flush=True)
        return done

    def told(self) -> dict[str, Any]:
        """What came of it."""
        return {
            "kind": self.kind,
            "kills": sum(self.kills.values()),
            "runs": self.runs,
            "equal": self.equal,
            "by_instant": dict(sorted(self.kills.items())),
        }

    def _folder(self, name: str) -> Path:
        folder = self.place / f"{self.kind.replace(' ', '-')}-{name}"
        folder.mkdir()
        return folder

    def _check(self, folder: Path, code: int) -> None:
        if code:
            sys.exit(f"{self.kind}: exit code {code}\n{(folder / 'log').read_text(errors='replace')[-3000:]}")


def read_arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kills", type=int, help="in all, shared out among the kinds")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--per-run", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gently", action="store_true", help="by SIGTERM and SIGINT, at random instants alone")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Kill as often as was asked for, and print what came of it; exit code 1 where weights differ."""
    arguments = read_arguments()
    import_all()
    found = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        # What is kept for the next time is killed, too, and belongs to nobody else.
        os.environ["SIGHTLINE_CACHE"] = str(place / "cache")
        make_photographs(place / "photographs")
        teacher = place / "teacher"
        teacher.mkdir()
        if "student" in arguments.kinds and end(begin(teacher, ["train", *ONE, *MLP], None), None):
            sys.exit((teacher / "log").read_text())
        for kind in arguments.kinds:
            places = {"teacher": str(teacher / "run"), "photographs": str(place / "photographs")}
            campaign = Campaign(place, kind, [word.format(**places) for word in KINDS[kind]], arguments.seed)
            wanted = -(-arguments.kills // len(arguments.kinds))
            while wanted > 0:
                wanted -= campaign.kill_one_run(min(arguments.per_run, wanted), gently=arguments.gently)
            found.append(campaign.told())
            print(json.dumps(found[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    kills, runs, equal = (sum(each[key] for each in found) for key in ("kills", "runs", "equal"))
    print(f"{kills} kills in {runs} runs: {equal} ended with the weights of one never stopped, and nothing left over")
    sys.exit(equal != runs)


if __name__ == "__main__":
    main()
