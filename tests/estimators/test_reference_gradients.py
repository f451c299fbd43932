"""Reference gradients: implicit, unrolled, truncated; against the oracle and finite differences. Float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.estimators import reference
from epgraph.gradient_check.stepwise import bptt_steps, ep_steps, stepwise
from epgraph.graph import load, make_schedule
from epgraph.linearization.krylov import conjugate_gradients, minres
from epgraph.linearization.linearize import DENSE_LIMIT, Linearization
from epgraph.runtime import memory
from epgraph.testing.oracle import Reference
from tests.helpers.qualified import COUNTS, Settled, aimed, error, qualified, take
from tests.helpers.topologies import random_batch, random_graph, random_parameters

NEAR = 25
"""Colored sweeps that settle a qualified network near its equilibrium: one contracts by 0.49 at most."""


@pytest.fixture(scope="module", params=COUNTS)
def networks(request: pytest.FixtureRequest) -> list[Settled]:
    """Networks with every activation, cost and edge kind, at their equilibrium; squared errors have a near target."""
    drawn = map(aimed, take(qualified(), request.param))
    return [replace(network, engine=learning(network.engine, solver_tolerance=1e-13)) for network in drawn]


@pytest.fixture(scope="module", params=COUNTS)
def smooth(request: pytest.FixtureRequest) -> list[Settled]:
    return list(take(qualified(smooth=True), request.param))


def learning(engine: ep.Engine, **changes: Any) -> ep.Engine:
    """Return a copy with other keys of ``learning``."""
    architecture = engine.architecture
    keys = architecture.learning.model_copy(update=changes)
    changed = architecture.model_copy(update={"learning": keys})
    copied = ep.compile(changed, dtype=torch.float64, schedule=engine.plan.schedule.name)
    copied.load_state_dict(engine.state_dict())
    return copied


def gradient(
    network: Settled, estimator: Any, keys: dict[str, Any] | None = None, **options: Any
) -> tuple[Tensor, ep.Estimate]:
    """All parameters' gradients in one vector, and what the estimator saw; with some keys of ``learning`` changed."""
    engine = learning(network.engine, **keys) if keys else network.engine
    with engine.aside() as found:
        estimate = engine.backward(network.x, network.y, estimator=estimator, **options)
    return vector(found), estimate


def vector(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradients.values()])


def apart(a: Tensor, b: Tensor) -> float:
    """Relative difference; of two gradients that vanish, none."""
    return error(a, b) if float(b.norm()) > 1e-12 else float(a.norm())


def test_implicit_unrolled_oracle_and_finite_differences_agree(
    networks: list[Settled], note: Callable[[str], None]
) -> None:
    worst = dict.fromkeys(("oracle", "unrolled", "differences"), 0.0)
    live = 0
    for seed, network in enumerate(networks):
        implicit, estimate = gradient(network, "implicit", start=network.free, free_steps=10)
        assert estimate.adjoint is not None
        assert not estimate.adjoint.indefinite.any()
        worst["oracle"] = max(worst["oracle"], apart(implicit, network.implicit()))
        # From zeros, which may take much longer than the rate at the equilibrium says.
        unrolled, _ = gradient(network, "unrolled", free_steps=400, tolerance=1e-12)
        worst["unrolled"] = max(worst["unrolled"], apart(unrolled, implicit))
        size = float(implicit.norm())
        if size > 1e-9:
            live += 1
            # Half along the gradient, so that what is compared is not small by accident.
            across = torch.randn(implicit.shape, generator=torch.Generator().manual_seed(seed)).double()
            direction = implicit / size + across / across.norm()
            found = slope(network, direction / direction.norm())
            expected = float(implicit @ direction / direction.norm())
            worst["differences"] = max(worst["differences"], abs(found - expected) / abs(expected))
    note(
        f"reference gradients: {len(networks)} graphs, {live} with a gradient; implicit against the oracle's dense "
        f"solve {worst['oracle']:.1e}, unrolled against implicit {worst['unrolled']:.1e}, central differences "
        f"{worst['differences']:.1e}"
    )
    assert live >= 0.9 * len(networks)
    assert worst["oracle"] <= 1e-6
    assert worst["unrolled"] <= 1e-6
    assert worst["differences"] <= 1e-5


