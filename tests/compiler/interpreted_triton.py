"""Generated Triton kernels in Triton's interpreter, against the eager backend. ``test_triton.py`` runs this file.

The interpreter has to be chosen before triton is imported, so these tests have a process of their own.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.runtime.relaxation import Status
from tests.helpers.case import Case, apart
from tests.helpers.lookalikes import renamed
from tests.helpers.networks import OPTIONS, RING
from tests.helpers.replayed import FakeGraph
from tests.helpers.topologies import random_architecture

MIXED: dict[str, Any] = {
    "epgraph": 2,
    "name": "mixed",
    "input": {"name": "x", "shape": [2, 9, 8]},
    "output": {"name": "y", "classes": 3, "activation": "relu1"},
    "states": {
        "a": {"channels": 17, "activation": {"relu": [1, 4]}},
        "b": {"channels": 3, "activation": "tanh"},
        "c": {"channels": 5, "activation": "relu6", "bias": False},
        "d": {"shape": [4], "activation": "relu6"},
        "e": {"shape": [2, 2, 3], "activation": "relu6"},
        "f": {"channels": 3, "activation": "identity"},
    },
    "edges": [
        {"from": "x", "to": "a", "conv": {"kernel": 3, "padding": 1}},
        {"from": "a", "to": "b", "conv": {"kernel": 4, "padding": 2, "stride": 2}},
        {"from": "a", "to": "c", "conv": {"kernel": 2, "stride": 2}},
        {"from": "a", "to": "f", "conv": {"kernel": 3, "padding": 1, "pool": "max"}},
        {"from": "b", "to": "d", "dense": {}},
        {"from": "d", "to": "e", "dense": {}},
        {"from": "e", "to": "d", "dense": {}},
        {"from": "c", "to": "y", "dense": {}},
        {"from": "d", "to": "y", "dense": {}},
        {"from": "f", "to": "y", "dense": {}},
    ],
}
"""Strides and kernels that leave rows over, every way of a dense edge, and what a kernel must not take."""


def thin(edge: dict[str, Any]) -> dict[str, Any]:
    """Return an edge with a kernel of 3×1 in place of one of 3×3."""
    conv = edge.get("conv")
    return {**edge, "conv": {**conv, "kernel": [3, 1], "padding": [1, 0]}} if conv else edge


THIN: dict[str, Any] = {**RING, "edges": [thin(edge) for edge in RING["edges"]]}
"""The shapes, terms and phases of RING at a third of the taps, which the interpreter takes one by one.

For what happens before the taps and after them; taps in both directions are those of the networks as they are.
"""


@pytest.fixture(autouse=True)
def _options(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers are tested for overflow with all options of the kinds alone: it takes half of the interpreter's time.

    Addresses of networks of this size are far from any.
    """
    from triton.runtime.interpreter import InterpreterOptions, interpreter_builder

    sanitized = "test_all_options" in request.node.name
    monkeypatch.setattr(interpreter_builder, "options", InterpreterOptions(sanitize_overflow=sanitized))


def compare(
    data: dict[str, Any], schedule: str, bar: float, dtype: torch.dtype = torch.float32, steps: tuple[int, int] = (2, 1)
) -> None:
    case = Case(data)
    made = []
    for backend in ("eager", "triton"):
        engine = ep.compile(case.architecture, dtype=dtype, schedule=schedule, backend=backend)
        engine.load_state_dict({**engine.state_dict(), **case.parameters})
        made.append((engine, engine.backward(case.x, case.y, beta=0.2, free_steps=steps[0], nudged_steps=steps[1])))
    (eager, expected), (_, found) = made
    for a, b in zip((found.free, *found.nudged), (expected.free, *expected.nudged), strict=True):
        for name, state in b.states.items():
            assert apart(a.states[name].double(), state.double()) <= bar, name
    gradients = {name: p.grad for name, p in eager.named_parameters()}
    for name, p in made[1][0].named_parameters():
        assert p.grad is not None
        assert apart(p.grad, gradients[name]) <= 20 * bar, name  # type: ignore[arg-type]


def test_a_residual_network() -> None:
    """Its even and odd classes have a conflict: updated together must not mean after one another."""
    compare({**RING, "dynamics": {}}, "even_odd", 1e-5)


