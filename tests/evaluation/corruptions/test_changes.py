from __future__ import annotations

import colorsys
import io
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sightline.errors import InvalidValue, UnknownName
from sightline.evaluation.corruptions.changes import CHANGES, corrupted
from sightline.evaluation.corruptions.strengths import SEVERITIES, STRENGTHS

Pixels = NDArray[np.uint8]
# Of the pixels' mean: two levels of 255.
CLOSE = 2


def picture(side: int, channels: int = 3, seed: int = 0) -> Pixels:
    generator = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(generator.integers(0, 256, (size, size, 3), np.uint8)).resize((side, side), 3), float
        )
        for size in (3, 8, 20)
    ]
    mixed = np.clip(np.mean(layers, axis=0), 0, 255).astype(np.uint8)
    return mixed if channels == 3 else mixed[:, :, :1]


def apart(one: Pixels, other: NDArray[np.float64]) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("name", CHANGES)
def test_each_works_on_any_size_and_colour_and_gives_the_same_shape(name: str) -> None:
    for shape in ((32, 32, 3), (28, 28, 1), (8, 8, 1), (50, 90, 3), (300, 240, 3)):
        image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        for severity in (1, 5):
            made = corrupted(image, name, severity)
            assert made.shape == shape
            assert made.dtype == np.uint8
        # Of 8 pixels a side, a blur of a quarter of what 32 pixels get leaves all as it is.
        assert (made != image).any() or min(shape[:2]) < 28


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_bytes_give_the_same_bytes_and_each_severity_leaves_less(name: str) -> None:
    image = picture(64)
    assert (corrupted(image, name, 3) == corrupted(image.copy(order="F"), name, 3)).all()
    errors = [np.abs(corrupted(image, name, severity).astype(float) - image).mean() for severity in SEVERITIES]
    # The published strengths of elastic change their kind, and those of frost mix ever less of the picture.
    assert errors[4] > errors[0] > 0 or name in ("elastic", "frost")
    assert min(errors) > 0


@pytest.mark.parametrize("name", ["gaussian noise", "shot noise", "impulse noise", "glass blur", "motion blur", "snow"])
def test_another_image_or_seed_draws_otherwise(name: str) -> None:
    image = picture(32)
    assert (corrupted(image, name, 3) != corrupted(image, name, 3, seed=1)).any()
    other = image.copy()
    other[0, 0, 0] ^= 1
    drawn = [np.asarray(corrupted(one, name, 3)[5:-5, 5:-5], int) for one in (image, other)]
    assert (drawn[0] != drawn[1]).any()


def test_at_32_and_224_pixels_the_strengths_are_the_published_ones_and_between_them_between() -> None:
    for strength in STRENGTHS.values():
        for severity in SEVERITIES:
            low, middle, high = (strength.at(severity, side) for side in (32, 84, 224))
            assert low == pytest.approx(strength.small[severity - 1])
            assert high == pytest.approx(strength.large[severity - 1])
            for one, two, three in zip(low, middle, high, strict=True):
                assert min(one, three) - 1e-9 <= two <= max(one, three) + 1e-9


def test_lengths_grow_with_the_image_and_nothing_else_does() -> None:
    radius, softness = STRENGTHS["defocus blur"].at(3, 448)
    assert (radius, softness) == pytest.approx((12, 0.5))
    assert STRENGTHS["contrast"].at(3, 448) == STRENGTHS["contrast"].at(3, 224)
    assert STRENGTHS["motion blur"].at(1, 16) == pytest.approx((3, 0.5))


