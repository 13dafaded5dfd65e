"""Which classes are mirror images of one another, by what their names say and by what their images show.

A mirrored arrow to the left is one to the right: a network that is shown it under its old label learns to guess.
Imports no Keras.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Axis = Literal["horizontal", "vertical"]
# Whole words, two sides a language, other forms of a word beside it; letters with marks are found without them, too.
_WORDS: dict[Axis, str] = {
    "horizontal": (
        "left lefthand leftward leftwards | right righthand rightward rightwards; "
        "links linke linker linkes linken link | rechts rechte rechter rechtes rechten recht; "
        "gauche | droite droit; izquierda izquierdo | derecha derecho; sinistra sinistro | destra destro; "
        "esquerda esquerdo | direita direito; esquerra | dreta; stânga | dreapta; vänster vänstra | höger högra; "
        "venstre | højre høyre; vasen vasemmalle | oikea oikealle; lewo lewa lewy | prawo prawa prawy; "
        "vlevo levo levá levý levi leva | vpravo pravo pravá pravý; lijevo levo lijeva | desno desna; "
        "bal balra | jobb jobbra; sol sola | sağ sağa; kiri | kanan; trái | phải; αριστερά αριστερό | δεξιά δεξί; "
        "лево влево налево слева левый левая левое | право вправо направо справа правый правая правое; "
        "ліво вліво ліворуч лівий ліва | право вправо праворуч правий права; ляво наляво | дясно надясно; "
        "clockwise cw | anticlockwise counterclockwise ccw acw; "
        "uhrzeigersinn | gegenuhrzeigersinn; horaire | antihoraire; horario | antihorario; orario | antiorario; "
        "east eastbound eastward | west westbound westward; ost osten | west westen; oost | west; est | ouest; "
        "este | oeste; est | ovest; leste | oeste; est | vest; öst öster | väst väster; øst | vest; "
        "kairė kairėn | dešinė dešinėn; kreisi kreisais kreisā | labi labais labā; vasak vasakule | parem paremale; "
        "kaliwa | kanan; kushoto | kulia; сол солға | оң оңға; ձախ | աջ; მარცხნივ მარცხენა | მარჯვნივ მარჯვენა; "
        "lt lh lefthanded | rt rh righthanded; li | re; izq izda izdo | der dcha dcho; sx | dx; os | od; og | od; "
        "port portside | starboard; "
        "wschód | zachód; doğu | batı; восток | запад; timur | barat"  # noqa: RUF001  # a Turkish letter
    ),
    "vertical": (
        "up upward upwards upper | down downward downwards lower; top | bottom; above | below; "
        "oben hoch aufwärts | unten runter abwärts; haut | bas; arriba | abajo; su | giù; cima | baixo; upp | ner; "
        "omhoog boven | omlaag onder; góra | dół; вверх верх | вниз низ; yukarı | aşağı; atas | bawah; "  # noqa: RUF001
        "north northbound | south southbound; nord norden | süd süden; nord | sud; norte | sur; norte | sul; "
        "noord | zuid; północ | południe; север | юг"
    ),
}
# Scripts that part no words or join small ones to them, signs, and words that begin others: anywhere in a name.
_PARTS: dict[Axis, str] = {
    "horizontal": (
        "左 | 右; 왼 | 오른; 좌회전 | 우회전; 좌측 | 우측; يسار | يمين; چپ | راست; שמאל | ימין; שמאל | ימינ; "
        "बाएं | दाएं; बायां | दायां; बायाँ | दायाँ; ซ้าย | ขวา; বাম | ডান; இடது | வலது; ఎడమ | కుడి; ਖੱਬੇ | ਸੱਜੇ; ડાબ | જમણ; "
        "← | →; ⬅ | ➡; ↰ | ↱; ⟲ | ⟳; links | rechts; vänster | höger; venstre | højre; venstre | høyre; "
        "顺时针 | 逆时针; 順時針 | 逆時針; 時計回り | 反時計回り; "
        "시계방향 | 반시계방향; شرق | غرب"
    ),
    "vertical": "上 | 下; ↑ | ↓; ⬆ | ⬇; 위쪽 | 아래쪽; فوق | تحت; أعلى | أسفل; ऊपर | नीचे; บน | ล่าง; شمال | جنوب",
}
# Letters, and signs that stand in many other words: only where nothing but they tells two names apart.
_ALONE: dict[Axis, str] = {
    "horizontal": "b | d; p | q; L | R; l | r; E | W; NE | NW; SE | SW; 东 | 西; 東 | 西; 동 | 서",
    "vertical": "b | p; d | q; N | S; NE | SE; NW | SW; 北 | 南; 북 | 남",
}
# They turn the word behind them into its opposite.
_AGAINST, _ARTICLES = ("anti", "counter", "gegen"), ("den", "dem", "the", "ends")
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-zà-öø-ÿа-я])(?=[A-ZÀ-ÖØ-ÞА-Я])|(?<=[A-Z])(?=[A-Z][a-z])")

# A thumbnail's side, images of a class that are looked at, fewest that say anything, and images of all classes.
THUMBNAIL, MOST_OF_A_CLASS, FEWEST_OF_A_CLASS, MOST_IMAGES = 16, 60, 20, 4000
# Of both classes so many images look most like their own class, and mirrored like the other one.
SWAPPED_SHARE = 2 / 3


def named_mirrors(class_names: Sequence[str], axis: Axis) -> tuple[str, str] | None:
    """The first two classes whose names say that one is the mirror image of the other, or None."""
    found = _by_words(class_names, axis) or _by_parts(class_names, axis)
    if found:
        return class_names[found[0]], class_names[found[1]]
    known = set(class_names)
    for (first,), (second,) in _lines(_ALONE[axis]):
        # A letter stands alone in a name, a sign of another script may stand anywhere.
        pattern = rf"(?<![^\W_]){first}(?![^\W_])" if first.isascii() else first
        for name in class_names:
            other = re.sub(pattern, second, name, count=1)
            if other != name and other in known:
                return name, other
    return None


def seen_mirrors(images: Any, labels: NDArray[np.int64], axis: Axis) -> tuple[int, int] | None:
    """Two classes whose images show that one is the mirror image of the other.

    Each image is compared with all others as it is, and mirrored, by grey thumbnails. Two classes are mirrors where
    two of three images of both are most like one of their own class, and mirrored most like one of the other.

    Args:
        images: (num_images, height, width, channels) uint8, or what gives such an array when it is sliced by rows.
        labels: (num_images,) int64.
        axis: along which images are mirrored.

    Returns:
        The labels of the first such pair; None where there is none, where fewer than two classes have 20 images, and
        with more than 200 classes.
    """
    rows = mirror_sample(labels)
    if not len(rows):
        return None
    thumbnails = np.stack([_thumbnail(images[row : row + 1][0]) for row in rows.tolist()])
    mirrored = thumbnails[:, :, ::-1] if axis == "horizontal" else thumbnails[:, ::-1]
    own = labels[rows]
    as_is, turned = _nearest(thumbnails, thumbnails, own), _nearest(mirrored, thumbnails, own)
    classes = np.unique(own)
    stays = {label: (as_is[own == label] == label).mean() for label in classes.tolist()}
    for first, second in combinations(classes.tolist(), 2):
        goes = (turned[own == first] == second).mean(), (turned[own == second] == first).mean()
        if min(stays[first], stays[second], *goes) >= SWAPPED_SHARE:
            return first, second
    return None


def _by_words(class_names: Sequence[str], axis: Axis) -> tuple[int, int] | None:
    words = [_words(name) for name in class_names]
    for first, second in _lines(_WORDS[axis]):
        here, there = _forms(first), _forms(second)
        found = _pair([bool(own & here) for own in words], [bool(own & there) for own in words])
        if found:
            return found
    return None


def _by_parts(class_names: Sequence[str], axis: Axis) -> tuple[int, int] | None:
    names = [unicodedata.normalize("NFC", name).lower() for name in class_names]
    for (first,), (second,) in _lines(_PARTS[axis]):
        # The sign for the other way round may hold the sign for one way.
        has_first = [first in name.replace(second, "") for name in names]
        found = _pair(has_first, [second in name for name in names])
        if found:
            return found
    return None


def _pair(has_first: Sequence[bool], has_second: Sequence[bool]) -> tuple[int, int] | None:
    """A class that has the first alone, and one that has the second alone."""
    sides = list(zip(has_first, has_second, strict=True))
    if (True, False) in sides and (False, True) in sides:
        return sides.index((True, False)), sides.index((False, True))
    return None


def _lines(table: str) -> list[tuple[list[str], list[str]]]:
    """The two sides of each line of a table."""
    lines = [line.partition("|") for line in table.split(";")]
    return [(first.split(), second.split()) for first, _, second in lines]


def _forms(words: Sequence[str]) -> set[str]:
    return {form for word in words for form in (word, _plain(word))}


def _plain(word: str) -> str:
    """A word without the marks on its letters."""
    parted = unicodedata.normalize("NFKD", word.translate(str.maketrans("øłı", "oli")))
    return "".join(letter for letter in parted if not unicodedata.combining(letter))


def _words(name: str) -> set[str]:
    """The words of a name, parted by whatever is no letter and by capitals; anti-clockwise is one."""
    parted = _WORD.findall(_CAMEL.sub(" ", unicodedata.normalize("NFC", name)))
    words = [word.lower() for word in parted if word.lower() not in _ARTICLES]
    joined = {first + second for first, second in pairwise(words) if first in _AGAINST}
    taken = {second for first, second in pairwise(words) if first in _AGAINST}
    return (set(words) - taken) | joined


def mirror_sample(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows that `seen_mirrors` looks at, as many of each class, spread over the source; of these it looks at all."""
    counts = np.bincount(labels)
    classes = np.flatnonzero(counts >= FEWEST_OF_A_CLASS)
    if len(classes) < 2 or len(classes) * FEWEST_OF_A_CLASS > MOST_IMAGES:
        return np.zeros(0, np.int64)
    most = min(MOST_OF_A_CLASS, MOST_IMAGES // len(classes))
    parts = []
    for label in classes.tolist():
        rows = np.flatnonzero(labels == label)
        parts.append(rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)])
    return np.sort(np.concatenate(parts))


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A small grey picture whose mean is 0 and whose length is 1, so that light does not count."""
    grey = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image[:, :, :3]).convert("L")
    small = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32)
    small -= small.mean()
    return small / np.float32(max(float(np.linalg.norm(small)), 1e-6))


def _nearest(these: NDArray[np.float32], others: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The label of the image that each of these is most like, itself aside."""
    likeness = these.reshape(len(these), -1) @ others.reshape(len(others), -1).T
    np.fill_diagonal(likeness, -np.inf)
    found: NDArray[np.int64] = labels[likeness.argmax(axis=1)]
    return found
