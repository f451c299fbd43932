"""Every rule of the EP family against what it claims, on random graphs that qualify (``helpers.qualified``).

The oracle and finite differences say what is right; neither shares arithmetic with the engine.
"""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.activations.relu import Identity
from epgraph.activations.sigmoid import Logistic, Tanh
from epgraph.compiler.trace import SHARE_ABOVE
from epgraph.estimators import ESTIMATORS, Estimate, GradientTask
from epgraph.estimators import microbatches as pieces
from epgraph.gradient_check.signal import survey
from epgraph.graph import Edge, NetworkGraph, make_schedule
from epgraph.linearization.linearize import Linearization
from epgraph.runtime.phases import Nudge
from epgraph.testing.maps import interaction, mapped
from epgraph.testing.network import Gradients, States
from epgraph.testing.oracle import Reference
from tests.helpers.case import Case, apart
from tests.helpers.networks import RING
from tests.helpers.qualified import COUNTS, Settled, cosine, error, qualified, take
from tests.helpers.topologies import random_architecture

SWEEPS = 60
"""Enough for the colored sweeps of a network that qualifies to reach rounding, whatever its nudge here."""

SETTLED = 1e-14
"""Residual at which they may stop earlier."""

FEW = 6
"""Sweeps for what holds whether or not a network has settled."""

ROUNDING = 1e-11
"""Relative error of a gradient below which rounding decides."""

CLAMPED = {name for name, estimator in ESTIMATORS.items() if estimator.clamps_output}


@dataclass
class Twin:
    """A qualified network, and the same one (parameters, equilibrium) with the squared error as its cost."""

    own: Settled
    squared: Settled
    exact: Tensor
    """The implicit gradient of the network's own loss."""


@pytest.fixture(scope="module", params=COUNTS)
def twins(request: pytest.FixtureRequest) -> list[Twin]:
    """The population that all properties share."""
    networks = take(qualified(smooth=True), request.param)
    return [Twin(network, squared(network), network.implicit()) for network in networks]


def squared(network: Settled) -> Settled:
    """The cost has no part in the free equilibrium, so what qualified still does."""
    architecture = network.engine.architecture
    if architecture.output.cost == "squared_error":
        return network
    data = architecture.to_dict()
    data["output"] = {**data["output"], "cost": "squared_error"}
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64, schedule="coloring")
    engine.load_state_dict(network.engine.state_dict())
    return replace(network, engine=engine, oracle=Reference(engine.graph, engine.state_dict()))


def estimated(
    engine: ep.Engine, x: Tensor, y: Tensor, start: States, name: Any, beta: float, **options: Any
) -> tuple[Estimate, Tensor]:
    """What an estimator saw, and its gradient with all parameters in one vector."""
    engine.zero_grad(set_to_none=True)
    settling = {} if "nudged_steps" in options else {"nudged_steps": SWEEPS, "tolerance": SETTLED}
    options = {"free_steps": 1, **settling, **options}
    estimate = engine.backward(x, y, estimator=name, beta=beta, start=start, **options)
    return estimate, gathered(engine)


def gathered(engine: ep.Engine) -> Tensor:
    return torch.cat([p.grad.flatten() for p in engine.parameters() if p.grad is not None])


def gradient(network: Settled, name: Any, beta: float, **options: Any) -> Tensor:
    return estimated(network.engine, network.x, network.y, network.free, name, beta, **options)[1]


def order_of(error: str) -> int | None:
    """The power of β that an error is, as a rule declares it; None where it is something else."""
    found = re.fullmatch(r"O\(β([²³⁴⁵⁶⁷⁸⁹]?)\)", error)
    return None if found is None else int(unicodedata.digit(found[1])) if found[1] else 1


def slopes(errors: Sequence[float]) -> list[float]:
    """Powers of β by which errors at doubling β grow; infinite where rounding decides."""
    return [math.log2(b / a) if a > ROUNDING else math.inf for a, b in pairwise(errors)]


def spread(values: Sequence[float]) -> str:
    return f"{min(values):.4f} to {max(values):.4f}"


def test_every_rule_is_in_the_language() -> None:
    for name in ESTIMATORS:
        assert ep.Architecture.model_validate({**RING, "learning": {"estimator": name}}).learning.estimator == name
    schema = ep.Architecture.model_json_schema()["$defs"]["LearningSpec"]["properties"]["estimator"]
    assert schema["enum"] == list(ESTIMATORS)


ORDERS = {name: order for name, rule in ESTIMATORS.items() if (order := order_of(rule.error)) is not None}
"""Rules whose error is a power of β, and this power: what is built in later is tested here by itself."""


def test_the_rules_of_ep_say_their_order() -> None:
    assert ORDERS.items() >= {"centered": 2, "positive": 1, "negative": 1, "random_sign": 1}.items()


