"""`models`, `datasets`, `recipes`: commands that list what goes by a name."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

from sightline.cli.printing import print_json, print_table, print_text


def models(arguments: Namespace) -> int:
    """List the networks."""
    from sightline.information import models as list_models

    rows = list_models()
    if arguments.json:
        print_json(rows)
    else:
        print_table(
            [_model_in_cells(row) for row in rows],
            ("name", "parameters", "input", "ImageNet", "cost", "summary", "source"),
        )
        print_text(
            "ImageNet: published accuracy of the weights. Cost: multiplications of an image at that size. Networks "
            "without begin with random weights."
        )
    return 0


def _model_in_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    is_pretrained = row["accuracy"] is not None
    how = f"\n{row['weights']}" if is_pretrained and row["weights"].startswith("pip") else ""
    return {
        **row,
        "ImageNet": f"{row['accuracy']:.1f} %" if is_pretrained else "",
        "cost": f"{row['multiply_adds']:,} M" if is_pretrained else "",
        "summary": row["summary"] + how,
    }


def datasets(arguments: Namespace) -> int:
    """List the sources that go by a name."""
    from sightline.information import datasets as list_datasets

    rows = list_datasets()
    if arguments.json:
        print_json(rows)
    else:
        print_table(rows, ("name", "train", "test", "shape", "content", "licence", "origin"))
    return 0


def recipes_options(parser: ArgumentParser) -> None:
    """What `recipes` takes."""
    parser.add_argument("--keys", action="store_true", help="list every key with its default and meaning")


def recipes(arguments: Namespace) -> int:
    """List the recipes, or every key."""
    from sightline.configuration.recipes import keys
    from sightline.configuration.schema import Recipe
    from sightline.information import recipes as list_recipes

    if not arguments.keys:
        rows = list_recipes()
        if arguments.json:
            print_json(rows)
        else:
            print_table(
                [
                    {**row, "settings": "\n".join(f"{key}={value}" for key, value in row["settings"].items())}
                    for row in rows
                ],
                ("name", "summary", "settings"),
            )
        return 0
    described = []
    for key, entry in keys().items():
        default = entry.default if entry.default is not MISSING else getattr(Recipe(), key)
        known = ", ".join(entry.metadata.get("known", ()))
        described.append({"key": key, "default": default, "meaning": entry.metadata.get("doc", ""), "values": known})
    if arguments.json:
        print_json(described)
    else:
        print_table(described, ("key", "default", "meaning", "values"))
    return 0
