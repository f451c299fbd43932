"""Passes on programs of a few nodes, written by hand; how passes and backends are declared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import fx

import epgraph as ep
from epgraph.compiler import BACKENDS, PASSES, Backend, Pass, ProgramCache, runtime
from epgraph.compiler.effects import WRITES
from epgraph.compiler.helpers import HELPERS
from epgraph.compiler.passes import check_order, stages
from epgraph.compiler.passes.widen import _wide
from epgraph.compiler.program import Function, Program
from epgraph.compiler.text import load, source
from epgraph.compiler.trace import Tracer
from epgraph.graph import build
from epgraph.lowering import lower

NAMED = {one.name: one for one in PASSES}

PAIR: dict[str, Any] = {
    "epgraph": 2,
    "name": "pair",
    "input": {"name": "x", "shape": [2, 4, 4]},
    "output": {"name": "y", "classes": 3},
    "states": {"h": {"channels": 3}},
    "edges": [
        {"from": "x", "to": "h", "name": "up", "conv": {"kernel": 3, "padding": 1}},
        {"from": "h", "to": "y", "dense": {}},
    ],
}
"""Gives names and shapes to the programs below; none of them is traced from it."""


@pytest.fixture
def tracer() -> Tracer:
    plan = lower(build(ep.Architecture.model_validate(PAIR)), "coloring")
    return Tracer(plan, torch.float64, cast=False, by_class=False)


def program(tracer: Tracer, kind: Any, *, stride: int = 1) -> Program:
    """A sweep of one function: a convolution of one state with the weight of ``up``."""
    graph = fx.Graph()
    there, here = ("x", "h") if kind is torch.conv2d else ("h", "x")
    state = graph.placeholder(tracer.names("state", there))
    weight = graph.placeholder(tracer.names("weight", "up"))
    options = {"stride": (stride, stride), "padding": (1, 1)}
    made = graph.call_function(kind, (state, weight), options)
    graph.output((made,))
    function = Function("only", graph, (tracer.names("state", here),))
    return Program(("free",), (function,))


def computed(made: Program, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What the last function returns, given a state and the weight; what is prepared comes first."""
    loaded = load(made.functions)
    values: dict[str, Any] = {"w_up": weight, "s_x": x, "s_h": x}
    for function in made.functions:
        results = loaded[function.name](*[values[name] for name in function.arguments])
        values.update(zip(function.results, results, strict=True))
    result: torch.Tensor = values[made.sweep[-1].results[0]]
    return result


def operations(made: Program) -> list[str]:
    nodes = [node for function in made.sweep for node in function.graph.nodes]
    return [getattr(node.target, "__name__", str(node.target)) for node in nodes if node.op.startswith("call")]


@pytest.mark.parametrize(
    ("name", "kind", "stride", "wanted"),
    [
        ("flip_transposed", torch.conv_transpose2d, 1, ["swapped", "flip", "conv2d"]),
        ("split_strided", torch.conv_transpose2d, 2, None),
        ("channels_last", torch.conv2d, 1, ["contiguous", "conv2d"]),
        ("hoist_prepared", torch.conv2d, 1, ["conv2d"]),
        ("reuse_argmax", torch.conv2d, 1, ["conv2d"]),
    ],
)
def test_a_pass_alone(tracer: Tracer, name: str, kind: Any, stride: int, wanted: list[str] | None) -> None:
    """It leaves what it is given alone, and computes the same."""
    given = program(tracer, kind, stride=stride)
    before = source(given.sweep[0])
    found = NAMED[name].apply(given, tracer)
    assert source(given.sweep[0]) == before
    if wanted is None:
        assert "conv_transpose2d" not in operations(found)
    else:
        assert operations(found) == wanted
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 2 if kind is torch.conv2d else 3, 4, 4), dtype=torch.float64, generator=generator)
    weight = torch.randn((3, 2, 3, 3), dtype=torch.float64, generator=generator)
    torch.testing.assert_close(computed(found, x, weight), kind(x, weight, stride=stride, padding=1))


