"""What every emitted module ends with. ``export.py`` copies the source below and puts the tables of a network first.

Needs torch, ``runtime``, ``sweep`` and ``loading`` alone: what its sweeps take, and how they run, is as in the
executor. The tables are empty here and stand for those that ``export.py`` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from epgraph.compiler.loading import Memory, Phase, load
from epgraph.compiler.runtime import rounded
from epgraph.compiler.sweep import Step, as_pair, prepare, relax_, run

STATES: dict[str, tuple[str, tuple[int, ...]]] = {}
PARAMETERS: dict[str, tuple[str, tuple[int, ...]]] = {}
PHASES: dict[str, Phase] = {}
FUNCTIONS: dict[str, tuple[Step, ...]] = {}
NETWORK, BACKEND = "", ""
INPUT, OUTPUT = "", ""
CLASSES: int | None = None
DTYPE = PARAMETER_DTYPE = torch.float32
ONE_PASS = False
FREE_STEPS = NUDGED_STEPS = 0
HANDED: tuple[str, ...] = ()
RETURNED: tuple[str, ...] = ()
TOLERANCE, BETA, OMEGA = 0.0, 0.0, 1.0
WEIGHT_BITS = 0


class Engine:
    """The network with its parameters, ready to run.

    Parameters
    ----------
    parameters
        What ``state_dict`` of the epgraph engine returns: a tensor for every name in ``PARAMETERS``. It runs on their
        device. ``ValueError`` where one is missing, unknown or of another shape.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        if wrong := sorted(parameters.keys() ^ PARAMETERS.keys()):
            raise ValueError(f"parameters missing or unknown: {', '.join(wrong)}")
        self.weights: dict[str, Any] = {}
        self.device = torch.device("cpu")
        for name, (argument, shape) in PARAMETERS.items():
            given = parameters[name].detach()
            if tuple(given.shape) != shape:
                raise ValueError(f"parameter '{name}' has shape {tuple(given.shape)}, expected {shape}")
            value = given.to(PARAMETER_DTYPE)
            self.weights[argument] = rounded(value, WEIGHT_BITS) if WEIGHT_BITS and name[:6] == "edges." else value
            self.device = given.device

    @torch.no_grad()
    def relax(
        self,
        x: Tensor,
        *,
        steps: int = FREE_STEPS,
        start: Mapping[str, Tensor] | None = None,
        tolerance: float = TOLERANCE,
    ) -> dict[str, Tensor]:
        """Let the network settle with its input clamped to ``x``, (batch, *input shape).

        Starts from zeros where ``start`` leaves a state out. Stops after ``steps`` sweeps, or once the relative change
        of every example is at most ``tolerance`` (0: never); with ``ONE_PASS`` after one forward pass. Returns the
        states that moved, (batch, *shape) each.
        """
        return self._run("free", self._clamp(x), self._start(x, start or {}), steps, tolerance)[0]

    @torch.no_grad()
    def gradient(
        self,
        x: Tensor,
        target: Tensor,
        *,
        beta: float = BETA,
        free_steps: int = FREE_STEPS,
        nudged_steps: int = NUDGED_STEPS,
        start: Mapping[str, Tensor] | None = None,
        tolerance: float = TOLERANCE,
    ) -> dict[str, Tensor]:
        """Gradient of the mean loss of the batch by centred equilibrium propagation, by names of parameters.

        ``target`` is labels (batch,) or targets (batch, *output shape). The phases nudged by +β and −β run as one batch
        of 2·batch rows: their common part (s⁺+s⁻)/2 stacked on their odd part (s⁺−s⁻)/2.
        """
        if nudged_steps < 1:
            raise ValueError("without a nudged sweep every gradient would be zero")
        clamped = self._clamp(x)
        states, handed = self._run("free", clamped, self._start(x, start or {}), free_steps, tolerance)
        nudge = {"y": self._targets(target, len(x)), "beta": beta}
        # Parameters of a readout follow the cost's own gradient at the free states.
        local = self._call("local", {**clamped, **self._named(states), **nudge})
        pairs, handed = self._run("pair", clamped, states, nudged_steps, tolerance, nudge, handed)
        pairs[INPUT] = as_pair(clamped[STATES[INPUT][0]])
        values = self._call("gradient", {**clamped, **handed, **self._named(pairs)})
        scale = -1.0 / (beta * len(x))
        found = {name: g.to(PARAMETER_DTYPE).mul_(1.0 / len(x)) for name, g in local.items()}
        for name, g in ((name, g) for name, g in values.items() if name in PARAMETERS):
            contrast = g.to(PARAMETER_DTYPE).mul_(scale)
            # A weight that the readout shares with the dynamics has both.
            found[name] = found[name] + contrast if name in found else contrast
        return found

    @torch.no_grad()
    def energy(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """F = Σ G(s) − Φ per example, (batch,)."""
        return self._call("energy", self._named({**states, INPUT: x.to(self.device, DTYPE)}))["energy"]

    @torch.no_grad()
    def readout(self, states: Mapping[str, Tensor]) -> Tensor:
        """Output state, (batch, *shape); of classes the largest entry is the label."""
        return self._call("readout", self._named(states))["output"]

    def _run(
        self,
        name: str,
        clamped: dict[str, Any],
        states: Mapping[str, Tensor],
        steps: int,
        tolerance: float,
        nudge: Mapping[str, Any] | None = None,
        handed: Mapping[str, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Take a phase; returns its states, and what it hands to the next one. ``handed``: what one before has."""
        phase, pair, carried = PHASES[name], name == "pair", handed or {}
        prepare(phase.prepare, clamped, clamped)
        keys = {state: STATES[state][0] for state in states}
        known = {**clamped, "omega": OMEGA, **(nudge or {})}
        values = load(Memory(), phase, known, {**states}, keys, carried, source=STATES[INPUT][0], pair=pair)
        if ONE_PASS and name == "free":
            run(phase.sweep, values)
        else:
            # The gradient needs no way forward after the last errors.
            returned = RETURNED if pair else ()
            sweeps = phase.sweeps(carried, len(clamped[STATES[INPUT][0]]), steps, keys.values(), returned)
            relax_(sweeps, values, list(keys.values()), steps, tolerance, pair=pair)
        passed = {value: values[value] for value in (*HANDED, *RETURNED) if value in values}
        return {state: values[key] for state, key in keys.items()}, passed

    def _clamp(self, x: Tensor) -> dict[str, Any]:
        """Values that no sweep changes: parameters, and what the input and the biases contribute."""
        argument, shape = STATES[INPUT]
        if tuple(x.shape[1:]) != shape or len(x) == 0:
            raise ValueError(f"input '{INPUT}' expects shape (batch, *{shape}), found {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"input '{INPUT}' expects floating-point numbers, found {x.dtype}")
        values = {**self.weights, argument: x.to(self.device, DTYPE)}
        run(FUNCTIONS["constants"], values)
        return values

    def _start(self, x: Tensor, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if wrong := sorted(given.keys() - (STATES.keys() - {INPUT})):
            raise ValueError(f"start: no state that moves: {', '.join(wrong)}")
        states = {}
        for name, (_, shape) in STATES.items():
            if name == INPUT:
                continue
            wanted = (len(x), *shape)
            s = given[name] if name in given else torch.zeros(wanted)
            if tuple(s.shape) != wanted:
                raise ValueError(f"start: state '{name}' has shape {tuple(s.shape)}, expected {wanted}")
            states[name] = s.to(self.device, DTYPE)
        return states

    def _targets(self, target: Tensor, batch: int) -> Tensor:
        shape = (batch, *STATES[OUTPUT][1])
        if target.dtype == torch.bool or target.is_complex():
            raise ValueError(f"expected labels or targets, found {target.dtype}")
        if CLASSES is not None and target.ndim == 1 and not target.is_floating_point():
            target = torch.nn.functional.one_hot(target.to(torch.int64), CLASSES)
        if tuple(target.shape) != shape:
            labels = "" if CLASSES is None else "integer labels or "
            raise ValueError(f"expected {batch} {labels}targets of shape {shape}")
        return target.to(self.device, DTYPE)

    def _named(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {STATES[name][0]: s for name, s in states.items()}

    def _call(self, name: str, values: Mapping[str, Any]) -> dict[str, Tensor]:
        # A function of a large network may go on with what one before it has returned.
        every = {**self.weights, **values}
        run(FUNCTIONS[name], every)
        return {result: every[result] for _, _, results in FUNCTIONS[name] for result in results}


def self_check(batch: int = 4, seed: int = 0) -> None:
    """Relax a random batch under random parameters, and print where the network came to rest."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    # Uniform in ±1/√fan-in, as epgraph starts; a level of ReLUα must be positive.
    parameters = {
        name: draw() + 0.5 if name.endswith(".alpha") else (2 * draw(*shape) - 1) / max(1, shape[1:].numel()) ** 0.5
        for name, shape in ((name, torch.Size(shape)) for name, (_, shape) in PARAMETERS.items())
    }
    engine = Engine(parameters)
    x = draw(batch, *STATES[INPUT][1])
    states = engine.relax(x)
    again = engine.relax(x, start=states, steps=1)
    took = "one forward pass" if ONE_PASS else f"at most {FREE_STEPS} sweeps"
    print(f"{NETWORK} ({BACKEND}, {DTYPE}): {batch} random examples, {took}")
    for name, s in states.items():
        size = float(again[name].float().norm())
        change = float((again[name] - s).float().norm())
        print(f"  {name:<12} norm {size:.4e}  residual {change / max(size, 1e-30):.1e}")
    print(f"  mean energy  {float(engine.energy(x, states).mean()):.4e}")
    output = engine.readout(states)
    gradient = engine.gradient(x, output + 1 if CLASSES is None else output.argmax(1))
    print(f"  gradient     norm {sum(float(g.float().norm()) ** 2 for g in gradient.values()) ** 0.5:.4e}")
