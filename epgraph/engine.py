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
from epgraph.arguments import choice, flag, instance, number, whole_number
from epgraph.compiler import BACKENDS, PLAIN, CompiledProgram, ProgramCache, choose, refuse
from epgraph.compiler.anderson import Anderson
from epgraph.compiler.cuda_graphs import Memory, capture_for
from epgraph.compiler.record import recorded
from epgraph.compiler.runtime import Step, rounded, run, watched
from epgraph.compiler.trace import PhaseName
from epgraph.costs import COSTS
from epgraph.errors import EpgraphError, nearest
from epgraph.estimators import ESTIMATORS, UNROLLING, WHOLE, Estimate, Problem
from epgraph.estimators.microbatches import cut, join
from epgraph.graph import Edge, State, check_rule
from epgraph.initialization import INITIAL
from epgraph.kinds import shape_text
from epgraph.language.architecture import EstimatorName
from epgraph.lowering import Plan
from epgraph.runtime.apart import refuse_meta, unrecorded
from epgraph.runtime.arguments import finite, floating, strength, tensor
from epgraph.runtime.arguments import states as checked_states
from epgraph.runtime.gradients import Gradients
from epgraph.runtime.memory import within_memory
from epgraph.runtime.parameters import LOWEST, Holder, Parameters, hand_out
from epgraph.runtime.phases import Nudge, Pull, per_example
from epgraph.runtime.relaxation import Clamped, Relaxation, States, Status, Sweep

GROWN = 1e6
"""A state without bounds whose size exceeds this has diverged; the published networks stay below 10²."""

CHECK_EVERY = 5
"""Sweeps between two looks at the residual when a tolerance is set; each look waits for the device."""


class _Named(nn.Module):
    """Modules by names of the user's own choice: ``ModuleDict`` refuses 'values', 'type' and many more."""

    def put(self, name: str, module: nn.Module) -> None:
        self._modules[name] = module

    def __setattr__(self, name: str, value: Any) -> None:
        # torch sets ``training``, which may be the name of a state: attributes are no modules here.
        object.__setattr__(self, name, value)

    def __getitem__(self, name: str) -> Holder:
        module = self._modules.get(name)
        if module is None:
            raise EpgraphError(f"there is no '{name}' here", nearest(str(name), list(self._modules)))
        assert isinstance(module, Holder)
        return module

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)


