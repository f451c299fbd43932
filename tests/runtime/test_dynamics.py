"""Gradient flow, noise, quantized states and weights: against plain float64 loops over the oracle's forces."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

import epgraph as ep
from epgraph.activations import Activation
from epgraph.activations.relu import ReLU
from epgraph.activations.sigmoid import Logistic
from epgraph.activations.softclip import Softclip
from epgraph.testing.oracle import Reference
from epgraph.testing.units import sigma
from tests.helpers.activations import WITHOUT_LEVEL, WRITTEN
from tests.helpers.case import ORACLE, Case, apart
from tests.helpers.emitted import check
from tests.helpers.networks import RING, batch
from tests.helpers.topologies import architectures

INVERTIBLE = [*(a for a in WITHOUT_LEVEL if a.invertible), Logistic(1, 6, 3), Softclip(1, 9)]


def inverse(activation: Activation, s: Tensor) -> Tensor:
    """σ⁻¹ by bisection: no formula."""
    low, high = torch.full_like(s, -60.0), torch.full_like(s, 60.0)
    for _ in range(80):
        middle = (low + high) / 2
        below = sigma(activation, middle, 0.0) < s
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


@pytest.mark.parametrize("activation", INVERTIBLE, ids=lambda a: a.label)
def test_inverse_and_its_pair(activation: Activation) -> None:
    ends = activation.bounds(1.0)
    assert ends is not None
    low, high = float(ends[0]), float(ends[1])
    s = low + (high - low) * torch.linspace(0.01, 0.99, 60, dtype=torch.float64)
    x = inverse(activation, s)
    torch.testing.assert_close(activation.inverse(s, 1.0), inverse(activation, s), rtol=1e-7, atol=1e-7)
    # A pair whose states are the images of x ± q.
    for scale in (0.3, 1e-3, 1e-9):
        q = scale * torch.randn(60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        common, odd = activation.inverse_pair(*activation.pair(x.clone(), q.clone(), 1.0), 1.0)
        torch.testing.assert_close(common, x, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(odd, q, rtol=1e-6, atol=0)
        torch.testing.assert_close(common + odd, x + q, rtol=1e-6, atol=1e-6)
    at = torch.tensor(ends, dtype=torch.float64)
    assert activation.inverse(at, 1.0).isfinite().all()
    for part in activation.inverse_pair(at, torch.full_like(at, 1e-3), 1.0):
        assert part.isfinite().all()


class Loop:
    """Sweeps over the oracle's forces, one state after the other; subclasses say what an update is."""

    def __init__(self, engine: ep.Engine, x: Tensor, y: Tensor) -> None:
        self.oracle = Reference(engine.graph, engine.state_dict())
        self.engine, self.x, self.y = engine, x, y
        self.dynamics = engine.architecture.dynamics

    def move(self, name: str, old: Tensor, force: Tensor) -> Tensor:
        raise NotImplementedError

    def sigma(self, name: str, a: Tensor) -> Tensor:
        return sigma(self.engine.graph.states[name].activation, a, self.oracle.alphas[name])

    def run(self, sweeps: int, states: dict[str, Tensor] | None = None, beta: float = 0.0) -> dict[str, Tensor]:
        now = self.oracle.zeros(len(self.x)) if states is None else dict(states)
        for _ in range(sweeps):
            for names in self.engine.plan.schedule.classes:
                forces = self.oracle.forces(self.x, now, names, self.y, beta)
                now = {**now, **{name: self.move(name, now[name], force) for name, force in forces.items()}}
        return now

    def assert_followed(self, sweeps: int = 8, beta: float = 0.2, bar: float = 1e-9) -> None:
        free = self.run(sweeps)
        estimate = self.engine.backward(self.x, self.y, free_steps=sweeps, nudged_steps=5, beta=beta)
        for name, value in free.items():
            assert apart(estimate.free.states[name], value) <= bar, name
        for sign, nudged in zip((1, -1), estimate.nudged, strict=True):
            for name, value in self.run(5, free, sign * beta).items():
                assert apart(nudged.states[name], value) <= bar, (sign, name)


class Flow(Loop):
    def move(self, name: str, old: Tensor, force: Tensor) -> Tensor:
        activation, step = self.engine.graph.states[name].activation, self.dynamics.flow
        smooth = not activation.projects
        if smooth:
            # A state that starts at the end of its range counts as the number next to it.
            bounds = activation.bounds(1.0)
            assert bounds is not None
            low, height = bounds
            delta = height * 2**-53
            old = old.clamp(low + delta, height - delta)
        u = inverse(activation, old) if smooth else old
        return self.sigma(name, u + step * (force - u))


