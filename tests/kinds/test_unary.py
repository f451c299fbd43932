"""Terms of one state, tied and frozen weights: kinds, engine, gradients and emitted modules. Float64 unless said."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

import epgraph as ep
from epgraph.gradient_check.signal import survey
from epgraph.graph import SCHEDULES, make_schedule
from epgraph.kinds import Memory, Self, Shape, Unary
from epgraph.kinds.memory import softmax_pair
from epgraph.testing.maps import concavity
from tests.helpers.bridged import backpropagated, bridged
from tests.helpers.case import ORACLE, SWEEPS, Case, apart
from tests.helpers.decorated import decorated, decorated_architectures, decorated_graph
from tests.helpers.emitted import emitted
from tests.helpers.qualified import cosine, error, qualified
from tests.helpers.topologies import random_architecture

IMAGE, UNITS = (3, 4, 5), (6,)
CASES: list[tuple[Unary, Shape]] = [
    *((Self(zero_diagonal=z), shape) for z in (True, False) for shape in (IMAGE, UNITS)),
    *((Self(kernel=k, zero_diagonal=z), IMAGE) for k, z in itertools.product((1, 3, 5, 7), (True, False))),
    *((Memory(patterns=n, sharpness=b), shape) for n, b in ((1, 1.0), (5, 2.5)) for shape in (IMAGE, UNITS)),
    (Memory(patterns=4, sharpness=1.7, per_pixel=True), IMAGE),
]


def draw(kind: Unary, shape: Shape, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A weight, and two batches of states."""
    generator = torch.Generator().manual_seed(seed)
    weight = kind.weight_shape(shape, shape)
    assert weight is not None
    sizes = (weight, (2, *shape), (2, *shape))
    made = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    return made[0] / weight[1] ** 0.5, made[1], made[2]


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_force_and_gradient_are_those_of_the_potential(kind: Unary, shape: Shape) -> None:
    weight, s, _ = draw(kind, shape)
    phi = kind.potential(weight.requires_grad_(), s.requires_grad_(), shape)
    by_state, by_weight = torch.autograd.grad(phi.sum(), (s, weight))
    with torch.no_grad():
        torch.testing.assert_close(kind.forward(weight, s, shape), by_state, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(kind.weight_gradient(weight, s, s, shape), by_weight, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_pairs_are_the_two_states(kind: Unary, shape: Shape) -> None:
    weight, c, o = draw(kind, shape)
    pair = torch.cat((c, o))
    common, odd = kind.forward_pair(weight, pair, shape).chunk(2)
    for sign in (1, -1):
        torch.testing.assert_close(common + sign * odd, kind.forward(weight, c + sign * o, shape))
    plus, minus = (kind.weight_gradient(weight, s, s, shape) for s in (c + o, c - o))
    torch.testing.assert_close(kind.weight_contrast(weight, pair, pair, shape), 0.5 * (plus - minus))
    # Weighted example by example, which is what the bridge does.
    weights = torch.tensor([2.0, -0.7, 2.0, -0.7], dtype=torch.float64).view(-1, *(1,) * len(shape))
    alone = [w * kind.weight_contrast(weight, pair[i::2], pair[i::2], shape) for i, w in enumerate((2.0, -0.7))]
    torch.testing.assert_close(kind.weight_contrast(weight, pair, pair * weights, shape), alone[0] + alone[1])


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_the_contrast_survives_a_tiny_odd_part(kind: Unary, shape: Shape) -> None:
    """Force and contrast keep their digits in float32 where the odd part is 1e-6 of the state; differences do not."""
    weight, c, o = draw(kind, shape, seed=1)
    pair = torch.cat((c, 1e-6 * o))
    low, weight32 = pair.float(), weight.float()
    plus, minus = low[:2] + low[2:], low[:2] - low[2:]
    whole = isinstance(kind, Memory) and kind.patterns == 1  # a softmax of one pattern does not move
    if not whole:
        exact = kind.forward_pair(weight, pair, shape)[2:]
        assert error(kind.forward_pair(weight32, low, shape)[2:].double(), exact) < 1e-5
        naive = 0.5 * (kind.forward(weight32, plus, shape) - kind.forward(weight32, minus, shape))
        assert error(naive.double(), exact) > 1e-3
    exact = kind.weight_contrast(weight, pair, pair, shape)
    assert error(kind.weight_contrast(weight32, low, low, shape).double(), exact) < 1e-5
    gradients = [kind.weight_gradient(weight32, s, s, shape) for s in (plus, minus)]
    assert error(0.5 * (gradients[0] - gradients[1]).double(), exact) > 1e-3


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0, 30.0, 1e4])
def test_softmax_pairs_of_all_sizes(size: float) -> None:
    """Against 60 digits; nothing overflows."""
    generator = torch.Generator().manual_seed(0)
    for spread in (1.0, 100.0):
        c, o = (torch.randn(1, 5, generator=generator, dtype=torch.float64) for _ in range(2))
        c, o = c * spread, o * size
        for shift in (0.0, 1.0):  # what all patterns share makes no difference
            common, odd = softmax_pair(torch.cat((c, o + shift * size))).chunk(2)
            ends = []
            for sign in (1, -1):
                with localcontext(prec=60):
                    both = zip(c[0].tolist(), o[0].tolist(), strict=True)
                    raised = [(Decimal(a) + sign * Decimal(b)).exp() for a, b in both]
                    ends.append([r / sum(raised) for r in raised])
            for found, sign, least in ((common, 1, 1.0), (odd, -1, min(1.0, 10 * size))):
                with localcontext(prec=60):
                    exact = [float((p + sign * m) / 2) for p, m in zip(*ends, strict=True)]
                assert bool(found.isfinite().all())
                # The exponents have rounded already, by parts in 1e16 of their size.
                apart = (found - torch.tensor([exact], dtype=torch.float64)).norm()
                assert apart <= 1e-15 * (1 + spread + size) * least, (size, spread)