@pytest.mark.parametrize("name", ORDERS)
def test_the_error_has_the_order_that_the_rule_says(name: str, twins: list[Twin], note: Callable[[str], None]) -> None:
    """Error to the implicit gradient; the slope of log error over log β is fitted per graph."""
    order = ORDERS[name]
    least = max(1e-3, 1e-8 ** (1 / order))  # a high power of a smaller β would be rounding
    betas = (least, 2 * least, 4 * least)
    at = torch.tensor(betas, dtype=torch.float64).log()
    away = at - at.mean()
    fitted = []
    for twin in twins:
        errors = []
        for beta in betas:
            torch.manual_seed(0)  # of random signs
            errors.append(error(gradient(twin.own, name, beta), twin.exact))
        fitted.append(float((away * torch.tensor(errors).double().log()).sum() / away.square().sum()))
    note(f"{name}: {len(fitted)} graphs, slope of the error {spread(fitted)}")
    assert len(fitted) == len(twins)
    assert all(abs(slope - order) <= 0.1 for slope in fitted)


@pytest.mark.parametrize("points", [2, 4, 8])
def test_errors_of_holomorphic_ep(points: int, twins: list[Twin], note: Callable[[str], None]) -> None:
    """Error to the implicit gradient: it falls at least as |β|^N from 0.2 to 0.05, until rounding.

    The error is a β^N + b β^2N + …: where b counters a, the slope falls short of N by a term that itself falls as β^N.
    """
    fine, coarse, largest = [], [], 0.0
    for twin in twins:
        errors = [error(gradient(twin.own, "holomorphic", b, points=points), twin.exact) for b in (0.05, 0.1, 0.2)]
        low, high = slopes(errors)
        fine.append(low)
        coarse.append(high)
        largest = max(largest, errors[-1])
        assert high >= points - 0.1 or points - low <= (points - high) / 2**points * 1.2
    above = [slope for slope in fine if slope < math.inf]
    note(
        f"holomorphic, {points} points: {len(twins)} graphs, slope of the error at least {min(above):.4f} between 0.05 "
        f"and 0.1 ({len(above)} above rounding), {min(coarse):.4f} between 0.1 and 0.2; error at 0.2 ≤ {largest:.1e}"
    )
    assert min(fine) >= points - 0.1
    assert sum(slope >= points - 0.1 for slope in coarse) >= 0.97 * len(twins)


def test_an_odd_number_of_points(twins: list[Twin]) -> None:
    """No point stands opposite to another, and all but one stand for two."""
    for twin in twins[:20]:
        for points in (3, 5):
            errors = [error(gradient(twin.own, "holomorphic", b, points=points), twin.exact) for b in (0.05, 0.1)]
            assert all(slope >= points - 0.1 for slope in slopes(errors))


def test_two_points_are_centered_ep(twins: list[Twin]) -> None:
    for network in (twin.own for twin in twins[:20]):
        expected, centered = estimated(network.engine, network.x, network.y, network.free, "centered", 0.1)
        found, made = estimated(network.engine, network.x, network.y, network.free, "holomorphic", 0.1, points=2)
        assert error(made, centered) <= 1e-11
        for ours, theirs in zip(found.nudged, expected.nudged, strict=True):
            for name, state in theirs.states.items():
                assert apart(ours.states[name].real, state) <= 1e-12


def test_complex_states_solve_the_complex_equations(twins: list[Twin]) -> None:
    """s = σ(∂Φ/∂s − β_k ∂C/∂s), with Φ of the oracle continued by autograd."""
    for network in (twin.own for twin in twins[:40]):
        options = {"points": 5, "nudged_steps": 2 * SWEEPS, "tolerance": SETTLED}
        estimate, _ = estimated(network.engine, network.x, network.y, network.free, "holomorphic", 0.3, **options)
        assert len(estimate.nudged) == 3
        for k, relaxed in enumerate(estimate.nudged):
            turn = complex(math.cos(2 * math.pi * k / 5), math.sin(2 * math.pi * k / 5))
            assert relaxed.states[network.engine.graph.output.name].is_complex() == (k > 0)
            assert relaxed.residual <= 1e-12
            assert complex_residual(network, relaxed.states, 0.3 * turn) <= 1e-11


def complex_residual(network: Settled, states: States, beta: complex) -> float:
    graph, oracle = network.engine.graph, Reference(network.engine.graph, network.engine.state_dict())
    oracle.parameters = {name: p.to(torch.complex128) for name, p in oracle.parameters.items()}
    now = {name: s.to(torch.complex128).requires_grad_() for name, s in states.items()}
    phi = oracle.interactions(
        {graph.input.name: network.x.to(torch.complex128), **now}, graph.free, oracle.parameters
    ).sum()
    # For a holomorphic function torch returns the conjugate of the derivative.
    forces = [f.conj() for f in torch.autograd.grad(phi, list(now.values()), torch.ones_like(phi))]
    largest = 0.0
    for (name, s), force in zip(now.items(), forces, strict=True):
        s, a = s.detach(), force
        if name == graph.output.name:
            pull = s - network.y
            if graph.architecture.output.cost == "cross_entropy":
                pull = s.exp() / s.exp().sum(1, keepdim=True) - network.y
            a = a - beta * pull
        kind = graph.states[name].activation
        assert isinstance(kind, Identity | Tanh | Logistic)
        moved = a if isinstance(kind, Identity) else a.tanh() if isinstance(kind, Tanh) else 1 / (1 + (-a).exp())
        largest = max(largest, float((moved - s).abs().max() / s.abs().max()))
    return largest


