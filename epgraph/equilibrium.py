"""The bridge to torch: an equilibrium as a module whose ``backward`` is EP.

Autograd hands the module v = ∂L/∂s of the states that it returned. EP nudges them by the linear cost C(s) = ⟨v, s⟩,
whose gradient at the equilibrium is that of L, and which is free of scale: with v̂ = v/‖v‖ and force ∓βv̂ per example ::

    ∂L/∂θ ≈ −Σ ‖v‖ (1/2β) [∂Φ/∂θ(s⁺) − ∂Φ/∂θ(s⁻)],      ∂L/∂x ≈ −‖v‖ (1/2β) [∂Φ/∂x(s⁺) − ∂Φ/∂x(s⁻)]

A cotangent of any size, say with the 1/batch of a mean, thus nudges by β, and float32 does not drown it. ``implicit``
nudges nothing: it solves for the adjoint λ of v and differentiates ⟨λ, ∂Φ/∂s⟩ (``linearize``).

θ are the values that the forward pass used (``parameters``). Autograd carries ∂L/∂θ on to what they were computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from epgraph.arguments import flag, instance, several, text
from epgraph.engine import Engine
from epgraph.errors import EpgraphError, nearest
from epgraph.graph import check_rule
from epgraph.linearization.differentiable_sweep import DifferentiableSweep, add_gradients
from epgraph.linearization.linearize import Adjoint, Linearisation
from epgraph.runtime.apart import apart
from epgraph.runtime.arguments import phase_steps, strength
from epgraph.runtime.executor import Executor
from epgraph.runtime.gradients import Gradients
from epgraph.runtime.parameters import Parameters
from epgraph.runtime.phases import Pull, make_pair, per_example
from epgraph.runtime.relaxation import Clamped, Relaxation, States


@dataclass(frozen=True)
class Equilibrated:
    """What a backward pass starts from: the free equilibrium, and how the phases are run.

    Attributes
    ----------
    clamped, free
        The clamped input with the parameters, of which those are trained whose gradient is wanted; and the free states,
        which are not to be written into.
    beta
        Strength of the nudge, positive.
    """

    executor: Executor
    clamped: Clamped
    free: States
    beta: float
    nudged_steps: int
    tolerance: float

    def pulled(self, forces: States, beta: float, *, pair: bool = False) -> States:
        """Relax from the free states under −β · force; with ``pair`` under both signs."""
        pull = Pull(forces, beta)
        return self.executor.run(self.clamped, self.free, self.nudged_steps, self.tolerance, pull, pair=pair).states


@dataclass(frozen=True)
class Cotangent:
    """What autograd hands back, ∂L/∂s.

    Attributes
    ----------
    directions, sizes
        ∂L/∂s of each example divided by its norm over all states, and that norm, (batch,).
    by_input
        Whether the gradient by the input is wanted.
    """

    directions: States
    sizes: Tensor
    by_input: bool


@dataclass(frozen=True)
class Found:
    """∂L/∂θ by the name of the parameter, ∂L/∂x where it was wanted, and how an adjoint system was solved."""

    parameters: Gradients
    by_input: Tensor | None = None
    adjoint: Adjoint | None = None


Rule = Callable[[Equilibrated, Cotangent], Found]


def centered(at: Equilibrated, cotangent: Cotangent) -> Found:
    """Contrast +β and −β, error O(β²)."""
    return _contrast(at, cotangent, at.pulled(cotangent.directions, at.beta, pair=True), -1.0 / at.beta)


def positive(at: Equilibrated, cotangent: Cotangent) -> Found:
    """Contrast +β and the free states, error O(β)."""
    return _one_sided(at, cotangent, at.beta)


def negative(at: Equilibrated, cotangent: Cotangent) -> Found:
    """Contrast the free states and −β, error O(β)."""
    return _one_sided(at, cotangent, -at.beta)


def implicit(at: Equilibrated, cotangent: Cotangent) -> Found:
    """Solve H λ = ∂L/∂s with the Hessian H of F, and take the derivatives of ⟨λ, ∂Φ/∂s⟩ with λ held: exact at rest."""
    learning, parameters = at.executor.architecture.learning, at.clamped.parameters
    about = Linearisation(at.executor, at.clamped.x, at.free, parameters)
    right = about.flat(cotangent.directions)
    weights, solved = about.adjoint(right, learning.solver_tolerance, learning.solver_steps)
    held = about.parts(weights * cotangent.sizes[:, None].to(weights))
    with torch.enable_grad():
        x = at.clamped.x.detach().requires_grad_(cotangent.by_input)
        plain = DifferentiableSweep(at.executor, x.to(about.plain.x.dtype), parameters)
        forces = plain.forces({name: s.detach() for name, s in about.states.items()})
    found: Gradients = {}
    inputs = [x] if cotangent.by_input else []
    by_inputs = add_gradients(found, plain, list(forces.values()), [held[name] for name in forces], inputs)
    return Found(found, by_inputs[0] if by_inputs else None, solved)


def _one_sided(at: Equilibrated, cotangent: Cotangent, beta: float) -> Found:
    nudged = at.pulled(cotangent.directions, beta)
    return _contrast(at, cotangent, {name: make_pair(s, at.free[name]) for name, s in nudged.items()}, -2.0 / beta)


def _contrast(at: Equilibrated, cotangent: Cotangent, pairs: States, factor: float) -> Found:
    weights = factor * cotangent.sizes
    found = dict(at.executor.contrasts.by_parameters(at.clamped, pairs, weights))
    if not cotangent.by_input:
        return Found(found)
    by_input = at.executor.contrasts.by_input(at.clamped, pairs)
    return Found(found, by_input.mul_(per_example(weights, by_input)))


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (centered, positive, negative, implicit)}
"""Every estimator that the bridge knows, by name."""


class Equilibrium(nn.Module):
    """An engine between ordinary torch layers: relaxes in ``forward``, runs EP in ``backward``.

    Its parameters are the engine's, so that optimisers, ``state_dict``, ``to``, deep copies and pickles work as usual,
    in a plain loop or inside Lightning and Accelerate. Gradients flow to all parameters and to the input; they are
    those of the loss at the equilibrium, up to what β, unsettled sweeps and kinks cost. They go on through
    parametrizations and pruning, and through ``torch.func.functional_call`` to whatever its tensors were computed from.
    ``torch.func.grad`` and ``vjp`` work; second derivatives, forward mode and ``vmap`` are refused.

    Parameters
    ----------
    engine
        What ``epgraph.compile`` returns.
    estimator
        ``centered``, ``positive``, ``negative`` or ``implicit``; left out, ``learning.estimator``.
    beta
        Strength of the nudge for a cotangent of norm 1; left out, ``learning.beta``.
    free_steps, nudged_steps, tolerance
        As for ``Engine.backward``; left out, those of ``dynamics``.
    warm_start
        While training, start from the states of the previous batch where it had the same size, instead of zeros.

    Attributes
    ----------
    relaxation
        How the last forward pass settled: steps, residuals and status, without the states; None before the first.
    adjoint
        How the last backward pass of ``implicit`` solved its system; None before the first.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        estimator: str | None = None,
        beta: float | None = None,
        free_steps: int | None = None,
        nudged_steps: int | None = None,
        tolerance: float | None = None,
        warm_start: bool = False,
    ) -> None:
        super().__init__()
        self.engine = engine = instance("engine", engine, Engine, "epgraph.compile makes one")
        learning, dynamics = engine.architecture.learning, engine.architecture.dynamics
        self.estimator = learning.estimator if estimator is None else text("estimator", estimator)
        if self.estimator not in RULES:
            raise EpgraphError(
                f"estimator '{self.estimator}' cannot run inside autograd", nearest(self.estimator, list(RULES))
            )
        check_rule(engine.graph, self.estimator)
        refuse(engine)
        self.beta = strength("beta", learning.beta if beta is None else beta, engine.dtype)
        steps = phase_steps(dynamics, free_steps, nudged_steps, tolerance)
        self.free_steps, self.nudged_steps, self.tolerance = steps.free, steps.nudged, steps.tolerance
        self.warm_start = flag("warm_start", warm_start)
        self.relaxation: Relaxation | None = None
        self.adjoint: Adjoint | None = None
        self._last: States = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return the output state at the equilibrium, (batch, classes), for an input (batch, *input shape)."""
        name = self.engine.graph.output.name
        return self.states(x, [name])[name]

    def states(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return states of any names at the equilibrium, each (batch, *shape); a loss may depend on all of them."""
        free = self.engine.graph.free
        names = tuple(dict.fromkeys(text("a state's name", name) for name in several("names", names)))
        for name in names:
            if name not in free:
                raise EpgraphError(f"there is no state '{name}' that moves", nearest(name, free))
        if not names:
            raise EpgraphError("names is empty", f"name one state or more, e.g. '{free[-1]}'")
        refuse(self.engine)
        origins = self.engine.origins()
        call = _Call(self, tuple(dict.fromkeys(names)), tuple(origins))
        found = _Equilibrate.apply(call, x, *origins.values())
        return dict(zip(call.names, found, strict=True))

    def extra_repr(self) -> str:
        """Return what ``print`` shows besides the engine."""
        return f"estimator={self.estimator}, beta={self.beta:g}"

    def _settle(self, x: Tensor, parameters: Parameters) -> Equilibrated:
        executor = self.engine.executor
        fits = self.warm_start and self.training and all(len(s) == len(x) for s in self._last.values())
        start = executor.inputs.start(x, self._last if fits else None)
        clamped = executor.clamp(x, parameters)
        found = executor.run(clamped, start, self.free_steps, self.tolerance, donate=True)
        self.relaxation = replace(found, states={})
        if self.warm_start and self.training:
            self._last = found.states
        return Equilibrated(executor, clamped, found.states, self.beta, self.nudged_steps, self.tolerance)


