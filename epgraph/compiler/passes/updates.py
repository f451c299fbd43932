"""Rewrite: one state's whole update, all incident edges with what follows their sum, becomes one Triton kernel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from epgraph.activations import Activation
from epgraph.compiler import runtime
from epgraph.compiler.passes.common import (
    CONVOLUTION,
    SUMS,
    TRANSPOSED,
    argument_of,
    padding_of,
    parametric,
    plain,
    product_of,
    rewritten,
    shapes,
    stride_of,
)
from epgraph.compiler.program import Program
from epgraph.compiler.trace import Tracer
from epgraph.compiler.triton_kernel import Kernel, launch
from epgraph.compiler.triton_source import Pair, Term, Update

Sizes = dict[fx.Node, tuple[int, ...]]

PIXELS = 16
"""Largest image that a dense edge may join in a kernel: beyond it, a plain matrix product is the better way."""


@dataclass(frozen=True)
class Edge:
    """A contribution that a kernel can compute itself.

    ``weight`` reshaped to ``shape`` and permuted to ``order`` is (rows, columns, input channels, output channels).
    """

    source: fx.Node
    weight: fx.Node
    shape: tuple[int, ...]
    order: tuple[int, ...]
    term: Term

    def packed(self, graph: fx.Graph) -> fx.Node:
        """Weight as (taps, input channels, output channels)."""
        taps = self.term.kernel[0] * self.term.kernel[1]
        weight = graph.call_method("reshape", (self.weight, *self.shape))
        weight = graph.call_method("permute", (weight, *self.order))
        weight = graph.call_method("reshape", (weight, taps, self.term.channels, -1))
        return graph.call_method("contiguous", (weight,))


def fuse_updates(program: Program, tracer: Tracer) -> Program:
    """Compute every sum, and where it can be what follows it, by a kernel generated for that state.

    Contributions that are neither convolutions, transposed ones nor dense (max pooling) are computed as they were and
    added in the kernel. Where nudging or a smooth activation follows, the kernel ends with the sum.
    """

    made: Counter[str] = Counter()

    def change(graph: fx.Graph) -> None:
        sizes = shapes(graph, tracer, program)
        fixed = parametric(graph, tracer.names)
        for node in list(graph.nodes):
            if node.target in SUMS and "state" in node.meta:
                state = node.meta["about"]
                made[state] += 1
                # Some schedules update a state twice a sweep.
                again = [made[state]] if made[state] > 1 else []
                name = tracer.names("function", *program.key, "update", state, *again)
                _fuse(graph, node, name, tracer, sizes, fixed)

    return rewritten(program, lambda n: n.target in SUMS, change)


def _fuse(graph: fx.Graph, total: fx.Node, name: str, tracer: Tracer, sizes: Sizes, fixed: set[fx.Node]) -> None:
    constant, *parts = total.args
    found = {part: _edge(part, sizes, fixed) for part in parts if isinstance(part, fx.Node)}
    edges = [edge for edge in found.values() if edge is not None]
    state = argument_of(graph, total.meta["state"])
    if not edges or state not in sizes or len(found) < len(parts) or len(sizes[state]) not in (2, 4):
        return
    chain, relaxed, level = _chain(total, state, tracer)
    last = chain[-1]
    rest = tuple(part for part, edge in found.items() if edge is None)
    about = str(total.meta["about"])
    update = Update(
        name,
        about,
        sizes[state][1],
        _size(sizes[state]),
        tuple(edge.term for edge in edges),
        constant is not None,
        len(rest),
        relaxed is not None,
        "tensor" if isinstance(level, fx.Node) else level,
        total.target is runtime.total_pair,
    )
    with graph.inserting_before(last):
        weights = tuple(edge.packed(graph) for edge in edges)
        alpha = level if isinstance(level, fx.Node) else None
        sources = tuple(edge.source for edge in edges)
        made = graph.call_function(
            launch,
            (Kernel(update), None, state, constant, relaxed, alpha, rest, sources, weights),  # type: ignore[arg-type]
        )
    made.meta = dict(total.meta)
    last.replace_all_uses_with(made)
    # They write in place, so nothing else would take them for dead.
    for node in reversed(chain):
        graph.erase_node(node)


def _chain(total: fx.Node, state: fx.Node, tracer: Tracer) -> tuple[list[fx.Node], Any, Any]:
    """Nodes of the update that a kernel takes, from the sum on, with ω and the clipping level (None: there is none)."""
    chain, omega = [total], None
    user = _only_user(total)
    if user is not None and user.target is torch.lerp and user.args[:2] == (state, total) and _is_omega(user, tracer):
        chain.append(user)
        omega = user.args[2]
        user = _only_user(user)
    if user is None:
        return chain, omega, None
    if user.target is runtime.in_pieces and user.args[1] is chain[-1]:
        passed: Any = user.args[0]
        activation = next((a for a, pair in tracer.pairs.items() if pair is passed), None)
        clips = activation is not None and clips_to_level(activation)
        return ([*chain, user], omega, user.args[2]) if clips else (chain, omega, None)
    if user.op == "call_method" and user.target == "clamp_" and user.args[0] is chain[-1]:
        if len(user.args) == 3:
            return ([*chain, user], omega, user.args[2]) if user.args[1] == 0 else (chain, omega, None)
        upper = _only_user(user)
        if user.kwargs == {"min": 0.0} and upper is not None and upper.target == "clamp_" and "max" in upper.kwargs:
            return [*chain, user, upper], omega, upper.kwargs["max"]
    return chain, omega, None


def _is_omega(step: fx.Node, tracer: Tracer) -> bool:
    """Whether a step is of length ω, which is a number; the length of a damped step is a tensor."""
    length: Any = step.args[2]
    return length.op == "placeholder" and tracer.names.role(str(length.target)) == "step"


def clips_to_level(activation: Activation) -> bool:
    """Whether σ is the projection on [0, α] with the level α that it is handed, as the kernels compute it."""
    return activation.projects and activation.alpha_range[1] > 0 and activation.bounds(1.0) == (0.0, 1.0)


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _edge(part: fx.Node, sizes: Sizes, fixed: set[fx.Node]) -> Edge | None:
    """What a contribution is as a convolution; None where it is none, or where something else needs it too."""
    if _only_user(part) is None:
        return None
    note = f"A[{part.meta.get('about', '')}]"
    product = product_of(part)
    if product is not None:
        return _dense(part, product, note, sizes, fixed)
    transposed = plain(part, TRANSPOSED)
    if not (transposed or plain(part, CONVOLUTION)) or part.args[1] not in fixed:
        return None
    source, weight = part.args
    assert isinstance(source, fx.Node)
    assert isinstance(weight, fx.Node)
    wanted, given, tall, wide = sizes[weight]
    term = Term(
        note + "ᵀ" * transposed,
        sizes[source][1],
        _size(sizes[source]),
        (tall, wide),
        stride_of(part),
        padding_of(part),
        transposed,
    )
    order = (2, 3, 0, 1) if transposed else (2, 3, 1, 0)
    return Edge(source, weight, (wanted, given, tall, wide), order, term)


def _dense(part: fx.Node, product: fx.Node, note: str, sizes: Sizes, fixed: set[fx.Node]) -> Edge | None:
    """A matrix as a convolution: the kernel covers the image at one of its ends; the other end is one pixel."""
    flat, matrix = product.args
    assert isinstance(flat, fx.Node)
    assert isinstance(matrix, fx.Node)
    if flat.op != "call_method" or flat.target != "flatten" or matrix not in fixed:
        return None
    source = flat.args[0]
    assert isinstance(source, fx.Node)
    near, far = _size(sizes[part]), _size(sizes[source])
    forward = matrix.target is getattr and matrix.args[1] == "T"
    weight = matrix.args[0] if forward else matrix
    assert isinstance(weight, fx.Node)
    if max(near[0] * near[1], far[0] * far[1]) > PIXELS or (near != (1, 1) and far != (1, 1)):
        return None
    here, there = sizes[part][1], sizes[source][1]
    spread = near != (1, 1)
    image = near if spread else far
    if forward:
        shape, order = ((here, *near, there), (1, 2, 3, 0)) if spread else ((here, there, *far), (2, 3, 1, 0))
    else:
        shape, order = ((there, *far, here), (1, 2, 0, 3)) if far != (1, 1) else ((there, here, *near), (2, 3, 0, 1))
    # From a vector to an image every pixel sees its own tap alone, which a stride of the image's size says.
    stride = image if spread else (1, 1)
    term = Term(note + "ᵀ" * (not forward), there, far, image, stride, (0, 0), transposed=spread)
    return Edge(source, weight, shape, order, term)


def _size(shape: tuple[int, ...]) -> Pair:
    return (shape[2], shape[3]) if len(shape) == 4 else (1, 1)
