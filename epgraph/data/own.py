"""Images and arrays of a user's own, read as those of a run were stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.arguments import shown
from epgraph.data.folder import READ, fitted, read_image
from epgraph.data.image import is_image
from epgraph.data.recipes import Recipe, Shape
from epgraph.data.registry import DATA_SETS
from epgraph.data.sets import FOLDER, TENSORS, adapted
from epgraph.data.source import Files
from epgraph.data.tensors import as_array, as_inputs, read_arrays
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.progress import tracked

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_ARRAYS = (".npz", ".pt", ".pth")
_HOW = "write np.savez(PATH, x=…), or torch.save({'x': …}, PATH)"


@dataclass(frozen=True)
class Like:
    """What inputs of one's own must be like to be prepared as those of a data set.

    Attributes
    ----------
    name
        Name of the data set.
    shape
        Shape of the network's input.
    recipe
        Preparation; None if it is unknown, so that inputs are taken as they are.
    """

    name: str
    shape: Shape
    recipe: Recipe | None

    @classmethod
    def recorded(cls, facts: Mapping[str, Any], shape: Shape, output: int | Shape) -> Like | None:
        """Return what ``Data.facts`` says of the preparation; None where it is older than what is needed."""
        if "stored" not in facts:
            return None
        name = facts["name"]
        if facts["stored"] is None:
            return cls(name, shape, None)
        mean, std = tuple(facts["mean"]), tuple(facts["std"])
        if not any(mean) and set(std) == {1.0}:
            mean, std = (), ()
        recipe = Recipe(tuple(facts["stored"]), output, mean, std, pad=facts["pad"], bytes=facts["bytes"])
        return cls(name, shape, recipe)

    @classmethod
    def named(
        cls,
        name: str | None,
        shape: Shape,
        output: int | Shape,
        normalize: tuple[Sequence[float], Sequence[float]] | bool,
    ) -> Like:
        """Return the preparation of a data set with a name; an unknown one for any other."""
        if name not in DATA_SETS:
            return cls(name or "the network", shape, None)
        recipe, _, problems = adapted(name, DATA_SETS[name].recipe, shape, output, False, normalize)
        if problems:
            raise EpgraphError(problems)
        return cls(name, shape, recipe)

    @property
    def as_they_are(self) -> bool:
        """Whether inputs are numbers of any scale, and no pixels."""
        return self.recipe is None or (self.name.startswith(TENSORS) and not self.recipe.bytes)


@dataclass(frozen=True)
class Inputs:
    """Inputs as they are stored, (N, …), bytes or float32, and the name of each."""

    names: list[str]
    x: Array


def own_inputs(images: Sequence[Path] | Any, like: Like) -> list[Inputs]:
    """Read inputs of one's own: image files, directories of them, arrays ``x`` in .npz and .pt files; or one array.

    Raises
    ------
    EpgraphError
        If a file cannot be read, or an input is not like those of the data set; all images that are at fault are named.
    """
    if not isinstance(images, Sequence):
        x = _array(as_array(images), "x", like)
        return [Inputs([f"[{i}]" for i in range(len(x))], x)]
    found: list[Inputs] = []
    problems: list[Diagnostic] = []
    files = _files(images)
    for path in tracked(files, len(files), "read the images", "files"):
        try:
            if path.suffix == ".npy":
                raise _wrong(f"{path}: a .npy file holds one array without a name", _npy(path))
            if path.suffix in _ARRAYS:
                x = _array(read_arrays(path, ("x",), _HOW)["x"], f"{path}: x", like)
                found.append(Inputs([f"{path}[{i}]" for i in range(len(x))], x))
            else:
                found.append(Inputs([str(path)], _image(path, like)[None]))
        except EpgraphError as error:
            problems += error.diagnostics
    if problems:
        raise EpgraphError(problems)
    return _joined(found)


def _joined(inputs: Iterable[Inputs]) -> list[Inputs]:
    """Join neighbors of one kind of numbers, so that they fill batches."""
    import numpy as np

    runs: list[list[Inputs]] = []
    for one in inputs:
        if runs and runs[-1][0].x.dtype == one.x.dtype:
            runs[-1].append(one)
        else:
            runs.append([one])
    return [Inputs([name for one in run for name in one.names], np.concatenate([one.x for one in run])) for run in runs]


def _files(paths: Sequence[Path]) -> list[Path]:
    """List the files, and for a directory the images in it and below, in the order of their paths."""
    found = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise _wrong(f"there is no file {path}", "name image files, directories of them, or .npz or .pt files")
            found.append(path)
            continue
        inside = [Path(top, name) for top, _, names in os.walk(path) for name in names]
        seen = [p for p in inside if is_image(p.name) and not any(s.startswith(".") for s in p.relative_to(path).parts)]
        if not seen:
            raise EpgraphError(f"{path} has no images", READ, "data")
        found += sorted(seen)
    return found


def _image(path: Path, like: Like) -> Array:
    """Return an image, (C, H, W), of the size that the data set's have."""
    recipe = like.recipe
    if recipe is None or like.as_they_are or not recipe.images:
        raise _wrong(
            f"{path}: it is not known how an image becomes an input of the network, which was trained on {like.name}",
            "give inputs as arrays: a .npz or .pt with x",
        )
    image = read_image(Files(), str(path))
    channels, height, width = recipe.shape
    if not like.name.startswith(FOLDER):
        if image.size != (width, height):
            raise _wrong(
                f"{path}: the image has {image.width}×{image.height} pixels, and the images of {like.name}, on which "
                f"the network was trained, have {width}×{height}",
                f"crop and resize it to {width}×{height}; a network that was trained on folder:PATH resizes images",
            )
        if channels == 1 and image.mode == "RGB" and len({image.getchannel(i).tobytes() for i in range(3)}) > 1:
            raise _wrong(f"{path}: the image has colors, and those of {like.name} are gray", "convert it to gray")
    return fitted(image, recipe.shape)


def _array(x: Array, what: str, like: Like) -> Array:
    """Return an array of inputs as the data set's are stored."""
    import numpy as np

    shape = like.shape if like.recipe is None else like.recipe.shape
    if x.dtype.kind not in "biuf" or x.ndim < 2 or not len(x):
        raise _wrong(f"{what} is {shown(x)}, and should have one row of numbers for each example", _HOW)
    alone = x.shape in (shape, shape[1:], (*shape[1:], shape[0]))
    x = as_inputs(x, shape)
    if x.shape[1:] != shape:
        raise _wrong(
            f"{what} has examples of shape {list(x.shape[1:])}, and those of {like.name} have {list(shape)}",
            f"give an array (N, {', '.join(map(str, shape))})" + "; of a single example: x[None]" * alone,
        )
    if x.dtype == np.uint8:
        if like.as_they_are:
            raise _wrong(f"{what} has bytes, and the inputs of {like.name} are other numbers", "give floats")
        return x
    if not np.isfinite(x).all():
        raise _wrong(f"{what} has numbers that are not finite", "replace them")
    if not like.as_they_are and like.recipe is not None and like.recipe.images and (x.min() < 0 or x.max() > 1):
        raise _wrong(
            f"{what} has numbers from {x.min():g} to {x.max():g}, and pixels of {like.name} are fractions from 0 to 1",
            "give fractions that are not normalized, or bytes (uint8)",
        )
    return x


def _npy(path: Path) -> str:
    """Say how a .npy file is made one of those that are read."""
    return f"write np.savez('{path.with_suffix('.npz')}', x=np.load('{path}'))"


def _wrong(what: str, hint: str) -> EpgraphError:
    return EpgraphError(what, hint, "data")
