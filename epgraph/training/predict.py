"""Prediction: what a network says of inputs without labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from epgraph.augmentation import NO_AUGMENTATION
from epgraph.costs import CrossEntropy
from epgraph.data.examples import ArrayImages, Examples
from epgraph.data.own import Inputs, Like
from epgraph.data.prepare import Preparation
from epgraph.data.recipes import Recipe
from epgraph.engine import Engine
from epgraph.progress import tracked
from epgraph.training.batches import batches
from epgraph.training.evaluate import Diverged, class_names

SHOWN = 8
"""Numbers of an output that is no label are printed up to this many."""


@dataclass(frozen=True, eq=False)
class PredictResult:
    """What ``ep.predict`` returns.

    Attributes
    ----------
    inputs
        Name of each input: its file, and its position in one with arrays.
    classes
        Names of the classes; none where outputs are no classes.
    kind
        What ``values`` are. ``probability``: the softmax of the output, where the cost is a cross-entropy of it.
        ``score``: the output itself, for any other cost; larger is more likely, but it need not sum to 1, and is no
        probability. ``output``: the output of a network with targets that are no labels.
    values
        (N, classes), or (N, …).
    """

    inputs: tuple[str, ...]
    classes: tuple[str, ...]
    kind: Literal["probability", "score", "output"]
    values: Tensor

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of the most likely class of each input; none where outputs are no classes."""
        return tuple(names[0][0] for names in self.top(1))

    def top(self, count: int = 2) -> list[list[tuple[str, float]]]:
        """Return the most likely classes of each input, and their values."""
        if not self.classes:
            return []
        ranked = self.values.sort(dim=1, descending=True, stable=True)
        pairs = zip(ranked.indices[:, :count].tolist(), ranked.values[:, :count].tolist(), strict=True)
        return [[(self.classes[i], value) for i, value in zip(*pair, strict=True)] for pair in pairs]

    def to_dict(self, top: int = 2) -> dict[str, Any]:
        """Return the predictions as plain values for JSON."""
        if not self.classes:
            rows = zip(self.inputs, self.values.tolist(), strict=True)
            return {"kind": self.kind, "predictions": [{"input": name, "output": value} for name, value in rows]}
        predictions = [
            {"input": name, "label": best[0][0], "top": [{"class": one, self.kind: value} for one, value in best]}
            for name, best in zip(self.inputs, self.top(top), strict=True)
        ]
        return {"kind": self.kind, "classes": list(self.classes), "predictions": predictions}

    def lines(self, top: int = 2) -> Iterator[str]:
        """Describe the prediction of each input in a line."""
        if not self.classes:
            for name, value in zip(self.inputs, self.values.flatten(1).tolist(), strict=True):
                more = f", … ({len(value)} numbers)" if len(value) > SHOWN else ""
                yield f"{name}: {', '.join(f'{v:.4g}' for v in value[:SHOWN])}{more}"
            return
        for name, ((best, value), *others) in zip(self.inputs, self.top(top), strict=True):
            rest = "".join(f"; {one} {other:.3f}" for one, other in others)
            yield f"{name}: {best}, {self.kind} {value:.3f}{rest}"


def predict_on(
    engine: Engine,
    inputs: Sequence[Inputs],
    like: Like,
    names: Sequence[str],
    *,
    free_steps: int | None = None,
    progress: bool = False,
) -> PredictResult:
    """Let a network predict inputs.

    Parameters
    ----------
    inputs, like
        Inputs as they are stored, and how they are prepared.
    names
        Names of the classes, where they are known.

    Raises
    ------
    Diverged
        If a state diverges.
    """
    size = engine.architecture.training.batch_size
    engine.batches = sum(math.ceil(len(one.x) / size) for one in inputs)
    values = []
    for one in inputs:
        recipe = like.recipe or Recipe(like.shape, 1)
        recipe = replace(recipe, bytes=one.x.dtype == np.uint8)
        preparation = Preparation(recipe, like.shape, NO_AUGMENTATION)
        examples = Examples(ArrayImages(one.x), np.zeros(len(one.x)), preparation, range(len(one.x)))
        loader = batches(examples, size, device=engine.device)
        for x, _ in tracked(loader, len(loader), "predict", "batches", show=progress):
            relaxation = engine.predict(x, steps=free_steps)
            if relaxation.diverged:
                raise Diverged(f"state '{relaxation.diverged[0]}' grew without bound or became NaN", "lower the gains")
            values.append(relaxation.states[engine.graph.output.name].detach().float().cpu())
    files = tuple(name for one in inputs for name in one.names)
    output, every = torch.cat(values), engine.architecture.output.classes
    if every is None:
        return PredictResult(files, (), "output", output)
    classes = class_names(names, every)
    if isinstance(engine.cost, CrossEntropy):
        return PredictResult(files, classes, "probability", output.softmax(1))
    return PredictResult(files, classes, "score", output)
