"""Attack the decoder with damaged files and with small files that ask for much.

Usage: python tools/attack_images.py [--mutants 4000] [--bombs 200] [--seed 0] [--threads 4]
       python tools/attack_images.py --through runs/mnist-fast-001 [--mutants 4000] [--seed 0]

Sound files of every format and kind are made, mutated and decoded by several threads of a child process, as
`predict` and `audit` would; then bombs, all together. Anything but pixels or a refusal is a crash. It ends with 1 where
there was a crash, an image that took over 5 s of processor, or a process that took over 1 GiB for all its threads.
With a run, damaged files are put into folders of two classes instead, which are audited, trained on and predicted:
whatever cannot be decoded has to be told as that, by each of them, and has no answer.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from hostile_images import bombs, mutant, sound_files

import sightline
from sightline.data.decoding.decoder import decode_picture
from sightline.data.decoding.tiff import camera_model
from sightline.data.storage.stores import header_of
from sightline.errors import UnreadableImage

MOST_SECONDS, MOST_MIB = 5.0, 1024
PORTION = 200


def tried(name: str, path: Path) -> None:
    """Tell what became of one file, and how long it took."""
    _tell({"begun": name})
    begun, clock = time.perf_counter(), time.thread_time()
    outcome = "pixels"
    try:
        camera_model(decode_picture(path, color_mode="rgb", minimum_size=(64, 64)).stored)
    except UnreadableImage as error:
        outcome = "refused" if str(error).isprintable() else "crash: unprintable"
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is what is looked for
        outcome = f"crash: {type(error).__name__}: {error}"
    try:
        header_of(path.read_bytes())
    except UnreadableImage:
        pass
    except BaseException as error:  # noqa: BLE001
        outcome = f"crash in the header: {type(error).__name__}: {error}"
    seconds, wall = time.thread_time() - clock, time.perf_counter() - begun
    told = {"name": name, "outcome": outcome, "seconds": seconds, "wall": wall, "bytes": path.stat().st_size}
    _tell(told)


_TURN = threading.Lock()


def _tell(line: dict[str, Any]) -> None:
    with _TURN:
        print(json.dumps(line), flush=True)


def child(folder: Path, threads: int) -> None:
    """Decode what was put into a folder, with so many threads."""
    names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(tried, names, [folder / str(number) for number in range(len(names))]))
    _tell({"mib": _most_mib()})


def _most_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # the other figure begins with what the parent took
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def portion(files: list[tuple[str, bytes]], threads: int) -> tuple[list[dict[str, Any]], float]:
    """What became of some files in a child process, and the most memory that it took."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "names.json").write_text(json.dumps([name for name, _ in files]), encoding="utf-8")
        for number, (_, data) in enumerate(files):
            Path(folder, str(number)).write_bytes(data)
        command = [sys.executable, __file__, "--child", folder, "--threads", str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    results = [line for line in told if "outcome" in line]
    memory = next((float(line["mib"]) for line in told if "mib" in line), 0.0)
    # What libraries print, and what was under way when the process died.
    crashes = [(files[0][0], f"printed {done.stderr.strip()[-300:]!r}")] if done.stderr.strip() else []
    if done.returncode:
        lost = {line["begun"] for line in told if "begun" in line} - {line["name"] for line in results}
        crashes += [(name, f"ended with {done.returncode}") for name in sorted(lost)]
    blank = {"seconds": 0.0, "wall": 0.0, "bytes": 0}
    return results + [{"name": name, "outcome": f"crash: {what}", **blank} for name, what in crashes], memory


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """As many damaged files, of all kinds in turn."""
    generator, files = np.random.default_rng(seed), list(sound_files().items())
    for number in range(count):
        name, data = files[number % len(files)]
        yield f"{name}, mutant {number}", mutant(data, generator)


def through(run: Path, files: Iterator[tuple[str, bytes]]) -> bool:
    """Audit, train on and predict damaged files; whether each found the same ones unreadable, and made up nothing."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "photos")
        for number, (_, data) in enumerate(files):
            path = folder / "ab"[number % 2] / f"{number:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        begun = time.process_time()
        answers = sightline.predict(run, folder, progress=False)
        told = {Path(name).name for name, error in zip(answers.row_ids, answers.errors, strict=True) if error}
        made_up = [name for name in answers.row_ids if not _decodes(name) and Path(name).name not in told]
        print(
            f"predicted {len(answers):,}: {len(told):,} unreadable, {len(made_up)} made up; {_spent(begun)}", flush=True
        )
        found = sightline.audit(folder)
        broken = {Path(name).name for one in found.findings if one.kind == "unreadable" for name in one.paths}
        print(f"audited {found.num_files:,}: {len(broken):,} unreadable; {_spent(begun)}", flush=True)
        keys = {"model.name": "mlp", "training.epochs": 1, "data.image_size": 28, "data.unreadable_limit": 1.0}
        recipe = sightline.recipe("fast", keys)
        trained = sightline.train(folder, recipe=recipe, out=Path(place, "run"), mode="quiet")
        rows = sum(len(getattr(trained.splits, name)) for name in ("train", "validation", "calibration", "test"))
        print(f"trained on files of which {rows:,} were divided; {_spent(begun)}", flush=True)
    return not made_up and broken == told and rows <= len(answers) - len(told)


def _decodes(path: str) -> bool:
    try:
        decode_picture(Path(path), color_mode="grey")
    except UnreadableImage:
        return False
    return True


def _spent(begun: float) -> str:
    return f"{time.process_time() - begun:.0f} s of processor, {_most_mib():,.0f} MiB at most"


def report(title: str, results: list[dict[str, Any]], memory: float) -> bool:
    """Print a table; whether all is well."""
    crashes = [line for line in results if line["outcome"].startswith("crash")]
    slow = [line for line in results if line["seconds"] > MOST_SECONDS]
    counts = Counter(line["outcome"].partition(":")[0] for line in results)
    print(
        f"\n{title}: {len(results):,} files; " + ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
    )
    print(f"  over {MOST_SECONDS:g} s of processor: {len(slow)}; most memory of a process: {memory:,.0f} MiB")
    for line in sorted(results, key=lambda line: -line["seconds"])[:5]:
        print(f"  {line['seconds']:6.2f} s  {line['bytes']:>11,} bytes  {line['outcome'][:10]:10}  {line['name']}")
    for line in crashes:
        print(f"  {line['name']}: {line['outcome']}")
    return not crashes and not slow and memory <= MOST_MIB


def main() -> int:
    """Attack, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=4000)
    parser.add_argument("--bombs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--through", type=Path, metavar="RUN", help="audit, train on and predict them, by this run")
    asked = parser.parse_args()
    if asked.through is not None:
        return 0 if through(asked.through, mutants(asked.mutants, asked.seed)) else 1
    if asked.child is not None:
        child(asked.child, asked.threads)
        return 0
    damaged, made = list(mutants(asked.mutants, asked.seed)), [(name, make()) for name, make in bombs(asked.bombs)]
    is_well = True
    for title, files, size in (("damaged files", damaged, PORTION), ("bombs", made, 25)):
        results: list[dict[str, Any]] = []
        memory = 0.0
        for first in range(0, len(files), size):
            found, taken = portion(files[first : first + size], asked.threads)
            results, memory = results + found, max(memory, taken)
        is_well &= report(title, results, memory)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
