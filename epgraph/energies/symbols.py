"""Vocabulary of energies: the network that an energy describes, and the symbols with which it writes a function.

The compiler implements ``Symbols``. Tensors there are torch.fx proxies: use torch operations, and do not branch on
values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        """Name of the state to which A_e is applied."""

    @property
    def target(self) -> str:
        """Name of the state that receives A_e s."""

    @property
    def kind(self) -> EdgeKind:
        """A_e, A_eᵀ and their derivatives with respect to the weight."""

    @property
    def weight_shape(self) -> Shape | None:
        """Shape of the weight; None for an edge without one."""

    @property
    def owner(self) -> str:
        """Name of the edge that owns the weight."""

    @property
    def untied(self) -> bool:
        """Whether it acts on its source through a second weight."""

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


class Pointwise(Protocol):
    """Functions of single units, in a notation that serves values and pairs. ``Tensor`` stands for either.

    Attributes
    ----------
    activation
        σ of the state.
    projection
        ``dynamics.update``.
    """

    @property
    def activation(self) -> Activation: ...  # noqa: D102
    @property
    def projection(self) -> str: ...  # noqa: D102

    def sigma(self, a: Tensor) -> Tensor:
        """σ(a)."""

    def sloped(self, a: Tensor, b: Tensor) -> Tensor:
        """σ′(a) ⊙ b."""

    def above(self, a: Tensor) -> Tensor:
        """1 where a is above the level α, else 0."""

    def plus(self, a: Tensor, b: Tensor) -> Tensor:
        """a + b."""

    def minus(self, a: Tensor, b: Tensor) -> Tensor:
        """a − b."""

    def times(self, a: Tensor, b: Tensor) -> Tensor:
        """a ⊙ b."""


class Symbols(Protocol):
    """A function during its recording.

    Attributes
    ----------
    graph
        The network.
    pair
        Whether every state is a pair: the common part (s⁺ + s⁻)/2 stacked on the odd part (s⁺ − s⁻)/2 of the two nudged
        phases.
    once
        Whether a contrast is computed from pairs in one call; else it is the difference of two gradients.
    nudges
        Whether the phase has a nudge, which flows back through the edges of a readout.
    errors
        Whether the function belongs to error sweeps.
    projection
        ``dynamics.update``: ``mod_pgd`` or ``pgd``.
    """

    @property
    def graph(self) -> Wiring: ...  # noqa: D102
    @property
    def pair(self) -> bool: ...  # noqa: D102
    @property
    def once(self) -> bool: ...  # noqa: D102
    @property
    def nudges(self) -> bool: ...  # noqa: D102
    @property
    def errors(self) -> bool: ...  # noqa: D102
    @property
    def projection(self) -> str: ...  # noqa: D102

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
        """A_e s; by default s is the state of the source."""

    def adjoint(self, edge: Link, t: Tensor | None = None) -> Tensor:
        """A_eᵀ t, through the feedback weight if there is one; by default t is the state of the target."""

    def sum(self, name: str, direction: Direction | None = None) -> Tensor:
        """Sum of the terms of a state's update: A_e s, A_eᵀ s and ∂φ/∂s, and the bias.

        ``direction`` restricts it to terms of one direction.
        """

    def bottom_up(self, name: str) -> Tensor:
        """Sum Σ A_e s + b over the edges into a state, of a ``feedforward`` energy; it must not be written into."""

    def sent(self, name: str) -> Tensor:
        """What a state sends back in this error sweep (``Energy.send``)."""

    def carried_signal(self, state: Node) -> Tensor | None:
        """What a state sent back in the last error sweep; None if it must be computed."""

    def carried_error(self, name: str) -> Tensor | None:
        """Error of a state that error sweeps have returned; None if it must be computed from states."""

    def total(self, state: Node, start: Tensor | None, parts: Sequence[Tensor]) -> Tensor:
        """Start + Σ parts, all of the shape of a state; it may write into the parts. None starts from zero."""

    def pointwise(self, name: str, state: Node, function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """Apply ``function(of: Pointwise, *values)`` to values or pairs; ``name`` is its name in emitted code."""

    def weighed(self, signal: Tensor) -> Tensor:
        """Multiply by the weight of each example, where a gradient has such weights."""

    def contracted(self, edge: Link, source: Tensor, signal: Tensor) -> Tensor:
        """∂⟨signal, A_e source⟩/∂w summed over the batch; of complex states its real part."""

    def nudged(self, state: Node, summed: Tensor) -> Tensor:
        """Add −β ∂C/∂s, or another force, if the phase has one for this state."""

    def noisy(self, state: Node, summed: Tensor) -> Tensor:
        """Add ``dynamics.noise``."""

    def activated(self, state: Node, summed: Tensor, level: float | Tensor) -> Tensor:
        """σ; it may write into its argument."""

    def copy(self, t: Tensor) -> Tensor:
        """Copy of a value, for an operation that writes into its argument."""

    def inverse(self, state: Node, s: Tensor, level: float | Tensor) -> Tensor:
        """σ⁻¹."""

    def rounded(self, state: Node, s: Tensor, level: float | Tensor) -> Tensor:
        """Round to ``dynamics.state_bits``."""

    def step(self, state: Node) -> Tensor | None:
        """Length ω or ε of the update of a state, relative to a full step; None for a full step."""

    @property
    def flows(self) -> bool:
        """Whether that length is ε of ``dynamics.flow``, a step of u = σ⁻¹(s)."""

    def damping(self, state: Node) -> Tensor | None:
        """Length of the damped update of a state with unary edges, relative to a full step; None without damping."""

    def lerp(self, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
        """Start + step · (end − start)."""

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """⟨a, b⟩ per example, (batch,)."""

    def add(self, name: Literal["phi", "own"], value: Tensor) -> None:
        """Add a value, (batch,), to Φ (``phi``) or to Σ G (``own``) of F = Σ G − Φ."""
