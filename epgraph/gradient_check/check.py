"""What a gradient check needs: the network, its equilibrium, and each gradient once.

``sections`` makes the report of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from epgraph.compiling import compile
from epgraph.engine import Engine
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.gradient_check.agreement import named_by_edge
from epgraph.language import Architecture
from epgraph.learning_rules import ESTIMATORS
from epgraph.linearization.implicit import differentiate_implicitly, loss_force
from epgraph.linearization.linearize import Adjoint, Linearization
from epgraph.runtime.gradients import Gradients
from epgraph.runtime.phases import Nudge
from epgraph.runtime.relaxation import Relaxation, States, Status
from epgraph.solvers.error_sweeps import ErrorSweeps

PATIENCE = (20, 500)
"""The equilibrium is looked for in so many times the configured free sweeps, or in so many sweeps if that is more."""


@dataclass
class Check:
    """What is checked, and what several sections need.

    Attributes
    ----------
    engine
        The network with the weights to check at.
    x, y
        Examples: inputs, and labels or targets.
    quick
        Leave out how β and the numbers of sweeps change the gradient.
    steps
        Sweeps of the step-by-step comparison; 0 leaves it out.
    tick
        Called with what is done next.
    """

    engine: Engine
    x: Tensor
    y: Tensor
    quick: bool = False
    steps: int = 0
    tick: Callable[[str], None] = lambda what: None

    def __post_init__(self) -> None:
        architecture = self.engine.architecture
        if not any(parameter.requires_grad for parameter in self.engine.parameters()):
            raise EpgraphError("the network has no parameter that could learn: there is no gradient to check")
        self.learning, self.dynamics = architecture.learning, architecture.dynamics
        self.rule = ESTIMATORS[self.learning.estimator]
        self.untied = [name for name, edge in self.engine.graph.edges.items() if edge.untied and not edge.tied]
        self.clamped = self.rule.clamps_output
        self._refuse()
        self.x = self.engine.executor.inputs.check_input(self.x)
        fine = self.engine.dtype == torch.float64
        self.tolerance, self.solver_tolerance = (1e-8, 1e-10) if fine else (1e-5, 1e-5)
        self.nudging = "centered" if self.rule.differentiates else self.learning.estimator

    def _refuse(self) -> None:
        """Raise where nothing is left to compare with."""
        locate = self.engine.architecture.locate
        if self.rule.feedforward and not self.engine.graph.energy.feedforward:
            message = (
                f"estimator {self.learning.estimator} is the gradient of the feed-forward network of this wiring, and "
                f"the equilibrium of energy {self.engine.architecture.energy} is not what that network computes"
            )
            hint = "check a gradient at the equilibrium: --set learning.estimator=centered"
            raise EpgraphError(locate(Diagnostic(message, hint, at=("learning", "estimator"))))
        if self.one_pass and self.steps:
            message = (
                "the step-by-step match of EP with backpropagation is one of sweeps of the free phase, which is one "
                f"forward pass with energy {self.engine.architecture.energy}"
            )
            raise EpgraphError(locate(Diagnostic(message, "leave --stepwise out", at=("energy",))))
        key = self.dynamics.solver_key
        if self.untied and self.dynamics.chosen_solver.mixes:
            message = (
                f"there is no reference gradient: edge '{self.untied[0]}' has a feedback weight of its own, which "
                f"rules out implicit differentiation, and dynamics.{key.key} rules out unrolled backpropagation"
            )
            hint = f"--set dynamics.{key.key}={key.plain}"
            raise EpgraphError(locate(Diagnostic(message, hint, at=("dynamics", key.key))))
        if self.untied and self.steps:
            message = (
                f"the step-by-step match of EP with backpropagation needs an energy, and edge '{self.untied[0]}' has a "
                "feedback weight of its own"
            )
            raise EpgraphError(locate(Diagnostic(message, "leave --stepwise out", at=("learning", "feedback"))))

    @property
    def one_pass(self) -> bool:
        """Whether the free equilibrium is one forward pass: nothing settles, and the reference is backpropagation."""
        return self.engine.graph.energy.feedforward

    @cached_property
    def noiseless(self) -> Engine:
        """The network that the references differentiate: the same without noise and rounded states."""
        if not (self.dynamics.noise or self.dynamics.state_bits):
            return self.engine
        architecture = self.engine.architecture
        quiet = architecture.model_copy(
            update={"dynamics": self.dynamics.model_copy(update={"noise": 0.0, "state_bits": 0})}
        )
        name = self.engine.plan.schedule.name
        return self.copied(quiet, name)

    def copied(self, architecture: Architecture, schedule: str) -> Engine:
        """Return an engine of another architecture or schedule with the parameters of this one."""
        engine = compile(
            architecture, device=self.engine.device, dtype=self.engine.dtype, schedule=schedule, initialised=False
        )
        engine.load_state_dict(self.engine.state_dict())
        for copy, parameter in zip(engine.parameters(), self.engine.parameters(), strict=True):
            copy.requires_grad_(parameter.requires_grad)
        return engine

    @cached_property
    def free(self) -> Relaxation:
        """The free phase as configured, from zeros."""
        with self.drawn():
            return self.engine.relax(self.x)

    @cached_property
    def settled(self) -> Relaxation:
        """The equilibrium that the free phase leads to: plain sweeps, until nothing moves or patience ends."""
        settled = self.settle(self.noiseless, self.free.states, self.tolerance)
        return replace(settled, steps=self.free.steps + settled.steps)

    def settle(self, engine: Engine, start: States, tolerance: float) -> Relaxation:
        """Let the free network settle from given states."""
        steps = max(PATIENCE[0] * self.dynamics.free_steps, PATIENCE[1])
        return engine.relax(self.x, start=start, steps=steps, tolerance=tolerance)

    @cached_property
    def about(self) -> Linearization:
        """The network to first order about that equilibrium."""
        return Linearization(self.noiseless.executor, self.x, self.settled.states, self.noiseless.snapshot())

    def sums(self, states: States) -> States:
        """What σ is applied to, of all states that move, (batch, *shape) each."""
        about = Linearization(self.noiseless.executor, self.x, states, self.noiseless.snapshot())
        return {name: force.detach() for name, force in about.forces.items()}

    def slopes(self, name: str, sums: Tensor) -> Tensor:
        """σ′ of a state."""
        state = self.engine.graph.states[name]
        slopes: Tensor = state.activation.derivative(sums, self.noiseless.snapshot().alpha(state))
        return slopes

    @property
    def kinked(self) -> list[str]:
        """Names of the states whose σ has kinks."""
        graph = self.engine.graph
        return [name for name in graph.dynamic if not graph.states[name].activation.smooth]

    @property
    def reference(self) -> str:
        """The gradient that the others are held to, by the name of its estimator."""
        if self.one_pass:
            return "backprop"
        return "unrolled" if self.untied else "implicit"

    @cached_property
    def exact(self) -> Gradients:
        """The gradient of the loss at that equilibrium: implicit, or unrolled where F has no Hessian."""
        if self.one_pass:
            return self.gradient(estimator="backprop")
        return self.unrolled if self.untied else self.solved[0]

    @cached_property
    def solved(self) -> tuple[Gradients, Adjoint]:
        """The implicit gradient, and how it was solved for."""
        target = self.engine.executor.inputs.targets(self.y, len(self.x))
        nudge = Nudge(self.engine.cost, target, self.learning.beta)
        gradients: Gradients = {}
        steps = max(1000, self.learning.solver_steps)
        solved, _ = differentiate_implicitly(
            gradients, self.about, loss_force(self.about, nudge), self.solver_tolerance, steps
        )
        return named_by_edge(gradients), solved

    @property
    def unrolled_sweeps(self) -> int:
        """Free sweeps that ``unrolled`` goes back through: to the equilibrium where it is the only reference."""
        settled = self.untied and self.settled.status is Status.CONVERGED
        return max(self.dynamics.free_steps, self.settled.steps if settled else 0)

    @cached_property
    def unrolled(self) -> Gradients:
        """Backpropagation through the free phase."""
        return self.gradient(estimator="unrolled", free_steps=self.unrolled_sweeps)

    @cached_property
    def estimated(self) -> Gradients:
        """The gradient as configured."""
        return self.gradient()

    def gradient(self, **options: Any) -> Gradients:
        """A gradient of ``Engine.backward`` by the names of edges and states.

        Of an edge with a feedback weight: EP's contrast, which both weights receive, or what a reference gradient says
        for the two moved together, the sum of their derivatives. They are equal once the two weights are.
        """
        referred = ESTIMATORS[options.get("estimator", self.learning.estimator)].differentiates
        engine = self.noiseless if referred else self.engine
        return self._gradient(engine, referred, options)

    def by_error_sweeps(self, steps: int) -> Gradients:
        """The gradient as configured, but by so many error sweeps."""
        dynamics = self.dynamics.model_copy(update={"solver": ErrorSweeps(), "nudged_steps": steps})
        architecture = self.engine.architecture.model_copy(update={"dynamics": dynamics})
        engine = self.copied(architecture, self.engine.plan.schedule.name)
        return self._gradient(engine, False, {"estimator": self.nudging})

    def _gradient(self, engine: Engine, referred: bool, options: Mapping[str, Any]) -> Gradients:
        with engine.aside() as gradients, self.drawn():
            engine.backward(self.x, self.y, **options)
        for name in self.untied:
            feedback = gradients.pop(f"edges.{name}.feedback", None)
            if feedback is not None and referred:
                gradients[f"edges.{name}.weight"] = gradients[f"edges.{name}.weight"] + feedback
        return named_by_edge(gradients)

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw the same noise and the same sign for every gradient, whatever was drawn before."""
        devices = [self.engine.device] if self.engine.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.engine.architecture.training.seed)
            yield
