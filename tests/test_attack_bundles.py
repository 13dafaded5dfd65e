"""A slice of `tools/attack_bundles.py`, which is run whole before a release."""

import sys
from pathlib import Path

import pytest

import sightline

sys.path.append(str(Path(__file__).resolve().parent.parent / "tools"))
from attack_bundles import attack


@pytest.mark.soak
def test_changed_bundles_and_runs_are_answered_or_refused(tiny_run: sightline.Run) -> None:
    told = {number: attack(tiny_run.path, number, seed=7)[0] for number in range(25)}
    faults = {
        (number, way): outcome
        for number, outcomes in told.items()
        for way, outcome in outcomes.items()
        if outcome not in ("answered", "refused")
    }
    assert not faults
    assert sum("refused" in outcomes.values() for outcomes in told.values()) > 5