class Engine(nn.Module):
    """A network ready to run: ``relax``, ``energy``, ``backward``.

    Made by ``epgraph.compile``. Parameters are ordinary ``torch.nn.Parameter``s named ``edges.<name>.weight`` (in the
    layout of the edge's kind: OIHW, or (out, in) for dense), ``states.<name>.bias`` (one a channel) and, where feedback
    is untied, ``edges.<name>.feedback`` (as the weight); ``to``, ``state_dict`` and torch optimisers work as usual.
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
    ) -> None:
        super().__init__()
        instance("Engine", plan, Plan, "epgraph.compile makes engines of architectures and files")
        self.plan = plan
        self.seed = seed
        self.backend = backend
        self.without = without
        self.doubled = doubled
        self.cuda_graphs = cuda_graphs
        self.batches = float("inf")
        """Number of batches to come, if it is known: ``auto`` spreads what a backend takes to start over them."""
        self._machines: dict[str, Any] = {}
        self._plain_machines: dict[tuple[torch.dtype, bool], ProgramCache] = {}
        self.graph = plan.graph
        self.architecture = plan.graph.architecture
        self.learnt = [s.name for s in plan.graph.states.values() if s.activation.learnt]
        self.cost = COSTS[self.architecture.output.cost]
        self.edges = _Named()
        self.states = _Named()
        dtype = dtype or torch.get_default_dtype()
        # Parameters keep the digits that small updates need; half precision is for the states.
        kept = torch.promote_types(dtype, torch.float32)
        initial = INITIAL[self.architecture.init.rule if initialised else "published"](self.graph, seed, None)
        for state in self.graph.states.values():
            held: dict[str, Tensor] = {}
            if state.bias_shape is not None:
                held["bias"] = nn.Parameter(initial[f"states.{state.name}.bias"].to(device, kept))
            if isinstance(state.activation, ReLU) and state.activation.stored:
                alpha = initial[f"states.{state.name}.alpha"].to(device, kept)
                held["alpha"] = nn.Parameter(alpha) if state.activation.learn else alpha
            self.states.put(state.name, Holder(held))
        for edge in self.graph.edges.values():
            held = {}
            if edge.weight_shape is not None and not edge.tied:
                for part in ("weight", "feedback")[: 1 + edge.untied]:
                    value = initial[f"edges.{edge.name}.{part}"].to(device, kept)
                    held[part] = nn.Parameter(value, requires_grad=not edge.frozen)
            self.edges.put(edge.name, Holder(held))
        # A network may have no parameters at all; these tell where it runs, and in what precision states and parameters
        # are.
        for name, precision in (("_like", dtype), ("_kept", kept)):
            self.register_buffer(name, torch.empty(0, device=device, dtype=precision), persistent=False)

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

    def alpha(self, state: State, parameters: Parameters) -> float | Tensor:
        """Clipping level of a ReLUα state; 0 (unused) for other activations."""
        if not isinstance(state.activation, ReLU):
            return 0.0
        return parameters.values[f"states.{state.name}.alpha"] if state.activation.stored else state.activation.high

    def origins(self) -> dict[str, Tensor]:
        """Return what stands for every parameter now, attached to what autograd knows of it.

        A parametrized or pruned one is computed here, with autocast off: once for all that is done with the values.

        Raises
        ------
        EpgraphError
            Where one does not fit in shape, dtype or device, or asks for a gradient that nobody computes.
        """
        refuse_meta(self.device.type)
        self.project()
        found: dict[str, Tensor] = {}
        with torch.autocast(self.device.type, enabled=False):
            for part, holders in (("edges", self.edges), ("states", self.states)):
                for name in holders:
                    found |= holders[name].read(f"{part}.{name}", self._kept)
        for state in self.graph.states.values():
            level = found.get(f"states.{state.name}.alpha")
            if level is None or not level.requires_grad:
                continue
            if not state.activation.learnt:
                raise EpgraphError(
                    f"the level of state '{state.name}' requires a gradient, but it is not learnt",
                    "detach it, or declare the activation as {relu: …, learn: true}",
                )
            if not level.is_leaf:
                raise EpgraphError(
                    f"the learnt level of state '{state.name}' is computed from other tensors; only a plain parameter "
                    "can be kept positive",
                    "remove the parametrization of 'alpha', or pass functional_call a leaf tensor",
                )
        return found

    def snapshot(self) -> Parameters:
        """Return the values of all parameters at this moment."""
        return Parameters.of(self.origins())

    @unrecorded
    def initialise(self, x: Tensor, *, seed: int | None = None) -> None:
        """Draw all parameters anew by the rule of ``init``, with signals measured on inputs x in place of noise."""
        seed = self.seed if seed is None else whole_number("seed", seed, 0, 2**32 - 1)
        drawn = INITIAL[self.architecture.init.rule](self.graph, seed, self.check_input(x))
        for name, value in self.state_dict().items():
            if name not in drawn:
                raise EpgraphError(
                    f"'{name}' belongs to a parametrization, which no rule of init can draw",
                    "call initialise before you parametrize or prune the engine",
                )
            value.copy_(drawn[name])

    @torch.no_grad()
    def project(self) -> None:
        """Bring learnt levels α back to at least ``LOWEST``; every batch begins with it."""
        for name in self.learnt:
            level = self.states[name].alpha
            assert isinstance(level, Tensor)
            if level.requires_grad:  # one that is frozen cannot have left its range
                level.clamp_(min=LOWEST)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was emitted: functions made from text cannot be copied, and are made again when needed."""
        return {**self.__dict__, "_machines": {}, "_plain_machines": {}}

    def forward(self, x: Tensor) -> Tensor:
        """Return the output state at the free equilibrium, (batch, *output shape), starting from zeros.

        It has no graph for autograd, which ``epgraph.Equilibrium`` is for.
        """
        return self.relax(x).states[self.graph.output.name]

    @unrecorded
    def relax(
        self,
        x: Tensor,
        *,
        start: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        tolerance: float | None = None,
        target: Tensor | None = None,
        beta: float | None = None,
        record: bool = False,
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
            Keep states, energy F and residual after every sweep (memory then grows with the sweeps).

        Returns
        -------
        Relaxation
            Running out of steps is a status of it, not an exception. Its states have no graph for autograd.

        Raises
        ------
        EpgraphError
            Where an argument is not as described; the message names it.
        """
        x = self.check_input(x)
        given = self.check_start(start, len(x))
        strong = None if beta is None else strength("beta", beta, self.dtype, positive=False)
        if (strong is None and target is not None) or (strong and target is None):
            missing = "beta" if target is not None else "target"
            raise EpgraphError(f"a nudged phase needs a target and its strength beta, and there is no {missing}")
        nudge = None
        if target is not None and strong is not None:
            nudge = Nudge(self.cost, self.targets(target, len(x)), strong)
        parameters = self.snapshot()
        dynamics = self.architecture.dynamics
        steps = dynamics.free_steps if steps is None else whole_number("steps", steps, 0)
        tolerance = dynamics.tolerance if tolerance is None else number("tolerance", tolerance, least=0)
        record = flag("record", record)

        def probe(rows: int) -> None:
            few = None if nudge is None else replace(nudge, target=nudge.target[:rows])
            self.run(self.clamp(x[:rows], parameters), self.start(x[:rows], None), 1, 0.0, few)

        def work() -> Relaxation:
            clamped = self.clamp(x, parameters)
            return self.run(clamped, self.start(x, given), steps, tolerance, nudge, record=record, own=True)

        found = within_memory(len(x), self.device, work, probe, self._plain)
        if found.diverged:
            self._check_start_values(given)
        return found

    @unrecorded
    def phi(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """Φ(x, s, θ) per example, (batch,), of all states that move. Raises EpgraphError as ``energy``."""
        return self._energies(*self._checked(x, states))["phi"]

    @unrecorded
    def energy(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """F(s) = Σ Gₙ(sⁿ) − Φ per example, (batch,), with Gₙ′ = σ⁻¹; ``check`` says if sweeps may raise it.

        Raises
        ------
        EpgraphError
            Where a state that moves is missing or has another shape, or where feedback is untied: there is no F.
        """
        return self._energies(*self._checked(x, states))["energy"]

    @property
    def untied(self) -> Edge | None:
        """The first edge with a feedback weight of its own: the network then has no energy. None where all are tied."""
        return next((edge for edge in self.graph.edges.values() if edge.untied), None)

    def energy_of(self, clamped: Clamped, states: Mapping[str, Tensor]) -> Tensor:
        """``energy`` under the parameters of a clamped batch."""
        return self._energies(clamped.x, states, clamped)["energy"]

    def _energies(self, x: Tensor, states: Mapping[str, Tensor], clamped: Clamped | None = None) -> dict[str, Tensor]:
        """``phi`` and ``energy`` per example, of an input and of all states as they run."""
        if self.untied is not None:
            raise EpgraphError(
                f"there is no energy: edge '{self.untied.name}' has a feedback weight of its own",
                "set learning.feedback: tied",
            )
        machine = self.machine if clamped is None else clamped.machine
        weights = self.emitted(self.snapshot().values, machine) if clamped is None else clamped.values
        values = weights | _named(machine, {**states, self.graph.input.name: x})
        run(machine.functions("energy"), values)
        return values

    def _checked(self, x: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """Return an input and all states that move, as they run."""
        x = self.check_input(x)
        found = self._states("states", states, len(x))
        missing = [name for name in self.graph.free if name not in found]
        if missing:
            raise EpgraphError(f"states: '{missing[0]}' is missing", f"it takes all of: {', '.join(self.graph.free)}")
        return x, {name: s.to(x) for name, s in found.items()}

    @unrecorded
    def loss(self, states: Mapping[str, Tensor], y: Tensor) -> Tensor:
        """Cost C of the output state, which is one of ``states``, per example, (batch,)."""
        name = self.graph.output.name
        output = states.get(name) if isinstance(states, Mapping) else None
        if output is None:
            raise EpgraphError(f"states: the output '{name}' is missing", "pass what relax returns: relaxation.states")
        batch = len(output) if isinstance(output, Tensor) and output.ndim else 1
        output = self._states("states", {name: output}, batch)[name].to(self.device, self.dtype)
        return self.cost.value(output, self.targets(y, batch))

    @unrecorded
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
            ``implicit`` differentiates its equilibrium.
        beta, points, continual_rate
            As in ``learning``.
        start, tolerance
            As for ``relax``; the free phase starts there.
        free_steps, nudged_steps
            Most sweeps of a phase: 0 or more of the free one, 1 or more of a nudged one.
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
            Where an argument is not as described, a parameter is not what it was, or the network cannot use the
            estimator: the argument, the parameter, or the state or edge in the way is named.
        """
        architecture = self.architecture
        learning, dynamics = architecture.learning, architecture.dynamics
        name = learning.estimator if estimator is None else choice("estimator", estimator, ESTIMATORS)
        if name != learning.estimator:
            check_rule(self.graph, name)
        beta = strength("beta", learning.beta if beta is None else beta, self.dtype)
        points = learning.points if points is None else whole_number("points", points, 2, 1024)
        rate = continual_rate
        rate = learning.continual_rate if rate is None else number("continual_rate", rate, least=0)
        tolerance = dynamics.tolerance if tolerance is None else number("tolerance", tolerance, least=0)
        free_steps = dynamics.free_steps if free_steps is None else whole_number("free_steps", free_steps, 0)
        # A phase of no sweep would contrast equal states, and call the gradient zero.
        nudged_steps = dynamics.nudged_steps if nudged_steps is None else whole_number("nudged_steps", nudged_steps, 1)
        keep, energy = flag("keep", keep), flag("energy", energy) and self.untied is None
        for label, value in (("x", x), ("y", y)):
            if isinstance(value, Tensor) and value.requires_grad:
                raise EpgraphError(
                    f"{label} requires a gradient, and backward gives one to parameters alone",
                    f"put the engine in an epgraph.Equilibrium, which gives one to its input, or pass {label}.detach()",
                )
        x = self.check_input(x)
        target = self.targets(y, len(x))
        given = self.check_start(start, len(x))
        with torch.enable_grad():
            origins = self.origins()
        parameters = Parameters.of(origins)
        gradients: Gradients = {}
        drawn: dict[str, float] = {}

        def piece(
            rows: slice,
            prepared: dict[str, Any],
            free_steps: int,
            nudged_steps: int,
            gradients: Gradients,
            *,
            last: bool = True,
        ) -> Estimate:
            clamped = self.clamp(x[rows], parameters, prepared)
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
                gradients,
                keep=keep,
                energy=energy,
                points=points,
                rate=rate,
                drawn=drawn,
                last=last,
            )
            return ESTIMATORS[name](problem)

        def probe(rows: int) -> None:
            piece(slice(rows), {}, free_steps if name in UNROLLING else 1, 1, {})

        def work() -> Estimate:
            prepared: dict[str, Any] = {}
            pieces = [slice(len(x))] if name in WHOLE else cut(self.graph, len(x), self.device)
            return join(
                [piece(rows, prepared, free_steps, nudged_steps, gradients, last=rows is pieces[-1]) for rows in pieces]
            )

        found = within_memory(len(x), self.device, work, probe, self._plain)
        if found.diverged:
            self._check_start_values(given)
        hand_out(gradients, origins)
        return found

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

    # Memory that replayed sweeps keep has to serve outside of inference mode too.
    @torch.inference_mode(False)
    @torch.no_grad()
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
                mixer = self._mixer(clamped, tuple(moved_names), held, free=nudge is None, pair=pair)
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
                        known = self.untied is None
                        energy = self.energy_of(clamped, now) if known else residuals * float("nan")
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

    def program(
        self, phase: PhaseName, machine: ProgramCache | None = None, pulled: tuple[str, ...] = ()
    ) -> CompiledProgram:
        """The emitted sweep of a phase; emitted now, if it was not before. ``pulled``: states that feel a ``Pull``."""
        return (machine or self.machine).program(phase, relaxed=self.architecture.dynamics.stepped, pulled=pulled)

    def _mixer(self, clamped: Clamped, names: Sequence[str], held: States, *, free: bool, pair: bool) -> Anderson:
        """Anderson acceleration of the states named. The energy, if there is one, is watched where nothing nudges."""

        def energy(states: Sequence[Tensor]) -> Tensor:
            return self.energy_of(clamped, {**held, **dict(zip(names, states, strict=True))})

        def box(states: Sequence[Tensor]) -> None:
            # Mixing extrapolates. Beyond the range of σ there is no G, and its formula may give anything there.
            for name, s in zip(names, states, strict=True):
                state = self.graph.states[name]
                activation, alpha = state.activation, self.alpha(state, clamped.parameters)
                bounds = activation.bounds(alpha)
                if bounds is not None and not pair:
                    s.clamp_(min=bounds[0]).clamp_(max=bounds[1])
                elif isinstance(activation, ReLU):
                    # σ of ReLUα is the projection on its range.
                    common, odd = s.chunk(2)
                    s.copy_(torch.cat(activation.pair(common, odd, alpha)))

        descends = free and self.untied is None
        return Anderson(self.architecture.dynamics.anderson, energy if descends else None, box)

    @property
    def machine(self) -> ProgramCache:
        """The emitted programs, for the present device and precision."""
        key = (self.device, self.dtype, self._kept.dtype != self.dtype, self.backend, self.batches)
        if self._machines.get("key") != key:
            name = self.backend
            if name == "auto":
                measured = recorded(self.plan, self.device, self.dtype, self.batches)
                name = measured or choose(self.plan, self.device, self.dtype)
            backend = refuse(name, self.plan, self.device, self.dtype, self.without)
            made = ProgramCache(
                self.plan,
                self.dtype,
                cast=key[2],
                backend=backend,
                capture=capture_for(self.device) if self.cuda_graphs else None,
            )
            self._machines = {"key": key, "machine": made}
        found: ProgramCache = self._machines["machine"]
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
            made = ProgramCache(self.plan, dtype, cast=False, backend=BACKENDS["eager"])
            self._machines["complex"] = made
        machine: ProgramCache = self._machines["complex"]
        values = self.emitted(clamped.parameters.values, machine)
        for name in self.graph.free:
            # Not computed anew: max pooling of the clamped input needs real numbers.
            constant = clamped.values.get(clamped.machine.tracer.names("constant", name))
            if constant is not None:
                # A bias on its own has one row for all examples.
                rows = 1 if len(constant) == 1 else copies
                values[machine.tracer.names("constant", name)] = constant.repeat(rows, *(1,) * (constant.ndim - 1))
        x = clamped.x.repeat(copies, *(1,) * (clamped.x.ndim - 1))
        return Clamped(x, clamped.parameters, values, {}, machine)

    def plain(self, dtype: torch.dtype, *, cast: bool) -> ProgramCache:
        """Programs in their plain form, which autograd differentiates; ``cast``: parameters have another dtype."""
        if (dtype, cast) not in self._plain_machines:
            self._plain_machines[dtype, cast] = ProgramCache(self.plan, dtype, cast=cast, backend=PLAIN, strict=True)
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

    def clamp(self, x: Tensor, parameters: Parameters | None = None, prepared: dict[str, Any] | None = None) -> Clamped:
        """Compute what the input and the biases contribute, which no sweep needs to compute again.

        ``parameters`` are those of this moment where left out. ``prepared`` receives what depends on parameters alone,
        for other pieces of the batch.
        """
        machine = self.machine
        parameters = parameters or self.snapshot()
        values = self.emitted(parameters.values, machine) | _named(machine, {self.graph.input.name: x})
        run(machine.functions("constants"), values)
        return Clamped(x, parameters, values, {} if prepared is None else prepared, machine)

    def start(self, x: Tensor, given: Mapping[str, Tensor] | None) -> States:
        """Initial states, checked: copies of those given, zeros where left out."""
        given = self.check_start(given, len(x))
        return {
            name: given[name].to(x, copy=True)
            if name in given
            else x.new_zeros((len(x), *self.graph.states[name].shape))
            for name in self.graph.free
        }

    def check_start(self, given: Mapping[str, Tensor] | None, batch: int) -> States:
        """Return the states to start from, or say which of them is none, or has another shape than the network's."""
        return {} if given is None else self._states("start", given, batch)

    def _states(self, what: str, given: Mapping[str, Tensor], batch: int) -> States:
        return checked_states(what, given, self._shapes, batch)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the states that move, of one example."""
        return {name: self.graph.states[name].shape for name in self.graph.free}

    def _check_start_values(self, start: States) -> None:
        """Raise where a phase diverged because it began with what is no number."""
        for name, state in start.items():
            finite(f"start: state '{name}'", state, self._like)

    def check_input(self, x: Tensor) -> Tensor:
        """Return x on the engine's device and in its precision, or say what was expected."""
        name, shape = self.graph.input.name, self.graph.input.shape
        x = floating(f"input '{name}'", x)
        if x.ndim != len(shape) + 1 or tuple(x.shape[1:]) != shape or len(x) == 0:
            raise EpgraphError(
                f"input '{name}' expects a batch of {shape_text(shape)}, found {tuple(x.shape)}",
                "the first dimension is the batch, of one example or more",
            )
        return finite(f"input '{name}'", x, self._like)

    def targets(self, y: Tensor, batch: int) -> Tensor:
        """Integer labels (batch,) as one-hot rows, or targets (batch, *output shape) as they are."""
        classes, shape = self.architecture.output.classes, (batch, *self.graph.output.shape)
        y = tensor("y", y)
        dtype = str(y.dtype).removeprefix("torch.")
        if y.dtype == torch.bool or y.is_complex():
            hint = "its imaginary part would be lost: pass y.real" if y.is_complex() else "pass y.long() or y.float()"
            raise EpgraphError(f"y expects labels or targets, found {dtype}", hint, "wrong-type")
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
                f"expected {batch} {labels}targets of shape {shape}, found {tuple(y.shape)} of {dtype}",
                "" if classes is not None else "labels need output.classes in place of output.shape",
            )
        return finite("y", y, self._like)

    def contrasts(
        self, clamped: Clamped, pairs: States, scale: float | Tensor, wanted: Collection[str] | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield ``scale`` · ½[∂Φ/∂θ(s⁺) − ∂Φ/∂θ(s⁻)], summed over the batch, of one parameter after the other.

        For a learnt level α, Σ (∂Φ/∂s − α)₊ stands in place of ∂Φ/∂θ.

        Parameters
        ----------
        clamped
            The clamped input, and the parameters.
        pairs
            Common and odd parts of the states, (2·batch, *shape).
        scale
            One number, or one for each example, (batch,).
        wanted
            Names of weights to take of those that are trained; where left out, all parameters that are. A feedback
            weight receives what its edge's weight does (Laborieux et al. 2021).
        """
        x, machine, parameters = clamped.x, clamped.machine, clamped.parameters.values
        trained = clamped.parameters.trained
        both = {_tied(name) for name in trained}
        both = both if wanted is None else both.intersection(wanted)
        values = clamped.values | _named(machine, {**pairs, self.graph.input.name: _whole(x)})
        weigh = partial(self._weighted, machine, weights=scale) if isinstance(scale, Tensor) else None
        if isinstance(scale, Tensor):
            apart = {name: edges for name, edges in self._entangled.items() if name in both}
            both -= apart.keys()
            for name, edges in apart.items():
                # Each edge by itself, with examples weighted where its own contrast is linear.
                found = sum(self._weighted_contrast(edge, machine, values, scale) for edge in edges)
                yield from _for_both(name, found.to(parameters[name].dtype), trained)  # type: ignore[union-attr]
        steps = machine.functions("gradient", trainable=frozenset(both), once=self.doubled)
        for name, found in _computed(steps, values, weigh):
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

    @cached_property
    def _weight_owners(self) -> dict[str, Edge]:
        """Edges that have a weight of their own, by its name."""
        edges = self.graph.edges.values()
        return {f"edges.{edge.name}.weight": edge for edge in edges if edge.weight_shape is not None and not edge.tied}

    def _weighted_contrast(
        self, edge: Edge, machine: ProgramCache, values: Mapping[str, Any], weights: Tensor
    ) -> Tensor:
        """Contrast of one edge with every example's multiplied by its weight; see ``_weighted``."""
        names = machine.tracer.names
        source, target = (values[names("state", name)] for name in (edge.source, edge.target))
        weight = values[names("weight", edge.owner)].to(source.dtype)
        target = target * per_example(weights.repeat(2), target)
        return edge.kind.weight_contrast(weight, source, target, self.graph.states[edge.source].shape)

    def _weighted(self, machine: ProgramCache, step: Step, values: dict[str, Any], weights: Tensor) -> dict[str, Any]:
        """Values of a gradient function with every example's contrast multiplied by its weight."""
        edge = self._weight_owners.get(step[2][0])
        # Φ is linear in the target of an edge, and so is its contrast; the source decides the arg-max of max pooling,
        # and has to stay what it is. A bias is contrasted with its state alone.
        scaled = self.graph.free if edge is None else [edge.target]
        taken = dict(values)
        for key in _named(machine, dict.fromkeys(scaled)):
            if key in step[1]:
                taken[key] = taken[key] * per_example(weights.repeat(2), taken[key])
        return taken

    def input_contrast(self, clamped: Clamped, pairs: States) -> Tensor:
        """½[∂Φ/∂x(s⁺) − ∂Φ/∂x(s⁻)] per example, (batch, *input shape): the adjoints of the edges at the input."""
        name, shape = self.graph.input.name, self.graph.input.shape
        whole = _whole(clamped.x)
        found = torch.zeros_like(clamped.x)
        for edge in (*self.graph.post(name), *self.graph.pre(name)):
            weight = clamped.values.get(clamped.machine.tracer.names("weight", edge.owner))
            weight = None if weight is None else weight.to(whole.dtype)
            if edge.source == name:
                made = edge.kind.adjoint_pair(weight, pairs[edge.target], whole, shape)
            else:
                made = edge.kind.forward_pair(weight, pairs[edge.source], shape)
            found.add_(made.chunk(2)[1])
        return found

    def local(self, clamped: Clamped, free: States, nudge: Nudge) -> Iterator[tuple[str, Tensor]]:
        """Yield the cost's own gradient at the free state, of one parameter of a readout after the other."""
        parameters = clamped.parameters
        values = clamped.values | _named(clamped.machine, free) | {"y": nudge.target}
        for name, found in _computed(clamped.machine.functions("local", trainable=parameters.trained), values):
            yield name, found.to(parameters.values[name].dtype).mul_(1.0 / nudge.examples)

    def _load(
        self,
        memory: Memory,
        program: CompiledProgram,
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

    def emitted(self, values: Mapping[str, Tensor], machine: ProgramCache) -> dict[str, Any]:
        """Parameters by the names of emitted code; weights as they relax, rounded where that is asked for.

        Rounding counts as the identity where autograd follows it.
        """
        names = machine.tracer.names
        bits = self.architecture.dynamics.weight_bits
        found: dict[str, Any] = {}
        for edge in (edge for edge in self.graph.edges.values() if not edge.tied):
            for role in ("weight", "feedback"):
                weight = values.get(f"edges.{edge.name}.{role}")
                if weight is not None:
                    whole = weight.detach()
                    found[names(role, edge.name)] = rounded(whole, bits) + (weight - whole) if bits else weight
        for state in self.graph.states:
            for role in ("bias", "alpha"):
                value = values.get(f"states.{state}.{role}")
                if value is not None:
                    found[names(role, state)] = value
        return found

    def _diverged(self, states: States) -> tuple[str, ...]:
        """Names of the states that are not finite or, where nothing bounds them, larger than ``GROWN``."""
        names = list(states)
        plain = (torch.view_as_real(s) if s.is_complex() else s for s in states.values())
        sizes = (torch.stack(s.aminmax()).abs().amax() for s in plain)
        largest = torch.stack([size.float() for size in sizes]).tolist()
        bounds = [GROWN if isinstance(self.graph.states[name].activation, Identity) else float("inf") for name in names]
        return tuple(name for name, size, bound in zip(names, largest, bounds, strict=True) if not size < bound)


def _named(machine: ProgramCache, states: Mapping[str, Any]) -> dict[str, Any]:
    """States by the names of emitted code."""
    return {machine.tracer.names("state", name): value for name, value in states.items()}


def _whole(x: Tensor) -> Tensor:
    """The clamped input as a pair: it has no odd part."""
    return torch.cat((x, torch.zeros_like(x)))


def _computed(
    steps: Sequence[Step],
    values: dict[str, Any],
    change: Callable[[Step, dict[str, Any]], dict[str, Any]] | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield what recorded functions compute, one result after the other, so that each can be used up.

    ``change`` gives a function other values.
    """
    for step in steps:
        taken = values if change is None else change(step, values)
        run((step,), taken)
        for name in step[2]:
            yield name, taken.pop(name)


def _for_both(name: str, gradient: Tensor, trained: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield a weight's contrast, which its feedback weight receives as well, for those of the two that are trained."""
    feedback = name.removesuffix("weight") + "feedback"
    if feedback in trained and name in trained:
        yield feedback, gradient.clone()
    yield name if name in trained else feedback, gradient


def _tied(name: str) -> str:
    """Name of the weight that a feedback weight belongs to; other parameters are their own."""
    return f"{name.removesuffix('.feedback')}.weight" if name.endswith(".feedback") else name
