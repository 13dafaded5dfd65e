"""Which rows of a source a bundle may be judged on: what it did not learn from, and what is told of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.identity import NEW, STATES, Identity, content_digests, read_identity
from sightline.data.duplicates.search import connected_components, outstanding, remembered_copies
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.data.sources.loading import open_again
from sightline.errors import InvalidBundle, InvalidSource, InvalidValue
from sightline.evaluation.measuring.finished_runs import has_known_train_rows, read_splits
from sightline.quality.labels.label_table import read_labels, relabelled
from sightline.records import SPLIT_NAMES, Bundle, Dataset, Store
from sightline.system.paths import absolute_path
from sightline.system.stored import read_plain
from sightline.system.text import places_by_name, printable

# A class of more of the known images than this has changed: this is another source, or they were sorted anew.
MOST_RELABELLED = 0.05
# What a bundle may be judged on where nothing else is asked for.
_FAIR = ("test", NEW)


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """The rows that are judged, and what is to be told of them.

    Attributes:
        rows: (num_rows,) ascending row indices.
        pixels: of these rows, where they were read already.
        groups: (num_rows,) strings, what hangs together; None where nothing is known of it.
        told: `split`; `judged` and `left_out`, counts by what the images were for the bundle; `known_by`, "splits.csv",
            "content", "names" or "nothing"; `is_other_source`; `mixed`, what to say beside the figure, or ""; `notes`.
    """

    rows: NDArray[np.int64]
    pixels: Pixels | None
    groups: NDArray[np.str_] | None
    told: dict[str, Any]


def run_of(bundle: Bundle) -> Path | None:
    """The folder of the run that a bundle lies in; None where it lies apart from it."""
    around = folder_around(bundle)
    is_inside = all((around / name).exists() for name in ("recipe.json", "splits.csv", "metrics.json"))
    return around if is_inside else None


def folder_around(bundle: Bundle) -> Path:
    """The folder that a bundle lies in; of a link to the bundle of a run, that run."""
    around = absolute_path(bundle.path, follow_links=False).parent  # "." has itself as its parent
    return around if (around / "splits.csv").exists() else absolute_path(bundle.path).parent


def recorded_source(bundle: Bundle) -> str:
    """What a bundle says that it was trained on, where it lies in its run; what a stranger's names is not opened."""
    typed = bundle.metrics.get("source", {}).get("typed")
    if not typed:
        raise InvalidValue(f"{bundle.path}: this bundle does not say what it was trained on. Name a source.")
    if run_of(bundle) is None:
        raise InvalidValue(
            f"{bundle.path} lies apart from its run, and what it says that it was trained on, '{printable(typed)}', is "
            "opened only if you name it: a bundle may come from somebody else. Name a source behind the bundle."
        )
    return str(typed)


def open_recorded(bundle: Bundle, named: Any = None) -> Dataset:
    """What a bundle was trained on, with the labels that it learned from, but for images by which it kept classes."""
    opened = recorded_source(bundle) if named is None else named
    return with_learned_labels(bundle, open_again(opened, bundle.metrics.get("source", {})))


def with_learned_labels(bundle: Bundle, dataset: Dataset) -> Dataset:
    """The rows with the labels that a table had changed when the run of a bundle learned from them."""
    table = folder_around(bundle) / "labels.csv"
    if run_of(bundle) is None or not table.exists():
        return dataset
    try:
        labels = read_labels(read_plain(table).decode("utf-8"), name=str(table))
        there = places_by_name(dataset.row_ids.tolist())
        return relabelled(dataset, {file: label for file, label in labels.items() if file in there})
    except (OSError, InvalidValue, ValueError) as error:
        raise InvalidBundle(f"{table}: cannot be read ({error}). Copy the run again, or train again.") from error


@dataclass(frozen=True, eq=False)
class _Known:
    """What the images of a source were for a bundle: `states` of all rows, those that were `looked` at, and how."""

    states: NDArray[np.str_]
    looked: NDArray[np.int64]
    by: str
    pixels: Pixels | None = None
    notes: tuple[str, ...] = ()
    is_other_source: bool = False


