"""``ep.predict``: what a trained network says of inputs of one's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from epgraph.api_arguments import trained, whole
from epgraph.arguments import flag, several
from epgraph.arguments import path as file_path
from epgraph.errors import EpgraphError

if TYPE_CHECKING:
    from epgraph.data.own import Like
    from epgraph.engine import Engine
    from epgraph.training import PredictResult

__all__ = ["predict"]


def predict(
    network: str | os.PathLike[str] | Engine,
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Any,
    *,
    device: str | None = None,
    threads: int | None = None,
    free_steps: int | None = None,
    progress: bool = False,
) -> PredictResult:
    """Predict the labels of images of one's own, prepared as those that the network was trained on.

    Only a network that was trained on ``folder:PATH`` converts and resizes images. Any other takes images of the size
    that its data set has.

    Parameters
    ----------
    network
        Run folder, a checkpoint in one, or an engine. Of an engine, names of classes are not known.
    images
        Image files, directories of them, ``.npz`` or ``.pt`` files with an array ``x``: one path or several; or the
        array itself, (N, …), of NumPy or torch. An array holds inputs as ``tensors:PATH`` has them: bytes, or fractions
        that are not normalized.
    device, threads, free_steps, progress
        As for ``evaluate``.

    Raises
    ------
    EpgraphError
        If there is no checkpoint, a file cannot be read, an image is not like those of the data, or a state diverges.

    Example
    -------
    >>> import torch
    >>> import epgraph as ep
    >>> engine = ep.compile(ep.load("examples/digits.yaml", ["data.name=digits"]), initialised=False)
    >>> result = ep.predict(engine, torch.rand(3, 8, 8))
    >>> result.kind, len(result.labels)
    ('score', 3)
    """
    steps = whole("free_steps", free_steps)
    given: Any = images
    if isinstance(images, str | os.PathLike):
        given = [file_path("images", images)]
    elif not hasattr(images, "dtype"):
        given = [file_path("an entry of images", one) for one in several("images", images)]
    if isinstance(given, list) and not given:
        raise EpgraphError("no image is named", "e.g. epgraph predict runs/demo photo.png")

    from epgraph.data.own import own_inputs
    from epgraph.training import predict_on, set_threads

    engine, facts = trained(network, device)
    set_threads(engine, threads)
    like = _like(engine, facts)
    inputs = own_inputs(given, like)
    names = facts.get("classes", ())
    return predict_on(engine, inputs, like, names, free_steps=steps, progress=flag("progress", progress))


def _like(engine: Engine, facts: dict[str, Any]) -> Like:
    from epgraph.data.own import Like

    architecture = engine.architecture
    shape, output = architecture.input.shape, architecture.output
    targets = output.shape or () if output.classes is None else output.classes
    section = architecture.data
    return Like.recorded(facts, shape, targets) or Like.named(section.name, shape, targets, section.normalizing)
