"""How findings are put into words: counts, shares, lists, and names that can be shown."""

from __future__ import annotations

from collections.abc import Sequence

from sightline.system.text import printable


def listed(names: Sequence[str], *, most: int = 3) -> str:
    """Names separated by commas, the rest counted.

    Args:
        names: any number.
        most: how many to name.

    Returns:
        "a, b, c and 4 more"; what cannot be printed is escaped.

    Raises:
        Nothing.

    Example:
        >>> listed(["a", "b", "c", "d"], most=2)
        'a, b and 2 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + more


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun.

    Args:
        count: not negative.
        one: the noun in the singular.
        many: its plural; with an "s" if left out.

    Returns:
        "1 image", "2,527 images".

    Raises:
        Nothing.

    Example:
        >>> counted(2527, "image")
        '2,527 images'
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """A share as a whole percentage.

    Args:
        share: from 0 to 1.

    Returns:
        "46 %".

    Raises:
        Nothing.

    Example:
        >>> percent(0.456)
        '46 %'
    """
    return f"{100 * share:.0f} %"
