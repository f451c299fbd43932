"""Keys without an effect: each is warned of where it was written, and what is said of it is true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.estimators import ESTIMATORS
from epgraph.graph import inspect
from epgraph.graph.checks.idle import ALWAYS, READERS
from epgraph.kinds import KINDS, Conv, ConvTranspose, Memory, Skip
from epgraph.kinds.kind import EdgeKind, Shape
from epgraph.language import to_yaml
from epgraph.language.model import (
    BiasSpec,
    DefaultsSpec,
    DynamicsSpec,
    EdgeBase,
    InitSpec,
    LearningSpec,
    OutputSpec,
    StateSpec,
    TrainingSpec,
)
from tests.helpers.registries import kept_registries

NET = """\
epgraph: 2
input:  {shape: [1, 6, 6]}
output: {classes: 3}
states:
  a: {channels: 2, activation: tanh}
  b: {channels: 2, activation: tanh}
edges:
  - {from: x, to: a, conv: {kernel: 3, padding: 1}}
  - {from: a, to: b, conv: {kernel: 3, padding: 1}}
  - {from: b, to: y, dense: {}}
dynamics: {schedule: coloring}
"""


def warned(text: str, *overrides: str) -> list[str]:
    """Keys that are said to have no effect, and why."""
    _, found = inspect(text, overrides)
    assert all(d.severity == "warning" for d in found), found
    return [f"{d.message}; {d.hint}" for d in found if d.rule == "no-effect"]


def keys(text: str, *overrides: str) -> list[str]:
    return [message.partition("'")[2].partition("'")[0] for message in warned(text, *overrides)]


MODELS = {
    "dynamics": DynamicsSpec,
    "learning": LearningSpec,
    "training": TrainingSpec,
    "init": InitSpec,
    "defaults": DefaultsSpec,
    "output": OutputSpec,
    "state": StateSpec,
    "bias": BiasSpec,
    "default bias": BiasSpec,
    "edge": EdgeBase,
}


def test_every_key_is_declared() -> None:
    """A new key has to say what reads it, or that it is always read."""
    assert READERS.keys() == ALWAYS.keys() == MODELS.keys()
    for name, model in MODELS.items():
        assert not READERS[name].keys() & ALWAYS[name], name
        assert READERS[name].keys() | ALWAYS[name] == model.model_fields.keys(), name
    for name, estimator in ESTIMATORS.items():
        assert estimator.reads <= READERS["learning"].keys() | READERS["dynamics"].keys(), name


CHANGES: dict[str, tuple[str, object]] = {
    "beta": ("learning", 0.3),
    "points": ("learning", 6),
    "continual_rate": ("learning", 0.5),
    "truncation": ("learning", 1),
    "solver_tolerance": ("learning", 0.9),
    "solver_steps": ("learning", 1),
    "nudged_steps": ("dynamics", 4),
    "output_step": ("dynamics", "closed_form"),
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_read_what_they_declare(estimator: str) -> None:
    """The gradient changes with a key that is declared, and to the bit not with one that is not."""
    x, y = torch.rand(2, 1, 6, 6, dtype=torch.float64), torch.tensor([0, 2])

    def gradient(**changes: Any) -> list[torch.Tensor]:
        data: dict[str, Any] = ep.load(NET).to_dict()
        data["learning"] = {"estimator": estimator, "beta": 0.2}
        data["dynamics"] |= {"free_steps": 5, "nudged_steps": 3}
        for key, value in changes.items():
            data[CHANGES[key][0]][key] = value
        engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
        torch.manual_seed(0)
        engine.backward(x, y)
        return [p.grad for p in engine.parameters() if p.grad is not None]

    plain = gradient()
    changed = set()
    for key, (_, value) in CHANGES.items():
        found = gradient(**{key: value})
        if not all(torch.equal(g, h) for g, h in zip(plain, found, strict=True)):
            changed.add(key)
    assert changed == ESTIMATORS[estimator].reads


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_an_estimator_does_not_read_is_warned_of(estimator: str) -> None:
    overrides = [f"{section}.{key}={value}" for key, (section, value) in CHANGES.items()]
    expected = CHANGES.keys() - ESTIMATORS[estimator].reads | ({"nudged_steps"} if estimator == "truncated" else set())
    # Of two keys of 'truncated' the one takes the place of the other.
    if ESTIMATORS[estimator].feedforward:
        expected |= {"schedule"}  # of the file itself
    assert set(keys(NET, f"learning.estimator={estimator}", *overrides)) == expected


CASES: list[tuple[dict[str, str], str]] = [
    ({"learning.points": "8"}, "'points' has no effect: estimator centered does not use it; leave it out, or use "
     "estimator: holomorphic"),
    ({"learning.estimator": "implicit", "learning.truncation": "5"}, "'truncation' has no effect: estimator implicit "
     "does not use it; leave it out, or use estimator: truncated"),
    ({"learning.estimator": "implicit", "learning.beta": "0.2"}, "'beta' has no effect: estimator implicit does not "
     "use it; leave it out"),
    ({"dynamics.damping": "1.5"}, "'damping' has no effect: no state has an edge that needs damping, as 'self' does; "
     "leave it out"),
    ({"dynamics.damping": "null"}, "'damping' has no effect: no state has an edge that needs damping, as 'self' does; "
     "leave it out"),
    ({"init.norm": "0.8"}, "'norm' has no effect: init.rule published does not use it; leave it out, or use rule: "
     "graph_aware"),
    ({"edges.1": "{from: a, to: b, identity: {}, gain: 0.3}"}, "'gain' of edge 'a_b' has no effect: "
     "identity has no weight; leave it out"),
    ({"edges.1.frozen": "true", "edges.1.learning_rate": "0.1"}, "'learning_rate' of edge 'a_b' has no effect: its "
     "weight is frozen; leave it out"),
    ({"states.a.bias": "false", "states.a.learning_rate": "0.1"}, "'learning_rate' of state 'a' has no effect: it has "
     "no bias; leave it out"),
    ({"output.bias": "false", "output.learning_rate": "0.1"}, "'learning_rate' of output 'y' has no effect: it has no "
     "bias; leave it out"),
    ({"states.a.bias": "{gain: 0, fan_in: 4}"}, "'fan_in' of the bias of state 'a' has no effect: its gain is 0; leave "
     "it out"),
    ({"init": "graph_aware", "states.a.bias": "{gain: 0.4}"}, "'gain' of the bias of state 'a' has no effect: init: "
     "graph_aware sets the biases; leave it out"),
    ({"init": "graph_aware", "defaults.bias": "{gain: 0.4}"}, "'gain' of the bias has no effect: init: graph_aware "
     "sets the biases; leave it out"),
    ({"init": "graph_aware", "edges.0.gain": "0.7"}, "'gain' of edge 'x_a' has no effect: init: graph_aware scales the "
     "edges of the input by the signal that they carry; leave it out"),
    ({"defaults.activation": "relu1"}, "'activation' has no effect: no hidden state takes it from the defaults; leave "
     "it out"),
    ({f"edges.{i}.gain": "0.4" for i in range(3)} | {"defaults.gain": "0.7"}, "'gain' has no effect: no edge with a "
     "weight takes it from the defaults; leave it out"),
    ({f"states.{n}.bias": "true" for n in "ab"} | {"defaults.bias": "false"}, "'bias' has no effect: no hidden state "
     "takes it from the defaults; leave it out"),
    ({f"edges.{i}.learning_rate": "0.1" for i in range(3)} | {f"states.{n}.learning_rate": "0.1" for n in "ab"}
     | {"output.bias": "false", "training.learning_rate": "0.2"}, "'learning_rate' has no effect: every parameter has "
     "its own learning_rate; leave it out"),
    ({"edges.1.conv": "{kernel: 1, dilation: 2}"}, "'dilation' of edge 'a_b' has no effect: the kernel has one pixel; "
     "leave it out"),
    ({"states.a.activation": "identity", "states.b.activation": "identity", "learning.feedback": "untied",
      "edges": "[{from: x, to: a, conv: {kernel: 3, padding: 1}}, {from: a, to: b, identity: {}}, "
      "{from: x, to: y, dense: {}}, {from: b, to: y, pool: {kind: average}}]", "output": "{shape: [2, 3, 3]}"},
     "'feedback' has no effect: no edge with a weight joins two states that move; leave it out"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        ([], False),  # tanh, and a linear output
        (["states.a.activation=relu6"], True),
        (["states.a.activation=relu6", "dynamics.solver=error_sweeps"], False),
        (["states.a.activation=relu6", "learning.estimator=backprop"], False),
    ],
)
def test_the_update_of_predictive_coding_is_read_where_its_two_forms_differ(changes: list[str], read: bool) -> None:
    """What is said to have no effect gives the same gradient to the bit."""
    net = [NET, "energy=predictive", *changes]
    assert ("update" in keys(*net, "dynamics.update=pgd")) is not read
    gradients = []
    for update in ("mod_pgd", "pgd"):
        engine = ep.compile(ep.load(NET, [*net[1:], f"dynamics.update={update}"]), dtype=torch.float64, seed=1)
        x = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        engine.backward(x, torch.tensor([0, 1, 2, 0]))
        gradients.append(torch.cat([p.grad.flatten() for p in engine.parameters() if p.grad is not None]))
    assert torch.equal(*gradients) is not read


@pytest.mark.parametrize(("changes", "message"), CASES)
def test_message(changes: dict[str, str], message: str) -> None:
    assert warned(NET, *(f"{key}={value}" for key, value in changes.items())) == [message]


READ: list[dict[str, str]] = [
    {"learning.estimator": "holomorphic", "learning.points": "8"},
    {"learning.estimator": "truncated", "learning.truncation": "5"},
    {"edges.1.gain": "0.3", "edges.1.learning_rate": "0.1", "edges.1.frozen": "false"},
    {"states.a.learning_rate": "0.1", "states.a.bias": "{gain: 0.1, fan_in: 4}"},
    {"init": "graph_aware", "init.norm": "0.9"},
    {"init": "graph_aware", "edges.1.gain": "0.7"},
    {"defaults.gain": "0.7", "defaults.bias": "{gain: 0.2, fan_in: 9}"},
    {"learning.feedback": "tied", "dynamics.anderson": "0", "dynamics.noise": "0", "dynamics.state_bits": "0"},
    {"dynamics.state_bits": "8", "dynamics.weight_bits": "8"},
    {"training.nesterov": "false", "training.momentum": "0", "training.clip_norm": "null"},
    {"output.cost": "softmax_readout", "init": "graph_aware", "output.bias": "{gain: 0.2}", "edges.2.gain": "0.3"},
    {"states.a.bias": "false", "states.a.activation": "{relu: 2, learn: true}", "states.a.learning_rate": "0.1"},
]


@pytest.mark.parametrize("changes", READ)
def test_what_is_read_is_not_warned_of(changes: dict[str, str]) -> None:
    if "init.norm" in changes:
        changes = {"init": "{rule: graph_aware, norm: 0.9}"}
    assert warned(NET, *(f"{key}={value}" for key, value in changes.items())) == []


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({}, "edges.0.gain", "0.9"),
        ({}, "edges.1.gain", "0.9"),
        ({}, "edges.2.gain", "0.9"),
        ({}, "states.a.bias", "{gain: 0.9}"),
        ({}, "defaults.bias", "{gain: 0.9}"),
        ({}, "states.a.bias", "{fan_in: 2}"),
        ({"output.cost": "softmax_readout"}, "edges.2.gain", "0.9"),
        ({"output.cost": "softmax_readout"}, "output.bias", "{gain: 0.9}"),
        ({"edges.1": "{from: a, to: b, conv: {kernel: 3, padding: 1}, tie: x_a}", "input.shape": "[2, 6, 6]"},
         "edges.0.gain", "0.9"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rule", ["published", "graph_aware"])
def test_what_is_said_of_initial_values_is_true(rule: str, changes: dict[str, str], key: str, value: str) -> None:
    """Drawn with the key and without: the parameters differ if, and only if, nothing is warned of."""
    base = [f"init={rule}", *(f"{k}={v}" for k, v in changes.items())]

    def drawn(*overrides: str) -> dict[str, torch.Tensor]:
        return ep.compile(ep.load(NET, overrides), dtype=torch.float64).state_dict()

    before, after = drawn(*base), drawn(*base, f"{key}={value}")
    same = all(torch.allclose(after[name], before[name], rtol=1e-5, atol=1e-7) for name in before)
    assert same == bool(warned(NET, *base, f"{key}={value}"))


KERNELS: list[tuple[EdgeKind, EdgeKind, Shape, Shape]] = [
    (Conv(kernel=1, dilation=3), Conv(kernel=1), (2, 5, 5), (3, 5, 5)),
    (Conv(kernel=(1, 3), dilation=(2, 1)), Conv(kernel=(1, 3)), (2, 5, 5), (3, 5, 3)),
    (Conv(kernel=5, stride=2), Conv(kernel=5), (2, 5, 5), (3, 1, 1)),
    (Conv(kernel=(5, 1), stride=(3, 1)), Conv(kernel=(5, 1)), (2, 5, 5), (3, 1, 5)),
    (Skip(stride=2), Skip(), (2, 1, 1), (3, 1, 1)),
    (ConvTranspose(kernel=4, stride=2), ConvTranspose(kernel=4), (2, 1, 1), (3, 4, 4)),
    (ConvTranspose(kernel=1, dilation=2), ConvTranspose(kernel=1), (2, 3, 3), (3, 3, 3)),
    (Memory(patterns=4, per_pixel=True), Memory(patterns=4), (3, 1, 1), (3, 1, 1)),
    (Memory(patterns=1, sharpness=5.0), Memory(patterns=1), (3, 2, 2), (3, 2, 2)),
]


@pytest.mark.parametrize(("kind", "plain", "source", "target"), KERNELS, ids=[kind.label() for kind, *_ in KERNELS])
def test_options_of_kinds_without_effect(kind: EdgeKind, plain: EdgeKind, source: Shape, target: Shape) -> None:
    (option,) = kind.idle(source, target)
    assert getattr(kind, option) != getattr(plain, option)
    assert kind.model_copy(update={option: getattr(plain, option)}) == plain
    kind.check(source, target)
    plain.check(source, target)
    shape = kind.weight_shape(source, target)
    assert shape == plain.weight_shape(source, target)
    assert shape is not None
    weight, s = torch.rand(shape), torch.rand(2, *source)
    torch.testing.assert_close(kind.forward(weight, s, target), plain.forward(weight, s, target))


@pytest.mark.parametrize(
    ("kind", "source", "target"),
    [
        (Conv(kernel=3, dilation=2), (2, 8, 8), (2, 4, 4)),
        (Conv(kernel=(1, 3), dilation=2), (2, 8, 8), (2, 8, 4)),
        (Conv(kernel=4, stride=2), (2, 5, 5), (2, 1, 1)),  # at stride 1 there are two positions
        (ConvTranspose(kernel=4, stride=2, output_padding=1), (2, 1, 1), (2, 5, 5)),
        (Memory(patterns=2, sharpness=5.0), (3, 2, 2), (3, 2, 2)),
        (Memory(patterns=2, per_pixel=True), (3, 2, 2), (3, 2, 2)),
    ],
)
def test_options_of_kinds_with_an_effect(kind: EdgeKind, source: Shape, target: Shape) -> None:
    kind.check(source, target)
    assert kind.idle(source, target) == {}


def test_a_kind_has_nothing_idle_by_default() -> None:
    for kind in KINDS.values():
        required = {name: (f.examples or [None])[0] for name, f in kind.model_fields.items() if f.is_required()}
        assert kind.model_validate(required).idle((4, 8, 8), (4, 8, 8)) == {}


def test_where_nothing_moves() -> None:
    """Logistic regression: the output is read off the input, and no sweep changes anything."""
    text = "epgraph: 2\ninput: {shape: [4]}\noutput: {classes: 3, cost: softmax_readout}\n"
    text += "edges: [{from: x, to: y, dense: {}}]\n"
    said = warned(text, "dynamics={free_steps: 3, noise: 0.1, schedule: coloring}", "learning.beta=0.2")
    reason = (
        "has no effect: no state moves: with softmax_readout the output 'y' is a readout of the input; leave it out"
    )
    assert said == [f"'{key}' {reason}" for key in ("schedule", "free_steps", "noise", "beta")]
    one = "epgraph: 2\ninput: {shape: [4]}\noutput: {classes: 3}\nedges: [{from: x, to: y, dense: {}}]\n"
    assert keys(one, "dynamics={schedule: coloring, state_bits: 4, free_steps: 3}") == ["schedule", "state_bits"]


BLOCK = """\
epgraph: 2
input: {shape: [4]}
output: {classes: 2}
defaults: {conv: {dilation: 2}, gain: 0.7}
blocks:
  layer:
    defaults: {learning_rate: 0.1}
    states: {s: {shape: [4, 1, 1], bias: false, learning_rate: 0.2}}
    edges: [{from: in, to: s, dense: {}, gain: 0.3}]
