"""The data sets that go by a name, and where each one lives; nothing here imports what it names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceEntry:
    """One data set that goes by a name.

    Attributes:
        class_names: ordered.
        num_train: images of the official train split.
        num_test: images of the official test split.
        shape: (height, width, channels).
        content: what the pictures show.
        licence: of the data.
        origin: "inside the package" or the keras.datasets module that fetches it.
        letters_or_digits: True where flipping an image changes its label.
    """

    class_names: tuple[str, ...]
    num_train: int
    num_test: int
    shape: tuple[int, int, int]
    content: str
    licence: str
    origin: str
    letters_or_digits: bool = False


SOURCES: dict[str, SourceEntry] = {
    "mnist": SourceEntry(
        class_names=tuple("0123456789"),
        num_train=60_000,
        num_test=10_000,
        shape=(28, 28, 1),
        content="handwritten digits, white on black",
        licence="CC BY-SA 3.0 (Yann LeCun, Corinna Cortes)",
        origin="inside the package",
        letters_or_digits=True,
    ),
    "fashion-mnist": SourceEntry(
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        num_train=60_000,
        num_test=10_000,
        shape=(28, 28, 1),
        content="articles of clothing",
        licence="MIT (Zalando SE)",
        origin="keras.datasets.fashion_mnist",
    ),
    "cifar10": SourceEntry(
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        num_train=50_000,
        num_test=10_000,
        shape=(32, 32, 3),
        content="colour photographs of animals and vehicles",
        licence="none stated (Alex Krizhevsky)",
        origin="keras.datasets.cifar10",
    ),
}