def test_over_relaxation() -> None:
    compare({**THIN, "dynamics": {"over_relaxation": 1.4}}, "coloring", 1e-5)


@pytest.mark.parametrize(
    ("activation", "dynamics", "cost"),
    [
        ("tanh", {"flow": 0.2}, "squared_error"),
        ("relu6", {"flow": 0.2}, "squared_error"),
        ("relu6", {"state_bits": 6, "weight_bits": 5}, "squared_error"),
        ("softclip", {}, "squared_error"),
        ({"relu": [0.5, 2], "learn": True}, {}, "squared_error"),
        ("relu6", {}, "softmax_readout"),
    ],
)
def test_other_dynamics_activations_and_costs(activation: Any, dynamics: dict[str, Any], cost: str) -> None:
    output = {"name": "y", "classes": 3, "cost": cost}
    data = {**THIN, "output": output, "defaults": {"activation": activation}, "dynamics": dynamics}
    compare(data, "coloring", 1e-5)


def test_low_precision() -> None:
    """In float16; the interpreter multiplies the bit patterns of bfloat16 (triton 3.8)."""
    compare({**THIN, "dynamics": {}}, "coloring", 2e-2, torch.float16, (1, 1))


def test_all_kinds_and_activations() -> None:
    compare(MIXED, "even_odd", 1e-5)


def test_all_options() -> None:
    compare(OPTIONS, "coloring", 1e-5, steps=(2, 1))


@pytest.mark.parametrize("damping", [1.5, None])
def test_terms_of_one_state(damping: float | None) -> None:
    """A kernel must not write a state that its other programs still read: with 17 channels there are several."""
    own = [
        {"at": "a", "self": {"kernel": 3}, "gain": 2.0},
        {"at": "e", "self": {}},
        {"at": "f", "memory": {"patterns": 3, "per_pixel": True}},
        {"from": "d", "to": "e", "dense": {}, "tie": "d_e"},
    ]
    dynamics = {"schedule": "coloring", "damping": damping}
    compare({**MIXED, "edges": [*MIXED["edges"], *own], "dynamics": dynamics}, "coloring", 1e-5)


@pytest.mark.parametrize(("seed", "schedule"), [(1, "synchronous"), (2, "forward_backward")])
def test_random_topologies(seed: int, schedule: str) -> None:
    compare(random_architecture(random.Random(seed), max_states=5), schedule, 1e-5, steps=(1, 1))


def test_a_damped_update_without_an_activation() -> None:
    """The part of the way that it goes is a tensor, which a kernel cannot take in place of ω."""
    edges = [*THIN["edges"], {"at": "y", "self": {}, "gain": 2.0}, {"at": "b", "self": {"kernel": 3}, "gain": 2.0}]
    states = {**RING["states"], "b": {"channels": 3, "activation": "identity"}}
    compare({**THIN, "edges": edges, "states": states, "dynamics": {}}, "coloring", 1e-5, steps=(2, 1))


def test_kernels_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epgraph.runtime.programs.capture_for", lambda device: FakeGraph)
    architecture = ep.Architecture.model_validate({**THIN, "dynamics": {}})
    engines = [ep.compile(architecture, dtype=torch.float32, backend=backend) for backend in ("triton", "eager")]
    for rows in (2, 1):
        x = torch.rand(rows, 2, 6, 6)
        found, expected = (engine.relax(x, steps=2) for engine in engines)
        for name, state in expected.states.items():
            assert apart(found.states[name], state) <= 1e-5, name


def test_what_is_not_a_number_stays_visible() -> None:
    engine = ep.compile(ep.Architecture.model_validate(RING), backend="triton", dtype=torch.float32)
    with torch.no_grad():
        next(engine.parameters()).fill_(float("nan"))
    assert engine.relax(torch.rand(1, 2, 6, 6), steps=1).status is Status.DIVERGED


def test_names_that_look_alike() -> None:
    """The second update of h, and that of a state called h_2, are kernels of their own."""
    data = renamed(THIN, {"x": "x", "a": "h", "b": "h_2", "c": "H", "d": "h_1", "y": "y"}, {})
    compare({**data, "dynamics": {}}, "forward_backward", 1e-5, steps=(1, 1))
