"""Maps that add up to the logit, of networks that end in a way which can be taken apart; read from the graph itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.maps.grid import Grid, even_grid, grids_of
from sightline.bundles.maps.head import Step, steps_of, taken_apart
from sightline.bundles.maps.nodes import read_nodes, with_outputs
from sightline.bundles.parity import made_images
from sightline.bundles.sessions import Session, session_of
from sightline.records import Bundle

# How far the sum of a map and its constant may be from the logit, and from this share of a logit above 1.
LARGEST_GAP = 1e-4
_MEANS = ("GlobalAveragePool", "ReduceMean")


@dataclass(frozen=True, eq=False)
class ActivationMaps:
    """Takes logits apart into what each place adds.

    Attributes:
        session: of the graph with the tensors behind the map as outputs.
        steps: from the logits back to the map.
        constants: by name, the tensors that the steps take beside.
        grid: where the cells of the map lie.
        channels: the axis of the map that is summed over.
    """

    session: Session
    steps: tuple[Step, ...]
    constants: dict[str, NDArray[Any]]
    grid: Grid
    channels: int

    method = "activations"

    def parts(
        self, images: NDArray[np.uint8], direction: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each place, and what the constants, add to a sum of logits.

        Args:
            images: (num_images, height, width, channels), as the network is fed them.
            direction: (num_images, num_classes), by which each logit counts in the sum.

        Returns:
            (num_images, rows, columns) and (num_images,).
        """
        names = [name for name in _varying(self.steps) if name != "images"]
        maps, constants = [], []
        for first, parts in self.session.portions(images, names):
            tensors: dict[str, NDArray[Any]] = dict(zip(names, parts, strict=True))
            part = images[first : first + len(parts[0])]
            values, constant = taken_apart(
                self.steps, {**tensors, "images": part}, self.constants, direction[first : first + len(part)]
            )
            maps.append(values.sum(axis=self.channels))
            constants.append(constant)
        return np.concatenate(maps), np.concatenate(constants)


def activation_maps(bundle: Bundle) -> ActivationMaps | None:
    """What takes the logits of a bundle apart; None where the network ends in no way that is followed.

    A stranger's graph may claim any shapes, and a way of ending may be misread: it is used only if maps of made images
    add up to the logits that the bundle gives.
    """
    nodes = read_nodes(bundle.path / "model.onnx")
    steps = steps_of(nodes)
    fixed = [name for step in steps for name in step.constants]
    asked = dict.fromkeys([*_varying(steps), *fixed])
    if len(asked) < 2:
        return None
    plain = session_of(bundle)
    content = with_outputs(plain.path, [name for name in asked if name not in {"images", *plain.output_shapes()}])
    session = Session(plain.path, num_classes=len(bundle.class_names), content=content)
    images = made_images(bundle.input)[:2]
    constants = dict(zip(fixed, session.tensors(images, fixed), strict=True))
    names = [name for name in _varying(steps) if name != "images"]
    probe = dict(zip(names, session.tensors(images, names), strict=True)) | {"images": images}
    grids = grids_of(nodes, (bundle.input.height, bundle.input.width))
    for number, step in enumerate(steps, start=1):
        found = _located(step, probe[step.given].shape, grids)
        if found is None:
            continue
        maps = ActivationMaps(session, tuple(steps[:number]), constants, *found)
        return maps if _adds_up(maps, images, plain.logits(images)) else None
    return None


def _varying(steps: Any) -> list[str]:
    """The tensors of these steps that differ from image to image, each once."""
    return list(dict.fromkeys(name for step in steps for name in (step.made, step.given)))


def _located(step: Step, shape: tuple[int, ...], grids: dict[str, Grid]) -> tuple[Grid, int] | None:
    """The grid of what a step is given, and its axis of channels; None where it has no places."""
    if len(shape) != 4:
        return None
    grid = grids.get(step.given)
    for channels, cells in ((1, shape[2:]), (3, shape[1:3])):
        if grid is not None and cells == (grid.rows.size, grid.columns.size) and max(cells) > 1:
            return Grid(grid.height, grid.width, grid.rows.over(grid.height), grid.columns.over(grid.width)), channels
    # Somewhere on its way it was resized, or padded by itself: a mean is taken over the whole image all the same.
    if step.node.operator == "GlobalAveragePool" and max(shape[2:]) > 1:
        side = next(iter(grids.values()))
        return even_grid((side.height, side.width), shape[2:]), 1
    return None


def _adds_up(maps: ActivationMaps, images: NDArray[np.uint8], logits: NDArray[np.float32]) -> bool:
    for label in range(min(logits.shape[1], 3)):
        direction = np.zeros(logits.shape)
        direction[:, label] = 1
        try:
            values, constants = maps.parts(images, direction)
        except (ValueError, IndexError, TypeError):  # of shapes that fit no network that is known
            return False
        if not is_close(values.sum(axis=(1, 2)) + constants, logits[:, label]):
            return False
    return True


def is_close(sums: NDArray[np.float64], logits: NDArray[Any]) -> bool:
    """Whether sums are the logits that they should be."""
    allowed = LARGEST_GAP * np.maximum(1, np.abs(logits))
    return bool((np.abs(sums - logits) <= allowed).all())