@dataclass
class _Call:
    """One forward pass: the states that are asked for, the names of the parameters, and what backward passes need."""

    module: Equilibrium
    names: tuple[str, ...]
    parameters: tuple[str, ...]
    at: Equilibrated | None = None

    def settle(self, x: Tensor, values: Sequence[Tensor]) -> States:
        """Relax, and return the states asked for."""
        # Here, where no transform of torch.func is in the way of looking at values.
        x = self.module.engine.executor.inputs.check_input(x).detach()
        # Detached, they keep the memory that they have now, whatever ``p.data`` becomes.
        held = {name: value.detach() for name, value in zip(self.parameters, values, strict=True)}
        with _exact(x):
            self.at = self.module._settle(x, Parameters(held, frozenset()))
        return {name: self.at.free[name] for name in self.names}

    def gradients(self, x: Tensor, cotangents: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
        """∂L/∂x (on the device and in the precision of x) and ∂L/∂θ where they are wanted, in this order."""
        assert self.at is not None
        by_input, *of_parameters = wanted
        trained = [name for name, w in zip(self.parameters, of_parameters, strict=True) if w]
        parameters = replace(self.at.clamped.parameters, trained=frozenset(trained))
        at = replace(self.at, clamped=replace(self.at.clamped, parameters=parameters))
        with torch.no_grad(), _exact(at.clamped.x):
            directions, sizes = _normalised(dict(zip(self.names, cotangents, strict=True)))
            found = RULES[self.module.estimator](at, Cotangent(directions, sizes, by_input))
        self.module.adjoint = found.adjoint
        first = [] if found.by_input is None else [found.by_input.to(x)]
        return [*first, *(found.parameters[name] for name in trained)]


class _Function(torch.autograd.Function):
    """Refuses the transforms that EP has no answer to."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> NoReturn:
        raise EpgraphError(
            "torch.vmap cannot go through an Equilibrium, which updates its states in place",
            "give it all examples as one batch, and call it once for each set of parameters or each cotangent",
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> NoReturn:
        raise EpgraphError(
            "an Equilibrium has no forward-mode derivatives: EP estimates products with cotangents only",
            "use backward, torch.autograd.grad, torch.func.grad or torch.func.vjp",
        )


class _Equilibrate(_Function):
    """x, θ ↦ states at the free equilibrium."""

    @staticmethod
    def forward(call: _Call, x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        # Copies: what is done to a state that was returned must not reach the nudged phases.
        return tuple(state.clone() for state in call.settle(x, values).values())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.call, *tensors = inputs
        # For torch's own check that nothing was written into them before the backward pass.
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        found = iter(_Differentiate.apply(ctx.call, wanted, *ctx.saved_tensors, *cotangents))
        return (None, *(next(found) if w else None for w in wanted))


class _Differentiate(_Function):
    """x, θ, ∂L/∂s ↦ ∂L/∂x, ∂L/∂θ. Autograd records it only where somebody asks for it (``create_graph``)."""

    @staticmethod
    def forward(call: _Call, wanted: Sequence[bool], *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(call.gradients(tensors[0], tensors[-len(call.names) :], wanted))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep nothing: there is no way back."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> NoReturn:
        raise EpgraphError(
            "the gradients of an Equilibrium cannot be differentiated again: EP estimates first derivatives only",
            "leave out create_graph=True, or take finite differences of the gradients",
        )


def refuse(engine: Engine) -> None:
    """Raise where the states that move do not hold all that a loss outside depends on."""
    graph = engine.graph
    if graph.readout:
        raise EpgraphError(
            f"the output '{graph.output.name}' is read off outside the dynamics, and cannot be nudged from outside",
            "use cost: squared_error, or return the states that it is read off and put a torch layer on them",
        )
    for name in engine.learnt:
        if not engine.states[name].alpha.requires_grad:
            continue
        raise EpgraphError(
            f"state '{name}' learns its level α from the contrast of a batch, and not example by example",
            "give it a fixed level, e.g. relu6",
        )


def _normalised(cotangents: States) -> tuple[States, Tensor]:
    """Divide by the norm of each example over all states, (batch,), and return it as well; zeros stay zeros."""
    flat = torch.cat([v.flatten(1) for v in cotangents.values()], dim=1)
    # By the largest first: squares of small numbers underflow.
    largest = flat.abs().amax(dim=1)
    inside = largest.clamp_min(torch.finfo(flat.dtype).tiny)
    scaled = {name: v / per_example(inside, v) for name, v in cotangents.items()}
    norm = (flat / inside[:, None]).norm(dim=1)
    unit = {name: v / per_example(norm.clamp_min(1.0), v) for name, v in scaled.items()}
    return unit, largest * norm


def _exact(x: Tensor) -> AbstractContextManager[None]:
    """Autograd, autocast and inference mode off: the engine computes by itself."""
    return apart(x.device.type)
