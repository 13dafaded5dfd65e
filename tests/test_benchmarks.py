"""What benchmarks write down: rows where they belong, ensembles that differ, labels corrected, means over seeds."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import ensembles_of_runs
    import records

    yield records, ensembles_of_runs
    # Their names are too plain to stay.
    for name in ("records", "ensembles_of_runs", "seeds"):
        sys.modules.pop(name)


def test_a_look_is_written_at_the_end_of_the_table_under_its_heading(modules):
    records, _ = modules
    text = "# Looks\n\n## One\n\n| a |\n|---|\n| 1 |\n\n## Two\n\n| a |\n|---|\n"
    assert records.with_row(text, "| 2 |", "One") == text.replace("| 1 |\n", "| 1 |\n| 2 |\n")
    assert records.with_row(text, "| 2 |", "Two") == text + "| 2 |\n"
    with pytest.raises(SystemExit, match="Three"):
        records.with_row(text, "| 2 |", "Three")


def test_the_list_of_looks_has_a_heading_for_each_script_that_writes_there(modules):
    records, _ = modules
    text = records.RECORDS.read_text(encoding="utf-8")
    for script in ("records.py", "ensembles.py"):
        heading = f"Looks by benchmarks/{script}"
        assert f'"{heading}"' in (BENCHMARKS / script).read_text(encoding="utf-8")
        assert records.with_row(text, "| row |", heading) != text


def test_ensembles_are_all_that_there_are_or_different_ones(modules):
    _, ensembles = modules
    assert ensembles.draws(3, 2, most=200) == [[0, 1], [0, 2], [1, 2]]
    drawn = ensembles.draws(15, 10, most=200)
    assert len({tuple(members) for members in drawn}) == 200
    assert all(len(set(members)) == 10 for members in drawn)


@pytest.mark.parametrize(("num_runs", "size"), [(15, 10), (11, 10), (10, 9), (3, 2), (2, 2)])
def test_too_few_runs_make_smaller_ensembles(num_runs, size, modules):
    _, ensembles = modules
    assert ensembles.sensible_size(num_runs, 10) == size


def test_a_label_without_agreement_leaves_the_image_out(modules, tmp_path):
    _, ensembles = modules
    row_ids = np.array(["test/0", "test/1", "test/2"])
    predictions = ensembles.RunPredictions(np.zeros((3, 2, 2)), np.array([0, 1, 1]), row_ids, ("a", "b"))
    path = tmp_path / "corrections.csv"
    path.write_text("row_id,label\ntest/0,b\ntest/2,\n")
    assert ensembles.corrected(predictions, path).tolist() == [1, 1, -1]
    said = [np.array([0, 1, 0]), np.array([1, 0, 0])]
    assert (
        ensembles.errors_of(said, ensembles.corrected(predictions, path), is_alone=False) == "1.00 | 1 to 1 | 0.50000"
    )
    path.write_text("row_id,label\ntest/9,b\n")
    with pytest.raises(SystemExit, match="test/9"):
        ensembles.corrected(predictions, path)


def test_the_mean_over_seeds_by_hand(modules):
    records, _ = modules
    # Mean 2, standard error 1 / sqrt(3), t(2) = 4.302653.
    spread = 4.302653 / math.sqrt(3)
    assert records.mean_interval([1, 2, 3]) == pytest.approx((2 - spread, 2 + spread))
    values = np.array([0.91, 0.94, 0.93, 0.97])
    lower, upper = records.mean_interval(values)
    assert records.mean_interval(values[::-1] * 10 + 3) == pytest.approx((lower * 10 + 3, upper * 10 + 3))
    assert records.mean_interval([0.1] * 3) == (0.1, 0.1)


@pytest.mark.parametrize("values", [[], [1.0], 1.0, [[1.0, 2.0]], [1.0, math.nan], ["1", "2"], [None, 1.0]])
def test_a_mean_over_seeds_refuses_what_has_no_spread(values, modules):
    records, _ = modules
    with pytest.raises(ValueError, match=r"^values must"):
        records.mean_interval(values)
