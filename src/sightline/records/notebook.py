"""What a notebook shows of records: pictures inside HTML tags, in which names of strangers do nothing."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.system.text import printable

MOST_SHOWN = 24
"""A notebook shows so many images of Predictions."""
Box = tuple[NDArray[np.uint8] | None, Sequence[str]]
"""An image (height, width, 1 or 3) or none, and lines that stand below it."""
_LEAST_SIDE = 112


def image_tag(png: bytes, *, alt: str, size: tuple[int, int] | None = None) -> str:
    """An HTML image tag that carries its PNG inside, for notebooks: at its own size, or at (height, width) in squares.

    Where the page is narrower, it is made smaller.
    """
    style = "max-width:100%;height:auto"
    shown = ""
    if size is not None:
        style += ";image-rendering:pixelated"
        shown = f" height='{size[0]}' width='{size[1]}'"
    words, data = html.escape(printable(alt)), base64.b64encode(png).decode()
    return f"<img alt='{words}'{shown} style='{style}' src='data:image/png;base64,{data}'>"


def pixels_tag(pixels: NDArray[np.uint8], *, alt: str, least_side: int = _LEAST_SIDE) -> str:
    """An image (height, width, 1 or 3) as a tag: a small one in whole squares, as large as `least_side` allows."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(stream, "PNG")
    height, width = pixels.shape[:2]
    factor = max(1, least_side // max(height, width))
    return image_tag(stream.getvalue(), alt=alt, size=None if factor == 1 else (factor * height, factor * width))


def boxes_html(title: str, boxes: Iterable[Box], *, num_more: int = 0) -> str:
    """Images with what is said of each, the first line of it in bold; and how many more there are, if any."""
    told = "".join(_box(image, lines) for image, lines in boxes)
    more = f"<p>and {num_more:,} more</p>" if num_more > 0 else ""
    rows = f"<div style='display:flex;flex-wrap:wrap;gap:12px;align-items:flex-end'>{told}</div>"
    return f"<p>{html.escape(printable(title))}</p>{rows}{more}"


def _box(image: NDArray[np.uint8] | None, lines: Sequence[str]) -> str:
    first, *others = (html.escape(printable(line)) for line in lines)
    said = "".join(f"<br><small>{line}</small>" for line in others)
    drawn = "" if image is None else f"{pixels_tag(image, alt=lines[0])}<br>"
    return f"<div style='max-width:240px'>{drawn}<span style='overflow-wrap:anywhere'><b>{first}</b>{said}</span></div>"
