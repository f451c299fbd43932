"""The engine: a compiled network with its parameters, which relaxes and estimates gradients."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from epgraph.arguments import choice, flag, instance, number, whole_number
from epgraph.compiler import ProgramCache
from epgraph.compiler.trace import SHARE_ABOVE
from epgraph.costs import COSTS
from epgraph.display import Shown
from epgraph.errors import EpgraphError
from epgraph.estimators import ESTIMATORS, Estimate
from epgraph.estimators.microbatches import Batch
from epgraph.graph import Edge, check_rule
from epgraph.initialization import initial_parameters
from epgraph.learning_rules import estimator_options
from epgraph.lowering import Plan
from epgraph.runtime.apart import refuse_meta, unrecorded
from epgraph.runtime.arguments import phase_steps, strength
from epgraph.runtime.executor import Executor
from epgraph.runtime.feedforward import feed_forward, refuse_norm
from epgraph.runtime.gradients import aside
from epgraph.runtime.holders import hold_edges, hold_states, read_all
from epgraph.runtime.memory import within_memory
from epgraph.runtime.parameters import LOWEST_LEVEL, Parameters, hand_out
from epgraph.runtime.programs import Programs, Settings
from epgraph.runtime.relax import nudge_towards, relax
from epgraph.runtime.relaxation import Record, Relaxation


def _few_relaxed(relax: Any, engine: Engine, x: Tensor, *, target: Tensor | None = None, **options: Any) -> None:
    """One sweep of few examples, as ``within_memory`` measures it."""
    few = None if target is None else target[: len(x)]
    relax(engine, x, target=few, beta=options.get("beta"), steps=1, tolerance=0.0)


def _few_estimated(backward: Any, engine: Engine, x: Tensor, y: Tensor, **options: Any) -> None:
    """The gradient of few examples by one sweep a phase; by all of them where they take memory."""
    chosen = options.get("estimator") or engine.architecture.learning.estimator
    if not ESTIMATORS[chosen].memory_grows:
        options["free_steps"] = 1
    if ESTIMATORS[chosen].feedforward:
        options["batch_statistics"] = False  # one example may have none, and they must not count
    with engine.aside():
        backward(engine, x, y[: len(x)], **{**options, "start": None, "nudged_steps": 1})


def _few_passed(forward: Any, engine: Engine, x: Tensor) -> None:
    """The forward pass of few examples."""
    forward(engine, x)


@unrecorded
@within_memory(_few_passed)
def _feed_forward(engine: Engine, x: Tensor) -> Relaxation:
    """The states of the feed-forward network of the wiring."""
    return feed_forward(engine.executor, engine.executor.inputs.check_input(x), engine.snapshot())


class Engine(Shown, nn.Module):
    """A network ready to run: ``predict``, ``relax``, ``energy``, ``backward``.

    Made by ``epgraph.compile``. Parameters are ordinary ``torch.nn.Parameter``s named ``edges.<name>.weight`` (in the
    layout of the edge's kind: OIHW, or (out, in) for dense), ``states.<name>.bias`` (one a channel) and, where feedback
    is untied, ``edges.<name>.feedback`` (as the weight). A state with ``norm: batch`` has ``norm_weight`` and
    ``norm_bias``, and the buffers ``running_mean`` and ``running_var``, one a channel. ``to``, ``state_dict`` and torch
    optimizers work as usual.
    ``.grad`` is filled by ``backward``, with the gradient of the mean loss of the batch. Parameters may be parametrized
    (``torch.nn.utils.parametrize``), pruned, or replaced by ``torch.func.functional_call``.

    Parameters
    ----------
    plan
        The compiled sweep.
    seed
        Seed of the initial parameters. Each parameter has a stream of its own, so that adding an edge does not
        change the initial values of the others.
    initialised
        Whether parameters are drawn by the rule of ``init``; False leaves them as the published rule draws them.
    """

    _like: Tensor
    _kept: Tensor

    # What is made within inference mode could never be trained.
    @torch.inference_mode(False)
    def __init__(
        self,
        plan: Plan,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        backend: str = "auto",
        without: frozenset[str] = frozenset(),
        doubled: bool = True,
        cuda_graphs: bool = True,
        initialised: bool = True,
        share_above: int = SHARE_ABOVE,
        batches: float = inf,
    ) -> None:
        super().__init__()
        instance("Engine", plan, Plan, "epgraph.compile makes engines of architectures and files")
        self.plan = plan
        self.seed = seed
        self.backend = backend
        self.without = without
        self.doubled = doubled
        self.cuda_graphs = cuda_graphs
        self.share_above = share_above
        self.batches = batches
        self._executor: Executor | None = None
        self.graph = plan.graph
        self.architecture = plan.graph.architecture
        self.learnt = [s.name for s in plan.graph.states.values() if s.activation.learnt]
        self.cost = COSTS[self.architecture.output.cost]
        dtype = dtype or torch.get_default_dtype()
        # A network may have no parameters at all; these tell where it runs, and in what precision states and parameters
        # are. Parameters keep the digits that small updates need; half precision is for the states.
        for name, precision in (("_like", dtype), ("_kept", torch.promote_types(dtype, torch.float32))):
            self.register_buffer(name, torch.empty(0, device=device, dtype=precision), persistent=False)
        initial = initial_parameters(self.architecture.init.rule if initialised else "published", self.graph, seed)
        self.edges = hold_edges(self.graph, initial, self._kept)
        self.states = hold_states(self.graph, initial, self._kept)

    def __repr__(self) -> str:
        where = f"{str(self.dtype).removeprefix('torch.')} on {self.device}, backend {self.backend}"
        return f"Engine({self.graph.summary()}; schedule {self.plan.schedule.name}, {where})"

    @property
    def device(self) -> torch.device:
        """Where parameters and states live."""
        return self._like.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of parameters and states."""
        return self._like.dtype

    def weight(self, edge: Edge) -> Tensor | None:
        """Weight of an edge, that of another one where it is tied; None for one without."""
        return self.edges[edge.owner].held("weight")

    def feedback(self, edge: Edge) -> Tensor | None:
        """Weight through which an edge acts back on its source, or None where that is the weight itself."""
        return self.edges[edge.owner].held("feedback")

    @property
    def executor(self) -> Executor:
        """What runs the network, for the present device, precision and backend."""
        settings = Settings(
            self.device,
            self.dtype,
            self._kept.dtype,
            self.backend,
            self.without,
            self.cuda_graphs,
            self.batches,
            self.share_above,
        )
        executor = self._executor
        if executor is None or executor.programs.settings != settings:
            executor = self._executor = Executor(self.plan, Programs(self.plan, settings), doubled=self.doubled)
        elif executor.doubled != self.doubled:
            executor = self._executor = Executor(self.plan, executor.programs, doubled=self.doubled)
        return executor

    @property
    def machine(self) -> ProgramCache:
        """The emitted programs, for the present device, precision and backend."""
        return self.executor.machine

    def origins(self) -> dict[str, Tensor]:
        """Return what stands for every parameter now, attached to what autograd knows of it; see ``read_all``."""
        refuse_meta(self.device.type)
        self.project()
        return read_all(self.graph, self.edges, self.states, self._kept)

    def snapshot(self) -> Parameters:
        """Return the values of all parameters at this moment."""
        return Parameters.of(self.origins())

    @unrecorded
    def initialise(self, x: Tensor, *, seed: int | None = None) -> None:
        """Draw all parameters anew by the rule of ``init``, with signals measured on inputs x in place of noise."""
        seed = self.seed if seed is None else whole_number("seed", seed, 0, 2**32 - 1)
        x = self.executor.inputs.check_input(x)
        drawn = initial_parameters(self.architecture.init.rule, self.graph, seed, x)
        for name, value in self.state_dict().items():
            if name not in drawn:
                raise EpgraphError(
                    f"'{name}' belongs to a parametrization, which no rule of init can draw",
                    "call initialise before you parametrize or prune the engine",
                )
            value.copy_(drawn[name])

    @torch.no_grad()
    def project(self) -> None:
        """Bring learnt levels α back to at least ``LOWEST_LEVEL``; every batch begins with it."""
        for name in self.learnt:
            level = self.states[name].alpha
            assert isinstance(level, Tensor)
            if level.requires_grad:  # one that is frozen cannot have left its range
                level.clamp_(min=LOWEST_LEVEL)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was emitted: functions made from text cannot be copied, and are made again when needed."""
        return {**self.__dict__, "_executor": None}

    def forward(self, x: Tensor) -> Tensor:
        """Return the output state of ``predict``, (batch, *output shape); ``epgraph.Equilibrium`` has a graph."""
        return self.predict(x).states[self.graph.output.name]

    def predict(self, x: Tensor, *, steps: int | None = None) -> Relaxation:
        """Return the states from which the network's answer is read: what training and evaluation look at.

        The free equilibrium from zeros, as ``relax``. Where ``learning.estimator`` learns the feed-forward network of
        the wiring (``backprop``), the states of that network, by running statistics, in one step of residual 0.
        """
        if ESTIMATORS[self.architecture.learning.estimator].feedforward:
            return _feed_forward(self, x)
        return self.relax(x, steps=steps)

    @unrecorded
    @within_memory(_few_relaxed)
    def relax(
        self,
        x: Tensor,
        *,
        start: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        tolerance: float | None = None,
        target: Tensor | None = None,
        beta: float | None = None,
        record: Record = False,
    ) -> Relaxation:
        """Let the network settle with its input clamped to ``x``.

        Parameters
        ----------
        x
            Input, (batch, *input shape): a dense tensor of finite floating-point numbers, of any precision and on any
            device.
        start
            States to start from, by name, as ``x``; zeros where left out.
        steps
            Most sweeps, 0 or more; left out, ``dynamics.free_steps``. Without a sweep there are no residuals: NaN.
        tolerance
            Stop once the relative residual of every example is at most this; 0 takes all steps. Left out,
            ``dynamics.tolerance``.
        target, beta
            Labels (batch,), which are integers, or targets (batch, *output shape), and the strength of the nudge
            towards them (negative: away from them); without both the phase is free.
        record
            Keep states, energy F and residual after every sweep (memory then grows with the sweeps); or a function that
            is called with each ``Sweep``, of which nothing is kept.

        Returns
        -------
        Relaxation
            Running out of steps is a status of it, not an exception. Its states have no graph for autograd.

        Raises
        ------
        EpgraphError
            Where an argument is not as described; the message names it.
        """
        refuse_norm(self.graph)
        executor = self.executor
        x = executor.inputs.check_input(x)
        start = executor.inputs.check_start(start, len(x))
        nudge = nudge_towards(executor, target, beta, len(x))
        parameters = self.snapshot()
        dynamics = self.architecture.dynamics
        steps = dynamics.free_steps if steps is None else whole_number("steps", steps, 0)
        tolerance = dynamics.tolerance if tolerance is None else number("tolerance", tolerance, least=0)
        record = record if callable(record) else flag("record", record)
        return relax(executor, parameters, x, start, steps, tolerance, nudge, record=record)

    @unrecorded
    def phi(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """Φ(x, s, θ) per example, (batch,), of all states that move. Raises EpgraphError as ``energy``."""
        return self._energies(x, states)["phi"]

    @unrecorded
    def energy(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """F(s) = Σ Gₙ(sⁿ) − Φ per example, (batch,), with Gₙ′ = σ⁻¹; ``check`` says if sweeps may raise it.

        Raises
        ------
        EpgraphError
            Where a state that moves is missing or has another shape, or where feedback is untied: there is no F.
        """
        return self._energies(x, states)["energy"]

    def _energies(self, x: Tensor, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        refuse_norm(self.graph)
        executor = self.executor
        return executor.energies(*executor.inputs.all_states(x, states), self.snapshot())

    @unrecorded
    def loss(self, states: Mapping[str, Tensor], y: Tensor) -> Tensor:
        """Cost C of the output state, which is one of ``states``, per example, (batch,)."""
        inputs = self.executor.inputs
        output = inputs.output(states)
        return self.cost.value(output, inputs.targets(y, len(output)))

    @unrecorded
    @within_memory(_few_estimated)
    def backward(
        self,
        /,
        x: Tensor,
        y: Tensor,
        *,
        estimator: str | None = None,
        beta: float | None = None,
        points: int | None = None,
        continual_rate: float | None = None,
        start: Mapping[str, Tensor] | None = None,
        free_steps: int | None = None,
        nudged_steps: int | None = None,
        tolerance: float | None = None,
        keep: bool = True,
        energy: bool = False,
        **options: Any,
    ) -> Estimate:
        """Estimate the gradient of the batch's mean loss and add it to every parameter's ``.grad``.

        Where a weight is computed from other parameters (parametrizations, pruning), they get it by the chain rule.
        What is left out comes from the architecture (``learning``, ``dynamics``). On a CPU a large batch is taken in
        pieces (``pieces.cut``), each of which stops at the tolerance by itself. Inside of ``torch.inference_mode`` and
        of autocast it computes what it does outside.

        Parameters
        ----------
        x, y
            Input (batch, *input shape) and integer labels (batch,), or targets (batch, *output shape), as for
            ``relax``. Neither may require a gradient: it would get none.
        estimator
            Name of a rule (``epgraph.estimators``): ``centered`` contrasts +β and −β (Eq. 5), ``positive`` +β
            and free, ``negative`` free and −β (Eq. 4), … Contrastive and coupled learning give the gradient of their
            own contrast, not that of the loss; ``unrolled`` and ``truncated`` go back through the free phase, and
            ``implicit`` differentiates its equilibrium. ``backprop`` differentiates the feed-forward network of the
            wiring, and relaxes nothing.
        beta, points, continual_rate
            As in ``learning``.
        start, tolerance
            As for ``relax``; the free phase starts there.
        free_steps, nudged_steps
            Most sweeps of a phase: 0 or more of the free one, 1 or more of a nudged one.
        keep
            Keep all states in the result. Without it the centered estimator drops what it needs no longer: of the free
            states the output is left, of the nudged ones those of +β.
        energy
            Compute F at the free equilibrium as well (about half a sweep); left out where feedback is untied.

        options
            Further options of the estimator: ``truncation``, ``solver_tolerance``, ``solver_steps``,
            ``batch_statistics`` (of ``backprop``: False takes the running ones), or those that a registered one
            declares.

        Returns
        -------
        Estimate
            Relaxations, free and nudged where there are such, and the loss at the free equilibrium.

        Raises
        ------
        EpgraphError
            Where an argument is not as described, a parameter is not what it was, or the network cannot use the
            estimator: the argument, the parameter, or the state or edge in the way is named.
        """
        learning, executor = self.architecture.learning, self.executor
        name = learning.estimator if estimator is None else choice("estimator", estimator, ESTIMATORS)
        if name != learning.estimator:
            check_rule(self.graph, name)
        beta = strength("beta", learning.beta if beta is None else beta, self.dtype)
        given = {"points": points, "continual_rate": continual_rate, **options}
        chosen = estimator_options(name, learning, {key: value for key, value in given.items() if value is not None})
        steps = phase_steps(self.architecture.dynamics, free_steps, nudged_steps, tolerance)
        keep, energy = flag("keep", keep), flag("energy", energy) and self.graph.untied is None
        executor.inputs.refuse_gradients(x=x, y=y)
        x = executor.inputs.check_input(x)
        target = executor.inputs.targets(y, len(x))
        start = executor.inputs.check_start(start, len(x))
        with torch.enable_grad():
            origins = self.origins()
        parameters = Parameters.of(origins)
        batch = Batch(
            executor, parameters, x, target, start, beta, steps, retain_states=keep, energy=energy, options=chosen
        )
        estimate = batch.estimate(name)
        if estimate.diverged:
            executor.inputs.check_start_values(start)
        hand_out(batch.gradients, origins)
        return estimate

    def aside(self) -> AbstractContextManager[dict[str, Tensor]]:
        """Compute a gradient on the side: ``.grad`` is empty meanwhile, and afterwards what it was before.

        What was computed is, afterwards, in the dict that is yielded, by the name of the parameter.
        """
        return aside(self)
