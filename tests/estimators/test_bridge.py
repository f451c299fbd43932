"""The bridge to torch against autograd through the unrolled relaxation and finite differences. Float64 unless said."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import epgraph as ep
from tests.helpers.bridged import SMALL, backpropagated, bridged, inputs, scalar, small
from tests.helpers.qualified import error, qualified


def test_gradients_of_smooth_networks(note: Callable[[str], None]) -> None:
    """Parameters and input, losses on the output alone and on a hidden state too: O(β²)."""
    count, worst, ratios = 0, 0.0, []
    for network, _ in zip(qualified(smooth=True), range(4), strict=False):
        free = network.engine.graph.free
        for names in ([free[-1]], [free[0], free[-1]]):
            true = backpropagated(network, names)
            coarse, fine = (error(bridged(network, names, beta), true) for beta in (2e-2, 1e-2))
            ratios.append(coarse / fine)
            worst = max(worst, error(bridged(network, names, 1e-5), true))
            count += 1
    note(f"bridge, smooth: {count} losses, error ratio {min(ratios):.3f} to {max(ratios):.3f}, at 1e-5 {worst:.1e}")
    assert all(3.5 <= ratio <= 4.5 for ratio in ratios)
    assert worst < 1e-7


@pytest.mark.parametrize("estimator", ["positive", "negative"])
def test_one_sided_gradients(estimator: str) -> None:
    network = next(qualified(smooth=True))
    output = [network.engine.graph.output.name]
    true = backpropagated(network, output)
    coarse, fine = (error(bridged(network, output, beta, estimator), true) for beta in (2e-3, 1e-3))
    assert 1.8 <= coarse / fine <= 2.2
    assert fine < 1e-2


def test_implicit_gradients(note: Callable[[str], None]) -> None:
    """As exact as the linear system is solved, to 1e-6: parameters and input, smooth and with kinks and max pooling."""
    count, pooled, worst = 0, 0, 0.0
    for options in ({"smooth": True}, {"activations": ["relu6"], "bias": 1.0}):
        for network, _ in zip(qualified(**options), range(4), strict=False):
            graph = network.engine.graph
            pooled += any(not edge.kind.is_linear for edge in graph.edges.values())
            for names in ([graph.output.name], [graph.free[0], graph.output.name]):
                found = bridged(network, names, 0.1, "implicit")
                worst = max(worst, error(found, backpropagated(network, names)))
                count += 1
    note(f"bridge, implicit: {count} losses, {pooled} of 8 graphs with max pooling, largest error {worst:.1e}")
    assert pooled > 0
    assert worst < 1e-5


def test_implicit_says_how_it_solved() -> None:
    module = small(torch.float32, estimator="implicit")
    x = inputs(dtype=torch.float32).requires_grad_()
    assert module.adjoint is None
    module(x).square().mean().backward()
    assert module.adjoint is not None
    assert float(module.adjoint.residuals.max()) <= 1e-6
    assert x.grad is not None
    assert float(x.grad.norm()) > 0
    frozen = small(estimator="implicit").requires_grad_(False)
    assert not frozen(inputs()).requires_grad


def test_gradients_with_kinks_and_max_pooling(note: Callable[[str], None]) -> None:
    """With a β below the distance to the next kink the gradient is that of the piece; max-pooled input edges too."""
    pooled, worst = 0, 0.0
    for network, _ in zip(qualified(activations=["relu6"], bias=1.0), range(8), strict=False):
        graph = network.engine.graph
        pooled += any(not e.kind.is_linear for e in graph.edges.values() if graph.input.name in e.ends)
        names = [graph.output.name]
        worst = max(worst, error(bridged(network, names, 1e-7), backpropagated(network, names)))
    note(f"bridge, ReLU6 and max pooling: 8 graphs, {pooled} with pooled input edges, largest error {worst:.1e}")
    assert pooled > 0
    assert worst < 1e-6


def test_cotangents_of_all_sizes_keep_their_digits_in_float32() -> None:
    """One batch with cotangents from 1e-8 to 1e4: every example's own gradient is as exact as if it were alone."""
    sizes = torch.tensor([10.0**k for k in range(-8, 5)] + [0.0], dtype=torch.float64)
    pull = torch.randn(len(sizes), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * sizes[:, None]
    found = {}
    for dtype in (torch.float32, torch.float64):
        module = small(dtype, beta=0.05)
        x = inputs(len(sizes), dtype).requires_grad_()
        (module(x) * pull.to(dtype)).sum().backward()
        assert x.grad is not None
        found[dtype] = (x.grad.double(), [p.grad.double() for p in module.parameters() if p.grad is not None])
    by_input, exact = found[torch.float32][0], found[torch.float64][0]
    assert not by_input[-1].any()
    for one, other in zip(by_input[:-1], exact[:-1], strict=True):
        assert error(one, other) < 1e-5
    for one, other in zip(found[torch.float32][1], found[torch.float64][1], strict=True):
        assert error(one, other) < 1e-5


def test_parameter_gradients_are_the_sum_over_examples_whatever_their_size() -> None:
    """Max pooling too: an example's weight must not reach the arg-max."""
    text = SMALL.replace("tanh", "relu6").replace("{h1:", "{h0: {channels: 2}, h1:")
    text = text.replace("kernel: 3, stride: 2", "kernel: 3, padding: 1, pool: max").replace(
        "- {from: x, to: h1", "- {from: x, to: h0, conv: {kernel: 2}}\n  - {from: h0, to: h1"
    )
    engine = ep.compile(text, dtype=torch.float64, seed=2)
    module = ep.Equilibrium(engine, beta=1e-3)
    x, pull = inputs(5), torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pull *= torch.tensor([1e4, 1e-3, 1.0, 30.0, 1e-8], dtype=torch.float64)[:, None]
    whole = torch.autograd.grad((module(x) * pull).sum(), list(module.parameters()))
    alone = [
        torch.autograd.grad((module(x[i : i + 1]) * pull[i : i + 1] / pull[i].norm()).sum(), list(module.parameters()))
        for i in range(5)
    ]
    for number, summed in enumerate(whole):
        parts = sum(float(pull[i].norm()) * alone[i][number] for i in range(5))
        torch.testing.assert_close(summed, parts, rtol=1e-9, atol=1e-9)


def test_between_torch_layers() -> None:
    """Finite differences of the whole model's loss, along a random direction of every parameter and of the input."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 25), nn.Unflatten(1, (1, 5, 5)), small(), nn.Tanh(), nn.Linear(3, 4)).double()
    x, y = torch.randn(6, 7, dtype=torch.float64), torch.arange(6) % 4

    def loss(z: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(z), y)

    z = x.clone().requires_grad_()
    loss(z).backward()
    step = 1e-5
    for tensor in (*model.parameters(), z):
        assert tensor.grad is not None
        direction = torch.randn_like(tensor)
        with torch.no_grad():
            values = []
            for sign in (1, -1):
                tensor += sign * step * direction
                values.append(float(loss(z)))
                tensor -= sign * step * direction
        slope = (values[0] - values[1]) / (2 * step)
        assert float((tensor.grad * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(small(), (inputs(2).requires_grad_(),), eps=1e-5, atol=1e-6, rtol=1e-5)


def test_the_mean_loss_has_the_gradient_of_backward() -> None:
    """Beside ``Engine.backward``, which nudges by the cost itself."""
    module = small(beta=1e-4)
    engine, x, y = module.engine, inputs(), torch.tensor([0, 1, 2, 0])
    engine.cost.value(module(x), engine.executor.inputs.targets(y, 4)).mean().backward()
    found = [p.grad.clone() for p in engine.parameters() if p.grad is not None]
    engine.zero_grad()
    engine.backward(x, y)
    for one, p in zip(found, engine.parameters(), strict=True):
        torch.testing.assert_close(one, p.grad, rtol=1e-6, atol=1e-10)


def test_second_derivatives_are_refused() -> None:
    module, x = small(), inputs().requires_grad_()
    (first,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    (plain,) = torch.autograd.grad(module(x).square().sum(), x)
    assert torch.equal(first, plain)
    with pytest.raises(ep.EpgraphError, match=r"cannot be differentiated again: EP .*; leave out create_graph=True"):
        first.sum().backward()


def test_without_gradients() -> None:
    module, x = small(), inputs()
    with torch.no_grad():
        quiet = module(x)
    assert not quiet.requires_grad
    assert torch.equal(quiet, module(x))
    assert torch.equal(quiet, module.engine(x))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    assert not module(x).requires_grad


def test_frozen_parameters_get_no_gradient() -> None:
    module, x = small(), inputs()
    frozen = module.engine.edges["h1_h2"].weight
    assert isinstance(frozen, nn.Parameter)
    frozen.requires_grad_(False)
    module(x).sum().backward()
    assert frozen.grad is None
    assert all(p.grad is not None for p in module.parameters() if p is not frozen)


def test_two_uses_add_up() -> None:
    module, x = small(), inputs(6)
    parameters = list(module.parameters())
    whole = torch.autograd.grad(module(x).square().sum(), parameters)
    halves = module(x[:2]).square().sum() + module(x[2:]).square().sum()
    for one, other in zip(torch.autograd.grad(halves, parameters), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_copies_and_pickles_after_use() -> None:
    module, x = small(warm_start=True), inputs()
    module(x).sum().backward()
    module.eval()
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(copied(x), module(x))
        copied.engine.edges["x_h1"].weight.data.zero_()
        assert not torch.equal(copied(x), module(x))
    other = small()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), module(x))
    assert module.float()(x).dtype == torch.float32


def test_what_is_done_to_a_returned_state_does_not_reach_the_nudged_phases() -> None:
    module, x = small(), inputs()
    expected = torch.autograd.grad((3 * module(x)).sum(), list(module.parameters()))
    found = torch.autograd.grad(module(x).mul_(3).sum(), list(module.parameters()))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_a_step_between_forward_and_backward_is_noticed() -> None:
    module = small()
    loss = module(inputs()).sum()
    with torch.no_grad():
        next(module.parameters()).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_autocast_leaves_the_engine_alone() -> None:
    module, x = small(torch.float32), inputs(dtype=torch.float32)
    plain = torch.autograd.grad(module(x).sum(), list(module.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(module(x).sum(), list(module.parameters()))
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one, other)


def test_warm_start_needs_fewer_sweeps() -> None:
    module, x = small(warm_start=True, tolerance=1e-10), inputs()
    steps = []
    for _ in range(2):
        module(x)
        assert module.relaxation is not None
        steps.append(module.relaxation.steps)
    assert steps[1] < steps[0]
    assert module(x[:2]).shape == (2, 3)  # another batch size starts from zeros


@pytest.mark.parametrize("backend", ["eager", "channels_last", "onednn"])
def test_backends_agree(backend: str) -> None:
    architecture = ep.load("examples/digits.yaml")
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for name in ("eager", backend):
        module = ep.Equilibrium(ep.compile(architecture, backend=name, schedule="synchronous"), beta=0.1)
        found.append(torch.autograd.grad(scalar(module.states(x, ["h2", "y"])), list(module.parameters())))
    for one, other in zip(*found, strict=True):
        assert error(one, other) < 1e-3


def test_mistakes_are_named() -> None:
    module = small()
    with pytest.raises(ep.EpgraphError, match=r"there is no state 'g' that moves; known: h1, h2, y"):
        module.states(inputs(), ["g"])
    with pytest.raises(ep.EpgraphError, match=r"estimator 'centred' cannot run inside autograd; did you mean 'cen"):
        small(estimator="centred")
    with pytest.raises(ep.EpgraphError, match="beta must be a positive number"):
        small(beta=0.0)
    untied = ep.load(SMALL, ["learning.feedback=untied"])
    with pytest.raises(ep.EpgraphError, match="F has no Hessian where edge 'h1_h2' has a feedback weight of its own"):
        ep.Equilibrium(ep.compile(untied), estimator="implicit")
    with pytest.raises(ep.EpgraphError, match="expects a batch of 1×5×5"):
        module(torch.zeros(2, 25))


def test_an_equilibrium_inside_a_model_learns_digits() -> None:
    """A plain loop: a convolution, an equilibrium of two states, a linear readout, Adam and cross-entropy."""
    from epgraph.data import load_data

    torch.manual_seed(0)
    data = load_data("digits", shape=(1, 8, 8), classes=10)
    (x, y), (tested, labels) = (
        (torch.stack([d[i][0] for i in range(len(d))]), torch.tensor([d[i][1] for i in range(len(d))]))
        for d in (data.train, data.test)
    )
    middle = """
epgraph: 2
input: {shape: [8, 4, 4]}
output: {shape: [24]}
defaults: {activation: tanh}
states: {h: {shape: [32]}}
edges:
  - {from: x, to: h, dense: {}}
  - {from: h, to: y, dense: {}}
init: {rule: graph_aware}
dynamics: {schedule: coloring, free_steps: 20, nudged_steps: 15}
"""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), ep.Equilibrium(ep.compile(middle)), nn.Linear(24, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        assert float((model(tested).argmax(1) == labels).double().mean()) > 0.9