def case_with(data: dict[str, Any], **dynamics: Any) -> Case:
    return Case({**data, "dynamics": {"schedule": "coloring", **dynamics}})


@settings(ORACLE, max_examples=8)
@given(data=architectures(activations=WRITTEN))
def test_flow_follows_the_loop(data: dict[str, Any]) -> None:
    """From the end of a range, where a smooth state starts, a bisection has few digits."""
    case = case_with(data, flow=0.3)
    loop = Flow(case.engine("coloring"), case.x, case.y)
    loop.assert_followed(bar=1e-5)


@pytest.mark.parametrize("activation", ["relu6", "tanh", "logistic", "softclip"])
def test_flow_comes_to_rest_where_plain_sweeps_do(activation: str) -> None:
    """The same equilibria, free and nudged, and so the same gradient."""
    x, y = batch()
    made, rest = {}, []
    for flow in (0.0, 0.3):
        data = {**RING, "defaults": {"activation": activation}, "dynamics": {"schedule": "coloring", "flow": flow}}
        made[flow] = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
        rest.append(made[flow].backward(x, y, free_steps=1500, nudged_steps=600, tolerance=1e-13).free.states)
    for name, state in rest[0].items():
        assert apart(rest[1][name], state) <= 1e-9, name
    for p, q in zip(made[0.0].parameters(), made[0.3].parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert apart(q.grad, p.grad) <= 1e-6


class Quantized(Loop):
    def move(self, name: str, old: Tensor, force: Tensor) -> Tensor:
        activation, bits = self.engine.graph.states[name].activation, self.dynamics.state_bits
        s = self.sigma(name, force)
        if isinstance(activation, ReLU):
            step = self.oracle.alphas[name] / (2**bits - 1)
        elif name == "y":
            return s
        else:
            lowest = activation.apply_(torch.tensor([-1e6], dtype=torch.float64), 1.0)
            half = 1 if lowest < -1e-3 else 0  # the grid of a range on both sides of 0
            step = getattr(activation, "height", getattr(activation, "alpha", 1.0)) / (2 ** (bits - half) - 1)
        return (s / step).round() * step


@settings(ORACLE, max_examples=8)
@given(data=architectures(activations=[a for a in WRITTEN if a != "identity"], output_activation="identity"))
def test_quantized_states_follow_the_loop(data: dict[str, Any]) -> None:
    """In both nudged phases too, though they are carried as a pair.

    Without max pooling of what moves: values on a grid are often equal, and c + o rounds, so that in a pair the
    maximum may be taken from another one of them than in the loop (docs/language.md, Other dynamics).
    """
    case = case_with(data, state_bits=7)
    edges, states = case.graph.edges.values(), case.graph.states
    assume(all(e.kind.is_linear or e.unary or states[e.source].clamped for e in edges))
    Quantized(case.engine("coloring"), case.x, case.y).assert_followed()


def test_quantized_states_stand_on_their_grid() -> None:
    data = {**RING, "defaults": {"activation": "relu6"}, "dynamics": {"state_bits": 3}}
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
    x, y = batch()
    estimate = engine.backward(x, y, beta=0.5)
    for relaxation in (estimate.free, *estimate.nudged):
        for name, state in relaxation.states.items():
            multiples = state * 7 / 6
            assert bool((multiples - multiples.round()).abs().max() <= 1e-12) == (name != "y")
            assert len(state.unique()) <= 8 or name == "y"


@settings(ORACLE, max_examples=8)
@given(data=architectures())
def test_quantized_weights_relax_and_float_ones_learn(data: dict[str, Any]) -> None:
    """All that the engine computes is what it computes for the rounded weights."""
    bits = 4
    case, plain = case_with(data, weight_bits=bits), case_with(data)
    engine, rounded = case.engine("coloring"), plain.engine("coloring")
    with torch.no_grad():
        for name, weight in rounded.named_parameters():
            if name.startswith("edges."):
                step = float(weight.abs().max()) / (2 ** (bits - 1) - 1)
                levels = torch.tensor([round(v / step) for v in weight.flatten().tolist()], dtype=torch.float64)
                assert len(levels.unique()) <= 2**bits - 1
                weight.copy_(levels.view_as(weight) * step)
    kept = {name: p.detach().clone() for name, p in engine.named_parameters()}
    for made in (engine, rounded):
        made.backward(case.x, case.y, free_steps=8, nudged_steps=5)
    for (name, p), q in zip(engine.named_parameters(), rounded.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert apart(p.grad, q.grad) <= 1e-7 or float((p.grad - q.grad).norm()) <= 1e-12, name
        assert torch.equal(p.detach(), kept[name])
    states = engine.relax(case.x, steps=4).states
    torch.testing.assert_close(engine.energy(case.x, states), rounded.energy(case.x, states))


class Noisy(Loop):
    def move(self, name: str, old: Tensor, force: Tensor) -> Tensor:
        # Not like the force, whose memory may be laid out in another order.
        return self.sigma(name, force + self.dynamics.noise * torch.randn(force.shape, dtype=force.dtype))


@settings(ORACLE, max_examples=6)
@given(data=architectures())
def test_noise_follows_the_loop(data: dict[str, Any]) -> None:
    """The same seed draws the same noise, in the same order, and both nudged phases share it."""
    case = case_with(data, noise=0.1)
    engine = case.engine("coloring")
    loop = Noisy(engine, case.x, case.y)
    torch.manual_seed(5)
    estimate = engine.backward(case.x, case.y, free_steps=4, nudged_steps=3, beta=0.2)
    torch.manual_seed(5)
    free = loop.run(4)
    drawn = torch.get_rng_state()
    for sign, nudged in zip((1, -1), estimate.nudged, strict=True):
        torch.set_rng_state(drawn)
        for name, value in loop.run(3, free, sign * 0.2).items():
            assert apart(nudged.states[name], value) <= 1e-9, (sign, name)
    for name, value in free.items():
        assert apart(estimate.free.states[name], value) <= 1e-9, name


def test_noise_cancels_in_the_contrast() -> None:
    """What reaches the odd parts comes through the cost's own pull, of order β: it is not divided by β."""
    data = {**RING, "defaults": {"activation": "tanh"}, "dynamics": {"noise": 0.2}}
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
    x, y = batch()
    start = engine.relax(x, steps=50).states
    for beta in (1e-1, 1e-5):
        seen = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            estimate = engine.backward(x, y, start=start, free_steps=0, nudged_steps=20, beta=beta)
            seen.append(estimate.nudged)
        for name in start:
            (a, b), (c, d) = ([sign.states[name] for sign in one] for one in seen)
            assert apart(a + b, c + d) > 1e-2
            # Drawn for each phase by itself, it would be 0.2/β of the contrast.
            assert apart(a - b, c - d) < 1, (name, beta)


SETTINGS: list[dict[str, Any]] = [
    {"flow": 0.2},
    {"noise": 0.05},
    {"state_bits": 6},
    {"weight_bits": 5},
    {"state_bits": 5, "weight_bits": 4, "noise": 0.02},
    {"flow": 0.5, "noise": 0.02, "weight_bits": 6},
]


@pytest.mark.parametrize("activation", ["relu6", "tanh", "softclip"])
@pytest.mark.parametrize("dynamics", SETTINGS, ids=str)
def test_emitted_modules_give_the_same_bits(tmp_path: Path, activation: str, dynamics: dict[str, Any]) -> None:
    data = {**RING, "defaults": {"activation": activation}, "dynamics": dynamics}
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float32)
    x, y = batch()
    if "noise" in dynamics:
        _check_seeded(engine, tmp_path, x.float(), y)
    else:
        check(engine, tmp_path, x.float(), y, free_steps=6, nudged_steps=4)


def _check_seeded(engine: ep.Engine, folder: Path, x: Tensor, y: Tensor) -> None:
    from tests.helpers.emitted import emitted

    standalone = emitted(engine, folder)
    torch.manual_seed(3)
    engine.backward(x, y, free_steps=6, nudged_steps=4)
    torch.manual_seed(3)
    found = standalone.gradient(x, y, free_steps=6, nudged_steps=4)
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(found[name], parameter.grad), name


@pytest.mark.parametrize("schedule", ["coloring", "synchronous"])
@pytest.mark.parametrize(
    ("activation", "dynamics", "cost"),
    [
        ("tanh", {"flow": 0.5, "noise": 0.02, "weight_bits": 6}, "squared_error"),
        ("tanh", {"state_bits": 6, "noise": 0.05}, "cross_entropy"),
        ("softclip", {}, "squared_error"),
        ("relu6", {}, "softmax_readout"),
        ({"relu": [0.5, 2], "learn": True}, {}, "squared_error"),
    ],
)
def test_functions_that_many_states_share_compute_the_same(
    schedule: str, activation: Any, dynamics: dict[str, Any], cost: str
) -> None:
    output = {"name": "y", "classes": 3, "cost": cost}
    data = {**RING, "output": output, "defaults": {"activation": activation}, "dynamics": dynamics}
    x, y = batch()
    made = []
    for share_above in (10_000, 0):
        architecture = ep.Architecture.model_validate(data)
        engine = ep.compile(architecture, dtype=torch.float64, schedule=schedule, share_above=share_above)
        torch.manual_seed(0)
        free = engine.backward(x, y, free_steps=6, nudged_steps=4).free.states
        made.append([engine.energy(x, free), *(p.grad for p in engine.parameters())])
    for found, expected in zip(made[1], made[0], strict=True):
        assert found is not None
        assert expected is not None
        assert torch.equal(found, expected)


@pytest.mark.parametrize("backend", ["channels_last", "onednn"])
@pytest.mark.parametrize("dynamics", [s for s in SETTINGS if "noise" not in s], ids=str)
def test_backends_agree(backend: str, dynamics: dict[str, Any]) -> None:
    """Relative to the plain form. A rounding step may fall either way, and then a unit differs by that step."""
    data = {**RING, "defaults": {"activation": "tanh"}, "dynamics": {"schedule": "coloring", **dynamics}}
    x, _ = batch()
    found = [
        ep.compile(ep.Architecture.model_validate(data), dtype=torch.float32, backend=name).relax(x.float(), steps=15)
        for name in ("eager", backend)
    ]
    for name, state in found[0].states.items():
        differs = (found[1].states[name] - state).abs()
        assert float((differs > 1e-4).float().mean()) <= 0.02, name
        assert float(differs.max()) <= (0.2 if "state_bits" in dynamics else 1e-4), name


@pytest.mark.parametrize(
    ("activation", "dynamics", "message"),
    [
        ("relu6", {"flow": 0.1, "over_relaxation": 0.5}, "flow cannot be used together with over_relaxation"),
        ("relu6", {"flow": 0.1, "anderson": 3}, "flow cannot be used together with anderson"),
        ("relu6", {"noise": 0.1, "tolerance": 1e-3}, "noise 0.1 keeps the residual above any tolerance, found 0.001"),
        ("relu6", {"noise": 0.1, "anderson": 3}, "noise cannot be used together with anderson"),
        ("relu6", {"state_bits": 4, "flow": 0.1}, "state_bits cannot be used together with flow"),
        ("relu6", {"state_bits": 4, "anderson": 3}, "state_bits cannot be used together with anderson"),
        ("identity", {"state_bits": 4}, "state_bits needs a range, which the activation identity of state 'a'"),
        ("tanh", {"state_bits": 1}, "state_bits needs at least 2 for state 'a', whose range has two signs"),
        ("relu6", {"weight_bits": 1}, "weight_bits needs at least 2: one is the sign"),
    ],
)
def test_what_makes_no_sense_is_refused(activation: str, dynamics: dict[str, Any], message: str) -> None:
    data = {**RING, "defaults": {"activation": activation}, "dynamics": dynamics}
    with pytest.raises(ep.EpgraphError, match=message):
        ep.compile(ep.Architecture.model_validate(data))


def test_noise_is_refused_where_it_cannot_be_drawn() -> None:
    data = {**RING, "dynamics": {"noise": 0.1}}
    with pytest.raises(ep.EpgraphError, match="one by one they would not share it; compile with doubled=True"):
        ep.compile(ep.Architecture.model_validate(data), doubled=False)
    with pytest.raises(ep.EpgraphError, match="draws other random numbers"):
        _ = ep.compile(ep.Architecture.model_validate(data), backend="inductor").machine


def test_flow_never_raises_the_energy() -> None:
    for activation in ("relu6", "tanh", "logistic", "softclip"):
        data = {**RING, "defaults": {"activation": activation}, "dynamics": {"schedule": "coloring", "flow": 0.4}}
        engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
        with torch.no_grad():
            for parameter in engine.parameters():
                parameter.mul_(2)
        x, _ = batch()
        relaxation = engine.relax(x, steps=40, record=True)
        energies = torch.stack([sweep.energy for sweep in relaxation.trajectory])
        assert bool((energies.diff(dim=0) <= 1e-9 * energies.abs().max()).all()), activation
        assert math.isfinite(float(energies.max()))
