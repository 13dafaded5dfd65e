"""The page itself: nearest training images first, the map second, one scale for all maps."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.reporting.pages.miniatures import miniature_of
from sightline.reporting.pages.shell import whole_page
from sightline.reporting.pages.style import STYLE
from sightline.reporting.sheets.overlays import AGAINST, FOR, SIDE
from sightline.system.text import counted, printable


@dataclass(frozen=True)
class NearImage:
    """A training image that is like another for the network; `thumbnail` is a WebP, or None where none travels."""

    name: str
    label: str
    thumbnail: bytes | None


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """One image of the page.

    Attributes:
        name: as it was given.
        answer: what it is answered with, in words; why it has no answer, where it cannot be read.
        about: what the map is about and where most lies, in words; "" where it has none.
        notice: what is odd about the image, or "".
        image: (height, width, channels), or None where it cannot be read.
        overlay: (height, width, 3), the map over it, or None.
        nearest: the most alike first.
    """

    name: str
    answer: str
    about: str
    notice: str
    image: NDArray[np.uint8] | None
    overlay: NDArray[np.uint8] | None
    nearest: tuple[NearImage, ...]


def explanations_page(
    title: str, images: Sequence[ExplainedImage], *, remarks: Sequence[str], scale: float, unit: str
) -> str:
    """One HTML page that needs nothing but itself.

    Args:
        title: what was asked, as plain text.
        images: in their order.
        remarks: what is said before them, a paragraph each.
        scale: the value at which colours are strongest.
        unit: of values of the maps.
    """
    said = "".join(f'<p class="faint">{escape(printable(one))}</p>' for one in remarks)
    body = (
        f"<header><h1>{escape(printable(title))}</h1>{said}{_legend(scale, unit)}</header><main>"
        f'<section aria-labelledby="images"><h2 id="images">{counted(len(images), "image")}</h2>'
        f"{''.join(map(_article, images))}</section></main>"
    )
    closing = "Maps tell where, not why: what is marked need not be what a person would go by."
    return whole_page("Sightline explanations", body, style=STYLE + _STYLE, script="", closing=closing)


def _legend(scale: float, unit: str) -> str:
    ramp = f"from blue, {-scale:.3g}, over no colour, 0, to orange, {scale:.3g}"
    words = f"{escape(unit)}; one scale for all maps of this page, colours end at {scale:.3g}"
    return (
        '<div class="legend"><span>speaks against the class</span>'
        f'<span class="ramp" role="img" aria-label="{ramp}">'
        f'</span><span>speaks for it</span></div><p class="faint">{words}</p>'
    )


def _article(one: ExplainedImage) -> str:
    kind = "error" if one.image is None else "note"
    notice = f' <span class="faint">({escape(printable(one.notice))})</span>' if one.notice else ""
    return (
        f'<article class="{kind}"><h3>{escape(printable(one.name))}</h3>'
        f"<p>{escape(printable(one.answer))}{notice}</p>{_pictures(one)}</article>"
    )


def _pictures(one: ExplainedImage) -> str:
    if one.image is None:
        return ""
    figures = _picture(one.image, f"{one.name}, as the network is fed it", "the image, as the network is fed it")
    if one.overlay is not None:
        figures += _picture(one.overlay, f"map of {one.name}: {one.about}", one.about)
    return f'{_nearest(one.nearest)}<div class="pictures maps">{figures}</div>'


def _nearest(nearest: Sequence[NearImage]) -> str:
    if not nearest:
        return ""
    drawn = "".join(map(_near_figure, nearest))
    return f'<p class="faint">training images that the network sees most alike</p><div class="pictures">{drawn}</div>'


def _near_figure(near: NearImage) -> str:
    caption = f"<b>{escape(printable(near.label))}</b>{escape(printable(near.name))}"
    if near.thumbnail is None:
        return f'<figure class="named"><figcaption>{caption}</figcaption></figure>'
    address = f"data:image/webp;base64,{base64.b64encode(near.thumbnail).decode()}"
    alt = escape(printable(f"{near.name}, a training image of {near.label}"))
    return f'<figure><img alt="{alt}" src="{address}"><figcaption>{caption}</figcaption></figure>'


def _picture(pixels: NDArray[np.uint8], alt: str, caption: str) -> str:
    height, width = pixels.shape[:2]
    address = miniature_of(pixels, side=SIDE).address
    return (
        f'<figure><img alt="{escape(printable(alt))}" src="{address}" width="{width}" height="{height}" loading="lazy">'
        f"<figcaption>{escape(printable(caption))}</figcaption></figure>"
    )


def _color(color: tuple[int, int, int]) -> str:
    return f"rgb({color[0]} {color[1]} {color[2]})"


_STYLE: Final = f"""
header p {{ max-width: 52rem; }}
.legend {{ display: flex; flex-wrap: wrap; gap: .35rem .7rem; align-items: center;
  margin-top: 1rem; font-size: .9rem; }}
.ramp {{ display: inline-block; width: 12rem; max-width: 100%; height: .9rem; border: 1px solid var(--line);
  border-radius: .2rem; print-color-adjust: exact; -webkit-print-color-adjust: exact;
  background: linear-gradient(to right, {_color(AGAINST)}, rgb(128 128 128 / .25), {_color(FOR)}); }}
h3 {{ overflow-wrap: anywhere; }} article {{ break-inside: avoid; }}
.maps figure {{ width: min(14rem, 100%); }}
.maps figure img {{ width: 100%; height: auto; background: none; }}
figure.named {{ width: auto; max-width: 16rem; }}
@media (max-width: 34rem) {{
  .maps figure {{ width: calc((100vw - 4.6rem) / 2); }} .maps figure img {{ width: 100%; height: auto; }}
  figure.named {{ width: 100%; }} }}
"""
