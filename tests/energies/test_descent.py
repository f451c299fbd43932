"""When the energy descends: with terms of one state, as far as it is claimed, and what happens where it is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

import epgraph as ep
from epgraph.graph import SCHEDULES
from epgraph.graph.guarantees import guaranteed, never_rises
from epgraph.kinds import KINDS, Conv, Pool
from epgraph.solvers import SOLVERS
from epgraph.testing.oracle import Reference
from tests.helpers.activations import WRITTEN
from tests.helpers.case import Case
from tests.helpers.decorated import decorated
from tests.helpers.promises import fresh_seed, keeps, rises
from tests.helpers.topologies import random_architecture

DYNAMICS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"over_relaxation": 0.5},
    {"flow": 0.4},
    *({"solver": name} for name, solver in SOLVERS.items() if solver.mixes),
    {"weight_bits": 4},
    {"output_step": "closed_form"},
    {"damping": 1.99},
)


def test_what_is_claimed_of_terms_of_one_state_is_kept(note: Callable[[str], None]) -> None:
    """Random graphs with strong couplings of states to themselves, memories and ties; free, and nudged by ±β."""

    def draw(rng: random.Random) -> dict[str, Any]:
        data = random_architecture(rng, activations=WRITTEN, gain=(0.4, 1.6), readout=rng.random() < 0.2)
        data = decorated(data, rng, gain=(1.0, 6.0))
        data["dynamics"] = {
            "schedule": rng.choice(["coloring", "sequential", *SCHEDULES]),
            **rng.choice(DYNAMICS),
        }
        return {**data, "learning": {"beta": rng.choice([0.1, 0.2, 0.5])}}

    def kinds(case: Case, engine: ep.Engine) -> dict[str, bool]:
        return {"damped": min(case.oracle(engine).steps.values()) < 1}

    count = keeps(fresh_seed(), draw, {"free": 30, "damped": 20, "nudged": 10}, kinds)
    note(
        f"terms of one state: F never rises, claimed and kept on {count['free']} networks, {count['damped']} of them "
        f"with damped updates, nudged on {count['nudged']}"
    )


def lateral(**dynamics: Any) -> Case:
    """Units of one state that inhibit each other strongly: undamped, all of them switch on and off at once."""
    return Case(
        {
            "epgraph": 2,
            "input": {"shape": [4]},
            "output": {"classes": 2},
            "defaults": {"activation": "relu6"},
            "states": {"h": {"shape": [8]}},
            "edges": [
                {"from": "x", "to": "h", "dense": {}},
                {"from": "h", "to": "y", "dense": {}},
                {"at": "h", "self": {}},
            ],
            "dynamics": {"schedule": "coloring", **dynamics},
        }
    )


def inhibited(case: Case) -> ep.Engine:
    engine = case.engine("coloring")
    values = engine.state_dict()
    values["edges.h_self.weight"] = torch.full((8, 8), -1.0, dtype=torch.float64)
    values["states.h.bias"] = torch.full((8,), 2.0, dtype=torch.float64)
    engine.load_state_dict(values)
    return engine


def test_undamped_updates_raise_the_energy() -> None:
    damped, undamped = lateral(), lateral(damping=None)
    engine = inhibited(damped)
    assert not never_rises(damped.graph, engine.plan.schedule)
    assert rises(damped, engine, 0.0) <= 1e-12
    (reason,) = never_rises(undamped.graph, engine.plan.schedule)
    assert reason == "Φ is not convex in h (edge h_self), and updates there are not damped"
    assert rises(undamped, inhibited(undamped), 0.0) > 0.1


def test_damped_updates_settle_where_undamped_ones_cycle() -> None:
    cases = lateral(), lateral(damping=None)
    found = [inhibited(case).relax(case.x, steps=400, tolerance=1e-12) for case in cases]
    assert found[0].status.name == "CONVERGED"
    assert found[1].status.name == "OUT_OF_STEPS"
    assert found[1].residual > 0.1
    # A state of rest is one whatever the damping: undamped sweeps stay there if they start there.
    engine = inhibited(cases[1])
    assert engine.relax(cases[1].x, start=found[0].states, steps=1).residual < 1e-11


def test_the_step_is_the_one_that_is_proven() -> None:
    """min(1, c/(1 + κ)): with all weights −1 between 8 units λ = −7 and κ is (7³² + 7)^{1/32}."""
    case = lateral()
    engine = inhibited(case)
    start = {"h": torch.zeros(2, 8, dtype=torch.float64)}
    moved = engine.relax(case.x, start=start, steps=1).states["h"]
    whole = inhibited(lateral(damping=None)).relax(case.x, start=start, steps=1).states["h"]
    torch.testing.assert_close(moved, whole * 1.5 / (1 + (7.0**32 + 7) ** (1 / 32)))
    assert Reference(case.graph, engine.state_dict()).steps["h"] < 1


def test_check_says_where_it_damps_and_why_it_need_not() -> None:
    said = guaranteed(lateral().graph, lateral().engine("coloring").plan.schedule)
    assert said[0].startswith("free phase: F never rises")
    assert "; updates of h, which act on themselves, go min(1, 1.5/(1 + mκ)) of the way" in said[0]
    case = lateral()
    data = case.architecture.to_dict()
    data["edges"][2] = {"at": "h", "memory": {"patterns": 3}}
    memory = Case(data)
    (sentence, *_) = guaranteed(memory.graph, memory.engine("coloring").plan.schedule)
    assert sentence.endswith("(of a tangent above it, where Φ is convex: h_memory)")


def test_every_kind_declares_its_ends() -> None:
    options: dict[str, dict[str, Any]] = {
        "conv": {"kernel": 3},
        "conv_transpose": {"kernel": 2},
        "pool": {"kind": "average"},
        "memory": {"patterns": 2},
    }
    kinds = {name: kind(**options.get(name, {})) for name, kind in KINDS.items()}
    declared = {name: (kind.source_end, None if kind.unary else kind.target_end) for name, kind in kinds.items()}
    assert declared == {
        "conv": ("linear", "linear"),
        "skip": ("linear", "linear"),
        "identity": ("linear", "linear"),
        "dense": ("linear", "linear"),
        "conv_transpose": ("linear", "linear"),
        "pool": ("linear", "linear"),
        "lateral": ("linear", "linear"),
        "self": ("neither", None),
        "memory": ("convex", None),
    }
    for pooled in (Conv(kernel=3, pool="max"), Pool(kind="max")):
        assert (pooled.source_end, pooled.target_end) == ("convex where the other end is ≥ 0", "linear")