def slope(network: Settled, direction: Tensor, step: float = 1e-7) -> float:
    """Central difference of the mean loss at the equilibrium along a direction in the space of all parameters."""
    engine = network.engine
    parameters = list(engine.parameters())
    pieces = direction.split([p.numel() for p in parameters])
    found = []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, piece in zip(parameters, pieces, strict=True):
                parameter += sign * step * piece.view_as(parameter)
        states = engine.relax(network.x, start=network.free, steps=NEAR).states
        found.append(float(engine.loss(states, network.y).mean()))
        with torch.no_grad():
            for parameter, piece in zip(parameters, pieces, strict=True):
                parameter -= sign * step * piece.view_as(parameter)
    return (found[0] - found[1]) / (2 * step)


@pytest.mark.parametrize("schedule", ["even_odd", "coloring", "synchronous", "forward_backward"])
def test_unsettled_gradients_are_those_of_the_loss_after_so_many_sweeps(schedule: str) -> None:
    """Against the oracle's loss after 5 sweeps, from zeros (unrolled) and after the last 3 of them (truncated)."""
    for seed in range(6):
        graph = random_graph(seed, gain=(0.2, 0.5))
        generator = torch.Generator().manual_seed(seed)
        x, y = random_batch(graph, generator, 3)
        engine = ep.compile(graph.architecture, dtype=torch.float64, schedule=schedule)
        engine.load_state_dict({**engine.state_dict(), **random_parameters(graph, generator)})
        classes = make_schedule(graph, schedule).classes
        oracle = Reference(graph, engine.state_dict())
        middle = oracle.relax(x, classes, 2)
        for estimator, start in (("unrolled", oracle.zeros(3)), ("truncated", middle)):
            with engine.aside() as found:
                engine.backward(x, y, estimator=estimator, free_steps=5, nudged_steps=3)
            size = vector(found).norm()
            direction = {name: torch.randn(g.shape, generator=generator, dtype=g.dtype) for name, g in found.items()}
            expected = sum(float((found[name] * d).sum()) for name, d in direction.items())
            losses = []
            for sign in (1, -1):
                moved = {name: oracle.parameters[name] + sign * 1e-7 * d for name, d in direction.items()}
                other = Reference(graph, {**engine.state_dict(), **moved})
                ended = other.relax(x, classes, 5 if estimator == "unrolled" else 3, start)
                losses.append(float(other.cost(ended, y).mean()))
            assert abs((losses[0] - losses[1]) / 2e-7 - expected) <= 1e-6 * float(size) + 1e-8, (estimator, seed)


def test_truncated_through_all_sweeps_is_unrolled(networks: list[Settled]) -> None:
    for network in networks[:10]:
        whole, _ = gradient(network, "unrolled", free_steps=9)
        assert torch.equal(gradient(network, "truncated", free_steps=9, nudged_steps=9)[0], whole)
        found, estimate = gradient(network, "truncated", {"truncation": 20}, free_steps=9, nudged_steps=1)
        assert torch.equal(found, whole)
        assert estimate.free.steps == 9


def test_a_tolerance_stops_the_unrolled_phase(networks: list[Settled]) -> None:
    network = networks[0]
    found, estimate = gradient(network, "unrolled", free_steps=400, tolerance=1e-9)
    assert estimate.free.status is ep.Status.CONVERGED
    assert estimate.free.steps < 100
    assert apart(found, network.implicit()) <= 1e-6
    _, estimate = gradient(network, "unrolled", free_steps=3, tolerance=1e-9)
    assert estimate.free.status is ep.Status.OUT_OF_STEPS
    reached = network.engine.relax(network.x, steps=3)
    torch.testing.assert_close(estimate.free.residuals, reached.residuals.double())
    torch.testing.assert_close(estimate.free.states, reached.states)


