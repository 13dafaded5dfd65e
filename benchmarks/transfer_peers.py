"""What others do with the same photographs and the same weights, in an environment of their own; imports no Sightline.

  fastai   `Learner.fine_tune` on EfficientNet-Lite0 with fastai's own head, schedule and `aug_transforms`
  torch    a plain loop as timm's trainer makes it: the whole network, AdamW, warm-up and cosine, label smoothing,
           random crops and flips, averaged weights
  sklearn  features of the frozen network, standardised, and scikit-learn's logistic regression

Each prints a JSON line whenever it can answer: seconds on the clock and of the processor so far, and the share of the
test files it has right. What that look costs is not counted.

Usage: PYTHON benchmarks/transfer_peers.py KIND FOLDER WEIGHTS SIDE SEED EPOCHS
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

MEAN, DEVIATION, EPSILON = 127 / 255, 128 / 255, 1e-3
# Of the published settings for fine-tuning on a few thousand images.
RATE, DECAY, SMOOTHING, AVERAGED = 5e-4, 0.05, 0.1, 0.99


class Clock:
    """What was spent so far, without the looks at test files."""

    def __init__(self) -> None:
        self.started, self.looked = time.perf_counter(), 0.0

    def look(self, accuracy: Callable[[], float]) -> None:
        """Print how good it is by now."""
        now, spent = time.perf_counter(), time.process_time()
        row = {"seconds": now - self.started, "processor": spent - self.looked, "accuracy": accuracy()}
        print(json.dumps(row), flush=True)
        self.started += time.perf_counter() - now
        self.looked += time.process_time() - spent


def lite0(weights: Path, num_classes: int) -> Any:
    """EfficientNet-Lite0 of timm with the weights of the file, whose blocks are not in stages."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", num_classes=num_classes)
    stored = np.load(weights)
    names = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    blocks = [(stage, index, block) for stage, part in enumerate(network.blocks) for index, block in enumerate(part)]
    for number, (stage, index, block) in enumerate(blocks):
        is_first = not hasattr(block, "conv_pwl")
        parts = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
        own = ("conv_dw", "bn1", "conv_pw", "bn2") if is_first else ("conv_dw", "bn2", "conv_pwl", "bn3")
        pairs = list(zip(own, parts, strict=True))
        pairs += [] if is_first else [("conv_pw", "_expand_conv"), ("bn1", "_bn0")]
        names |= {f"blocks.{stage}.{index}.{name}": f"_blocks.{number}.{part}" for name, part in pairs}
    state = network.state_dict()
    for key in list(state):
        layer, _, what = key.rpartition(".")
        if layer in names and what != "num_batches_tracked":
            state[key] = torch.from_numpy(stored[f"{names[layer]}.{what}"].astype(np.float32)).reshape(state[key].shape)
    network.load_state_dict(state)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = EPSILON
    return network


def loaders(folder: Path, side: int, *, is_augmented: bool, batch_size: int = 32) -> tuple[Any, Any, int]:
    """Train and test files as torchvision reads them."""
    from torchvision import datasets, transforms

    usual = [transforms.ToTensor(), transforms.Normalize((MEAN,) * 3, (DEVIATION,) * 3)]
    shown = [transforms.Resize((side, side))]
    varied = [transforms.RandomResizedCrop(side, scale=(0.5, 1)), transforms.RandomHorizontalFlip()]
    varied += [transforms.ColorJitter(0.2, 0.2, 0.2)]
    train = datasets.ImageFolder(folder / "train", transforms.Compose([*(varied if is_augmented else shown), *usual]))
    test = datasets.ImageFolder(folder / "test", transforms.Compose([*shown, *usual]))
    feed = torch.utils.data.DataLoader
    return feed(train, batch_size, shuffle=is_augmented), feed(test, 64), len(train.classes)


def answers(network: Any, feed: Any) -> tuple[Any, Any]:
    """What a network gives for a feed, and the labels."""
    network.eval()
    with torch.no_grad():
        found = [(network(images).numpy(), labels.numpy()) for images, labels in feed]
    return np.concatenate([one for one, _ in found]), np.concatenate([labels for _, labels in found])


def share_right(network: Any, feed: Any) -> float:
    """Accuracy."""
    logits, labels = answers(network, feed)
    return float((logits.argmax(1) == labels).mean())


def fastai(folder: Path, weights: Path, side: int, seed: int, epochs: int) -> None:
    """As its guides print it, with the network that all use."""
    from fastai.vision import all as fast

    clock = Clock()
    fast.set_seed(seed, reproducible=True)
    block = fast.DataBlock(
        blocks=(fast.ImageBlock, fast.CategoryBlock),
        get_items=fast.get_image_files,
        get_y=fast.parent_label,
        # It judges an epoch by other rows: by one, so that nothing is taken from those that are learned from.
        splitter=lambda items: (list(range(len(items))), [0]),
        item_tfms=fast.Resize(side, method="squish"),
        batch_tfms=[*fast.aug_transforms(size=side), fast.Normalize.from_stats((MEAN,) * 3, (DEVIATION,) * 3)],
    )
    data = block.dataloaders(folder / "train", bs=64, num_workers=0)
    backbone = lite0(weights, 0)
    backbone.global_pool = torch.nn.Identity()
    network = torch.nn.Sequential(backbone, fast.create_head(1280, data.c))
    fast.apply_init(network[1], torch.nn.init.kaiming_normal_)
    learner = fast.Learner(
        data, network, loss_func=fast.CrossEntropyLossFlat(), splitter=fast.default_split, metrics=fast.accuracy
    )
    learner.freeze()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    _, test, _ = loaders(folder, side, is_augmented=False)
    clock.look(lambda: share_right(learner.model, test))


def torch_loop(folder: Path, weights: Path, side: int, seed: int, epochs: int) -> None:
    """Everything learns from the first step."""
    clock = Clock()
    torch.manual_seed(seed)
    train, test, num_classes = loaders(folder, side, is_augmented=True)
    network = lite0(weights, num_classes)
    mean = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGED), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * len(train), pct_start=0.1)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    for _ in range(epochs):
        network.train()
        for images, labels in train:
            optimizer.zero_grad()
            loss(network(images), labels).backward()
            optimizer.step()
            schedule.step()
            mean.update_parameters(network)
        clock.look(lambda: max(share_right(network, test), share_right(mean, test)))


def sklearn(folder: Path, weights: Path, side: int, seed: int, epochs: int) -> None:
    """A linear head by scikit-learn; seed and epochs change nothing."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    del seed, epochs
    clock = Clock()
    train, test, _ = loaders(folder, side, is_augmented=False)
    backbone = lite0(weights, 0)
    features, labels = answers(backbone, train)
    head = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-5, 0, 6), cv=3, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head.fit(features, labels)
    clock.look(lambda: float(head.score(*answers(backbone, test))))


KINDS: dict[str, Callable[..., None]] = {"fastai": fastai, "torch": torch_loop, "sklearn": sklearn}

if __name__ == "__main__":
    kind, folder, weights, *numbers = sys.argv[1:]
    KINDS[kind](Path(folder), Path(weights), *map(int, numbers))
