"""The oracle: Φ written down in float64 and differentiated by autograd.

Nothing here is fast and nothing here is shared with the engine. The maps A_e, the activations σ, their
self-energies G and the costs C are written a second time, from the mathematics, so that an error in the
fast path cannot hide in the test that looks for it. Of an edge kind or an activation only the *options*
(stride, scale, α) are read. Equation numbers are the paper's.

For a network with clamped input x, free states s^n and edges e = (i, j, w_e)::

    Φ(x, s, θ) = Σ_e ⟨s^j, A_e s^i⟩ + Σ_n ⟨b_n, s^n⟩ + Σ_e φ_e(s^n)      (the last of edges that act on one state)
    F(x, s, θ) = Σ_n G_n(s^n) − Φ,           G_n′ = σ_n⁻¹
    s^n ← σ_n(∂Φ/∂s^n − β ∂C/∂s^n)           (Eq. 10, 11; the second term at the output only)
    ∂L/∂θ ≈ −(1/2β) [∂Φ/∂θ(s^β) − ∂Φ/∂θ(s^−β)]   (Eq. 5)

A set of states is a dict from name to a float64 tensor ``(batch, *shape)``; the input is not among them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from epgraph.activations import Activation, Logistic, ReLU, Softclip, Tanh
from epgraph.activations import Identity as IdentityActivation
from epgraph.costs import COSTS
from epgraph.graph import Edge, NetworkGraph
from epgraph.kinds import Conv, ConvTranspose, Dense, EdgeKind, Identity, Lateral, Memory, Pool, Self, Skip

States = dict[str, Tensor]
"""States by name, each ``(batch, *shape)`` in float64."""

Gradients = dict[str, Tensor]
"""Gradients by the name of the parameter, each of the parameter's shape."""

Classes = Sequence[Sequence[str]]
"""Names of states that move simultaneously, class after class: one pass is a sweep."""

Sides = tuple[int, int]
"""Rows and columns."""

Estimator = Literal["centered", "positive", "negative"]

_ROWS_AT_ONCE = 128

_NODES = 200
"""Points of the quadrature that gives the dilogarithm."""


def convolve(
    s: Tensor, weight: Tensor, stride: Sides, padding: Sides, dilation: Sides = (1, 1), groups: int = 1
) -> Tensor:
    """Write out w ⋆ s (Eq. 7).

    ``z[b, o, p, q] = Σ_{c,u,v} w[o, c, u, v] · s̄[b, c, p·stride + u·dilation, q·stride + v·dilation]``, with s̄ the
    source in a frame of ``padding`` zeros, and c in the group of channels that o belongs to.

    Parameters
    ----------
    s
        Source, (batch, channels, height, width).
    weight
        (O, channels of a group, kernel rows, kernel columns).

    Returns
    -------
    Tensor
        (batch, O, ⌊(height + 2·padding − dilation·(kernel − 1) − 1)/stride⌋ + 1, likewise for the width).
    """
    (up, left), (down, across), (apart, aside) = padding, stride, dilation
    tall, wide = (step * (taps - 1) + 1 for step, taps in zip(dilation, weight.shape[2:], strict=True))
    patches = pad(s, (left, left, up, up)).unfold(2, tall, down).unfold(3, wide, across)[..., ::apart, ::aside]
    patches = patches.permute(0, 2, 3, 1, 4, 5)
    # Not a matrix product: that rounds equal patches to different values, and then it is an accident which
    # pixel of a saturated, constant region max pooling picks.
    made = [
        (patch.flatten(3).unsqueeze(1) * part.flatten(1)[:, None, None]).sum(-1)
        for patch, part in zip(patches.chunk(groups, 3), weight.chunk(groups), strict=True)
    ]
    return torch.cat(made, 1)


