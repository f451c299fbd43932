"""A graph with parameters that a rule is still changing: what rules share that look at the maps of edges."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from epgraph.graph import Edge, NetworkGraph, State
from epgraph.initialization.draw import Parameters


@dataclass
class Drawn:
    """A graph, its parameters in float32 on the CPU, and the inputs on which it is measured, (batch, *input shape)."""

    graph: NetworkGraph
    parameters: Parameters
    x: Tensor

    def __post_init__(self) -> None:
        self.parameters = {name: value.float() for name, value in self.parameters.items()}

    def weights(self, edge: Edge) -> list[str]:
        """Names of the weights of an edge: none, one, or two where its feedback is untied."""
        names = (f"edges.{edge.owner}.{part}" for part in ("weight", "feedback"))
        return [name for name in names if name in self.parameters]

    def weight(self, edge: Edge, *, back: bool = False) -> Tensor | None:
        """Return the weight of an edge, or its feedback; None without one."""
        names = self.weights(edge)
        return self.parameters[names[-1 if back else 0]] if names else None

    def forward(self, edge: Edge, s: Tensor, weight: Tensor | None = None) -> Tensor:
        """A_e s."""
        weight = self.weight(edge) if weight is None else weight
        return edge.kind.forward(weight, s, self.graph.states[edge.target].shape)

    def alpha(self, state: State) -> float | Tensor:
        """Level of a clipped ReLU; it is ignored elsewhere."""
        return self.parameters.get(f"states.{state.name}.alpha", state.activation.alpha_range[1])


def root(edge: Edge, factor: float) -> float:
    """Factor of the weight that gives A_e this one."""
    return float(factor ** (1 / edge.kind.degree))


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Values of channels, (channels,), in a shape that adds to ``like``, (batch, channels, …)."""
    return values.view(1, -1, *(1,) * (like.ndim - 2))
