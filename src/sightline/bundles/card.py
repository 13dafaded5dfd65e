"""`card.md`: what a bundle is for, what it was made of, how good it is and where its limits are."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.configuration.consistency import recipe_of_each
from sightline.configuration.names import SOUPS
from sightline.configuration.networks import MODELS, OWN
from sightline.configuration.schema import Recipe
from sightline.metrics.figures import FIGURES, told_in
from sightline.records import Dataset, Evaluation, InputSpec
from sightline.system.text import counted, exact_percent, markdown
from sightline.tasks.table import has_several_labels
from sightline.tasks.task import Task

IDENTITY, LICENCES, LIMITS = "## What it knows of its images", "## Data and licences", "## Limits"


@dataclass(frozen=True)
class Origin:
    """Where a network comes from, as its bundle tells it.

    Attributes:
        typed: what the user named as the source, so that `evaluate` finds it again; "" for arrays.
        label_from: which folder names the class.
        title: in a word or two: "lenet5".
        made: how: "with the recipe 'fast', seed 0".
        licences: what it learned from, and the licences of data and weights; sentences.
        columns: what the columns of a table are called, "path=img,label=species"; "" where they go by usual names.
    """

    typed: str
    label_from: str
    title: str
    made: str
    licences: str
    columns: str = ""


def trained(
    dataset: Dataset, recipe: Recipe, *, num_train: int, typed: str = "", teacher: Mapping[str, Any] | None = None
) -> Origin:
    """Where a trained network comes from.

    Args:
        dataset: what it was trained on.
        recipe: resolved.
        num_train: images it learned from.
        typed: what the user named, so that `evaluate` finds it again; "" for arrays.
        teacher: of a student, as metrics.json has it.
    """
    licences = (
        f"Trained on {num_train:,} images of '{markdown(dataset.name)}'. "
        f"Licence of the data: {markdown(dataset.licence) or 'not stated'}. {_origins(recipe)}"
    )
    kept = ""
    if recipe.data.keep_classes:
        run = markdown(recipe.model.weights)
        kept = f". Classes that '{run}' knew and its images lacked are kept by images of that run"
    made = f"with the recipe '{recipe.name}', seed {recipe.seed}{_taught(teacher)}{kept}"
    columns = recipe.data.columns or ""
    return Origin(typed, recipe.data.label_from, ", ".join(recipe_of_each(recipe)), made, licences, columns)


def card(
    dataset: Dataset,
    spec: InputSpec,
    origin: Origin,
    *,
    evaluation: Evaluation | None,
    ensemble: Mapping[str, Any] | None,
    identity_bytes: int | None = None,
) -> str:
    """The card of a network of any origin as Markdown.

    Args:
        dataset: what it was judged on.
        spec: what the network is fed.
        origin: where it comes from.
        evaluation: on test rows, or None.
        ensemble: as metrics.json has it, or None for a single network.
        identity_bytes: size of the file by which the bundle knows its images; None where there is none.
    """
    parts = (
        f"{_front_matter(dataset, origin, evaluation)}# {markdown(dataset.name)}: {origin.title}",
        f"Made on {datetime.now(UTC):%Y-%m-%d} by Sightline {origin.made}.{_members(ensemble, dataset.task)}",
        "## What it is for",
        f"{_purpose(dataset)}: {', '.join(map(markdown, dataset.class_names))}. "
        f"Images are brought to {spec.height}x{spec.width} pixels, {spec.color_mode}, "
        f"by the rule '{spec.resize}'.",
        "## Figures",
        _figures(evaluation),
        IDENTITY,
        _identity(identity_bytes),
        LICENCES,
        origin.licences,
        LIMITS,
        _limits(dataset, spec, evaluation),
    )
    return "\n\n".join(parts) + "\n"


def _purpose(dataset: Dataset) -> str:
    if has_several_labels(dataset.task):
        return f"It says which of {dataset.num_classes} labels an image has, several or none"
    return f"It tells {dataset.num_classes} classes apart"


def _front_matter(dataset: Dataset, origin: Origin, evaluation: Evaluation | None) -> str:
    """What a hub of models reads of a card: YAML, of which JSON is a part, so that no name does anything in it."""
    told: dict[str, Any] = {
        "library_name": "sightline",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "onnx"],
    }
    if evaluation is not None:
        metrics = [
            {"type": name, "name": figure.words, "value": figure.value}
            for name in told_in("card", evaluation.figures)
            if not FIGURES[name].needs and math.isfinite((figure := evaluation.figures[name]).value)
        ]
        of_what = {"type": dataset.name, "name": dataset.name, "split": "test"}
        result = {"task": {"type": "image-classification"}, "dataset": of_what, "metrics": metrics}
        told["model-index"] = [{"name": f"{dataset.name}: {origin.title}", "results": [result]}]
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in told.items())
    return f"---\n{lines}\n---\n\n"


def licences_of(text: str) -> str:
    """What a card says of the licences of data and weights; the whole of a card that is laid out otherwise."""
    _, _, rest = text.partition(f"{LICENCES}\n")
    return (rest.partition(f"\n{LIMITS}")[0] or text).strip()


def _identity(num_bytes: int | None) -> str:
    if num_bytes is None:
        return (
            "Nothing: it was made without hashes of its images. `evaluate` cannot tell what it learned from by content."
        )
    return (
        f"A hash of the pixels of each image that it was made with, and in which split it was (`identity.npz`, "
        f"{num_bytes:,} bytes), so that `evaluate` gives no figure on what it learned from, wherever those images lie. "
        "No image can be made of a hash; but whoever has this bundle and an image can ask whether that very image was "
        "among them. `--no-identity` leaves the hashes out."
    )


def _members(ensemble: Mapping[str, Any] | None, task: Task) -> str:
    if ensemble is None:
        return ""
    members = [member for member in ensemble["members"] if member["vote"] > 0]
    if ensemble["kind"] == "combined" and len(members) == 1:
        return f" One of them alone is heard: {members[0]['run']}, {members[0]['network']}."
    counts = Counter(member["network"] for member in members)
    networks = ", ".join(f"{count} of {network}" for network, count in counts.items())
    how = "their weights are averaged into one network" if ensemble["kind"] in SOUPS else "their answers are averaged"
    text = f" It is an ensemble ({ensemble['kind']}: {networks}); {how}."
    in_all = ", in all labels" if has_several_labels(task) else ""
    judged = sorted(member["test"]["accuracy"] for member in members if member.get("test"))
    return (
        text
        if not judged
        else f"{text} Alone, they are right on {judged[0]:.4f} to {judged[-1]:.4f} of the test images{in_all}."
    )


def _origins(recipe: Recipe) -> str:
    told = {name: f"{_start(own)}; architecture: {_architecture(own)}." for name, own in recipe_of_each(recipe).items()}
    return " ".join(text if len(told) == 1 else f"{name}: {text}" for name, text in told.items())


def _taught(teacher: Mapping[str, Any] | None) -> str:
    if teacher is None:
        return ""
    known = teacher["test_accuracy"]
    figure = "whose test accuracy is not known" if known is None else f"whose test accuracy is {known:.4f}"
    if (bounds := teacher.get("test_accuracy_interval")) is not None:
        figure += f" [{bounds[0]:.4f}, {bounds[1]:.4f}]"
    text = (
        f". It was distilled from '{teacher['bundle']}', {figure}: it learned, half and half, the given labels and "
        f"what that bundle answers to {counted(teacher['num_views'], 'view')} of each train image"
    )
    if not teacher["has_same_splits"]:
        text += ". What its teacher learned from is not known; the test images may be among it"
    return text


def _start(recipe: Recipe) -> str:
    entry = MODELS.get(recipe.model.name)
    if Path(recipe.model.weights).is_dir():
        return f"The network starts from the weights of '{recipe.model.weights}', whose card says where these come from"
    if recipe.model.name == OWN:
        return "The network was given with the weights that it starts from; their origin and licence are not known here"
    if entry is None or entry.backbone is None or recipe.model.weights == "random":
        return "The network starts from random weights"
    if recipe.model.weights != "imagenet":
        return f"The network starts from the weights in {recipe.model.weights}, whose licence is not known here"
    return (
        f"The network starts from weights trained on ImageNet (ILSVRC 2012), taken from {entry.backbone.origin}; "
        f"licence of the weights: {entry.backbone.licence}"
    )


def _architecture(recipe: Recipe) -> str:
    if recipe.model.name == OWN:
        return "a network of its user's own"
    return MODELS[recipe.model.name].source if recipe.model.name in MODELS else recipe.model.name


def _figures(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "There were no test images: nothing is known about how good it is."
    told = "; ".join(_figure(name, evaluation) for name in told_in("card", evaluation.figures))
    lines = [
        f"On {_test_images(evaluation)} that took no part in any choice: {told}.",
        *([] if evaluation.reliability is None else ["", f"Calibration: {evaluation.reliability.in_words}."]),
        "",
        f"{evaluation.about_intervals[0].upper()}{evaluation.about_intervals[1:]}.",
        "",
        "| class | images | precision | recall | F1 |",
        "|---|---|---|---|---|",
    ]
    for label, name in enumerate(evaluation.class_names):
        shown = " | ".join(evaluation.class_figure(key, label).numbers for key in ("precision", "recall", "f1"))
        lines.append(f"| {markdown(name)} | {evaluation.class_counts[label]:,} | {shown} |")
    return "\n".join(lines)


def _figure(name: str, evaluation: Evaluation) -> str:
    metric, figure = FIGURES[name], evaluation.figures[name]
    text = f"{metric.full_words or figure.words} {figure.written(figure.value)}"
    if figure.interval is None:
        return text
    lower, upper = map(figure.written, figure.interval)
    return f"{text}, {exact_percent(evaluation.interval_level)} interval {lower} to {upper} ({metric.interval_method})"


def _test_images(evaluation: Evaluation) -> str:
    return evaluation.images.replace(" image", " test image", 1)


def _limits(dataset: Dataset, spec: InputSpec, evaluation: Evaluation | None) -> str:
    whatever = (
        "It answers with one of its classes whatever it is shown; a picture of something else gets a wrong answer."
    )
    if has_several_labels(dataset.task):
        whatever = "It knows no labels but its own, and may say one of a picture of something else."
    limits = [
        whatever,
        f"The figures hold for images like those of '{markdown(dataset.name)}' and no others.",
    ]
    if spec.background == "dark":
        limits.append("It learned light objects on a dark background; the inverse is noticed and has to be turned.")
    if evaluation is not None and evaluation.most_confused:
        given, predicted, count = evaluation.most_confused[0]
        limits.append(
            f"Most often confused: '{markdown(given)}' taken for '{markdown(predicted)}' ({count} test images)."
        )
    return "\n".join(f"- {limit}" for limit in limits)
