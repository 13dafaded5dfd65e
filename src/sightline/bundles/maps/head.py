"""The end of a network where it is linear piece by piece: how much each place before it adds to a logit.

A mean over positions and a dense layer are linear, and a dense layer behind a ReLU is, too, as long as the same units
stay on. So the gradient of a logit times the values it is taken at, and what constants add on the way, are the logit:
class activation maps where a mean is taken, HiResCAM where positions are laid out in a row.

Source:
    Zhou et al., Learning deep features for discriminative localization, arXiv 1512.04150; Draelos, Carin, Use HiResCAM
    instead of Grad-CAM, arXiv 2011.08891.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.maps.nodes import Node, Nodes

Array = NDArray[np.float64]
# Of dtypes, as ONNX numbers them: float32, float16, float64.
_FLOATING = (1, 10, 11)


@dataclass(frozen=True)
class Step:
    """One operator between the map and the logits.

    Attributes:
        node: the operator.
        given: the tensor that it takes and that images change.
        made: the tensor that it gives.
        constants: names of those that it takes beside, the same for all images.
    """

    node: Node
    given: str
    made: str
    constants: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _At:
    """A step at work: the gradient of what it gives, and both tensors; a row an image."""

    step: Step
    gradient: Array
    given: Array
    made: Array
    constants: tuple[Array, ...]

    @property
    def is_first(self) -> bool:
        """Whether images come first and a constant second; for most operators it matters."""
        return self.step.node.inputs[0] == self.step.given


# Gradient of what was given, and what constants add to the logit, (num_images,).
_Back = tuple[Array, Array]


def steps_of(nodes: Nodes) -> list[Step]:
    """The operators from the logits back, as far as they are linear piece by piece and stand in one row."""
    moved = nodes.of_images()
    maker = {name: node for node in nodes.nodes for name in node.outputs}
    steps, name = list[Step](), "logits"
    while name in maker:
        node = maker[name]
        given = [one for one in node.inputs if one in moved]
        if len(given) != 1 or node.operator not in _OPERATORS or node.outputs[0] != name:
            break
        constants = tuple(one for one in node.inputs if one and one not in moved)
        steps.append(Step(node, given[0], name, constants))
        name = given[0]
    return steps


def taken_apart(
    steps: Sequence[Step],
    tensors: Mapping[str, NDArray[Any]],
    constants: Mapping[str, NDArray[Any]],
    direction: Array,
) -> _Back:
    """How a sum of logits is made of the values that the last of these steps is given.

    Args:
        steps: from the logits back.
        tensors: by name, what they take and give, a row an image.
        constants: by name.
        direction: (num_images, num_classes), by which each logit counts in the sum.

    Returns:
        What each value adds, in the shape of what the last step is given, and (num_images,) what constants add; all
        together is the sum. ValueError where a step has shapes that it is not followed through.
    """
    gradient, constant = np.asarray(direction, np.float64), np.zeros(len(direction))
    for step in steps:
        given, made = (np.asarray(tensors[name], np.float64) for name in (step.given, step.made))
        beside = tuple(np.asarray(constants[name], np.float64) for name in step.constants)
        gradient, added = _OPERATORS[step.node.operator](_At(step, gradient, given, made, beside))
        if gradient.shape != given.shape:
            raise ValueError(f"{step.node.operator} is not followed from {made.shape} to {given.shape}")
        constant = constant + added
    return gradient * given, constant


def _total(values: Array) -> Array:
    """(num_images,) sums."""
    return np.asarray(values.reshape(len(values), -1).sum(axis=1))


def _nothing(at: _At) -> Array:
    return np.zeros(len(at.gradient))


def _shaped(at: _At) -> _Back:
    return at.gradient.reshape(at.given.shape), _nothing(at)


def _cast(at: _At) -> _Back:
    if at.step.node.attributes.get("to") not in _FLOATING:
        raise ValueError("a rounding to whole numbers is not linear")
    return _shaped(at)


def _transposed(at: _At) -> _Back:
    order = at.step.node.attributes.get("perm", tuple(range(at.given.ndim))[::-1])
    return at.gradient.transpose(np.argsort(np.atleast_1d(np.asarray(order, np.int64)))), _nothing(at)


def _added(at: _At) -> _Back:
    return at.gradient, _total(at.gradient * _one(at))


def _subtracted(at: _At) -> _Back:
    if at.is_first:
        return at.gradient, -_total(at.gradient * _one(at))
    return -at.gradient, _total(at.gradient * _one(at))


def _multiplied(at: _At) -> _Back:
    return at.gradient * _one(at), _nothing(at)


def _divided(at: _At) -> _Back:
    if not at.is_first:
        raise ValueError("a constant divided by what images change is not linear")
    return at.gradient / _one(at), _nothing(at)


def _one(at: _At) -> Array:
    (constant,) = at.constants
    return constant


def _through_matrix(at: _At) -> _Back:
    matrix = _one(at)
    if not at.is_first or matrix.ndim != 2:
        raise ValueError("only a product with a matrix on the right is followed")
    return at.gradient @ matrix.T, _nothing(at)


def _through_gemm(at: _At) -> _Back:
    attributes = at.step.node.attributes
    if not at.is_first or attributes.get("transA"):
        raise ValueError("only a product with a matrix on the right is followed")
    matrix, *bias = at.constants
    alpha, beta = (np.float64(attributes.get(name, 1.0)) for name in ("alpha", "beta"))  # type: ignore[arg-type]
    added = _total(at.gradient * beta * bias[0]) if bias else _nothing(at)
    return alpha * at.gradient @ (matrix if attributes.get("transB") else matrix.T), added


def _through_convolution(at: _At) -> _Back:
    """Of a kernel as large as what it is laid on: a dense layer."""
    kernel, *bias = at.constants
    if at.made.shape[2:] != (1, 1) or kernel.shape[1:] != at.given.shape[1:]:
        raise ValueError("only a convolution with a kernel of the size of the map is followed")
    gradient = at.gradient[:, :, 0, 0]
    added = (gradient * bias[0]).sum(axis=1) if bias else _nothing(at)
    return np.tensordot(gradient, kernel, axes=(1, 0)), added


def _averaged(at: _At) -> _Back:
    node = at.step.node
    axes = tuple(range(2, at.given.ndim))
    if node.operator == "ReduceMean":
        told: Any = at.constants[0].astype(np.int64) if at.constants else node.attributes.get("axes", ())
        axes = tuple(int(axis) % at.given.ndim for axis in np.atleast_1d(told).tolist())
    if len(axes) != 2 or 0 in axes or at.given.ndim != 4:
        raise ValueError("only a mean over rows and columns is followed")
    count = np.prod([at.given.shape[axis] for axis in axes])
    kept = [1 if axis in axes else side for axis, side in enumerate(at.given.shape)]
    return np.broadcast_to(at.gradient.reshape(kept) / count, at.given.shape), _nothing(at)


def _bent(slope: Callable[[_At], Array]) -> Callable[[_At], _Back]:
    """Of what is straight to both sides of a bend: what does not come from the slope is a constant."""

    def back(at: _At) -> _Back:
        slopes = slope(at)
        return at.gradient * slopes, _total(at.gradient * (at.made - slopes * at.given))

    return back


def _slope_of_relu(at: _At) -> Array:
    return np.where(at.given > 0, 1.0, 0.0)


def _slope_of_leaky_relu(at: _At) -> Array:
    return np.where(at.given > 0, 1.0, np.float64(at.step.node.attributes.get("alpha", 0.01)))  # type: ignore[arg-type]


def _slope_of_clip(at: _At) -> Array:
    # Where it is cut off, what comes out is no longer what went in; a bound may be left out.
    return np.where(at.made == at.given, 1.0, 0.0)


_OPERATORS: dict[str, Callable[[_At], _Back]] = {
    "Add": _added,
    "Cast": _cast,
    "Clip": _bent(_slope_of_clip),
    "Conv": _through_convolution,
    "Div": _divided,
    "Dropout": _shaped,
    "Flatten": _shaped,
    "Gemm": _through_gemm,
    "GlobalAveragePool": _averaged,
    "Identity": _shaped,
    "LeakyRelu": _bent(_slope_of_leaky_relu),
    "MatMul": _through_matrix,
    "Mul": _multiplied,
    "ReduceMean": _averaged,
    "Relu": _bent(_slope_of_relu),
    "Reshape": _shaped,
    "Squeeze": _shaped,
    "Sub": _subtracted,
    "Transpose": _transposed,
    "Unsqueeze": _shaped,
}
