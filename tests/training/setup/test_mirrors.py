"""Classes that are mirror images of one another: by their names in many languages, and by what their images show."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sightline.training.setup.mirrors import named_mirrors, seen_mirrors

MIRRORED = [
    ("turn_left", "turn_right"),
    ("TurnLeft", "TurnRight"),
    ("LEFT", "RIGHT"),
    ("left2", "right2"),
    ("links abbiegen", "rechts abbiegen"),
    ("à gauche", "à droite"),
    ("giro-izquierda", "giro-derecha"),
    ("freccia sinistra", "freccia destra"),
    ("esquerda", "direita"),
    ("vänster", "höger"),
    ("vanster", "hoger"),
    ("venstre", "højre"),
    ("w_lewo", "w_prawo"),
    ("налево", "направо"),
    ("sol", "sağ"),
    ("左转", "右转"),
    ("왼쪽", "오른쪽"),
    ("اليسار", "اليمين"),
    ("שמאלה", "ימינה"),
    ("clockwise", "anti-clockwise"),
    ("clockwise", "CounterClockwise"),
    ("im Uhrzeigersinn", "gegen den Uhrzeigersinn"),
    ("時計回り", "反時計回り"),
    ("east", "west"),
    ("letter b", "letter d"),
    ("p", "q"),
    ("東", "西"),
    ("hand_L", "hand_R"),
    ("NE", "NW"),
    ("arrow ←", "arrow →"),
    ("eye OD", "eye OS"),
    ("mano izq", "mano der"),
    ("dx", "sx"),
    ("Linkskurve", "Rechtskurve"),
    ("Högersväng", "Vänstersväng"),
    ("kairėn", "dešinėn"),
    ("বাম", "ডান"),
    ("இடது", "வலது"),
]
NOT_MIRRORED = [
    ["right", "wrong"],
    ["bright", "leftover"],
    ["left hand", "background"],
    ["left_right", "up_down"],
    ["B", "D"],
    ["grade b", "bad d"],
    ["西瓜", "山东苹果"],
    ["cat", "dog"],
    ["grade L", "bad R"],
    ["port", "ship"],
    ["clockwise", "still"],
    ["up", "down"],
]


@pytest.mark.parametrize("pair", MIRRORED, ids="-".join)
@pytest.mark.parametrize("others", [[], ["stop"]], ids=["alone", "among others"])
def test_names_that_differ_in_a_side_are_found_in_many_languages(pair: tuple[str, str], others: list[str]) -> None:
    assert set(named_mirrors([pair[1], *others, pair[0]], "horizontal") or ()) == set(pair)


@pytest.mark.parametrize("names", NOT_MIRRORED, ids="-".join)
def test_names_that_say_nothing_of_two_sides_are_let_alone(names: list[str]) -> None:
    assert named_mirrors(names, "horizontal") is None


@pytest.mark.parametrize("pair", [("up", "down"), ("oben", "unten"), ("向上", "向下"), ("b", "p"), ("North", "South")])
def test_names_that_differ_in_up_and_down_are_found_for_flips_from_top_to_bottom(pair: tuple[str, str]) -> None:
    assert named_mirrors(pair, "vertical") == pair


def arrows(*, num_images: int = 60, noise: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Arrows to the left and to the right, somewhere on a noisy ground, and a third class of squares."""
    random = np.random.default_rng(seed)
    labels = np.arange(num_images * 3) % 3
    images = []
    for label in labels.tolist():
        ground = random.integers(60, 60 + noise, (12, 12, 3), dtype=np.uint8)
        picture = Image.fromarray(ground).resize((72, 72), Image.Resampling.BICUBIC)
        x, y = (int(value) for value in random.integers(-8, 9, 2))
        arrow = [(20, 36), (40, 18), (40, 30), (60, 30), (60, 42), (40, 42), (40, 54)]
        points = [(20, 20), (50, 20), (50, 50), (20, 50)] if label == 2 else arrow
        ImageDraw.Draw(picture).polygon([(left + x, top + y) for left, top in points], fill=(240, 240, 240))
        images.append(np.asarray(picture)[:, ::-1] if label == 1 else np.asarray(picture))
    return np.stack(images), labels


def test_images_of_one_class_that_mirror_those_of_another_are_seen_whatever_the_names() -> None:
    images, labels = arrows()
    assert seen_mirrors(images, labels, "horizontal") == (0, 1)
    assert seen_mirrors(images.transpose(0, 2, 1, 3), labels, "vertical") == (0, 1)
    assert seen_mirrors(images.transpose(0, 2, 1, 3), labels, "horizontal") is None
    grey = images.mean(axis=3, keepdims=True).astype(np.uint8)
    assert seen_mirrors(grey, labels, "horizontal") == (0, 1)


def test_classes_that_are_their_own_mirror_images_are_not_seen_as_one_anothers() -> None:
    images, labels = arrows()
    either = np.where(np.arange(len(images))[:, None, None, None] % 2 == 0, images, images[:, :, ::-1])
    assert seen_mirrors(either, labels, "horizontal") is None


@pytest.mark.parametrize("seed", range(20))
def test_chance_makes_no_mirrors(seed: int) -> None:
    random = np.random.default_rng(seed)
    images = random.integers(0, 255, (40 + 10 * seed, 16, 16, 1), dtype=np.uint8)
    assert seen_mirrors(images, np.arange(len(images)) % 2, "horizontal") is None


def test_too_few_images_and_too_many_classes_say_nothing() -> None:
    images, labels = arrows(num_images=19)
    assert seen_mirrors(images, labels, "horizontal") is None
    assert seen_mirrors(np.zeros((4020, 2, 2, 1), np.uint8), np.arange(4020) % 201, "horizontal") is None