@pytest.mark.parametrize("dynamics", [{"output_step": "closed_form"}, {"over_relaxation": 0.7}])
def test_holomorphic_ep_with_other_solvers(dynamics: dict[str, Any]) -> None:
    data = {**RING, "defaults": {"activation": "tanh"}, "dynamics": {"schedule": "coloring", **dynamics}}
    data["edges"] = [{**RING["edges"][0], "conv": {"kernel": 3, "padding": 1, "pool": "max"}}, *RING["edges"][1:]]
    case = Case({**data, "states": {**RING["states"], "d": {"channels": 3, "activation": "logistic"}}})
    engine = case.engine("coloring")
    oracle = case.oracle(engine)
    x, y = case.x, case.y
    free = engine.relax(x, steps=400).states
    exact = oracle.implicit_gradient(x, y, free)
    whole = torch.cat([exact[name].flatten() for name, _ in engine.named_parameters()])
    options = {"nudged_steps": 400, "points": 6}
    assert error(estimated(engine, x, y, free, "holomorphic", 0.05, **options)[1], whole) <= 1e-7
    assert error(estimated(engine, x, y, free, "centered", 0.05, nudged_steps=400)[1], whole) >= 1e-5


def test_holomorphic_ep_in_float32() -> None:
    found = {}
    for dtype in (torch.float64, torch.float32):
        engine = ep.compile(ep.Architecture.model_validate({**RING, "defaults": {"activation": "tanh"}}), dtype=dtype)
        x = torch.rand(5, 2, 6, 6, generator=torch.Generator().manual_seed(1))
        engine.backward(x, torch.arange(5) % 3, estimator="holomorphic", beta=0.3, free_steps=40, nudged_steps=40)
        found[dtype] = gathered(engine).double()
    assert error(found[torch.float32], found[torch.float64]) <= 1e-4
    engine.to(torch.bfloat16)
    with pytest.raises(ep.EpgraphError, match="complex states need float32 or float64, found bfloat16"):
        engine.backward(x, torch.arange(5) % 3, estimator="holomorphic")


def test_a_random_sign_is_drawn_once_a_batch(twins: list[Twin], monkeypatch: pytest.MonkeyPatch) -> None:
    """Either side comes up, their mean is the centered gradient, and a seed repeats the draws."""
    for network in (twin.own for twin in twins[:6]):
        sides = {name: gradient(network, name, 0.1) for name in ("positive", "negative")}
        centered = gradient(network, "centered", 0.1)
        drawn = []
        for seed in range(12):
            torch.manual_seed(seed)
            made = gradient(network, "random_sign", 0.1)
            drawn.append(next(name for name, side in sides.items() if torch.equal(made, side)))
            torch.manual_seed(seed)
            assert torch.equal(gradient(network, "random_sign", 0.1), made)
        assert set(drawn) == set(sides)
        assert error(0.5 * (sides["positive"] + sides["negative"]), centered) <= 1e-10
    signs = []
    draw = torch.randint

    def counted(*arguments: Any, **options: Any) -> Tensor:
        made = draw(*arguments, **options)
        signs.append(int(made))
        return made

    network = twins[0].own
    monkeypatch.setattr(pieces, "VALUES", 1)
    monkeypatch.setattr(pieces, "ROWS", 1)
    monkeypatch.setattr("epgraph.estimators.contrast.torch.randint", counted)
    for _ in range(40):
        made = gradient(network, "random_sign", 0.1, nudged_steps=2)
        side = gradient(network, "positive" if signs[-1] else "negative", 0.1, nudged_steps=2)
        assert torch.equal(made, side)
    assert len(signs) == 40
    assert 8 <= sum(signs) <= 32


def test_continual_ep_telescopes_and_departs_linearly(twins: list[Twin], note: Callable[[str], None]) -> None:
    """Rate 0 gives ``positive``; the rate enters to first order; parameters are put back to the bit."""
    worst, fitted = 0.0, []
    rates = (1e-7, 2e-7)
    for network in (twin.own for twin in twins):
        kept = {name: p.detach().clone() for name, p in network.engine.named_parameters()}
        expected = gradient(network, "positive", 0.1, nudged_steps=FEW)
        at = {r: gradient(network, "continual", 0.1, nudged_steps=FEW, continual_rate=r) for r in (0.0, *rates)}
        worst = max(worst, error(at[0.0], expected))
        fitted += slopes([error(at[rate], expected) for rate in rates])
        assert all(torch.equal(p, kept[name]) for name, p in network.engine.named_parameters())
    note(f"continual: {len(twins)} graphs, rate 0 is 'positive' to {worst:.1e}, departs with slope {spread(fitted)}")
    assert worst <= 1e-12
    assert len(fitted) >= len(twins)
    assert all(0.9 <= slope <= 1.1 for slope in fitted)


