"""What an energy is written in: the network that it is asked about, and the symbols that it records a function with.

The compiler implements ``Symbols``. What looks like a tensor there is a stand-in that torch.fx records: use torch
operations, and do not branch on values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from epgraph.activations import Activation
from epgraph.kinds import EdgeKind, Shape

if TYPE_CHECKING:
    from torch import Tensor

Direction = Literal["forward", "adjoint"]
"""Whether an edge applies A_e to its source, or A_eᵀ to its target."""


class Node(Protocol):
    """A state of a network (``graph.State``)."""

    @property
    def name(self) -> str:
        """Name of the state."""

    @property
    def shape(self) -> Shape:
        """Shape of one example."""

    @property
    def activation(self) -> Activation:
        """σ."""

    @property
    def clamped(self) -> bool:
        """Whether it is held at the data."""

    @property
    def bias_shape(self) -> Shape | None:
        """One bias a channel; None without a bias."""


class Link(Protocol):
    """An edge of a network (``graph.Edge``)."""

    @property
    def name(self) -> str:
        """Name of the edge."""

    @property
    def source(self) -> str:
        """Name of the state that A_e is applied to."""

    @property
    def target(self) -> str:
        """Name of the state that A_e reaches."""

    @property
    def kind(self) -> EdgeKind:
        """A_e, A_eᵀ and their derivatives by the weight."""

    @property
    def weight_shape(self) -> Shape | None:
        """Shape of the weight; None for an edge without one."""

    @property
    def owner(self) -> str:
        """Name of the edge that the weight belongs to."""

    @property
    def untied(self) -> bool:
        """Whether it acts on its source through a weight of its own."""

    @property
    def unary(self) -> bool:
        """Whether both its ends are one state."""


class Wiring(Protocol):
    """A network (``graph.NetworkGraph``). Edges are in declaration order."""

    @property
    def states(self) -> Mapping[str, Node]:
        """States by name."""

    @property
    def edges(self) -> Mapping[str, Link]:
        """Edges by name."""

    @property
    def dynamic(self) -> Sequence[str]:
        """States of the dynamics: all but the clamped input, and an output that is a readout."""

    def pre(self, name: str) -> Sequence[Link]:
        """Edges into a state."""

    def post(self, name: str) -> Sequence[Link]:
        """Edges out of a state."""

    def unary_edges(self, name: str) -> Sequence[Link]:
        """Edges from a state to itself."""

    def reads_out(self, edge: Link) -> bool:
        """Whether an edge belongs to a readout, outside the dynamics."""


class Symbols(Protocol):
    """A function that is being recorded.

    Attributes
    ----------
    graph
        The network.
    pair
        Whether every state is a pair: below one another, the mean (s⁺ + s⁻)/2 and half of the difference (s⁺ − s⁻)/2
        of the two nudged phases.
    once
        Whether a gradient is contrasted on pairs as they are; False takes the difference of two gradients.
    """

    @property
    def graph(self) -> Wiring: ...  # noqa: D102
    @property
    def pair(self) -> bool: ...  # noqa: D102
    @property
    def once(self) -> bool: ...  # noqa: D102

    def state(self, name: str) -> Tensor:
        """Value of a state, (batch, *shape); of a pair (2·batch, *shape)."""

    def shape(self, name: str) -> Shape:
        """Shape of one example of a state."""

    def weight(self, edge: Link) -> Tensor | None:
        """Weight of an edge, in the layout of its kind; None for one without."""

    def bias(self, state: Node) -> Tensor | None:
        """Bias of a state, (1, channels, 1, 1) or (1, units); None for one without."""

    def level(self, state: Node) -> float | Tensor:
        """Level α of ReLUα; 0 elsewhere."""

    def forward(self, edge: Link, s: Tensor | None = None) -> Tensor:
        """A_e s; the state of the source where s is left out."""

    def adjoint(self, edge: Link, t: Tensor | None = None) -> Tensor:
        """A_eᵀ t, through the feedback weight where there is one; the state of the target where t is left out."""

    def sum(self, name: str, direction: Direction | None = None) -> Tensor:
        """Σ of what acts on a state now: A_e s, A_eᵀ s and ∂φ/∂s of the terms of its update, its bias included.

        ``direction`` takes the terms of one direction alone.
        """

    def nudged(self, state: Node, summed: Tensor) -> Tensor:
        """Add −β ∂C/∂s, or another force, where the phase has one for this state."""

    def noisy(self, state: Node, summed: Tensor) -> Tensor:
        """Add ``dynamics.noise``."""

    def activated(self, state: Node, summed: Tensor, level: float | Tensor) -> Tensor:
        """σ, which may write into what it is given."""

    def inverse(self, state: Node, s: Tensor, level: float | Tensor) -> Tensor:
        """σ⁻¹."""

    def rounded(self, state: Node, s: Tensor, level: float | Tensor) -> Tensor:
        """Round to ``dynamics.state_bits``."""

    def step(self, state: Node) -> Tensor | None:
        """Part ω or ε of the way that the update of a state goes; None where it goes all the way."""

    @property
    def flows(self) -> bool:
        """Whether that part is ε of ``dynamics.flow``, a step of u = σ⁻¹(s)."""

    def damping(self, state: Node) -> Tensor | None:
        """Part of the way that an update goes at most, for its edges to itself; None where there is no such bound."""

    def lerp(self, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
        """Start + step · (end − start)."""

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """⟨a, b⟩ per example, (batch,)."""

    def add(self, name: Literal["phi", "own"], value: Tensor) -> None:
        """Add to the Φ or to the Σ G of F = Σ G − Φ, per example, (batch,)."""