def operator(kind: Unary, weight: Tensor, shape: Shape) -> Tensor:
    """W as a matrix over the units."""
    units = torch.Size(shape).numel()
    basis = torch.eye(units, dtype=torch.float64).view(units, *shape)
    return kind.forward(weight, basis, shape).flatten(1).T


@pytest.mark.parametrize(("kind", "shape"), [case for case in CASES if isinstance(case[0], Self)])
def test_quadratic_terms_are_symmetric_and_bounded(kind: Self, shape: Shape) -> None:
    weight = draw(kind, shape)[0]
    matrix = operator(kind, weight, shape)
    torch.testing.assert_close(matrix, matrix.T)
    assert bool((matrix.diagonal() == 0).all()) is kind.zero_diagonal
    bound = float(kind.concavity(weight, shape))
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    assert norm <= bound
    if kind.kernel is None or kind.kernel <= 3:
        # The rest is the number of channels, and what the frame of an image takes; of a wider kernel that is most.
        assert bound <= 1.5 * norm
    assert bound == pytest.approx(concavity(kind, weight, shape), rel=1e-12)
    assert float(kind.concavity(1e-30 * weight, shape)) == pytest.approx(1e-30 * bound, rel=1e-9)
    assert float(kind.concavity(0 * weight, shape)) < 1e-100
    gradient = kind.weight_gradient(weight, *draw(kind, shape)[1:], shape)
    torch.testing.assert_close(kind.symmetric(gradient), gradient)


@pytest.mark.parametrize(("kind", "shape"), [case for case in CASES if isinstance(case[0], Memory)])
def test_memories_are_convex(kind: Memory, shape: Shape) -> None:
    weight, s, _ = draw(kind, shape)
    hessian = torch.autograd.functional.hessian(lambda v: kind.potential(weight, v[None], shape).sum(), s[0])
    units = s[0].numel()
    values = torch.linalg.eigvalsh(hessian.reshape(units, units))
    assert float(values.min()) > -1e-12
    if kind.patterns > 1:
        assert float(values.max()) > 1e-3


