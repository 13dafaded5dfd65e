"""From the results of `concepts.py` to concepts.json and to the tables of both pages. Imports no Keras."""

# ruff: noqa: RUF001  # Chinese has its own commas and brackets
from __future__ import annotations

import json
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

from seeds import mean_interval

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"en": "concepts.md", "zh": "concepts.zh.md"}

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "entry": "entry",
        "accuracy": "accuracy, %",
        "difference": "difference to the first, points",
        "verdict": "told apart?",
        "better": "better",
        "worse": "worse",
        "same": "no",
        "rate": "rate (choices)",
        "strength": "strength (choices)",
        "cross_entropy": "cross-entropy",
        "calibration_error": "calibration error, points",
        "calibrated_error": "the same after calibration",
        "epochs": "epochs trained",
        "parameters": "parameters",
        "steps": "steps",
        "failed": "failed",
        "seen": "images learned from",
        "passes": "passes an image",
        "missing": "Not measured yet.",
        "of": "of",
        "to": " to ",
        "machine": (
            "Measured on {machine}: {seeds} seeds a row, {rows:,} training images and {epochs} epochs where nothing "
            "else is said, judged on 5,000 other rows of the train split of {source}."
        ),
    },
    "zh": {
        "entry": "设置",
        "accuracy": "准确率（%）",
        "difference": "与第一行之差（百分点）",
        "verdict": "能区分吗？",
        "better": "更好",
        "worse": "更差",
        "same": "不能",
        "rate": "学习率（候选值）",
        "strength": "强度（候选值）",
        "cross_entropy": "交叉熵",
        "calibration_error": "校准误差（百分点）",
        "calibrated_error": "校准之后",
        "epochs": "训练轮数",
        "parameters": "参数个数",
        "steps": "步数",
        "failed": "失败次数",
        "seen": "训练时看过的图像数",
        "passes": "每张图像的计算次数",
        "missing": "尚未测量。",
        "of": "/",
        "to": "～",
        "machine": (
            "测量环境：{machine}。每行 {seeds} 个种子；未另行说明时用 {rows:,} 张训练图像、{epochs} 轮，"
            "在 {source} 训练集另外 5,000 行上评判。"
        ),
    },
}


def write_results(out: Path, name: str, rows: list[dict[str, Any]], *, sizes: dict[str, Any], machine: str) -> None:
    """Put one experiment into OUT/concepts.json; what was measured at other sizes is dropped."""
    path = out / "concepts.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if content.get("sizes") != sizes:
        content = {"sizes": sizes, "experiments": {}}
    content["machine"] = machine
    content["experiments"][name] = rows
    path.write_text(as_text(content), encoding="utf-8")


def as_text(content: dict[str, Any]) -> str:
    """JSON with a line an entry, so that a change can be read."""
    experiments = content["experiments"]
    blocks = [
        f"  {json.dumps(name)}: [\n" + ",\n".join(f"   {json.dumps(row)}" for row in rows) + "\n  ]"
        for name, rows in experiments.items()
    ]
    head = {key: content[key] for key in ("machine", "sizes")}
    return json.dumps(head)[:-1] + ',\n "experiments": {\n' + ",\n".join(blocks) + "\n }\n}\n"


def publish(out: Path, docs: Path) -> None:
    """Copy results and pictures into the documentation, and rewrite the tables between their marks."""
    content = json.loads((out / "concepts.json").read_text(encoding="utf-8"))
    shutil.copyfile(out / "concepts.json", docs / "concepts.json")
    for name in content["experiments"]:
        shutil.copyfile(out / f"concepts-{name}.png", docs / "images" / f"concepts-{name}.png")
    for language, page in PAGES.items():
        text = (docs / page).read_text(encoding="utf-8")
        (docs / page).write_text(filled(text, content, language), encoding="utf-8")


def filled(text: str, content: dict[str, Any], language: str) -> str:
    """A page whose marks hold these results.

    Between `<!-- measured NAME: begin -->` and its end stands one experiment; NAME `machine` is where and how large.
    """

    def between(found: re.Match[str]) -> str:
        return f"{found[1]}\n{measured(found[2], content, language)}{found[3]}"

    return re.sub(
        r"(<!-- measured ([\w-]+): begin -->)\n.*?(<!-- measured \2: end -->)", between, text, flags=re.DOTALL
    )


def measured(name: str, content: dict[str, Any], language: str) -> str:
    """What stands between the marks of one name, with a line break at its end."""
    from concepts_table import EXPERIMENTS

    words = WORDS[language]
    if name == "machine":
        return words["machine"].format(machine=content["machine"], **content["sizes"]) + "\n"
    if name not in content["experiments"]:
        return f"{words['missing']}\n"
    rows, experiment = content["experiments"][name], EXPERIMENTS[name]
    heads = [words[head] for head in ("entry", "accuracy", "difference", "verdict", *experiment.figures)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        difference, verdict = compared(row["accuracy"], rows[0]["accuracy"])
        said = words[verdict] if verdict else ""
        cells = [row["label"], spread(row["accuracy"], 100, 2), difference, said]
        cells += [cell(figure, row, words) for figure in experiment.figures]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def spread(values: list[float], scale: float, digits: int) -> str:
    """A mean over seeds with its 95 % interval: "97.21 [96.90, 97.52]"."""
    middle = f"{statistics.mean(values) * scale:.{digits}f}"
    if len(values) < 2:
        return middle
    lower, upper = mean_interval(values)
    return f"{middle} [{max(lower, 0) * scale:.{digits}f}, {min(upper * scale, max(scale, upper)):.{digits}f}]"


def compared(values: list[float], reference: list[float]) -> tuple[str, str]:
    """The difference seed by seed, as points with its interval, and what it says: better, worse or same."""
    if values is reference or len(values) < 2:
        return "", ""
    differences = [value - other for value, other in zip(values, reference, strict=True)]
    lower, upper = mean_interval(differences)
    verdict = "better" if lower > 0 else "worse" if upper < 0 else "same"
    return f"{statistics.mean(differences) * 100:+.2f} [{lower * 100:+.2f}, {upper * 100:+.2f}]", verdict


def cell(figure: str, row: dict[str, Any], words: dict[str, str]) -> str:
    """One figure of an entry as its table shows it."""
    if figure in ("rate", "strength"):
        return choice(row, words)
    values = row.get(figure)
    if not values:
        return ""
    if figure == "failed":
        return f"{sum(values)} {words['of']} {len(values)}"
    if figure in ("parameters", "steps", "epochs", "seen", "passes"):
        low, high = min(values), max(values)
        return f"{low:,}" if low == high else f"{low:,}{words['to']}{high:,}"
    return spread(values, 100, 2) if figure.startswith("calibra") else spread(values, 1, 3)


def choice(row: dict[str, Any], words: dict[str, str]) -> str:
    """The value that was taken and those that it was taken from, or the rate as it was set."""
    if "chosen" not in row:
        rate = row["settings"].get("optimizer.learning_rate")
        return f"{rate:g}" if rate and words else ""
    values = list(row["chosen"]["of"])
    (taken,) = (value for key, value in row["chosen"].items() if key != "of")
    return f"{taken:g} ({', '.join(f'{value:g}' for value in values)})"
