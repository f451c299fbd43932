"""Sweeps, their residual, and the loop that takes them. Needs ``runtime`` alone: emitted modules carry a copy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from epgraph.compiler.runtime import PIECE

SWEEPS_BETWEEN_LOOKS = 5
"""Sweeps between two looks at the residual where there is a tolerance; each look waits for the device."""

Step = tuple[Callable[..., tuple[Tensor, ...]], Sequence[str], Sequence[str]]
"""An emitted function, the names of its arguments and those of its results."""


class Sweeps(NamedTuple):
    """What sweeps consist of.

    Attributes
    ----------
    every
        A sweep.
    warm
        What the first sweep needs, from the states, where it is not among the values.
    first
        The first sweep, where it is not like the others.
    closing
        What ends a relaxation, where a gradient needs errors and the states that they were computed from: the way back
        of a sweep. It is the last sweep, and follows the last one where a tolerance ends the relaxation.
    errors
        Names of the errors that ``closing`` computes; their change is its residual.
    """

    every: Sequence[Step]
    warm: Sequence[Step] = ()
    first: Sequence[Step] = ()
    closing: Sequence[Step] = ()
    errors: Sequence[str] = ()


def run(steps: Sequence[Step], values: dict[str, Any]) -> None:
    """Take every step once: a sweep, where the steps are the color classes. Results replace what they are named."""
    for function, arguments, results in steps:
        values.update(zip(results, function(*[values[name] for name in arguments]), strict=True))


def missing(steps: Sequence[Step], values: Mapping[str, Any]) -> list[Step]:
    """Steps whose results are not all there."""
    return [step for step in steps if not all(name in values for name in step[2])]


def computed(
    steps: Sequence[Step],
    values: dict[str, Any],
    change: Callable[[Step, dict[str, Any]], dict[str, Any]] | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield what recorded functions compute, one result after the other, so that each can be used up.

    ``change`` gives a function other values.
    """
    for step in steps:
        own = dict(values) if change is None else change(step, values)
        run((step,), own)
        for name in step[2]:
            yield name, own.pop(name)


def prepare(steps: Sequence[Step], values: Mapping[str, Any], prepared: dict[str, Any]) -> None:
    """Pack, flip or merge the weights that a phase needs and no phase before it has needed; ``prepared`` has them."""
    for name, value in computed(missing(steps, prepared), dict(values)):
        prepared[name] = value


def relax_(
    sweeps: Sweeps,
    values: dict[str, Any],
    states: Sequence[str],
    steps: int,
    tolerance: float,
    *,
    pair: bool,
    correct: Callable[[Sequence[Tensor], Sequence[Tensor]], None] | None = None,
    record: Callable[[Tensor], object] | None = None,
) -> tuple[Tensor | None, int]:
    """Sweep until the residual is at most ``tolerance`` (0: never) or ``steps`` are taken.

    Parameters
    ----------
    values
        All that sweeps take, by name; the states that move are replaced.
    states
        Names of those whose change is the residual.
    correct
        Is given states before and after a sweep, and changes the latter in place: a solver's proposal.
    record
        Is given the residuals after every sweep.

    Returns
    -------
    The residuals of the last sweep, (batch,), None where no sweep was taken; and the number of sweeps.
    """
    run(missing(sweeps.warm, values), values)
    residuals, watch = None, frozenset(states)
    for taken in range(1, steps + 1):
        last = bool(sweeps.closing) and taken == steps
        now = sweeps.closing if last else sweeps.first if sweeps.first and taken == 1 else sweeps.every
        before = [values[name].clone() for name in states] if correct else []
        if record or taken == steps or (tolerance > 0 and taken % SWEEPS_BETWEEN_LOOKS == 0):
            if last:
                residuals = run_with_residual(now, values, frozenset(sweeps.errors), pair=pair, of=states)
            else:
                residuals = run_with_residual(now, values, watch, pair=pair)
            if record:
                record(residuals)
            if taken == steps:
                return residuals, taken
            if tolerance > 0 and bool((residuals <= tolerance).all()):
                run(sweeps.closing, values)
                return residuals, taken
        else:
            run(now, values)
        if correct:
            correct(before, [values[name] for name in states])
            run(sweeps.warm, values)
    return residuals, 0


def run_with_residual(
    steps: Sequence[Step],
    values: dict[str, Any],
    states: Collection[str],
    *,
    pair: bool,
    of: Sequence[str] | None = None,
) -> Tensor:
    """Take every step once, and return ‖Δs‖/‖s‖ over the states named, per example; (batch,).

    For a pair it is the larger of the relative changes of the two parts. The odd part is small, and it is the
    gradient: measured against the whole state its change would always look settled. An odd part at the rounding
    error of the common one counts as settled. ``of`` has the names of the states, where it is errors whose change is
    measured: against the states, or their common part, and of a pair against the odd part of the errors.
    """
    updates = [(name, i) for i, (_, _, results) in enumerate(steps) for name in results if name in states]
    last = dict(updates)
    first = dict(reversed(updates))
    # A copy lives from its state's first update to its last: copies of all would need as much memory as the states.
    old: dict[str, Tensor] = {}
    changes: list[Tensor] = []
    for i, step in enumerate(steps):
        results = step[2]
        begun = [name for name in results if first.get(name) == i and name in values]
        # States are written over, errors are not.
        old.update({name: values[name].clone() if of is None else values[name] for name in begun})
        run((step,), values)
        ended = [name for name in results if last.get(name) == i]
        # Before the first sweep there are no errors.
        changes += [change(old.pop(name), values[name]) if name in old else squared(values[name]) for name in ended]
    changed = torch.stack(changes).sum(0).sqrt()
    size = _size(values, last if of is None else of)
    tiny = torch.finfo(size.dtype).tiny
    if not pair:
        return changed / size.clamp_min(tiny)
    common_change, odd_change = changed.chunk(2)
    common, odd = size.chunk(2)
    if of is not None:
        odd = _size(values, last).chunk(2)[1]
    eps = torch.finfo(values[next(iter(last))].dtype).eps
    return torch.maximum(
        common_change / common.clamp_min(tiny),
        odd_change / torch.maximum(odd, common * eps).clamp_min(tiny),
    )


def _size(values: Mapping[str, Any], names: Iterable[str]) -> Tensor:
    """Norm over the values named, per example, or for each part of a pair."""
    return torch.stack([squared(values[name]) for name in names]).sum(0).sqrt()


def change(old: Tensor, new: Tensor) -> Tensor:
    """‖new − old‖² per example. On a CPU a few at a time, so that their difference stays in the cache."""
    rows = len(new) if new.is_cuda else max(1, PIECE * len(new) // max(1, new.numel()))
    return torch.cat([squared(new[i : i + rows] - old[i : i + rows]) for i in range(0, len(new), rows)])


def squared(t: Tensor) -> Tensor:
    """‖t‖² per example, at least in float32."""
    wide = torch.promote_types(t.dtype, torch.float32)
    norm: Tensor = torch.linalg.vector_norm(t, dim=tuple(range(1, t.ndim)), dtype=wide)
    return norm.square()


def as_pair(state: Tensor) -> Tensor:
    """A state that both nudged phases share, as a pair: it has no odd part."""
    return torch.cat((state, torch.zeros_like(state)))
