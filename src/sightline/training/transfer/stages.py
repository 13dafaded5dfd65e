"""What each stage of a training on a pretrained network brought and cost, and whether another is worth its time."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.significance import chance_of_gain
from sightline.system.progress import reporter
from sightline.training.transfer.judging import LEVEL

# With fewer validation images hardly any gain is told from chance: both halves of the train images are asked instead.
FEWEST_TO_SEE = 50
# An error fewer than so many, all of them mended, is still chance: 2 ** -5 is below the level.
FEWEST_WRONG = 5
NAMES = {"head": "head", "statistics": "batch statistics", "upper": "upper part", "all": "whole network"}


@dataclass(frozen=True)
class Stage:
    """One stage, as `metrics.json` tells it.

    Attributes:
        name: "head", "statistics" (those of batches, taken anew), "upper" or "all": what learned.
        is_kept: whether the network that is left has what it learned.
        why: in a sentence.
        seconds: on the clock.
        before: cross-entropy in nats of the rows that judged, at its best temperature, without this stage; None where
            nothing was compared.
        after: the same with it.
        chance: how likely a gain as large would be by chance alone.
        num_judged: rows that judged.
        judged_on: which these were.
    """

    name: str
    is_kept: bool
    why: str
    seconds: float
    before: float | None = None
    after: float | None = None
    chance: float | None = None
    num_judged: int = 0
    judged_on: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded to what they can tell."""
        rounded = {"seconds": 1, "before": 5, "after": 5, "chance": 5}
        return {
            key: round(value, rounded[key]) if key in rounded and value is not None else value
            for key, value in dataclasses.asdict(self).items()
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """Surprises of the same rows before and after a stage.

    Attributes:
        before: (num_images,).
        after: (num_images,).
        judged_on: which rows they are.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    judged_on: str

    @property
    def chance(self) -> float:
        """How likely a gain as large would be by chance alone."""
        return chance_of_gain(self.before, self.after)

    @property
    def is_better(self) -> bool:
        """Whether there is a gain beyond chance."""
        return self.chance < LEVEL

    @property
    def is_worse(self) -> bool:
        """Whether there is a loss beyond chance, or what came of it is no number."""
        return not np.isfinite(self.after).all() or chance_of_gain(self.after, self.before) < LEVEL

    @property
    def is_lower(self) -> bool:
        """Whether the mean is lower, by however little; not of NaN."""
        return bool(self.after.mean() < self.before.mean())

    def stage(self, name: str, *, is_kept: bool, why: str, seconds: float) -> Stage:
        """What is told of it."""
        before, after = float(self.before.mean()), float(self.after.mean())
        return Stage(
            name,
            is_kept,
            why,
            seconds,
            before if math.isfinite(before) else None,
            after if math.isfinite(after) else None,
            self.chance,
            len(self.before),
            self.judged_on,
        )


def why_hopeless(before: NDArray[np.float64], num_wrong: int | None) -> str:
    """Why no gain could be seen, however large; "" where one could.

    Args:
        before: (num_images,) surprises of the validation rows.
        num_wrong: of the rows that chose the head; None where nothing could be chosen.
    """
    could_be_seen = chance_of_gain(before, np.zeros(len(before))) < LEVEL
    if could_be_seen or num_wrong is None or num_wrong >= FEWEST_WRONG:
        return ""
    return f"the head has {num_wrong} of the train images wrong that it had not seen: no gain could be told from chance"


def tell(stage: Stage) -> None:
    """Print what a stage brought and cost."""
    what = f"{NAMES[stage.name]}: {'kept' if stage.is_kept else 'not kept'}, {stage.why}"
    if stage.before is not None:
        after = "not a number" if stage.after is None else f"{stage.after:.4f}"
        what += f"; cross-entropy {after}, before {stage.before:.4f}, on {stage.judged_on} ({stage.num_judged} images)"
    reporter().say(f"{what}; {stage.seconds:.0f} s")