def scatter(
    s: Tensor, weight: Tensor, size: Sides, stride: Sides, padding: Sides, dilation: Sides, groups: int
) -> Tensor:
    """Write out the transposed convolution: every source pixel puts its kernel into the target.

    ``z[b, o, p·stride + u·dilation − padding, …] += w[c, o, u, …] · s[b, c, p, …]``; what falls outside is lost.

    Parameters
    ----------
    s
        Source, (batch, channels, height, width).
    weight
        (channels, target channels of a group, kernel rows, kernel columns).
    size
        Height and width of the result.
    """
    (down, across), (up, left), (apart, aside) = stride, padding, dilation
    (rows, columns), (tall, wide) = s.shape[2:], weight.shape[2:]
    reach = max(size[0] + up, (rows - 1) * down + apart * (tall - 1) + 1)
    width = max(size[1] + left, (columns - 1) * across + aside * (wide - 1) + 1)
    made = []
    for part, own in zip(s.chunk(groups, 1), weight.chunk(groups), strict=True):
        frame = torch.zeros(len(s), own.shape[1], reach, width, dtype=s.dtype)
        for u in range(tall):
            for v in range(wide):
                put = (part.unsqueeze(2) * own[:, :, u, v][:, :, None, None]).sum(1)
                y, x = apart * u, aside * v
                places = (slice(y, y + down * (rows - 1) + 1, down), slice(x, x + across * (columns - 1) + 1, across))
                spread = torch.zeros_like(frame)
                spread[:, :, places[0], places[1]] = put
                frame = frame + spread
        made.append(frame[:, :, up : up + size[0], left : left + size[1]])
    return torch.cat(made, 1)


def pool(z: Tensor, how: Literal["max", "average"], window: Sides = (2, 2)) -> Tensor:
    """P(z): mean, or first largest value in row-major order, of each window.

    What fills no window belongs to none. ``z`` is (batch, channels, height, width).
    """
    (tall, wide) = window
    windows = z.unfold(2, tall, tall).unfold(3, wide, wide).flatten(4)
    if how == "average":
        return windows.mean(-1)
    first = windows.detach().argmax(-1, keepdim=True)
    return windows.gather(-1, first).squeeze(-1)


def sides(option: int | Sequence[int]) -> Sides:
    """Rows and columns of an option that is one number for both, or two."""
    rows, columns = [option] * 2 if isinstance(option, int) else option
    return rows, columns


def interaction(edge: Edge, weight: Tensor | None, s: Tensor, t: Tensor) -> Tensor:
    """Return ⟨t, A_e s⟩ of each example (Eq. 7, 9), the edge's contribution to Φ.

    Parameters
    ----------
    weight
        None for an identity edge.
    s, t
        Source and target state, (batch, *shape).

    Returns
    -------
    Tensor
        (batch,)
    """
    if isinstance(edge.kind, Self) and weight is not None:
        return quadratic(edge.kind, weight, s)
    if isinstance(edge.kind, Memory) and weight is not None:
        rows = s.flatten(2) if edge.kind.per_pixel else s.flatten(1).unsqueeze(2)
        scores = edge.kind.sharpness * torch.einsum("pc,bcn->bpn", weight, rows)
        return scores.logsumexp(1).sum(1) / edge.kind.sharpness
    image = mapped(edge.kind, weight, s, tuple(t.shape[1:]))
    return (t.flatten(1) * image.flatten(1)).sum(1)


