"""Effects: which operations of recorded graphs write into one of their arguments, and into which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from epgraph.compiler import runtime
from epgraph.compiler.triton_kernel import launch
from epgraph.compiler.winograd import add_winograd_
from epgraph.kinds.products import add_product_

WRITES: dict[Callable[..., Any], int] = {
    runtime.total: 1,
    runtime.total_pair: 1,
    runtime.fill_: 0,
    runtime.fill_pair_: 0,
    runtime.in_pieces: 3,
    runtime.by_rows: 2,
    runtime.noisy_: 0,
    runtime.noisy_pair_: 0,
    runtime.quantize_: 0,
    runtime.quantize_pair_: 0,
    runtime.put_phase_: 0,
    runtime.put_phase_pair_: 0,
    runtime.add_phase_: 0,
    add_winograd_: 0,
    add_product_: 0,
    launch: 1,
}
"""Helpers that write: position of the argument that they write into, where it is not None, and which they return."""


def memory_of(node: fx.Node) -> Any:
    """What a node writes into, and returns; None where it writes into none of its arguments.

    A helper is in ``WRITES``. An operation of torch writes where its name ends in one underscore, or where it is given
    ``out``.
    """
    if "out" in node.kwargs:
        return node.kwargs["out"]
    if node.op == "call_function" and node.target in WRITES:
        return node.args[WRITES[node.target]]
    if node.op not in ("call_method", "call_function"):
        return None
    # An operation of torch.ops has its overload behind a dot.
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "").split(".")[0]
    return node.args[0] if name.endswith("_") and not name.endswith("__") else None


def writes(node: fx.Node) -> bool:
    """Whether a node writes into one of its arguments."""
    return memory_of(node) is not None


def written_to(node: fx.Node) -> bool:
    """Whether anything writes into what a node returns, or an activation of a pair reads it while it writes."""
    return any(user.target is runtime.in_pieces or memory_of(user) is node for user in node.users)
