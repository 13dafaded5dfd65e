"""One number of an evaluation, with its interval and how it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One number of an evaluation, and how it is written.

    Attributes:
        words: what it is called in a line: "macro F1".
        value: NaN where there is none.
        interval: lower and upper bound, at the level of the Evaluation that it is of, or None.
        digits: behind the point.

    Example:
        >>> print(Figure("accuracy", 0.9, (0.83, 0.945)))
        accuracy 0.9000 [0.8300, 0.9450]
    """

    words: str
    value: float
    interval: tuple[float, float] | None = None
    digits: int = 4

    def written(self, number: float) -> str:
        """A number with the digits of this figure; a dash for one that there is none of."""
        return "-" if math.isnan(number) else f"{number:.{self.digits}f}"

    @property
    def numbers(self) -> str:
        """The value, and its interval if it has one."""
        value = self.written(self.value)
        if self.interval is None:
            return value
        lower, upper = map(self.written, self.interval)
        return f"{value} [{lower}, {upper}]"

    def __str__(self) -> str:
        return f"{self.words} {self.numbers}"
