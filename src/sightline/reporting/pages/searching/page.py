"""The page itself: the verdict first, then every trial with what it tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sightline.reporting.pages.shell import count_cell, whole_page, wide_table
from sightline.reporting.pages.style import STYLE
from sightline.system.text import counted, printable

# Words that may break anywhere leave the short columns no width beside a long one.
_WHOLE_NAMES = """
[aria-labelledby="trials"] :is(th, td:nth-child(2)) { white-space: nowrap; overflow-wrap: normal; }
[aria-labelledby="trials"] td:nth-child(3) { min-width: 17rem; }
"""


@dataclass(frozen=True)
class TriedRecipe:
    """One trial of the page.

    Attributes:
        name: how it is called.
        state: how it ended.
        tried: what it changed, in words.
        reason: of what is not finished, or "".
        cross_entropy: of validation images, or None.
        accuracy: of validation images, or None.
        epochs: that it learned for.
        seconds: on the clock.
        report: the page of its run, as a link from this page; "" where there is none.
    """

    name: str
    state: str
    tried: str
    reason: str
    cross_entropy: float | None
    accuracy: float | None
    epochs: int
    seconds: float
    report: str = ""


def search_page(
    title: str,
    *,
    spent: Sequence[str],
    verdict: Sequence[str],
    space: Sequence[tuple[str, str]],
    trials: Sequence[TriedRecipe],
) -> str:
    """One HTML page that needs nothing but itself.

    Args:
        title: what was searched, as plain text.
        spent: budget and cost, a paragraph each.
        verdict: what was chosen and what that is worth, a paragraph each.
        space: recipe keys, and what each could be.
        trials: the best first.
    """
    said = "".join(f'<p class="faint">{_text(one)}</p>' for one in spent)
    told = "".join(f"<p>{_text(one)}</p>" for one in verdict)
    keys = [f'<tr><th scope="row"><code>{_text(key)}</code></th><td>{_text(what)}</td></tr>' for key, what in space]
    varied = wide_table("keys that could vary", keys, texts=["key", "could be"], counts=[])
    counts = ["cross-entropy", "accuracy", "epochs", "seconds"]
    tried = wide_table("trials", map(_row, trials), texts=["trial", "state", "what it tried"], counts=counts)
    body = (
        f"<header><h1>{_text(title)}</h1>{said}</header><main>"
        f'<section aria-labelledby="verdict"><h2 id="verdict">What was chosen</h2>{told}</section>'
        f'<section aria-labelledby="trials"><h2 id="trials">{counted(len(trials), "trial")}</h2>'
        f'<p class="faint">Cross-entropy and accuracy are of validation images, which chose: they flatter.</p>{tried}'
        f'</section><section aria-labelledby="space"><h2 id="space">What could vary</h2>{varied}</section></main>'
    )
    closing = "Chosen on validation images alone; test images were looked at once, after the choice."
    return whole_page(f"Sightline: {title}", body, style=STYLE + _WHOLE_NAMES, script="", closing=closing)


def _row(trial: TriedRecipe) -> str:
    name = _text(trial.name)
    name = f'<a href="{escape(trial.report)}">{name}</a>' if trial.report else name
    worth = ["-" if value is None else f"{value:.4f}" for value in (trial.cross_entropy, trial.accuracy)]
    cells = [*worth, f"{trial.epochs:,}", f"{trial.seconds:,.1f}"]
    tried = _text(trial.tried) + (f'<br><span class="faint">{_text(trial.reason)}</span>' if trial.reason else "")
    return (
        f'<tr><th scope="row">{name}</th><td>{_text(trial.state)}</td><td>{tried}</td>'
        f"{''.join(map(count_cell, cells))}</tr>"
    )


def _text(text: str) -> str:
    return escape(printable(text))
