"""Make notebooks of pages whose Python blocks run from top to bottom: docs/tutorial.md becomes docs/tutorial.ipynb.

What stands on a page stands in its notebook, in the same order: blocks of Python are cells that run, commands of a
shell are cells of their own, marked as such, that do not, and all else is text. Nothing is run here, and no output is
kept. Run it after a change of a page; a test compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("tutorial.md", "tutorial.zh.md", "scikit-learn.md", "scikit-learn.zh.md")
SHELL = "shell"  # the tag of cells with commands of a shell
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# By the language of a page: how the notebook begins, and what stands over commands of a shell.
WORDS = {
    "en": (
        "*This notebook is [{page}]({page}), made by `tools/make_notebooks.py`. Run its cells from top to bottom. "
        'Cells that begin with "In a terminal" hold commands of a shell, and do not run here.*',
        "In a terminal:",
    ),
    "zh": (
        "*本笔记本由 `tools/make_notebooks.py` 从 [{page}]({page}) 生成。请从上到下运行各单元格。"
        "以“在终端中”开头的单元格是 shell 命令，不在这里运行。*",  # noqa: RUF001  # Chinese has commas of its own
        "在终端中：",  # noqa: RUF001  # as it has colons
    ),
}


def main() -> None:
    """Write the notebook of each page beside it."""
    for page in PAGES:
        (DOCS / page).with_suffix(".ipynb").write_text(notebook_of(page), encoding="utf-8")


def notebook_of(page: str) -> str:
    """The notebook of a page in `docs`, as its file holds it."""
    return written(list(_cells(page, (DOCS / page).read_text(encoding="utf-8"))))


def written(cells: list[dict[str, Any]]) -> str:
    """Cells as a file of Jupyter's format 4.5."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cells(page: str, text: str) -> Iterator[dict[str, Any]]:
    opening, in_terminal = WORDS["zh" if page.endswith(".zh.md") else "en"]
    parts: list[tuple[str, str, tuple[str, ...]]] = [("markdown", opening.format(page=page), ())]
    at = 0
    for block in BLOCK.finditer(text):
        parts.append(("markdown", text[at : block.start()], ()))
        at = block.end()
        is_python = block[1] == "python"
        parts.append(("code", block[2], ()) if is_python else ("markdown", f"{in_terminal}\n\n{block[0]}", (SHELL,)))
    parts.append(("markdown", text[at:], ()))
    for number, (kind, content, tags) in enumerate(part for part in parts if part[1].strip()):
        yield _cell(f"cell-{number:03d}", kind, content.strip("\n"), tags)


def _cell(name: str, kind: str, content: str, tags: tuple[str, ...]) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {"tags": list(tags)} if tags else {}}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell | {"source": content.splitlines(keepends=True)}


if __name__ == "__main__":
    main()
