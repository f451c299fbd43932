"""Initial parameters of a network whose free equilibrium is one forward pass.

States are visited in topological order, and the sum of each gets the standard deviation that its σ can take. So signals
neither fade nor grow with depth. Errors go back through the same maps, and must not grow either:

1. A weight is drawn as an isometry. At stride 1 a larger kernel has it at its center, and a random kernel beside it
   with 1/(1 + L) of the variance, where L is the number of states on the longest path: L of them change the signal by
   about as much as it is. A strided kernel is orthogonal as a whole, since its center would leave pixels out; a kernel
   at the input too, since there are few channels.
2. The sum of a state has a deviation of ``PART`` of the range of σ (over its slope), at most 1. The edges into the
   state share its variance by the squares of their gains. One of them, the carrier, counts M times, with M the number
   of merges on the path that has the most: the edge without a weight, else the one from the shallowest state, else the
   one of fewest operations. At M = 1 all shares are equal. In a deep residual network a branch adds 1/M, and M
   branches multiply the variance by (1 + 1/M)^M < e where the carrier has no weight that could make room. This is the
   factor 1/√depth that muPC gives to branches (Innocenti et al. 2025).
3. Biases give each channel its mean, as batch normalization would. A rectified state whose mean is near the kink loses
   variance between examples, and a pass that restores it makes the errors grow, by E[σ′²] Var(a)/Var(σ(a)) a state. A
   mean far from the kink leaves the network linear, and few states need that. So the mean is as near to the kink as
   keeps the growth of the errors over the whole depth below ``GROWTH``. A σ with no kink at 0 gets its middle.
4. A linear output that is trained on one-hot targets gets their mean and deviation.

A weight that several edges share gets the least of the norms that they ask for; then the others are found again.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from epgraph.activations import Activation
from epgraph.graph import Edge, NetworkGraph, State
from epgraph.initialization.draw import Parameters, stream
from epgraph.initialization.drawn import Drawn, per_channel, root
from epgraph.initialization.published import published
from epgraph.kinds import ConvTranspose
from epgraph.kinds.convolution import Convolution

PROBES = 32
"""Examples of noise on which signals are measured."""

PART = 1 / 6
"""Deviation of a sum in parts of the range of σ: three deviations fit on each side of the middle."""

GROWTH = 2.0
"""Largest growth of the errors' norm, from the output to the input, that rectification may cause."""

FLAT = 1e-4
"""Deviation of a signal, in parts of its size, up to which it counts as constant."""

TAILS, POINTS, HALVINGS = 6.0, 1201, 40
"""Deviations and points of the normal distribution over which errors are averaged; steps of the bisection."""


def feedforward(graph: NetworkGraph, seed: int, x: Tensor | None = None) -> Parameters:
    """Draw parameters by the rule of this module.

    Parameters
    ----------
    x
        Inputs, (batch, *input shape), on which signals are measured; left out, noise uniform in [0, 1], as pixels are.
    """
    if x is None:
        x = torch.rand(PROBES, *graph.input.shape, generator=stream(seed, "init"))
    network = _Network(graph, published(graph, seed), x.detach().to("cpu", torch.float32))
    network.draw(seed)
    network.scale()
    return {name: value.double() for name, value in network.parameters.items()}