@pytest.mark.parametrize("seed", range(8))
def test_continual_ep_against_the_oracle(seed: int) -> None:
    """Sweep by sweep, any activation and max pooling, at a rate that changes the gradient by much."""
    case = Case(random_architecture(random.Random(seed)), seed)
    engine = case.engine("even_odd")
    beta, rate, batch = 0.2, 3e-3, len(case.x)
    estimate, made = estimated(
        engine, case.x, case.y, {}, "continual", beta, free_steps=6, nudged_steps=5, continual_rate=rate
    )
    oracle = case.oracle(engine)
    classes = make_schedule(case.graph, "even_odd").classes
    states = oracle.relax(case.x, classes, 6)
    total: Gradients = {name: torch.zeros_like(p) for name, p in oracle.parameters.items()}
    for _ in range(5):
        after = oracle.relax(case.x, classes, 1, states, case.y, beta)
        ends = [oracle.parameter_gradient(case.x, s) for s in (after, states)]
        move = {name: (ends[1][name] - ends[0][name]) / (beta * batch) for name in total}
        total = {name: total[name] + move[name] for name in total}
        oracle.parameters = {name: p - rate * move[name] for name, p in oracle.parameters.items()}
        states = after
    expected = torch.cat([total[name].flatten() for name, _ in engine.named_parameters()])
    assert error(made, expected) <= 1e-9
    assert error(gradient_of(engine, case, "positive", beta), expected) >= 1e-4
    for name, state in states.items():
        assert apart(estimate.nudged[0].states[name], state) <= 1e-9


def gradient_of(engine: ep.Engine, case: Case, name: Any, beta: float) -> Tensor:
    return estimated(engine, case.x, case.y, {}, name, beta, free_steps=6, nudged_steps=5)[1]


def test_continual_ep_takes_a_batch_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case({**RING, "learning": {"continual_rate": 1e-2}})
    engine = case.engine("coloring")
    whole = gradient_of(engine, case, "continual", 0.2)
    monkeypatch.setattr(pieces, "VALUES", 1)
    monkeypatch.setattr(pieces, "ROWS", 1)
    assert torch.equal(gradient_of(engine, case, "continual", 0.2), whole)


def test_clamped_rules_follow_their_own_contrast(twins: list[Twin], note: Callable[[str], None]) -> None:
    """To 1e-6 of the central difference of relaxed energies, the clamped value held constant; and not ∇C.

    Each graph takes one of the four rules, and a direction half of which is the gradient that the rule gave.
    """
    count, worst, alike = dict.fromkeys(sorted(CLAMPED), 0), 0.0, []
    for number, network in enumerate(twin.squared for twin in twins):
        rule = sorted(CLAMPED)[number % len(CLAMPED)]
        beta = 0.3
        estimate, made = estimated(network.engine, network.x, network.y, network.free, rule, beta)
        generator = torch.Generator().manual_seed(number)
        other = torch.randn(made.shape, generator=generator, dtype=made.dtype)
        direction = made / made.norm() + other / other.norm()
        step = 1e-4
        difference = contrast_along(network, rule, beta, estimate, step * direction)
        difference -= contrast_along(network, rule, beta, estimate, -step * direction)
        expected = float(made @ direction)
        worst = max(worst, abs(difference / (2 * step) - expected) / float(made.norm() * direction.norm()))
        count[rule] += 1
        alike.append(cosine(made, network.implicit()))
    note(
        f"{', '.join(f'{name}: {n} graphs' for name, n in count.items())}, {sum(count.values())} in all; "
        f"finite differences of their contrasts to {worst:.1e}; cosine to the gradient of the loss {spread(alike)}"
    )
    assert worst <= 1e-6
    assert min(alike) < 0.999  # a contrast of its own, not ∇C


def contrast_along(network: Settled, rule: str, beta: float, estimate: Estimate, move: Tensor) -> float:
    """Mean contrast of a rule under moved parameters, by the oracle; clamped values are those of the estimate."""
    engine, oracle = network.engine, Reference(network.engine.graph, network.engine.state_dict())
    sizes = [p.numel() for p in engine.parameters()]
    for (name, p), part in zip(engine.named_parameters(), move.split(sizes), strict=True):
        oracle.parameters[name] = oracle.parameters[name] + part.view(p.shape)
    output = engine.graph.output.name
    classes = make_schedule(engine.graph, "coloring").classes
    held = [[name for name in names if name != output] for names in classes]

    def least(order: Any, start: States) -> float:
        # From where it was settled before θ moved a little: the energy is right to the square of what is left.
        return float(oracle.energy(network.x, oracle.relax(network.x, order, 9, start)).mean())

    free = least(classes, network.free)
    clamped = [least([names for names in held if names], relaxed.states) for relaxed in estimate.nudged]
    own = network.free[output]
    for sign, relaxed in zip((1, -1) if rule != "coupled_negative" else (-1,), estimate.nudged, strict=False):
        value = network.y if rule == "contrastive" else own + sign * beta * (network.y - own)
        assert apart(relaxed.states[output], value) <= 1e-13
    if rule == "contrastive":
        return clamped[0] - free
    if rule == "coupled_centered":
        return (clamped[0] - clamped[1]) / (2 * beta)
    return (clamped[0] - free if rule == "coupled_positive" else free - clamped[0]) / beta


