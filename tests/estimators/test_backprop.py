"""Backpropagation of a wiring, against modules and formulas that share nothing with it. Float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

import epgraph as ep
from epgraph.language import Architecture
from epgraph.runtime.relaxation import Status
from tests.helpers.modules import Module

ONE_PASS = ("backprop", "implicit", "unrolled", "truncated")
"""Estimators that differentiate the one pass of an energy that is feed-forward."""

ACTIVATIONS = ("relu6", "relu1", "relu0.2", {"relu": [0.2, 1.0]}, {"relu": 0.3, "learn": True}, "tanh", "logistic")


@st.composite
def wirings(draw: st.DrawFn) -> dict[str, Any]:
    """Directed acyclic graphs of images, with skips, parallel edges, pooling, strides, ties and frozen weights."""
    sides, states, edges = {"x": 8}, {}, []
    for index in range(draw(st.integers(3, 6))):
        name, last = f"h{index}", f"h{index - 1}" if index else "x"
        parents = [last, *draw(st.lists(st.sampled_from(list(sides)), max_size=2))]
        side = draw(st.sampled_from([s for s in (8, 4, 2) if s in (sides[last], sides[last] // 2)]))
        parents = [parent for parent in parents if sides[parent] in (side, 2 * side)]
        same = [{"conv": {"kernel": 3, "padding": 1}}, {"skip": {}}, {"identity": {"scale": 0.5}}]
        half = [{"conv": {"kernel": 3, "padding": 1, "pool": how}} for how in ("max", "average")]
        half += [{"conv": {"kernel": 3, "padding": 1, "stride": 2}}, {"skip": {"stride": 2}}]
        for parent in parents:
            kind = draw(st.sampled_from(same if sides[parent] == side else half))
            edges.append({"from": parent, "to": name, **kind, "name": f"e{len(edges)}"})
        states[name] = {
            "channels": 3,
            "activation": draw(st.sampled_from(ACTIVATIONS)),
            "bias": draw(st.booleans()),
        }
        sides[name] = side
    unread = [name for name in states if name not in {edge["from"] for edge in edges}]
    edges += [{"from": name, "to": "y", "dense": {}, "name": f"e{len(edges) + i}"} for i, name in enumerate(unread)]
    for edge in edges:
        others = [other for other in edges if "conv" in other and other is not edge and "tie" not in other]
        if "conv" in edge and others and draw(st.integers(0, 3)) == 0:
            owned = {other.get("tie") for other in edges}
            if edge["name"] not in owned:
                edge["tie"] = draw(st.sampled_from(others))["name"]
        elif "identity" not in edge and draw(st.integers(0, 4)) == 0:
            edge["frozen"] = True
    cost = draw(st.sampled_from(["squared_error", "cross_entropy", "softmax_readout"]))
    fed = {edge["from"] for edge in edges if edge["to"] == "y"}
    for name in fed if cost == "softmax_readout" else ():
        if isinstance(states[name]["activation"], dict):
            states[name]["activation"] = "relu6"
    return {
        "epgraph": 2,
        "energy": draw(st.sampled_from(["hopfield", "predictive"])),
        "input": {"shape": [3, 8, 8]},
        "output": {"classes": 4, "cost": cost},
        "defaults": {"gain": 1.5},
        "states": states,
        "edges": edges,
        "learning": {"estimator": "backprop"},
    }


def compared(data: dict[str, Any], estimator: str, seed: int = 0) -> tuple[float, ep.Estimate, Module]:
    """Largest difference of a parameter's gradient from the module's, relative to the largest gradient."""
    engine = ep.compile(Architecture.model_validate(data), dtype=torch.float64, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=generator)
    y = torch.randint(4, (5,), generator=generator)
    with engine.aside() as found:
        estimate = engine.backward(x, y, estimator=estimator, start=engine.predict(x).states, free_steps=1)
    module = Module(data, engine.state_dict())
    output = module(x)
    squared = 0.5 * (output - F.one_hot(y, 4)).square().sum(1)
    squares = data["output"]["cost"] == "squared_error"
    losses = squared if squares else F.cross_entropy(output, y, reduction="none")
    torch.testing.assert_close(estimate.losses, losses, rtol=1e-12, atol=1e-12)
    wanted = {name: value for name, value in module.values.items() if name in found}
    exact = dict(
        zip(wanted, torch.autograd.grad(losses.mean(), list(wanted.values()), materialize_grads=True), strict=True)
    )
    trained = {name for name, parameter in engine.named_parameters() if parameter.requires_grad}
    assert found.keys() == trained
    size = max(float(g.abs().max()) for g in exact.values())
    return max(float((found[name] - g).abs().max()) for name, g in exact.items()) / max(size, 1e-30), estimate, module


@given(wirings(), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_the_gradient_is_that_of_an_independent_module(data: dict[str, Any], seed: int) -> None:
    apart, estimate, module = compared(data, "backprop", seed)
    assert apart <= 1e-12
    assert (estimate.free.status, estimate.free.steps, estimate.free.residual) == (Status.CONVERGED, 1, 0.0)
    for name, s in estimate.free.states.items():
        torch.testing.assert_close(s, module.seen[name], rtol=1e-12, atol=1e-12)


@given(wirings(), st.sampled_from(ONE_PASS))
@settings(max_examples=40, deadline=None)
def test_under_a_feedforward_energy_the_references_are_backpropagation(data: dict[str, Any], estimator: str) -> None:
    apart, _, _ = compared({**data, "energy": "predictive"}, estimator)
    assert apart <= 1e-12


def chain(*activations: Any, **keys: Any) -> dict[str, Any]:
    """One state of two units after another."""
    names = [f"h{i}" for i in range(len(activations))]
    states = {name: {"shape": [2], "activation": a, "bias": False} for name, a in zip(names, activations, strict=True)}
    ends = zip(["x", *names], [*names, "y"], strict=True)
    return {
        "epgraph": 2,
        "input": {"shape": [2]},
        "output": {"classes": 2, "bias": False},
        "states": states,
        "edges": [{"from": a, "to": b, "dense": {}, "name": f"to_{b}"} for a, b in ends],
        "learning": {"estimator": "backprop"},
        **keys,
    }


@pytest.mark.parametrize("level", ["relu1", {"relu": 1.0, "learn": True}, {"relu": [1.0, 1.0 + 1e-15]}])
def test_no_gradient_passes_a_kink(level: Any) -> None:
    """Units at 0 and at α, exactly: autograd of ``clamp`` would let the gradient pass."""
    engine = ep.compile(Architecture.model_validate(chain(level)), dtype=torch.float64)
    with torch.no_grad():
        engine.edges["to_h0"].weight.copy_(torch.eye(2))
        if "alpha" in dict(engine.states["h0"].named_buffers()):
            engine.states["h0"].alpha.fill_(1.0)
    x, y = torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.tensor([0])
    with engine.aside() as found:
        engine.backward(x, y)
    assert float(found["edges.to_h0.weight"].abs().max()) == 0.0
    assert float(found["edges.to_y.weight"].abs().max()) > 0.0
    if "states.h0.alpha" in found:  # a unit at α, and not beyond it, does not move with α
        assert float(found["states.h0.alpha"]) == 0.0


def test_of_equal_values_pooling_takes_the_first() -> None:
    data = {
        "epgraph": 2,
        "input": {"shape": [1, 2, 2]},
        "output": {"classes": 1, "bias": False},
        "states": {"h": {"shape": [1, 1, 1], "activation": "identity", "bias": False}},
        "edges": [
            {"from": "x", "to": "h", "conv": {"kernel": 1, "pool": "max"}, "name": "up"},
            {"from": "h", "to": "y", "dense": {}, "name": "out"},
        ],
        "learning": {"estimator": "implicit"},
        "energy": "predictive",
    }
    module = ep.Equilibrium(ep.compile(Architecture.model_validate(data), dtype=torch.float64))
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert x.grad.count_nonzero() == 1
    assert x.grad[0, 0, 0, 0] != 0


@pytest.mark.parametrize("returned", [["y"], ["y", "h1", "h0"]])
def test_an_equilibrium_of_a_feedforward_energy_gives_the_gradients_of_its_pass(returned: list[str]) -> None:
    """Any loss of any states, by parameters and by the input, as a module written by hand has them."""
    data = chain("tanh", "relu6", energy="predictive", learning={"estimator": "implicit"})
    engine = ep.compile(Architecture.model_validate(data), dtype=torch.float64)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    module = Module(data, engine.state_dict())
    module(twin)
    found = ep.Equilibrium(engine).states(x, returned)

    def loss(states: dict[str, Tensor]) -> Tensor:
        total = sum((k + 1) * states[name].pow(3).sum() for k, name in enumerate(returned))
        assert isinstance(total, Tensor)
        return total

    loss(found).backward()
    loss(module.seen).backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-12, atol=1e-14)
    for name, parameter in engine.named_parameters():
        torch.testing.assert_close(parameter.grad, module.values[name].grad, rtol=1e-12, atol=1e-14)


def test_rounded_weights_are_used_and_followed() -> None:
    data = chain("tanh", dynamics={"weight_bits": 3})
    engine = ep.compile(Architecture.model_validate(data), dtype=torch.float64)
    x, y = torch.randn(4, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    with engine.aside() as found:
        engine.backward(x, y)
    coarse = {}
    for name, w in engine.state_dict().items():
        step = w.abs().max() / 3
        coarse[name] = (w / step).round() * step
    module = Module(data, coarse)
    loss = (0.5 * (module(x) - F.one_hot(y, 2)).square().sum(1)).mean()
    for name, exact in zip(coarse, torch.autograd.grad(loss, list(module.values.values())), strict=True):
        torch.testing.assert_close(found[name], exact, rtol=1e-12, atol=1e-14)


def test_low_precision_keeps_parameters_and_their_gradients_in_float32() -> None:
    data = chain("tanh", "relu6")
    half = ep.compile(Architecture.model_validate(data), dtype=torch.bfloat16)
    full = ep.compile(Architecture.model_validate(data), dtype=torch.float64)
    x, y = torch.randn(64, 2), torch.arange(64) % 2
    gradients = []
    for engine in (half, full):
        with engine.aside() as found:
            engine.backward(x, y)
        gradients.append(torch.cat([g.flatten().double() for g in found.values()]))
        assert {g.dtype for g in found.values()} == {engine._kept.dtype}
    assert float(F.cosine_similarity(*gradients, dim=0)) >= 0.999


# What a network predicts.


def test_prediction_is_the_forward_pass_where_that_is_what_learns() -> None:
    torch.manual_seed(0)
    data = chain("tanh", "relu6")
    engine = ep.compile(Architecture.model_validate(data), dtype=torch.float64)
    x = torch.randn(3, 2, dtype=torch.float64)
    expected = Module(data, engine.state_dict())(x)
    torch.testing.assert_close(engine(x), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(engine.predict(x, steps=3).states["y"], expected, rtol=1e-12, atol=1e-14)
    assert float((engine.relax(x).states["y"] - expected.detach()).abs().max()) > 1e-3, (
        "the Hopfield energy has other states"
    )
    relaxing = ep.compile(Architecture.model_validate({**data, "learning": {}}), dtype=torch.float64)
    torch.testing.assert_close(relaxing(x), engine.relax(x).states["y"], rtol=0, atol=0)


def test_a_feedforward_energy_predicts_the_same_either_way() -> None:
    data = chain("tanh", "relu6", energy="predictive")
    engine = ep.compile(Architecture.model_validate(data), dtype=torch.float64)
    x = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(engine(x), engine.relax(x, steps=50).states["y"], rtol=1e-12, atol=1e-14)


# What has no feed-forward network.


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"at": "h0", "self": {}}, "edge 'extra' (self) acts on the state 'h0' alone"),
        ({"from": "h0", "to": "x", "dense": {}}, "edge 'extra' leads into the input 'x'"),
        ({"from": "y", "to": "h0", "dense": {}}, "edge 'extra' leaves the output 'y'"),
        ({"from": "h1", "to": "h0", "lateral": {}}, "edge 'extra' closes the cycle h0 → h1 → h0"),
    ],
)
def test_refusals_name_the_edge_or_the_cycle(extra: dict[str, Any], reason: str) -> None:
    data = chain("relu6", "relu6")
    data["edges"].append({**extra, "name": "extra"})
    with pytest.raises(ep.EpgraphError) as caught:
        ep.compile(Architecture.model_validate(data))
    assert reason in str(caught.value)
    assert len(caught.value.diagnostics) == 1
    engine = ep.compile(Architecture.model_validate({**data, "learning": {}}))  # EP needs no order
    with pytest.raises(ep.EpgraphError, match="estimator backprop cannot be used"):
        engine.backward(torch.randn(2, 2), torch.tensor([0, 1]), estimator="backprop")


def test_a_wiring_whose_edges_lead_the_other_way_is_refused() -> None:
    data = chain("relu6", "relu6")
    data["edges"][1] |= {"from": "h1", "to": "h0"}
    with pytest.raises(ep.EpgraphError, match="no path along the edges leads from the input 'x' to the output 'y'"):
        ep.compile(Architecture.model_validate(data))


def test_check_says_what_is_learnt(tmp_path: Path) -> None:
    data = chain("relu6", "relu6")
    data["states"]["aside"] = {"shape": [2]}
    data["edges"].append({"from": "h0", "to": "aside", "dense": {}})
    result = ep.check(Architecture.model_validate(data))
    assert result.report is not None
    said = " ".join(result.report["guarantees"])
    assert "prediction: the feed-forward equivalent of this wiring: one pass over h0, h1, aside" in said
    assert "gradient: that of the feed-forward network of this wiring" in said
    warned = [d.message for d in result.diagnostics if d.rule == "unheard"]
    assert warned == ["no path along the edges leads from aside to the output 'y': nothing learns there"]


def test_other_parts_say_why_they_cannot_go_with_it() -> None:
    engine = ep.compile(Architecture.model_validate(chain("relu6")), dtype=torch.float64)
    with pytest.raises(ep.EpgraphError, match="does not relax; use implicit or centered"):
        ep.Equilibrium(engine)
    with pytest.raises(ep.EpgraphError, match="is the gradient of the feed-forward network of this wiring"):
        ep.gradcheck(engine, quick=True)


# norm: batch.


def normed(**keys: Any) -> dict[str, Any]:
    return {
        "epgraph": 2,
        "input": {"shape": [3, 8, 8]},
        "output": {"classes": 4},
        "states": {
            "h0": {"channels": 3, "norm": "batch", "activation": "relu6"},
            "h1": {"shape": [5], "norm": "batch", "activation": "tanh"},
        },
        "edges": [
            {"from": "x", "to": "h0", "conv": {"kernel": 3, "padding": 1}, "name": "e0"},
            {"from": "h0", "to": "h1", "dense": {}, "name": "e1"},
            {"from": "h1", "to": "y", "dense": {}, "name": "e2"},
        ],
        "learning": {"estimator": "backprop"},
        **keys,
    }


class Normed(nn.Module):
    """The same network of torch's own layers."""

    def __init__(self, engine: ep.Engine) -> None:
        super().__init__()
        self.conv, self.bn0 = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.up, self.bn1, self.out = nn.Linear(192, 5, bias=False), nn.BatchNorm1d(5), nn.Linear(5, 4)
        self.double()
        values = engine.state_dict()
        with torch.no_grad():
            for layer, name in ((self.conv, "e0"), (self.up, "e1"), (self.out, "e2")):
                layer.weight.copy_(values[f"edges.{name}.weight"])  # type: ignore[operator]
            self.out.bias.copy_(values["states.y.bias"])

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self.bn0(self.conv(x)))
        return self.out(self.bn1(self.up(h.flatten(1))).tanh())  # type: ignore[no-any-return]


