"""The bridge to torch: an equilibrium as a module whose ``backward`` is EP.

Autograd hands the module v = ∂L/∂s of the states that it returned. EP nudges them by the linear cost C(s) = ⟨v, s⟩,
whose gradient at the equilibrium is that of L, and which is free of scale: with v̂ = v/‖v‖ and force ∓βv̂ per example ::

    ∂L/∂θ ≈ −Σ ‖v‖ (1/2β) [∂Φ/∂θ(s⁺) − ∂Φ/∂θ(s⁻)],      ∂L/∂x ≈ −‖v‖ (1/2β) [∂Φ/∂x(s⁺) − ∂Φ/∂x(s⁻)]

A cotangent of any size, say with the 1/batch of a mean, thus nudges by β, and float32 does not drown it. ``implicit``
nudges nothing: it solves for the adjoint λ of v and differentiates ⟨λ, ∂Φ/∂s⟩ (``linearize``).

θ are the values that the forward pass used (``parameters``). Autograd carries ∂L/∂θ on to what they were computed from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from epgraph.arguments import flag, instance, several, text
from epgraph.engine import Engine
from epgraph.errors import EpgraphError, nearest
from epgraph.estimators import Estimate, GradientTask
from epgraph.graph import check_rule
from epgraph.learning_rules import ESTIMATORS, estimator_options
from epgraph.linearization.implicit import differentiate_implicitly
from epgraph.linearization.linearize import Adjoint, Linearization
from epgraph.runtime.apart import apart
from epgraph.runtime.arguments import phase_steps, strength
from epgraph.runtime.executor import Executor
from epgraph.runtime.gradients import add_gradient
from epgraph.runtime.parameters import Parameters
from epgraph.runtime.phases import Pull, per_example
from epgraph.runtime.relaxation import Clamped, Relaxation, States


@dataclass(frozen=True)
class Equilibrated:
    """What a backward pass starts from.

    Attributes
    ----------
    clamped, free
        The clamped input with the parameters, and the free equilibrium, which is not to be written into.
    """

    executor: Executor
    clamped: Clamped
    free: Relaxation


@dataclass(frozen=True)
class CotangentTask(GradientTask):
    """The gradient of Σ ‖v‖ ⟨v̂, s⟩ at a free equilibrium that is there already.

    Attributes
    ----------
    nudge
        The linear cost of the directions v̂ = ∂L/∂s divided by its norm over all states, for each example.
    free
        The free equilibrium.
    sizes
        That norm, (batch,).
    by_input
        The gradient by the input as a list of what adds up to it, where it is wanted.
    """

    nudge: Pull  # type: ignore[assignment]
    free: Relaxation = field(kw_only=True)
    sizes: Tensor = field(kw_only=True)
    by_input: list[Tensor] | None = field(kw_only=True)

    def emit_pair(self) -> None:
        """Emit nothing: the free phase is over."""

    def free_phase(self, *, local: bool = True) -> Relaxation:
        """Return the free equilibrium."""
        return self.free

    def contrast(
        self,
        pairs: States,
        scale: float,
        *,
        x: Tensor | None = None,
        wanted: Collection[str] | None = None,
        carried: Mapping[str, Tensor] | None = None,
        single: bool = False,
    ) -> None:
        """Add the contrasts by the parameters and by the input, each example times ‖v‖."""
        weights, contrasts = scale * self.sizes, self.executor.contrasts
        found = contrasts.by_parameters(self.clamped, pairs, weights, wanted, carried, single=single)
        for name, gradient in found:
            add_gradient(self.gradients, name, gradient)
        if self.by_input is not None:
            self.by_input.append(contrasts.by_input(self.clamped, pairs, weights, carried, single=single))

    def differentiate_implicitly(self, free: Relaxation, tolerance: float, steps: int) -> Adjoint:
        """Solve H λ = v̂ with the Hessian H of F, and take the derivatives of ‖v‖ ⟨λ, ∂Φ/∂s⟩ with λ held."""
        x = self.clamped.x
        about = Linearization(self.executor, x, free.states, self.clamped.parameters)
        solved, by_x = differentiate_implicitly(
            self.gradients,
            about,
            dict(self.nudge.forces),
            tolerance,
            steps,
            sizes=self.sizes,
            x=None if self.by_input is None else x,
        )
        if self.by_input is not None and by_x is not None:
            self.by_input.append(by_x)
        return solved

    def estimate(self, free: Relaxation, *nudged: Relaxation, energies: Tensor | None = None) -> Estimate:
        """Put together what was seen; the loss is the linear one."""
        parts = [(force * free.states[name]).flatten(1).sum(1) for name, force in self.nudge.forces.items()]
        output = free.states[self.executor.graph.output.name]
        return Estimate(self.sizes * sum(parts), output, free, nudged, energies)


class Equilibrium(nn.Module):
    """An engine between ordinary torch layers: relaxes in ``forward``, runs EP in ``backward``.

    Its parameters are the engine's, so that optimizers, ``state_dict``, ``to``, deep copies and pickles work as usual,
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
        usable = [name for name, rule in ESTIMATORS.items() if rule.any_cost]
        if self.estimator not in usable:
            hint = nearest(self.estimator, usable)
            if self.estimator in ESTIMATORS and ESTIMATORS[self.estimator].feedforward:
                hint = "it differentiates the feed-forward network, which does not relax; use implicit or centered"
            raise EpgraphError(f"estimator '{self.estimator}' cannot run inside autograd", hint)
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
        return Equilibrated(executor, clamped, found)

    def _differentiate(self, at: Equilibrated, directions: States, sizes: Tensor, *, by_input: bool) -> CotangentTask:
        """Run the estimator for a cotangent; the gradients are in the task that is returned."""
        task = CotangentTask(
            at.executor,
            at.clamped,
            Pull(directions, self.beta),
            {},
            0,
            self.nudged_steps,
            self.tolerance,
            {},
            options=estimator_options(self.estimator, self.engine.architecture.learning, {}),
            last=False,
            free=at.free,
            sizes=sizes,
            by_input=[] if by_input else None,
        )
        self.adjoint = ESTIMATORS[self.estimator](task).adjoint
        return task


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
        return {name: self.at.free.states[name] for name in self.names}

    def gradients(self, x: Tensor, cotangents: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
        """∂L/∂x (on the device and in the precision of x) and ∂L/∂θ where they are wanted, in this order."""
        assert self.at is not None
        by_input, *of_parameters = wanted
        trained = [name for name, w in zip(self.parameters, of_parameters, strict=True) if w]
        parameters = replace(self.at.clamped.parameters, trained=frozenset(trained))
        at = replace(self.at, clamped=replace(self.at.clamped, parameters=parameters))
        with torch.no_grad(), _exact(at.clamped.x):
            directions, sizes = _normalized(dict(zip(self.names, cotangents, strict=True)))
            task = self.module._differentiate(at, directions, sizes, by_input=by_input)
            first = [] if task.by_input is None else [torch.stack(task.by_input).sum(0).to(x)]
        return [*first, *(task.gradients[name] for name in trained)]


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


def _normalized(cotangents: States) -> tuple[States, Tensor]:
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