@pytest.mark.parametrize("seed", range(8))
def test_clamped_phases_follow_the_oracle(seed: int) -> None:
    """Unsettled, under every schedule, any activation and max pooling: states and gradient."""
    data = random_architecture(random.Random(seed))
    data["output"]["cost"] = "squared_error"
    case = Case(data, seed)
    for schedule in ("synchronous", "even_odd", "coloring", "sequential", "forward_backward"):
        engine = case.engine(schedule)
        oracle = case.oracle(engine)
        classes = make_schedule(case.graph, schedule).classes
        estimate, made = estimated(engine, case.x, case.y, {}, "coupled_centered", 0.4, free_steps=6, nudged_steps=4)
        free = oracle.relax(case.x, classes, 6)
        output = case.graph.output.name
        held = [[name for name in names if name != output] for names in classes]
        ends = []
        for sign, relaxed in zip((1, -1), estimate.nudged, strict=True):
            value = free[output] + sign * 0.4 * (case.y - free[output])
            states = oracle.relax(case.x, [names for names in held if names], 4, {**free, output: value})
            for name, state in states.items():
                assert apart(relaxed.states[name], state) <= 1e-9, (schedule, name)
            ends.append(oracle.parameter_gradient(case.x, states))
        scale = -1 / (2 * 0.4 * len(case.x))
        names = [name for name, _ in engine.named_parameters()]
        expected = torch.cat([scale * (ends[0][name] - ends[1][name]).flatten() for name in names])
        # A network may be dead, and its gradient nothing.
        assert float((made - expected).norm()) <= 1e-8 * float(expected.norm()), schedule


def test_a_clamped_phase_with_anderson_keeps_the_output() -> None:
    plain = Case({**RING, "dynamics": {"schedule": "coloring"}}).engine("coloring")
    mixed = Case({**RING, "dynamics": {"schedule": "coloring", "anderson": 4}}).engine("coloring")
    case = Case(RING)
    target = 3.0 * case.y
    made = []
    for engine in (plain, mixed):
        estimate, found = estimated(
            engine, case.x, target, {}, "contrastive", 0.1, free_steps=300, nudged_steps=300, tolerance=1e-14
        )
        assert torch.equal(estimate.nudged[0].states["y"], target)
        made.append(found)
    assert error(made[1], made[0]) <= 1e-9


def test_a_network_of_an_output_alone_can_be_clamped() -> None:
    data = {
        "epgraph": 2,
        "input": {"shape": [3]},
        "output": {"classes": 2},
        "edges": [{"from": "x", "to": "y", "dense": {}}],
    }
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
    x, y = torch.rand(4, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    engine.backward(x, y, estimator="contrastive")
    output = engine(x)
    weight = engine.get_parameter("edges.x_y.weight").grad
    # F is the squared error here, so that the contrast is its gradient.
    torch.testing.assert_close(weight, (output - torch.nn.functional.one_hot(y)).T @ x / 4)


@pytest.mark.parametrize("name", [name for name, rule in ESTIMATORS.items() if not rule.feedforward])
def test_nulls(name: Any, twins: list[Twin], note: Callable[[str], None]) -> None:
    """A target equal to the free output gives no gradient, and the order of a batch means nothing."""
    largest, moved = 0.0, 0.0
    options = {"nudged_steps": FEW}
    for network in (twin.squared for twin in twins):
        torch.manual_seed(0)
        seen, made = estimated(network.engine, network.x, network.y, network.free, name, 0.1, **options)
        turned = {state: s.flip(0) for state, s in network.free.items()}
        torch.manual_seed(0)
        again, other = estimated(network.engine, network.x.flip(0), network.y.flip(0), turned, name, 0.1, **options)
        moved = max(moved, error(other, made))
        torch.testing.assert_close(again.losses, seen.losses.flip(0), rtol=1e-12, atol=1e-14)
        for ours, theirs in zip((again.free, *again.nudged), (seen.free, *seen.nudged), strict=True):
            for state, s in theirs.states.items():
                assert apart(ours.states[state], s.flip(0)) <= 1e-11
        output = network.free[network.engine.graph.output.name]
        null = estimated(network.engine, network.x, output, network.free, name, 0.1)[1]
        largest = max(largest, float(null.norm()))
    note(f"{name}: {len(twins)} graphs, ‖g‖ ≤ {largest:.1e} without an error, order of the batch to {moved:.1e}")
    assert largest <= 1e-9
    assert moved <= 1e-10


@pytest.mark.parametrize("doubled", [True, False])
def test_the_sign_of_beta_leaves_the_centered_gradient_unchanged(doubled: bool, twins: list[Twin]) -> None:
    worst = 0.0
    for network in (twin.own for twin in twins):
        engine = network.engine
        engine.doubled = doubled
        made = []
        for beta in (0.1, -0.1):
            nudge = Nudge(engine.cost, network.y, beta)
            start = engine.executor.inputs.start(network.x, network.free)
            found: dict[str, Tensor] = {}
            with torch.no_grad():
                ESTIMATORS["centered"](
                    GradientTask(
                        engine.executor,
                        engine.executor.clamp(network.x, engine.snapshot()),
                        nudge,
                        start,
                        1,
                        FEW,
                        0.0,
                        found,
                    )
                )
            made.append(torch.cat([gradient.flatten() for gradient in found.values()]))
        engine.doubled = True
        worst = max(worst, error(*made))
    assert worst <= (1e-13 if doubled else 1e-11)


# Untied feedback.


def untied(data: dict[str, Any], **learning: Any) -> dict[str, Any]:
    return {**data, "learning": {**data.get("learning", {}), "feedback": "untied", **learning}}


def unequal(case: Case, schedule: str, **options: Any) -> ep.Engine:
    """An engine whose feedback weights are not its weights."""
    engine = ep.compile(case.architecture, dtype=torch.float64, schedule=schedule, **options)
    engine.load_state_dict({**engine.state_dict(), **case.parameters})
    return engine


def force_term(edge: Edge, parameters: dict[str, Tensor], s: Tensor, t: Tensor, towards: str) -> Tensor:
    """What an edge adds to the force on one of its ends: ∂⟨t, W s⟩/∂t, and back ∂⟨t, B s⟩/∂s at the choices of W."""
    weight = parameters.get(f"edges.{edge.name}.weight")
    feedback = parameters.get(f"edges.{edge.name}.feedback", weight)
    if towards == edge.target:
        t = t.detach().requires_grad_()
        return torch.autograd.grad(interaction(edge, weight, s, t).sum(), t)[0]
    s = s.detach().requires_grad_()
    if edge.kind.is_linear or weight is None:
        return torch.autograd.grad(interaction(edge, feedback, s, t).sum(), s, materialize_grads=True)[0]
    # Of a max-pooled edge: the windows' choices by W, then B at those places.
    assert feedback is not None
    bare = edge.kind.model_copy(update={"pool": None})
    back, there = (mapped(bare, w, s, tuple(t.shape[1:])) for w in (feedback, weight))
    windows = [z.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4) for z in (back, there)]
    chosen = windows[0].gather(-1, windows[1].argmax(-1, keepdim=True)).squeeze(-1)
    return torch.autograd.grad((chosen * t).sum(), s)[0]


