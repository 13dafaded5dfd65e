"""The parts of the judged images on which a bundle is wrong more often than on the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.prediction import match_labels
from sightline.bundles.sessions import session_of
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.data.inputs.properties import measured_rows
from sightline.errors import InvalidSource, InvalidValue
from sightline.evaluation.measuring.judging import JudgedRows, choose_rows
from sightline.evaluation.slicing.clusters import worst_clusters
from sightline.evaluation.slicing.membership import joined, members_of, members_of_table
from sightline.metrics.answers.decisions import is_right
from sightline.metrics.slices import Slice, judge_slices
from sightline.records import Bundle, Dataset, Predictions
from sightline.system.text import printable, told_p_value

_MOST_EXAMPLES = 2


def find_slices(
    bundle: Bundle,
    dataset: Dataset,
    choice: JudgedRows,
    predictions: Predictions,
    *,
    table: str | Path | None = None,
    level: float,
) -> tuple[Slice, ...]:
    """Parts by class, group, property, column and cluster, the surest to be worse first.

    Args:
        bundle: that was judged.
        dataset: the whole source; clusters are found on what was validation for the bundle.
        choice: the judged rows.
        predictions: of these rows.
        table: a table whose columns make parts, too.
        level: of the intervals.
    """
    chosen = dataset.take(choice.rows)
    pixels = read_pixels(chosen, bundle.input) if choice.pixels is None else choice.pixels
    members = members_of(chosen, measured_rows(chosen, pixels, bundle.input))
    if table is not None:
        members = joined(members, members_of_table(table, chosen.row_ids.tolist()))
    members |= _clusters(bundle, dataset, choice, pixels)
    readable = np.flatnonzero(predictions.readable)
    judged = predictions.take(readable)
    parts: Mapping[str, NDArray[np.bool_]] = {name: mask[readable] for name, mask in members.items()}
    return judge_slices(~is_right(judged), parts, judged.groups, level=level)


def _clusters(bundle: Bundle, dataset: Dataset, choice: JudgedRows, pixels: Pixels) -> dict[str, NDArray[np.bool_]]:
    """None where the bundle gives no features, or no validation rows are known beside those that are judged."""
    session = session_of(bundle)
    if "features" not in session.output_shapes():
        return {}
    try:
        validation = choose_rows(bundle, dataset, "validation")
    except (InvalidSource, InvalidValue):
        return {}
    others = np.flatnonzero(~np.isin(validation.rows, choice.rows))
    if not len(others):
        return {}
    rows = dataset.take(validation.rows[others])
    seen = read_pixels(rows, bundle.input) if validation.pixels is None else validation.pixels.take(others)
    found = session.collect(seen, ["features", "logits"], with_progress=True)
    known = np.isfinite(found["logits"]).all(axis=1) & ~np.isin(np.arange(len(rows)), list(seen.errors))
    labels = match_labels(bundle.class_names, rows, np.arange(len(rows)))
    wrong = ~np.asarray(bundle.task.is_right(found["logits"][known], labels[known]))
    own = session.collect(pixels, ["features"], with_progress=True)["features"]
    masks = worst_clusters(found["features"][known], wrong, own)
    ids = dataset.row_ids[choice.rows]
    return {f"images alike, as {', '.join(ids[mask][:_MOST_EXAMPLES].tolist())}": mask for mask in masks if mask.any()}


def slice_lines(slices: tuple[Slice, ...] | None, *, most: int = 10) -> list[str]:
    """What is told of them on a terminal, the worst first; nothing where it was not asked for."""
    if slices is None:
        return []
    if not slices:
        return ["no part of the images has 30 of them and 30 others to be judged against"]
    worse = sum(one.is_worse for one in slices)
    head = (
        f"of {len(slices):,} parts of the images, {worse} {'is' if worse == 1 else 'are'} worse than the rest by more "
        "than chance (Fisher, Holm-adjusted, 0.05)"
    )
    return [head, *(_line(one) for one in slices[: max(worse, min(3, most))][:most])]


def _line(one: Slice) -> str:
    low, high = one.interval
    mark = "worse" if one.is_worse else "by chance"
    shares = f"{100 * one.error:.1f} %, the rest {100 * one.rest_error:.1f} %"
    excess = f"{100 * one.excess:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    return (
        f"  {printable(one.name)}: {one.num_wrong:,} of {one.num_images:,} wrong ({shares}; {excess}, adjusted p "
        f"{told_p_value(one.adjusted)}: {mark})"
    )
