"""The backward pass uses what the forward pass used, and gradients reach what a weight is computed from.

The reference is autograd through ``UNROLLED`` sweeps of the oracle. Float64 unless said.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import register_parametrization

import epgraph as ep
from epgraph.estimators import ESTIMATORS
from epgraph.graph import NetworkGraph, build
from epgraph.testing.oracle import Reference
from epgraph.testing.units import sigma
from epgraph.training import make_optimizer
from tests.helpers.bridged import SMALL, inputs, scalar, small
from tests.helpers.qualified import KINKED, SMOOTH, Settled, error, qualified
from tests.helpers.topologies import random_architecture

UNROLLED = 150
"""Synchronous sweeps of the reference: one contracts by 0.7 at most where the network has settled."""
SETTLED = 150
NETWORK = """
epgraph: 2
input: {shape: [2, 6, 6]}
output: {classes: 3}
defaults: {activation: tanh, gain: 0.5}
states: {h1: {channels: 3}, h2: {channels: 3}, h3: {shape: [5]}, h4: {shape: [5]}}
edges:
  - {from: x, to: h1, conv: {kernel: 3, padding: 1, pool: POOL}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1}}
  - {from: h2, to: h3, dense: {}}
  - {from: h3, to: h4, dense: {}}
  - {from: h1, to: h3, dense: {}, tie: h2_h3}
  - {from: h4, to: y, dense: {}}
  - {from: h3, to: y, dense: {}, tie: h4_y}
