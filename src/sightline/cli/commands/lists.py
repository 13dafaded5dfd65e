"""`models`, `datasets`, `recipes`, `cache`, `doctor`: commands that list what there is."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import MISSING

from sightline.cli.printing import print_json, print_table, print_text
from sightline.errors import require


def models(arguments: Namespace) -> int:
    """List the networks."""
    from sightline.information import models as list_models

    rows = list_models()
    if arguments.json:
        print_json(rows)
    else:
        print_table(rows, ("name", "parameters", "input", "summary", "source"))
    return 0


def datasets(arguments: Namespace) -> int:
    """List the sources that go by a name."""
    from sightline.information import datasets as list_datasets

    rows = list_datasets()
    if arguments.json:
        print_json(rows)
    else:
        print_table(rows, ("name", "train", "test", "shape", "content", "licence", "origin"))
    return 0


def recipes(arguments: Namespace) -> int:
    """List the recipes, or every key."""
    from sightline.configuration.parsing import keys
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


def cache(arguments: Namespace) -> int:
    """Tell what is kept, or empty it."""
    from sightline.system.caches import cache as look_at_cache

    found = look_at_cache(empty=arguments.empty)
    if arguments.json:
        print_json(found)
        return 0
    if found["entries"]:
        rows = [{**row, "size": _size(row["num_bytes"]), "last used": row["used"]} for row in found["entries"]]
        print_table(rows, ("kind", "holds", "size", "last used"))
    bound = "without a bound" if found["limit_bytes"] is None else f"of at most {_size(found['limit_bytes'])}"
    removed = f"; {found['removed']:,} removed ({_size(found['removed_bytes'])})" if arguments.empty else ""
    count = f"{len(found['entries']):,} {'entry' if len(found['entries']) == 1 else 'entries'}"
    print_text(f"{found['place']}: {count}, {_size(found['num_bytes'])} {bound}{removed}")
    return 0


def _size(num_bytes: int) -> str:
    for unit, divisor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= divisor:
            return f"{num_bytes / divisor:.3g} {unit}"
    return f"{num_bytes} bytes"


def doctor(arguments: Namespace) -> int:
    """Tell what is installed and what is missing."""
    from sightline.information import examine

    report = examine()
    if arguments.json:
        print_json(report)
        return 0
    print_table([{"what": key, "found": value} for key, value in report["found"].items()], ("what", "found"))
    for entry in report["missing"]:
        print_text(f"missing: {entry['what']}. Run: {entry['command']}")
    return 0


def completion(arguments: Namespace) -> int:
    """Print the lines that teach a shell to complete; `eval "$(sightline completion bash)"` reads them."""
    argcomplete = require("argcomplete", purpose="completion", install="sightline[completion]")
    script = argcomplete.shellcode(["sightline"], shell=arguments.shell)
    if arguments.json:
        print_json({"shell": arguments.shell, "script": script})
    else:
        print(script)
    return 0