def test_batch_norm_is_torchs_own() -> None:
    """Gradients, running statistics after three batches, and the prediction with these."""
    engine = ep.compile(Architecture.model_validate(normed()), dtype=torch.float64)
    twin = Normed(engine)
    names = {"e0": twin.conv, "e1": twin.up, "e2": twin.out}
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=generator)
        y = torch.randint(4, (6,), generator=generator)
        engine.zero_grad(set_to_none=True)
        twin.zero_grad(set_to_none=True)
        engine.backward(x, y)
        (0.5 * (twin(x) - F.one_hot(y, 4)).square().sum(1)).mean().backward()
        for name, layer in names.items():
            torch.testing.assert_close(engine.edges[name].weight.grad, layer.weight.grad, rtol=1e-10, atol=1e-13)
    for state, norm in (("h0", twin.bn0), ("h1", twin.bn1)):
        held = engine.states[state]
        assert "bias" not in dict(held.named_parameters())
        torch.testing.assert_close(held.norm_weight.grad, norm.weight.grad, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(held.norm_bias.grad, norm.bias.grad, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(held.running_mean, norm.running_mean, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(held.running_var, norm.running_var, rtol=1e-12, atol=1e-14)
    before = engine.states["h0"].running_mean.clone()
    torch.testing.assert_close(engine(x), twin.eval()(x), rtol=1e-12, atol=1e-14)
    engine.backward(x, y, batch_statistics=False)
    assert torch.equal(engine.states["h0"].running_mean, before)
    assert engine.graph.parameters() == sum(p.numel() for p in twin.parameters())


def test_a_norm_is_refused_where_it_has_no_meaning() -> None:
    data = normed()
    with pytest.raises(ep.EpgraphError, match="state 'h0' has norm: batch, which ties the examples of a batch"):
        ep.compile(Architecture.model_validate({**data, "learning": {"estimator": "centered"}}))
    engine = ep.compile(Architecture.model_validate(data))
    x, y = torch.randn(1, 3, 8, 8), torch.tensor([1])
    with pytest.raises(ep.EpgraphError, match="norm: batch, which the feed-forward network alone has"):
        engine.relax(x)
    with pytest.raises(ep.EpgraphError, match="state 'h1' has norm: batch, and one example of one pixel"):
        engine.backward(x, y)
    with pytest.raises(ep.EpgraphError, match="estimator implicit cannot be used: state 'h0' has norm: batch"):
        engine.backward(x, y, estimator="implicit")
    data["states"]["h0"]["norm"] = "layer"
    with pytest.raises(ValidationError, match=r"states\.h0\.norm\n  Input should be 'batch'"):
        Architecture.model_validate(data)