dynamics: {schedule: coloring, free_steps: 40, nudged_steps: 20}
learning: {solver_tolerance: 1.0e-13}
"""
"""Convolutions, pooling, dense edges, skips and ties."""

Weights = dict[str, Tensor]


def unrolled(oracle: Reference, x: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """States after ``UNROLLED`` synchronous sweeps from zeros, which autograd can go back through."""
    graph = oracle.graph
    states = {name: s.requires_grad_() for name, s in oracle.zeros(len(x)).items()}
    for _ in range(UNROLLED):
        drive = oracle.interactions({graph.input.name: x, **states}, graph.free, parameters).sum()
        forces = torch.autograd.grad(drive, list(states.values()), create_graph=True)
        for (name, s), a in zip(states.items(), forces, strict=True):
            moved = sigma(graph.states[name].activation, a, oracle.alphas[name])
            states = {**states, name: s + oracle.steps[name] * (moved - s)}
    return states


@dataclass
class Known:
    """A network, and ∂L/∂θ and ∂L/∂x of ``scalar`` of two states by the reference, at weights and input."""

    engine: ep.Engine
    x: Tensor
    weights: Weights
    names: list[str]
    gradients: Weights
    by_input: Tensor

    @classmethod
    def of(cls, engine: ep.Engine, x: Tensor, weights: Weights) -> Known:
        oracle = Reference(engine.graph, weights)
        free = engine.graph.free
        names = [free[0], free[-1]]
        leaves = {name: weights[name].detach().clone().requires_grad_() for name in oracle.parameters}
        x = x.clone().requires_grad_()
        states = unrolled(oracle, x, leaves)
        *found, by_input = torch.autograd.grad(scalar({name: states[name] for name in names}), [*leaves.values(), x])
        return cls(engine, x.detach(), weights, names, dict(zip(leaves, found, strict=True)), by_input)

    def module(self, estimator: str, beta: float) -> ep.Equilibrium:
        """Return a bridge on a copy of the engine that has the weights."""
        engine = copy.deepcopy(self.engine)
        engine.load_state_dict(self.weights, strict=False)
        options: dict[str, Any] = {"estimator": estimator, "beta": beta}
        return ep.Equilibrium(engine, free_steps=SETTLED, nudged_steps=SETTLED, **options)


Way = Callable[[Known, ep.Equilibrium], tuple[Tensor, Tensor]]
"""Gradients that a way to give weights to a bridge leads to, and those that it should."""


class Loss(nn.Module):
    """A scalar of the states, so that functional_call reaches the bridge inside of a larger module."""

    def __init__(self, known: Known, core: ep.Equilibrium) -> None:
        super().__init__()
        self.names, self.core = known.names, core

    def forward(self, x: Tensor) -> Tensor:
        return scalar(self.core.states(x, self.names))


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def elsewhere(core: ep.Equilibrium) -> None:
    """Put other weights into the module itself: nothing may look at them."""
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(0.3).add_(0.1)


def plainly(known: Known, core: ep.Equilibrium) -> tuple[Tensor, Tensor]:
    x = known.x.clone().requires_grad_()
    Loss(known, core)(x).backward()
    found = [core.engine.get_parameter(name).grad for name in known.gradients]
    assert x.grad is not None
    return flat([*found, x.grad]), flat([*known.gradients.values(), known.by_input])  # type: ignore[list-item]


def called_with_leaves(known: Known, core: ep.Equilibrium) -> tuple[Tensor, Tensor]:
    elsewhere(core)
    leaves = {name: known.weights[name].clone().requires_grad_() for name in known.gradients}
    x = known.x.clone().requires_grad_()
    loss = functional_call(Loss(known, core), {f"core.engine.{n}": w for n, w in leaves.items()}, (x,))
    found = torch.autograd.grad(loss, [*leaves.values(), x])
    assert all(parameter.grad is None for parameter in core.parameters())
    return flat(list(found)), flat([*known.gradients.values(), known.by_input])


def hypernetwork(known: Known, core: ep.Equilibrium) -> tuple[Tensor, Tensor]:
    """θ = θ₀ + B (z − z₀) of every parameter, at z = z₀: ∂L/∂z = Σ Bᵀ ∂L/∂θ."""
    elsewhere(core)
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(4, generator=generator, dtype=torch.float64).requires_grad_()
    made, expected = {}, torch.zeros_like(z)
    for name, gradient in known.gradients.items():
        b = torch.randn(*gradient.shape, 4, generator=generator, dtype=torch.float64)
        made[f"core.engine.{name}"] = known.weights[name] + b @ (z - z.detach())
        expected = expected + gradient.flatten() @ b.reshape(-1, 4)
    functional_call(Loss(known, core), made, (known.x,)).backward()
    assert z.grad is not None
    assert all(parameter.grad is None for parameter in core.parameters())
    return z.grad, expected.detach()


def transformed(known: Known, core: ep.Equilibrium) -> tuple[Tensor, Tensor]:
    """``torch.func.grad`` by the parameters and the input."""
    elsewhere(core)

    def loss(weights: Weights, x: Tensor) -> Tensor:
        made: Tensor = functional_call(Loss(known, core), {f"core.engine.{n}": w for n, w in weights.items()}, (x,))
        return made

    weights = {name: known.weights[name] for name in known.gradients}
    found, by_input = torch.func.grad(loss, argnums=(0, 1))(weights, known.x)
    return flat([*found.values(), by_input]), flat([*known.gradients.values(), known.by_input])


def exchanged(known: Known, core: ep.Equilibrium) -> tuple[Tensor, Tensor]:
    """``p.data = …`` of all parameters, and of the input, between the two passes."""
    x = known.x.clone().requires_grad_()
    loss = Loss(known, core)(x)
    for parameter in (*core.parameters(), x):
        parameter.data = torch.randn_like(parameter)
    loss.backward()
    found = [core.engine.get_parameter(name).grad for name in known.gradients]
    assert x.grad is not None
    return flat([*found, x.grad]), flat([*known.gradients.values(), known.by_input])  # type: ignore[list-item]


def weight_normed(known: Known, core: ep.Equilibrium) -> tuple[Tensor, Tensor]:
    """Every weight as g v/‖v‖; the reference goes on through that formula."""
    found, expected = [], []
    for name, gradient in known.gradients.items():
        holder = core.engine.get_submodule(name.rpartition(".")[0])
        if name.endswith("weight"):
            parametrizations.weight_norm(holder)
            g, v = (p.detach().clone().requires_grad_() for p in holder.parametrizations.weight.parameters())  # type: ignore[union-attr]
            sizes = v.flatten(1).norm(dim=1).view(-1, *(1,) * (v.ndim - 1))
            expected.extend(torch.autograd.grad(g * v / sizes, (g, v), gradient))
    Loss(known, core)(known.x).backward()
    for name in known.gradients:
        if name.endswith("weight"):
            holder = core.engine.get_submodule(name.rpartition(".")[0])
            found.extend(p.grad for p in holder.parameters())
    assert all(g is not None for g in found)
    return flat(found), flat(expected)  # type: ignore[arg-type]


WAYS: tuple[Way, ...] = (plainly, called_with_leaves, hypernetwork, transformed, exchanged, weight_normed)


def tied_graph(seed: int, **options: Any) -> NetworkGraph:
    """Draw a graph, and put an edge beside one with weights that shares its weight."""
    rng = random.Random(seed)
    data = random_architecture(rng, **options)
    graph = build(ep.Architecture.model_validate(data))
    chosen = rng.choice([i for i, edge in enumerate(graph.edges.values()) if edge.weight_shape])
    data["edges"].append({**data["edges"][chosen], "name": "twin", "tie": list(graph.edges)[chosen]})
    return build(ep.Architecture.model_validate(data))


@cache
def known_networks(smooth: bool) -> tuple[Known, ...]:
    """Random graphs with ties, a tight solver, and a radius of 0.4 to 0.7; those with kinks have max pooling too."""
    return tuple(known(network) for network in islice(qualified(**(TIED if smooth else TIED_KINKED)), 2))


def pooled(network: Settled) -> bool:
    return any(not edge.kind.is_linear for edge in network.engine.graph.edges.values()) and single(network)


def single(network: Settled) -> bool:
    """Whether synchronous sweeps, which the reference takes, come to the same equilibrium."""
    found = network.oracle.relax(network.x, [network.engine.graph.free], UNROLLED)
    return all(float((s - network.free[name]).abs().max()) < 1e-9 for name, s in found.items())


TIED: dict[str, Any] = {"draw": tied_graph, "fit": single, **SMOOTH}
TIED_KINKED: dict[str, Any] = {"draw": tied_graph, "fit": pooled, **KINKED, "bias": 1.0}


def known(network: Settled) -> Known:
    data = network.engine.architecture.to_dict()
    data["learning"] = {**data.get("learning", {}), "solver_tolerance": 1e-13}
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64, schedule="coloring")
    return Known.of(engine, network.x, dict(network.engine.state_dict()))


def slope(known: Known, way: Way, beta: float = 2e-2) -> float:
    """Order in β of the error of centered EP."""
    coarse, fine = (error(*way(known, known.module("centered", b))) for b in (beta, beta / 2))
    return math.log2(coarse / fine)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_random_graphs(way: Way, note: Callable[[str], None]) -> None:
    """Implicit to 1e-5, smooth or with kinks and max pooling; centered with β² where it is smooth."""
    worst, slopes = 0.0, []
    for known in (*known_networks(True), *known_networks(False)):
        worst = max(worst, error(*way(known, known.module("implicit", 0.1))))
    for known in known_networks(True):
        slopes.append(slope(known, way))
    note(f"{way.__name__}: 4 graphs, implicit {worst:.1e}, slope of centered {min(slopes):.3f} to {max(slopes):.3f}")
    assert worst <= 1e-5
    assert all(1.9 <= order <= 2.1 for order in slopes)


class Scaled(nn.Module):
    """A factor that learns, times the weight."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, weight: Tensor) -> Tensor:
        return self.factor * weight