def untied_relax(
    graph: NetworkGraph, oracle: Reference, parameters: dict[str, Tensor], x: Tensor, classes: Any, sweeps: int,
    states: States, y: Tensor | None = None, beta: float = 0.0,
) -> States:  # fmt: skip
    """The sweeps of a network with feedback weights, written down edge by edge."""
    now = dict(states)
    for _ in range(sweeps):
        for names in classes:
            everything = {graph.input.name: x, **now}
            moved = {}
            for name in names:
                a = torch.zeros_like(now[name])
                if (bias := parameters.get(f"states.{name}.bias")) is not None:
                    a = a + bias.view(1, -1, *(1,) * (a.ndim - 2))
                for edge in graph.edges.values():
                    if name in edge.ends:
                        a = a + force_term(edge, parameters, everything[edge.source], everything[edge.target], name)
                if beta and name == graph.output.name:
                    leaf = {name: now[name].detach().requires_grad_()}
                    assert y is not None
                    a = a - beta * torch.autograd.grad(oracle.cost(leaf, y).sum(), leaf[name])[0]
                moved[name] = oracle.activate(name, a)
            now |= moved
    return now


@pytest.mark.parametrize("seed", range(12))
def test_untied_networks_against_the_definition(seed: int) -> None:
    """States and gradients, edge by edge, max pooling included; both weights receive the same contrast."""
    case = Case(untied(random_architecture(random.Random(100 + seed))), seed)
    schedule = ("coloring", "synchronous")[seed % 2]
    engine = unequal(case, schedule)
    estimate, _ = estimated(engine, case.x, case.y, {}, "centered", 0.2, free_steps=6, nudged_steps=4)
    parameters = {name: p.detach() for name, p in engine.named_parameters()}
    oracle = Reference(case.graph, engine.state_dict())
    classes = make_schedule(case.graph, schedule).classes
    free = untied_relax(case.graph, oracle, parameters, case.x, classes, 6, oracle.zeros(len(case.x)))
    for name, state in free.items():
        assert apart(estimate.free.states[name], state) <= 1e-9, name
    ends = []
    for beta, relaxed in zip((0.2, -0.2), estimate.nudged, strict=True):
        states = untied_relax(case.graph, oracle, parameters, case.x, classes, 4, free, case.y, beta)
        for name, state in states.items():
            assert apart(relaxed.states[name], state) <= 1e-9, name
        ends.append(oracle.parameter_gradient(case.x, states))
    for name, parameter in engine.named_parameters():
        weight = name.replace(".feedback", ".weight")
        expected = -(ends[0][weight] - ends[1][weight]) / (0.4 * len(case.x))
        assert parameter.grad is not None
        size = ends[0][weight].norm()
        assert (parameter.grad - expected).norm() <= 1e-8 * expected.norm() + 1e-14 / 0.2 * size, name
    moving = [e for e in case.graph.edges.values() if e.weight_shape and case.graph.input.name not in e.ends]
    assert {name for name in parameters if name.endswith(".feedback")} == {f"edges.{e.name}.feedback" for e in moving}
    assert case.graph.parameters() == sum(p.numel() for p in parameters.values())