@settings(ORACLE, max_examples=12)
@given(data=decorated_architectures())
def test_states_and_energies_follow_the_oracle(data: dict[str, Any]) -> None:
    case = Case(data)
    oracle = case.oracle(case.engine("coloring"))
    for name in SCHEDULES:
        engine = case.engine(name)
        found = engine.relax(case.x, steps=SWEEPS).states
        expected = oracle.relax(case.x, make_schedule(case.graph, name).classes, SWEEPS)
        for state, value in expected.items():
            assert apart(found[state], value) <= 1e-9, (name, state)
    torch.testing.assert_close(engine.phi(case.x, found), oracle.phi(case.x, found), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(engine.energy(case.x, found), oracle.energy(case.x, found), rtol=1e-10, atol=1e-10)


@settings(ORACLE, max_examples=10)
@given(data=decorated_architectures())
def test_gradients_follow_the_oracle(data: dict[str, Any]) -> None:
    case = Case(data)
    engine = case.engine("coloring")
    oracle = case.oracle(engine)
    classes = make_schedule(case.graph, "coloring").classes
    free = oracle.relax(case.x, classes, 12)
    contrasted = oracle.parameter_gradient(case.x, free)
    nudged = {sign: oracle.relax(case.x, classes, 6, free, case.y, sign * 0.2) for sign in (1, -1)}
    for estimator in ("centered", "positive"):
        engine.zero_grad(set_to_none=True)
        estimate = engine.backward(case.x, case.y, estimator=estimator, beta=0.2, free_steps=12, nudged_steps=6)
        # Of states of 10⁶ the weights of a softmax are lost in rounding; the engine says that they have diverged.
        assume(not estimate.diverged)
        expected = oracle.estimate(case.x, case.y, free, nudged, 0.2, estimator)
        # A sum of zero in one of them may be one of rounding in the other, of the size of the network's other products.
        largest = max(float(product.norm()) for product in contrasted.values())
        for name, parameter in engine.named_parameters():
            owner = case.graph.edges.get(name.removeprefix("edges.").removesuffix(".weight"))
            if owner is not None and owner.frozen:
                assert parameter.grad is None
                continue
            assert parameter.grad is not None
            bar = 1e-8 * expected[name].norm() + 1e-14 / 0.2 * largest
            assert (parameter.grad - expected[name]).norm() <= bar, (estimator, name)


def test_gradients_of_smooth_networks(note: Callable[[str], None]) -> None:
    """EP against implicit differentiation by the oracle and by the engine: O(β²); the bridge, weighted by example."""
    count, ratios, worst = 0, [], 0.0
    for network in itertools.islice(qualified(smooth=True, draw=decorated_graph), 8):
        exact = network.implicit()
        assert cosine(network.gradient(1e-2), exact) >= 0.9999
        ratios.append(error(network.gradient(1e-2), exact) / error(network.gradient(5e-3), exact))
        worst = max(worst, error(network.gradient(1e-3, "implicit"), exact))
        count += 1
        if count <= 3:
            names = [network.engine.graph.free[0], network.engine.graph.output.name]
            true = backpropagated(network, names)
            assert error(bridged(network, names, 1e-5), true) < 1e-7
    note(
        f"terms of one state, ties: {count} graphs, error ratio {min(ratios):.3f} to {max(ratios):.3f} when β is "
        f"halved, the engine's implicit gradient within {worst:.1e} of the oracle's"
    )
    assert all(3.5 <= ratio <= 4.5 for ratio in ratios)
    assert worst <= 1e-5


def test_unrolled_gradients_are_finite_differences() -> None:
    """Through damped steps, memories and ties: of the loss after five sweeps."""
    network = next(iter(qualified(smooth=True, draw=decorated_graph)))
    engine, x, y = network.engine, network.x, network.y
    engine.zero_grad(set_to_none=True)
    engine.backward(x, y, estimator="unrolled", free_steps=5)
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * 1e-5 * direction)
                ends.append(float(engine.loss(engine.relax(x, steps=5).states, y).mean()))
                parameter.sub_(sign * 1e-5 * direction)
        slope = (ends[0] - ends[1]) / 2e-5
        assert float((parameter.grad * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8), name


def test_two_sums_of_a_class_take_turns_in_one_memory() -> None:
    """Of a damped state and of the output: neither keeps its sum."""
    states = {"h1": {"shape": [3]}, "h2": {"shape": [2]}}
    dense = [{"from": a, "to": b, "dense": {}} for a, b in (("x", "h1"), ("h1", "h2"), ("h2", "y"))]
    own = {"at": "h1", "self": {"zero_diagonal": False}, "gain": 0.5}
    output = {"classes": 3, "cost": "squared_error"}
    data = {"epgraph": 2, "input": {"shape": [4]}, "output": output, "states": states, "edges": [*dense, own]}
    case = Case(data)
    onednn, eager = (
        ep.compile(case.architecture, dtype=torch.float32, schedule="even_odd", backend=backend)
        for backend in ("onednn", "eager")
    )
    for engine in (onednn, eager):
        engine.load_state_dict({**engine.state_dict(), **case.parameters})
        engine.backward(case.x.float(), case.y.float(), free_steps=6, nudged_steps=4, beta=0.2)
    for (name, p), q in zip(onednn.named_parameters(), eager.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert apart(p.grad, q.grad) < 1e-5, name


@pytest.mark.parametrize("backend", ["eager", "channels_last", "onednn"])
@settings(ORACLE, max_examples=4)
@given(data=decorated_architectures())
def test_emitted_modules_give_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, backend: str, data: dict[str, Any]
) -> None:
    case = Case(data)
    engine = ep.compile(case.architecture, dtype=torch.float32, schedule="even_odd", backend=backend)
    engine.load_state_dict({**engine.state_dict(), **case.parameters})
    x, y = case.x.float(), case.y.float()
    options = {"free_steps": 6, "nudged_steps": 4, "beta": 0.2}
    standalone = emitted(engine, tmp_path_factory.mktemp("emitted"))
    estimate = engine.backward(x, y, estimator="centered", **options)
    states = standalone.relax(x, steps=6)
    for name, state in estimate.free.states.items():
        assert torch.equal(states[name], state), name
    assert torch.equal(standalone.energy(x, states), engine.energy(x, states))
    found = standalone.gradient(x, y, **options)
    wanted = {name: p.grad for name, p in engine.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert torch.equal(found[name], gradient), name
    eager = ep.compile(case.architecture, dtype=torch.float64, schedule="even_odd", backend="eager")
    eager.load_state_dict(engine.state_dict())
    # Float32 against float64 on random networks, some with units near kinks: 1.3e-4 has been seen.
    for name, state in eager.relax(x.double(), steps=6).states.items():
        assert apart(states[name].double(), state) < 1e-3, name


def test_a_large_network_records_what_is_alike_once() -> None:
    """More than 100 states, with terms of their own and ties across them: the oracle's states and gradients."""
    count = 104
    states = {f"h{i}": {"shape": [3]} for i in range(count)}
    edges: list[dict[str, Any]] = [{"from": "x", "to": "h0", "dense": {}}]
    for i in range(count):
        edges.append({"at": f"h{i}", "self": {}, "gain": 2.0, **({"tie": "h4_self"} if i % 5 == 0 else {})})
        if i % 3 == 0:
            edges.append({"at": f"h{i}", "memory": {"patterns": 2}})
        if i:
            tie = {"tie": "h0_h1"} if i % 7 == 3 else {}
            edges.append({"from": f"h{i - 1}", "to": f"h{i}", "dense": {}, **tie})
    edges.append({"from": f"h{count - 1}", "to": "y", "dense": {}})
    case = Case({"epgraph": 2, "input": {"shape": [4]}, "output": {"classes": 2}, "states": states, "edges": edges})
    engine = case.engine("coloring")
    oracle = case.oracle(engine)
    classes = make_schedule(case.graph, "coloring").classes
    found = engine.relax(case.x, steps=4).states
    for state, value in oracle.relax(case.x, classes, 4).items():
        assert apart(found[state], value) <= 1e-9, state
    torch.testing.assert_close(engine.energy(case.x, found), oracle.energy(case.x, found))
    engine.backward(case.x, case.y, beta=0.5, free_steps=8, nudged_steps=8)
    expected = oracle.ep_gradient(case.x, case.y, classes, 8, 8, 0.5)
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None
        assert (parameter.grad - expected[name]).norm() <= 1e-8 * expected[name].norm() + 1e-14, name


def test_a_memory_on_a_linear_state_is_the_modern_hopfield_network() -> None:
    """Ramsauer et al. 2021, Eq. 3: one update from a query near a stored pattern retrieves it."""
    architecture = ep.load(
        """
epgraph: 2
input: {shape: [1]}
output: {name: y, shape: [16], bias: false}
edges:
  - {from: x, to: y, dense: {}}
  - {at: y, memory: {patterns: 6, sharpness: 8.0}}
dynamics: {schedule: coloring}
"""
    )
    engine = ep.compile(architecture, dtype=torch.float64)
    patterns = torch.randn(6, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zero = torch.zeros(16, 1, dtype=torch.float64)
    engine.load_state_dict({"edges.x_y.weight": zero, "edges.y_memory.weight": patterns})
    noisy = patterns + 0.3 * torch.randn(6, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = engine.relax(torch.zeros(6, 1), start={"y": noisy}, steps=1).states["y"]
    torch.testing.assert_close(moved, torch.softmax(8.0 * noisy @ patterns.T, 1) @ patterns)
    assert error(moved, patterns) < 1e-3


def test_half_precision_and_complex_states() -> None:
    """Damped updates in bfloat16, and holomorphic EP, whose error at four points is O(β⁴)."""
    data: dict[str, Any] = {
        "epgraph": 2,
        "input": {"shape": [2, 5, 5]},
        "output": {"classes": 3},
        "defaults": {"activation": "tanh", "gain": 0.5},
        "states": {"h": {"channels": 3}},
        "edges": [
            {"from": "x", "to": "h", "conv": {"kernel": 3, "padding": 1}},
            {"from": "h", "to": "y", "dense": {}},
            {"at": "h", "self": {"kernel": 3}, "gain": 2.0},
        ],
        "dynamics": {"schedule": "coloring"},
    }
    case = Case(data)
    exact = case.engine("coloring")
    assert case.oracle(exact).steps["h"] < 1
    half = ep.compile(case.architecture, dtype=torch.bfloat16)
    half.load_state_dict(exact.state_dict())
    rough, fine = (e.relax(case.x.to(e.dtype), steps=40).states["h"] for e in (half, exact))
    assert error(rough.double(), fine) < 2e-2
    steps = {"free_steps": 300, "nudged_steps": 300}
    exact.backward(case.x, case.y, estimator="holomorphic", beta=0.1, points=16, **steps)
    true = torch.cat([p.grad.flatten() for p in exact.parameters() if p.grad is not None])
    errors = []
    for beta in (0.1, 0.05):
        exact.zero_grad(set_to_none=True)
        exact.backward(case.x, case.y, estimator="holomorphic", beta=beta, points=4, **steps)
        errors.append(error(torch.cat([p.grad.flatten() for p in exact.parameters() if p.grad is not None]), true))
    assert 14 <= errors[0] / errors[1] <= 18


def test_graph_aware_aims_at_its_norm() -> None:
    """With terms of one state and ties the coupling still has the norm asked for, and inputs reach every state."""
    found = 0
    for seed in range(16):
        rng = random.Random(seed)
        data = decorated(random_architecture(rng, smooth=True), rng)
        # A memory couples by another amount wherever a state is, and an identity by one that is given.
        if any("identity" in edge for edge in data["edges"]):
            continue
        data["edges"] = [edge for edge in data["edges"] if "memory" not in edge]
        data |= {"init": {"rule": "graph_aware", "norm": 0.8}, "dynamics": {"schedule": "coloring"}}
        engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float32)
        x = torch.rand(10, *engine.graph.input.shape, generator=torch.Generator().manual_seed(0))
        measured = survey(engine, x, sweeps=40, spectrum=2)
        assert not measured.diverged
        assert all(signal > 0 for signal in measured.signal.values())
        assert 0.75 <= measured.norm <= 0.85
        found += 1
    assert found >= 3


def test_graph_aware_with_memories_settles() -> None:
    text = CLASSIFIER.replace("init: {}", "init: {rule: graph_aware}")
    measured = survey(ep.compile(text, dtype=torch.float32), torch.rand(10, 1, 6, 6), sweeps=60)
    assert not measured.diverged
    assert measured.residual < 1e-3
    assert measured.norm <= 1.5


CLASSIFIER = """
epgraph: 2
input: {shape: [1, 6, 6]}
output: {classes: 3}
init: {}
states: {h: {channels: 4}, k: {shape: [8]}}
edges:
  - {from: x, to: h, conv: {kernel: 3, padding: 1}}
  - {from: h, to: k, dense: {}}
  - {from: k, to: y, dense: {}}
  - {at: h, self: {kernel: 3}}
  - {at: h, memory: {patterns: 5, per_pixel: true}}
  - {at: k, memory: {patterns: 5}}
dynamics: {schedule: coloring}
"""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_terms_of_one_state_in_half_precision(dtype: torch.dtype) -> None:
    """Weights that come in another precision are cast, transposed and bounded once per batch, each from the last."""
    network = """
epgraph: 2
input: {shape: [6]}
output: {classes: 3}
defaults: {activation: tanh}
states: {h1: {shape: [8]}, h2: {shape: [8]}}
edges:
  - {from: x, to: h1, dense: {}}
  - {from: h1, to: h2, dense: {}}
  - {from: h2, to: y, dense: {}}
  - {at: h1, memory: {patterns: 8, sharpness: 2.0}}
  - {at: h2, self: {}}
dynamics: {schedule: coloring, free_steps: 40, nudged_steps: 20}
"""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(5, 6, generator=generator), torch.randint(3, (5,), generator=generator)
    found = []
    for precision in (torch.float64, dtype):
        engine = ep.compile(network, dtype=precision)
        engine.backward(x.to(precision), y, beta=0.2)
        found.append(torch.cat([p.grad.double().flatten() for p in engine.parameters() if p.grad is not None]))
    exact, half = found
    assert float(torch.nn.functional.cosine_similarity(exact, half, dim=0)) >= 0.995
