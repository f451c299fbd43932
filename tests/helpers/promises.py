"""Whether networks keep what ``epgraph check`` promises of their energy."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

import epgraph as ep
from epgraph.graph import make_schedule
from epgraph.graph.guarantees import never_rises, nudged_never_rises
from tests.helpers.case import Case

SWEEPS = 12


def rises(case: Case, engine: ep.Engine, beta: float, seed: int = 0) -> float:
    """Largest rise of F + βC from one sweep to the next, relative to its size; 0 beyond what runs away downhill."""
    target = case.y if beta else None
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        n: torch.rand(s.shape, generator=generator, dtype=s.dtype)
        for n, s in engine.executor.inputs.start(case.x, None).items()
    }
    start = {n: 0.5 * s for n, s in drawn.items()}
    trajectory = engine.relax(case.x, start=start, steps=SWEEPS, tolerance=0, target=target, beta=beta, record=True)
    found = [engine.energy(case.x, start) + beta * engine.loss(start, case.y)]
    for sweep in trajectory.trajectory:
        value = sweep.energy + beta * engine.loss(sweep.states, case.y)
        if not bool(value.isfinite().all()) or bool((value.abs() > 1e9).any()):
            break
        found.append(value)
    values = torch.stack(found)
    return float((values.diff(dim=0) / values.abs().amax().clamp_min(1)).max()) if len(values) > 1 else 0.0


def fresh_seed() -> int:
    """Another one in every run, so that no lucky draw hides a rise; failures name it."""
    return random.SystemRandom().randrange(2**32)


def keeps(
    seed: int,
    draw: Callable[[random.Random], dict[str, Any]],
    enough: dict[str, int],
    kinds: Callable[[Case, ep.Engine], dict[str, bool]] = lambda case, engine: {},
) -> Counter[str]:
    """Hold random networks to what is promised of them.

    Draws 90, and more until there were ``enough`` of those of which it was promised ``free`` or ``nudged``, and of the
    further ``kinds`` among the former. Returns how many there were.
    """
    rng, claimed = random.Random(seed), Counter[str]()
    for number in range(500):
        if number >= 90 and all(claimed[kind] >= count for kind, count in enough.items()):
            return claimed
        data = draw(rng)
        case, beta = Case(data, seed + number), data["learning"]["beta"]
        schedule = make_schedule(case.graph, data["dynamics"]["schedule"])
        free, nudged = (not doubts(case.graph, schedule) for doubts in (never_rises, nudged_never_rises))
        if not (free or nudged):
            continue
        try:
            engine = case.engine(schedule.name)
        except ep.EpgraphError:
            continue  # refused by name, as test_solvers has it
        if free:
            claimed.update(free=1, **kinds(case, engine))
            for start in range(3):
                assert rises(case, engine, 0.0, seed + start) <= 1e-10, (seed, number, start)
        if nudged:
            claimed["nudged"] += 1
            for sign in (1, -1):
                assert rises(case, engine, sign * beta, seed) <= 1e-10, (seed, number, sign)
    raise AssertionError(f"{dict(claimed)} of 500 networks, seed {seed}, and not {enough}")