class Bounded(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 0.5 * weight.tanh()


def dress(engine: ep.Engine) -> None:
    """Compute parameters of ``NETWORK`` in every way that torch has."""
    edges, states = engine.edges, engine.states
    nn.utils.weight_norm(edges["x_h1"])
    parametrizations.spectral_norm(edges["h1_h2"])
    register_parametrization(edges["h1_h2"], "weight", Scaled(0.4))
    prune.random_unstructured(edges["h2_h3"], "weight", amount=0.4)
    parametrizations.orthogonal(edges["h3_h4"])
    register_parametrization(edges["h3_h4"], "weight", Scaled(0.3))
    register_parametrization(edges["h4_y"], "weight", Bounded())
    register_parametrization(states["h2"], "bias", Bounded())
    prune.random_unstructured(states["h3"], "bias", amount=0.5)


def dressed(pool: str = "average", dtype: torch.dtype = torch.float64) -> ep.Engine:
    torch.manual_seed(3)
    engine = ep.compile(NETWORK.replace("POOL", pool), dtype=dtype, seed=4)
    with torch.no_grad():
        for name, parameter in engine.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.3, 0.3)
    dress(engine)
    return engine.eval()  # a power iteration in every call would make each a function of its own


def effective(engine: ep.Engine) -> Weights:
    """What the weights come to, written down without the engine."""
    edges, states = engine.edges, engine.states
    first, pruned, bias = edges["x_h1"], edges["h2_h3"], states["h3"]
    found = {name: value for name, value in engine.named_parameters() if name.count(".") == 2}
    found = {name: value for name, value in found.items() if name.rpartition(".")[2] in ("weight", "bias")}
    found["edges.x_h1.weight"] = torch._weight_norm(first.weight_v, first.weight_g, 0)
    found["edges.h2_h3.weight"] = pruned.weight_orig * pruned.weight_mask  # type: ignore[operator]
    found["states.h3.bias"] = bias.bias_orig * bias.bias_mask  # type: ignore[operator]
    found |= {f"edges.{name}.weight": edges[name].weight for name in ("h1_h2", "h3_h4", "h4_y")}
    found["states.h2.bias"] = states["h2"].bias
    return found


