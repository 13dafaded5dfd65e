"""Folder names and cells that say which split they are, in any of the common spellings."""

from __future__ import annotations

import re

from sightline.records import SplitName

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