def test_checkpointing_changes_nothing(networks: list[Settled], monkeypatch: pytest.MonkeyPatch) -> None:
    some = networks[:8]
    whole = [gradient(network, "unrolled", free_steps=11)[0] for network in some]
    monkeypatch.setattr(reference, "chunk_length", lambda steps: steps)
    for network, found in zip(some, whole, strict=True):
        assert apart(found, gradient(network, "unrolled", free_steps=11)[0]) <= 1e-14


def test_memory_of_the_unrolled_phase_grows_like_the_root_of_its_sweeps(
    monkeypatch: pytest.MonkeyPatch, note: Callable[[str], None]
) -> None:
    engine = ep.compile("examples/mlp.yaml")
    x, y = torch.rand(8, 784), torch.arange(8)

    def peak(steps: int) -> int:
        engine.zero_grad(set_to_none=True)
        with memory.Live() as live:
            engine.backward(x, y, estimator="unrolled", free_steps=steps)
        found: int = live.peak
        return found

    def growth(found: list[int]) -> float:
        """How much more the second four-fold of sweeps adds than the first: 2 for a root, 4 for a line."""
        return (found[2] - found[1]) / (found[1] - found[0])

    peak(1)
    counts = (9, 36, 144)
    kept = [peak(steps) for steps in counts]
    monkeypatch.setattr(reference, "chunk_length", lambda steps: steps)
    whole = [peak(steps) for steps in counts]
    shown = [", ".join(f"{n / 2**20:.1f}" for n in found) for found in (kept, whole)]
    note(f"unrolled, mlp, 8 examples: {shown[0]} MiB for 9, 36, 144 sweeps; {shown[1]} MiB in one chunk")
    assert growth(kept) <= 2.2
    assert growth(whole) >= 3.8
    # What the sweeps add; the gradients themselves take the rest.
    assert kept[2] - kept[0] < (whole[2] - whole[0]) / 8


def test_ep_and_backpropagation_through_time_agree_step_by_step(
    smooth: list[Settled], note: Callable[[str], None]
) -> None:
    """Synchronous, centered β = 1e-4: every step to 1e-6 of the first one, and of itself until it has faded to 1 %.

    What is left is O(β²): with β a fifth the steps agree to 1e-6 of themselves down to 1e-4 of the first.
    """
    worst = dict.fromkeys(("first", "own", "faded"), 0.0)
    for network in smooth:
        engine = ep.compile(network.engine.architecture, dtype=torch.float64, schedule="synchronous")
        engine.load_state_dict(network.engine.state_dict())
        assert network.oracle.residual(network.x, network.free) <= 1e-12
        steps = list(map(vector, islice(bptt_steps(engine, network.x, network.y, network.free), 10)))
        first = float(steps[0].norm())
        for beta, kind, faded in ((1e-4, "own", 1e-2), (2e-5, "faded", 1e-4)):
            ours = ep_steps(engine, network.x, network.y, network.free, beta=beta)
            for theirs, mine in zip(steps, map(vector, ours), strict=False):
                if theirs.norm() >= faded * first:
                    worst[kind] = max(worst[kind], error(mine, theirs))
                worst["first"] = max(worst["first"], float((mine - theirs).norm()) / first)
    note(
        f"step by step, synchronous: {len(smooth)} graphs, 10 steps; Δ against ∇ {worst['first']:.1e} of the first, "
        f"{worst['own']:.1e} of itself above 1 % of it (β = 1e-4), {worst['faded']:.1e} above 1e-4 (β = 2e-5)"
    )
    assert max(worst.values()) <= 1e-6