@cache
def dressed_reference(pool: str) -> tuple[ep.Engine, Known, Weights]:
    """An engine, the reference at its effective weights, and the gradients by all its parameters."""
    engine = dressed(pool)
    weights = effective(engine)
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    known = Known.of(engine, x, {name: w.detach() for name, w in weights.items()})
    parameters = dict(engine.named_parameters())
    names = list(known.gradients)
    taken = [weights[name] for name in names], list(parameters.values()), [known.gradients[name] for name in names]
    return engine, known, dict(zip(parameters, torch.autograd.grad(*taken), strict=True))


def differentiated(known: Known, engine: ep.Engine, estimator: str, beta: float = 0.1) -> Weights:
    options: dict[str, Any] = {"estimator": estimator, "beta": beta}
    core = ep.Equilibrium(engine, free_steps=SETTLED, nudged_steps=SETTLED, **options).eval()
    parameters = dict(engine.named_parameters())
    found = torch.autograd.grad(Loss(known, core)(known.x), list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


def test_gradients_reach_what_a_weight_is_computed_from(note: Callable[[str], None]) -> None:
    """Spectral, orthogonal, old and new parametrizations, chains of them, pruning; on tied edges and on biases."""
    worst, slopes = 0.0, []
    for pool in ("average", "max"):
        engine, known, exact = dressed_reference(pool)
        assert {"edges.h1_h2.parametrizations.weight.1.factor", "edges.h2_h3.weight_orig", "edges.x_h1.weight_g"} < set(
            exact
        )
        found = differentiated(known, engine, "implicit")
        for name, gradient in exact.items():
            assert float(gradient.norm()) > 0, name
            worst = max(worst, error(found[name], gradient))
        coarse, fine = (differentiated(known, engine, "centered", beta) for beta in (2e-2, 1e-2))
        if pool == "average":
            one, other = (error(flat(list(f.values())), flat(list(exact.values()))) for f in (coarse, fine))
            slopes.append(math.log2(one / other))
    note(f"parametrizations and pruning: implicit {worst:.1e}, slope of centered {slopes[0]:.3f}")
    assert worst <= 1e-5
    assert 1.9 <= slopes[0] <= 2.1


@pytest.mark.parametrize("estimator", sorted(ESTIMATORS))
def test_backward_carries_gradients_on(estimator: Any) -> None:
    """``Engine.backward`` of every rule: the chain rule from the gradients of an engine that has the same weights."""
    engine = dressed("average")
    plain = ep.compile(NETWORK.replace("POOL", "average"), dtype=torch.float64)
    weights = effective(engine)
    plain.load_state_dict({name: w.detach() for name, w in weights.items()})
    x, y = torch.randn(20, 2, 6, 6, dtype=torch.float64), torch.arange(20) % 3
    for _ in range(2):  # as gradients do, those of two batches add up
        torch.manual_seed(0)
        plain.backward(x, y, estimator=estimator, free_steps=12, nudged_steps=4)
        torch.manual_seed(0)
        engine.backward(x, y, estimator=estimator, free_steps=12, nudged_steps=4)
    parameters = dict(engine.named_parameters())
    taken = {name: p.grad for name, p in plain.named_parameters()}
    expected = torch.autograd.grad(
        [weights[name] for name in taken],
        list(parameters.values()),
        list(taken.values()),  # type: ignore[arg-type]
    )
    for (name, parameter), gradient in zip(parameters.items(), expected, strict=True):
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-8, atol=1e-12, msg=name)


# What is done between the two passes.


