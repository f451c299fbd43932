"""The oracle against what is known without it: loops, closed forms and finite differences."""

import math
from itertools import product

import pytest
import torch

from epgraph.activations import Activation, parse_activation
from epgraph.costs import COSTS, SquaredError
from epgraph.graph import build, make_schedule
from epgraph.language import Architecture
from epgraph.testing.maps import convolve, pool, scatter
from epgraph.testing.oracle import Reference
from epgraph.testing.units import self_energy, sigma, slope
from tests.helpers.decorated import decorated_graph
from tests.helpers.topologies import random_batch, random_graph, random_parameters

BOUNDED = {"activations": ["tanh", "logistic"], "pool_max": False, "max_states": 5, "gain": (0.1, 0.4)}
"""Options of random networks that settle: smooth, and no hidden unit without bounds."""


@pytest.fixture(autouse=True, scope="module")
def _float64():
    before, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    # Tensors of a few numbers: a second thread only waits.
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(before)
    torch.set_num_threads(threads)


def draw(seed, batch=2, scale=1.0, **options):
    """Return a random network's oracle, its graph, an input and a target."""
    graph = random_graph(seed, **options)
    generator = torch.Generator().manual_seed(seed)
    return (
        Reference(graph, random_parameters(graph, generator, scale)),
        graph,
        *random_batch(graph, generator, batch),
    )


def random_states(graph, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(batch, *graph.states[n].shape, generator=generator, dtype=torch.float64) for n in graph.free}


def central_difference(function, point, step):
    """Return the gradient of a scalar function, one coordinate after the other."""
    gradient = torch.zeros_like(point)
    for i in range(point.numel()):
        ends = []
        for sign in (1, -1):
            moved = point.clone()
            moved.view(-1)[i] += sign * step
            ends.append(float(function(moved)))
        gradient.view(-1)[i] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def settle(reference, x, states=None):
    """Relax to rounding."""
    classes = make_schedule(reference.graph, "sequential").classes
    for _ in range(40):
        states = reference.relax(x, classes, 10, states)
        if reference.residual(x, states) < 1e-14:
            break
    assert reference.residual(x, states) < 1e-12
    return states


def relative_error(found, expected):
    found, expected = (torch.cat([g[name].flatten() for name in sorted(g)]) for g in (found, expected))
    return float((found - expected).norm() / expected.norm())


# --- maps ---------------------------------------------------------------------------------------------------


GEOMETRIES = [
    # kernel, stride, padding, dilation, groups, height, width
    ((1, 1), (1, 1), (0, 0), (1, 1), 1, 3, 4),
    ((3, 3), (1, 1), (1, 1), (1, 1), 1, 4, 5),
    ((2, 2), (2, 2), (0, 0), (1, 1), 1, 5, 6),
    ((5, 5), (3, 3), (2, 2), (1, 1), 1, 7, 4),
    ((4, 4), (2, 2), (1, 1), (1, 1), 1, 6, 9),
    ((1, 1), (3, 3), (2, 2), (1, 1), 1, 5, 5),
    ((3, 3), (1, 1), (0, 0), (1, 1), 1, 3, 3),
    ((1, 3), (2, 1), (0, 2), (1, 2), 1, 5, 6),
    ((3, 2), (1, 3), (2, 0), (2, 1), 2, 4, 7),
    ((2, 2), (1, 2), (1, 0), (3, 2), 4, 5, 6),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "groups", "height", "width"), GEOMETRIES)
def test_convolution_against_loops(kernel, stride, padding, dilation, groups, height, width):
    generator = torch.Generator().manual_seed(0)
    given = 4 // groups
    s = torch.randn(2, 4, height, width, generator=generator)
    w = torch.randn(4, given, *kernel, generator=generator)
    z = convolve(s, w, stride, padding, dilation, groups)
    rows, columns = (
        (n + 2 * p - d * (k - 1) - 1) // step + 1
        for n, k, step, p, d in zip((height, width), kernel, stride, padding, dilation, strict=True)
    )
    assert z.shape == (2, 4, rows, columns)
    for b, o, p, q in product(range(2), range(4), range(rows), range(columns)):
        total = 0.0
        for c, u, v in product(range(given), range(kernel[0]), range(kernel[1])):
            row = p * stride[0] + u * dilation[0] - padding[0]
            column = q * stride[1] + v * dilation[1] - padding[1]
            if 0 <= row < height and 0 <= column < width:
                total += float(w[o, c, u, v] * s[b, o // (4 // groups) * given + c, row, column])
        assert float(z[b, o, p, q]) == pytest.approx(total, abs=1e-13)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "groups", "height", "width"), GEOMETRIES)