# The definitions, written anew and slowly, at both sizes at which strengths are published.


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_brightness_is_the_value_of_hue_saturation_and_value_raised(side: int, severity: int) -> None:
    image = picture(side)[:16, :16] if side == 32 else picture(side)
    (raised,) = STRENGTHS["brightness"].at(severity, min(image.shape[:2]))
    rows = image.reshape(-1, 3)[:: max(1, image.size // 3000)] / 255
    slowly = []
    for red, green, blue in rows.tolist():
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        slowly.append(colorsys.hsv_to_rgb(hue, saturation, min(value + raised, 1)))
    ours = corrupted(image, "brightness", severity).reshape(-1, 3)[:: max(1, image.size // 3000)]
    assert apart(ours, 255 * np.array(slowly)) <= CLOSE


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_contrast_pixelate_and_jpeg_are_their_definitions(side: int, severity: int) -> None:
    image = picture(side)
    (kept,) = STRENGTHS["contrast"].at(severity, side)
    mean = image.mean(axis=(0, 1))
    assert apart(corrupted(image, "contrast", severity), np.clip((image - mean) * kept + mean, 0, 255)) <= CLOSE
    (share,) = STRENGTHS["pixelate"].at(severity, side)
    small = Image.fromarray(image).resize((int(side * share), int(side * share)), Image.Resampling.BOX)
    expected = np.asarray(small.resize((side, side), Image.Resampling.BOX))
    assert (corrupted(image, "pixelate", severity) == expected).all()
    (quality,) = STRENGTHS["jpeg"].at(severity, side)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=round(quality))
    assert (corrupted(image, "jpeg", severity) == np.asarray(Image.open(stream))).all()


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_defocus_and_zoom_are_those_of_another_implementation(side: int, severity: int) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    image = picture(side)
    radius, softness = STRENGTHS["defocus blur"].at(severity, side)
    reach = 8 if radius <= 8 else math.ceil(radius)
    steps = np.arange(-reach, reach + 1)
    kernel = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(float)
    kernel = ndimage.gaussian_filter(kernel / kernel.sum(), softness, radius=1 if radius <= 8 else 2, mode="mirror")
    expected = np.stack(
        [ndimage.correlate(image[:, :, one].astype(float), kernel, mode="mirror") for one in range(3)], 2
    )
    assert apart(corrupted(image, "defocus blur", severity), expected) <= CLOSE
    largest, count = STRENGTHS["zoom blur"].at(severity, side)
    made = image.astype(float)
    for factor in np.linspace(1, largest, round(count)):
        kept = math.ceil(side / factor)
        top = (side - kept) // 2
        wide = ndimage.zoom(image[top : top + kept, top : top + kept].astype(float), (factor, factor, 1), order=1)
        trimmed = (len(wide) - side) // 2
        made = made + wide[trimmed : trimmed + side, trimmed : trimmed + side]
    assert apart(corrupted(image, "zoom blur", severity), made / (round(count) + 1)) <= CLOSE


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_noise_has_the_mean_and_the_variance_that_it_should(severity: int) -> None:
    # 200,000 values each: the mean is off by four standard errors once in 16,000, one fixed seed.
    image = np.full((224, 300, 3), 128, np.uint8)
    level, count = 128 / 255, image.size
    (sigma,) = STRENGTHS["gaussian noise"].at(severity, 224)
    gaussian = corrupted(image, "gaussian noise", severity) / 255
    inside = np.clip(level + sigma * np.random.default_rng(0).normal(size=count), 0, 1)
    assert gaussian.mean() == pytest.approx(inside.mean() - 0.5 / 255, abs=6 * sigma / math.sqrt(count))
    assert gaussian.std() == pytest.approx(inside.std(), rel=0.02)
    (photons,) = STRENGTHS["shot noise"].at(severity, 224)
    shot = corrupted(image, "shot noise", severity) / 255
    cut = np.minimum(np.random.default_rng(0).poisson(level * photons, count) / photons, 1)
    assert shot.mean() == pytest.approx(cut.mean(), abs=0.004)
    assert shot.std() == pytest.approx(cut.std(), rel=0.03)
    (share,) = STRENGTHS["impulse noise"].at(severity, 224)
    impulse = corrupted(image, "impulse noise", severity)
    for value in (0, 255):
        assert (impulse == value).mean() == pytest.approx(share / 2, abs=4 * math.sqrt(share / 2 / count))


@pytest.mark.parametrize("severity", [0, 6, True, 2.5, "3"])
def test_a_severity_that_is_none_is_refused(severity: object) -> None:
    with pytest.raises(InvalidValue, match="whole number from 1 to 5"):
        corrupted(picture(32), "fog", severity)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["fog", "jpeg", "gaussian noise", "zoom blur"])
@pytest.mark.parametrize(
    "image",
    [np.zeros(shape, np.uint8) for shape in ((8, 8, 4), (8, 8, 2), (8, 8), (0, 8, 1), (8, 0, 3))]
    + [np.zeros((8, 8, 3), np.float32)],
)
def test_what_is_no_image_of_bytes_is_refused(image: NDArray[np.uint8], name: str) -> None:
    with pytest.raises(InvalidValue, match="an image must have shape"):
        corrupted(image, name, 1)


def test_an_unknown_corruption_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'gaussian noise'"):
        corrupted(picture(32), "gausian noise", 1)
