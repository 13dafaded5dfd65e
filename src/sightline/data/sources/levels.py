"""Which of the folders of a source are splits and which are classes, told from names and from where images lie."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from sightline.data.sources.assembly import named_alike
from sightline.errors import InvalidSource
from sightline.records import SplitName
from sightline.system.text import printable

_WORDS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "trn", "training", "trainval", "训练", "训练集"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development", "eval", "evaluation", "验证", "验证集"),
    "test": ("test", "tst", "testing", "tests", "holdout", "测试", "测试集"),
}
# What stands beside such a word and says nothing.
_FILLERS = "set|sets|data|dataset|image|images|img|imgs|pic|pics|photo|photos|picture|pictures|split|folder|files"
_FILLER = re.compile(f"(?:{_FILLERS})")
_SPLITS: dict[str, SplitName] = {word: split for split, words in _WORDS.items() for word in words}
_SPELLING = re.compile(f"({'|'.join(sorted(_SPLITS, key=len, reverse=True))})(?:{_FILLERS})?")

CANONICAL = frozenset({"train", "training", "validation", "valid", "val", "test"})
"""Lower-case names that need no explanation."""

Folders = tuple[str, ...]
Counts = Mapping[Folders, int]
"""How many images lie right in each folder, which is named by its parts from the top."""
# A few pictures that lie beside sub-folders (a cover, an overview) do not make a folder flat.
# What is set in Python, and what is typed.
BY_LAST, BY_TOP = "label_from='last' (--label-from last)", "label_from='top' (--label-from top)"
_FEW = 0.1
_TO_SPLITS = "If the outer ones are splits, name them train, validation and test."


def split_of(name: str) -> SplitName | None:
    """The split that a name stands for by itself: "Val", "training_set", "test-images", "train2017"."""
    words = [word for word in _words(name) if not _FILLER.fullmatch(word)]
    return split_within(name) if len(words) == 1 else None


def split_within(name: str) -> SplitName | None:
    """The split that one word of a name stands for: "seg_train", "ILSVRC2012_img_val"; None of two different ones."""
    found = {_SPLITS[match[1]] for word in _words(name) if (match := _SPELLING.fullmatch(word))}
    return found.pop() if len(found) == 1 else None


def says_nothing(name: str) -> bool:
    """True of "images" and "data": a folder around others that is neither class nor split."""
    return all(_FILLER.fullmatch(word) for word in _words(name))


def _words(name: str) -> list[str]:
    parted = re.sub("([a-z])([A-Z])", r"\1 \2", name)  # TrainingData
    return re.findall(r"[^\W\d_]+", parted.lower())


@dataclass(frozen=True)
class _Top:
    """One folder at the top: what lies in it."""

    name: str
    split: str | None
    below: frozenset[str]
    num_images: int
    num_direct: int

    @property
    def is_flat(self) -> bool:
        return self.num_direct > _FEW * self.num_images


def find_splits(counts: Counts, *, typed: str, label_from: str) -> dict[str, str]:
    """Top folders that are splits, each with the split it is; empty if the top ones are no splits."""
    called = {folders[0]: "" for folders in counts if folders and split_within(folders[0])}
    inner = inner_wrappers(counts, called)
    tops = _tops(added_up((unpacked(folders, inner), number) for folders, number in counts.items()))
    known = [top for top in tops if top.split]
    if not known or label_from == "top":
        return {}
    splits = {top.name: str(top.split) for top in known}
    others = [top for top in tops if not top.split]
    pairs = [(one, other) for one in known for other in known if one.split != other.split]
    are_alike = any(one.below & other.below for one, other in pairs)
    if len(tops) == 1:  # an archive called "test" is no test split, but something in a folder
        return splits if split_of(known[0].name) == "train" and known[0].below else {}
    if not any(top.below for top in known):
        return {} if others else _refuse_flat(known, typed)
    if pairs and (are_alike or not others or all(split_of(top.name) for top in known)):
        return splits
    if not others and all(top.split == "train" for top in known):
        return splits
    if label_from == "first":
        _refuse_lonely(known, others, typed)
    return {}


def _tops(counts: Counts) -> list[_Top]:
    total, direct = Counter[str](), Counter[str]()
    below: dict[str, set[str]] = {}
    for folders, number in counts.items():
        if folders:
            total[folders[0]] += number
            direct[folders[0]] += number if len(folders) == 1 else 0
            below.setdefault(folders[0], set()).update(map(named_alike, folders[1:2]))
    return [_Top(name, split_within(name), frozenset(below[name]), total[name], direct[name]) for name in sorted(total)]


def _refuse_flat(known: list[_Top], typed: str) -> dict[str, str]:
    """Folders called as splits are, with images and no class folder in any of them."""
    if len({top.split for top in known}) < 2 or not all(split_of(top.name) for top in known):
        return {}
    raise InvalidSource(
        f"{typed}: the folders {_listed(top.name for top in known)} are splits by their names, but hold no class "
        f"folders. Arrange the images as {typed}/{printable(known[0].name)}/cat/1.jpg, or list them with their "
        f"labels in a table with the columns path, label and split. If these folders are the classes: {BY_TOP}."
    )


def _refuse_lonely(known: list[_Top], others: list[_Top], typed: str) -> None:
    """One split by its name beside folders that are none."""
    for top in known:
        twins = [other for other in others if len(top.below & other.below) > 1]
        is_train_alone = top.split == "train" and len(top.below) > 1 and all(not other.below for other in others)
        if twins or (is_train_alone and split_of(top.name)):
            beside = _listed(other.name for other in twins or others)
            raise InvalidSource(
                f"{typed}: {printable(top.name)!r} is a split by its name, and {beside} beside it is none. If they are "
                "splits, name them train, validation and test; if they do not belong here, move them away. "
                f"If the top folders are the classes: {BY_TOP}. If the inner ones are: {BY_LAST}."
            )


def say_splits(counts: Counts, splits: Mapping[str, str]) -> list[str]:
    """What was made of the top folders, where that is not what their names say alone."""
    tops = _tops(counts)
    remarks = []
    if not splits:
        known = [top.name for top in tops if top.split and (top.below or split_of(top.name))]
        alone = [top for top in tops if top.name in known and top.below]
        if len(tops) > 1 and (len(known) > 1 or alone):
            remarks.append(f"{_listed(known)}, a split by its name, is taken for a class")
        return remarks
    if any(name.strip().lower() not in CANONICAL for name in splits):
        said = ", ".join(f"{printable(name)!r} is the split {splits[name]}" for name in sorted(splits))
        remarks.append(f"{said}; the folders in them are the classes")
    remarks += [
        f"the folder {printable(top.name)!r} beside the splits is left out ({top.num_images:,} images)"
        for top in tops
        if top.name not in splits
    ]
    return remarks


def added_up(pairs: Iterable[tuple[Folders, int]]) -> dict[Folders, int]:
    """Counts of folders, of which some may stand there several times."""
    total: Counter[Folders] = Counter()
    for folders, number in pairs:
        total[folders] += number
    return dict(total)


def unpacked(folders: Folders, inner: Mapping[str, int]) -> Folders:
    """A folder without those that its split is packed in."""
    return folders[:1] + folders[1 + inner.get(folders[0], 0) :] if folders else ()


def inner_wrappers(counts: Counts, splits: Mapping[str, str]) -> dict[str, int]:
    """How many folders each split is packed in once more: 1 for seg_train/seg_train/cat, train/images/cat."""
    depths = {}
    for name in splits:
        inner = [folders[1:] for folders in counts if folders[0:1] == (name,)]
        depth = 0
        while all(inner) and len({folders[0] for folders in inner}) == 1 and _is_wrapper(inner[0][0], name):
            inner = [folders[1:] for folders in inner]
            depth += 1
        depths[name] = depth
    return depths


def _is_wrapper(inner: str, outer: str) -> bool:
    return says_nothing(inner) or split_of(inner) == split_within(outer) or named_alike(inner) == named_alike(outer)


def without_labels(counts: Counts, splits: Mapping[str, str]) -> dict[Folders, str]:
    """Folders of images without labels: a split that has no class folder, or one that holds something unknown."""
    known = {named_alike(folders[1]) for folders in counts if len(folders) > 1 and splits[folders[0]] == "train"}
    found: dict[Folders, str] = {}
    for top in _tops(counts):
        if not top.below:
            found[top.name,] = f"lies in {printable(top.name)!r}, which has no class folders: it has no label"
        elif len(top.below) == 1 and splits[top.name] != "train" and len(known) > 1 and not top.below & known:
            found[top.name,] = f"lies in {printable(top.name)!r}, which has no folder of any class of the train split"
    return found


def nested_copies(counts: Counts) -> list[str]:
    """Class folders that hold folders called as their siblings are: 'augmented data' with yes and no in it.

    Such a folder is another portion of the same classes, and mostly made from their images: it is no class.
    """
    tops = _tops(counts)
    names = {named_alike(top.name) for top in tops}
    found = []
    for top in tops:
        others = names - {named_alike(top.name)}
        twins = top.below & others
        if len(twins) > 1 or (twins and twins == top.below and not top.is_flat):
            found.append(top.name)
    return found if len(found) < len(tops) - 1 else []


def refuse_alike(counts: Counts, *, typed: str, inside: str = "") -> None:
    """Refuse folders that all hold the same sub-folders: which of the two are the classes, nobody can tell."""
    tops = _tops(counts)
    if len(tops) < 2 or any(top.is_flat for top in tops):
        return
    common = frozenset.intersection(*(top.below for top in tops))
    every = frozenset[str]().union(*(top.below for top in tops))
    if len(common) < 2 or 2 * len(common) < len(every):
        return
    outer = _listed(top.name for top in tops)
    head = f"{typed}: the folders {outer}{inside} hold the same sub-folders ({_listed(common)})"
    if all(split_of(name) for name in common):
        raise InvalidSource(
            f"{head}, which are splits by their names. Put the splits on top: {typed}/{min(common)}/"
            f"{printable(tops[0].name)}/1.jpg; or take all of a class together with {BY_TOP}."
        )
    raise InvalidSource(
        f"{head}, so it cannot be told which of them are the classes. If the inner ones are: {BY_LAST}. "
        f"If the outer ones are: {BY_TOP}. {'' if inside else _TO_SPLITS}".rstrip()
    )


def classes_in_classes(holders: Iterable[Folders]) -> list[str]:
    """A remark where a folder that names a class holds another that does."""
    # Sorted, what lies in a folder follows it at once.
    parents = ["/".join(one) for one, other in pairwise(sorted(holders)) if other[: len(one)] == one != other]
    return [f"{printable(parents[0])!r} is a class and holds classes"] if parents else []


def _listed(names: Iterable[str]) -> str:
    quoted = [repr(printable(name)) for name in sorted(names)]
    more = f" and {len(quoted) - 4} more" if len(quoted) > 5 else ""
    return ", ".join(quoted if not more else quoted[:4]) + more
