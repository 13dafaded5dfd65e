"""Time each part of the augmentation beside the training step it feeds, on TensorFlow.

Two settings: 28x28x1 in batches of 128 beside lenet5, and 64x64x3 in batches of 64 beside convnet. Every part runs
alone in a graph of its own, as it does before the network; Keras' own layers, where Sightline has others, stand last.
The step is forward, backward and AdamW of the network without augmentation. Parts and step take turns, round by round,
each repeated until it took a fifth of a second; printed are the median over rounds in microseconds an image, the
smallest and the largest, and the share of the step. A batch is changed by the same threads before its step: a share of
20 % makes training 20 % slower.

Usage: python benchmarks/augmentation.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from sightline.configuration.recipes import parse_recipe
from sightline.configuration.schema import Recipe
from sightline.records import InputSpec
from sightline.system.backends import load_keras

SETTINGS = (("lenet5", InputSpec(28, 28, "grey", background="dark"), 128), ("convnet", InputSpec(64, 64, "rgb"), 64))
PARTS: dict[str, dict[str, Any]] = {
    "rotation": {"rotation_degrees": 10},
    "the whole warp": {
        "rotation_degrees": 10,
        "translation_fraction": 0.1,
        "zoom_fraction": 0.1,
        "shear_degrees": 5,
        "crop_fraction": 0.3,
    },
    "flip": {"flip": "horizontal"},
    "brightness": {"brightness": 0.2},
    "contrast": {"contrast": 0.2},
    "saturation and hue": {"saturation": 0.4, "hue": 0.05},
    "erasing": {"erasing_fraction": 0.2},
    "blur": {"blur_sigma": 1.0},
    "RandAugment, 2 of 11": {"randaugment_magnitude": 0.5},
    "policy digits": {"policy": "digits"},
    "policy light": {"policy": "light"},
    "policy photos": {"policy": "photos"},
    "policy strong": {"policy": "strong"},
}
SECONDS_A_ROUND = 0.2


def main() -> None:
    """Print a table for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    load_keras("tensorflow")
    print(f"{platform.platform()}, {processor()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("keras", "tensorflow-cpu", "numpy")))
    print(f"{arguments.rounds} rounds; load average before: {os.getloadavg()[0]:.1f}")
    for model, spec, batch_size in SETTINGS:
        report(model, spec, batch_size, arguments.rounds)
    print(f"\nload average after: {os.getloadavg()[0]:.1f}")


def report(model: str, spec: InputSpec, batch_size: int, rounds: int) -> None:
    """Measure one setting and print it."""
    images = np.random.default_rng(0).integers(0, 256, (batch_size, *spec.shape), dtype=np.uint8)
    calls: dict[str, Callable[[], Any]] = {f"training step of {model}": step_of(model, images)}
    for name, settings in PARTS.items():
        changed = change_of(settings, spec, images)
        if changed is not None:
            calls[name] = changed
    calls["MixUp or CutMix, plan and labels"] = plan_of(batch_size, spec)
    calls["MixUp or CutMix, images"] = mix_of(batch_size, spec, images)
    floats = images.astype(np.float32)
    calls |= {name: graph_of(layer, floats) for name, layer in keras_layers(spec).items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(seconds_of(call))
    print(f"\n{spec.height}x{spec.width}x{spec.channels}, batches of {batch_size}")
    print(f"{'part':<34}{'us an image':>12}{'smallest':>10}{'largest':>10}{'of the step':>13}")
    step = statistics.median(next(iter(seconds.values())))
    for name, measured in seconds.items():
        figures = [1e6 * value / batch_size for value in (statistics.median(measured), min(measured), max(measured))]
        share = statistics.median(measured) / step
        print(f"{name:<34}{figures[0]:>12.1f}{figures[1]:>10.1f}{figures[2]:>10.1f}{share:>12.1%}", flush=True)


def seconds_of(call: Callable[[], Any]) -> float:
    """Mean seconds a call, over as many calls as fill a fifth of a second."""
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS_A_ROUND:
        call()
        count += 1
    return (time.perf_counter() - started) / count


def step_of(model: str, images: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """One step of the network on one batch, compiled as `fit` compiles it."""
    import tensorflow as tf

    from sightline.networks.building import build_network
    from sightline.training.optimization.losses import build_loss
    from sightline.training.optimization.optimizers import build_optimizer

    recipe = parse_recipe({"model.name": model})
    network = build_network(images.shape[1:], 10, recipe.model)
    optimizer = build_optimizer(recipe.optimizer, recipe.optimizer.learning_rate)
    network.compile(optimizer=optimizer, loss=build_loss(recipe.loss), jit_compile=False)
    labels = np.arange(len(images), dtype=np.int32) % 10
    batch = (tf.constant(images), tf.constant(labels))

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow carries no annotations
    def step() -> Any:
        return network.train_step(batch)["loss"]

    network.train_on_batch(images, labels)
    return lambda: step().numpy()


def change_of(settings: dict[str, Any], spec: InputSpec, images: np.ndarray[Any, Any]) -> Callable[[], Any] | None:
    """The augmentation of some keys in a graph of its own; None where it is nothing on this input."""
    from sightline.training.augmentation.pipeline import build_augmentation

    augmentation = build_augmentation(parse_recipe({"augmentation": settings}).augmentation, spec, seed=0)
    return None if augmentation is None else graph_of(augmentation, images)


def graph_of(layer: Any, images: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """A layer or model on one batch of 0 to 255, in a graph of its own."""
    import tensorflow as tf

    batch = tf.constant(images)
    changed = tf.function(lambda: layer(batch, training=True))
    return lambda: changed().numpy()


def keras_layers(spec: InputSpec) -> dict[str, Any]:
    """What Keras has for the parts that Sightline computes otherwise."""
    from keras import layers

    found = {
        "Keras' RandAugment, 2 of 11": layers.RandAugment(num_ops=2, factor=0.5, seed=0),
        "Keras' RandomGaussianBlur, 3x3": layers.RandomGaussianBlur((1.0, 1.0), kernel_size=3, seed=0),
    }
    if spec.channels == 3:
        found["Keras' RandomHue"] = layers.RandomHue(0.1, seed=0)
        found["Keras' RandomSaturation"] = layers.RandomSaturation((0.3, 0.7), seed=0)
    return found


def mixing_recipe() -> Recipe:
    """Both kinds on: each batch draws one."""
    return parse_recipe(
        {"augmentation.mixup_alpha": 0.4, "augmentation.cutmix_alpha": 1.0, "loss.name": "categorical_crossentropy"}
    )


def plan_of(batch_size: int, spec: InputSpec) -> Callable[[], Any]:
    """What the feed does for a batch; it does so ahead, in a thread of its own."""
    from sightline.training.augmentation.mixing import mixing_of

    mixing = mixing_of(mixing_recipe(), spec.shape)
    if mixing is None:
        raise SystemExit("the recipe of this benchmark mixes nothing")
    targets = np.eye(10, dtype=np.float32)[np.arange(batch_size) % 10]
    return lambda: mixing.mix(np.arange(batch_size), [targets])


def mix_of(batch_size: int, spec: InputSpec, images: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """What the training network does with the plan."""
    import tensorflow as tf

    from sightline.training.augmentation.mixing import MixImages, mixing_of

    mixing = mixing_of(mixing_recipe(), spec.shape)
    if mixing is None:
        raise SystemExit("the recipe of this benchmark mixes nothing")
    layer, batch = MixImages(), tf.constant(images, tf.float32)
    plan = tf.constant(mixing.plan(np.arange(batch_size)))
    mixed = tf.function(lambda: layer(batch, plan, training=True))
    return lambda: mixed().numpy()


def processor() -> str:
    """The processor's own name, where the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


if __name__ == "__main__":
    main()
