"""One phase of a whole batch, as ``Engine.relax`` runs it."""

from __future__ import annotations

from torch import Tensor

from epgraph.errors import EpgraphError
from epgraph.runtime.arguments import strength
from epgraph.runtime.executor import Executor
from epgraph.runtime.parameters import Parameters
from epgraph.runtime.phases import Nudge
from epgraph.runtime.relaxation import Record, Relaxation, States


def relax(
    executor: Executor,
    parameters: Parameters,
    x: Tensor,
    start: States,
    steps: int,
    tolerance: float,
    nudge: Nudge | None,
    *,
    record: Record,
) -> Relaxation:
    """Sweep a batch from ``start``, zeros where a state is left out; the arguments are checked already.

    Raises
    ------
    EpgraphError
        Where ``start`` is no number.
    """
    clamped = executor.clamp(x, parameters)
    states = executor.inputs.start(x, start)
    relaxation = executor.run(clamped, states, steps, tolerance, nudge, record=record, donate=True)
    if relaxation.diverged:
        executor.inputs.check_start_values(start)
    return relaxation


def nudge_towards(executor: Executor, target: Tensor | None, beta: float | None, batch: int) -> Nudge | None:
    """Return the nudge of strength β towards a target, checked; None without a target."""
    beta = None if beta is None else strength("beta", beta, executor.dtype, positive=False)
    if (beta is None and target is not None) or (beta and target is None):
        missing = "beta" if target is not None else "target"
        raise EpgraphError(f"a nudged phase needs a target and its strength beta, and there is no {missing}")
    if target is None or beta is None:
        return None
    return Nudge(executor.cost, executor.inputs.targets(target, batch), beta)