def choose_rows(bundle: Bundle, dataset: Dataset, split: str | None) -> JudgedRows:
    """The rows of a source that are judged: of the split that was asked for, or those that were not learned from."""
    if split not in (None, "all", *SPLIT_NAMES):
        raise InvalidValue(f"split must be {', '.join(SPLIT_NAMES)} or all; got {split!r}.")
    is_own = bundle.metrics.get("source", {}).get("fingerprint") == dataset.fingerprint
    listed, identity = _listed(bundle), read_identity(bundle)
    known = _known(bundle, dataset, listed, identity, split=split)
    asked = np.flatnonzero(_asked(known.states[known.looked], dataset.given_splits[known.looked], split))
    if known.by == "nothing" and split is None and is_own and len(known.looked) == len(dataset):
        raise InvalidSource(
            f"{dataset.name}: {bundle.path} learned from these images, and which of them it did not learn from is "
            "not known. Name the folder of its run, other images, or --split all for a figure that flatters."
        )
    told = _told(known, asked, split=split, remarks=dataset.remarks)
    if not ((identity is not None and identity.is_whole) or has_known_train_rows(bundle)):
        told["notes"].append("what its teacher, or one of its members, learned from may be among these images")
    if not len(asked):
        raise InvalidSource(_refusal(bundle, dataset, split, told))
    pixels = None if known.pixels is None else known.pixels.take(asked)
    groups = _groups(dataset, known, listed if is_own else {})
    return JudgedRows(known.looked[asked], pixels, None if groups is None else groups[asked], told)


def _known(
    bundle: Bundle,
    dataset: Dataset,
    listed: Mapping[str, tuple[str, str]],
    identity: Identity | None,
    *,
    split: str | None,
) -> _Known:
    """What is known of the images: by the table of the run, by their content, by their names alone, or nothing."""
    row_ids, looked = dataset.row_ids.tolist(), np.arange(len(dataset))
    if listed and bundle.metrics.get("source", {}).get("fingerprint") == dataset.fingerprint:
        states = np.array([listed.get(row_id, ("left out", ""))[0] for row_id in row_ids])
        return _Known(states, looked, "splits.csv")
    if split is None and (dataset.given_splits == "test").any():
        looked = np.flatnonzero(dataset.given_splits == "test")
    if identity is not None:
        return _by_content(bundle, dataset, identity, looked)
    if listed and isinstance(dataset.images, Store):
        note = "what the bundle learned from is known by names alone: files of one name are taken for one image"
        states = np.array([listed.get(row_id, (NEW, ""))[0] for row_id in row_ids])
        return _Known(states, looked, "names", notes=(note,))
    return _Known(np.full(len(dataset), NEW), looked, "nothing")


def _listed(bundle: Bundle) -> dict[str, tuple[str, str]]:
    """Row id to split and group, as the run of the bundle lists them; nothing where it lies apart from it."""
    table = folder_around(bundle) / "splits.csv"
    if not table.exists():  # what is there and is no file is refused when it is read
        return {}
    lines = read_splits(table)
    return {line["row_id"]: (line["split"], line.get("group") or line["row_id"]) for line in lines}


def _by_content(bundle: Bundle, dataset: Dataset, identity: Identity, looked: NDArray[np.int64]) -> _Known:
    chosen = dataset.take(looked)
    pixels = read_pixels(chosen, bundle.input)
    found, was_other = identity.find(content_digests(chosen, pixels, bundle.input), chosen.named())
    states = np.full(len(dataset), NEW, found.dtype)
    states[looked] = found
    num_known, num_other = int((found != NEW).sum()), int(was_other.sum())
    notes = []
    if num_other:
        notes.append(f"{num_other:,} of the {num_known:,} images that the bundle knows are of another class here")
    is_named_alike = bundle.metrics.get("source", {}).get("name") == dataset.name
    is_other = is_named_alike and (not num_known or num_other > MOST_RELABELLED * num_known)
    return _Known(states, looked, "content", pixels, tuple(notes), is_other)


