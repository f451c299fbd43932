"""Random networks that qualify for statements about gradients, settled in float64.

A graph qualifies with at least 6 states, skips and cycles, a coupling of spectral radius 0.4 to 0.7 on its
active units, and a free residual of at most 1e-13. What ``qualified.json`` lists is checked, and not searched again;
``python -m tests.helpers.qualified`` writes that file.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.graph import NetworkGraph
from epgraph.testing.oracle import Reference
from tests.helpers.topologies import coverage, random_batch, random_graph, random_parameters

WANTED = 100
QUICK = 40
"""So many of them in the usual run: the file begins with networks that have every feature of all."""
COUNTS = [QUICK, pytest.param(WANTED, marks=pytest.mark.slow)]
SWEEPS = 100
NUDGED = 60
"""A colored sweep of a network that qualifies contracts by 0.49 at most: these leave 1e-18 of where they start."""
REST, SETTLED = 3e-16, 1e-13
"""Residuals at which the free phase of a candidate may stop earlier, and a nudged phase."""

SEEDS = Path(__file__).with_name("qualified.json")
"""Seeds and scales of populations that a search takes long to find: [seed, scale] of each network, in order."""


@dataclass
class Settled:
    """A qualified network at its free equilibrium."""

    engine: ep.Engine
    oracle: Reference
    x: Tensor
    y: Tensor
    free: dict[str, Tensor]
    origin: tuple[int, float]
    """The seed that draws it, and the scale of its weights."""

    def gradient(self, beta: float, estimator: Any = "centered") -> Tensor:
        """EP's gradient, all parameters in one vector."""
        self.engine.zero_grad(set_to_none=True)
        self.engine.backward(
            self.x,
            self.y,
            estimator=estimator,
            beta=beta,
            start=self.free,
            free_steps=10,
            nudged_steps=NUDGED,
            tolerance=SETTLED,
        )
        return torch.cat([p.grad.flatten() for p in self.engine.parameters() if p.grad is not None])

    def implicit(self) -> Tensor:
        """The gradient by a linear solve at the equilibrium."""
        exact = self.oracle.implicit_gradient(self.x, self.y, self.free)
        return torch.cat([exact[name].flatten() for name, _ in self.engine.named_parameters()])


def qualified(
    bias: float = 0.0,
    draw: Callable[..., NetworkGraph] = random_graph,
    fit: Callable[[Settled], bool] | None = None,
    **options: Any,
) -> Iterator[Settled]:
    """Networks whose weights are scaled until they qualify, and ``fit``; those that do not are passed over.

    All that ask for the same networks share engines and oracles. Inputs, targets and states are a copy's own.
    """
    name = population(bias, draw, fit, options)
    drawn, more = _SHARED.setdefault(name, ([], _networks(name, bias, draw, fit, options)))
    for number in itertools.count():
        if number == len(drawn):
            network = next(more, None)
            if network is None:
                return
            drawn.append(network)
        yield replace(drawn[number])


def population(bias: float, draw: Callable[..., Any], fit: Callable[..., Any] | None, options: dict[str, Any]) -> str:
    """Return what the networks of a call of ``qualified`` are called in the file of seeds."""
    words = [draw.__name__, *(f"{key}={value}" for key, value in sorted(options.items()))]
    return " ".join([*words, *([f"bias={bias}"] if bias else []), *([fit.__name__] if fit else [])])


_SHARED: dict[str, tuple[list[Settled], Iterator[Settled]]] = {}


def _networks(
    name: str,
    bias: float,
    draw: Callable[..., NetworkGraph],
    fit: Callable[[Settled], bool] | None,
    options: dict[str, Any],
) -> Iterator[Settled]:
    """First those of the file, which have to qualify as they are; then what a search finds."""
    listed = json.loads(SEEDS.read_text()).get(name, []) if SEEDS.exists() else []
    for seed, scale in listed:
        candidate = Candidate(draw(seed, min_states=6, **options), seed, bias)
        network = candidate.settled(scale)
        qualifies = network is not None and candidate.qualifies(network) and (fit is None or fit(network))
        assert qualifies, f"seed {seed} of '{name}' no longer qualifies: python -m tests.helpers.qualified"
        assert network is not None
        yield network
    for seed in range(max((seed for seed, _ in listed), default=-1) + 1, 20 * WANTED):
        candidate = Candidate(draw(seed, min_states=6, **options), seed, bias)
        network = candidate.searched()
        if network is not None and (fit is None or fit(network)):
            yield network


