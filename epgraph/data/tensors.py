"""``tensors:PATH``: arrays of inputs with labels or targets, from NumPy's or torch's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.arguments import shown
from epgraph.data.pictures import Pictures, hashed
from epgraph.data.recipes import Recipe, Shape
from epgraph.errors import EpgraphError
from epgraph.files import open_regular

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

NAMES = ("x_train", "y_train", "x_test", "y_test")
_HOW = "write np.savez(PATH, x_train=…, y_train=…, x_test=…, y_test=…), or torch.save of a dict of these"


def open_tensors(path: Path, shape: Shape, output: int | Shape) -> tuple[Recipe, Pictures]:
    """Read the arrays of a file, ``.npz`` or ``.pt``.

    Bytes (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W) are images. Any other numbers are inputs as they are. Whole
    numbers (N,) are labels; any other targets have the shape of the network's output.

    Parameters
    ----------
    shape, output
        Shape of the network's input; number of its classes, or shape of its targets.

    Raises
    ------
    EpgraphError
        If the file cannot be read, lacks an array, or an array has another shape or type.
    """
    import numpy as np

    from epgraph.data.examples import ArrayImages

    arrays = read_arrays(path, NAMES, _HOW)
    parts = []
    for part in ("train", "test"):
        names = (f"x_{part}", f"y_{part}")
        x, y = (arrays[name] for name in names)
        if x.ndim < 2 or y.ndim < 1 or not len(x) == len(y) > 0:
            both = " and ".join(f"{name} is {shown(arrays[name])}" for name in names)
            raise _wrong(path, both, "both need one row for each example")
        parts.append((as_inputs(x, shape), _targets(y)))
        for name, array in zip(names, parts[-1], strict=True):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise _wrong(path, f"{name} has numbers that are not finite", "replace them")
    (x, y), (x_test, y_test) = parts
    if any((a.shape[1:], a.dtype) != (b.shape[1:], b.dtype) for a, b in ((x, x_test), (y, y_test))):
        raise _wrong(path, "the arrays of training and test differ in shape or type", "make them alike")
    found: int | Shape = tuple(y.shape[1:]) if y.ndim > 1 else _classes(path, [y, y_test], output)
    classes = tuple(map(str, range(found))) if isinstance(found, int) else ()
    recipe = Recipe(tuple(x.shape[1:]), found, bytes=x.dtype == "uint8")
    train, test = ((ArrayImages(inputs), targets) for inputs, targets in parts)
    return recipe, Pictures(train, test, classes, hashed(x, y, x_test, y_test))


def _classes(path: Path, labels: Sequence[Array], output: int | Shape) -> int:
    """Return the number of classes: that of the network where all labels are below it."""
    if min(one.min() for one in labels) < 0:
        raise _wrong(path, "a label is below 0", "labels count from 0")
    most = int(max(one.max() for one in labels)) + 1
    return max(most, output) if isinstance(output, int) else most


def read_arrays(path: Path, names: Sequence[str], how: str) -> dict[str, Array]:
    """Read the arrays with these names from a ``.npz`` or ``.pt`` file; ``how`` says how to write one.

    Raises
    ------
    EpgraphError
        If the file cannot be read, or lacks an array.
    """
    import numpy as np
    import torch

    try:
        with open_regular(path, how) as file:
            if path.suffix == ".npz":
                content: Any = dict(np.load(file))
            elif path.suffix in (".pt", ".pth"):
                content = torch.load(file, map_location="cpu", weights_only=True)
            else:
                raise _wrong(path, "its name ends neither in .npz nor in .pt", how)
        missing = [name for name in names if not isinstance(content, dict) or name not in content]
        if missing:
            raise _wrong(path, f"it has no {', '.join(missing)}", how)
        found = {name: as_array(content[name]) for name in names}
    except EpgraphError:
        raise
    except Exception as error:  # damaged archives and pickles raise all sorts
        raise _wrong(path, " ".join(str(error).split())[:200] or type(error).__name__, how) from error
    for name, array in found.items():
        if array.dtype.kind not in "biuf":
            raise _wrong(path, f"{name} is {shown(array)}, and should have real numbers", how)
    return found


def as_array(values: Any) -> Array:
    """Return an array; of a tensor in float32 where it has fractions, of which NumPy lacks some types."""
    import numpy as np
    import torch

    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)


def as_inputs(x: Array, shape: Shape) -> Array:
    """Return images as (N, C, H, W), and what is no bytes as float32."""
    import numpy as np

    gray = x.ndim == 3 and (x.dtype == np.uint8 or (1, *x.shape[1:]) == shape)
    if gray:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1:] != shape and x.shape[-1] in (1, 3):
        x = np.moveaxis(x, -1, 1)
    return x if x.dtype == np.uint8 else x.astype(np.float32)


def _targets(y: Array) -> Array:
    """Return labels (N,) as whole numbers, other targets (N, …) as float32."""
    import numpy as np

    if y.ndim == 1 and y.dtype.kind in "iu":
        return y.astype(np.int64)
    return y.reshape(len(y), *(y.shape[1:] or (1,))).astype(np.float32)


def _wrong(path: Path, what: str, hint: str) -> EpgraphError:
    return EpgraphError(f"{path}: {what}", hint, "data")
