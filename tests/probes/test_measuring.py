"""What is measured of a network: gradients that agree, and nothing that is left behind."""

from __future__ import annotations

import math
import time

import pytest
import torch

import epgraph as ep
from epgraph.probes import NetworkProbe, measuring
from epgraph.probes.measuring import lowest

DIGITS = "examples/digits.yaml"


def probe(**options: object) -> NetworkProbe:
    engine = ep.compile(DIGITS, initialised=False, **options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return NetworkProbe(engine, torch.rand(8, 1, 8, 8), torch.arange(8))


def test_the_lowest_cosine_and_its_parameter() -> None:
    exact = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([1.0, 1.0])}
    found = lowest({"a": torch.tensor([2.0, 0.0]), "b": torch.tensor([1.0, 0.0])}, exact)
    assert found is not None
    assert found.parameter == "b"
    assert found.cosine == pytest.approx(math.sqrt(0.5))


def test_a_gradient_that_is_zero_or_negligible_does_not_count() -> None:
    exact = {"a": torch.ones(2), "b": torch.zeros(2), "c": torch.tensor([1e-7, 0.0])}
    found = lowest({"a": torch.ones(2), "b": torch.ones(2), "c": torch.tensor([0.0, 1.0])}, exact)
    assert found is not None
    assert found.parameter == "a"
    counts = lowest({"a": torch.ones(2), "c": torch.tensor([0.0, 1.0])}, {**exact, "c": torch.tensor([1e-5, 0.0])})
    assert counts is not None
    assert (counts.parameter, counts.cosine) == ("c", 0.0)
    assert lowest({}, {"b": torch.zeros(2)}) is None


@pytest.mark.parametrize("lost", [torch.zeros(2), None])
def test_a_gradient_that_a_precision_loses_has_the_cosine_0(lost: torch.Tensor | None) -> None:
    found = lowest({} if lost is None else {"a": lost}, {"a": torch.ones(2)})
    assert found is not None
    assert found.cosine == 0.0


def test_a_gradient_that_is_no_number_is_the_lowest() -> None:
    exact = {"a": torch.ones(2), "b": torch.ones(2)}
    found = lowest({"a": -torch.ones(2), "b": torch.tensor([math.nan, 1.0])}, exact)
    assert found is not None
    assert found.parameter == "b"
    assert math.isnan(found.cosine)


def test_gradients_in_several_precisions() -> None:
    one = probe()
    single, half = one.agreement("float32"), one.agreement("bfloat16")
    assert single is not None
    assert half is not None
    assert single.cosine > 0.999999
    assert 0.98 < half.cosine < single.cosine
    assert half.parameter in dict(one.engine.named_parameters())


def test_a_probe_leaves_the_network_and_the_generator_as_they_were() -> None:
    one = probe()
    before = {name: value.clone() for name, value in one.engine.state_dict().items()}
    generator = torch.get_rng_state()
    assert one.unusable("bfloat16") == ""
    own, usual = one.seconds("bfloat16", whole=False)
    assert own > 0
    assert usual > 0
    one.agreement("bfloat16")
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in one.engine.state_dict().items())
    assert all(p.grad is None for p in one.engine.parameters())


def test_why_a_precision_cannot_be_used() -> None:
    one = probe()
    assert "float31" in one.unusable("float31")


def test_one_reading_is_enough_of_what_is_much_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    one, seen = probe(), list[str]()

    def timed(engine: ep.Engine, *arguments: object) -> float:
        seen.append(str(engine.dtype))
        return {torch.float32: 1.0, torch.bfloat16: 12.0, torch.float64: 1.1}[engine.dtype]

    monkeypatch.setattr(measuring, "timed", timed)
    assert one.seconds("bfloat16", whole=False) == (12.0, 1.0)
    assert seen == ["torch.bfloat16", "torch.float32"]
    seen.clear()
    assert one.seconds("float64", whole=False) == (1.1, 1.0)
    assert seen == ["torch.float64", "torch.float32"] * measuring.ROUNDS


def test_a_whole_iteration_has_the_sweeps_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    one, seen = probe(), list[tuple[int, int]]()
    whole = ep.Engine.backward

    def backward(engine: ep.Engine, *arguments: object, **options: int) -> object:
        seen.append((options["free_steps"], options["nudged_steps"]))
        return whole(engine, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ep.Engine, "backward", backward)
    dynamics = one.engine.architecture.dynamics
    measuring.timed(one.engine, one.x, one.y, measuring.SWEEPS, time.perf_counter)
    measuring.timed(one.engine, one.x, one.y, None, time.perf_counter)
    assert seen == [(measuring.SWEEPS, measuring.SWEEPS), (dynamics.free_steps, dynamics.nudged_steps)]
