"""Activations and costs of the user's own: one class each, checked as the built-in ones are, and used everywhere."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from torch import Tensor

import epgraph as ep
from epgraph import plugins
from epgraph.activations import NAMED, Activation, activation_schema, activation_to_yaml, parse_activation
from epgraph.activations.relu import ReLU
from epgraph.activations.sigmoid import Tanh
from epgraph.cli import run
from epgraph.costs import COSTS
from epgraph.graph import make_schedule
from epgraph.language import json_schema
from epgraph.testing.oracle import Reference
from tests.helpers.activations import WITHOUT_LEVEL
from tests.helpers.emitted import check
from tests.helpers.networks import RING, batch
from tests.helpers.qualified import error
from tests.helpers.registries import kept_registries

BUILT_IN = [*((a, 1.0) for a in WITHOUT_LEVEL), (ReLU(6, 6), 6.0), (ReLU(1, 9, learn=True), 2.5)]


class Arctan(ep.Activation):
    """σ(x) = (2/π) arctan(πx/2): three methods, as the documentation asks for."""

    @property
    def label(self) -> str:
        return "arctan"

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return (math.pi / 2 * x).atan() * (2 / math.pi)

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return -((2 / math.pi) ** 2) * (math.pi / 2 * s).cos().log()


class HardTanh(ep.Activation):
    """σ(x) = x clipped to [−1, 1]: a projection, and so treated as ReLUα is."""

    label = "hard_tanh"
    smooth = False
    projects = True
    steepest = 1.0

    def bounds(self, alpha: float | Tensor) -> tuple[float, float]:
        return -1.0, 1.0

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return x.clamp_(-1.0, 1.0)

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return 0.5 * s * s

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        size = q.abs()
        odd = torch.minimum((1 - p.abs() + size) * 0.5, size).clamp(0.0, 1.0)
        return ((p + q).clamp(-1.0, 1.0) + (p - q).clamp(-1.0, 1.0)) * 0.5, odd.copysign(q)


class Quartic(ep.Cost):
    """C = ¼ Σ (s − y)⁴."""

    def value(self, s: Tensor, y: Tensor) -> Tensor:
        return 0.25 * (s - y).pow(4).flatten(1).sum(1)

    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        return (s - y).pow(3)


# --- the checks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("activation", "alpha"), BUILT_IN, ids=[a.label for a, _ in BUILT_IN])
def test_built_in_activations_are_what_they_say(activation: Activation, alpha: float) -> None:
    remarks = ep.verify_activation(activation, alpha)
    assert [r for r in remarks if "digits" in r] == []


@pytest.mark.parametrize("name", list(COSTS))
def test_built_in_costs_are_what_they_say(name: str) -> None:
    ep.verify_cost(COSTS[name])


def test_own_ones_are_what_they_say() -> None:
    remarks = ep.verify_activation(Arctan())
    assert [r for r in remarks if "without a 'pair' of its own" in r]
    ep.verify_cost(Quartic())


def test_a_box_activation_of_the_users_own_is_treated_as_relu() -> None:
    """Over-relaxation, Anderson mixing and exact pairs need the traits, not the class."""
    assert ep.verify_activation(HardTanh()) == [], "gradient flow of a projection needs no inverse"
    ep.register_activation("hard_tanh", HardTanh())
    x, y = batch()
    rest = {}
    for name, dynamics in {"plain": {}, "over": {"over_relaxation": 1.5}, "mixed": {"anderson": 4}}.items():
        data = {**RING, "defaults": {"activation": "hard_tanh"}, "dynamics": {"schedule": "coloring", **dynamics}}
        engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
        relaxation = engine.relax(3 * x, steps=500, tolerance=1e-12, record=True)
        rest[name] = relaxation.states
        energies = torch.stack([sweep.energy for sweep in relaxation.trajectory])
        assert (energies.diff(dim=0) <= 1e-9 * energies.abs().max()).all(), name
        assert relaxation.states["a"].abs().max() == 1
    for name, states in rest.items():
        torch.testing.assert_close(states, rest["plain"], rtol=0, atol=1e-9, msg=name)
    estimate = engine.backward(3 * x, y, beta=1e-4, free_steps=500, nudged_steps=500)
    oracle = Reference(engine.graph, engine.state_dict())
    exact = oracle.implicit_gradient(3 * x, torch.nn.functional.one_hot(y, 3).double(), estimate.free.states)
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None
        assert error(parameter.grad, exact[name]) <= 1e-6, name


class Falling(Arctan):
    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return -super().apply_(x, alpha)


class WrongEnergy(Arctan):
    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return 0.5 * s * s


class WrongPair(Arctan):
    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        return self.apply_(p, alpha), self.apply_(q, alpha)


class Rough(Arctan):
    """A pair that is right, and written down as a difference."""

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        plus, minus = self.apply_(p + q, alpha), self.apply_(p - q, alpha)
        return 0.5 * (plus + minus), 0.5 * (plus - minus)


class Kinked(ReLU):
    @property
    def smooth(self) -> bool:
        return True


class NotHolomorphic(Arctan):
    """|x| is not."""

    @property
    def holomorphic(self) -> bool:
        return True

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return x / (1 + x.abs())

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return -s.abs() - (1 - s.abs()).log()


class WrongSlope(Tanh):
    def derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return 2 * super().derivative(x, alpha)


class WrongSlopeOffTheAxis(Tanh):
    def holomorphic_derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return self.derivative(x.real, alpha)


class RealSlope(Tanh):
    def holomorphic_derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return x.clamp(-40, 40).cosh().pow(-2)


class WrongInverse(Tanh):
    def inverse(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return s.clone()


class Branching(Arctan):
    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return super().apply_(x, alpha) if x.sum() > 0 else super().apply_(x.clone(), alpha)


class NoProjection(HardTanh):
    def bounds(self, alpha: float | Tensor) -> tuple[float, float]:
        return -2.0, 2.0


class NoBox(Tanh):
    projects = True  # type: ignore[assignment]


class WrongLevel(ReLU):
    def excess_contrast(self, p: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
        return q


class NoRange(ReLU):
    @property
    def alpha_range(self) -> tuple[float, float]:
        return 0.0, 0.0


class Unbounded(Tanh):
    def bounds(self, alpha: float | Tensor) -> tuple[float, float]:
        return 0.0, 1.0


class Overflowing(Tanh):
    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return x * (1 + x * x).rsqrt()

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return 1 - (1 - s * s).clamp(min=0).sqrt()


class InfiniteInverse(Tanh):
    def inverse(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return s.atanh()


class BranchingInverse(Tanh):
    def inverse(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        eps = torch.finfo(s.dtype).eps
        return s.clamp(-1 + eps, 1 - eps).atanh()


class WrongInversePair(Tanh):
    def inverse_pair(self, c: Tensor, o: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        return self.inverse(c, alpha), o / (1 - c * c)


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (Overflowing(), "σ(-1e+30) is -0 in float32 and -1 in float64"),
        (InfiniteInverse(), "inverse is not finite at the ends of the range of σ"),
        (BranchingInverse(), "inverse cannot be recorded by torch.fx: TypeError"),
        (WrongInversePair(), "inverse_pair is not σ⁻¹ of both states: off by"),
        (Falling(), "σ falls near x = "),
        (WrongEnergy(), "G′ is not σ⁻¹: at s = "),
        (WrongPair(), "pair is not σ(p ± q): off by"),
        (Rough(), "pair loses the odd part in float32"),
        (Kinked(1, 1), "σ has a kink, and 'smooth' must be False"),
        (NotHolomorphic(), "the derivatives along both axes differ"),
        (WrongSlope(), "derivative is not that of σ: off by"),
        (WrongSlopeOffTheAxis(), "holomorphic_derivative is not that of σ off the real axis: off by"),
        (RealSlope(), "'holomorphic' is claimed, and holomorphic_derivative does not take complex tensors: clamp"),
        (WrongInverse(), "inverse is not σ⁻¹"),
        (Branching(), "apply_ cannot be recorded by torch.fx: TraceError"),
        (NoProjection(), "'projects' is claimed, and σ is not the projection on [-2, 2]"),
        (NoBox(), "'projects' is claimed, and G is not ½s²"),
        (WrongLevel(1, 1, learn=True), "excess_contrast is not what α learns from: off by"),
        (NoRange(1, 2), "'stored' is claimed, and 'alpha_range' does not say where α is drawn from"),
        (Unbounded(), "σ runs from -1 to 1, beyond its bounds (0.0, 1.0)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_check_can_fail(activation: Activation, message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        ep.verify_activation(activation)


class WrongGradient(Quartic):
    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        return s - y


class WrongCostPair(Quartic):
    def gradient_pair(self, c: Tensor, o: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.gradient(c, y), o


class NotQuadratic(Quartic):
    quadratic = True


class NotLeast(Quartic):
    least_at_target = True

    def value(self, s: Tensor, y: Tensor) -> Tensor:
        return super().value(s, 2 * y)

    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        return super().gradient(s, 2 * y)


class Curved(Quartic):
    curvature = 1.0


class Summed(Quartic):
    def value(self, s: Tensor, y: Tensor) -> Tensor:
        return super().value(s, y).sum()


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (WrongGradient(), "gradient is not the derivative of value"),
        (WrongCostPair(), "gradient_pair is not the gradient at c + o"),
        (NotQuadratic(), "'quadratic' is claimed, and value is not ½‖s − y‖²"),
        (NotLeast(), "'least_at_target' is claimed, and at s = y the gradient is not 0"),
        (Curved(), "'curvature' is at most 1, found"),
        (Summed(), "value gives the shape () on two examples, and should give (2,)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_check_of_a_cost_can_fail(cost: ep.Cost, message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        ep.verify_cost(cost)


# --- use ----------------------------------------------------------------------------------------------------


def own_ring(**dynamics: Any) -> dict[str, Any]:
    ep.register_activation("arctan", Arctan())
    ep.register_cost("quartic", Quartic())
    return {
        **RING,
        "output": {"name": "y", "classes": 3, "cost": "quartic"},
        "defaults": {"activation": "arctan", "gain": 0.4},
        "edges": [{k: v for k, v in edge.items() if k != "gain"} for edge in RING["edges"]],
        "dynamics": {"schedule": "coloring", **dynamics},
    }


def test_own_ones_learn_as_the_oracle_says(tmp_path: Path) -> None:
    architecture = ep.Architecture.model_validate(own_ring())
    assert ep.Architecture.model_validate(architecture.to_dict()) == architecture
    engine = ep.compile(architecture, dtype=torch.float64)
    x, y = batch()
    estimate = engine.backward(x, y, beta=2e-4, free_steps=300, nudged_steps=300)
    oracle = Reference(engine.graph, engine.state_dict())
    exact = oracle.implicit_gradient(x, torch.nn.functional.one_hot(y, 3).double(), estimate.free.states)
    found = {name: p.grad.clone() for name, p in engine.named_parameters() if p.grad is not None}
    assert found.keys() == exact.keys()
    for name, gradient in found.items():
        assert error(gradient, exact[name]) <= 1e-6, name
    classes = make_schedule(engine.graph, "coloring").classes
    states = oracle.relax(x, classes, 300)
    torch.testing.assert_close(engine.energy(x, estimate.free.states), oracle.energy(x, states))
    engine.zero_grad()
    check(engine, tmp_path, x, y, free_steps=4, nudged_steps=3)


def test_flow_names_the_state_that_has_no_inverse() -> None:
    with pytest.raises(ep.EpgraphError, match="needs σ⁻¹, which the activation arctan of state 'a' does not have"):
        ep.compile(ep.Architecture.model_validate(own_ring(flow=0.1)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tanh", Arctan(), "'tanh' cannot be registered: it is built in"),
        ("relu3.5", Arctan(), "'relu3.5' cannot be registered: it is not a name"),
        ("relu3", Arctan(), "'relu3' cannot be registered: it is built in"),
        ("my sigma", Arctan(), "'my sigma' cannot be registered: it is not a name"),
        (
            "mine",
            Arctan,
            "'mine' cannot be registered: expected an activation, found the class Arctan; pass Arctan()",
        ),
        ("mine", Quartic(), "'mine' cannot be registered: expected an activation, found a Quartic"),
    ],
)
def test_what_cannot_be_registered(name: str, value: Any, message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        ep.register_activation(name, value)


PLUGIN = """\
import math
import epgraph as ep