@pytest.mark.parametrize("backend", ["eager", "channels_last"])
@pytest.mark.parametrize("share_above", [SHARE_ABOVE, 0])
@pytest.mark.parametrize("seed", range(4))
def test_feedback_equal_to_the_weights_is_the_tied_network(seed: int, share_above: int, backend: str) -> None:
    """On every backend, also where updates that are alike share a function."""
    data = random_architecture(random.Random(200 + seed))
    tied = Case(data, seed)
    made = []
    for case in (tied, Case(untied(data), seed)):
        engine = unequal(case, "even_odd", backend=backend, share_above=share_above)
        for edge in case.graph.edges.values():
            feedback, weight = engine.feedback(edge), engine.weight(edge)
            if feedback is not None and weight is not None:
                feedback.data.copy_(weight)
        estimate, _ = estimated(engine, tied.x, tied.y, {}, "centered", 0.2, free_steps=6, nudged_steps=5)
        made.append((estimate, {name: p.grad for name, p in engine.named_parameters()}))
    (expected, gradients), (found, both) = made
    for ours, theirs in zip((found.free, *found.nudged), (expected.free, *expected.nudged), strict=True):
        for name, state in theirs.states.items():
            assert apart(ours.states[name], state) <= 1e-12
    for name, other in both.items():
        torch.testing.assert_close(other, gradients[name.replace(".feedback", ".weight")], rtol=1e-11, atol=1e-13)


def test_holomorphic_ep_runs_on_feedback_weights() -> None:
    data = {**RING, "defaults": {"activation": "tanh"}}
    engine = Case(untied(data)).engine("coloring")
    case = Case(data)
    two = estimated(engine, case.x, case.y, {}, "holomorphic", 0.1, free_steps=60, points=2)[1]
    assert error(two, estimated(engine, case.x, case.y, {}, "centered", 0.1, free_steps=60)[1]) <= 1e-10


def test_there_is_no_energy_where_feedback_is_untied() -> None:
    case = Case(untied(RING))
    engine = case.engine("coloring")
    states = engine.relax(case.x, record=True, steps=3)
    assert all(bool(sweep.energy.isnan().all()) for sweep in states.trajectory)
    for of in (engine.energy, engine.phi):
        with pytest.raises(
            ep.EpgraphError, match=r"edge 'a_b' has a feedback weight of its own; set learning\.feedback"
        ):
            of(case.x, states.states)
    assert engine.backward(case.x, case.y, energy=True).energies is None
    with pytest.raises(ep.EpgraphError, match="the linearized update is not symmetric: edge 'a_b' has a feedback"):
        Linearization(engine.executor, case.x, states.states, engine.snapshot()).spectrum()
    seen = survey(engine, case.x, sweeps=3)
    assert math.isnan(seen.largest)
    assert math.isfinite(seen.residual)
    anderson = Case(untied({**RING, "dynamics": {"schedule": "coloring", "anderson": 4}})).engine("coloring")
    settled = anderson.relax(case.x, steps=400, tolerance=1e-12).states
    for name, state in engine.relax(case.x, steps=400).states.items():
        assert apart(settled[name], state) <= 1e-9


def test_weight_decay_aligns_feedback() -> None:
    """Equal contrasts cancel in the difference of the two weights, which decay alone then moves."""
    case = Case(untied(RING))
    engine = case.engine("coloring")
    rate, decay, steps = 0.1, 0.2, 5
    optimizer = torch.optim.SGD(engine.parameters(), lr=rate, weight_decay=decay)
    edges = [edge for edge in engine.graph.edges.values() if edge.untied]

    def apart_by() -> list[Tensor]:
        return [(engine.weight(edge) - engine.feedback(edge)).detach().clone() for edge in edges]  # type: ignore[operator]

    before = apart_by()
    moved = engine.get_parameter("edges.a_b.weight").detach().clone()
    for _ in range(steps):
        optimizer.zero_grad()
        engine.backward(case.x, case.y, free_steps=20, nudged_steps=10)
        optimizer.step()
    for then, now in zip(before, apart_by(), strict=True):
        torch.testing.assert_close(now, then * (1 - rate * decay) ** steps, rtol=1e-10, atol=1e-13)
    assert apart(engine.get_parameter("edges.a_b.weight").detach(), moved * (1 - rate * decay) ** steps) > 1e-3


# Backends, pieces, and what cannot be had.


@pytest.mark.parametrize("name", sorted(ESTIMATORS.keys() - {"holomorphic", "centered", "positive", "negative"}))
@pytest.mark.parametrize(("backend", "dtype"), [("channels_last", torch.float64), ("onednn", torch.float32)])
def test_rules_on_fast_backends(name: Any, backend: str, dtype: torch.dtype) -> None:
    """The example has a max-pooled edge from the input; the second one has one between states that move."""
    made = {}
    data = ep.load("examples/digits.yaml").to_dict()
    data["edges"][1] = {"from": "h1", "to": "h2", "conv": {"kernel": 3, "padding": 2, "pool": "max"}}
    data["edges"][2] = {"from": "h2", "to": "h3", "conv": {"kernel": 2, "padding": 1}}
    data["edges"][3] = {"from": "h1", "to": "h3", "skip": {}}
    data["states"]["h2"] = {"channels": 32, "shape": None} | {"channels": 32}
    data["states"]["h2"].pop("shape")
    data["edges"] = [e for e in data["edges"] if {e["from"], e["to"]} != {"h2", "h4"}]
    architecture = ep.Architecture.model_validate(data)
    x, y = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    for kind in ("eager", backend):
        engine = ep.compile(architecture, dtype=dtype, backend=kind)
        torch.manual_seed(3)
        engine.backward(x, y, estimator=name, beta=0.3, free_steps=9, nudged_steps=5, continual_rate=1e-3)
        made[kind] = gathered(engine)
    assert error(made[backend], made["eager"]) <= (1e-11 if dtype == torch.float64 else 1e-3)


