"""The kinds of findings: what each is called, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What a kind of finding is called and what its reader should do.

    Attributes:
        title: a heading in lower case.
        advice: one sentence or two.
    """

    title: str
    advice: str


# In the order in which they are told, within one severity.
KINDS: dict[str, Kind] = {
    "unreadable": Kind(
        "files that cannot be read as images",
        "Copy them again from their source, convert or delete them. Training leaves them out and lists them.",
    ),
    "contradicting-labels": Kind(
        "the same picture under different labels",
        "Decide on one class and remove the other copies. Until then none of them can be trusted, "
        "and the plan leaves all of them out.",
    ),
    "leak": Kind(
        "the same picture in different splits",
        "What is measured on such an image is memory, not skill. The plan keeps the copy in test and "
        "leaves out the others.",
    ),
    "placeholder": Kind(
        "one picture many times over",
        "Look at it: it is likely a stand-in such as 'image not available'. The plan leaves it out where it lies "
        "in several classes, else all copies but one.",
    ),
    "class-too-small": Kind(
        "classes that cannot be learned or measured",
        "Add images, merge the class with another, or remove it.",
    ),
    "near-contradiction": Kind(
        "near copies or lookalikes under different labels",
        "Look at each group: one label may be wrong, or the difference between the classes is very fine.",
    ),
    "near-leak": Kind(
        "near copies or lookalikes in different splits",
        "The figures of the test are too good by as much as these are remembered. The plan leaves out the copies "
        "outside test.",
    ),
    "shortcut": Kind(
        "the label can be told without looking at the picture",
        "A network may learn this instead of what is on the picture, and fail wherever it does not hold. "
        "Bring all classes to the same camera, format and size, or collect them anew.",
    ),
    "duplicates": Kind(
        "the same picture more than once in a class",
        "Copies count double. The plan keeps the first of each. Training keeps copies in one split in any case.",
    ),
    "constant": Kind(
        "images of a single colour",
        "There is nothing to learn from them; the plan leaves them out.",
    ),
    "narrow-range": Kind(
        "images of 16 bits that hardly use them",
        "Pixels are brought to 8 bits by dividing the whole range by 257, so that all images are treated alike. Save "
        "them so that they fill it, or with the 8 bits that matter.",
    ),
    "tiny": Kind(
        "tiny images",
        "They are enlarged to the network's size and may show too little. Look whether they are mere thumbnails.",
    ),
    "extreme-shape": Kind(
        "images of an extreme shape",
        "Brought to the network's shape, little of them remains. Crop them to what they show.",
    ),
    "class-names": Kind(
        "class names that are nearly the same",
        "Rename one if they mean the same; Sightline never fuses them by itself.",
    ),
    "imbalance": Kind(
        "classes of very different size",
        "Read balanced accuracy and macro F1 beside accuracy; weigh or sample the classes by recipe.",
    ),
    "few-images": Kind(
        "classes too small for a figure of their own",
        "Add images of these classes, or read their figures with the interval in mind.",
    ),
    "left-out": Kind(
        "files that the source names and that are not used",
        "Look whether an image is among them.",
    ),
    "wrong-extension": Kind(
        "files whose name promises another format",
        "Sightline goes by the content; other programs may not. Rename them.",
    ),
    "exif-rotation": Kind(
        "photographs that are stored turned and say so",
        "Sightline turns them upright everywhere. A program that ignores EXIF sees them lying on their side.",
    ),
    "huge": Kind(
        "very large images",
        "They slow down the first pass. Nothing is wrong with them.",
    ),
    "near-duplicates": Kind(
        "near copies or lookalikes within a class",
        "Series and edited copies add less than their number says. Training keeps them in one split.",
    ),
    "not-searched": Kind(
        "what was not looked for",
        "Absence from this list says nothing here.",
    ),
    "remark": Kind(
        "remarks on the source",
        "Read whether it was meant so.",
    ),
}
