"""Rewrites of emitted programs: none changes what is computed, each does what it is for."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import product
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings

import epgraph as ep
from epgraph.compiler import BACKENDS, PASSES, PLAIN, Backend, Pass, ProgramCache, register_backend
from epgraph.compiler.passes import stages
from epgraph.compiler.passes.winograd import winograd as winograd_pass
from epgraph.compiler.program import Program
from epgraph.compiler.text import source
from epgraph.compiler.winograd import add_winograd_, winograd, winograd_kernels
from epgraph.lowering import Plan
from tests.helpers.case import Case, apart
from tests.helpers.networks import OPTIONS
from tests.helpers.programs import operations, plan_of
from tests.helpers.topologies import architectures, random_architecture

DRAWN = settings(
    deadline=None, max_examples=4, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
NAMES = [one.name for one in PASSES]
EXACT = [name for name in NAMES if name not in ("pack_weights", "fuse_updates")]
"""Rewrites that run in float64 on the CPU."""

BUILT_IN = tuple(BACKENDS.values())
"""Without those that are declared here."""

USED = [one.name for one in BACKENDS["channels_last"].passes]

DENSENET: dict[str, Any] = {
    "epgraph": 2,
    "name": "densenet",
    "input": {"name": "x", "shape": [2, 8, 8]},
    "output": {"name": "y", "classes": 3},
    "states": {name: {"channels": c} for name, c in (("a", 4), ("b", 3), ("c", 3), ("d", 5))},
    "edges": [
        {"from": "x", "to": "a", "conv": {"kernel": 3, "padding": 1}},
        {"from": "a", "to": "b", "conv": {"kernel": 3, "padding": 1}},
        {"from": "a", "to": "c", "conv": {"kernel": 3, "padding": 1}},
        {"from": "b", "to": "d", "conv": {"kernel": 3, "padding": 1, "stride": 2}},
        {"from": "c", "to": "d", "conv": {"kernel": 3, "padding": 1, "stride": 2}},
        {"from": "b", "to": "y", "dense": {}},
        {"from": "d", "to": "y", "dense": {}},
    ],
}


def everywhere(passes: Iterable[Pass]) -> tuple[Pass, ...]:
    """Passes with minimal filtering on small maps of few channels too, where it does not pay."""
    filtering = partial(winograd_pass, least_channels=0, fewest_tiles=1)
    return tuple(replace(one, apply=filtering) if one.name == "winograd" else one for one in passes)


def chosen(*names: str) -> tuple[Pass, ...]:
    assert set(names) <= set(NAMES)
    return tuple(one for one in PASSES if one.name in names)


def declared(*names: str) -> str:
    """Name of a backend with these passes, which is registered."""
    backend = Backend("_".join(names), everywhere(chosen(*names)))
    register_backend(backend)
    return backend.name


def onednn() -> str:
    """Name of the backend onednn with minimal filtering everywhere, which is registered."""
    register_backend(replace(BACKENDS["onednn"], name="everywhere", passes=everywhere(BACKENDS["onednn"].passes)))
    return "everywhere"


@pytest.fixture(autouse=True, scope="module")
def _backends() -> Iterator[None]:
    with mock.patch.dict(BACKENDS):
        yield


def traced(plan: Plan, phase: Any, *rewrites: str, filtered: bool = False) -> Program:
    passes = chosen(*rewrites, "hoist_prepared")
    backend = Backend("chosen", everywhere(passes) if filtered else passes)
    machine = ProgramCache(plan, torch.float32, cast=False, backend=backend)
    return machine.program(phase).program


def gradients(case: Case, schedule: str, **options: Any) -> dict[str, torch.Tensor]:
    engine = ep.compile(case.architecture, dtype=torch.float64, schedule=schedule, **options)
    engine.load_state_dict({**engine.state_dict(), **case.parameters})
    engine.backward(case.x, case.y, free_steps=6, nudged_steps=4, beta=0.2, tolerance=0)
    return {name: p.grad for name, p in engine.named_parameters() if p.grad is not None}


@cache
def plain_gradients(drawn: str, schedule: str) -> dict[str, torch.Tensor]:
    """Gradients by the backend eager, of an architecture as JSON."""
    return gradients(Case(json.loads(drawn)), schedule, backend="eager")


@pytest.mark.parametrize("name", EXACT)
@DRAWN
@given(data=architectures())
def test_no_rewrite_changes_the_gradient(name: str, data: dict[str, Any]) -> None:
    """Each alone, in float64, under a proper and an improper schedule; free and nudged phases are behind a gradient."""
    case = Case(data)
    for schedule in ("even_odd", "sequential"):
        # All of them draw the same networks.
        expected = plain_gradients(json.dumps(data), schedule)
        found = gradients(case, schedule, backend=declared(*dict.fromkeys((name, "hoist_prepared"))))
        for parameter, value in expected.items():
            assert apart(found[parameter], value) <= 1e-8, (schedule, parameter)


@DRAWN
@given(data=architectures())
def test_all_rewrites_together_change_nothing(data: dict[str, Any]) -> None:
    case = Case(data)
    for schedule in ("coloring", "synchronous", "forward_backward"):
        expected = gradients(case, schedule, backend="eager")
        found = gradients(case, schedule, backend=declared(*USED, "winograd"))
        for parameter, value in expected.items():
            assert apart(found[parameter], value) <= 1e-8, (schedule, parameter)


@pytest.mark.parametrize("schedule", ["coloring", "synchronous"])
def test_every_option_survives_every_rewrite(schedule: str) -> None:
    """All together in float64, and packed in float32: what no rewrite knows is left alone."""
    case = Case(OPTIONS)
    expected = gradients(case, schedule, backend="eager")
    found = gradients(case, schedule, backend=declared(*EXACT))
    for parameter, value in expected.items():
        assert apart(found[parameter], value) <= 1e-8, parameter
    engine = ep.compile(case.architecture, dtype=torch.float32, schedule=schedule, backend=onednn())
    engine.load_state_dict({**engine.state_dict(), **case.parameters})
    engine.backward(case.x.float(), case.y.float(), free_steps=6, nudged_steps=4, beta=0.2, tolerance=0)
    for parameter, weight in engine.named_parameters():
        assert weight.grad is not None
        assert apart(weight.grad.double(), expected[parameter]) <= 1e-4, parameter


def test_dilated_and_grouped_convolutions_are_left_as_they_are() -> None:
    """And no others: what has another shape alone is rewritten like any convolution."""

    def of_options(program: Program) -> int:
        nodes = (node for function in program.sweep for node in function.graph.nodes)
        return sum(bool({"dilation", "groups"} & set(node.kwargs)) for node in nodes)

    plan = plan_of(OPTIONS)
    plain = traced(plan, "free")
    assert of_options(plain) == 2 * 4  # four edges, both ways
    names = [name for name in NAMES if name not in ("fuse_updates", "hoist_prepared")]
    found = traced(plan, "free", *names, filtered=True)
    assert of_options(found) == of_options(plain)
    counted = operations(found)
    assert counted["conv2d"] + counted["conv_transpose2d"] == of_options(plain)


@pytest.mark.parametrize("seed", range(12))
def test_packed_weights_on_random_topologies(seed: int) -> None:
    """In float32, against the plain form in float64, without arg-maxes that rounding would move."""
    case = Case(random_architecture(random.Random(seed), pool_max=False, activations=["relu6", "tanh"]))
    expected = gradients(case, "coloring", backend="eager")
    engine = ep.compile(case.architecture, dtype=torch.float32, schedule="coloring", backend=onednn())
    engine.load_state_dict({**engine.state_dict(), **case.parameters})
    engine.backward(case.x.float(), case.y.float(), free_steps=6, nudged_steps=4, beta=0.2, tolerance=0)
    found = torch.cat([p.grad.double().flatten() for p in engine.parameters() if p.grad is not None])
    assert apart(found, torch.cat([gradient.flatten() for gradient in expected.values()])) <= 1e-4


def away_from_ties(exact: ep.Engine) -> torch.Tensor:
    """Draw two inputs, in float32, with no arg-max of max pooling at a near tie, as the float64 network has it.

    There rounding takes the states elsewhere, by 1e-3 and whatever the rewrites (about one image in twenty).
    """
    generator = torch.Generator().manual_seed(0)
    while True:
        x = torch.rand(2, *exact.graph.input.shape, generator=generator)
        moved = x.double() * (1 + 1e-5 * torch.randn(x.shape, dtype=torch.float64, generator=generator))
        before, after = (exact.relax(z, steps=4, tolerance=0).states for z in (x.double(), moved))
        if all(apart(after[name], state) <= 1e-4 for name, state in before.items()):
            return x


@pytest.mark.parametrize("file", ["examples/vgg5.yaml", "examples/hopfield_resnet13.yaml", "examples/digits.yaml"])
def test_packed_weights_give_the_same_states(file: str) -> None:
    """In float32, against the plain form in float64."""
    engine = ep.compile(file, backend="onednn", dtype=torch.float32)
    exact = ep.compile(file, backend="eager", dtype=torch.float64)
    exact.load_state_dict({k: v.double() for k, v in engine.state_dict().items()})
    x = away_from_ties(exact)
    y = torch.tensor([1, 2])
    estimate = engine.backward(x, y, free_steps=4, nudged_steps=2, tolerance=0)
    expected = exact.backward(x.double(), y, free_steps=4, nudged_steps=2, tolerance=0)
    for name, state in expected.free.states.items():
        assert apart(estimate.free.states[name].double(), state) <= 2e-6, name
    for (name, p), q in zip(engine.named_parameters(), exact.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert apart(p.grad.double(), q.grad) <= 1e-4, name


@pytest.mark.parametrize("rewrite", PASSES, ids=NAMES)
def test_rewrites_leave_what_they_are_given_alone(rewrite: Pass) -> None:
    machine = ProgramCache(plan_of("examples/vgg5.yaml"), torch.float32, cast=False, backend=PLAIN)
    for phase in ("free", "pair"):
        program = machine.program(phase).program  # type: ignore[arg-type]
        before = [source(f) for f in program.functions]
        rewrite.apply(program, machine.tracer)
        same = [source(f) for f in program.functions] == before
        assert same


@pytest.mark.parametrize("name", NAMES)
def test_every_rewrite_is_in_a_backend_and_changes_something(name: str) -> None:
    """Of two examples, in one of two precisions: what is built in later is tested here by itself."""
    using = [backend for backend in BUILT_IN if name in [one.name for one in backend.passes]]
    plans = [plan_of(f"examples/{file}.yaml") for file in ("vgg5", "hopfield_resnet13")]
    choices = product(using, plans, (torch.float32, torch.bfloat16))
    assert any(changed(name, *choice) for choice in choices)


def changed(name: str, backend: Backend, plan: Plan, dtype: torch.dtype) -> bool:
    """Whether a pass of a backend changes the program of a free sweep that the passes before it have made."""
    plain, machine = (ProgramCache(plan, dtype, cast=False, backend=one) for one in (PLAIN, backend))
    made = {
        stage: ([source(f) for f in program.functions], program.channels_last)
        for stage, program in stages(plain.program("free").program, machine.tracer, backend.passes)
    }
    before = list(made)[list(made).index(name) - 1]
    return made[name] != made[before]


def test_the_arg_max_is_found_once() -> None:
    """Two convolutions a pooled edge and sweep instead of three (docs/references.md, note 5)."""
    plan = plan_of("examples/vgg5.yaml")
    assert operations(traced(plan, "free"))["conv2d"] == 6  # three pooled edges between states, both directions
    reused = traced(plan, "free", "reuse_argmax")
    assert operations(reused)["conv2d"] == 3
    assert operations(reused)["conv_transpose2d"] == 3
    assert reused.warm
    # Updated together, neither state of an edge sees what the other saw.
    assert traced(plan_of("examples/vgg5.yaml", "synchronous"), "free", "reuse_argmax").warm == ()


@pytest.mark.parametrize("solver", ["plain", "error_sweeps"])
@pytest.mark.parametrize("phase", ["nudged", "pair"])
def test_the_arg_max_goes_back_with_the_next_sweep(phase: str, solver: str) -> None:
    """A state that has moved is convolved once: the sum above it gets the maxima, the next sweep their places."""
    plan = plan_of("examples/vgg5.yaml", "backward", ["energy=predictive", f"dynamics.solver={solver}"])
    assert operations(traced(plan, phase))["conv2d"] == 6
    reused = traced(plan, phase, "reuse_argmax")
    assert operations(reused)["conv2d"] == 3
    assert operations(reused)["conv_transpose2d"] == 3


def test_transposed_convolutions_become_convolutions() -> None:
    plan = plan_of("examples/hopfield_resnet13.yaml")
    plain = operations(traced(plan, "free"))
    flipped = operations(traced(plan, "free", "flip_transposed"))
    assert plain["conv_transpose2d"] - flipped["conv_transpose2d"] == 3  # 3×3 edges at stride 1 between states
    assert operations(traced(plan, "free", "flip_transposed", "split_strided"))["conv_transpose2d"] == 0


def test_convolutions_at_stride_1_need_a_quarter_of_the_products() -> None:
    for file, count in (("examples/hopfield_resnet13.yaml", 4), ("examples/vgg5.yaml", 6)):  # of two edges
        plain = operations(traced(plan_of(file), "free", "flip_transposed"))
        found = operations(traced(plan_of(file), "free", "flip_transposed", "winograd"))
        assert found["winograd"] == plain["conv2d"] - found["conv2d"] == count, file


def test_no_minimal_filtering_in_half_precision() -> None:
    engine = ep.compile("examples/vgg5.yaml", dtype=torch.bfloat16, backend=declared(*USED, "winograd"))
    assert operations(engine.machine.program("free").program)["winograd"] == 0


@pytest.mark.parametrize(
    ("batch", "given_", "wanted", "height", "width"), [(1, 3, 5, 4, 4), (5, 8, 2, 8, 12), (40, 4, 4, 8, 8)]
)
def test_minimal_filtering_is_the_convolution(batch: int, given_: int, wanted: int, height: int, width: int) -> None:
    """From a single tile to more than are taken at a time, in both memory layouts."""
    generator = torch.Generator().manual_seed(0)
    for layout in (torch.contiguous_format, torch.channels_last):
        s = torch.randn(batch, given_, height, width, dtype=torch.float64, generator=generator)
        weight = torch.randn(wanted, given_, 3, 3, dtype=torch.float64, generator=generator)
        expected = torch.conv2d(s, weight, padding=1)
        s = s.contiguous(memory_format=layout)
        kernels = winograd_kernels(weight)
        assert apart(winograd(s, kernels), expected) <= 1e-14
        summed = torch.randn_like(expected).contiguous(memory_format=layout)
        before = summed.clone()
        assert add_winograd_(summed, s, kernels) is summed
        assert apart(summed - before, expected) <= 1e-13


def test_sums_add_themselves_in_place() -> None:
    plan = plan_of("examples/hopfield_resnet13.yaml")
    fused = operations(traced(plan, "free", "channels_last", "flip_transposed", "pack_weights", "fuse_sums"))
    assert fused["_convolution_pointwise_"] > 10
    assert fused["_convolution_pointwise"] == 0
    planned = traced(
        plan, "free", "channels_last", "flip_transposed", "split_strided", "pack_weights", "fuse_sums", "plan_buffers"
    )
    assert operations(planned)["empty_like"] == 0
    # Under a proper coloring every sum is made where the new state goes: no working memory at all.
    assert (
        not ep.compile(plan.graph.architecture, schedule="coloring", backend="onednn")
        .machine.program("free")
        .program.scratch
    )


def test_states_that_move_together_do_not_overwrite_each_other() -> None:
    """Hopfield-ResNet13 under even/odd has three edges inside a class; in place must still mean 'at once'."""
    data = {**DENSENET, "edges": [*DENSENET["edges"], {"from": "b", "to": "c", "identity": {}}]}
    case = Case(data)
    for options in ({}, {"without": ["plan_buffers"]}):
        found = gradients(case, "synchronous", backend="channels_last", **options)
        for name, value in gradients(case, "synchronous", backend="eager").items():
            assert apart(found[name], value) <= 1e-9, name


def test_backends_are_refused_by_name() -> None:
    with pytest.raises(ep.EpgraphError, match="did you mean 'onednn'"):
        ep.compile("examples/digits.yaml", backend="onednnn")
    with pytest.raises(ep.EpgraphError, match="packs float32, not float64"):
        ep.compile("examples/digits.yaml", backend="onednn", dtype=torch.float64)
    # A pass brings what it needs with it.
    for added, reason in (("fuse_updates", "not on cpu|not installed"), ("pack_weights", "packs float32")):
        name = declared(*USED, added)
        with pytest.raises(ep.EpgraphError, match=f"'{name}' cannot be used: .*({reason})"):
            ep.compile("examples/digits.yaml", backend=name, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_inductor_agrees_with_the_eager_backend() -> None:
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    made = []
    for backend in ("eager", "inductor"):
        engine = ep.compile("examples/digits.yaml", backend=backend)
        made.append(engine.backward(x, y, free_steps=5, nudged_steps=3))
    eager, inductor = made
    for name, state in eager.nudged[0].states.items():
        assert apart(inductor.nudged[0].states[name], state) <= 1e-5, name
