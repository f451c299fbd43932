"""The executor: runs the programs of a network on given parameters. It stands below the estimators.

The fast path: explicit sums over neighbours, no autograd, and memory that does not grow with the number of
sweeps. ``epgraph.testing.oracle`` is what it is held to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import inf
from typing import Any

import torch
from torch import Tensor

from epgraph.compiler import CompiledProgram, ProgramCache
from epgraph.compiler.loading import Memory
from epgraph.compiler.runtime import rounded
from epgraph.compiler.sweep import Sweeps, prepare, relax_, run, run_with_residual
from epgraph.compiler.trace import PhaseName
from epgraph.costs import COSTS
from epgraph.errors import EpgraphError
from epgraph.lowering import Plan
from epgraph.runtime.contrasts import Contrasts
from epgraph.runtime.inputs import Inputs
from epgraph.runtime.loading import BatchPhase, load
from epgraph.runtime.parameters import Parameters
from epgraph.runtime.phases import Nudge, Pull
from epgraph.runtime.programs import Programs
from epgraph.runtime.relaxation import Clamped, Record, Relaxation, States, Status, Sweep, named
from epgraph.runtime.solving import Solving, clip_pair_

DIVERGENCE_LIMIT = 1e6
"""A state without bounds whose size exceeds this has diverged; the published networks stay below 10²."""


class Executor:
    """Sweeps, energies and contrasts of one network, on one device and in one precision.

    It holds no parameters: they come with every call, at best as part of a ``Clamped`` batch.

    Attributes
    ----------
    inputs
        Checks what a caller gives.
    contrasts
        What estimators make gradients from.
    doubled
        Whether the two nudged phases run as one doubled batch.
    """

    def __init__(self, plan: Plan, programs: Programs, *, doubled: bool) -> None:
        self.plan = plan
        self.programs = programs
        self.doubled = doubled
        self.graph = plan.graph
        self.architecture = plan.graph.architecture
        self.cost = COSTS[self.architecture.output.cost]
        self.device, self.dtype = programs.settings.device, programs.settings.dtype
        self.inputs = Inputs(self.graph, torch.empty(0, device=self.device, dtype=self.dtype))
        self.contrasts = Contrasts(self.graph, once=doubled)
        self.omega = self.architecture.dynamics.step

    @property
    def machine(self) -> ProgramCache:
        """The emitted programs of the engine's own sweeps."""
        return self.programs.machine

    def program(
        self, phase: PhaseName, machine: ProgramCache | None = None, pulled: tuple[str, ...] = ()
    ) -> CompiledProgram:
        """The emitted sweep of a phase; emitted now, if it was not before. ``pulled``: states that feel a ``Pull``."""
        return (machine or self.machine).program(phase, relaxed=self.architecture.dynamics.stepped, pulled=pulled)

    def clamp(self, x: Tensor, parameters: Parameters, prepared: dict[str, Any] | None = None) -> Clamped:
        """Compute what the input and the biases contribute, which no sweep needs to compute again.

        ``prepared`` receives what depends on parameters alone, for other pieces of the batch.
        """
        machine = self.machine
        values = self.emitted(parameters.values, machine) | named(machine, {self.graph.input.name: x})
        run(machine.functions("constants"), values)
        return Clamped(x, parameters, values, {} if prepared is None else prepared, machine)

    def continued(self, clamped: Clamped, copies: int) -> Clamped:
        """Return ``copies`` of a batch, one below the other, for complex states.

        Raises
        ------
        EpgraphError
            Where the states have a precision that has no complex one.
        """
        machine = self.programs.complex
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

    def emitted(self, values: Mapping[str, Tensor], machine: ProgramCache) -> dict[str, Any]:
        """Parameters by the names of emitted code; weights as they relax, rounded where that is asked for.

        Rounding counts as the identity where autograd follows it.
        """
        names = machine.tracer.names
        bits = self.architecture.dynamics.weight_bits
        by_key: dict[str, Any] = {}
        for edge in (edge for edge in self.graph.edges.values() if not edge.tied):
            for role in ("weight", "feedback"):
                weight = values.get(f"edges.{edge.name}.{role}")
                if weight is not None:
                    whole = weight.detach()
                    by_key[names(role, edge.name)] = rounded(whole, bits) + (weight - whole) if bits else weight
        for state in self.graph.states:
            for role in ("bias", "alpha"):
                value = values.get(f"states.{state}.{role}")
                if value is not None:
                    by_key[names(role, state)] = value
        return by_key

    def energies(self, x: Tensor, states: Mapping[str, Tensor], parameters: Parameters) -> dict[str, Tensor]:
        """``phi`` and ``energy`` per example, (batch,), of an input and of all states as they run.

        Raises
        ------
        EpgraphError
            Where feedback is untied: there is no F.
        """
        self._refuse_untied()
        return self._energies(self.machine, self.emitted(parameters.values, self.machine), x, states)

    def energy_of(self, clamped: Clamped, states: Mapping[str, Tensor]) -> Tensor:
        """F per example, (batch,), under the parameters of a clamped batch. Raises as ``energies``."""
        self._refuse_untied()
        return self._energies(clamped.machine, clamped.values, clamped.x, states)["energy"]

    def _energies(
        self, machine: ProgramCache, parameters: dict[str, Any], x: Tensor, states: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        values = parameters | named(machine, {**states, self.graph.input.name: x})
        run(machine.functions("energy"), values)
        return values

    def _refuse_untied(self) -> None:
        if self.graph.untied is not None:
            raise EpgraphError(
                f"there is no energy: edge '{self.graph.untied.name}' has a feedback weight of its own",
                "set learning.feedback: tied",
            )

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
        clamp_output: bool = False,
        record: Record = False,
        donate: bool = False,
        borrow: bool = False,
        carried: Mapping[str, Tensor] | None = None,
        for_gradient: bool = False,
    ) -> Relaxation:
        """Sweep until the residual is at most ``tolerance`` or ``steps`` are taken; see ``Engine.relax``.

        Parameters
        ----------
        states
            Those that move, (batch, *shape) each.
        pair
            The states returned are pairs, and those given may be: states of one row an example are the common part,
            and the odd part starts from zero.
        clamp_output
            The output stays as it is given, and the others move.
        record
            Keep a trajectory; or a function that is called with each ``Sweep`` of it, and nothing is kept.
        donate
            ``states`` is emptied, one state after the other, to save memory; else they are left as they are.
        borrow
            The states returned may be memory that the next run overwrites.
        carried
            ``Relaxation.carried`` of these states, which then need not be computed again.
        for_gradient
            A gradient needs errors and the states that they were computed from. Where a sweep is a way back and a way
            forward, the last one ends without the latter. Its residual is the change of the errors.
        """
        phase = self._phase(clamped, nudge, pair=pair, clamp_output=clamp_output)
        prepare(phase.program.phase.prepare, clamped.values, clamped.prepared)
        if self.graph.energy.feedforward and nudge is None and not clamp_output:
            return self._forward(phase, states, record=record, donate=donate)
        given = carried or {}
        dynamics = self.architecture.dynamics
        # Noise is drawn anew by every sweep, which a captured one might not do.
        returned = clamped.machine.tracer.returned if for_gradient else ()
        sweeps = phase.program.phase.sweeps(given, len(clamped.x), steps, phase.keys.values(), returned)
        closes = bool(sweeps.closing)
        one_by_one = record or dynamics.chosen_solver.mixes or dynamics.noise or steps <= closes
        replay = None if one_by_one else clamped.machine.replay
        if replay is None:
            values = load(Memory(), phase, states, given, self.omega, donate=donate)
            return self._sweep(phase, values, steps, tolerance, sweeps, record=record)

        def again(memory: Memory) -> dict[str, Any]:
            # Captured sweeps may have to start twice.
            values = load(memory, phase, states, given, self.omega, donate=False)
            return values | self._no_errors(memory, phase, sweeps.errors, values)

        names = list(phase.keys.values())
        captured = steps - closes
        values, residuals, taken = replay.run(phase.program, again, names, captured, tolerance=tolerance, pair=pair)
        if closes and tolerance > 0 and bool((residuals <= tolerance).all()):
            run(sweeps.closing, values)
        elif closes:
            residuals = run_with_residual(sweeps.closing, values, frozenset(sweeps.errors), pair=pair, of=names)
            taken = steps
        residuals = residuals.clone()

        def kept(found: States) -> States:
            return found if borrow else {name: value.clone() for name, value in found.items()}

        settled = kept({name: values[key] for name, key in phase.keys.items()})
        ended = self.ended(settled, taken, residuals, tolerance)
        return replace(ended, carried=kept(self._handed(phase, values, closed=closes)))

    def _forward(self, phase: BatchPhase, states: States, *, record: Record, donate: bool) -> Relaxation:
        """One pass over the states, which ends at the free equilibrium."""
        values = load(Memory(), phase, states, {}, self.omega, donate=donate)
        run(phase.program.phase.sweep, values)
        residuals = torch.zeros(len(phase.clamped.x), device=phase.clamped.x.device)
        trajectory = list[Sweep]()
        if record:
            see = record if callable(record) else trajectory.append
            see(self._recorded(phase, values, residuals))
        settled = {name: values[key] for name, key in phase.keys.items()}
        ended = self.ended(settled, 1, residuals, inf)
        return replace(ended, trajectory=trajectory, carried=self._handed(phase, values, closed=False))

    def _no_errors(
        self, memory: Memory, phase: BatchPhase, errors: Sequence[str], values: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Zeros at the fixed addresses of errors, whose last change is the residual."""
        names = phase.clamped.machine.tracer.names
        kinds = (("carried", "sent"), ("carried", "error"), ("next",))
        of = {names(*kind, state): key for state, key in phase.keys.items() for kind in kinds}
        layout = torch.channels_last if phase.program.phase.channels_last else torch.contiguous_format

        def zeros(name: str, like: Tensor) -> Tensor:
            kept = memory.empty(name, like.shape, like, layout if like.ndim == 4 else torch.contiguous_format)
            return kept.zero_()

        return {name: zeros(name, values[of[name]]) for name in errors}

    @staticmethod
    def _handed(phase: BatchPhase, values: Mapping[str, Any], *, closed: bool) -> dict[str, Tensor]:
        """What a phase hands on; errors if the states are still those that they were computed from."""
        tracer = phase.clamped.machine.tracer
        names = (*tracer.handed, *(tracer.returned if closed else ()))
        return {name: values[name] for name in names if name in values}

    def _phase(self, clamped: Clamped, nudge: Nudge | Pull | None, *, pair: bool, clamp_output: bool) -> BatchPhase:
        name: PhaseName = "clamped" if clamp_output else "pair" if pair else "free" if nudge is None else "nudged"
        pulled = tuple(state for state in self.graph.free if isinstance(nudge, Pull) and state in nudge.forces)
        keys = {state: clamped.machine.tracer.names("state", state) for state in self.graph.free}
        moving = {state: key for state, key in keys.items() if not (clamp_output and state == self.graph.output.name)}
        return BatchPhase(clamped, self.program(name, clamped.machine, pulled), nudge, keys, moving, pair)

    def _sweep(
        self,
        phase: BatchPhase,
        values: dict[str, Any],
        steps: int,
        tolerance: float,
        sweeps: Sweeps,
        *,
        record: Record,
    ) -> Relaxation:
        """Take one sweep after the other, from ``values`` and in their memory."""
        trajectory = list[Sweep]()
        see = record if callable(record) else trajectory.append
        residuals, taken = relax_(
            sweeps,
            values,
            list(phase.moving.values()),
            steps,
            tolerance,
            pair=phase.pair,
            correct=self._solving(phase, values).correct if self.architecture.dynamics.chosen_solver.mixes else None,
            record=(lambda seen: see(self._recorded(phase, values, seen))) if record else None,
        )
        if residuals is None:
            residuals = torch.full((len(phase.clamped.x),), float("nan"), device=phase.clamped.x.device)
        settled = {name: values[key] for name, key in phase.keys.items()}
        ended = self.ended(settled, taken, residuals, tolerance)
        handed = self._handed(phase, values, closed=bool(sweeps.closing)) if taken else {}
        return replace(ended, trajectory=trajectory, carried=handed)

    def _recorded(self, phase: BatchPhase, values: dict[str, Any], residuals: Tensor) -> Sweep:
        now = {name: values[key].clone() for name, key in phase.keys.items()}
        known = self.graph.untied is None
        energy = self.energy_of(phase.clamped, now) if known else residuals * float("nan")
        return Sweep(now, energy, float(residuals.max()))

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

    def _solving(self, phase: BatchPhase, values: dict[str, Any]) -> Solving:
        """The solver at work on what moves. In the free phase states that raise F, if there is one, are rejected."""
        clamped, names = phase.clamped, list(phase.moving)
        fixed = {name: values[key] for name, key in phase.keys.items() if name not in phase.moving}

        def energy(states: Sequence[Tensor]) -> Tensor:
            return self.energy_of(clamped, {**fixed, **dict(zip(names, states, strict=True))})

        def box(states: Sequence[Tensor]) -> None:
            self.box(dict(zip(names, states, strict=True)), clamped.parameters, pair=phase.pair)

        descends = phase.nudge is None and self.graph.untied is None
        return Solving(self.architecture.dynamics.chosen_solver, energy if descends else None, box)

    def box(self, states: States, parameters: Parameters, *, pair: bool = False) -> None:
        """Bring states, or pairs of them, back into the range of their activations, in place.

        A solver extrapolates. Beyond the range of σ there is no G, and its formula may give anything there. An end of
        the range is harmless, although σ′ is 0 there: the next sweep replaces the state by σ of what its neighbors
        give, and a relaxation always ends with a sweep.
        """
        for name, s in states.items():
            state = self.graph.states[name]
            bounds = state.activation.bounds(parameters.alpha(state))
            if bounds is None:
                continue
            low, high = bounds
            if pair:
                clip_pair_(s, low, high)
            else:
                s.clamp_(min=low).clamp_(max=high)

    def _diverged(self, states: States) -> tuple[str, ...]:
        """Names of the states that are not finite or, where nothing bounds them, beyond ``DIVERGENCE_LIMIT``."""
        reals = [torch.view_as_real(s) if s.is_complex() else s for s in states.values()]
        limits = [self._limits[name] for name in states]
        # A sum is finite where its terms are, and takes a fifth of the time that the largest of them does.
        sizes = (
            s.sum(dtype=torch.promote_types(s.dtype, torch.float32))
            if limit == inf
            else torch.stack(s.aminmax()).abs().amax()
            for s, limit in zip(reals, limits, strict=True)
        )
        largest = torch.stack([size.abs().double() for size in sizes]).tolist()
        return tuple(name for name, size, limit in zip(states, largest, limits, strict=True) if not size < limit)

    @cached_property
    def _limits(self) -> dict[str, float]:
        """Size at which each state counts as diverged; one that has bounds cannot grow."""
        return {
            name: DIVERGENCE_LIMIT if state.activation.linear else float("inf")
            for name, state in self.graph.states.items()
        }
