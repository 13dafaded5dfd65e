"""What there is to choose from: `models`, `datasets`, `recipes` as rows of plain values."""

from __future__ import annotations

from typing import Any

from sightline.configuration.names import SOURCES
from sightline.configuration.networks import MODELS
from sightline.training.setup.resolution import RECIPES


def models() -> list[dict[str, Any]]:
    """The networks that `model.name` can ask for.

    Returns:
        One mapping a network: name, parameters, input, summary, source. Parameters and
        input hold for 28x28 grey images and ten classes.

    Raises:
        Nothing.

    Example:
        >>> [row["parameters"] for row in models() if row["name"] == "lenet5"]
        [61706]
    """
    return [
        {
            "name": name,
            "parameters": entry.num_parameters,
            "input": "x".join(map(str, entry.reference_input)),
            "largest_input": entry.largest,
            "summary": entry.summary,
            "source": entry.source,
        }
        for name, entry in MODELS.items()
    ]


def datasets() -> list[dict[str, Any]]:
    """The sources that go by a name.

    Returns:
        One mapping a source: name, train, test, shape, classes, content, licence, origin.

    Raises:
        Nothing.

    Example:
        >>> [row["name"] for row in datasets()]
        ['mnist', 'fashion-mnist', 'cifar10']
    """
    return [
        {
            "name": name,
            "train": entry.num_train,
            "test": entry.num_test,
            "shape": "x".join(map(str, entry.shape)),
            "class_names": list(entry.class_names),
            "content": entry.content,
            "licence": entry.licence,
            "origin": entry.origin,
        }
        for name, entry in SOURCES.items()
    ]


def recipes() -> list[dict[str, Any]]:
    """The recipes that go by a name.

    Returns:
        One mapping a recipe: name, summary, settings (keys that differ from the defaults).

    Raises:
        Nothing.

    Example:
        >>> [row["name"] for row in recipes()]
        ['fast', 'accurate', 'photos', 'transfer', 'tutorial']
    """
    return [
        {"name": name, "summary": entry.summary, "settings": dict(entry.settings)} for name, entry in RECIPES.items()
    ]
