"""The engine: a compiled network with its parameters, which relaxes and estimates gradients.

The fast path: explicit sums over neighbours, no autograd, and memory that does not grow with the number of
sweeps. ``reference.py`` is the oracle that it is held to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from epgraph.activations import Identity, ReLU
from epgraph.costs import COSTS
from epgraph.edges import shape_text
from epgraph.emit import BACKENDS, Loaded, Machine, choose, refuse
from epgraph.emit.anderson import Anderson
from epgraph.emit.record import recorded
from epgraph.emit.replay import Memory, capture_for
from epgraph.emit.runtime import Step, rounded, run, watched
from epgraph.emit.trace import PhaseName, feedback_of
from epgraph.engine.estimators import ESTIMATORS, UNROLLING, WHOLE, Estimate, Problem
from epgraph.engine.gradients import add_gradient
from epgraph.engine.initial import INITIAL
from epgraph.engine.memory import within_memory
from epgraph.engine.phases import Nudge, Pull, per_example
from epgraph.engine.pieces import cut, join
from epgraph.engine.relaxation import Clamped, Relaxation, States, Status, Sweep
from epgraph.errors import EpgraphError, nearest
from epgraph.graph import Edge, State, check_rule
from epgraph.passes import Plan
from epgraph.spec.architecture import EstimatorName

GROWN = 1e6
"""A state without bounds whose size exceeds this has diverged; the published networks stay below 10²."""

LOWEST = 1e-3
"""Learnt levels of ReLUα are kept at or above this: a state whose level is 0 could not come back."""

CHECK_EVERY = 5
"""Sweeps between two looks at the residual when a tolerance is set; each look waits for the device."""


class _Named(nn.Module):
    """Modules by names of the user's own choice: ``ModuleDict`` refuses 'values', 'type' and many more."""

    def put(self, name: str, module: nn.Module) -> None:
        self._modules[name] = module

    def __getitem__(self, name: str) -> nn.Module:
        module = self._modules[name]
        assert module is not None
        return module


