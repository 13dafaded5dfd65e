"""What a search found: which trial validation rows chose, and what that is worth on rows that chose nothing."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sightline.configuration.values import as_typed
from sightline.evaluation.measuring.finished_runs import SEARCH_FIGURES, FinishedRun
from sightline.evaluation.measuring.paired_tests import PairedTest
from sightline.metrics.figures import figure_in
from sightline.reporting.pages.searching.page import TriedRecipe, search_page
from sightline.system.progress import clock
from sightline.system.text import counted, percent

PAGE: Final = "search.html"
STATES: Final = ("finished", "pruned", "stopped", "failed")
FIRST = 0
_MOST_SHOWN = 12


def ranked(outcomes: Iterable[Any]) -> list[int]:
    """Numbers of the finished trials, the best first: by cross-entropy of the validation rows, then the earlier one.

    Args:
        outcomes: each with `number`, `state` and `cross_entropy`.
    """
    finished = [one for one in outcomes if one.state == "finished"]
    return [one.number for one in sorted(finished, key=lambda one: (one.cross_entropy, one.number))]


def finalists(ranking: Sequence[int]) -> list[int]:
    """The chosen trial, the runner-up, and the recipe as it was asked for: each once."""
    return list(dict.fromkeys([*ranking[:2], FIRST]))


@dataclass(frozen=True, eq=False)
class Search:
    """What a search tried and found; printed, it is what `sightline search` says.

    Attributes:
        path: its folder.
        figures: all that it has to tell, as `search.json` keeps it: `space`, `budget`, `spent`, `trials`,
            `importances`, `chosen`, `runner_up`, `validation`, `test`, `judged`, `tests`, `optimism`, `remarks`.
    """

    path: Path
    figures: Mapping[str, Any]

    @property
    def chosen(self) -> int:
        """The number of the trial that did best on validation rows; 0 is the recipe as it was asked for."""
        return int(self.figures["chosen"])

    @property
    def run(self) -> Path:
        """The run of the chosen trial, an ordinary one with its bundle."""
        return self.path / str(self.figures["trials"][self.chosen]["run"])

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Recipe keys of the chosen trial that are not as they were asked for."""
        changed: Mapping[str, Any] = self.figures["trials"][self.chosen]["changed"]
        return changed

    def __str__(self) -> str:
        return "\n".join([*spent_lines(self.figures), "", *_table(self.figures), "", *verdict_lines(self.figures)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def judged_figures(
    finals: Mapping[int, FinishedRun], ranking: Sequence[int], tests: Sequence[PairedTest]
) -> dict[str, Any]:
    """What the test rows say of the chosen trial and those beside it, and how far validation rows flattered it."""
    judged = []
    for number, run in finals.items():
        told = run.metrics["test"]
        judged.append(
            {
                "number": number,
                "role": _role(number, ranking),
                "accuracy": told["accuracy"],
                "accuracy_interval": told["accuracy_interval"],
                "num_images": told["num_images"],
            }
        )
    chosen = finals[ranking[0]].metrics
    return {
        "judged": judged,
        "test": chosen["test"],
        "optimism": chosen["validation"]["accuracy"] - chosen["test"]["accuracy"],
        "is_distinguishable": {
            test.first: test.is_distinguishable for test in tests if test.second == name_of(ranking[0])
        },
    }


def _role(number: int, ranking: Sequence[int]) -> str:
    roles = [
        "chosen" * (number == ranking[0]),
        "runner-up" * (len(ranking) > 1 and number == ranking[1]),
        "the recipe as it was asked for" * (number == FIRST),
    ]
    return ", ".join(filter(None, roles))


def name_of(number: int) -> str:
    """How a trial is called in what is said of it."""
    return f"trial {number}"


def remarks_on(ranking: Sequence[int], trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to be careful with, a sentence each."""
    remarks = []
    if len(trials) == 1:
        remarks.append("The budget left room for the recipe as it was asked for alone: nothing was compared.")
    elif ranking[0] == FIRST:
        remarks.append("Of all that was tried, the recipe as it was asked for did best on the validation rows.")
    failed = [one for one in trials if one["state"] == "failed"]
    if failed:
        remarks.append(
            f"{counted(len(failed), 'trial')} failed, first {name_of(failed[0]['number'])}: {failed[0]['reason']}"
        )
    if len(ranking) > 1:
        remarks.append(
            "The tests are of these networks, not of their recipes: with another seed each gives another network."
        )
    return remarks


def spent_lines(figures: Mapping[str, Any]) -> list[str]:
    """What was asked for and what it cost."""
    budget, spent = figures["budget"], figures["spent"]
    asked = [clock(budget["seconds"])] if budget["seconds"] is not None else []
    asked += [counted(budget["trials"], "trial")] if budget["trials"] is not None else []
    states = ", ".join(f"{spent[state]:,} {state}" for state in STATES if spent[state])
    again = f", {spent['requeued']:,} of them gone on with after an end" if spent["requeued"] else ""
    return [
        f"searched {figures['source']}: {counted(len(figures['trials']), 'trial')} ({states}{again}) in "
        f"{clock(spent['seconds'])} of {' and '.join(asked)}, {spent['core_seconds']:,.0f} core-seconds; "
        f"{figures['sampler']}, {figures['pruner']}"
    ]


def _in_order(figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All trials, the best first."""
    return sorted(figures["trials"], key=lambda one: (one["cross_entropy"] is None, one["cross_entropy"] or 0.0))


def page_of(figures: Mapping[str, Any], space: Sequence[tuple[str, str]]) -> str:
    """A search as one HTML page; `space` are keys, and what each could be."""
    judged = {one["number"] for one in figures["judged"]}
    trials = [
        TriedRecipe(
            name_of(one["number"]),
            one["state"],
            changes_in_words(one["changed"]) or "the recipe as it was asked for",
            one["reason"],
            one["cross_entropy"],
            one["accuracy"],
            one["epochs"],
            one["seconds"],
            f"{one['run']}/report.html" if one["number"] in judged else "",
        )
        for one in _in_order(figures)
    ]
    title = f"a search on {figures['source']}"
    return search_page(title, spent=spent_lines(figures), verdict=verdict_lines(figures), space=space, trials=trials)


def _table(figures: Mapping[str, Any]) -> list[str]:
    """The best trials, then how many there are beside them."""
    order = _in_order(figures)
    shown = order[:_MOST_SHOWN]
    if not any(one["number"] == FIRST for one in shown):
        shown[-1] = figures["trials"][FIRST]
    lines = ["trial  state     cross-entropy  accuracy  epochs  seconds  what it tried"]
    for one in shown:
        worth = [f"{one[key]:.4f}" if one[key] is not None else "-" for key in ("cross_entropy", "accuracy")]
        tried = changes_in_words(one["changed"]) or "the recipe as it was asked for"
        lines.append(
            f"{one['number']:>5}  {one['state']:<8}  {worth[0]:>13}  {worth[1]:>8}  {one['epochs']:>6}  "
            f"{one['seconds']:>7.1f}  {tried}"
        )
    rest = len(order) - len(shown)
    return lines + [f"and {rest:,} more, in {SEARCH_FIGURES}"] * (rest > 0)


def changes_in_words(changed: Mapping[str, Any]) -> str:
    """Recipe keys with their values, numbers to three digits."""
    values = {key: f"{value:.3g}" if isinstance(value, float) else as_typed(value) for key, value in changed.items()}
    return ", ".join(f"{key}={value}" for key, value in values.items())


def verdict_lines(figures: Mapping[str, Any]) -> list[str]:
    """What was chosen, what that is worth on test rows, what mattered, and what to be careful with."""
    validation, chosen = figures["validation"], name_of(figures["chosen"])
    lines = [
        f"chosen: {chosen}, on {validation['num_images']:,} validation images: cross-entropy "
        f"{validation['cross_entropy']:.4f} (as asked for {validation['first_cross_entropy']:.4f}), accuracy "
        f"{validation['accuracy']:.4f} ({validation['first_accuracy']:.4f})"
    ]
    accuracy = figure_in(figures["test"], "accuracy")
    flattered = 100 * figures["optimism"]
    lines.append(
        f"judged once, on {figures['test']['num_images']:,} test images that chose nothing: {accuracy}; on the "
        f"validation images {abs(flattered):.1f} points {'higher' if flattered > 0 else 'lower'}"
    )
    lines += [test["in_words"] for test in figures["tests"]]
    lines += [importance_line(figures)] if figures["importances"] else []
    return [*lines, *figures["remarks"]]


def importance_line(figures: Mapping[str, Any]) -> str:
    """Which keys told the best quarter of trials from the others."""
    told = [
        f"{one['key']} {percent(one['share'])} [{percent(one['interval'][0])}, {percent(one['interval'][1])}]"
        for one in figures["importances"]
    ]
    return (
        f"what told the best quarter of trials from the others, by {figures['importances_by']}, with 90 % intervals: "
        f"{', '.join(told)}"
    )
