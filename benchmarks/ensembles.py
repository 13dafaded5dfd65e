"""What ensembles bring and cost, by whole commands; every look at test images is written into docs/records.md.

Usage: python benchmarks/ensembles.py of-runs runs/records [--prefix accurate-] [--size 10] [--corrections FILE]
       python benchmarks/ensembles.py lenet5 [--seeds 3] [--members 10] [--jobs 2] [--out runs/ensembles]
       python benchmarks/ensembles.py cost [--seeds 3] [--members 5] [--out runs/ensembles-cost]

`of-runs` takes finished runs as `records.py` leaves them, trains nothing and looks at nothing anew: errors of single
networks and of ensembles drawn from them, by raw labels, and by corrected ones where a file has them (a CSV with
the columns row_id and label; an empty label leaves the image out).
`lenet5` trains LeNet-5, an ensemble of LeNet-5s and a LeNet-5 distilled from the ensemble, on MNIST and Fashion-MNIST:
accuracy and calibration error on test, and what an image costs to predict.
`cost` trains an ensemble and a single network on a tenth of MNIST and compares how long they take to predict, from
files and from arrays, in turn. Their accuracy is not reported.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ensembles_of_runs
import numpy as np
from numpy.typing import NDArray
from records import finished, machine, ordered
from seeds import mean_interval

import sightline
from sightline.bundles.bundle import load_bundle
from sightline.errors import SightlineError

HEADING = "Looks by benchmarks/ensembles.py"
TARGET = 5.0
NUM_FILES, NUM_ARRAYS = 2_000, 10_000


def main() -> None:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    ensembles = commands.add_parser("of-runs")
    ensembles.add_argument("folder", type=Path)
    ensembles.add_argument("--prefix", default="accurate-")
    ensembles.add_argument("--size", type=int, default=10)
    ensembles.add_argument("--draws", type=int, default=200, help="at most so many ensembles")
    ensembles.add_argument("--corrections", type=Path, metavar="FILE", help="CSV with the columns row_id and label")
    ensembles.set_defaults(call=ensembles_of_runs.report)
    for name, call, members in (("lenet5", compare_lenet5, 10), ("cost", compare_costs, 5)):
        command = commands.add_parser(name)
        command.add_argument("--seeds", type=int, default=3)
        command.add_argument("--members", type=int, default=members)
        command.add_argument("--jobs", type=int, default=1, help="members trained at once")
        command.add_argument("--rounds", type=int, default=7)
        command.add_argument("--out", type=Path, default=Path("runs/ensembles" + ("-cost" if name == "cost" else "")))
        command.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
        command.set_defaults(call=call)
    commands.choices["lenet5"].add_argument("--sources", default="mnist,fashion-mnist")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    arguments.call(arguments)


def compare_lenet5(arguments: argparse.Namespace) -> None:
    """LeNet-5 alone, an ensemble of them, and one distilled from the ensemble."""
    for source in arguments.sources.split(","):
        try:
            data = sightline.load(source)
        except SightlineError as error:
            print(f"\n{source} was left out: {error}")
            continue
        images = np.asarray(data.images)[sightline.split(data).test]
        found = [compare_seed(arguments, source, seed, images) for seed in range(arguments.seeds)]
        print(f"\n{source}, means over {len(found)} seeds\n")
        print("| what | errors | accuracy | calibration error, points | ms an image | cost, times the single one's |")
        print("|---|---|---|---|---|---|")
        for what in found[0]:
            print(row_of(what, [one[what] for one in found]))


def compare_seed(
    arguments: argparse.Namespace, source: str, seed: int, images: NDArray[np.uint8]
) -> dict[str, dict[str, float]]:
    """What each of them is on test, and what it costs to predict."""
    place = arguments.out / source
    common = ["--model", "lenet5", "--recipe", "fast", "--seed", str(seed)]
    for setting in arguments.settings:
        common += ["--set", setting]
    deep = ["--ensemble", "deep", "--members", str(arguments.members), "--jobs", str(arguments.jobs)]
    typed = {"alone": ["train", source, *common], f"deep of {arguments.members}": ["train", source, *common, *deep]}
    if has_command("distil"):
        # The student has the recipe that the command gives it: what is measured is the command as it is.
        teacher = place / f"deep-of-{arguments.members}-{seed}"
        typed["distilled"] = ["distil", str(teacher), "--into", "lenet5", "--seed", str(seed)]
    else:
        print("distilled: left out, this version has no command `distil`")
    runs = {what: place / f"{what.replace(' ', '-')}-{seed}" for what in typed}
    told = " ".join((source, "lenet5", *arguments.settings))
    found = {
        what: finished(words, runs[what], name=f"{told}, {what} | {seed}", heading=HEADING)
        for what, words in typed.items()
    }
    seconds = in_turn({what: asking(runs[what], images) for what in typed}, arguments.rounds)
    return {
        what: {
            **found[what],
            "milliseconds": 1000 * statistics.median(seconds[what]) / len(images),
            "ratio": statistics.median(np.divide(seconds[what], seconds["alone"]).tolist()),
        }
        for what in typed
    }


def row_of(what: str, seeds: list[dict[str, Any]]) -> str:
    """One line of the table: means over seeds, accuracy and calibration error with their intervals."""
    cells = [what, f"{statistics.mean(one['errors'] for one in seeds):.1f}"]
    for key, scale, digits in (("test", 1, 5), ("calibration_error", 100, 3)):
        values = [scale * one[key] for one in seeds]
        cells.append(f"{statistics.mean(values):.{digits}f}{interval_of(values, digits)}")
    cells.append(f"{statistics.median(one['milliseconds'] for one in seeds):.4f}")
    cells.append(f"{statistics.median(one['ratio'] for one in seeds):.2f}")
    return "| " + " | ".join(cells) + " |"


def interval_of(values: list[float], digits: int) -> str:
    """The 95 % interval of a mean; nothing of a single value."""
    if len(values) < 2:
        return ""
    lower, upper = mean_interval(values)
    return f" [{lower:.{digits}f}, {upper:.{digits}f}]"


def compare_costs(arguments: argparse.Namespace) -> None:
    """Predictions of an ensemble beside those of a single network, trained on a tenth of MNIST."""
    images = np.asarray(sightline.load("mnist").images)[:NUM_ARRAYS]
    kinds = {"one": [], "ensemble": ["--ensemble", "deep", "--members", str(arguments.members)]}
    ratios: dict[str, list[float]] = {"files": [], "arrays": []}
    with tempfile.TemporaryDirectory() as folder:
        write_files(images[:NUM_FILES], Path(folder))
        for seed in range(arguments.seeds):
            runs = {kind: arguments.out / f"{kind}-{arguments.members}-{seed}" for kind in kinds}
            for kind, words in kinds.items():
                train_on_tenth(
                    [*words, *[part for one in arguments.settings for part in ("--set", one)]], runs[kind], seed
                )
            for name, asked in (("files", folder), ("arrays", images)):
                seconds = in_turn({kind: asking(runs[kind], asked) for kind in kinds}, arguments.rounds)
                found = np.divide(seconds["ensemble"], seconds["one"]).tolist()
                ratios[name] += found
                per_image = NUM_FILES if name == "files" else NUM_ARRAYS
                each = {kind: 1000 * statistics.median(values) / per_image for kind, values in seconds.items()}
                print(
                    f"seed {seed}, {name}: one {each['one']:.4f} ms an image, ensemble {each['ensemble']:.4f}, "
                    f"ratio {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})",
                    flush=True,
                )
    for name, values in ratios.items():
        middle = statistics.median(values)
        said = "reached" if middle < TARGET else "not reached"
        print(
            f"{name}: {arguments.members} members cost {middle:.2f} times one ({min(values):.2f} to {max(values):.2f}, "
            f"{len(values)} rounds in all); the aim, below {TARGET:g}, is {said}"
        )


def train_on_tenth(words: list[str], folder: Path, seed: int) -> None:
    """A short training whose accuracy is not reported; nothing where it is there already."""
    if (folder / "metrics.json").is_file():
        return
    ordered(
        ["train", "mnist", "--model", "lenet5", "--fraction", "0.1", "--epochs", "2", "--seed", str(seed), *words],
        folder,
    )


def write_files(images: NDArray[np.uint8], folder: Path) -> None:
    """Each image as a PNG."""
    from PIL import Image

    for number, image in enumerate(images):
        Image.fromarray(image[:, :, 0]).save(folder / f"{number:05d}.png")


def asking(run: Path, images: Any) -> Callable[[], Any]:
    """One whole prediction by the library, the opening of the bundle included."""
    bundle = load_bundle(run)
    return lambda: sightline.predict(bundle, images, progress=False)


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, round by round in turn, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for count in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if count:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def has_command(name: str) -> bool:
    """Whether this version has the command."""
    from sightline.cli.main import COMMANDS

    return name in COMMANDS


if __name__ == "__main__":
    main()
