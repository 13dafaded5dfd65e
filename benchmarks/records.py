"""Train a recipe on MNIST with several seeds, and write every look at the test images into docs/records.md.

Each seed is one whole `sightline train mnist --recipe NAME --seed N` in a process of its own, which looks at the test
images once, at its end. A seed whose run lies in the folder already is not trained and not looked at again.

Usage: python benchmarks/records.py [--recipe accurate] [--seeds 5] [--out runs/records] [--set KEY=VALUE ...]

The table gives test errors, accuracy on validation and test, and what each training cost: seconds on the clock and
seconds of processor time, of `fit` and of everything. The mean comes with its 95 % interval over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from seeds import mean_interval

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "records.md"
HEADING = "Looks by benchmarks/records.py"


def main() -> None:
    """Train what is missing, record each look, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="accurate")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/records"))
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    print(machine())
    rows = [trained(arguments, seed) for seed in range(arguments.seeds)]
    errors = [row["errors"] for row in rows]
    accuracies = [row["test"] for row in rows]
    lower, upper = mean_interval(accuracies) if len(rows) > 1 else (float("nan"), float("nan"))
    print(
        f"\nmean accuracy on test {sum(accuracies) / len(rows):.5f} [{lower:.5f}, {upper:.5f}], "
        f"{sum(errors) / len(rows):.1f} errors ({min(errors)} to {max(errors)}) over {len(rows)} seeds"
    )


def trained(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One seed: from its finished run, or trained now, recorded at once."""
    typed = ["train", "mnist", "--recipe", arguments.recipe, "--seed", str(seed)]
    for setting in arguments.settings:
        typed += ["--set", setting]
    name = f"{arguments.recipe}{''.join(f' {setting}' for setting in arguments.settings)} | {seed}"
    return finished(typed, arguments.out / f"{arguments.recipe}-{seed}", name=name, heading=HEADING)


def finished(typed: list[str], folder: Path, *, name: str, heading: str) -> dict[str, Any]:
    """A run by one command: from its folder, or made now; a new one's look at the test images is recorded at once."""
    cost = folder.with_name(f"{folder.name}-cost.json")
    is_new = not (folder / "metrics.json").is_file()
    if is_new:
        cost.parent.mkdir(parents=True, exist_ok=True)
        cost.write_text(json.dumps(ordered(typed, folder)))
    found = {**json.loads(cost.read_text()), **read(folder)}
    line = (
        f"{name} | {found['epochs']} | {found['validation']:.4f} | {found['errors']} | "
        f"{found['fit']:.0f} | {found['wall']:.0f} | {found['cpu']:.0f}"
    )
    print(line, flush=True)
    if is_new:
        record(line, heading)
    return found


def ordered(typed: list[str], folder: Path) -> dict[str, float]:
    """Seconds on the clock and of processor time of one whole command that leaves a run."""
    code = "import sys; from sightline.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *typed, "--out", str(folder), "--json", "--quiet"]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        complaint = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed: {complaint.decode()[-2000:]}")
    return {"wall": time.perf_counter() - started, "cpu": usage.ru_utime + usage.ru_stime}


def read(folder: Path) -> dict[str, float]:
    """What a finished run says of itself."""
    figures = json.loads((folder / "metrics.json").read_text())
    test = figures["test"]
    return {
        "epochs": figures["epochs"],
        "validation": figures["validation"]["accuracy"],
        "test": test["accuracy"],
        "errors": test["num_images"] - test["num_correct"],
        "calibration_error": test["calibration_error"],
        "fit": figures["seconds"]["fit"],
    }


def record(line: str, heading: str) -> None:
    """Write one look at the test images below the table under a heading of the list of all of them."""
    commit = said_by_git("describe", "--always")
    if said_by_git("status", "--porcelain", "--", "src"):
        commit += "-dirty"
    today = datetime.now(UTC).date().isoformat()
    text = RECORDS.read_text(encoding="utf-8")
    RECORDS.write_text(with_row(text, f"| {today} | {commit} | {line} |", heading), encoding="utf-8")


def said_by_git(*words: str) -> str:
    """What git prints in this checkout; nothing where it fails."""
    command = ["git", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def with_row(text: str, row: str, heading: str) -> str:
    """The list with a row at the end of the table under this heading."""
    before, found, after = text.partition(f"\n## {heading}\n")
    if not found:
        sys.exit(f"{RECORDS} has no heading '{heading}'.")
    section, following, rest = after.partition("\n## ")
    kept = f"{section.rstrip()}\n{row}\n"
    return f"{before}{found}{kept}{following}{rest}"


def machine() -> str:
    """Versions and hardware, so that a figure can be judged later."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("keras", "tensorflow-cpu", "sightline"))
    return f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
