"""Captioned pictures laid out in rows on light paper: the drawing behind every sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from sightline.errors import InvalidValue
from sightline.reporting.sheets.fonts import font_for, plain_text
from sightline.system.paths import PNG_MARK
from sightline.system.text import shorten

Color = tuple[int, int, int]
_PAPER, _INK, _QUIET, _EDGE = (252, 252, 250), (32, 32, 32), (96, 96, 96), (196, 196, 192)
_MARGIN, _GAP, _ROW_GAP = 16, 14, 16
_TITLE_SIZE, _TEXT_SIZE = 17, 13
_TITLE_HEIGHT, _LINE_HEIGHT, _HEADER_HEIGHT, _CAPTION_GAP = 32, 17, 22, 5
_WIDEST_CAPTION, _WIDEST_TITLE = 208, 640
_EMPTY_SHEET = (480, 160)
# Pillow warns of a decompression bomb when it opens more than 89 million pixels.
_MOST_PIXELS = 80_000_000


@dataclass(frozen=True)
class Cell:
    """One picture of a grid.

    Attributes:
        picture: at the size in which it is drawn.
        lines: caption below it; up to two lines.
    """

    picture: Image.Image
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Grid:
    """Where things stand, in pixels."""

    columns: tuple[int, ...]  # left edges
    width: int  # of each column
    picture_height: int
    first_top: int
    row_height: int
    size: tuple[int, int]


def make_cell(image: NDArray[np.uint8], caption: str, side: int) -> Cell:
    r"""Bring one image to the size in which it is drawn.

    Args:
        image: uint8 (height, width, channels), 1 or 3 channels.
        caption: one or two lines with "\n" between; further lines join the second.
        side: of the square that the image fits in, in pixels, at least 1.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("RGB")
    longest = max(height, width)
    if longest <= side:
        factor = side // longest
        picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    else:
        reduced = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
        picture = picture.resize(reduced, Image.Resampling.LANCZOS)
    lines = [plain_text(line) for line in caption.split("\n", 1)] if caption else []
    return Cell(picture, tuple(lines))


def draw_grid(rows: Sequence[Sequence[Cell]], *, title: str, header: tuple[str, str] | None = None) -> bytes:
    """Draw cells in rows, as wide as their captions need within reason.

    Args:
        rows: cells from left to right, at least one a row; rows may differ in
            length. Without any row the picture holds the title alone.
        title: one line above; "" for none.
        header: words above the first column and above all others, which then
            stand a little apart; None for a plain grid.
    """
    title = plain_text(title)
    if not rows:
        return _png(_only_words(title))
    grid = _plan(rows, title=title, has_header=header is not None)
    sheet = Image.new("RGB", grid.size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    if title:
        _write(pen, (_MARGIN, _MARGIN), _shortened(title, _TITLE_SIZE, grid.size[0] - 2 * _MARGIN), _TITLE_SIZE, _INK)
    if header is not None:
        for words, left in zip(header, grid.columns, strict=False):
            _write(pen, (left, grid.first_top - _HEADER_HEIGHT), words, _TEXT_SIZE, _QUIET)
    for number, row in enumerate(rows):
        top = grid.first_top + number * grid.row_height
        for cell, left in zip(row, grid.columns, strict=False):
            _place(sheet, pen, cell, (left, top), grid)
    return _png(sheet)


def _only_words(title: str) -> Image.Image:
    # Of the size of a small sheet: a page that scales pictures to one height would blow up a strip.
    width, height = _EMPTY_SHEET
    sheet = Image.new("RGB", _EMPTY_SHEET, _PAPER)
    words = _shortened(title, _TITLE_SIZE, width - 2 * _MARGIN)
    corner = ((width - _text_width(words, _TITLE_SIZE)) // 2, height // 2 - _TITLE_SIZE)
    _write(ImageDraw.Draw(sheet), corner, words, _TITLE_SIZE, _INK)
    return sheet


def _png(sheet: Image.Image) -> bytes:
    stream = io.BytesIO()
    mark = PngInfo()
    mark.add_text(*PNG_MARK)
    sheet.save(stream, "PNG", pnginfo=mark)
    return stream.getvalue()


def _plan(rows: Sequence[Sequence[Cell]], *, title: str, has_header: bool) -> _Grid:
    cells = [cell for row in rows for cell in row]
    num_columns = max(len(row) for row in rows)
    column_width = _column_width(cells)
    lefts = [_MARGIN + number * (column_width + _GAP) for number in range(num_columns)]
    if has_header:
        lefts[1:] = [left + _GAP for left in lefts[1:]]
    picture_height = max(cell.picture.height for cell in cells)
    num_lines = max(len(cell.lines) for cell in cells)
    row_height = picture_height + _ROW_GAP + (_CAPTION_GAP + num_lines * _LINE_HEIGHT if num_lines else 0)
    first_top = _MARGIN + (_TITLE_HEIGHT if title else 0) + (_HEADER_HEIGHT if has_header else 0)
    title_width = min(_WIDEST_TITLE, _text_width(title, _TITLE_SIZE)) if title else 0
    right = max(lefts[-1] + column_width, _MARGIN + title_width)
    size = (right + _MARGIN, first_top + len(rows) * row_height - _ROW_GAP + _MARGIN)
    if size[0] * size[1] > _MOST_PIXELS:
        raise InvalidValue(
            f"the sheet would have {size[0]:,} x {size[1]:,} pixels. Ask for fewer images or a smaller cell_size."
        )
    return _Grid(tuple(lefts), column_width, picture_height, first_top, row_height, size)


def _column_width(cells: Sequence[Cell]) -> int:
    pictures = max(cell.picture.width for cell in cells)
    captions = max((_text_width(line, _TEXT_SIZE) for cell in cells for line in cell.lines), default=0)
    return max(pictures, min(captions, _WIDEST_CAPTION))


def _place(sheet: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, corner: tuple[int, int], grid: _Grid) -> None:
    left = corner[0] + (grid.width - cell.picture.width) // 2
    top = corner[1] + (grid.picture_height - cell.picture.height) // 2
    # The line runs outside the picture: a white background ends somewhere, and no pixel is hidden.
    pen.rectangle((left - 1, top - 1, left + cell.picture.width, top + cell.picture.height), outline=_EDGE)
    sheet.paste(cell.picture, (left, top))
    for number, line in enumerate(cell.lines):
        words = _shortened(line, _TEXT_SIZE, grid.width)
        indent = (grid.width - _text_width(words, _TEXT_SIZE)) // 2
        below = corner[1] + grid.picture_height + _CAPTION_GAP + number * _LINE_HEIGHT
        _write(pen, (corner[0] + indent, below), words, _TEXT_SIZE, _INK if number == 0 else _QUIET)


def _write(pen: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size: int, color: Color) -> None:
    # Anchored by the baseline: fonts of differing ascent then share one line.
    pen.text((corner[0], corner[1] + size), text, fill=color, font=font_for(text, size), anchor="ls")


def _text_width(text: str, size: int) -> int:
    return round(font_for(text, size).getlength(text))


def _shortened(text: str, size: int, width: int) -> str:
    return shorten(text, lambda words: _text_width(words, size) <= width)


def fits_below(text: str) -> bool:
    """Whether one line of a caption fits below a picture without being shortened."""
    return _text_width(text, _TEXT_SIZE) <= _WIDEST_CAPTION