def test_converged_sums_agree_under_every_schedule(smooth: list[Settled], note: Callable[[str], None]) -> None:
    """The steps differ, their sums do not."""
    worst = 0.0
    unlike = 0
    schedules = ("coloring", "even_odd", "sequential", "forward_backward")
    for number, network in enumerate(smooth):
        schedule = schedules[number % len(schedules)]
        engine = ep.compile(network.engine.architecture, dtype=torch.float64, schedule=schedule)
        engine.load_state_dict(network.engine.state_dict())
        step = next(stepwise(engine, network.x, network.y, network.free, beta=3e-5, steps=1))
        unlike += error(vector(step.ep), vector(step.bptt)) > 1e-3
        # Of 100 graphs one has 4e-6 of its sum still to come after NEAR steps.
        found = summed_apart(engine, network, NEAR)
        worst = max(worst, found if found <= 5e-7 else summed_apart(engine, network, 2 * NEAR))
    note(
        f"summed steps, {', '.join(schedules)}: {len(smooth)} graphs, the first step differs on {unlike}, the sums by "
        f"{worst:.1e}"
    )
    assert worst <= 1e-6
    assert unlike >= 0.5 * len(smooth)


def summed_apart(engine: ep.Engine, network: Settled, steps: int) -> float:
    """How far the sums of so many steps of EP and of backpropagation are apart."""
    sums = []
    for estimator in ("centered", "truncated"):
        options: dict[str, Any] = {"estimator": estimator, "beta": 3e-5, "start": network.free}
        with engine.aside() as found:
            engine.backward(network.x, network.y, **options, free_steps=steps + 1, nudged_steps=steps)
        sums.append(vector(found))
    return error(*sums)


def test_a_truncated_gradient_is_the_sum_of_its_steps(smooth: list[Settled]) -> None:
    for network in smooth[:5]:
        steps = stepwise(network.engine, network.x, network.y, network.free, beta=0.1, steps=4)
        summed = sum(vector(step.bptt) for step in steps)
        found, _ = gradient(network, "truncated", start=network.free, free_steps=6, nudged_steps=4)
        assert apart(found, summed) <= 1e-12


def test_the_spectrum_is_that_of_the_oracles_curvature(networks: list[Settled], note: Callable[[str], None]) -> None:
    worst, dense = 0.0, 0
    for network in networks:
        about = Linearization(network.engine.executor, network.x, network.free, network.engine.snapshot())
        dense += int((about.slopes > 0).sum()) <= DENSE_LIMIT
        values = []
        for k in range(len(network.x)):
            few = {name: s[k : k + 1] for name, s in network.free.items()}
            _, d, coupling = network.oracle.curvature(network.x[k : k + 1], few)
            values.append(torch.linalg.eigvalsh(d.sqrt()[:, None] * coupling * d.sqrt()))
        every = torch.cat(values)
        for found, expected in zip(about.spectrum(1e-7), (every.max(), every.min()), strict=True):
            worst = max(worst, abs(found - float(expected)))
        assert float(about.residuals.max()) <= 1e-13
    note(f"spectrum: {len(networks)} graphs, {dense} of them from the whole matrix, worst difference {worst:.1e}")
    assert worst <= 1e-9
    assert 0.05 * len(networks) <= dense <= 0.95 * len(networks)


def test_curvature_is_symmetric_and_saturation_counts_units(networks: list[Settled]) -> None:
    generator = torch.Generator().manual_seed(0)
    for network in networks[:20]:
        about = Linearization(network.engine.executor, network.x, network.free, network.engine.snapshot())
        v, w = (torch.randn(about.slopes.shape, generator=generator, dtype=torch.float64) for _ in range(2))
        torch.testing.assert_close((v * about.curvature(w)).sum(), (w * about.curvature(v)).sum())
        for name, shares in about.saturation().items():
            state, s = network.engine.graph.states[name], network.free[name]
            assert math.isclose(shares.low + shares.high + shares.active, 1, abs_tol=1e-12)
            if state.activation.label.startswith("relu"):
                alpha = float(about.parameters.alpha(state))
                assert shares.low == float((s <= 0).double().mean())
                assert shares.high == float((s >= alpha).double().mean())
            if state.activation.label == "identity":
                assert shares.active == 1