def test_transposed_convolution_is_the_transpose(kernel, stride, padding, dilation, groups, height, width):
    """Unit by unit: what reaches target unit i from source unit j is what the convolution takes from i to j."""
    w = torch.randn(4, 4 // groups, *kernel, generator=torch.Generator().manual_seed(0))
    large = torch.eye(4 * height * width).view(-1, 4, height, width)
    matrix = convolve(large, w, stride, padding, dilation, groups)
    small = torch.eye(matrix[0].numel()).view(-1, *matrix.shape[1:])
    back = scatter(small, w, (height, width), stride, padding, dilation, groups)
    assert torch.equal(back.flatten(1), matrix.flatten(1).T)


@pytest.mark.parametrize("kernel", range(1, 6))
@pytest.mark.parametrize("channels", range(1, 5))
def test_equal_patches_give_equal_pixels(kernel, channels):
    w = torch.randn(3, channels, kernel, kernel, generator=torch.Generator().manual_seed(1))
    z = convolve(torch.full((2, channels, 9, 7), 0.7), w, (1, 1), (0, 0))
    assert torch.equal(z, z[:, :, :1, :1].expand_as(z))


def test_pooling_drops_odd_rows_and_columns():
    z = torch.tensor([[1.0, 2.0, 90.0], [3.0, 10.0, 91.0], [92.0, 93.0, 94.0]]).view(1, 1, 3, 3)
    assert pool(z, "max").tolist() == [[[[10.0]]]]
    assert pool(z, "average").tolist() == [[[[4.0]]]]


@pytest.mark.parametrize(
    ("window", "first"), [([0, 0, 0, 0], 0), ([1, 5, 5, 5], 1), ([1, 2, 5, 5], 2), ([5, 1, 1, 5], 0)]
)
def test_ties_go_to_the_first_index(window, first):
    z = torch.tensor(window, dtype=torch.float64).view(1, 1, 2, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(pool(z, "max").sum(), z)
    assert gradient.flatten().tolist() == [float(i == first) for i in range(4)]


# --- activations and costs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu6", "relu1", "relu2.5", "identity", "tanh", "logistic"])
def test_self_energy_and_slope(name):
    activation = parse_activation(name)
    alpha = getattr(activation, "low", 0.0)
    inside = torch.linspace(0.05, 0.95, 19) * (alpha or 1.0)
    a = inside if alpha else torch.linspace(-3, 3, 19)
    s = sigma(activation, a, alpha)
    h = 1e-6
    derivative = (self_energy(activation, s + h) - self_energy(activation, s - h)) / (2 * h)
    assert torch.allclose(derivative, a, rtol=1e-7, atol=1e-7)
    difference = (sigma(activation, a + h, alpha) - sigma(activation, a - h, alpha)) / (2 * h)
    assert torch.allclose(slope(activation, a, alpha), difference, rtol=1e-8, atol=1e-8)


def test_activations_at_known_points():
    a = torch.tensor([-1.0, 0.0, 1.0, 3.0])
    relu = parse_activation("relu2.5")
    assert sigma(relu, a, 2.5).tolist() == [0.0, 0.0, 1.0, 2.5]
    assert slope(relu, torch.tensor([-1.0, 0.0, 1.0, 2.5, 3.0]), 2.5).tolist() == [0, 0, 1, 0, 0]
    tanh = [math.tanh(v) for v in a.tolist()]
    assert sigma(parse_activation("tanh"), a, 0).tolist() == pytest.approx(tanh, rel=1e-15)
    logistic = [1 / (1 + math.exp(-v)) for v in a.tolist()]
    assert sigma(parse_activation("logistic"), a, 0).tolist() == pytest.approx(logistic, rel=1e-15)


def test_self_energy_is_finite_at_the_ends():
    assert self_energy(parse_activation("tanh"), torch.tensor([-1.0, 1.0])).tolist() == pytest.approx([math.log(2)] * 2)
    assert self_energy(parse_activation("logistic"), torch.tensor([0.0, 1.0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("cost", ["squared_error", "cross_entropy"])
def test_cost(cost):
    architecture = {
        "epgraph": 2,
        "input": {"shape": [1]},
        "output": {"classes": 3, "cost": cost},
        "edges": [{"from": "x", "to": "y", "dense": {}}],
    }
    graph = build(Architecture.model_validate(architecture))
    reference = Reference(graph, random_parameters(graph, torch.Generator()))
    s, y = [0.3, -1.0, 2.0], [0.0, 0.25, 0.75]
    total = sum(math.exp(v) for v in s)
    expected = {
        "squared_error": 0.5 * sum((a - b) ** 2 for a, b in zip(s, y, strict=True)),
        "cross_entropy": -sum(b * math.log(math.exp(a) / total) for a, b in zip(s, y, strict=True)),
    }
    found = reference.cost({"y": torch.tensor([s])}, torch.tensor([y]))
    assert found.tolist() == pytest.approx([expected[cost]], rel=1e-14)


# --- a network of two units, solved by hand -----------------------------------------------------------------
#
# Φ = h w x + y v h + b h + c y, both units linear. Nudged by β towards t:
#   y = (v(wx + b) + c + βt)/(1 + β − v²),   h = wx + b + vy.

W, V, B, C, X, T = 0.7, 0.6, 0.2, -0.1, 1.5, 0.4
CLASSES = (("h",), ("y",))


@pytest.fixture
def two_units():
    architecture = {
        "epgraph": 2,
        "input": {"shape": [1]},
        "output": {"classes": 1},
        "states": {"h": {"shape": [1], "activation": "identity"}},
        "edges": [{"from": "x", "to": "h", "dense": {}}, {"from": "h", "to": "y", "dense": {}}],
    }
    parameters = {
        "edges.x_h.weight": torch.tensor([[W]]),
        "edges.h_y.weight": torch.tensor([[V]]),
        "states.h.bias": torch.tensor([B]),
        "states.y.bias": torch.tensor([C]),
    }
    return Reference(build(Architecture.model_validate(architecture)), parameters)


def by_hand(beta):
    y = (V * (W * X + B) + C + beta * T) / (1 + beta - V**2)
    return W * X + B + V * y, y


@pytest.mark.parametrize("beta", [0.0, 0.2, -0.2])
def test_equilibrium_by_hand(two_units, beta):
    x, t = torch.tensor([[X]]), torch.tensor([[T]])
    states = two_units.relax(x, CLASSES, 200, y=t, beta=beta)
    h, y = by_hand(beta)
    assert float(states["h"]) == pytest.approx(h, rel=1e-14)
    assert float(states["y"]) == pytest.approx(y, rel=1e-14)
    assert float(two_units.phi(x, states)) == pytest.approx(h * W * X + y * V * h + B * h + C * y, rel=1e-14)
    assert float(two_units.energy(x, states)) == pytest.approx(
        (h * h + y * y) / 2 - (h * W * X + y * V * h + B * h + C * y), rel=1e-13
    )


@pytest.mark.parametrize("estimator", ["centered", "positive", "negative"])
def test_ep_gradient_by_hand(two_units, estimator):
    beta = 0.2
    upper, lower = {"centered": (beta, -beta), "positive": (beta, 0.0), "negative": (0.0, -beta)}[estimator]
    (h1, y1), (h0, y0) = by_hand(upper), by_hand(lower)
    scale = -1 / (upper - lower)
    x, t = torch.tensor([[X], [X]]), torch.tensor([[T], [T]])
    found = two_units.ep_gradient(x, t, CLASSES, 300, 300, beta, estimator)
    expected = {
        "edges.x_h.weight": scale * X * (h1 - h0),
        "edges.h_y.weight": scale * (h1 * y1 - h0 * y0),
        "states.h.bias": scale * (h1 - h0),
        "states.y.bias": scale * (y1 - y0),
    }
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-12), name


def test_implicit_gradient_by_hand(two_units):
    h, y = by_hand(0.0)
    x, t = torch.tensor([[X]]), torch.tensor([[T]])
    states = {"h": torch.tensor([[h]]), "y": torch.tensor([[y]])}
    found = two_units.implicit_gradient(x, t, states)
    slack = (y - T) / (1 - V**2)
    expected = {
        "edges.x_h.weight": slack * V * X,
        "edges.h_y.weight": slack * (W * X + B + 2 * V * y),
        "states.h.bias": slack * V,
        "states.y.bias": slack,
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-13), name
    assert two_units.coupling_radius(x, states) == pytest.approx(V, rel=1e-14)
    assert two_units.residual(x, states) == pytest.approx(0.0, abs=1e-15)


def test_update_moves_the_named_states_simultaneously(two_units):
    x, t = torch.tensor([[X]]), torch.tensor([[T]])
    states = {"h": torch.tensor([[2.0]]), "y": torch.tensor([[3.0]])}
    both = two_units.update(x, states, ("y", "h"), t, 0.5)
    assert float(both["h"]) == pytest.approx(W * X + V * 3 + B)
    assert float(both["y"]) == pytest.approx(V * 2 + C - 0.5 * (3 - T))
    one = two_units.update(x, states, ("h",), t, 0.5)
    assert float(one["h"]) == float(both["h"])
    assert one["y"] is states["y"]


def test_residual_by_hand(two_units):
    states = {"h": torch.tensor([[0.0], [3.0]]), "y": torch.tensor([[0.0], [4.0]])}
    moved = [W * 0 + V * 4 + B, V * 3 + C]
    expected = math.hypot(moved[0] - 3, moved[1] - 4) / 5
    only = {name: s[1:] for name, s in states.items()}
    assert two_units.residual(torch.zeros(1, 1), only) == pytest.approx(expected, rel=1e-14)
    assert two_units.residual(torch.zeros(2, 1), states) > 1e300  # a state of zero that moves is at no equilibrium


def test_loss_is_the_mean_cost(two_units):
    x, t = torch.tensor([[X], [X]]), torch.tensor([[T], [T + 1]])
    y = by_hand(0.0)[1]
    expected = ((y - T) ** 2 + (y - T - 1) ** 2) / 4
    assert two_units.loss(x, t, CLASSES, 200) == pytest.approx(expected, rel=1e-13)


def test_phi_term_by_term():
    architecture = {
        "epgraph": 2,
        "input": {"shape": [1, 2, 3]},
        "output": {"classes": 2, "bias": False},
        "states": {"a": {"channels": 2}, "b": {"channels": 2}, "c": {"channels": 1, "bias": False}},
        "edges": [
            {"from": "x", "to": "a", "skip": {}},
            {"from": "a", "to": "b", "identity": {"scale": 0.5}},
            {"from": "b", "to": "c", "conv": {"kernel": 1, "pool": "max"}},
            {"from": "b", "to": "c", "conv": {"kernel": 1, "pool": "average"}},
            {"from": "a", "to": "y", "dense": {}},
        ],
    }
    graph = build(Architecture.model_validate(architecture))
    generator = torch.Generator().manual_seed(0)
    parameters = random_parameters(graph, generator)
    x, _ = random_batch(graph, generator, 1)
    states = random_states(graph, 1)
    p = {name: value.tolist() for name, value in parameters.items()}
    (image,), (a,), (b,), (c,), (y,) = (s.tolist() for s in (x[0], *(states[n] for n in "abcy")))
    pixels = [(i, j) for i in range(2) for j in range(3)]
    flat = [a[k][i][j] for k in range(2) for i, j in pixels]
    # The third column of b belongs to no window.
    pooled = {"b_c": max, "b_c_2": lambda window: sum(window) / 4}
    expected = sum(a[k][i][j] * p["edges.x_a.weight"][k][0][0][0] * image[i][j] for k in range(2) for i, j in pixels)
    expected += sum(0.5 * a[k][i][j] * b[k][i][j] for k in range(2) for i, j in pixels)
    for edge, how in pooled.items():
        w = p[f"edges.{edge}.weight"][0]
        expected += c[0][0][0] * how([sum(w[k][0][0] * b[k][i][j] for k in range(2)) for i in (0, 1) for j in (0, 1)])
    expected += sum(y[n] * sum(w * s for w, s in zip(p["edges.a_y.weight"][n], flat, strict=True)) for n in range(2))
    for name, state in (("a", a), ("b", b)):
        expected += sum(p[f"states.{name}.bias"][k] * state[k][i][j] for k in range(2) for i, j in pixels)
    assert Reference(graph, parameters).phi(x, states).tolist() == pytest.approx([expected], rel=1e-13)


# --- random topologies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_force_against_finite_differences(seed):
    reference, graph, x, _ = draw(seed, activations=["identity"], max_states=6)
    states = random_states(graph)
    force = reference.update(x, states, graph.free)
    # Φ is linear in each unit: away from the kinks of max pooling a central difference errs by rounding only.
    for name in graph.free:
        difference = central_difference(lambda s, n=name: reference.phi(x, {**states, n: s}).sum(), states[name], 1e-6)
        assert torch.allclose(force[name], difference, rtol=1e-6, atol=1e-6), name


@pytest.mark.parametrize("drawn", [random_graph, decorated_graph])
@pytest.mark.parametrize("seed", range(8))
def test_forces_and_curvature_are_the_derivatives_of_phi(drawn, seed):
    """By autograd through Φ as it is written down: sweeps take linear edges from a matrix."""
    graph = drawn(seed)
    generator = torch.Generator().manual_seed(seed)
    reference = Reference(graph, random_parameters(graph, generator))
    x, _ = random_batch(graph, generator, 2)
    states = {n: s.requires_grad_() for n, s in random_states(graph).items()}
    for _ in range(2):
        expected = torch.autograd.grad(reference.phi(x, states).sum(), list(states.values()))
        for (name, force), value in zip(reference.forces(x, states, graph.free).items(), expected, strict=True):
            torch.testing.assert_close(force, value, rtol=1e-12, atol=1e-12, msg=name)
        for weight in reference.parameters.values():  # what was tabulated is tabulated again
            weight.mul_(0.9)
    one = {n: s[:1].detach() for n, s in states.items()}
    index, _, coupling = reference.curvature(x[:1], one)
    sizes = [s.numel() for s in one.values()]

    def phi(units):
        parts = units.split(sizes)
        return reference.phi(x[:1], {n: part.view_as(one[n]) for n, part in zip(one, parts, strict=True)}).sum()

    hessian = torch.autograd.functional.hessian(phi, torch.cat([s.flatten() for s in one.values()]))
    torch.testing.assert_close(coupling, hessian[index][:, index], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_parameter_gradient_against_finite_differences(seed):
    reference, graph, x, _ = draw(seed, max_states=6)
    states = random_states(graph)
    gradient = reference.parameter_gradient(x, states)
    assert set(gradient) == set(reference.parameters)
    for name, value in reference.parameters.items():

        def phi(p, name=name):
            alphas = {f"states.{n}.alpha": torch.tensor(1.0) for n in graph.free}
            return Reference(graph, {**reference.parameters, **alphas, name: p}).phi(x, states).sum()

        direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
        h = 1e-6
        slope_along = float(phi(value + h * direction) - phi(value - h * direction)) / (2 * h)
        assert float((gradient[name] * direction).sum()) == pytest.approx(slope_along, rel=1e-6, abs=1e-6), name


@pytest.mark.parametrize("seed", range(12))
def test_energy_never_rises_under_a_proper_schedule(seed):
    reference, graph, x, _ = draw(seed, pool_max=False)
    schedule = make_schedule(graph, "coloring")
    states = reference.zeros(2)
    last = reference.energy(x, states)
    for _ in range(5):
        for names in schedule.classes:
            states = reference.update(x, states, names)
            now = reference.energy(x, states)
            assert torch.all(now <= last + 1e-9 * last.abs().clamp(min=1))
            last = now


@pytest.mark.parametrize("seed", range(5))
def test_implicit_gradient_against_finite_differences(seed):
    reference, graph, x, y = draw(seed, **BOUNDED)
    states = settle(reference, x)
    gradient = reference.implicit_gradient(x, y, states)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2):
        direction = {n: torch.randn(p.shape, generator=generator) for n, p in reference.parameters.items()}
        h = 1e-4 / math.sqrt(sum(float(d.square().sum()) for d in direction.values()))
        ends = []
        for sign in (1, -1):
            moved = Reference(graph, {n: p + sign * h * direction[n] for n, p in reference.parameters.items()})
            ends.append(float(moved.cost(settle(moved, x, states), y).mean()))
        along = sum(float((gradient[n] * d).sum()) for n, d in direction.items())
        assert along == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_centered_ep_converges_quadratically_to_the_implicit_gradient(seed):
    reference, graph, x, y = draw(seed, **BOUNDED)
    classes = make_schedule(graph, "coloring").classes
    exact = reference.implicit_gradient(x, y, settle(reference, x))
    errors = [relative_error(reference.ep_gradient(x, y, classes, 200, 200, b), exact) for b in (0.1, 0.01)]
    assert errors[1] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.2)


def test_implicit_gradient_leaves_out_clipped_units():
    reference, graph, x, y = draw(5, activations=["relu1"], pool_max=False, max_states=6, gain=(0.1, 0.4))
    classes = make_schedule(graph, "sequential").classes
    states = settle(reference, x)
    hidden = torch.cat([states[name].flatten() for name in graph.free[:-1]])
    assert 0 < int(((hidden == 0) | (hidden == 1)).sum()) < hidden.numel()
    exact = reference.implicit_gradient(x, y, states)
    estimate = reference.ep_gradient(x, y, classes, 100, 100, 1e-5)
    assert relative_error(estimate, exact) < 1e-6


def test_coupling_radius_is_the_rate_of_the_synchronous_update():
    reference, graph, x, _ = draw(1, batch=1, **BOUNDED)
    states = settle(reference, x)
    off = {n: s + 1e-4 * d for (n, s), d in zip(states.items(), random_states(graph, 1).values(), strict=True)}
    distances = []
    for _ in range(60):
        # Two steps: an eigenvalue and its negative may both be the largest.
        off = reference.update(x, reference.update(x, off, graph.free), graph.free)
        distances.append(math.sqrt(sum(float((off[n] - states[n]).square().sum()) for n in graph.free)))
        if distances[-1] < 1e-9:
            break
    rate = math.sqrt(distances[-1] / distances[-2])
    assert rate == pytest.approx(reference.coupling_radius(x, states), rel=0.02)


# --- parameters ---------------------------------------------------------------------------------------------


def test_parameters_are_checked(two_units):
    graph, parameters = two_units.graph, two_units.parameters
    with pytest.raises(ValueError, match=r"'states\.y\.bias' is missing"):
        Reference(graph, {n: p for n, p in parameters.items() if n != "states.y.bias"})
    with pytest.raises(ValueError, match=r"'edges\.x_h\.weight' has shape \(2, 1\), expected \(1, 1\)"):
        Reference(graph, {**parameters, "edges.x_h.weight": torch.zeros(2, 1)})


def test_a_member_of_epgraph_without_a_second_formula_is_refused(two_units, monkeypatch):
    """It would be compared with itself; that of a user has no other formula than its own."""
    cost = type("Fourth", (SquaredError,), {})
    monkeypatch.setitem(COSTS, "fourth", cost())
    content = two_units.graph.architecture.model_dump(exclude_unset=True, by_alias=True)
    graph = build(Architecture.model_validate({**content, "output": {"classes": 1, "cost": "fourth"}}))
    reference = Reference(graph, two_units.parameters)
    states, target = {"y": torch.tensor([[0.3]])}, torch.tensor([[1.0]])
    assert reference.cost(states, target).tolist() == pytest.approx([0.245])
    cost.__module__ = "epgraph.somewhere"
    with pytest.raises(NotImplementedError, match="no formula of the cost 'fourth'"):
        reference.cost(states, target)
    methods = {"label": "sigmoid", "apply_": lambda self, x, alpha: x, "self_energy": lambda self, s, alpha: s}
    sigmoid = type("Sigmoid", (Activation,), methods)
    assert sigma(sigmoid(), torch.zeros(1), 0.0).tolist() == [0.0]
    sigmoid.__module__ = "epgraph.somewhere"
    with pytest.raises(NotImplementedError, match="no formula of sigmoid"):
        sigma(sigmoid(), torch.zeros(1), 0.0)


def test_nudging_needs_a_target(two_units):
    with pytest.raises(ValueError, match="needs the target"):
        two_units.update(torch.zeros(1, 1), two_units.zeros(1), ("y",), beta=0.1)


def test_random_alpha_is_a_parameter():
    architecture = {
        "epgraph": 2,
        "input": {"shape": [1]},
        "output": {"classes": 1},
        "states": {"h": {"shape": [1], "activation": {"relu": [1, 10]}, "bias": False}},
        "edges": [{"from": "x", "to": "h", "identity": {"scale": 4}}, {"from": "h", "to": "y", "dense": {}}],
    }
    graph = build(Architecture.model_validate(architecture))
    parameters = {"edges.h_y.weight": torch.zeros(1, 1, dtype=torch.float32), "states.y.bias": torch.zeros(1)}
    reference = Reference(graph, {**parameters, "states.h.alpha": torch.tensor(3.5)})
    moved = reference.update(torch.ones(1, 1), reference.zeros(1), ("h",))
    assert moved["h"].tolist() == [[3.5]]
    assert moved["h"].dtype == torch.float64