def mapped(kind: EdgeKind, weight: Tensor | None, s: Tensor, target: tuple[int, ...]) -> Tensor:
    """A_e s of a source state (batch, *shape), in any shape with the units of ``target`` in their order."""
    if isinstance(kind, Identity):
        return kind.scale * s
    if isinstance(kind, Pool):
        return pool(s, kind.kind, sides(kind.size))
    if weight is None:
        raise TypeError(f"the oracle does not know the edge kind '{kind.name}'; write its A_e down here")
    if isinstance(kind, Dense) and kind.rank is not None:
        units = math.prod(target)
        u, v = weight[:units], weight[units:]
        return torch.einsum("ok,ik,bi->bo", u, v, s.flatten(1))
    if isinstance(kind, Dense) or (isinstance(kind, Lateral) and kind.kernel is None):
        return torch.einsum("oi,bi->bo", weight, s.flatten(1))
    if isinstance(kind, Lateral):
        tall, wide = weight.shape[2:]
        return convolve(s, weight, (1, 1), (tall // 2, wide // 2))
    if isinstance(kind, Skip):
        return convolve(s, weight, sides(kind.stride), (0, 0))
    if isinstance(kind, Conv):
        groups = s.shape[1] // weight.shape[1]
        dilation = sides(kind.dilation)
        if kind.padding == "same":
            tall, wide = (apart * (taps - 1) for apart, taps in zip(dilation, weight.shape[2:], strict=True))
            padding = (tall // 2, wide // 2)
        else:
            padding = sides(kind.padding)
        image = convolve(s, weight, sides(kind.stride), padding, dilation, groups)
        return pool(image, kind.pool) if kind.pool else image
    if isinstance(kind, ConvTranspose):
        groups = target[0] // weight.shape[1]
        stride, padding, dilation = (sides(option) for option in (kind.stride, kind.padding, kind.dilation))
        return scatter(s, weight, (target[1], target[2]), stride, padding, dilation, groups)
    raise TypeError(f"the oracle does not know the edge kind '{kind.name}'; write its A_e down here")


def quadratic(kind: Self, w: Tensor, s: Tensor) -> Tensor:
    """½⟨s, W s⟩ of each example, from w as it is: a quadratic form does not see what is not symmetric."""
    if kind.kernel is None:
        v = s.flatten(1)
        whole, own = torch.einsum("bi,ij,bj->b", v, w, v), (w.diagonal() * v**2).sum(1)
    else:
        middle = kind.kernel // 2
        whole = (s * convolve(s, w, (1, 1), (middle, middle))).flatten(1).sum(1)
        diagonal = w[:, :, middle, middle].diagonal()
        own = (s.flatten(2).square().sum(2) * diagonal).sum(1)
    return (whole - own if kind.zero_diagonal else whole) / 2


def concavity(kind: Self, w: Tensor, shape: tuple[int, ...]) -> float:
    """Return a bound of ‖W‖: (Σ |λ|³²)^{1/32} over the eigenvalues λ of W, or of its largest Fourier component.

    Those of a convolution are taken at the frequencies of a torus as large as the image and half of the kernel, whose
    taps reach from pixel to pixel of the image at most.
    """
    if kind.kernel is None:
        symbols, diagonal = [w.to(torch.complex128)], w.diagonal()
    else:
        middle = kind.kernel // 2
        diagonal = w[:, :, middle, middle].diagonal()
        offset = torch.arange(kind.kernel, dtype=torch.float64) - middle
        rows, columns = (n + min(middle, n - 1) for n in shape[1:])
        inside = (offset.abs()[:, None] < shape[1]) & (offset.abs() < shape[2])
        symbols = []
        for p, q in itertools.product(range(rows), range(columns)):
            angle = 2 * math.pi * (offset[:, None] * p / rows + offset * q / columns)
            symbols.append((w * torch.polar(inside.to(angle.dtype), angle)).sum((2, 3)))
    largest = 0.0
    for symbol in symbols:
        symmetric = (symbol + symbol.mH) / 2 - torch.diag(diagonal) * kind.zero_diagonal
        values = torch.linalg.eigvalsh(symmetric).abs()
        top = float(values.max())
        if top > 0:
            largest = max(largest, top * float(((values / top) ** 32).sum()) ** (1 / 32))
    return largest


def sigma(activation: Activation, a: Tensor, alpha: float) -> Tensor:
    """σ(a), elementwise; ``alpha`` is the clipping level of ReLUα. A user's own σ is called: there is no other."""
    if isinstance(activation, ReLU):
        return a.clamp(0.0, alpha)
    if isinstance(activation, IdentityActivation):
        return a.clone()
    if isinstance(activation, Tanh):
        return activation.height * (activation.slope / activation.height * a).tanh()
    if isinstance(activation, Logistic):
        return activation.height * (4 * activation.slope / activation.height * (a - activation.center)).sigmoid()
    if isinstance(activation, Softclip):
        k, zero = activation.sharpness, torch.zeros_like(a)
        return (torch.logaddexp(k * a, zero) - torch.logaddexp(k * (a - activation.alpha), zero)) / k
    return activation.apply_(a.clone(), alpha)


def slope(activation: Activation, a: Tensor, alpha: float) -> Tensor:
    """σ′(a), elementwise; zero at both kinks of ReLUα, whose units are active strictly inside (0, α)."""
    if isinstance(activation, ReLU):
        return ((a > 0) & (a < alpha)).to(a.dtype)
    if isinstance(activation, IdentityActivation):
        return torch.ones_like(a)
    if isinstance(activation, Tanh):
        return activation.slope * (activation.slope / activation.height * a).cosh().pow(-2)
    if isinstance(activation, Logistic):
        z = 4 * activation.slope / activation.height * (a - activation.center)
        return 4 * activation.slope * z.sigmoid() * (-z).sigmoid()
    if isinstance(activation, Softclip):
        k = activation.sharpness
        # λ(ka) − λ(k(a−α)), without the difference.
        low, high = k * a / 2, k * (a - activation.alpha) / 2
        return math.sinh(k * activation.alpha / 2) / (2 * low.cosh() * high.cosh())
    with torch.enable_grad():
        point = a.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(activation.apply_(point.clone(), alpha).sum(), point)
    return found


def steepest(activation: Activation) -> float:
    """max σ′, which is that in the middle of σ; of ReLUα and the identity 1."""
    if isinstance(activation, Tanh | Logistic):
        return activation.slope
    return 1.0


def self_energy(activation: Activation, s: Tensor, alpha: float = 0.0) -> Tensor:
    """G(s), elementwise, with G′ = σ⁻¹ on the range of σ: [0, α] for ReLUα, where the kinks do not show."""
    if isinstance(activation, ReLU | IdentityActivation):
        return s**2 / 2
    if isinstance(activation, Tanh):
        h, u = activation.height, s / activation.height
        return h**2 / activation.slope * (torch.xlogy(1 + u, 1 + u) + torch.xlogy(1 - u, 1 - u)) / 2
    if isinstance(activation, Logistic):
        h, u = activation.height, s / activation.height
        own = torch.xlogy(u, u) + torch.xlogy(1 - u, 1 - u)
        return activation.center * s + h**2 / (4 * activation.slope) * own
    if isinstance(activation, Softclip):
        k = activation.sharpness
        ends = dilogarithm((-k * s).exp()) + dilogarithm((-k * (activation.alpha - s)).exp())
        return s**2 / 2 + ends / k**2
    return activation.self_energy(s, alpha)


def dilogarithm(z: Tensor) -> Tensor:
    """Li₂(z) = −∫₀¹ ln(1 − zu)/u du for 0 ≤ z ≤ 1, by Gauss–Legendre quadrature in w, u = 1 − w⁶."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(_NODES))
    w = (nodes + 1) / 2
    u = 1 - w**6
    # 1 − zu = (1 − z) + z w⁶ keeps its digits where both are nearly 1.
    values = -((1 - z)[..., None] + z[..., None] * w**6).log() / u * 6 * w**5
    return values @ weights / 2


class Reference:
    """The definition of a network's mathematics, runnable.

    Parameters
    ----------
    graph
        The network.
    parameters
        A state dict: ``edges.<edge>.weight`` (OIHW, or (out, in)), ``states.<state>.bias`` (one number a
        channel, or a unit) and, where α is drawn or learnt, ``states.<state>.alpha`` (one number). Copied to
        float64 on the CPU; other names are ignored.

    Raises
    ------
    ValueError
        Where a parameter is missing or has the wrong shape.
    """

    def __init__(self, graph: NetworkGraph, parameters: Mapping[str, Tensor]) -> None:
        self.graph = graph
        owners = (e for e in graph.edges.values() if e.tied is None)
        wanted = {f"edges.{e.name}.weight": e.weight_shape for e in owners if e.weight_shape}
        wanted |= {f"states.{s.name}.bias": s.bias_shape for s in graph.states.values() if s.bias_shape}
        self.parameters = {name: _read(parameters, name, shape) for name, shape in wanted.items()}
        self._steps = {name: self._step(name) for name in graph.free}
        self._alpha = {}
        for name in graph.free:
            activation = graph.states[name].activation
            if activation.stored:
                level = _read(parameters, f"states.{name}.alpha", ())
                self._alpha[name] = level.item()
                if activation.learnt:
                    self.parameters[f"states.{name}.alpha"] = level
            else:
                self._alpha[name] = activation.alpha_range[0]

    def phi(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """Φ(x, s, θ) of each example, (batch,)."""
        return self._phi(self._with_input(x, states), self.graph.dynamic, self.parameters)

    def energy(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """F = Σ_n G_n(s^n) − Φ of each example, (batch,); without the nudging term βC."""
        own = sum(
            self_energy(self.graph.states[name].activation, states[name], self._alpha[name]).flatten(1).sum(1)
            for name in self.graph.dynamic
        )
        return own - self.phi(x, states)

    def cost(self, states: Mapping[str, Tensor], y: Tensor) -> Tensor:
        """C of each example, (batch,): ½‖s − y‖², or −Σ y ln softmax(s); ``y`` is (batch, *output shape).

        The softmax is over the units, or over the channels of every pixel. A user's own cost is called.
        """
        s, y = states[self.graph.output.name], y.to(torch.float64)
        name = self.graph.architecture.output.cost
        if name == "squared_error":
            return ((s - y) ** 2).flatten(1).sum(1) / 2
        if name in ("cross_entropy", "softmax_readout"):
            return (y.sum(1) * s.logsumexp(1) - (y * s).sum(1)).reshape(len(s), -1).sum(1)
        return COSTS[name].value(s, y)

    def logits(self, x: Tensor, states: Mapping[str, Tensor], parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Σ A_e s + b of a readout: what ⟨z, A_e s⟩ and ⟨z, b⟩ summed are linear in, differentiated by z."""
        out = self.graph.output
        now = self._with_input(x, states)
        with torch.enable_grad():
            z = torch.zeros(x.shape[0], *out.shape, dtype=torch.float64, requires_grad=True)
            read = self._phi({**now, out.name: z}, [out.name], parameters or self.parameters, self._outside)
            (found,) = torch.autograd.grad(read.sum(), z, create_graph=True)
        return found

    def zeros(self, batch: int) -> States:
        """All free states at zero, for ``batch`` examples."""
        return {
            name: torch.zeros(batch, *self.graph.states[name].shape, dtype=torch.float64) for name in self.graph.free
        }

    def update(
        self,
        x: Tensor,
        states: Mapping[str, Tensor],
        names: Collection[str],
        y: Tensor | None = None,
        beta: float = 0.0,
    ) -> States:
        """Move the states in ``names`` simultaneously (Eq. 10, 11): s ← σ(∂Φ/∂s − β ∂C/∂s).

        Both derivatives are taken at the states given, ∂C/∂s too (an explicit step). A state that acts on itself by a
        matrix W goes min(1, c/(1 + mκ)) of the way, with the ``concavity`` κ of W, m = max σ′ and c ``damping``.

        Returns
        -------
        dict
            All states: the moved ones new, the others as they were.
        """
        forces = self.forces(x, states, names, y, beta)
        moved = {name: self._sigma(name, a) for name, a in forces.items()}
        for name, s in moved.items():
            part = self._steps[name]
            moved[name] = states[name] + part * (s - states[name]) if part < 1 else s
        out = self.graph.output.name
        if self.graph.readout and out in names:
            moved[out] = self.logits(x, states).detach()
        return {**states, **moved}

    def forces(
        self,
        x: Tensor,
        states: Mapping[str, Tensor],
        names: Collection[str],
        y: Tensor | None = None,
        beta: float = 0.0,
    ) -> States:
        """Pre-activations ∂Φ/∂s − β ∂C/∂s of the states in ``names``, apart from a readout, which has none.

        A readout z pulls at the states that it is read off by −β ∂C(z)/∂z through A, taken at the z given: that of the
        states after the last sweep.
        """
        names = [name for name in names if name in self.graph.dynamic]
        if not names:
            return {}
        with torch.enable_grad():
            moving = {name: states[name].detach().requires_grad_() for name in names}
            now = self._with_input(x, {**states, **moving})
            drive = self._phi(now, names, self.parameters).sum()
            if beta and y is None:
                raise ValueError("nudging (beta ≠ 0) needs the target y")
            if beta and y is not None and self.graph.readout:
                z = states[self.graph.output.name].detach().requires_grad_()
                (pull,) = torch.autograd.grad(self.cost({self.graph.output.name: z}, y).sum(), z)
                drive = drive - beta * (pull * self.logits(x, {**states, **moving})).sum()
            elif beta and y is not None and self.graph.output.name in moving:
                drive = drive - beta * self.cost(now, y).sum()
            forces = torch.autograd.grad(drive, list(moving.values()))
        return dict(zip(moving, forces, strict=True))

    def relax(
        self,
        x: Tensor,
        classes: Classes,
        sweeps: int,
        states: Mapping[str, Tensor] | None = None,
        y: Tensor | None = None,
        beta: float = 0.0,
    ) -> States:
        """Run ``sweeps`` sweeps from ``states``, or from zeros; a sweep updates each class once, in order."""
        now = self.zeros(x.shape[0]) if states is None else dict(states)
        for _ in range(sweeps):
            for names in classes:
                now = self.update(x, now, names, y, beta)
        return now

    def parameter_gradient(self, x: Tensor, states: Mapping[str, Tensor]) -> Gradients:
        """∂/∂θ of Φ summed over the batch, at fixed states.

        For a learnt α it is −∂F/∂α, with F minimised over the box [0, α]: the sum of ∂Φ/∂s − α over the units that
        their drive holds at α.
        """
        with torch.enable_grad():
            parameters = {name: p.detach().requires_grad_() for name, p in self.parameters.items()}
            leaf = {name: states[name].detach().requires_grad_() for name in self.graph.dynamic}
            if not leaf:
                return {name: torch.zeros_like(p) for name, p in parameters.items()}
            total = self._phi(self._with_input(x, leaf), self.graph.dynamic, parameters).sum()
            drives = dict(zip(leaf, torch.autograd.grad(total, list(leaf.values()), retain_graph=True), strict=True))
            found = _gradients(total, parameters)
        for name in self._learnt:
            level = self._alpha[name]
            found[f"states.{name}.alpha"] = sum((a - level for a in drives[name].flatten() if a > level), _zero())
        return found

    def ep_gradient(
        self,
        x: Tensor,
        y: Tensor,
        classes: Classes,
        free_steps: int,
        nudged_steps: int,
        beta: float,
        estimator: Estimator = "centered",
    ) -> Gradients:
        """Estimate the gradient of the batch mean of the loss by equilibrium propagation.

        The nudged phases all start where the free phase, from zeros, has ended (s*).

        Parameters
        ----------
        beta
            Nudging strength β > 0; the sign comes from the estimator.
        estimator
            ``centered``: −(1/2β)[∂Φ/∂θ(s^β) − ∂Φ/∂θ(s^−β)] (Eq. 5);
            ``positive``: −(1/β)[∂Φ/∂θ(s^β) − ∂Φ/∂θ(s*)] (Eq. 4);
            ``negative``: −(1/β)[∂Φ/∂θ(s*) − ∂Φ/∂θ(s^−β)].
        """
        free = self.relax(x, classes, free_steps)
        upper = 0.0 if estimator == "negative" else beta
        lower = 0.0 if estimator == "positive" else -beta
        ends = [
            self.parameter_gradient(x, self.relax(x, classes, nudged_steps, free, y, b) if b else free)
            for b in (upper, lower)
        ]
        scale = -1 / ((upper - lower) * x.shape[0])
        found = {name: scale * (ends[0][name] - ends[1][name]) for name in self.parameters}
        return found | self._local_gradient(x, y, free)

    def _local_gradient(self, x: Tensor, y: Tensor, states: Mapping[str, Tensor]) -> Gradients:
        """∂/∂θ of the mean cost of a readout at fixed states, for its own parameters; empty without one."""
        if not self.graph.readout:
            return {}
        with torch.enable_grad():
            own = {name: self.parameters[name].detach().requires_grad_() for name in self._read_off}
            now = {**states, self.graph.output.name: self.logits(x, states, {**self.parameters, **own})}
            return _gradients(self.cost(now, y).mean(), own) if own else {}

    def implicit_gradient(self, x: Tensor, y: Tensor, states: Mapping[str, Tensor]) -> Gradients:
        """Return the exact gradient of the batch mean of the loss: s = σ(∂Φ/∂s) differentiated implicitly.

        With D = diag σ′(∂Φ/∂s), the Hessian of F over the units with σ′ > 0 is H = D⁻¹ − ∂²Φ/∂s². Then
        H λ = ∂C/∂s, and the gradient is ∂/∂θ ⟨λ, ∂Φ/∂s⟩ with λ held. The system is solved as
        (1 − ∂²Φ/∂s² D) μ = ∂C/∂s with λ = D μ, which stays finite where units saturate.

        Parameters
        ----------
        states
            The free equilibrium for ``x``; dense matrices over the units of one example are formed.
        """
        if not self.graph.dynamic:
            return self._local_gradient(x, y, states)
        with torch.enable_grad():
            leaf = {name: states[name].detach().requires_grad_() for name in self.graph.dynamic}
            seen = {**leaf, self.graph.output.name: self.logits(x, leaf)} if self.graph.readout else leaf
            total = self.cost(seen, y).sum()
            pulls = torch.autograd.grad(total, list(leaf.values()), materialize_grads=True)
        adjoint = torch.cat([pull.flatten(1) for pull in pulls], dim=1)
        for k in range(x.shape[0]):
            index, d, coupling = self._curvature(x[k : k + 1], {n: s[k : k + 1] for n, s in states.items()})
            system = torch.eye(len(index), dtype=torch.float64) - coupling * d
            mu = torch.linalg.solve(system, adjoint[k, index])
            adjoint[k] = torch.zeros_like(adjoint[k]).index_copy(0, index, d * mu)
        with torch.enable_grad():
            parameters = {name: p.detach().requires_grad_() for name, p in self.parameters.items()}
            total = self._phi(self._with_input(x, leaf), self.graph.dynamic, parameters).sum()
            forces = torch.autograd.grad(total, list(leaf.values()), create_graph=True)
            paired = (adjoint * torch.cat([f.flatten(1) for f in forces], dim=1)).sum() / x.shape[0]
            moved = torch.autograd.grad(paired, list(leaf.values()), retain_graph=True, materialize_grads=True)
            found = _gradients(paired, parameters)
        # A unit held at α moves with it: ds/dα = 1 there, and ∂C/∂s + ∂²Φ/∂s² λ is what the loss makes of that.
        felt = {name: g + pull / x.shape[0] for name, g, pull in zip(leaf, moved, pulls, strict=True)}
        for name in self._learnt:
            held = forces[list(leaf).index(name)].detach() > self._alpha[name]
            found[f"states.{name}.alpha"] = felt[name][held].sum()
        return found | self._local_gradient(x, y, states)

    def residual(self, x: Tensor, states: Mapping[str, Tensor]) -> float:
        """Return the largest ‖σ(∂Φ/∂s) − s‖/‖s‖ of the examples, all states moving at once."""
        moved = self._flat(self.update(x, states, self.graph.free))
        now = self._flat(states)
        tiny = torch.finfo(torch.float64).tiny
        return float(((moved - now).norm(dim=1) / now.norm(dim=1).clamp(min=tiny)).max())

    def coupling_radius(self, x: Tensor, states: Mapping[str, Tensor]) -> float:
        """Return the largest |eigenvalue| of D^½ (∂²Φ/∂s²) D^½, D = diag σ′(∂Φ/∂s), of all examples.

        Below 1 the synchronous update contracts near ``states``, and F is strictly convex there. Forms dense
        matrices over the units of one example.
        """
        radius = 0.0
        for k in range(x.shape[0]):
            _, d, coupling = self._curvature(x[k : k + 1], {n: s[k : k + 1] for n, s in states.items()})
            if len(d):
                root = d.sqrt()
                values = torch.linalg.eigvalsh(root[:, None] * coupling * root)
                radius = max(radius, float(values.abs().max()))
        return radius

    def loss(self, x: Tensor, y: Tensor, classes: Classes, sweeps: int) -> float:
        """Mean cost after ``sweeps`` free sweeps from zeros."""
        return float(self.cost(self.relax(x, classes, sweeps), y).mean())

    @property
    def _learnt(self) -> list[str]:
        return [name for name in self.graph.free if f"states.{name}.alpha" in self.parameters]

    @property
    def _outside(self) -> list[Edge]:
        """Edges of a readout."""
        return [edge for edge in self.graph.edges.values() if self.graph.reads_out(edge)]

    @property
    def _read_off(self) -> list[str]:
        """Parameters of a readout."""
        names = [_weight_of(e) for e in self._outside] + [f"states.{self.graph.output.name}.bias"]
        return [name for name in names if name in self.parameters]

    def _step(self, name: str) -> float:
        """Part of the way that updates of a state go: 1, but for a state that acts on itself."""
        state, c = self.graph.states[name], self.graph.architecture.dynamics.damping
        own = [e for e in self.graph.edges.values() if e.source == e.target == name]
        bounds = [
            concavity(e.kind, self.parameters[_weight_of(e)], state.shape) for e in own if isinstance(e.kind, Self)
        ]
        return 1.0 if c is None or not bounds else min(1.0, c / (1 + steepest(state.activation) * sum(bounds)))

    def _sigma(self, name: str, a: Tensor) -> Tensor:
        return sigma(self.graph.states[name].activation, a, self._alpha[name])

    def _with_input(self, x: Tensor, states: Mapping[str, Tensor]) -> States:
        return {self.graph.input.name: x.to(torch.float64), **states}

    def _flat(self, states: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([states[name].flatten(1) for name in self.graph.dynamic], dim=1)

    def _phi(
        self,
        states: Mapping[str, Tensor],
        touching: Iterable[str],
        parameters: Mapping[str, Tensor],
        edges: Iterable[Edge] | None = None,
    ) -> Tensor:
        """Sum the terms of Φ in which a state of ``touching`` stands, per example; ``edges`` in place of those in Φ."""
        moving = frozenset(touching)
        inside = [edge for edge in self.graph.edges.values() if not self.graph.reads_out(edge)]
        terms = [
            interaction(edge, parameters.get(_weight_of(edge)), states[edge.source], states[edge.target])
            for edge in (inside if edges is None else edges)
            if edge.ends & moving
        ]
        for name in self.graph.free:
            bias = parameters.get(f"states.{name}.bias")
            if name in moving and bias is not None:
                s = states[name]
                terms.append(s.reshape(s.shape[0], len(bias), -1).sum(2) @ bias)
        return torch.stack(terms).sum(0)

    def _curvature(self, x: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the active units of one example, their σ′(a) and the block of ∂²Φ/∂s² between them.

        Units are counted through all states of the dynamics, flattened, in the order of ``graph.dynamic``.
        """
        moving = self.graph.dynamic
        shapes = [self.graph.states[name].shape for name in moving]
        sizes = [self.graph.states[name].units for name in moving]
        with torch.enable_grad():
            v = self._flat(states)[0].detach().requires_grad_()
            parts = [part.view(1, *shape) for part, shape in zip(v.split_with_sizes(sizes), shapes, strict=True)]
            now = self._with_input(x, dict(zip(moving, parts, strict=True)))
            (force,) = torch.autograd.grad(self._phi(now, moving, self.parameters).sum(), v, create_graph=True)
            # Without an edge between free states the force does not depend on v, and autograd would refuse.
            force = force + 0 * v
        slopes = torch.cat(
            [
                slope(self.graph.states[name].activation, a, self._alpha[name])
                for name, a in zip(moving, force.detach().split_with_sizes(sizes), strict=True)
            ]
        )
        index = slopes.nonzero().flatten()
        coupling = torch.zeros(len(index), len(index), dtype=torch.float64)
        for start in range(0, len(index), _ROWS_AT_ONCE):
            some = index[start : start + _ROWS_AT_ONCE]
            pick = one_hot(some, len(v)).to(v.dtype)
            (rows,) = torch.autograd.grad(force, v, pick, retain_graph=True, is_grads_batched=True)
            coupling[start : start + len(some)] = rows[:, index]
        return index, slopes[index], coupling


def _weight_of(edge: Edge) -> str:
    return f"edges.{edge.name if edge.tied is None else edge.tied}.weight"


def _zero() -> Tensor:
    return torch.zeros((), dtype=torch.float64)


def _read(parameters: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in parameters:
        raise ValueError(f"the parameter '{name}' is missing")
    value = parameters[name].detach().to("cpu", torch.float64, copy=True)
    if tuple(value.shape) != shape:
        raise ValueError(f"the parameter '{name}' has shape {tuple(value.shape)}, expected {shape}")
    return value


def _gradients(scalar: Tensor, parameters: Mapping[str, Tensor]) -> Gradients:
    found = torch.autograd.grad(scalar, list(parameters.values()), materialize_grads=True)
    return dict(zip(parameters, found, strict=True))