def symmetric(values: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a symmetric matrix with given eigenvalues."""
    q, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))
    return q @ torch.diag(values) @ q.T


def test_krylov_solvers_solve_every_row_by_itself() -> None:
    """Positive, indefinite and trivial systems in one batch: each as a dense solve has it."""
    generator = torch.Generator().manual_seed(0)
    positive = torch.linspace(0.1, 2, 30, dtype=torch.float64)
    spectra = [positive, positive, torch.cat((positive[:25], -positive[:5])), torch.ones_like(positive), positive]
    matrices = torch.stack([symmetric(values, generator) for values in spectra])
    b = torch.randn(5, 30, generator=generator, dtype=torch.float64)
    b[4] = 0

    def apply(v: Tensor) -> Tensor:
        return torch.einsum("bij,bj->bi", matrices, v)

    expected = torch.linalg.solve(matrices, b)
    x, taken, negative = conjugate_gradients(apply, b, 1e-12, 100)
    assert negative.tolist() == [False, False, True, False, False]
    torch.testing.assert_close(x[~negative], expected[~negative])
    assert 1 < taken <= 60
    x, taken = minres(apply, b, 1e-12, 200)
    torch.testing.assert_close(x, expected, rtol=1e-8, atol=1e-9)
    assert not x[4].any()
    # Out of steps is no solution, and says so by what is left.
    x, taken = minres(apply, b, 1e-12, 3)
    assert taken == 3
    assert (apply(x) - b)[0].norm() > 1e-3 * b[0].norm()


SADDLE = """
epgraph: 2
input: {name: x, shape: [3]}
output: {name: y, classes: 2}
defaults: {activation: tanh}
states: {h1: {shape: [4]}, h2: {shape: [4]}}
edges:
  - {from: x, to: h1, dense: {}}
  - {from: h1, to: h2, dense: {}}
  - {from: h2, to: y, dense: {}}
  - {from: h1, to: y, dense: {}}
"""


def test_an_indefinite_system_is_solved_by_minres_and_reported() -> None:
    """A network at rest at zero, where a strong coupling makes F a saddle; beside it an example that saturates.

    The states do not move: without input or bias zero is an equilibrium, and no sweep is taken.
    """
    engine = learning(ep.compile(SADDLE, dtype=torch.float64), solver_tolerance=1e-12)
    with torch.no_grad():
        for name, parameter in engine.named_parameters():
            parameter.mul_(0 if name.endswith("bias") else 3)
    x = torch.zeros(2, 3, dtype=torch.float64)
    x[1] = 50.0
    y = torch.tensor([[1.0, -0.5], [0.3, 0.2]], dtype=torch.float64)
    settled = engine.relax(x[1:], steps=300)
    assert settled.residual <= 1e-12
    states = {name: torch.cat((torch.zeros_like(s), s)) for name, s in settled.states.items()}
    oracle = Reference(engine.graph, engine.state_dict())
    assert oracle.coupling_radius(x[:1], {name: s[:1] for name, s in states.items()}) > 1
    with engine.aside() as found:
        estimate = engine.backward(x, y, estimator="implicit", start=states, free_steps=0)
    assert estimate.adjoint is not None
    assert estimate.adjoint.indefinite[0]
    assert float(estimate.adjoint.residuals.max()) <= 1e-10
    exact = oracle.implicit_gradient(x, y, states)
    for name, value in found.items():
        torch.testing.assert_close(value, exact[name], rtol=1e-8, atol=1e-10)
    largest, smallest = Linearization(engine.executor, x, states, engine.snapshot()).spectrum()
    assert largest > 1
    assert smallest < -1


def test_out_of_solver_steps_is_reported(networks: list[Settled]) -> None:
    network = next(n for n in networks if float((n.implicit() != 0).sum()) > 20)
    _, estimate = gradient(network, "implicit", {"solver_steps": 2}, start=network.free, free_steps=1)
    assert estimate.adjoint is not None
    assert estimate.adjoint.products == 2
    assert float(estimate.adjoint.residuals.max()) > 1e-6


@pytest.mark.parametrize("estimator", ["implicit", "unrolled", "truncated"])
def test_frozen_parameters_pieces_and_accumulation(estimator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = learning(ep.compile("examples/digits.yaml", dtype=torch.float64), solver_tolerance=1e-12)
    x, y = torch.rand(6, 1, 8, 8, dtype=torch.float64), torch.arange(6)
    frozen = engine.edges["h1_h2"].weight
    frozen.requires_grad_(False)
    options: dict[str, Any] = {"estimator": estimator, "free_steps": 60, "nudged_steps": 12}
    with engine.aside() as whole:
        estimate = engine.backward(x, y, **options)
    assert "edges.h1_h2.weight" not in whole
    assert estimate.nudged == ()
    assert len(whole) == len(list(engine.parameters())) - 1
    monkeypatch.setattr("epgraph.estimators.microbatches.cut", lambda graph, batch, device: [slice(0, 4), slice(4, 6)])
    engine.backward(x, y, **options)
    pieces = engine.backward(x, y, **options)
    torch.testing.assert_close(pieces.losses, estimate.losses)
    for name, parameter in engine.named_parameters():
        if name in whole:
            torch.testing.assert_close(parameter.grad, 2 * whole[name], rtol=1e-8, atol=1e-11)
    if estimator == "implicit":
        assert pieces.adjoint is not None
        assert pieces.adjoint.residuals.shape == (6,)


@pytest.mark.parametrize("estimator", ["implicit", "unrolled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision(estimator: Any, dtype: torch.dtype) -> None:
    found = {}
    for precision in (torch.float64, dtype):
        torch.manual_seed(0)
        # At the example's own gain 0.8 the largest eigenvalue is 1.000, and the gradient no more than rounding.
        engine = ep.compile(load("examples/digits.yaml", ["defaults.gain=0.4"]), dtype=precision, seed=1)
        x, y = torch.rand(16, 1, 8, 8), torch.arange(16) % 10
        with engine.aside() as found[precision]:
            engine.backward(x, y, estimator=estimator, free_steps=30)
    ours, exact = (vector(found[precision]) for precision in (dtype, torch.float64))
    assert (ours.dtype, exact.dtype) == (torch.float32, torch.float64)
    assert error(ours.double(), exact) <= (1e-5 if dtype == torch.float32 else 0.05)


def test_anderson_cannot_be_unrolled() -> None:
    engine = ep.compile(ep.load("examples/mlp.yaml", ["dynamics.anderson=3"]))
    x, y = torch.rand(2, 784), torch.arange(2)
    refused = r"unrolled cannot be used: it cannot go back through Anderson acceleration .* truncated or implicit"
    with pytest.raises(ep.EpgraphError, match=refused):
        engine.backward(x, y, estimator="unrolled")
    with pytest.raises(ep.EpgraphError, match=refused):
        ep.load("examples/mlp.yaml", ["dynamics.anderson=3", "learning.estimator=unrolled"])
    engine.backward(x, y, estimator="truncated", free_steps=4, nudged_steps=2)


@pytest.mark.parametrize("estimator", ["implicit", "unrolled", "truncated"])
def test_a_network_without_parameters_has_no_gradient(estimator: Any) -> None:
    net = (
        "{epgraph: 2, input: {shape: [3]}, output: {classes: 3, bias: false}, edges: [{from: x, to: y, identity: {}}]}"
    )
    estimate = ep.compile(net).backward(torch.rand(2, 3), torch.tensor([0, 1]), estimator=estimator)
    assert estimate.losses.shape == (2,)


def test_kinks_count_as_inactive() -> None:
    """A unit whose sum is exactly 0 passes nothing on, in every reference gradient alike."""
    net = """
    epgraph: 2
    input: {name: x, shape: [2]}
    output: {name: y, classes: 2, bias: false}
    defaults: {activation: relu1, bias: false}
    states: {h: {shape: [3]}}
    edges: [{from: x, to: h, dense: {}}, {from: h, to: y, dense: {}}]
    """
    engine = ep.compile(net, dtype=torch.float64)
    for estimator in ("implicit", "unrolled", "truncated"):
        with engine.aside() as found:
            engine.backward(torch.zeros(1, 2), torch.tensor([1]), estimator=estimator, free_steps=8, nudged_steps=4)
        assert not any(g.any() for g in found.values())
