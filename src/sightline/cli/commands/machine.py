"""`cache`, `completion`, `doctor`: commands that serve the machine and the shell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sightline.cli.printing import print_json, print_table, print_text, size_in_words
from sightline.errors import require

SHELLS = ("bash", "zsh", "fish", "powershell")


def cache_options(parser: ArgumentParser) -> None:
    """What `cache` takes."""
    parser.add_argument("--empty", action="store_true", help="remove all of it; the next command makes it again")


def cache(arguments: Namespace) -> int:
    """Tell what is kept, or empty it."""
    from sightline.system.caches import cache as look_at_cache

    found = look_at_cache(empty=arguments.empty)
    if arguments.json:
        print_json(found)
        return 0
    if found["entries"]:
        rows = [{**row, "size": size_in_words(row["num_bytes"]), "last used": row["used"]} for row in found["entries"]]
        print_table(rows, ("kind", "holds", "size", "last used"))
    bound = "without a bound" if found["limit_bytes"] is None else f"of at most {size_in_words(found['limit_bytes'])}"
    removed = f"; {found['removed']:,} removed ({size_in_words(found['removed_bytes'])})" if arguments.empty else ""
    count = f"{len(found['entries']):,} {'entry' if len(found['entries']) == 1 else 'entries'}"
    print_text(f"{found['place']}: {count}, {size_in_words(found['num_bytes'])} {bound}{removed}")
    return 0


def completion_options(parser: ArgumentParser) -> None:
    """What `completion` takes."""
    parser.add_argument("shell", choices=SHELLS, help="where you type")


def completion(arguments: Namespace) -> int:
    """Print the lines that teach a shell to complete; `eval "$(sightline completion bash)"` reads them."""
    argcomplete = require("argcomplete", purpose="completion", install="sightline[completion]")
    script = argcomplete.shellcode(["sightline"], shell=arguments.shell)
    if arguments.json:
        print_json({"shell": arguments.shell, "script": script})
    else:
        print(script)
    return 0


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