class Arctan(ep.Activation):
    label = "arctan"
    def apply_(self, x, alpha):
        return (math.pi / 2 * x).atan() * (2 / math.pi)
    def self_energy(self, s, alpha):
        return -((2 / math.pi) ** 2) * (math.pi / 2 * s).cos().log()

class Quartic(ep.Cost):
    def value(self, s, y):
        return 0.25 * (s - y).pow(4).flatten(1).sum(1)
    def gradient(self, s, y):
        return (s - y).pow(3)

ep.register_activation("arctan", Arctan())
ep.register_cost("quartic", Quartic())
"""


def test_plugins_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PLUGIN, encoding="utf-8")
    data = {
        "epgraph": 2,
        "input": {"shape": [1, 8, 8]},
        "output": {"classes": 10, "cost": "quartic"},
        "states": {"h": {"shape": [16], "activation": "arctan"}},
        "edges": [{"from": "x", "to": "h", "dense": {}}, {"from": "h", "to": "y", "dense": {}}],
        "dynamics": {"free_steps": 5, "nudged_steps": 5},
        "training": {"epochs": 1},
    }
    Path("net.yaml").write_text(json.dumps(data), encoding="utf-8")
    assert run(["check", "net.yaml"]) == 1
    assert "unknown activation 'arctan'" in capsys.readouterr().err
    assert run(["check", "net.yaml", "--plugin", "mine.py"]) == 0
    assert run(["compile", "net.yaml", "--plugin", "mine.py", "-o", "engine.py"]) == 0
    assert run(["train", "net.yaml", "--data", "digits", "--limit", "64", "--out", "run", "--plugin", "mine.py"]) == 0
    assert run(["eval", "run", "--data", "digits", "--plugin", "mine.py"]) == 0
    for table, name in ((NAMED, "arctan"), (COSTS, "quartic")):
        table.pop(name)  # type: ignore[attr-defined]
    capsys.readouterr()
    assert run(["eval", "run", "--data", "digits"]) == 1
    said = capsys.readouterr().err
    assert "the checkpoint: unknown activation 'arctan'; give the plugin that it was trained with" in said
    Path("broken.py").write_text("1 / 0", encoding="utf-8")
    assert run(["check", "net.yaml", "--plugin", "broken.py"]) == 1
    assert "plugin broken.py cannot be run: ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert run(["check", "net.yaml", "--plugin", "absent.py"]) == 1
    assert "plugin absent.py cannot be run: No such file or directory" in capsys.readouterr().err


def test_installed_packages_bring_theirs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [EntryPoint("mine", "tests.activations.test_own:bring", plugins.GROUP)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    plugins.load_installed()
    assert isinstance(NAMED["brought"], Arctan)
    entries[0] = EntryPoint("absent", "tests.activations.test_own:absent", plugins.GROUP)
    assert run(["schema"]) == 1
    assert (
        "plugin 'absent' (tests.activations.test_own:absent) cannot be loaded: AttributeError"
        in capsys.readouterr().err
    )


def bring() -> None:
    """What an entry point may name."""
    ep.register_activation("brought", Arctan())


@dataclass(frozen=True)
class Leaning(Tanh):
    """tanh(x − b): a family of one's own, derived from one that is built in, with an option of any sign."""

    shift: float = field(default=0.0, metadata={"signed": True})

    @property
    def label(self) -> str:
        return f"leaning(shift {self.shift:g})"

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return super().apply_(x - self.shift, alpha)


