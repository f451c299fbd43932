"""Tensors, precisions and devices that are handed to an engine: read once, or refused by their names.

A tensor is taken in any floating-point precision and from any device, and brought to the engine's. What would lose
something on the way, or is no number, is refused: integers and complex numbers, NaN and infinity, other layouts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from epgraph.arguments import number, refused, shown, whole_number
from epgraph.errors import EpgraphError, nearest
from epgraph.language.model import DynamicsSpec
from epgraph.runtime.apart import refuse_meta

PRECISIONS = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
}
"""Precisions in which an engine runs, by name."""


def precision(value: object) -> torch.dtype:
    """Return the dtype that is given, or named: ``torch.float32`` or ``"float32"``."""
    if isinstance(value, str) and value == "auto":
        problem = "dtype 'auto' is measured on training examples, and here are none"
        raise refused(problem, "train with dtype='auto', measure with epgraph tune, or name a precision")
    found = PRECISIONS.get(value) if isinstance(value, str) else value
    if not isinstance(found, torch.dtype) or found not in PRECISIONS.values():
        known = f"one of: {', '.join(f'torch.{name}' for name in PRECISIONS)}"
        given = str(value) if isinstance(value, torch.dtype) else shown(value)
        raise refused(f"dtype expects a floating-point dtype of torch, found {given}", known)
    return found


def place(value: object) -> torch.device:
    """Return the device that is given, or named: ``torch.device("cuda")``, ``"cuda:0"`` or 0; it can be used."""
    if not isinstance(value, torch.device | str | int) or isinstance(value, bool):
        raise refused(f"device expects a device of torch, found {shown(value)}", "e.g. 'cpu' or 'cuda:0'")
    try:
        device = torch.device(value)
    except RuntimeError:
        raise EpgraphError(f"unknown device '{value}'", nearest(str(value), ["cpu", "cuda", "mps"])) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # torch raises any of them for a device that is not there, depending on how it was built.
        raise EpgraphError(f"device '{device}' cannot be used: {str(error).splitlines()[0]}", "use 'cpu'") from None
    return device


def chosen_device(device: str | None) -> str:
    """Return the device that is asked for and can be used; with None a GPU if there is one, else the CPU."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        known = torch.device(device).type in ("cpu", "cuda", "mps", "xpu")
    except (RuntimeError, ValueError):  # ValueError: half of a character
        known = False
    if not known:
        raise EpgraphError(f"unknown device '{device[:64]}'", "e.g. cpu, cuda or cuda:1")
    place(device)
    return device


def strength(name: str, value: object, dtype: torch.dtype, *, positive: bool = True) -> float:
    """Return the strength β of a nudge, which has to leave β and 1/β their digits in the precision of the states."""
    found = number(name, value, positive=positive)
    least = torch.finfo(dtype).tiny
    if found and not least <= abs(found) <= 1 / least:
        named = str(dtype).removeprefix("torch.")
        problem = f"{name} must be from {least:.2g} to {1 / least:.2g} in {named}, found {found:g}"
        raise EpgraphError(problem, f"e.g. {name}=0.1", "out-of-range")
    return found


@dataclass(frozen=True)
class PhaseSteps:
    """Most sweeps of the free and of a nudged phase, and the residual at which both stop."""

    free: int
    nudged: int
    tolerance: float


def phase_steps(
    dynamics: DynamicsSpec, free_steps: int | None, nudged_steps: int | None, tolerance: float | None
) -> PhaseSteps:
    """Return the steps that are given, and those of ``dynamics`` where they are left out."""
    tolerance = dynamics.tolerance if tolerance is None else number("tolerance", tolerance, least=0)
    free = dynamics.free_steps if free_steps is None else whole_number("free_steps", free_steps, 0)
    # A phase of no sweep would contrast equal states, and call the gradient zero.
    nudged = dynamics.nudged_steps if nudged_steps is None else whole_number("nudged_steps", nudged_steps, 1)
    return PhaseSteps(free, nudged, tolerance)