class Candidate:
    """The network that a seed draws, with its weights times a scale."""

    def __init__(self, graph: NetworkGraph, seed: int, bias: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x, self.y = random_batch(graph, generator)
        parameters = random_parameters(graph, generator)
        self.drawn = {name: p + bias * name.endswith("bias") for name, p in parameters.items()}
        self.aim = 0.4 + 0.3 * float(torch.rand((), generator=generator))
        self.engine = ep.compile(graph.architecture, dtype=torch.float64, schedule="coloring")
        self.graph, self.seed = graph, seed

    def settled(self, scale: float) -> Settled | None:
        """Return the network after its sweeps, or None where it has diverged."""
        scaled = {n: p * scale if n.endswith("weight") else p for n, p in self.drawn.items()}
        self.engine.load_state_dict({**self.engine.state_dict(), **scaled})
        free = self.engine.relax(self.x, steps=SWEEPS, tolerance=REST).states
        if not all(bool(s.isfinite().all()) for s in free.values()):
            return None
        oracle = Reference(self.graph, self.engine.state_dict())
        return Settled(self.engine, oracle, self.x, self.y, free, (self.seed, scale))

    def qualifies(self, network: Settled, radius: float | None = None) -> bool:
        radius = network.oracle.coupling_radius(self.x, network.free) if radius is None else radius
        return 0.4 <= radius <= 0.7 and network.oracle.residual(self.x, network.free) <= 1e-13

    def searched(self) -> Settled | None:
        """Return the network at the first scale with a radius in the bounds, where it has come to rest there."""
        scale = 1.0
        for _ in range(6):
            network = self.settled(scale)
            if network is None:
                scale *= 0.5
                continue
            radius = network.oracle.coupling_radius(self.x, network.free)
            if 0.4 <= radius <= 0.7:
                return network if self.qualifies(network, radius) else None
            if radius < 1e-6:
                return None  # nothing is active
            scale *= min(2.0, max(0.5, self.aim / radius))
        return None


def take(networks: Iterator[Settled], count: int) -> Iterator[Settled]:
    for found, network in enumerate(networks, 1):
        yield network
        if found == count:
            return
    raise AssertionError(f"fewer than {count} random graphs qualified")


def varied(networks: list[Settled]) -> list[Settled]:
    """Return first those with a feature that none before them has; all in the order of their seeds."""
    seen: set[str] = set()
    first, others = [], []
    for network in networks:
        features = set(+coverage(network.engine.architecture))
        (others if features <= seen else first).append(network)
        seen |= features
    return first + others


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def aimed(network: Settled) -> Settled:
    """Put the target of a squared error at distance 1 from the free output, as a label is from a trained one."""
    if network.engine.architecture.output.cost == "squared_error":
        output = network.free[network.engine.graph.output.name]
        away = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=output.dtype)
        network.y = output + away / away.norm(dim=1, keepdim=True)
    return network


def inside(network: Settled) -> bool:
    """Whether nine in ten of the hidden units are strictly inside of (0, 6)."""
    hidden = [network.free[name].flatten() for name in network.engine.graph.free[:-1]]
    units = torch.cat(hidden) if hidden else torch.ones(1)
    return float(((units > 0) & (units < 6)).double().mean()) >= 0.9


SMOOTH: dict[str, Any] = {"smooth": True}
KINKED: dict[str, Any] = {"activations": ["relu6"]}
ACTIVE: dict[str, Any] = {"activations": ["relu6"], "bias": 2.0, "pool_max": False, "fit": inside}


def listed() -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield populations that the file lists, with the number of their networks: as many as tests look at."""
    from tests.activations.test_levels import SATURATED
    from tests.helpers.decorated import decorated_graph
    from tests.runtime.test_parameters import TIED, TIED_KINKED

    yield from ((WANTED, options) for options in (SMOOTH, {}, ACTIVE))
    yield 40, KINKED
    yield 8, {**KINKED, "bias": 1.0}
    yield 15, {**SMOOTH, "readout": True}
    yield 8, {**SMOOTH, "draw": decorated_graph}
    yield 4, SATURATED
    yield from ((2, options) for options in (TIED, TIED_KINKED))


def main() -> None:
    SEEDS.unlink(missing_ok=True)
    for count, options in listed():
        assert sum(1 for _ in itertools.islice(qualified(**options), count)) == count
    found = {name: [n.origin for n in varied(drawn)] for name, (drawn, _) in _SHARED.items()}
    lines = [f"{json.dumps(name)}: {json.dumps(origins)}" for name, origins in found.items()]
    SEEDS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