def test_what_depends_on_weights_alone_is_hoisted(tracer: Tracer) -> None:
    given = program(tracer, torch.conv_transpose2d)
    *_, (_, found) = stages(given, tracer, (NAMED["flip_transposed"], NAMED["hoist_prepared"]))
    assert operations(found) == ["conv2d"]
    assert found.prepare[0].arguments == ("w_up",)
    assert set(found.sweep[0].arguments) == {"s_h", *found.prepare[0].results}


def test_stages_are_named_and_verified(tracer: Tracer) -> None:
    def wrong(given: Program, tracer: Tracer) -> Program:
        function = given.sweep[0]
        return replace(given, sweep=(replace(function, results=(*function.results, "s_y")),))

    given = program(tracer, torch.conv2d)
    two = (NAMED["reuse_argmax"], NAMED["fuse_updates"])
    assert [name for name, _ in stages(given, tracer, two)] == ["trace", "reuse_argmax", "fuse_updates"]
    with pytest.raises(ep.EpgraphError, match="'only': it does not return a value for each of s_h, s_y"):
        list(stages(given, tracer, (Pass("wrong", wrong),)))


def same(given: Program, tracer: Tracer) -> Program:
    return given


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ((Pass("a", same), Pass("a", same)), "pass 'a' is listed twice"),
        ((Pass("a", same, requires=("b",)), Pass("b", same)), "pass 'a' requires 'b' before it"),
        ((Pass("a", same), Pass("b", same, before=("a",))), "pass 'b' must precede 'a'"),
        (tuple(reversed(PASSES)), "must precede"),
    ],
)
def test_an_order_that_cannot_be_is_refused(passes: tuple[Pass, ...], message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=message):
        Backend("own", passes)
    check_order(PASSES)