def test_a_class_brings_options_to_the_language() -> None:
    with kept_registries():
        ep.register_activation("leaning", Leaning)
        written: list[tuple[object, object, Leaning]] = [
            ("leaning", "leaning", Leaning()),
            ({"leaning": {}}, "leaning", Leaning()),
            (
                {"leaning": {"shift": -2, "slope": 3}},
                {"leaning": {"slope": 3.0, "shift": -2.0}},
                Leaning(3.0, shift=-2.0),
            ),
        ]
        for value, back, meant in written:
            assert parse_activation(value) == meant
            assert activation_to_yaml(meant) == back
            jsonschema.Draft202012Validator(json_schema()).validate(RING | {"defaults": {"activation": value}})
        assert activation_to_yaml(Tanh(2)) == {"tanh": {"slope": 2}}
        for value, message in (
            ({"leaning": {"slop": 2}}, "unknown option 'slop' of leaning; did you mean 'slope'?"),
            (
                {"leaning": {"slope": -2}},
                "'slope' of leaning expects a finite number above 0; e.g. {leaning: {slope: 2}}",
            ),
            ({"leaning": {"shift": "2"}}, "'shift' of leaning expects a finite number"),
            ({"leaning": 2}, "leaning takes options in braces; known: slope, height, shift"),
        ):
            with pytest.raises(ep.EpgraphError, match=re.escape(message)):
                ep.load(yaml.safe_dump(RING | {"defaults": {"activation": value}}))
        ep.register_activation("leaning", Leaning(shift=1))
        with pytest.raises(ValueError, match="leaning has no options; write its name alone"):
            parse_activation({"leaning": {"shift": 2}})