def tensor(what: str, value: object) -> Tensor:
    """Return an ordinary dense tensor that has values."""
    if not isinstance(value, Tensor):
        hint = "convert it with torch.as_tensor" if isinstance(value, Sequence) or hasattr(value, "__array__") else ""
        if isinstance(value, Sequence) and any(isinstance(part, Tensor) for part in value):
            hint = "pass one tensor; torch.stack makes one of examples of one shape"
        raise refused(f"{what} expects a tensor, found {shown(value)}", hint if not isinstance(value, str) else "")
    if value.is_nested or value.layout is not torch.strided:
        kind, hint = f"the layout {value.layout}", "convert it with .to_dense()"
        if value.is_nested:
            kind, hint = "a nested one", "stack examples of one shape: torch.stack"
        raise refused(f"{what} expects a dense tensor, found {kind}", hint)
    if value.is_meta:
        raise refused(f"{what} has no values: it is on torch's meta device", "make it on another device, e.g. 'cpu'")
    return value


def floating(what: str, value: object) -> Tensor:
    """Return a dense tensor of floating-point numbers."""
    found = tensor(what, value)
    if not found.is_floating_point():
        dtype = str(found.dtype).removeprefix("torch.")
        hint = "its imaginary part would be lost: pass .real" if found.is_complex() else "convert it with .float()"
        hint = "bytes of an image: .float() / 255" if found.dtype == torch.uint8 else hint
        raise refused(f"{what} expects floating-point numbers, found {dtype}", hint)
    return found


def finite(what: str, value: Tensor, like: Tensor) -> Tensor:
    """Return a tensor on the device and in the precision of ``like``, all of whose values are finite there."""
    refuse_meta(like.device.type)
    # What `expand` repeats is converted and looked at once: one example may stand for 200,000,000,000.
    once = value[tuple(slice(1 if stride == 0 else None) for stride in value.stride())]
    found = once.to(like.device, like.dtype)
    # One number tells nearly always; a sum may overflow where no value does.
    if not math.isfinite(found.detach().sum()) and not bool(found.isfinite().all()):
        bad = (~found.isfinite()).flatten(1).any(1)
        count, first = int(bad.sum()) * (len(value) // len(found)), int(bad.int().argmax())
        example = found[first]
        kind = "NaN" if bool(example.isnan().any()) else "an infinite value"
        hint = "torch.isfinite finds it in the data"
        if bool(once[first].isfinite().all()):
            kind, hint = f"a value beyond {str(like.dtype).removeprefix('torch.')}", "scale the data"
        more = f", and in {count - 1} more" if count > 1 else ""
        raise EpgraphError(f"{what} holds {kind} in example {first}{more}", hint, "out-of-range")
    # Autograd keeps no tensor that was made in inference mode.
    return (found.clone() if found.is_inference() else found).expand(value.shape)


def states(what: str, value: object, shapes: Mapping[str, Sequence[int]], batch: int) -> dict[str, Tensor]:
    """Return states by name, each of which is (batch, *shape); no other name, but there may be fewer."""
    if not isinstance(value, Mapping):
        hint = "pass its states: relaxation.states" if hasattr(value, "states") else "e.g. relaxation.states"
        raise refused(f"{what} expects states by their names, found {shown(value)}", hint)
    for name, state in value.items():
        if name not in shapes:
            hint = nearest(str(name), list(shapes))
            raise EpgraphError(f"{what}: there is no state '{str(name)[:64]}' that moves", hint, "unknown-state")
        shape = (batch, *shapes[name])
        if tuple(floating(f"{what}: state '{name}'", state).shape) != shape:
            raise EpgraphError(
                f"{what}: state '{name}' has shape {tuple(state.shape)}, expected {shape}",
                "the first dimension is the batch, which has to be that of x",
            )
    return dict(value)
