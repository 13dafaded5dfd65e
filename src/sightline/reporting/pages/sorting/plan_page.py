"""The page of a plan: of each folder how many images it would get, and some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sightline.reporting.pages.miniatures import Miniature
from sightline.reporting.pages.shell import count_cell, whole_page, wide_table
from sightline.reporting.pages.style import STYLE
from sightline.system.text import counted, printable

_MOST_LEFT = 200


@dataclass(frozen=True)
class DrawnImage:
    """One image of the page; `picture` is None where it cannot be drawn."""

    name: str
    target: str
    about: str
    picture: Miniature | None


@dataclass(frozen=True)
class PlannedFolder:
    """A folder, how many images it would get, and the first of them."""

    name: str
    num_images: int
    images: Sequence[DrawnImage]


def plan_page(
    title: str, folders: Sequence[PlannedFolder], *, left: Sequence[tuple[str, str]], remarks: Sequence[str]
) -> str:
    """One HTML page that needs nothing but itself.

    Args:
        title: what would be done, as plain text.
        folders: in their order.
        left: (file, reason) of what would stay where it is.
        remarks: what is said before, a paragraph each.
    """
    said = "".join(f'<p class="faint">{escape(printable(one))}</p>' for one in remarks)
    rows = [
        f'<tr><th scope="row"><a href="#folder-{number}">{_text(folder.name)}</a></th>'
        f"{count_cell(f'{folder.num_images:,}')}</tr>"
        for number, folder in enumerate(folders)
    ]
    table = wide_table("images by folder", rows, texts=["folder"], counts=["images"])
    body = (
        f"<header><h1>{_text(title)}</h1>{said}</header><main>"
        f'<section aria-labelledby="folders"><h2 id="folders">{counted(len(folders), "folder")}</h2>{table}</section>'
        f"{''.join(_section(number, folder) for number, folder in enumerate(folders))}{_left(left)}</main>"
    )
    closing = "Nothing was moved, copied or linked for this page."
    return whole_page("Sightline: a plan for sorting", body, style=STYLE, script="", closing=closing)


def _section(number: int, folder: PlannedFolder) -> str:
    more, drawn = folder.num_images - len(folder.images), "".join(map(_figure, folder.images))
    note = f'<p class="more">and {more:,} more</p>' if more else ""
    return (
        f'<section aria-labelledby="folder-{number}"><h2 id="folder-{number}">{_text(folder.name)}</h2>'
        f'<p>{counted(folder.num_images, "image")}</p><div class="pictures">{drawn}</div>'
        f"{note}</section>"
    )


def _figure(image: DrawnImage) -> str:
    caption = f"<figcaption><b>{_text(image.name)}</b>{_text(image.about)}"
    renamed = image.target.rpartition("/")[2]
    if renamed != image.name.rpartition("/")[2]:
        caption += f"<br>as {_text(renamed)}"
    if image.picture is None:
        return f'<figure class="named">{caption}</figcaption></figure>'
    kind = ' class="small"' if image.picture.is_small else ""
    drawn = f'<img alt="{_text(image.name)}" src="{image.picture.address}"{kind} loading="lazy">'
    return f"<figure>{drawn}{caption}</figcaption></figure>"


def _left(left: Sequence[tuple[str, str]]) -> str:
    if not left:
        return ""
    rows = [f'<tr><th scope="row">{_text(name)}</th><td>{_text(why)}</td></tr>' for name, why in left[:_MOST_LEFT]]
    more = len(left) - _MOST_LEFT
    note = f'<p class="more">and {more:,} more</p>' if more > 0 else ""
    table = wide_table("files that stay where they are", rows, texts=["file", "why"], counts=[])
    heading = f"{counted(len(left), 'file')} would stay where {'it is' if len(left) == 1 else 'they are'}"
    return f'<section aria-labelledby="left"><h2 id="left">{heading}</h2>{table}{note}</section>'


def _text(text: str) -> str:
    return escape(printable(text))
