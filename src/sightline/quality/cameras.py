"""Which camera took a photograph, from the EXIF block; nothing else of it is read."""

from __future__ import annotations

_MODEL = 0x0110
# The block stands near the start of a JPEG; a TIFF is such a block as a whole. Other formats are rare from cameras.
_SEARCHED_BYTES = 65_536
_MOST_ENTRIES = 200


def camera_model(data: bytes) -> str:
    r"""The camera's model as the file names it.

    Args:
        data: a whole image file.

    Returns:
        At most 64 letters; "" where the file says nothing or the block is damaged.

    Raises:
        Nothing.

    Example:
        >>> camera_model(b"Exif\0\0" + bytes.fromhex("4d4d002a00000008 0001 0110 0002 00000003 58310000"))
        'X1'
    """
    found = data.find(b"Exif\0\0", 0, _SEARCHED_BYTES)
    if found < 0 and data[:4] not in (b"II\x2a\x00", b"MM\x00\x2a"):
        return ""
    block = data[found + 6 : found + 6 + _SEARCHED_BYTES] if found >= 0 else data
    order = {b"II\x2a\x00": "little", b"MM\x00\x2a": "big"}.get(block[:4])
    return "" if order is None else _model(block, is_little=order == "little")


def _model(block: bytes, *, is_little: bool) -> str:
    def number(start: int, length: int) -> int:
        return int.from_bytes(block[start : start + length], "little" if is_little else "big")

    directory = number(4, 4)
    for entry in range(min(number(directory, 2), _MOST_ENTRIES)):
        at = directory + 2 + 12 * entry
        if number(at, 2) == _MODEL and number(at + 2, 2) == 2:
            count = number(at + 4, 4)
            start = at + 8 if count <= 4 else number(at + 8, 4)
            text = block[start : start + min(count, 64)].split(b"\0")[0].decode("ascii", "replace")
            return " ".join(text.split())
    return ""