def _asked(states: NDArray[np.str_], given: NDArray[np.str_], split: str | None) -> NDArray[np.bool_]:
    if split == "all":
        return np.ones(len(states), bool)
    if split is None:
        return np.isin(states, _FAIR)
    # Of images that the bundle does not know, the source may say what they are for.
    return np.asarray((states == split) | ((states == NEW) & (given == split)))


def _told(known: _Known, asked: NDArray[np.int64], *, split: str | None, remarks: tuple[str, ...]) -> dict[str, Any]:
    states = known.states[known.looked]
    unreadable = [] if known.pixels is None else list(known.pixels.errors)
    judged = _counts(states[np.setdiff1d(asked, unreadable)])
    learned = {state: count for state, count in judged.items() if state not in _FAIR}
    mixed = ""
    if learned:
        mixed = f"{sum(learned.values()):,} of which the bundle was made with ({_listing(learned)})"
    elif known.by == "nothing":
        mixed = "some of which the bundle may have learned from: nothing tells them apart"
    return {
        "split": split,
        "judged": judged,
        "left_out": _counts(np.delete(states, asked)),
        "known_by": known.by,
        "is_other_source": known.is_other_source,
        "mixed": mixed,
        "notes": [*remarks, *known.notes],
    }


def _counts(states: NDArray[np.str_]) -> dict[str, int]:
    counts = Counter(states.tolist())
    return {state: counts[state] for state in (*STATES, NEW) if counts[state]}


# Where the name of a state alone would puzzle.
_WORDS = {NEW: "that the bundle does not know", "left out": "that training left out"}


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {_WORDS.get(state, state)}" for state, count in counts.items())


def in_words(told: Mapping[str, Any]) -> str:
    """Which rows were judged and which left out, in a line."""
    judged, by = dict(told["judged"]), told["known_by"]
    if told["is_other_source"]:
        return "another source than the one of that name that the bundle was made with: " + in_words(
            {**told, "is_other_source": False}
        )
    if by == "nothing":
        return f"judged on {sum(judged.values()):,} images; nothing tells which of them the bundle learned from"
    text = f"judged on {_listing(judged) or 'no image'}"
    if told["left_out"]:
        text += f"; left out {_listing(told['left_out'])}"
    return f"{text} (told apart by {by})"


def _refusal(bundle: Bundle, dataset: Dataset, split: str | None, told: Mapping[str, Any]) -> str:
    if split is not None:
        return f"{dataset.name}: no row is in the split '{split}'. Try --split all."
    return (
        f"{dataset.name}: {bundle.path} was made with all of its images ({_listing(told['left_out'])}): a figure on "
        "them would flatter. Name other images, or --split all."
    )


def _groups(dataset: Dataset, known: _Known, listed: Mapping[str, tuple[str, str]]) -> NDArray[np.str_] | None:
    """What hangs together among the rows that were looked at: as the run kept it, else groups of the source and copies.

    Asked of all of them, not of those that are judged: whether likeness tells copies apart is a trait of the source.
    """
    rows = known.looked
    row_ids = dataset.row_ids[rows].tolist()
    if listed:
        return np.array([listed.get(row_id, ("", row_id))[1] for row_id in row_ids], dtype=str)
    pairs = [np.empty((0, 2), np.int64)]
    if dataset.groups is not None:
        named = np.where(dataset.groups[rows] == "", dataset.row_ids[rows], dataset.groups[rows])
        _, first, inverse = np.unique(named, return_index=True, return_inverse=True)
        pairs.append(np.stack([first[inverse], np.arange(len(rows))], axis=1))
    if known.pixels is not None and known.pixels.signatures is not None:
        pairs.append(outstanding(remembered_copies(known.pixels.signatures))[0].rows)
    if len(pairs) == 1:
        return None
    return connected_components(len(rows), np.concatenate(pairs)).astype(str)