class _Network(Drawn):
    """A graph through which signals are sent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        clamped = self.graph.input.name
        self.depth, merges = {clamped: 0}, {clamped: 0}
        for name in self.graph.forward_order:
            sources = [edge.source for edge in self.graph.pre(name)]
            self.depth[name] = 1 + max((self.depth[source] for source in sources), default=0)
            merges[name] = (len(sources) > 1) + max((merges[source] for source in sources), default=0)
        self.longest = max(self.depth.values())
        self.merges = max(1, *merges.values())
        self.edges = [edge for name in self.graph.forward_order for edge in self.graph.pre(name)]
        self.means: dict[tuple[Activation, float, float], float] = {}

    def draw(self, seed: int) -> None:
        """Draw every weight as an isometry."""
        for edge in self.edges:
            for name in self.weights(edge):
                if not edge.tied and self.parameters[name].ndim > 1:
                    self.parameters[name] = self.isometry(edge, name, seed)

    def isometry(self, edge: Edge, name: str, seed: int) -> Tensor:
        """Draw a weight whose matrices have equal singular values, or one with such a matrix at its center."""
        shape, generator = self.parameters[name].shape, stream(seed, name)
        rows = edge.kind.weight_blocks(*(self.graph.states[end].shape for end in (edge.source, edge.target)))

        def orthogonal(columns: int) -> Tensor:
            blocks = [torch.empty(count, columns) for count in rows]
            for block in blocks:
                torch.nn.init.orthogonal_(block, generator=generator)
            return torch.cat(blocks)

        strided = isinstance(edge.kind, Convolution | ConvTranspose) and edge.kind.geometry.stride != (1, 1)
        whole = math.prod(shape[1:])
        if len(shape) != 4 or whole == shape[1] or strided or self.graph.states[edge.source].clamped:
            return orthogonal(whole).view(shape)
        beside = 1 / (1 + self.longest)
        drawn: Tensor = torch.randn(shape, generator=generator) * (beside / whole) ** 0.5
        center = orthogonal(shape[1])
        center *= (1 - beside) ** 0.5 / center.square().sum(1).mean().sqrt()
        drawn[:, :, shape[2] // 2, shape[3] // 2] += center
        return drawn

    def scale(self) -> None:
        """Scale weights and set biases in one pass, or two where edges share a weight."""
        owners = [edge.owner for edge in self.edges if edge.weight_shape is not None]
        shared = {owner for owner in owners if owners.count(owner) > 1}
        wanted = self.visit(shared)
        if not shared:
            return
        for edge in self.edges:
            # The owner's own edge stands for all; its feedback has the size of its weight.
            if edge.name in shared:
                self.multiply(edge, min(wanted[edge.name]))
        self.visit(shared, settled=True)

    def visit(self, shared: set[str], *, settled: bool = False) -> dict[str, list[float]]:
        """Send the inputs through; return the factors that the edges of shared weights want, by owner.

        These weights are left as they are. In the first pass signals go on as if each edge had what it wants; once
        ``settled``, the edges are as those without weights.
        """
        states = {self.graph.input.name: self.x}
        wanted: dict[str, list[float]] = {owner: [] for owner in shared}
        for name in self.graph.forward_order:
            state = self.graph.states[name]
            summed = torch.zeros(len(self.x), *state.shape)
            pre = {edge.name: edge for edge in self.graph.pre(name)}
            parts = {part: self.forward(edge, states[edge.source]) for part, edge in pre.items()}
            free = []
            for part, edge in pre.items():
                if not self.weights(edge) or (settled and edge.owner in shared):
                    summed += parts[part]
                else:
                    free.append(edge)
            for part, factor in self.factors(state, summed, free, parts).items():
                summed += factor * parts[part]
                if pre[part].owner in shared:
                    wanted[pre[part].owner].append(factor)
                else:
                    self.multiply(pre[part], factor)
            states[name] = self.activated(state, summed)
        return wanted

    def multiply(self, edge: Edge, factor: float) -> None:
        """Multiply A_e by a factor."""
        for name in self.weights(edge):
            self.parameters[name] = self.parameters[name] * root(edge, factor)

    def factors(self, state: State, fixed: Tensor, free: list[Edge], parts: dict[str, Tensor]) -> dict[str, float]:
        """Factors of the edges ``free`` into a state, whose other edges add up to ``fixed``, (batch, *shape)."""
        aim, carried = self.aim(state), _spread(fixed)
        counts = {edge.name: edge.gain**2 for edge in free}
        if carried:
            # Gains are relative: an edge without a weight has the one of the defaults.
            unit = (self.graph.architecture.defaults.gain**2 or 1.0) * self.merges
            variance = max(aim**2 - carried**2, carried**2 * sum(counts.values()) / unit)
        else:
            variance = aim**2
            if free:
                counts[min(free, key=lambda edge: (self.depth[edge.source], edge.macs)).name] *= self.merges
        whole = sum(counts.values()) or 1.0
        found = {name: _spread(parts[name]) for name in counts}
        factors = {
            name: (variance * count / whole) ** 0.5 / found[name] if found[name] else 1.0
            for name, count in counts.items()
        }
        if not any(found.values()):
            return factors
        # Parts of one source are not independent: c brings the variance F + 2c·cov + c²W of the sum to F + variance.
        own = sum((factors[name] * parts[name] for name in counts), torch.zeros_like(fixed))
        square = _spread(own) ** 2
        covariance = 0.5 * (_spread(fixed + own) ** 2 - carried**2 - square)
        common = (math.sqrt(covariance**2 + square * variance) - covariance) / square if square else 1.0
        return {name: factor * common for name, factor in factors.items()}

    def activated(self, state: State, summed: Tensor) -> Tensor:
        """σ of a sum, after its bias is set."""
        bias = f"states.{state.name}.bias"
        if bias in self.parameters:
            mean = summed.mean([0, *range(2, summed.ndim)])
            self.parameters[bias] = self.mean(state, _spread(summed) or self.aim(state)) - mean
            summed = summed + per_channel(self.parameters[bias], summed)
        return state.activation.apply_(summed, self.alpha(state))

    def aim(self, state: State) -> float:
        """Deviation that the sum of a state should have."""
        classes = self._classes(state)
        if classes:
            return float((classes - 1) ** 0.5 / classes)
        low, high = state.activation.bounds(self.alpha(state)) or (0.0, float("inf"))
        return min(1.0, PART * float(high - low) / self._slope(state))

    def mean(self, state: State, spread: float) -> float:
        """Mean that the sums of a state should have, at their deviation ``spread``."""
        classes = self._classes(state)
        if classes:
            return 1 / classes
        middle = float(state.activation.middle(self.alpha(state)))
        if not self._rectifies(state, middle, spread):
            return middle
        key = (state.activation, float(self.alpha(state)), round(spread, 3))
        if key not in self.means:
            self.means[key] = self._nearest(state, middle, spread)
        return self.means[key]

    def _nearest(self, state: State, middle: float, spread: float) -> float:
        """Return the mean nearest to 0 at which the errors grow by no more than a state's part of ``GROWTH``."""
        allowed = GROWTH ** (2 / max(1, self.longest - 1))
        normal = torch.linspace(-TAILS, TAILS, POINTS, dtype=torch.float64)
        density = (-0.5 * normal.square()).softmax(0)

        def grows(mean: float) -> bool:
            at = mean + spread * normal
            slope = state.activation.derivative(at, self.alpha(state)).square() @ density
            after = state.activation.apply_(at.clone(), self.alpha(state))
            variance = (after - after @ density).square() @ density
            return bool(slope * spread**2 > allowed * variance)

        near, far = 0.0, middle
        for _ in range(HALVINGS if grows(near) else 0):
            between = 0.5 * (near + far)
            near, far = (between, far) if grows(between) else (near, between)
        return far if grows(near) else near

    def _rectifies(self, state: State, middle: float, spread: float) -> bool:
        """Whether σ bends at 0 alone on the way to its middle: it is steep a deviation beyond."""
        if state.activation.bounds(self.alpha(state)) is None or middle <= spread:
            return False
        beyond = torch.tensor([min(spread, middle)])
        return float(state.activation.derivative(beyond, self.alpha(state))) >= 0.5 * self._slope(state)

    def _slope(self, state: State) -> float:
        """Slope of σ in its middle, where it is steepest."""
        middle = torch.as_tensor(state.activation.middle(self.alpha(state))).float().view(1)
        return float(state.activation.derivative(middle, self.alpha(state))) or 1.0

    def _classes(self, state: State) -> int | None:
        """Number of classes, of a linear output."""
        linear = state.role == "output" and state.activation.linear
        return self.graph.architecture.output.classes if linear else None


def _spread(t: Tensor) -> float:
    """Deviation from the mean of the channel, over batch and pixels, as the root of the mean over channels."""
    found = float(t.var([0, *range(2, t.ndim)], unbiased=False).mean().sqrt())
    return found if found > FLAT * float(t.square().mean().sqrt()) else 0.0