def test_a_backend_with_a_pass_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes, its passes can be left out, and its traits decide what it can do."""
    seen: list[Program] = []

    def watch(given: Program, tracer: Tracer) -> Program:
        seen.append(given)
        return given

    own = Pass("watch", watch, before=("hoist_prepared",), exportable=False)
    monkeypatch.setitem(BACKENDS, "watched", Backend("watched", ()))  # taken out again when the test ends
    ep.register_backend(Backend("watched", (own, *BACKENDS["eager"].passes)))
    architecture = ep.Architecture.model_validate(PAIR)
    x = torch.rand(2, 2, 4, 4)
    engine = ep.compile(architecture, backend="watched")
    expected = ep.compile(architecture, backend="eager").relax(x, steps=3, tolerance=0)
    found = engine.relax(x, steps=3, tolerance=0)
    assert len(seen) == 1
    assert all(torch.equal(found.states[name], state) for name, state in expected.states.items())
    assert isinstance(engine.machine, ProgramCache)
    assert not engine.machine.backend.exportable
    ep.compile(architecture, backend="watched", without=["watch"]).relax(x, steps=3)
    assert len(seen) == 1


def test_built_in_backends_stay() -> None:
    for name in ("auto", "eager", "plain"):
        with pytest.raises(ep.EpgraphError, match=f"backend '{name}' cannot be registered: it is built in"):
            ep.register_backend(Backend(name, ()))
    with pytest.raises(ep.EpgraphError, match="expected a Backend, found str"):
        ep.register_backend("mine")  # type: ignore[arg-type]


@pytest.mark.parametrize(("role", "allowed"), [("state", True), ("weight", False)])
def test_only_states_are_written_into(tracer: Tracer, role: str, allowed: bool) -> None:
    def scaled(given: Program, tracer: Tracer) -> Program:
        graph = fx.Graph()
        value = graph.placeholder(tracer.names(role, "h" if role == "state" else "up"))
        graph.output((graph.call_method("mul_", (value, 2.0)),))
        return replace(given, sweep=(replace(given.sweep[0], graph=graph),))

    made = stages(program(tracer, torch.conv2d), tracer, (Pass("scaled", scaled),))
    if allowed:
        assert len(list(made)) == 2
        return
    with pytest.raises(ep.EpgraphError, match="'only': it writes into 'w_up', which is only to be read"):
        list(made)


def test_nothing_reads_what_was_overwritten(tracer: Tracer) -> None:
    def doubled(given: Program, tracer: Tracer) -> Program:
        graph = fx.Graph()
        value = graph.placeholder(tracer.names("state", "h"))
        graph.call_method("mul_", (value, 2.0))
        graph.output((graph.call_method("neg", (value,)),))
        return replace(given, sweep=(replace(given.sweep[0], graph=graph),))

    with pytest.raises(ep.EpgraphError, match="'only': it reads 's_h' after 'mul_' has overwritten it"):
        list(stages(program(tracer, torch.conv2d), tracer, (Pass("doubled", doubled),)))


@pytest.mark.parametrize("stale", [False, True])
def test_a_memory_is_filled_twice_and_the_first_sum_is_not_read_after(tracer: Tracer, stale: bool) -> None:
    def filled(given: Program, tracer: Tracer) -> Program:
        graph = fx.Graph()
        memory = graph.placeholder(tracer.names("state", "h"))
        first = graph.call_method("mul_", (graph.call_function(runtime.fill_, (memory, None)), 2.0))
        read = graph.call_method("neg", (first,))
        second = graph.call_function(runtime.fill_, (memory, read))
        graph.output((graph.call_method("neg", (first if stale else second,)),))
        return replace(given, sweep=(replace(given.sweep[0], graph=graph),))

    made = stages(program(tracer, torch.conv2d), tracer, (Pass("filled", filled),))
    if not stale:
        assert len(list(made)) == 2
        return
    with pytest.raises(ep.EpgraphError, match="'only': it reads 'mul_' after 'fill__1' has overwritten it"):
        list(made)


def test_results_have_the_shapes_of_their_states(tracer: Tracer) -> None:
    traced = tracer.program("free")
    assert [name for name, _ in stages(traced, tracer, ())] == ["trace"]
    graph = fx.Graph()
    value = graph.placeholder(tracer.names("state", "h"))
    graph.output((graph.call_method("flatten", (value, 2)),))
    wrong = Function("wrong", graph, (tracer.names("state", "h"),))
    with pytest.raises(ep.EpgraphError, match=r"'wrong': its result 's_h' has the shape \(3, 16\), and should"):
        list(stages(replace(traced, sweep=(wrong,)), tracer, ()))


def test_helpers_that_write_say_so() -> None:
    """A name that ends in one underscore promises a write, as torch's does."""
    for name, helper in HELPERS.items():
        assert not name.endswith("_") or helper in WRITES


def test_in_half_precision_a_state_is_rounded_once() -> None:
    """A sum, the step and the activation are in float32; in float32 the pass changes nothing."""
    architecture = ep.load("examples/digits.yaml", ["dynamics.over_relaxation=1.6"])
    for dtype, wide in ((torch.bfloat16, True), (torch.float32, False)):
        engine = ep.compile(architecture, dtype=dtype, backend="eager", initialised=False)
        for phase in ("free", "pair"):
            made = engine.executor.program(phase).program
            names = operations(made)
            moved = len(engine.graph.free)
            assert names.count("wide_total" if phase == "free" else "wide_total_pair") == moved * wide
            assert names.count("total" if phase == "free" else "total_pair") == moved * (not wide)
            assert names.count("lerp") == moved


def test_a_sum_that_something_unknown_follows_stays_as_it_is() -> None:
    graph = fx.Graph()
    a, b = graph.placeholder("a"), graph.placeholder("b")
    total = graph.call_function(runtime.total, (None, a, b))
    graph.output((graph.call_function(torch.tanh, (total,)),))
    assert _wide(graph) is None
