"""The network as a training sees it: its precision, what is put around it, layers that compute the same faster."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import layers, ops

from sightline.bundles.vetting.weights_files import starts_from
from sightline.errors import OutOfResources
from sightline.networks.building import build_network
from sightline.networks.starting import take_head
from sightline.system.progress import reporter
from sightline.system.text import counted, printable
from sightline.training.augmentation.color import ToPixels
from sightline.training.augmentation.mixing import PLAN_COLUMNS, MixImages
from sightline.training.setup.preparation import Prepared

# In lower case, in what TensorFlow, JAX, PyTorch and NumPy say.
_NO_MEMORY = ("resourceexhausted", "resource_exhausted", "outofmemory", "out of memory", "oom when")


@contextlib.contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """While it is open, new layers compute in this precision."""
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(usual)


def new_network(data: Prepared) -> keras.Model:
    """The network that a recipe names, at the start that its seed gives; seeds all that is drawn from here on.

    Returns:
        uint8 images to float32 logits.
    """
    keras.utils.set_random_seed(data.recipe.seed)
    with dtype_policy(data.recipe.training.precision):
        network = build_network(data.spec.shape, data.dataset.num_classes, data.recipe.model, data.network)
    folder = starts_from(data.recipe.model.weights)
    if folder is not None:
        known = take_head(network, folder, data.dataset.class_names)
        reporter().say(
            f"begins with the network of {printable(str(folder))}, which knows {known:,} of "
            f"{counted(data.dataset.num_classes, 'class', 'classes')}"
        )
    return network


class FusedNormalization(layers.Layer):  # type: ignore[misc]  # Keras carries no annotations
    """What a `BatchNormalization` layer does, on its weights, by TensorFlow's one operation for it.

    Keras composes it of a dozen operations that each read and write all pixels, in float32 whatever the precision:
    a third of the time of a small network on a CPU, and two thirds in mixed precision.
    """

    def __init__(self, layer: layers.BatchNormalization, **kwargs: Any) -> None:
        super().__init__(dtype=layer.dtype_policy, **kwargs)
        self.layer = layer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the layer whose weights these are, if it is not yet."""
        if not self.layer.built:
            self.layer.build(input_shape)

    def call(self, images: Any, *, training: bool | None = None) -> Any:
        """Normalise by the batch while training, and by the averages that were learned otherwise."""
        layer = self.layer
        if not (training and layer.trainable):
            return layer(images, training=False)
        import tensorflow

        normalised, mean, variance = tensorflow.compat.v1.nn.fused_batch_norm(
            images,
            ops.cast(layer.gamma, "float32"),
            ops.cast(layer.beta, "float32"),
            epsilon=layer.epsilon,
            is_training=True,
        )
        # TensorFlow gives the variance of the population that a batch is drawn from; Keras keeps that of the batch.
        num_values = ops.cast(ops.size(images) // ops.shape(images)[-1], "float32")
        variance *= (num_values - 1) / num_values
        for average, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            average.assign(average * layer.momentum + value * (1 - layer.momentum))
        return normalised

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape stays."""
        return input_shape


class WholeImageConvolution(layers.Layer):  # type: ignore[misc]  # as above
    """What a `Conv2D` whose kernel is as large as its image does, on its weights, by one product of matrices.

    There is one place for the kernel to lie. oneDNN takes three times as long for it as a convolution.
    """

    def __init__(self, layer: layers.Conv2D, **kwargs: Any) -> None:
        super().__init__(dtype=layer.dtype_policy, **kwargs)
        self.layer = layer

    def call(self, images: Any) -> Any:
        """(batch, height, width, channels) to (batch, 1, 1, filters)."""
        layer = self.layer
        kernel = ops.convert_to_tensor(layer.kernel)
        num_values, filters = math.prod(kernel.shape[:-1]), kernel.shape[-1]
        product = ops.matmul(ops.reshape(images, (-1, num_values)), ops.reshape(kernel, (num_values, filters)))
        if layer.use_bias:
            product = ops.add(product, ops.convert_to_tensor(layer.bias))
        return ops.reshape(layer.activation(product), (-1, 1, 1, filters))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """One place is left."""
        return (input_shape[0], 1, 1, self.layer.filters)


def with_faster_layers(network: keras.Model) -> keras.Model:
    """The same network on the same weights, for training: on TensorFlow, some of its layers in a faster way.

    Normalisations become single operations, and convolutions over all of an image products of matrices. The network
    itself stays as it is, and is what is saved. A `Sequential` is handed back, since it cannot be cloned with another
    call.
    """
    is_chain = isinstance(network, keras.Sequential)
    if keras.config.backend() != "tensorflow" or is_chain or not any(map(_faster, network.layers)):
        return network

    def call(layer: layers.Layer, *args: Any, **kwargs: Any) -> Any:
        # A layer may be called in several places, on images of other sizes.
        faster = _faster(layer, *args[:1])
        return layer(*args, **kwargs) if faster is None else faster(layer)(*args)

    copy: keras.Model = keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
    return copy


def _faster(layer: layers.Layer, images: Any = None) -> type[layers.Layer] | None:
    """What does the same in less time on some images, or on those that the layer is called on first; None: nothing."""
    if getattr(layer, "activity_regularizer", None) is not None:
        return None  # Keras adds that to the loss where it calls the layer itself
    if _is_fusible(layer):
        return FusedNormalization
    return WholeImageConvolution if _covers_its_image(layer, images) else None


def _is_fusible(layer: layers.Layer) -> bool:
    """Whether it normalises the channels of pictures and is trained; a frozen one gives the averages, and is left."""
    if not isinstance(layer, layers.BatchNormalization) or not layer.trainable:
        return False
    is_usual = layer.center and layer.scale and not layer.renorm and not layer.synchronized
    return bool(is_usual and layer.axis in (-1, 3) and len(layer.input.shape) == 4)


def _covers_its_image(layer: layers.Layer, images: Any) -> bool:
    """Whether its kernel, of more than one pixel, has one place to lie, and meets all channels there."""
    if type(layer) is not layers.Conv2D or layer.padding != "valid" or layer.groups != 1:
        return False
    is_usual = layer.data_format == "channels_last" and layer.dilation_rate == (1, 1) and layer.kernel_size != (1, 1)
    shape = (layer.input if images is None else images).shape
    return bool(is_usual and tuple(shape[1:3]) == layer.kernel_size)


def freeze_statistics(network: keras.Model) -> None:
    """Let batch normalization use its averages while a network learns: few images of another kind would move them."""
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def training_network(network: keras.Model, augmentation: keras.Model | None, *, mixes: bool) -> keras.Model:
    """What `fit` trains: the network behind augmentation and mixing, whose weights are the network's own.

    Returns:
        Images, or [images, plan], to logits; the network itself where nothing stands before it and nothing in it
            can be computed faster while it learns.
    """
    network = with_faster_layers(network)
    if augmentation is None and not mixes:
        return network
    if augmentation is None:
        images = changed = keras.Input(network.input_shape[1:], dtype="uint8", name="images")
    else:
        images, changed = augmentation.input, augmentation.output
    if not mixes:
        return keras.Model(images, network(changed), name="training")
    plan = keras.Input((len(PLAN_COLUMNS),), dtype="float32", name="plan")
    mixed = ToPixels()(MixImages()(changed, plan))
    return keras.Model([images, plan], network(mixed), name="training")


@contextlib.contextmanager
def enough_memory(batch_size: int) -> Iterator[None]:
    """Turn what a backend says where the memory does not suffice into an OutOfResources, with the batch size to try."""
    try:
        yield
    except Exception as error:
        # TensorFlow, JAX and PyTorch each have an error of their own for it, and none has to be here.
        told = f"{type(error).__name__}: {str(error)[:500]}".lower()
        if not isinstance(error, MemoryError) and not any(word in told for word in _NO_MEMORY):
            raise
        smaller = batch_size // 2
        remedy = f"Try --set training.batch_size={smaller}" if smaller else "Try --set data.image_size with less"
        raise OutOfResources(
            f"the memory does not suffice to train with batches of {batch_size} images. {remedy}, or a smaller network."
        ) from error
