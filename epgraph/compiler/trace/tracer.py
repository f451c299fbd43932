"""The functions of one plan, recorded as torch.fx graphs."""

from __future__ import annotations

from epgraph.compiler.pieces import functions
from epgraph.compiler.program import Function, Program
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.trace.carried import back, classes, forward_pass, sums, two_way
from epgraph.compiler.trace.context import Context, PhaseName
from epgraph.compiler.trace.energy import energy
from epgraph.compiler.trace.gradient import FROM_PAIRS, How, gradient, input_gradient, local
from epgraph.compiler.trace.updates import constants, forces, updates


class Tracer(Context):
    """Records the programs of one plan."""

    def program(self, phase: PhaseName, *, relaxed: bool = False, pulled: tuple[str, ...] = ()) -> Program:
        """Sweep of a phase in its plain form; ``relaxed``: with over-relaxation by a factor ω.

        With ``pulled`` no cost nudges the output: the states named feel a force of their own, −β times the value
        ``force``, which for a pair has its two parts.
        """
        # No name has a '+' in it.
        key = (phase, *["relaxed"] * relaxed, *(("pulled", "+".join(pulled)) if pulled else ()))
        if not self.graph.energy.feedforward:
            return Program(key, functions(updates(self, key, phase, relaxed, pulled), self.names))
        if phase == "free":
            return Program(key, functions(forward_pass(self, key), self.names))
        warm = self.sums(phase)
        # The way back begins with the errors of the output, which has none where it is clamped.
        if not self.two_way or (phase == "clamped" and not self.error_sweeps):
            return Program(key, functions(classes(self, key, phase, pulled), self.names), warm=warm)
        # The closed form of the output has an even part.
        odd = self.error_sweeps and phase == "pair" and self.dynamics.output_step == "explicit"
        opening = functions(back(self, key, phase, pulled, opening=True), self.names) if odd else ()
        return Program(key, functions(two_way(self, key, phase, pulled), self.names), warm=warm, opening=opening)

    def sums(self, phase: PhaseName) -> tuple[Function, ...]:
        """Bottom-up sums, which the first sweep of a phase is given, of an energy that is ``feedforward``."""
        return functions(sums(self, phase), self.names)

    def constants(self) -> tuple[Function, ...]:
        """What the clamped input and the biases contribute to each state, once per batch."""
        return functions(constants(self), self.names)

    def energy(self) -> tuple[Function, ...]:
        """F per example, and Φ."""
        return functions(energy(self), self.names)

    def gradient(self, trainable: frozenset[str], *, once: bool = True, how: How = FROM_PAIRS) -> tuple[Function, ...]:
        """½[∂F/∂θ(s⁻) − ∂F/∂θ(s⁺)] summed over the batch, from pairs, for the parameters named; see ``How``.

        ``once=False`` takes the difference of two gradients instead of contrasting pairs (to measure its price).
        """
        return functions(gradient(self, trainable, once, how), self.names)

    def input_gradient(self, *, how: How = FROM_PAIRS) -> tuple[Function, ...]:
        """½[∂F/∂x(s⁻) − ∂F/∂x(s⁺)] per example, of an energy that is ``feedforward``; see ``How``."""
        return functions(input_gradient(self, how), self.names)

    def forces(self) -> tuple[Function, ...]:
        """What σ is applied to (∂Φ/∂s), of every state that moves, all of them at the present states."""
        return functions(forces(self), self.names)

    def local(self, trainable: frozenset[str]) -> tuple[Function, ...]:
        """∂C/∂θ summed over the batch, at plain states, for parameters of the readout: nothing without one."""
        return functions(local(self, trainable), self.names)

    def readout(self) -> tuple[Function, ...]:
        """The output state."""
        recorder = Recorder()
        output = recorder.argument(self.names("state", self.graph.output.name))
        return (recorder.finish(self.names("function", "readout"), {"output": output}),)