states: {h: {block: layer, from: x, repeat: 2}, t: {channels: 2}}
edges:
  - {from: h2, to: t, conv: {kernel: 1}}
  - {from: t, to: y, dense: {}}
"""


def test_blocks_and_defaults() -> None:
    """Once for all instances of a block; not at each place that takes what 'defaults' say."""
    text = BLOCK.replace("    defaults: {learning_rate: 0.1}\n", "")
    assert warned(text) == ["'learning_rate' of state 'h1_s' has no effect: it has no bias; leave it out"]
    (found,) = (d for d in inspect(text)[1] if d.rule == "no-effect")
    assert (found.line, found.trail[-1]) == (7, "and 1 more instance")


def test_a_key_that_one_of_several_instances_reads() -> None:
    """The gain of an edge out of the input has no effect under graph_aware, and that of the next instance has."""
    text = """\
epgraph: 2
input: {shape: [4]}
output: {classes: 2}
init: graph_aware
blocks:
  layer: {states: {s: {shape: [4]}}, edges: [{from: in, to: s, dense: {}, gain: 0.3}]}
states: {h: {block: layer, from: x, repeat: N}}
edges: [{from: h, to: y, dense: {}}]
"""
    assert keys(text.replace("N", "1")) == ["gain"]
    assert keys(text.replace("N", "2")) == []
    # The same of an entry that makes several edges.
    row = text.replace("N", "1").replace("[{from: h,", "[{from: [x, h], gain: 0.4,").replace(", gain: 0.3", "")
    assert keys(row) == []


def test_files_that_hold_every_setting() -> None:
    """What a program writes down is not what somebody meant; what is not the default is still said."""
    architecture = ep.load(NET, ["learning.points=8"])

    def given(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: given(entry) for key, entry in value.items() if entry is not None}
        return [given(entry) for entry in value] if isinstance(value, list) else value

    assert keys(json.dumps(given(architecture.model_dump(mode="json", by_alias=True)))) == ["points"]
    assert keys(to_yaml(architecture)) == ["points"]


def test_check_points_at_the_key_and_set_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(NET + "learning: {points: 8}\n", encoding="utf-8")
    assert run(["check", str(path), "--set", "dynamics.damping=1.2"]) == 0
    err = capsys.readouterr().err
    assert f"{path}:12:20: 'points' has no effect" in err
    assert re.search(r"--set dynamics\.damping=1\.2: 'damping' has no effect", err)


@pytest.mark.parametrize("key", ["solver: anderson", "anderson: 5", "solver: {anderson: {memory: 3}}"])
def test_a_solver_that_mixes_states_has_no_effect_where_every_sweep_is_a_phase(key: str) -> None:
    text = NET.replace("schedule: coloring", f"schedule: coloring, {key}")
    assert warned(text) == []
    assert warned(text, "learning.estimator=continual") == [
        f"'{key.split(':')[0]}' has no effect in nudged phases: with estimator continual every nudged sweep is a phase "
        "of its own; leave it out, or use estimator: positive"
    ]
    plain = NET.replace("schedule: coloring", "schedule: coloring, solver: {over_relaxed: 0.5}")
    assert warned(plain, "learning.estimator=continual") == []


class Counting(ep.Solver):
    """Counts how often it may propose states."""

    calls: ClassVar[list[int]] = []

    def step(self, memory: Any, before: torch.Tensor, after: torch.Tensor) -> tuple[Any, None]:
        self.calls.append(len(after))
        return None, None


MIXED = [
    name
    for name, rule in ESTIMATORS.items()
    if "nudged_steps" in rule.reads and not rule.complex_states and not rule.differentiates
]


@pytest.mark.parametrize("name", MIXED)
def test_the_trait_single_sweeps_is_true_of_every_estimator(name: str) -> None:
    """A free phase of one sweep has nothing between two sweeps, so all calls are those of nudged phases."""
    with kept_registries():
        ep.register_solver("counting", Counting)
        engine = ep.compile(ep.load(NET, ["dynamics.solver=counting"]))
        Counting.calls.clear()
        x, y = torch.rand(2, 1, 6, 6), torch.tensor([0, 1])
        engine.backward(x, y, estimator=name, free_steps=1, nudged_steps=4)  # type: ignore[arg-type]
    assert (not Counting.calls) == ESTIMATORS[name].single_sweeps