@pytest.mark.parametrize("name", sorted(ESTIMATORS.keys() - {"centered", "positive", "negative"}))
def test_rules_in_pieces(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {**RING, "defaults": {"activation": "tanh"}}
    x = torch.rand(5, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(5) % 3
    made = []
    for rows in (pieces.ROWS, 2):
        monkeypatch.setattr(pieces, "ROWS", rows)
        monkeypatch.setattr(pieces, "VALUES", pieces.VALUES if rows != 2 else 1)
        engine = Case(data).engine("coloring")
        torch.manual_seed(7)
        made.append(estimated(engine, x, y, {}, name, 0.2, free_steps=9, nudged_steps=5))
    (whole, expected), (cut, found) = made
    assert error(found, expected) <= 1e-11
    for ours, theirs in zip((cut.free, *cut.nudged), (whole.free, *whole.nudged), strict=True):
        for state, s in theirs.states.items():
            assert apart(ours.states[state], s) <= 1e-11


@pytest.mark.parametrize("name", ["holomorphic", "coupled_centered"])
def test_rules_on_networks_whose_updates_share_functions(name: Any) -> None:
    made = []
    case = Case({**RING, "defaults": {"activation": "tanh"}})
    for share_above in (SHARE_ABOVE, 0):
        engine = case.engine("even_odd", share_above=share_above)
        made.append(estimated(engine, case.x, case.y, {}, name, 0.2, free_steps=9, nudged_steps=5)[1])
    assert error(made[1], made[0]) <= 1e-12


MAX = {"from": "a", "to": "b", "conv": {"kernel": 2, "pool": "max"}}


@pytest.mark.parametrize(
    ("estimator", "change", "message"),
    [
        ("holomorphic", {}, "state 'a' has the activation relu6, which has no holomorphic continuation; use tanh or"),
        (
            "holomorphic",
            {"defaults": {"activation": "tanh"}, "states": {**RING["states"], "c": {"activation": "relu1"}}},
            "state 'c' has the activation relu1",
        ),
        ("holomorphic", {"edges": [*RING["edges"][:4], MAX | {"from": "c", "to": "e"}, RING["edges"][6],
                                   {"from": "e", "to": "y", "dense": {}}],
                         "states": {**RING["states"], "e": {"channels": 2}}},
         r"edge 'c_e' \(conv 2×2, max pool\) takes a maximum, which complex numbers do not have; use pool: average"),
        (
            "holomorphic",
            {"defaults": {"activation": "tanh"}, "dynamics": {"anderson": 3}},
            "anderson mixes real states, and these are complex; set dynamics.anderson to 0",
        ),
        (
            "holomorphic",
            {"defaults": {"activation": "tanh"}, "dynamics": {"flow": 0.4}},
            r"dynamics.flow takes σ⁻¹ of state 'a' \(tanh\), .* complex numbers have no order; set dynamics.flow to 0",
        ),
        (
            "contrastive",
            {"output": {"name": "y", "classes": 3, "cost": "cross_entropy"}},
            "it clamps the output 'y' to the target.*not cross_entropy; use cost: squared_error",
        ),
        (
            "coupled_positive",
            {"learning": {"feedback": "untied"}},
            "there is none where edge 'a_b' has a feedback weight of its own; use learning.feedback: tied",
        ),
    ],
)  # fmt: skip
def test_rules_that_a_network_cannot_use_are_refused_by_name(
    estimator: Any, change: dict[str, Any], message: str
) -> None:
    """Asked for in the file or in the call, and located in the file."""
    data = {**RING, **change}
    message = rf"estimator {estimator} cannot be used: .*{message}"
    learning = {**data.get("learning", {}), "estimator": estimator}
    with pytest.raises(ep.EpgraphError, match=message) as caught:
        ep.compile(ep.Architecture.model_validate({**data, "learning": learning}))
    assert all(d.at == ("learning", "estimator") for d in caught.value.diagnostics)
    engine = ep.compile(ep.Architecture.model_validate(data))
    with pytest.raises(ep.EpgraphError, match=message):
        engine.backward(torch.rand(1, 2, 6, 6), torch.tensor([0]), estimator=estimator)


def test_over_relaxation_is_refused_where_feedback_is_untied() -> None:
    data = untied({**RING, "dynamics": {"schedule": "coloring", "over_relaxation": 1.5}})
    with pytest.raises(ep.EpgraphError, match="edge 'a_b' has a feedback weight of its own, so that there is no F"):
        ep.compile(ep.Architecture.model_validate(data))


@pytest.mark.parametrize(
    ("option", "message"), [({"points": 1}, "points must"), ({"continual_rate": -1.0}, "rate must")]
)
def test_options_out_of_range_are_named(option: dict[str, Any], message: str) -> None:
    engine = ep.compile(ep.Architecture.model_validate(RING))
    with pytest.raises(ep.EpgraphError, match=message):
        engine.backward(torch.rand(1, 2, 6, 6), torch.tensor([0]), **option)
