"""Initial parameters that follow from the graph, so that it settles and the signal reaches every state.

The coupling W of the states that move settles where its norm is below 1, and a random matrix then transmits next to
nothing: most of its singular values are far below the largest. Four steps, none with a gain that somebody has set:

1. An edge between two states that move is drawn as an isometry (all singular values equal), so that no direction of the
   signal is lost for the sake of another. A larger kernel gets it at its center, and a random kernel beside it.
2. Its norm is 1/√(dᵢ dⱼ), with d the number of edges at each end: the normalized adjacency D^−½ A D^−½, whose norm is 1
   on every graph. Gains that the user has set say how the edges of a state share.
3. One factor brings the norm ρ of W over *all* units, measured by power iteration, to ``init.norm``. On a long chain
   the signal fades by (1 − √(1 − ρ²))/ρ a step, which is slow near 1 only; below 1 every equilibrium is stable.
4. The input's own edges are in no loop: they are scaled so that inputs move the states they reach by a sixth of the box
   of ReLUα. Biases then put every unit inside its box, at a distance from the kinks that neither signal nor nudge
   crosses: they are what batch normalization would subtract at the equilibrium.

An interaction of a state with itself is an edge like the others; a weight that several edges share is drawn once, and
gets the least of their norms. Memories keep the patterns that the published rule draws, which are no coupling of their
own size, and are seen by steps 3 and 4.

All of it is computed on the CPU in float32, from a seeded noise or a batch of the data.

An energy whose free equilibrium is one forward pass has no loop that must settle; ``feedforward.py`` has its rule.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from epgraph.graph import Edge, NetworkGraph, State, make_schedule
from epgraph.initialization.draw import Parameters, stream, uniform
from epgraph.initialization.drawn import Drawn, per_channel, root
from epgraph.initialization.feedforward import feedforward
from epgraph.initialization.published import published

PROBES = 16
"""Examples of noise on which signals are measured."""

BESIDE = 0.5
"""Norm of the random kernel beside the isometry of a larger kernel, which has norm 1."""

PART = 1 / 6
"""Signal that inputs cause, and the least distance of a unit from its lower kink, in parts of the box of ReLUα."""

ITERATIONS, SWEEPS, STILL = 50, 300, 1e-4
"""Power iterations; most sweeps that biases are given to settle, and the change of a state at which they have."""


def graph_aware(graph: NetworkGraph, seed: int, x: Tensor | None = None) -> Parameters:
    """Draw parameters by the rule of this module.

    Parameters
    ----------
    x
        Inputs, (batch, *input shape), on which signals are measured; left out, noise uniform in [0, 1], as pixels are.
    """
    if graph.energy.feedforward:
        return feedforward(graph, seed, x)
    if x is None:
        x = torch.rand(PROBES, *graph.input.shape, generator=stream(seed, "init"))
    network = _Network(graph, published(graph, seed), x.detach().to("cpu", torch.float32))
    inner = [edge for edge in graph.edges.values() if edge.ends <= set(graph.dynamic)]
    for edge in inner:
        for part in network.weights(edge):
            if not edge.tied and network.scalable(edge):
                network.parameters[part] = network.isometry(edge, part, seed)
    network.share(inner)
    network.scale(inner, graph.architecture.init.norm)
    network.drive()
    network.settle_biases()
    return {name: value.double() for name, value in network.parameters.items()}


class _Network(Drawn):
    """A graph whose coupling is scaled."""

    @staticmethod
    def scalable(edge: Edge) -> bool:
        """Whether the coupling that an edge makes is proportional to its weight."""
        return edge.kind.is_linear or not edge.unary

    def adjoint(self, edge: Edge, t: Tensor, s: Tensor, weight: Tensor | None = None) -> Tensor:
        """A_eᵀ t, at the source state s."""
        if edge.unary:
            return self.forward(edge, t, weight)  # symmetric
        weight = self.weight(edge, back=True) if weight is None else weight
        return edge.kind.adjoint(weight, t, s, self.graph.states[edge.source].shape)

    def isometry(self, edge: Edge, name: str, seed: int) -> Tensor:
        """Draw a weight with singular values that are as equal as the kind of edge lets them be; its norm is 1."""
        shape = self.parameters[name].shape
        generator = stream(seed, name)
        ends = (self.graph.states[state].shape for state in (edge.source, edge.target))
        blocks = [torch.empty(rows, shape[1]) for rows in edge.kind.weight_blocks(*ends)]
        matrix = torch.cat([torch.nn.init.orthogonal_(block, generator=generator) for block in blocks])
        if matrix.numel() == self.parameters[name].numel():
            drawn = matrix.view(shape)
        else:
            random = uniform(tuple(shape), 1.0, seed, f"{name}.beside").float()
            drawn = random * (BESIDE / self.norm(edge, random))
            centered = torch.zeros_like(drawn)
            centered[:, :, shape[2] // 2, shape[3] // 2] = matrix
            drawn += centered / self.norm(edge, centered)
        return drawn / root(edge, self.norm(edge, drawn))

    def norm(self, edge: Edge, weight: Tensor) -> float:
        """‖A_e‖ by power iteration on A_eᵀA_e, from a fixed start; of max pooling, the largest that it finds."""
        v = torch.rand(1, *self.graph.states[edge.source].shape, generator=stream(0, "norm"))
        size = 0.0
        for _ in range(ITERATIONS):
            v = v / v.norm().clamp_min(torch.finfo(v.dtype).tiny)
            t = self.forward(edge, v, weight)
            size = float(t.norm())
            v = self.adjoint(edge, t, v, weight)
        return size or 1.0

    def share(self, inner: list[Edge]) -> None:
        """Give every edge the norm γ²/√(dᵢ dⱼ) with d = Σ γ² over the edges at a state, and γ its gain."""
        inner = [edge for edge in inner if self.scalable(edge)]
        degree: defaultdict[str, float] = defaultdict(float)
        for edge in inner:
            for name in edge.ends:
                degree[name] += edge.gain**2
        shares: dict[str, float] = {}
        for edge in inner:
            for part in self.weights(edge):
                both = degree[edge.source] * degree[edge.target]
                share = root(edge, edge.gain**2 / max(both, 1e-30) ** 0.5)
                shares[part] = min(share, shares.get(part, share))
        for part, share in shares.items():
            self.parameters[part] *= share

    def scale(self, inner: list[Edge], aim: float) -> None:
        """Bring the norm of the coupling over all units to ``aim`` by one factor for every weight.

        Identity and pooling edges have no weight: where they alone reach the aim, weights are left as ``share`` made
        them.
        """
        edges = {part: edge for edge in inner if self.scalable(edge) for part in self.weights(edge)}
        drawn = {part: self.parameters[part] for part in edges}

        def coupled(factor: float) -> float:
            self.parameters |= {part: value * root(edges[part], factor) for part, value in drawn.items()}
            return self.coupling(inner)

        fixed = not all(self.scalable(edge) and self.weights(edge) for edge in inner)
        if not edges or (fixed and coupled(0.0) >= aim):
            coupled(1.0)
            return
        factor = 1.0
        # One step without fixed edges; with them the norm is not proportional to the factor.
        for _ in range(8 if fixed else 1):
            factor *= aim / (coupled(factor) or aim)
        coupled(factor)

    def coupling(self, inner: list[Edge]) -> float:
        """Norm of W over all units, by power iteration: the linearized sums, every edge forth and back."""
        generator = stream(0, "coupling")
        v = {n: torch.randn(1, *self.graph.states[n].shape, generator=generator) for n in self.graph.dynamic}
        at = {name: torch.rand(s.shape, generator=generator) for name, s in v.items()}
        size = 0.0
        for _ in range(ITERATIONS):
            length = torch.stack([s.norm() for s in v.values()]).norm().clamp_min(torch.finfo(torch.float32).tiny)
            v = {name: s / length for name, s in v.items()}
            w = {name: torch.zeros_like(s) for name, s in v.items()}
            for edge in inner:
                w[edge.target] += self._linearized(edge, at[edge.source], v[edge.source])
                if edge.unary:
                    continue
                w[edge.source] += self.adjoint(edge, v[edge.target], at[edge.source])
            size = float(torch.stack([s.norm() for s in w.values()]).norm())
            v = w
        return size

    def drive(self) -> None:
        """Scale the edges at the input so that it moves every state that it reaches by ``PART`` of its box."""
        clamped = self.graph.input.name
        # A weight that an edge inside shares has its size from there, and one that several share is scaled once.
        done = {part for e in self.graph.edges.values() if clamped not in e.ends for part in self.weights(e)}
        for name in self.graph.dynamic:
            edges = [e for e in self.graph.edges.values() if e.ends == {name, clamped}]
            for edge in edges:
                made = self._drive(edge, name)
                wanted = self._part(self.graph.states[name]) / len(edges) ** 0.5
                for part in self.weights(edge):
                    if part not in done:
                        done.add(part)
                        self.parameters[part] *= root(edge, wanted / (_signal(made) or wanted))

    def settle_biases(self) -> None:
        """Relax, and at every update set the bias that gives the sums of each channel their mean."""
        states = {name: self.x.new_zeros(len(self.x), *self.graph.states[name].shape) for name in self.graph.dynamic}
        names = make_schedule(self.graph, "coloring").classes
        for _ in range(SWEEPS):
            change = 0.0
            for name in (n for together in names for n in together if n in states):
                new = self._update(self.graph.states[name], states)
                change = max(change, float((new - states[name]).abs().max()))
                states[name] = new
            if change <= STILL:
                return

    def _update(self, state: State, states: dict[str, Tensor]) -> Tensor:
        clamped = self.graph.input.name
        summed = torch.zeros_like(states[state.name])
        now = {**states, clamped: self.x}
        for edge in self.graph.pre(state.name):
            summed += self.forward(edge, now[edge.source])
        for edge in self.graph.post(state.name):
            if edge.target in now:
                summed += self.adjoint(edge, now[edge.target], now[state.name])
        for edge in self.graph.unary_edges(state.name):
            summed += self.forward(edge, now[state.name])
        bias = f"states.{state.name}.bias"
        if bias in self.parameters:
            over = [0, *range(2, summed.ndim)]
            mean = summed.mean(over)
            spread = summed - per_channel(mean, summed)
            self.parameters[bias] = self._mean(state, spread) - mean
            summed += per_channel(self.parameters[bias], summed)
        return state.activation.apply_(summed, self.alpha(state))

    def _mean(self, state: State, spread: Tensor) -> float:
        """Mean that the sums of a state should have: inside a box [0, h], else where σ is steepest."""
        if self._box(state) is not None:
            # At least a deviation away from the kink, and no further than the middle.
            least = max(self._part(state), float(spread.square().mean().sqrt()))
            return min(least, float(state.activation.middle(self.alpha(state))))
        classes = self.graph.architecture.output.classes
        if state.role == "output" and state.activation.linear and classes:
            return 1.0 / classes
        return float(state.activation.middle(self.alpha(state)))

    def _part(self, state: State) -> float:
        box = self._box(state)
        return 1.0 if box is None else PART * float(box)

    def _box(self, state: State) -> float | Tensor | None:
        """Upper end h of the range where σ is the projection on [0, h], as ReLUα is; else None."""
        bounds = state.activation.bounds(self.alpha(state))
        return bounds[1] if state.activation.projects and bounds is not None and bounds[0] == 0 else None

    def _drive(self, edge: Edge, name: str) -> Tensor:
        if edge.target == name:
            return self.forward(edge, self.x)
        like = torch.zeros(len(self.x), *self.graph.states[name].shape)
        return self.adjoint(edge, self.x, like)

    def _linearized(self, edge: Edge, at: Tensor, v: Tensor) -> Tensor:
        if edge.kind.is_linear:
            return self.forward(edge, v)
        if edge.unary:
            # Of a potential ∂²φ/∂s² is symmetric.
            with torch.enable_grad():
                s = at.clone().requires_grad_()
                found: Tensor = torch.autograd.grad((self.forward(edge, s) * v).sum(), s)[0]
            return found
        # The adjoint is linear in the target, and the transpose of what is wanted. (``torch.func.jvp`` would load what
        # warns of its own end.)
        with torch.enable_grad():
            t = torch.zeros(1, *self.graph.states[edge.target].shape, requires_grad=True)
            moved: Tensor = torch.autograd.grad((self.adjoint(edge, t, at) * v).sum(), t)[0]
        return moved


def _signal(t: Tensor) -> float:
    """Standard deviation over the examples, root mean square over the units."""
    return float(t.var(0, unbiased=False).mean().sqrt())