@dataclass
class Open(Arctan):
    """Can be changed."""

    width: float = 1.0


@dataclass(frozen=True)
class Worded(Leaning):
    """Has an option that is no number."""

    word: str = "a"


@dataclass(frozen=True)
class Mute(Leaning):
    """Has an option that is described by no text."""

    tilt: float = field(default=1.0, metadata={"description": 3})


@dataclass(frozen=True)
class Described(Leaning):
    """Has an option that editors can show."""

    tilt: float = field(default=1.0, metadata={"description": "How far it leans.", "examples": [3]})


def test_editors_show_what_an_option_means() -> None:
    with kept_registries():
        ep.register_activation("mine", Described)
        schema = activation_schema()
    members = [one["properties"]["mine"] for one in schema["anyOf"] if "mine" in one.get("properties", {})]
    (options,) = (one["properties"] for one in members)
    assert options["tilt"] == {
        "description": "How far it leans.",
        "examples": [3],
        "type": "number",
        "exclusiveMinimum": 0,
    }


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (
            Worded,
            "activation 'mine' cannot be registered: its option 'word' has no number as default; e.g. word: float",
        ),
        (
            ReLU,
            "activation 'mine' cannot be registered: its option 'low' has no number as default; e.g. low: float = 1",
        ),
        (
            Mute,
            "activation 'mine' cannot be registered: the description of its option 'tilt' is no text, or its examples "
            'are no list; e.g. field(default=1.0, metadata={"description": "Slope.", "examples": [2]})',
        ),
        (Open, "activation 'mine' cannot be registered: the class Open can be changed; write @dataclass(frozen=True)"),
    ],
)
def test_a_class_whose_fields_are_no_options_is_refused(cls: type[Activation], message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        ep.register_activation("mine", cls)


def test_check_verifies_the_activations_and_the_cost_of_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.yaml"
    ep.register_activation("wrong", WrongInverse())
    path.write_text(yaml.safe_dump(own_ring()), encoding="utf-8")
    assert run(["check", str(path), "--verify"]) == 0
    out = capsys.readouterr().out
    assert "            activation arctan of a, b, c and 1 more: as declared\n" in out
    assert "            activation identity of y: as declared\n" in out
    assert "            cost quartic of y: as declared\n" in out
    assert run(["check", str(path), "--verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["verified_functions"]
    assert [(one["what"], one["states"]) for one in found] == [
        ("activation arctan", ["a", "b", "c", "d"]),
        ("activation identity", ["y"]),
        ("cost quartic", ["y"]),
    ]
    ep.register_cost("quartic", WrongGradient())
    path.write_text(json.dumps(own_ring() | {"defaults": {"activation": "wrong"}}, indent=1), encoding="utf-8")
    ep.register_cost("quartic", WrongGradient())
    assert run(["check", str(path)]) == 0
    capsys.readouterr()
    assert run(["check", str(path), "--verify"]) == 1
    out, err = capsys.readouterr()
    lines = path.read_text(encoding="utf-8").splitlines()
    for text, message in (("quartic", "gradient is not the derivative of value"), ("wrong", "inverse is not σ⁻¹")):
        line = 1 + next(i for i, written in enumerate(lines) if f'"{text}"' in written)
        assert re.search(rf"^{re.escape(str(path))}:{line}:\d+: .*{message}", err, flags=re.MULTILINE), err
    assert out == ""
