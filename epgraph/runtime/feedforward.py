"""The feed-forward network of a wiring: every edge is read in its direction, and autograd differentiates.

With aₙ = Σ A_e s + bₙ over the edges into a state, sⁿ = σ(aₙ) in topological order. With ``norm: batch`` the sum is
normalized first (Ioffe & Szegedy 2015). At a kink σ′ is 0, as ``Activation.derivative`` says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from epgraph.activations import Activation
from epgraph.compiler.runtime import rounded
from epgraph.errors import EpgraphError
from epgraph.graph import NetworkGraph, State
from epgraph.runtime.executor import Executor
from epgraph.runtime.parameters import Parameters
from epgraph.runtime.relaxation import Relaxation, States

MOMENTUM, EPSILON = 0.1, 1e-5
"""Share of a batch in the running statistics, and what is added to variances: torch's defaults."""


class FeedForward:
    """The feed-forward network of a wiring without directed cycles.

    Parameters
    ----------
    values
        Parameters by name, attached to what autograd knows of them.
    dtype
        Precision of the states, to which the parameters are converted.
    """

    def __init__(self, graph: NetworkGraph, values: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self.graph = graph
        self.values = values
        self.dtype = dtype
        self._weights: dict[str, Tensor | None] = {}

    def states(self, x: Tensor, *, training: bool = False) -> States:
        """Return all states but the input, (batch, *shape) each, differentiable where autograd records.

        Parameters
        ----------
        training
            Whether ``norm: batch`` takes the statistics of this batch, and adds them to the running ones in place.

        Raises
        ------
        EpgraphError
            Where a batch has one value a channel, which has no variance.
        """
        found = {self.graph.input.name: x}
        for name in self.graph.forward_order:
            state = self.graph.states[name]
            if not state.clamped:
                found[name] = self._state(state, found, training)
        return {name: found[name] for name in self.graph.free}

    def _state(self, state: State, found: States, training: bool) -> Tensor:
        """σ of the sum, normalized where that is asked for."""
        parts = [
            edge.kind.forward(self._weight(edge.owner), found[edge.source], state.shape)
            for edge in self.graph.pre(state.name)
        ]
        if not parts:
            x = found[self.graph.input.name]
            parts = [x.new_zeros((len(x), *state.shape))]
        if state.bias_shape is not None:
            parts.append(self._value(f"states.{state.name}.bias").view(-1, *(1,) * (len(state.shape) - 1)))
        summed = _sum(*parts)
        if state.norm is not None:
            summed = self._normalized(state, summed, training)
        # What an edge returns may be kept by autograd; a sum of two, or what is normalized, belongs to nobody else.
        own = len(parts) > 1 or state.norm is not None
        level: float | Tensor = state.activation.alpha_range[1]
        if state.activation.stored:
            level = self._value(f"states.{state.name}.alpha")
        return activated(state.activation, summed, level, own=own)

    def _normalized(self, state: State, summed: Tensor, training: bool) -> Tensor:
        if training and summed.numel() == summed.shape[1]:
            raise EpgraphError(
                f"state '{state.name}' has norm: batch, and one example of one pixel has no variance",
                "choose a training.batch_size that leaves no last batch of one example",
            )
        mean, variance, weight, bias = (
            self.values[f"states.{state.name}.{part}"]
            for part in ("running_mean", "running_var", "norm_weight", "norm_bias")
        )
        # Scale, shift and statistics keep their own precision, as torch's mixed precision has it.
        return F.batch_norm(summed, mean, variance, weight, bias, training, MOMENTUM, EPSILON)

    def _weight(self, owner: str) -> Tensor | None:
        """Weight of an edge by its owner, rounded where that is asked for, which counts as the identity."""
        if owner not in self._weights:
            edge, bits = self.graph.edges[owner], self.graph.architecture.dynamics.weight_bits
            weight = None if edge.weight_shape is None else self.values[f"edges.{owner}.weight"]
            if weight is not None and bits:
                whole = weight.detach()
                weight = rounded(whole, bits) + (weight - whole)
            self._weights[owner] = None if weight is None else weight.to(self.dtype)
        return self._weights[owner]

    def _value(self, name: str) -> Tensor:
        return self.values[name].to(self.dtype)


def feed_forward(executor: Executor, x: Tensor, parameters: Parameters) -> Relaxation:
    """Return the states of the feed-forward network, with running statistics, as a relaxation that has settled."""
    with torch.no_grad():
        states = FeedForward(executor.graph, parameters.values, executor.dtype).states(sorted_memory(x))
    return settled(executor, states)


def refuse_norm(graph: NetworkGraph) -> None:
    """Raise where a state is normalized: sweeps and energies know nothing of it."""
    state = next((state for state in graph.states.values() if state.norm is not None), None)
    if state is not None:
        raise EpgraphError(
            f"state '{state.name}' has norm: {state.norm}, which the feed-forward network alone has: it cannot relax",
            "use predict, or leave norm out",
        )


def sorted_memory(x: Tensor) -> Tensor:
    """Return an input in the memory layout in which autograd is fast and right: channels last on a GPU.

    On a CPU torch's own weight gradient corrupts the heap with channels last (see ``kinds.convolution.correlate``), and
    is not faster.
    """
    last = x.is_cuda and x.ndim == 4
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def settled(executor: Executor, states: States) -> Relaxation:
    """One pass is exact: one step, residual 0, status CONVERGED, or DIVERGED where a state is no number."""
    batch = next(iter(states.values()))
    residuals = torch.zeros(len(batch), device=batch.device)
    return executor.ended(states, 1, residuals, math.inf)


def activated(activation: Activation, summed: Tensor, level: float | Tensor, *, own: bool) -> Tensor:
    """σ of a sum, whose derivative at a kink is 0; ``own``: the sum may be written into."""
    if activation.linear:
        return summed
    bounds = activation.bounds(level) if activation.projects else None
    if bounds is not None and not isinstance(bounds[1], Tensor):
        # torch's own derivative is 0 at both ends. In place it keeps the result alone.
        return F.hardtanh(summed, bounds[0], bounds[1], inplace=own)
    if activation.smooth:
        return activation.apply_in_(summed.dtype, summed if own else summed.clone(), level)
    found: Tensor = _Kinked.apply(summed, level, activation)
    return found


class _Kinked(torch.autograd.Function):
    """σ with a kink: the derivative by the sum is ``Activation.derivative``, by a learnt level 1 beyond it."""

    @staticmethod
    def forward(ctx: Any, summed: Tensor, level: float | Tensor, activation: Activation) -> Tensor:
        ctx.activation = activation
        ctx.level = level if isinstance(level, float) else None
        ctx.save_for_backward(summed, *([level] if isinstance(level, Tensor) else []))
        return activation.apply_in_(summed.dtype, summed.clone(), level)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        summed, *levels = ctx.saved_tensors
        level = levels[0] if levels else ctx.level
        by_sum = gradient * ctx.activation.derivative(summed, level)
        by_level = (gradient * (summed > level)).sum() if levels and ctx.needs_input_grad[1] else None
        return by_sum, by_level, None


def _sum(first: Tensor, *others: Tensor) -> Tensor:
    """Σ of what edges and bias contribute."""
    if others:
        # Not in place: autograd may keep what an edge returned.
        first = first + others[0]
        for part in others[1:]:
            first += part
    return first
