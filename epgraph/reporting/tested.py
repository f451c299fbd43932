"""A run on its test examples: what it says of each, and the images that it is surest of, rightly and wrongly."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from epgraph.costs import CrossEntropy
from epgraph.data import Data
from epgraph.data.examples import Examples
from epgraph.data.recipes import Recipe
from epgraph.data.sets import TENSORS
from epgraph.engine import Engine
from epgraph.runtime.relaxation import States
from epgraph.training.batches import batches, default_workers
from epgraph.training.evaluate import class_names, evaluate
from epgraph.training.outcomes import Counts, Tally

if TYPE_CHECKING:
    import numpy as np

LARGEST = 96
"""Pixels of the longer side of an image in a report."""


@dataclass(frozen=True, eq=False)
class Tested:
    """What a run says of its test examples.

    Attributes
    ----------
    loss
        Mean loss.
    classes
        Names of the classes; none where targets are no labels.
    confusion
        Examples by true class, then by predicted class; None likewise.
    labels, scores
        (N,), and (N, classes): probabilities where ``kind`` says so, else outputs.
    """

    loss: float
    examples: int
    classes: tuple[str, ...]
    confusion: Counts | None
    labels: Tensor
    scores: Tensor
    kind: str

    def extremes(self, count: int) -> tuple[list[int], list[int]]:
        """Return the positions of the examples that are right by the widest margin, and wrong by the widest.

        The margin is the score of the true class minus the largest other one.
        """
        true = self.scores.gather(1, self.labels[:, None])
        others = self.scores.scatter(1, self.labels[:, None], -torch.inf)
        margin = (true[:, 0] - others.max(1).values).nan_to_num(0.0)
        order = margin.argsort(stable=True).tolist()
        right = (self.scores.argmax(1) == self.labels).tolist()
        best = [i for i in reversed(order) if right[i]][:count]
        return best, [i for i in order if not right[i]][:count]

    def says(self, position: int) -> str:
        """Describe what is said of an example."""
        label, row = int(self.labels[position]), self.scores[position]
        said = int(row.argmax())
        return f"{self.classes[label]} → {self.classes[said]}, {self.kind} {float(row[said]):.2f}"


def run_test(engine: Engine, data: Data) -> Tested:
    """Let a network predict the test examples of a data set.

    Raises
    ------
    EpgraphError
        If a state diverges, or there are no examples.
    """
    test, output = data.test, engine.graph.output.name
    loader = batches(test, engine.architecture.training.batch_size, device=engine.device, workers=default_workers(test))
    tally = Tally(output)
    scores: list[Tensor] = []
    labels: list[Tensor] = []

    def see(states: States, y: Tensor) -> None:
        tally.see(states, y)
        if y.ndim == 1 and not y.is_floating_point():
            scores.append(states[output].detach().float().cpu())
            labels.append(y.cpu())

    means = evaluate(engine, loader, see=see)
    found = torch.cat(scores) if scores else torch.zeros(0, 1)
    probable = isinstance(engine.cost, CrossEntropy)
    return Tested(
        means["loss"],
        len(test),
        class_names(data.classes, len(tally.confusion or ())),
        tally.confusion,
        torch.cat(labels) if labels else torch.zeros(0, dtype=torch.long),
        found.softmax(1) if probable else found,
        "probability" if probable else "score",
    )


def has_images(data: Data) -> bool:
    """Whether the test examples are images that can be shown."""
    return data.recipe is not None and data.recipe.images and isinstance(data.test, Examples)


def stored_images(data: Data, positions: Sequence[int]) -> list[np.ndarray[Any, Any]]:
    """Return test images as they are stored, as bytes (H, W) or (H, W, 3)."""
    assert data.recipe is not None
    pixels, _ = data.test.stored(positions)
    values = pixels.view(len(positions), *data.recipe.shape).float()
    if pixels.dtype != torch.uint8:
        low, high = _range(data, data.recipe, values)
        values = (values - low) / ((high - low) or 1.0) * 255
    shown = values.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [image[..., 0] if image.shape[2] == 1 else image for image in shown]


def _range(data: Data, recipe: Recipe, values: Tensor) -> tuple[float, float]:
    """Return what is black and what is white: arrays of one's own that are no bytes may have any scale."""
    if data.name.startswith(TENSORS) and not recipe.bytes:
        return float(values.min()), float(values.max())
    return 0.0, 1.0


def as_png(image: np.ndarray[Any, Any]) -> bytes:
    """Return an image as a PNG of at most ``LARGEST`` pixels."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((LARGEST, LARGEST))
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()