def no_grad_write(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    with torch.no_grad():
        weight.add_(1.0)


def inference_write(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    with torch.inference_mode():
        weight.add_(1.0)


def swap(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    weight.data = torch.randn_like(weight)


def swap_and_write(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    swap(module, weight, x)
    no_grad_write(module, weight, x)


def swap_all(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    count = sum(p.numel() for p in module.parameters())
    nn.utils.vector_to_parameters(torch.zeros(count, dtype=torch.float64), module.parameters())


def step(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    module.zero_grad()


def load(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    module.load_state_dict({name: value + 1 for name, value in module.state_dict().items()})


def load_assigned(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    module.load_state_dict({name: value + 1 for name, value in module.state_dict().items()}, assign=True)


def replace(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    holder = module.engine.edges["x_h1"] if isinstance(module, ep.Equilibrium) else module
    holder.weight = nn.Parameter(torch.zeros_like(weight))


def input_write(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    with torch.no_grad():
        x.add_(1.0)


def input_swap(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    x.data = torch.randn_like(x)


def other_precision(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    module.float()


def freeze(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    module.requires_grad_(False)


def another_forward(module: nn.Module, weight: nn.Parameter, x: Tensor) -> None:
    module(x.detach() + 1)


BETWEEN = (
    no_grad_write,
    inference_write,
    swap,
    swap_and_write,
    swap_all,
    step,
    load,
    load_assigned,
    replace,
    input_write,
    input_swap,
    other_precision,
    freeze,
    another_forward,
)


def raised_by(work: Callable[[], None]) -> RuntimeError | None:
    try:
        work()
    except RuntimeError as error:
        return error
    return None


def outcome(module: nn.Module, weight: nn.Parameter, between: Any) -> tuple[str, Tensor | None]:
    """Whether the backward pass raises or gives the gradients that it gives undisturbed; and that of the weight."""
    x = inputs().flatten(1) if isinstance(module, nn.Linear) else inputs()
    undisturbed = copy.deepcopy(module)
    other = x.clone().requires_grad_()
    undisturbed(other).square().sum().backward()
    x.requires_grad_()
    loss = module(x).square().sum()
    between(module, weight, x)
    if "modified by an inplace operation" in str(raised_by(loss.backward)):
        return "raises", None
    assert x.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(x.grad, other.grad, rtol=1e-12, atol=0.0)
    return "undisturbed", weight.grad


@pytest.mark.parametrize("between", BETWEEN, ids=lambda between: between.__name__)
@pytest.mark.parametrize("estimator", ["centered", "positive", "implicit"])
def test_a_change_between_the_passes_is_as_with_a_linear_layer(estimator: str, between: Any) -> None:
    linear = nn.Linear(25, 3).double()
    core = small(estimator=estimator)
    weight = core.engine.edges["x_h1"].weight
    assert isinstance(weight, nn.Parameter)
    expected, found = outcome(linear, linear.weight, between), outcome(core, weight, between)
    assert found[0] == expected[0]
    assert (found[1] is None) == (expected[1] is None)
    if found[1] is not None:
        undisturbed = small(estimator=estimator)
        undisturbed(inputs()).square().sum().backward()
        due = undisturbed.engine.get_parameter("edges.x_h1.weight").grad
        torch.testing.assert_close(found[1].double(), due, rtol=1e-6 if between is other_precision else 1e-12, atol=0.0)


def test_the_forward_pass_copies_no_weight() -> None:
    core = small()
    call = core(inputs()).grad_fn.call
    for name, parameter in core.engine.named_parameters():
        assert call.at.clamped.parameters.values[name].data_ptr() == parameter.data_ptr()


def test_two_forward_passes_before_one_backward_pass_with_a_frozen_level() -> None:
    """A level that is frozen is not brought back to its range, which autograd would take for a change."""
    text = SMALL.replace("h2: {shape: [4]}", "h2: {shape: [4], activation: {relu: 0.5, learn: true}}")
    engine = ep.compile(text, dtype=torch.float64)
    engine.get_parameter("states.h2.alpha").requires_grad_(False)
    core = ep.Equilibrium(engine)
    (core(inputs()).sum() + core(inputs() + 1).sum()).backward()
    engine.get_parameter("states.h2.alpha").requires_grad_(True)
    with pytest.raises(ep.EpgraphError, match="state 'h2' learns its level"):
        core(inputs())


# Transforms of torch, copies, and what is refused.


def first_weight(core: ep.Equilibrium) -> Tensor:
    return core.engine.get_parameter("edges.x_h1.weight").detach()


def test_a_power_iteration_a_forward_pass() -> None:
    """As with a linear layer: one for the forward pass, none for the backward pass, one for ``Engine.backward``."""
    core, x = small(), inputs()
    linear = nn.Conv2d(1, 3, 3, bias=False).double()
    linear.weight.data.copy_(first_weight(core))
    for holder in (core.engine.edges["x_h1"], linear):
        torch.manual_seed(0)
        parametrizations.spectral_norm(holder)

    def vectors() -> list[Tensor]:
        return [holder.parametrizations.weight[0]._u for holder in (core.engine.edges["x_h1"], linear)]

    core(x).sum().backward()
    linear(x).sum().backward()
    assert torch.equal(*vectors())
    core.engine.backward(x, torch.tensor([0, 1, 2, 0]), energy=True)
    linear(x)
    assert torch.equal(*vectors())


def test_tied_and_untied_feedback_weights() -> None:
    """A hypernetwork for both weights of an edge, and a mask on one of them; EP gives both the same contrast."""
    engine = ep.compile(ep.load(SMALL, ["learning.feedback=untied"]), dtype=torch.float64, seed=1)
    core, x = ep.Equilibrium(engine), inputs()
    weights = {n: p.detach().clone().requires_grad_() for n, p in core.named_parameters()}
    loss = functional_call(core, {n: 1.0 * w for n, w in weights.items()}, (x,)).square().sum()
    found = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    core(x).square().sum().backward()
    for name, parameter in core.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter.grad)
    assert torch.equal(found["engine.edges.h1_h2.weight"], found["engine.edges.h1_h2.feedback"])
    prune.random_unstructured(engine.edges["h1_h2"], "feedback", amount=0.5)
    core.zero_grad()
    core(x).square().sum().backward()
    holder = engine.edges["h1_h2"]
    grads = holder.feedback_orig.grad, holder.weight.grad
    torch.testing.assert_close(grads[0], grads[1] * holder.feedback_mask)  # type: ignore[operator]


def test_one_parameter_under_two_names() -> None:
    """A parameter that the user shares between two edges receives what both contribute, and is stepped once."""
    text = SMALL.replace("{from: h2, to: y", "{from: h1, to: h2, dense: {}, name: again}\n  - {from: h2, to: y")
    engine, apart = (ep.compile(text, dtype=torch.float64, seed=1) for _ in range(2))
    apart.edges["again"].weight.data.copy_(apart.edges["h1_h2"].weight)
    engine.edges["again"].weight = engine.edges["h1_h2"].weight
    x, y = inputs(), torch.tensor([0, 1, 2, 0])
    for each in (engine, apart):
        each.backward(x, y)
    both = apart.edges["again"].weight.grad + apart.edges["h1_h2"].weight.grad
    torch.testing.assert_close(engine.edges["again"].weight.grad, both)
    engine.zero_grad()
    core = ep.Equilibrium(engine)
    engine.cost.value(core(x), engine.executor.inputs.targets(y, 4)).mean().backward()
    torch.testing.assert_close(engine.edges["again"].weight.grad, both, rtol=1e-5, atol=1e-8)
    groups = make_optimizer(engine).param_groups
    assert sum(p is engine.edges["again"].weight for group in groups for p in group["params"]) == 1


def test_frozen_weights_and_buffers() -> None:
    """They get no gradient of their own; a tensor in their place that asks for one does."""
    text = SMALL.replace("{from: h1, to: h2, dense: {}}", "{from: h1, to: h2, dense: {}, frozen: true}")
    core, x = ep.Equilibrium(ep.compile(text, dtype=torch.float64, seed=1)), inputs()
    holder = core.engine.edges["h1_y"]
    weight = holder.weight.detach()
    del holder.weight
    holder.register_buffer("weight", weight)
    assert "engine.edges.h1_y.weight" in dict(core.named_buffers())
    core(x).square().sum().backward()
    assert core.engine.edges["h1_h2"].weight.grad is None
    core.engine.backward(x, torch.tensor([0, 1, 2, 0]))
    assert core.engine.edges["h1_h2"].weight.grad is None
    exact = small()
    exact(x).square().sum().backward()
    for name in ("h1_h2", "h1_y"):
        leaf = exact.engine.edges[name].weight.detach().clone().requires_grad_()
        loss = functional_call(core, {f"engine.edges.{name}.weight": leaf}, (x,)).square().sum()
        torch.testing.assert_close(torch.autograd.grad(loss, leaf)[0], exact.engine.edges[name].weight.grad)


def test_other_ways_to_call() -> None:
    """Averaged copies, the old functional_call, activation checkpoints and saved tensors on the host."""
    core, x = small(), inputs()
    parameters = list(core.parameters())
    due = torch.autograd.grad(core(x).square().sum(), parameters)
    averaged = torch.optim.swa_utils.AveragedModel(core, use_buffers=True)
    averaged.update_parameters(core)
    assert torch.equal(averaged(x), core(x))
    found = [torch.autograd.grad(averaged(x).square().sum(), list(averaged.module.parameters()))]
    weights = {name: p.detach().clone().requires_grad_() for name, p in core.named_parameters()}
    loss = nn.utils.stateless.functional_call(core, weights, (x,)).square().sum()
    found.append(torch.autograd.grad(loss, list(weights.values())))
    made = torch.utils.checkpoint.checkpoint(core, x, use_reentrant=False)
    found.append(torch.autograd.grad(made.square().sum(), parameters))
    with torch.autograd.graph.save_on_cpu():
        loss = core(x).square().sum()
    found.append(torch.autograd.grad(loss, parameters))
    for gradients in found:
        for one, other in zip(gradients, due, strict=True):
            torch.testing.assert_close(one, other)


def test_replicas_as_data_parallel_makes_them() -> None:
    """Their parameters are tensors that are computed from the original's, and ``parameters()`` is empty."""

    def replicated(module: nn.Module) -> Any:
        replica: Any = module._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        for name, child in module.named_children():
            replica._modules[name] = replicated(child)
        for name, parameter in module.named_parameters(recurse=False):
            setattr(replica, name, 1.0 * parameter)
        return replica

    for dtype in (torch.float64, torch.bfloat16):  # of which the latter has its parameters in float32
        core, x = small(dtype), inputs(dtype=dtype)
        due = torch.autograd.grad(core(x).square().sum(), list(core.parameters()))
        replica = replicated(core)
        assert not list(replica.parameters())
        replica(x).square().sum().backward()
        for parameter, gradient in zip(core.parameters(), due, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)


def test_copies_and_state_dicts_of_parametrized_engines() -> None:
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    core = ep.Equilibrium(dressed())
    other = ep.Equilibrium(dressed())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    other.load_state_dict(core.state_dict())
    assert torch.equal(other(x), core(x))
    # What torch itself cannot copy: weights that hooks have put there as plain tensors.
    engine = ep.compile(SMALL, dtype=torch.float64)
    parametrizations.weight_norm(engine.edges["x_h1"])
    core = ep.Equilibrium(engine)
    copied = copy.deepcopy(core)
    assert torch.equal(copied(inputs()), core(inputs()))
    copied.engine.edges["x_h1"].parametrizations.weight.original0.data.zero_()
    assert not torch.equal(copied(inputs()), core(inputs()))


def test_training_loses_no_parameter() -> None:
    """The optimizer of the command line: all that a weight is computed from, at the rate of its edge or state."""
    engine = dressed(dtype=torch.float32).train()
    optimizer = make_optimizer(engine)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in engine.parameters()}
    before = {name: p.detach().clone() for name, p in engine.named_parameters()}
    x, y = torch.randn(12, 2, 6, 6), torch.arange(12) % 3
    losses = []
    for _ in range(30):
        optimizer.zero_grad(set_to_none=True)
        losses.append(engine.backward(x, y, beta=0.2).loss)
        optimizer.step()
    assert losses[-1] < losses[0]
    for name, parameter in engine.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    holder = engine.edges["h2_h3"]
    assert not (engine.weight(engine.graph.edges["h2_h3"]) * (1 - holder.weight_mask)).any()  # type: ignore[operator]
    frozen = ep.compile(
        NETWORK.replace("POOL", "max").replace(
            "{from: h3, to: h4, dense: {}}", "{from: h3, to: h4, dense: {}, frozen: true}"
        )
    )
    register_parametrization(frozen.edges["h3_h4"], "weight", Scaled(1.0).float())
    make_optimizer(frozen)
    assert not any(p.requires_grad for p in frozen.edges["h3_h4"].parameters())


def test_autocast_leaves_parametrizations_alone() -> None:
    """A product of matrices in one is not rounded to bfloat16 in a forward pass under autocast."""
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    core = ep.Equilibrium(dressed(dtype=torch.float32).eval())
    parameters = list(core.parameters())
    due = torch.autograd.grad(core(x).square().sum(), parameters)
    with torch.autocast("cpu", torch.bfloat16):
        loss = core(x).square().sum()
    for one, other in zip(torch.autograd.grad(loss, parameters), due, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("backend", ["eager", "channels_last", "onednn"])
def test_inference_mode_then_a_step(backend: str) -> None:
    with torch.inference_mode():
        engine = ep.compile("examples/digits.yaml", backend=backend, dtype=torch.float32)
        x, y = torch.rand(3, 1, 8, 8), torch.arange(3)
        core = ep.Equilibrium(engine, warm_start=True)
        states = engine.relax(x).states
        core(x)
        engine.backward(x, y, start=states)
    optimizer = torch.optim.SGD(engine.parameters(), lr=0.1, momentum=0.9)
    optimizer.step()
    for estimator in ("centered", "implicit", "unrolled"):
        engine.backward(x, y, start=states, estimator=estimator, free_steps=4, nudged_steps=2)  # type: ignore[arg-type]
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    core(x.clone()).sum().backward()
    optimizer.step()


def test_transforms_that_cannot_work_are_refused() -> None:
    core, x = small(), inputs()
    weights = {name: p.detach() for name, p in core.named_parameters()}

    def loss(weights: Weights, x: Tensor) -> Tensor:
        made: Tensor = functional_call(core, weights, (x,)).square().sum()
        return made

    stacked = {name: torch.stack([w, w]) for name, w in weights.items()}
    for mapped in (
        lambda: torch.vmap(core)(x[None]),
        lambda: torch.vmap(torch.func.grad(loss), in_dims=(0, None))(stacked, x),
        lambda: torch.func.jacrev(core)(x),
    ):
        with pytest.raises(
            ep.EpgraphError, match=r"torch\.vmap cannot go through an Equilibrium.*; give it all examples"
        ):
            mapped()
    for forward in (lambda: torch.func.jvp(core, (x,), (x,)), lambda: torch.func.jacfwd(core)(x)):
        with pytest.raises(ep.EpgraphError, match="no forward-mode derivatives"):
            forward()

    def twice(weights: Weights) -> Tensor:
        return sum((g.sum() for g in torch.func.grad(loss)(weights, x).values()), torch.zeros(()))

    with pytest.raises(ep.EpgraphError, match="cannot be differentiated again"):
        torch.func.grad(twice)(weights)


def test_what_cannot_stand_for_a_parameter_is_named() -> None:
    core, x = small(), inputs()
    weight = first_weight(core)
    name = "engine.edges.x_h1.weight"
    for wrong, found in (
        (weight.float(), r"found shape \(3, 1, 3, 3\), dtype float32"),
        (weight[:, :, :2], r"found shape \(3, 1, 2, 3\), dtype float64"),
        (weight.to("meta"), r"found shape \(3, 1, 3, 3\), dtype float64 and device meta"),
    ):
        for call in (core, core.engine):
            key = name if call is core else name.removeprefix("engine.")
            with pytest.raises(ep.EpgraphError, match=r"parameter 'edges\.x_h1\.weight' must have shape .*; " + found):
                functional_call(call, {key: wrong}, (x,))
    core.engine.edges["x_h1"].weight.data = weight.float()
    with pytest.raises(ep.EpgraphError, match=r"dtype float64 and .*; found shape .*, dtype float32 and .*; convert"):
        core.engine.backward(x, torch.tensor([0, 1, 2, 0]))
    core.engine.edges["x_h1"].weight = None
    with pytest.raises(ep.EpgraphError, match="device cpu; found None"):
        core(x)


def test_levels_that_would_lose_their_gradient_are_named() -> None:
    learnt = SMALL.replace("h2: {shape: [4]}", "h2: {shape: [4], activation: {relu: 0.5, learn: true}}")
    engine = ep.compile(learnt, dtype=torch.float64)
    register_parametrization(engine.states["h2"], "alpha", nn.Softplus())
    with pytest.raises(ep.EpgraphError, match="learnt level of state 'h2' is computed from other tensors"):
        engine.backward(inputs(), torch.tensor([0, 1, 2, 0]))
    drawn = SMALL.replace("h2: {shape: [4]}", "h2: {shape: [4], activation: {relu: [0.2, 0.5]}}")
    core = ep.Equilibrium(ep.compile(drawn, dtype=torch.float64))
    level = torch.tensor(0.3, dtype=torch.float64)
    functional_call(core, {"engine.states.h2.alpha": level}, (inputs(),)).sum().backward()
    with pytest.raises(ep.EpgraphError, match="level of state 'h2' requires a gradient, but it is not learnt; detach"):
        functional_call(core, {"engine.states.h2.alpha": level.requires_grad_()}, (inputs(),))


def test_initialise_before_a_parametrization() -> None:
    engine = ep.compile(SMALL, dtype=torch.float64)
    parametrizations.weight_norm(engine.edges["x_h1"])
    with pytest.raises(ep.EpgraphError, match=r"original0' belongs to a parametrization.*; call initialise before"):
        engine.initialise(inputs())