class Engine(nn.Module):
    """A network ready to run: ``relax``, ``energy``, ``backward``.

    Made by ``epgraph.compile``. Parameters are ordinary ``torch.nn.Parameter``s named ``edges.<name>.weight`` (in the
    layout of the edge's kind: OIHW, or (out, in) for dense), ``states.<name>.bias`` (one a channel) and, where feedback
    is untied, ``edges.<name>.feedback`` (as the weight); ``to``, ``state_dict`` and torch optimisers work as usual.
    ``.grad`` is filled by ``backward``, with the gradient of the mean loss of the batch.

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

    def __init__(
        self,
        plan: Plan,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        backend: str = "auto",
        without: frozenset[str] = frozenset(),
        also: frozenset[str] = frozenset(),
        doubled: bool = True,
        cuda_graphs: bool = True,
        initialised: bool = True,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.seed = seed
        self.backend = backend
        self.without = without
        self.also = also
        self.doubled = doubled
        self.cuda_graphs = cuda_graphs
        self.batches = float("inf")
        """Number of batches to come, if it is known: ``auto`` spreads what a backend takes to start over them."""
        self._machines: dict[str, Any] = {}
        self._plain_machines: dict[tuple[torch.dtype, bool], Machine] = {}
        self.graph = plan.graph
        self.architecture = plan.graph.architecture
        self._learnt = [s.name for s in plan.graph.states.values() if s.activation.learnt]
        self.cost = COSTS[self.architecture.output.cost]
        self.edges = _Named()
        self.states = _Named()
        dtype = dtype or torch.get_default_dtype()
        # Parameters keep the digits that small updates need; half precision is for the states.
        kept = torch.promote_types(dtype, torch.float32)
        initial = INITIAL[self.architecture.init.rule if initialised else "published"](self.graph, seed, None)
        for state in self.graph.states.values():
            module = nn.Module()
            if state.bias_shape is not None:
                module.bias = nn.Parameter(initial[f"states.{state.name}.bias"].to(device, kept))
            if isinstance(state.activation, ReLU) and state.activation.stored:
                alpha = initial[f"states.{state.name}.alpha"].to(device, kept)
                if state.activation.learn:
                    module.alpha = nn.Parameter(alpha)
                else:
                    module.register_buffer("alpha", alpha)
            self.states.put(state.name, module)
        for edge in self.graph.edges.values():
            module = nn.Module()
            if edge.weight_shape is not None and not edge.tied:
                for part in ("weight", "feedback")[: 1 + edge.untied]:
                    value = initial[f"edges.{edge.name}.{part}"].to(device, kept)
                    setattr(module, part, nn.Parameter(value, requires_grad=not edge.frozen))
            self.edges.put(edge.name, module)
        # A network may have no parameters at all; this tells where and in what precision it runs.
        self.register_buffer("_like", torch.empty(0, device=device, dtype=dtype), persistent=False)

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
        return getattr(self.edges[edge.owner], "weight", None)

    def feedback(self, edge: Edge) -> Tensor | None:
        """Weight through which an edge acts back on its source, or None where that is the weight itself."""
        return getattr(self.edges[edge.owner], "feedback", None)

    def bias(self, state: State) -> Tensor | None:
        """Bias of a state, or None for one without."""
        return getattr(self.states[state.name], "bias", None)

    def alpha(self, state: State) -> float | Tensor:
        """Clipping level of a ReLUα state; 0 (unused) for other activations."""
        if not isinstance(state.activation, ReLU):
            return 0.0
        if not state.activation.stored:
            return state.activation.high
        level = self.states[state.name].alpha
        assert isinstance(level, Tensor)
        return level.detach()

    def levels(self) -> dict[str, nn.Parameter]:
        """Levels α that learn, by the name of their state."""
        found = {name: self.states[name].alpha for name in self._learnt}
        return {name: level for name, level in found.items() if isinstance(level, nn.Parameter) and level.requires_grad}

    @torch.no_grad()
    def initialise(self, x: Tensor, *, seed: int | None = None) -> None:
        """Draw all parameters anew by the rule of ``init``, with signals measured on inputs x in place of noise."""
        seed = self.seed if seed is None else seed
        drawn = INITIAL[self.architecture.init.rule](self.graph, seed, self.check_input(x))
        for name, value in self.state_dict().items():
            value.copy_(drawn[name])

    @torch.no_grad()
    def project(self) -> None:
        """Bring learnt levels α back to at least ``LOWEST``; every batch begins with it."""
        for name in self._learnt:
            self.states[name].alpha.clamp_(min=LOWEST)  # type: ignore[operator]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was emitted: functions made from text cannot be copied, and are made again when needed."""
        return {**self.__dict__, "_machines": {}, "_plain_machines": {}}

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the output state at the free equilibrium, (batch, *output shape), starting from zeros."""
        return self.relax(x).states[self.graph.output.name]

    @torch.no_grad()
    def relax(
        self,
        x: Tensor,
        *,
        start: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        tolerance: float | None = None,
        target: Tensor | None = None,
        beta: float = 0.0,
        record: bool = False,
    ) -> Relaxation:
        """Let the network settle with its input clamped to ``x``.

        Parameters
        ----------
        x
            Input, (batch, *input shape).
        start
            States to start from; zeros where left out.
        steps
            Most sweeps; left out, ``dynamics.free_steps``.
        tolerance
            Stop once the relative residual of every example is at most this; 0 takes all steps. Left out,
            ``dynamics.tolerance``.
        target, beta
            Labels (batch,) or targets (batch, *output shape) and the strength of the nudge towards them (negative:
            away from them); without a target the phase is free.
        record
            Keep states, energy F and residual after every sweep (memory then grows with the sweeps).

        Returns
        -------
        Relaxation
            Running out of steps is a status of it, not an exception.
        """
        x = self.check_input(x)
        nudge = None if target is None else Nudge(self.cost, self.targets(target, len(x)), beta)
        dynamics = self.architecture.dynamics
        steps = dynamics.free_steps if steps is None else steps
        tolerance = dynamics.tolerance if tolerance is None else tolerance

        def probe(rows: int) -> None:
            few = None if nudge is None else replace(nudge, target=nudge.target[:rows])
            self.run(self.clamp(x[:rows]), self.start(x[:rows], None), 1, 0.0, few)

        def work() -> Relaxation:
            return self.run(self.clamp(x), self.start(x, start), steps, tolerance, nudge, record=record, own=True)

        return within_memory(len(x), self.device, work, probe, self._plain)

    @torch.no_grad()
    def phi(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """Φ(x, s, θ) per example, (batch,). Raises EpgraphError where feedback is untied, as does ``energy``."""
        return self._energies(x, states)["phi"]

    @torch.no_grad()
    def energy(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """F(s) = Σ Gₙ(sⁿ) − Φ per example, (batch,), with Gₙ′ = σ⁻¹; ``epgraph check`` says if sweeps may raise it."""
        return self._energies(x, states)["energy"]

    @property
    def untied(self) -> Edge | None:
        """The first edge with a feedback weight of its own: the network then has no energy. None where all are tied."""
        return next((edge for edge in self.graph.edges.values() if edge.untied), None)

    def _energies(self, x: Tensor, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.untied is not None:
            raise EpgraphError(
                f"there is no energy: edge '{self.untied.name}' has a feedback weight of its own",
                "set learning.feedback: tied",
            )
        values = self._weights() | self._named({**states, self.graph.input.name: self.check_input(x)})
        run(self._steps("energy"), values)
        return values

    @torch.no_grad()
    def loss(self, states: Mapping[str, Tensor], y: Tensor) -> Tensor:
        """Cost C of the output state per example, (batch,)."""
        output = states[self.graph.output.name]
        return self.cost.value(output, self.targets(y, len(output)))

    @torch.no_grad()
    def backward(
        self,
        x: Tensor,
        y: Tensor,
        *,
        estimator: EstimatorName | None = None,
        beta: float | None = None,
        points: int | None = None,
        continual_rate: float | None = None,
        start: Mapping[str, Tensor] | None = None,
        free_steps: int | None = None,
        nudged_steps: int | None = None,
        tolerance: float | None = None,
        keep: bool = True,
        energy: bool = False,
    ) -> Estimate:
        """Estimate the gradient of the batch's mean loss and add it to every parameter's ``.grad``.

        What is left out comes from the architecture (``learning``, ``dynamics``). On a CPU a large batch is taken in
        pieces (``pieces.cut``), each of which stops at the tolerance by itself.

        Parameters
        ----------
        x, y
            Input (batch, *input shape) and labels (batch,), or targets (batch, *output shape).
        estimator
            Name of a rule (``epgraph.engine.estimators``): ``centered`` contrasts +β and −β (Eq. 5), ``positive`` +β
            and free, ``negative`` free and −β (Eq. 4), … Contrastive and coupled learning give the gradient of their
            own contrast, not that of the loss; ``unrolled`` and ``truncated`` go back through the free phase, and
            ``implicit`` differentiates its equilibrium.
        beta, points, continual_rate
            As in ``learning``.
        start
            States that the free phase starts from; zeros where left out.
        keep
            Keep all states in the result. Without it the centred estimator drops what it needs no longer: of the free
            states the output is left, of the nudged ones those of +β.
        energy
            Compute F at the free equilibrium as well (about half a sweep); left out where feedback is untied.

        Returns
        -------
        Estimate
            Relaxations, free and nudged where there are such, and the loss at the free equilibrium.

        Raises
        ------
        EpgraphError
            Among others where the network cannot use the estimator: the state or edge in the way is named.
        """
        architecture = self.architecture
        name = estimator or architecture.learning.estimator
        if name not in ESTIMATORS:
            raise EpgraphError(f"unknown estimator '{name}'", nearest(name, list(ESTIMATORS)))
        if name != architecture.learning.estimator:
            check_rule(self.graph, name)
        learning = architecture.learning
        beta = learning.beta if beta is None else beta
        if not 0 < beta < float("inf"):
            raise EpgraphError(f"beta must be a positive number, found {beta}", "e.g. beta=0.1")
        points = learning.points if points is None else points
        if points < 2:
            raise EpgraphError(f"points must be at least 2, found {points}", "e.g. points=4")
        rate = learning.continual_rate if continual_rate is None else continual_rate
        if not 0 <= rate < float("inf"):
            raise EpgraphError(f"continual_rate must not be negative, found {rate}", "e.g. continual_rate=1e-3")
        energy = energy and self.untied is None
        x = self.check_input(x)
        target = self.targets(y, len(x))
        dynamics = architecture.dynamics
        tolerance = dynamics.tolerance if tolerance is None else tolerance
        free_steps = dynamics.free_steps if free_steps is None else free_steps
        nudged_steps = dynamics.nudged_steps if nudged_steps is None else nudged_steps
        given = {} if start is None else start
        self.check_start(given, len(x))
        drawn: dict[str, float] = {}

        def piece(
            rows: slice, prepared: dict[str, Any], free_steps: int, nudged_steps: int, *, last: bool = True
        ) -> Estimate:
            clamped = self.clamp(x[rows], prepared)
            states = self.start(clamped.x, {key: s[rows] for key, s in given.items()})
            nudge = Nudge(self.cost, target[rows], beta, len(x))
            problem = Problem(
                self,
                clamped,
                nudge,
                states,
                free_steps,
                nudged_steps,
                tolerance,
                keep=keep,
                energy=energy,
                points=points,
                rate=rate,
                drawn=drawn,
                last=last,
            )
            return ESTIMATORS[name](problem)

        def probe(rows: int) -> None:
            with self.aside():
                piece(slice(rows), {}, free_steps if name in UNROLLING else 1, 1)

        def work() -> Estimate:
            prepared: dict[str, Any] = {}
            pieces = [slice(len(x))] if name in WHOLE else cut(self.graph, len(x), self.device)
            return join([piece(rows, prepared, free_steps, nudged_steps, last=rows is pieces[-1]) for rows in pieces])

        return within_memory(len(x), self.device, work, probe, self._plain)

    @contextmanager
    def aside(self) -> Iterator[dict[str, Tensor]]:
        """Compute a gradient on the side: ``.grad`` is empty meanwhile, and afterwards what it was before.

        What was computed is, afterwards, in the dict that is yielded, by the name of the parameter.
        """
        before = {parameter: parameter.grad for parameter in self.parameters()}
        found: dict[str, Tensor] = {}
        try:
            self.zero_grad(set_to_none=True)
            yield found
            found.update((name, p.grad) for name, p in self.named_parameters() if p.grad is not None)
        finally:
            for parameter, gradient in before.items():
                parameter.grad = gradient

    # What estimators build on.

    def run(
        self,
        clamped: Clamped,
        states: States,
        steps: int,
        tolerance: float,
        nudge: Nudge | Pull | None = None,
        *,
        pair: bool = False,
        hold: bool = False,
        record: bool = False,
        own: bool = False,
        lent: bool = False,
    ) -> Relaxation:
        """Sweep until the residual is at most ``tolerance`` or ``steps`` are taken; see ``relax``.

        ``states`` are those that move. They are left as they are, unless ``own`` gives them away, one by one, to save
        memory. With ``pair`` those returned are pairs, and those given may be: states of one row an example are the
        common part, and the odd part starts from zero. With ``hold`` the output stays as it is given, and the others
        move. With ``lent`` the states returned may be memory that the next run overwrites.
        """
        if not tolerance >= 0 or steps < 0:
            raise EpgraphError(f"steps and tolerance must not be negative, found {steps} and {tolerance}")
        machine = clamped.machine
        dynamics = self.architecture.dynamics
        phase: PhaseName = "clamped" if hold else "pair" if pair else "free" if nudge is None else "nudged"
        pulled = tuple(name for name in self.graph.free if isinstance(nudge, Pull) and name in nudge.forces)
        program = self.program(phase, machine, pulled)
        names = {name: machine.tracer.names("state", name) for name in self.graph.free}
        prepared = clamped.prepared
        if not all(name in prepared for _, _, results in program.prepare for name in results):
            values = dict(clamped.values)
            run(program.prepare, values)
            prepared |= {name: values[name] for _, _, results in program.prepare for name in results}
        # Noise is drawn anew by every sweep, which a captured one might not do.
        replay = None if record or dynamics.anderson or dynamics.noise or not steps else machine.replay

        def load(memory: Memory) -> dict[str, Any]:
            # Captured sweeps may have to start twice.
            return self._load(memory, program, clamped, states, nudge, pair=pair, own=own and replay is None)

        trajectory: list[Sweep] = []
        if replay is not None:
            moving, residuals, taken = replay.run(
                program, load, list(names.values()), steps, every=CHECK_EVERY, tolerance=tolerance, pair=pair
            )
            residuals = residuals.clone()
            moved = {name: moving[key] if lent else moving[key].clone() for name, key in names.items()}
        else:
            moving = load(Memory())
            run(program.warm, moving)
            moved_names = {name: key for name, key in names.items() if not (hold and name == self.graph.output.name)}
            mixer = None
            if dynamics.anderson:
                held = {name: moving[key] for name, key in names.items() if name not in moved_names}
                mixer = self._mixer(clamped.x, tuple(moved_names), held, free=nudge is None, pair=pair)
            residuals = torch.full((len(clamped.x),), float("nan"), device=clamped.x.device)
            taken = 0
            while taken < steps:
                taken += 1
                look = record or taken == steps or (tolerance > 0 and taken % CHECK_EVERY == 0)
                before = [moving[key].clone() for key in moved_names.values()] if mixer else []
                if not look:
                    run(program.sweep, moving)
                else:
                    residuals = watched(program.sweep, moving, frozenset(moved_names.values()), pair=pair)
                    if record:
                        now = {name: moving[key].clone() for name, key in names.items()}
                        energy = self.energy(clamped.x, now) if self.untied is None else residuals * float("nan")
                        trajectory.append(Sweep(now, energy, float(residuals.max())))
                    if tolerance > 0 and bool((residuals <= tolerance).all()):
                        break
                if mixer is not None and taken < steps:
                    mixer.step(before, [moving[key] for key in moved_names.values()])
                    run(program.warm, moving)
            moved = {name: moving[key] for name, key in names.items()}
        return replace(self.ended(moved, taken, residuals, tolerance), trajectory=trajectory)

    def ended(self, states: States, taken: int, residuals: Tensor, tolerance: float) -> Relaxation:
        """What a relaxation returns that ends in these states after ``taken`` sweeps."""
        diverged = self._diverged(states)
        if diverged:
            status = Status.DIVERGED
        elif tolerance <= 0:
            status = Status.FIXED_STEPS
        else:
            settled = bool((residuals <= tolerance).all())
            status = Status.CONVERGED if settled else Status.OUT_OF_STEPS
        return Relaxation(states, taken, residuals, status, diverged)

    def program(self, phase: PhaseName, machine: Machine | None = None, pulled: tuple[str, ...] = ()) -> Loaded:
        """The emitted sweep of a phase; emitted now, if it was not before. ``pulled``: states that feel a ``Pull``."""
        return (machine or self.machine).program(phase, relaxed=self.architecture.dynamics.stepped, pulled=pulled)

    def _mixer(self, x: Tensor, names: Sequence[str], held: States, *, free: bool, pair: bool) -> Anderson:
        """Anderson acceleration of the states named. The energy, if there is one, is watched where nothing nudges."""

        def energy(states: Sequence[Tensor]) -> Tensor:
            return self.energy(x, {**held, **dict(zip(names, states, strict=True))})

        def box(states: Sequence[Tensor]) -> None:
            # Mixing extrapolates. Beyond the range of σ there is no G, and its formula may give anything there.
            for name, s in zip(names, states, strict=True):
                activation, alpha = self.graph.states[name].activation, self.alpha(self.graph.states[name])
                bounds = activation.bounds(alpha)
                if bounds is not None and not pair:
                    s.clamp_(min=bounds[0]).clamp_(max=bounds[1])
                elif isinstance(activation, ReLU):
                    # σ of ReLUα is the projection on its range.
                    common, odd = s.chunk(2)
                    s.copy_(torch.cat(activation.pair(common, odd, alpha)))

        descends = free and self.untied is None
        return Anderson(self.architecture.dynamics.anderson, energy if descends else None, box)

    def prefer(self, backend: str) -> None:
        """Run on a backend where it can be used here, e.g. the one that a run was begun with."""
        if backend in BACKENDS and not BACKENDS[backend].unusable(self.plan, self.device, self.dtype):
            self.backend = backend

    @property
    def machine(self) -> Machine:
        """The emitted programs, for the present device and precision."""
        cast = next(self.parameters(), self._like).dtype != self.dtype
        key = (self.device, self.dtype, cast, self.backend, self.batches)
        if self._machines.get("key") != key:
            name = self.backend
            if name == "auto":
                measured = recorded(self.plan, self.device, self.dtype, self.batches)
                name = measured or choose(self.plan, self.device, self.dtype)
            backend = refuse(name, self.plan, self.device, self.dtype, self.also, self.without)
            made = Machine(
                self.plan,
                self.dtype,
                cast=cast,
                backend=backend,
                rewrites=backend.rewrites,
                capture=capture_for(self.device) if self.cuda_graphs else None,
            )
            self._machines = {"key": key, "machine": made}
        found: Machine = self._machines["machine"]
        return found

    def continued(self, clamped: Clamped, copies: int) -> Clamped:
        """Return ``copies`` of a batch, one below the other, for complex states.

        Raises
        ------
        EpgraphError
            Where the states have a precision that has no complex one.
        """
        if "complex" not in self._machines:
            dtype = {torch.float32: torch.complex64, torch.float64: torch.complex128}.get(self.dtype)
            if dtype is None:
                found = str(self.dtype).removeprefix("torch.")
                raise EpgraphError(
                    f"complex states need float32 or float64, found {found}",
                    "use another dtype, or another estimator than holomorphic",
                )
            eager = BACKENDS["eager"]
            made = Machine(self.plan, dtype, cast=False, backend=eager, rewrites=eager.rewrites)
            self._machines["complex"] = made
        machine: Machine = self._machines["complex"]
        values = self._weights(machine)
        for name in self.graph.free:
            # Not computed anew: max pooling of the clamped input needs real numbers.
            constant = clamped.values.get(clamped.machine.tracer.names("constant", name))
            if constant is not None:
                # A bias on its own has one row for all examples.
                rows = 1 if len(constant) == 1 else copies
                values[machine.tracer.names("constant", name)] = constant.repeat(rows, *(1,) * (constant.ndim - 1))
        return Clamped(clamped.x.repeat(copies, *(1,) * (clamped.x.ndim - 1)), values, {}, machine)

    def plain(self, dtype: torch.dtype | None = None) -> Machine:
        """Programs in their plain form, which autograd differentiates, in the engine's precision or another."""
        dtype = dtype or self.dtype
        cast = next(self.parameters(), self._like).dtype != dtype
        if (dtype, cast) not in self._plain_machines:
            self._plain_machines[dtype, cast] = Machine(
                self.plan, dtype, cast=cast, backend=BACKENDS["eager"], rewrites=frozenset(), strict=True
            )
        return self._plain_machines[dtype, cast]

    @contextmanager
    def _plain(self) -> Iterator[None]:
        """Give back what captured graphs hold, and capture none meanwhile."""
        machine = self.machine
        replay, machine.replay = machine.replay, None
        if replay is not None:
            replay.forget()
        try:
            yield
        finally:
            machine.replay = replay

    def clamp(self, x: Tensor, prepared: dict[str, Any] | None = None) -> Clamped:
        """Compute what the input and the biases contribute, which no sweep needs to compute again.

        ``prepared`` receives what depends on parameters alone, for other pieces of the batch.
        """
        machine = self.machine
        self.project()
        values = self._weights()
        values[machine.tracer.names("state", self.graph.input.name)] = x
        run(self._steps("constants"), values)
        return Clamped(x, values, {} if prepared is None else prepared, machine)

    def start(self, x: Tensor, given: Mapping[str, Tensor] | None) -> States:
        """Initial states, checked: copies of those given, zeros where left out."""
        given = {} if given is None else given
        self.check_start(given, len(x))
        return {
            name: given[name].to(x, copy=True)
            if name in given
            else x.new_zeros((len(x), *self.graph.states[name].shape))
            for name in self.graph.free
        }

    def check_start(self, given: Mapping[str, Tensor], batch: int) -> None:
        """Say which of the states to start from has another shape than the network's."""
        for name in self.graph.free:
            shape = (batch, *self.graph.states[name].shape)
            if name in given and tuple(given[name].shape) != shape:
                raise EpgraphError(
                    f"start: state '{name}' has shape {tuple(given[name].shape)}, expected {shape}",
                    "start from zeros where the batch size changes",
                )

    def check_input(self, x: Tensor) -> Tensor:
        """Return x on the engine's device and in its precision, or say which shape was expected."""
        shape = self.graph.input.shape
        if x.ndim != len(shape) + 1 or tuple(x.shape[1:]) != shape or len(x) == 0:
            raise EpgraphError(
                f"input '{self.graph.input.name}' expects a batch of {shape_text(shape)}, found {tuple(x.shape)}",
                "the first dimension is the batch",
            )
        return x.to(self.device, self.dtype)

    def targets(self, y: Tensor, batch: int) -> Tensor:
        """Labels (batch,) as one-hot rows, or targets (batch, *output shape) as they are."""
        classes, shape = self.architecture.output.classes, (batch, *self.graph.output.shape)
        if classes is not None and y.ndim == 1 and not y.is_floating_point() and len(y) == batch:
            y = y.to(self.device, torch.int64)
            if bool(((y < 0) | (y >= classes)).any()):
                raise EpgraphError(
                    f"labels run from {int(y.min())} to {int(y.max())}, but the output has {classes} classes",
                    "set output.classes, or relabel the data from 0",
                )
            return nn.functional.one_hot(y, classes).to(self.dtype)
        if tuple(y.shape) != shape:
            labels = "integer labels or " if classes is not None else ""
            raise EpgraphError(
                f"expected {batch} {labels}targets of shape {shape}, "
                f"found {tuple(y.shape)} of {str(y.dtype).removeprefix('torch.')}",
                "" if classes is not None else "labels need output.classes in place of output.shape",
            )
        return y.to(self.device, self.dtype)

    def accumulate(self, pairs: States, x: Tensor, scale: float, wanted: Collection[str] | None = None) -> None:
        """Add the ``contrasts`` to every ``.grad``."""
        parameters = dict(self.named_parameters())
        for name, gradient in self.contrasts(pairs, x, scale, wanted):
            parameter = parameters[name]
            add_gradient(parameter, gradient)

    def contrasts(
        self, pairs: States, x: Tensor, scale: float | Tensor, wanted: Collection[str] | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield ``scale`` · ½[∂Φ/∂θ(s⁺) − ∂Φ/∂θ(s⁻)], summed over the batch, of one parameter after the other.

        For a learnt level α, Σ (∂Φ/∂s − α)₊ stands in place of ∂Φ/∂θ.

        Parameters
        ----------
        pairs
            Common and odd parts of the states, (2·batch, *shape).
        x
            The clamped input, (batch, *shape).
        scale
            One number, or one for each example, (batch,).
        wanted
            Names of parameters; all that are trained where left out. A feedback weight receives what its edge's weight
            does (Laborieux et al. 2021).
        """
        parameters = dict(self.named_parameters())
        trained = [name for name, parameter in parameters.items() if parameter.requires_grad]
        both = {_tied(name) for name in trained if wanted is None or name in wanted}
        values = self._weights()
        if self._learnt:
            # A level learns from pre-activations, of which input and biases are a part.
            values[self.machine.tracer.names("state", self.graph.input.name)] = x
            run(self._steps("constants"), values)
        values |= self._named({**pairs, self.graph.input.name: torch.cat((x, torch.zeros_like(x)))})
        weigh = partial(self._weighted, weights=scale) if isinstance(scale, Tensor) else None
        if isinstance(scale, Tensor):
            apart = {name: edges for name, edges in self._entangled.items() if name in both}
            both -= apart.keys()
            for name, edges in apart.items():
                # Each edge by itself, with examples weighted where its own contrast is linear.
                found = sum(self._weighted_contrast(edge, values, scale) for edge in edges)
                yield from _for_both(name, found.to(parameters[name].dtype), trained)  # type: ignore[union-attr]
        for name, found in self._computed("gradient", values, weigh, trainable=frozenset(both), once=self.doubled):
            gradient = found.to(parameters[name].dtype)
            if not isinstance(scale, Tensor):
                gradient.mul_(scale)
            yield from _for_both(name, gradient, trained)

    @cached_property
    def _entangled(self) -> dict[str, list[Edge]]:
        """Weights whose contrast is not linear in a state that stands nowhere else in it, with their edges.

        The state of a unary edge is both its ends, and of tied edges the target of one may be the source of another.
        """
        found: dict[str, list[Edge]] = {}
        for edge in self.graph.edges.values():
            if edge.weight_shape is not None and not self.graph.reads_out(edge):
                found.setdefault(f"edges.{edge.owner}.weight", []).append(edge)
        return {name: edges for name, edges in found.items() if len(edges) > 1 or edges[0].unary}

    def _weighted_contrast(self, edge: Edge, values: Mapping[str, Any], weights: Tensor) -> Tensor:
        """Contrast of one edge with every example's multiplied by its weight; see ``_weighted``."""
        names = self.machine.tracer.names
        source, target = (values[names("state", name)] for name in (edge.source, edge.target))
        weight = values[names("weight", edge.owner)].to(self.dtype)
        target = target * per_example(weights.repeat(2), target)
        return edge.kind.weight_contrast(weight, source, target, self.graph.states[edge.source].shape)

    def _weighted(self, step: Step, values: dict[str, Any], weights: Tensor) -> dict[str, Any]:
        """Values of a gradient function with every example's contrast multiplied by its weight."""
        edge = self.graph.edges.get(step[2][0].removeprefix("edges.").removesuffix(".weight"))
        # Φ is linear in the target of an edge, and so is its contrast; the source decides the arg-max of max pooling,
        # and has to stay what it is. A bias is contrasted with its state alone.
        scaled = self.graph.free if edge is None else [edge.target]
        taken = dict(values)
        for key in self._named(dict.fromkeys(scaled)):
            if key in step[1]:
                taken[key] = taken[key] * per_example(weights.repeat(2), taken[key])
        return taken

    def input_contrast(self, pairs: States, x: Tensor) -> Tensor:
        """½[∂Φ/∂x(s⁺) − ∂Φ/∂x(s⁻)] per example, (batch, *input shape): the adjoints of the edges at the input."""
        clamped = self.graph.input.name
        whole = torch.cat((x, torch.zeros_like(x)))
        found = torch.zeros_like(x)
        values = self._weights()
        for edge in (*self.graph.post(clamped), *self.graph.pre(clamped)):
            weight = values.get(self.machine.tracer.names("weight", edge.owner))
            weight = None if weight is None else weight.to(self.dtype)
            shape = self.graph.input.shape
            if edge.source == clamped:
                made = edge.kind.adjoint_pair(weight, pairs[edge.target], whole, shape)
            else:
                made = edge.kind.forward_pair(weight, pairs[edge.source], shape)
            found.add_(made.chunk(2)[1])
        return found

    def accumulate_local(self, clamped: Clamped, free: States, nudge: Nudge) -> None:
        """Add the cost's own gradient at the free state to every ``.grad`` of a readout; there may be none."""
        parameters = {name: p for name, p in self.named_parameters() if p.requires_grad}
        values = clamped.values | self._named(free) | {"y": nudge.target}
        for name, found in self._computed("local", values, trainable=frozenset(parameters)):
            parameter = parameters[name]
            gradient = found.to(parameter.dtype).mul_(1.0 / nudge.examples)
            add_gradient(parameter, gradient)

    def _computed(
        self,
        what: str,
        values: dict[str, Any],
        change: Callable[[Step, dict[str, Any]], dict[str, Any]] | None = None,
        **options: Any,
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield what a recorded function computes, one result after the other, so that each can be used up.

        ``change`` gives a function other values.
        """
        for step in self._steps(what, **options):
            taken = values if change is None else change(step, values)
            run((step,), taken)
            for name in step[2]:
                yield name, taken.pop(name)

    def _load(
        self,
        memory: Memory,
        program: Loaded,
        clamped: Clamped,
        states: States,
        nudge: Nudge | Pull | None,
        *,
        pair: bool,
        own: bool,
    ) -> dict[str, Any]:
        """All that a phase's sweeps take, by the names of emitted code, with states that they may write into."""
        names = clamped.machine.tracer.names
        last = torch.channels_last if program.program.channels_last else torch.contiguous_format
        taken = {name for _, arguments, _ in (*program.warm, *program.sweep) for name in arguments}
        made: dict[str, Any] = {"omega": self.architecture.dynamics.step} if "omega" in taken else {}
        for name, value in {**clamped.values, **clamped.prepared}.items():
            if name in taken:
                made[name] = memory.hold(name, value)
        if nudge is not None:
            made["beta"] = nudge.beta
        if isinstance(nudge, Nudge):
            made["y"] = memory.hold("y", nudge.target)
            if nudge.turns is not None:
                made["beta"] = nudge.beta * nudge.turns
        elif isinstance(nudge, Pull):
            for name, force in nudge.forces.items():
                key = names("force", name)
                # The common part of a pair feels nothing.
                made[key] = memory.hold(key, torch.cat((torch.zeros_like(force), force)) if pair else force)

        def start(name: str, state: Tensor) -> Tensor:
            rows = (2 if pair else 1) * len(clamped.x)
            layout = last if state.ndim == 4 else torch.contiguous_format
            moving = memory.empty(names("state", name), (rows, *state.shape[1:]), state, layout)
            # Of a pair, the common part alone.
            moving[: len(state)].copy_(state)
            moving[len(state) :].zero_()
            return moving

        for name in self.graph.free:
            # Given away one by one: all states twice would be too much.
            made[names("state", name)] = start(name, states.pop(name) if own else states[name])
        for key, name in program.program.scratch.items():
            like = made[names("state", name)]
            layout = last if like.ndim == 4 else torch.contiguous_format
            made[key] = memory.empty(key, like.shape, like, layout)
        clamped_input = names("state", self.graph.input.name)
        if pair and clamped_input in taken:
            made[clamped_input] = start(self.graph.input.name, clamped.x)
        return made

    def _weights(self, machine: Machine | None = None) -> dict[str, Any]:
        """Parameters by the names of emitted code; weights as they relax, rounded where that is asked for."""
        return {name: value.detach() for name, value in self.attached(machine).items()}

    def attached(self, machine: Machine | None = None) -> dict[str, Tensor]:
        """``_weights``, attached to what autograd knows of them; rounding counts as the identity there."""
        names = (machine or self.machine).tracer.names
        bits = self.architecture.dynamics.weight_bits
        values: dict[str, Tensor] = {}

        def put(name: str, weight: Tensor | None) -> None:
            if weight is not None:
                whole = weight.detach()
                values[names("weight", name)] = rounded(whole, bits) + (weight - whole) if bits else weight

        for edge in (edge for edge in self.graph.edges.values() if not edge.tied):
            put(edge.name, self.weight(edge))
            put(feedback_of(edge), self.feedback(edge))
        for state in self.graph.states.values():
            bias, alpha = self.bias(state), getattr(self.states[state.name], "alpha", None)
            if bias is not None:
                values[names("bias", state.name)] = bias
            if alpha is not None:
                values[names("alpha", state.name)] = alpha
        return values

    def _named(self, states: Mapping[str, Any]) -> dict[str, Any]:
        names = self.machine.tracer.names
        return {names("state", name): value for name, value in states.items()}

    def _steps(self, name: str, **options: Any) -> tuple[Step, ...]:
        """What is emitted beside the sweep."""
        return self.machine.functions(name, **options)

    def _diverged(self, states: States) -> tuple[str, ...]:
        """Names of the states that are not finite or, where nothing bounds them, larger than ``GROWN``."""
        names = list(states)
        plain = (torch.view_as_real(s) if s.is_complex() else s for s in states.values())
        sizes = (torch.stack(s.aminmax()).abs().amax() for s in plain)
        largest = torch.stack([size.float() for size in sizes]).tolist()
        bounds = [GROWN if isinstance(self.graph.states[name].activation, Identity) else float("inf") for name in names]
        return tuple(name for name, size, bound in zip(names, largest, bounds, strict=True) if not size < bound)


def _for_both(name: str, gradient: Tensor, trained: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield a weight's contrast, which its feedback weight receives as well, for those of the two that are trained."""
    feedback = name.removesuffix("weight") + "feedback"
    if feedback in trained and name in trained:
        yield feedback, gradient.clone()
    yield name if name in trained else feedback, gradient


def _tied(name: str) -> str:
    """Name of the weight that a feedback weight belongs to; other parameters are their own."""
    return f"{name.removesuffix('.feedback')}.weight" if name.endswith(".feedback") else name
