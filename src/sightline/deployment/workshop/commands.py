"""What the page may start: the commands of Sightline, each with its few choices checked, as a list of arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.bundles.bundle import load_bundle
from sightline.bundles.trust.details import USUAL, usual_makers
from sightline.configuration.recipes import RECIPES
from sightline.deployment.conversion.formats import format_of
from sightline.deployment.sorting.journal import WAYS
from sightline.deployment.workshop.folders import RUNS, Root
from sightline.deployment.workshop.jobs import HERE
from sightline.deployment.workshop.sets.asking import table_of
from sightline.deployment.workshop.sets.contents import pictures_below, set_at
from sightline.deployment.workshop.sets.naming import SERIES, num_series
from sightline.deployment.workshop.sets.tables import labels_in, table_of_labels
from sightline.errors import InvalidValue, SightlineError, pick
from sightline.evaluation.measuring.judging import recorded_source
from sightline.system.paths import portable_name

# Files of a job beside its output.
PLAN_PAGE, ANSWERS, _PICTURES = "plan.html", "answers.jsonl", "pictures.csv"
_JOB_DEPTH = 2
_LONGEST_MINUTES = 7 * 24 * 60


@dataclass(frozen=True)
class Asked:
    """A command as it is to be started.

    Attributes:
        arguments: behind `sightline`.
        about: what the page shows of it beside the command line.
        files: that it reads from the folder of its job, by name.
    """

    arguments: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def asked_of(root: Root, kind: object, told: Mapping[str, Any]) -> Asked:
    """The command of a kind with what the page chose; an InvalidValue where a choice is none."""
    return pick(COMMANDS, str(kind), kind="command of the studio")(root, told)


def _source(root: Root, told: Mapping[str, Any]) -> Path:
    source = root.inside(told.get("source"))
    if not source.exists():
        raise InvalidValue("the pictures are gone from where they were. Choose their folder again.")
    return source


def run_at(root: Root, named: object) -> Path:
    """The folder of a run that a page names."""
    run = root.inside(named)
    if run.parent != root.place / RUNS or not run.is_dir():
        raise InvalidValue("no such run. Choose one from the list.")
    return run


def _audit(root: Root, told: Mapping[str, Any]) -> Asked:
    source = _source(root, told)
    labels = ["--labels"] if told.get("labels") is True else []
    about = {"source": root.name_of(source), "labels": bool(labels)}
    return Asked(("audit", root.word_of(source), *labels), about)


def _train(root: Root, told: Mapping[str, Any]) -> Asked:
    source = _source(root, told)
    recipe = str(told.get("recipe"))
    pick(RECIPES, recipe, kind="recipe")
    budget = []
    if told.get("minutes") is not None:
        minutes = _number(told, "minutes", least=0.1, most=_LONGEST_MINUTES)
        budget = ["--time-budget", f"{minutes * 60:.0f}"]
    run = _new_run(root, source, recipe)
    root.inside(run)  # the folder of runs may be a link that leads out
    # Pictures of one recording are alike: none of it is tested on what another taught, unless somebody says so.
    has_groups = told.get("series") is not False and source.is_dir() and num_series(pictures_below(source)) > 0
    series = ["--set", f"data.group_by={SERIES}"] if has_groups else []
    labels = ["--labels", root.word_of(table_of_labels(source))] if _is_relabelled(source, told) else []
    arguments = ("train", root.word_of(source), "--recipe", recipe, *budget, *series, *labels, "--out", run)
    return Asked(arguments, {"source": root.name_of(source), "run": run})


def _is_relabelled(source: Path, told: Mapping[str, Any]) -> bool:
    return told.get("labels") is not False and source.is_file() and bool(labels_in(source))


def _new_run(root: Root, source: Path, recipe: str) -> str:
    name = source.stem if source.is_file() else source.name
    stem = portable_name(f"{name}-{recipe}".replace(" ", "-")).lstrip("-~.")
    number = 1
    while (root.place / RUNS / f"{stem}-{number:03d}").exists():
        number += 1
    return f"{RUNS}/{stem}-{number:03d}"


def _resume(root: Root, told: Mapping[str, Any]) -> Asked:
    run = root.name_of(run_at(root, told.get("run")))
    return Asked(("resume", run), {"run": run})


def _report(root: Root, told: Mapping[str, Any]) -> Asked:
    run = root.name_of(run_at(root, told.get("run")))
    return Asked(("report", run, *(["--full"] if told.get("full") is True else [])), {"run": run})


def _plan(root: Root, told: Mapping[str, Any]) -> Asked:
    asked = _sort(root, told)
    return Asked((*asked.arguments, "--dry-run", "--page", f"{HERE}/{PLAN_PAGE}"), asked.about)


def _sort(root: Root, told: Mapping[str, Any]) -> Asked:
    run = root.name_of(run_at(root, told.get("run")))
    folder, into = _source(root, told), root.inside(told.get("into"))
    if into == root.place:
        raise InvalidValue("into: name a folder to sort into, such as sorted.")
    way = str(told.get("by", "copy"))
    pick(dict.fromkeys(WAYS), way, kind="way of sorting")
    confidence = _number(told, "min_confidence", least=0.0, most=1.0)
    sure = ["--min-confidence", f"{confidence:g}"] if confidence else []
    arguments = ("sort", run, root.word_of(folder), "--into", root.word_of(into), "--by", way, *sure)
    chosen = {"run": run, "source": root.name_of(folder), "into": root.name_of(into), "by": way}
    return Asked(arguments, chosen | {"min_confidence": confidence})


def _undo(root: Root, told: Mapping[str, Any]) -> Asked:
    into = root.inside(told.get("into"))
    return Asked(("sort", "--undo", root.word_of(into)), {"into": root.name_of(into)})


def _export(root: Root, told: Mapping[str, Any]) -> Asked:
    run = root.name_of(run_at(root, told.get("run")))
    name = str(told.get("format"))
    format_of(name)
    return Asked(("export", run, name), {"run": run, "format": name})


def _mistakes(root: Root, told: Mapping[str, Any]) -> Asked:
    place = run_at(root, told.get("run"))
    run = root.name_of(place)
    try:
        source: str | None = root.name_of(root.inside(recorded_source(load_bundle(place))))
    except SightlineError:  # it does not say so, or its pictures lie elsewhere; the command tells what it can
        source = None
    return Asked(("mistakes", run), {"run": run, "source": source})


def _answers(root: Root, told: Mapping[str, Any]) -> Asked:
    place = run_at(root, told.get("run"))
    source, run = set_at(root, told.get("source")), root.name_of(place)
    promised = usual_makers(load_bundle(place))[0]
    unsure = ["--max-error", f"{USUAL.max_error:g}"] if "abstention" in promised else []
    novel = ["--novelty", f"{USUAL.novelty:g}"] if "novelty" in promised else []
    out = f"{HERE}/{ANSWERS}"
    arguments = ("predict", run, f"{HERE}/{_PICTURES}", "--top", "2", *unsure, *novel, "--out", out)
    table = table_of(root, source, job_depth=_JOB_DEPTH)
    return Asked(arguments, {"run": run, "source": root.name_of(source)}, {_PICTURES: table})


def _number(told: Mapping[str, Any], name: str, *, least: float, most: float) -> float:
    value = told.get(name, least)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= value <= most:
        raise InvalidValue(f"{name} must be a number from {least:g} to {most:g}; got {value!r}.")
    return float(value)


COMMANDS: dict[str, Callable[[Root, Mapping[str, Any]], Asked]] = {
    "audit": _audit,
    "train": _train,
    "resume": _resume,
    "answers": _answers,
    "mistakes": _mistakes,
    "report": _report,
    "plan": _plan,
    "sort": _sort,
    "undo": _undo,
    "export": _export,
}
