"""Edge kinds of the user's own: the documentation's example from file to training, and wrong ones that are caught."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
import torch
import yaml

import epgraph as ep
from epgraph import plugins
from epgraph.cli import run
from epgraph.kinds import KINDS, Memory, Self
from epgraph.language import json_schema, to_yaml
from epgraph.result_shapes import smaller

DOCS = (Path(__file__).parents[2] / "docs" / "edge-kinds.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the documentation."""
    (tmp_path / "own_channelwise.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "net.yaml").write_text(block("yaml"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_is_checked_and_verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "net.yaml"]) == 1
    assert "net.yaml:11:24: unknown key 'own_channelwise'; kinds of edges: conv, " in capsys.readouterr().err
    assert run(["check", "net.yaml", "--plugin", "own_channelwise.py", "--verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["diagnostics"] == []
    assert [kind["kind"] for kind in found["verified"]] == ["conv", "conv", "own_channelwise", "dense"]
    assert found["edges"][2] | {"macs": 0} == {
        "name": "h1_h2_2", "from": "h1", "to": "h2", "kind": "own_channelwise", "weight_shape": [8, 1], "macs": 0,
    }  # fmt: skip
    # The very definition again: replaced without complaint.
    assert run(["check", "net.yaml", "--plugin", "own_channelwise.py", "--verify"]) == 0
    assert "own_channelwise, 1 edge: as declared, checked on 8×4×4 → 8×4×4" in capsys.readouterr().out


def test_the_example_in_the_schema_and_in_messages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = yaml.safe_load(block("yaml"))
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(data)
    assert run(["schema", "--plugin", "own_channelwise.py"]) == 0
    schema = json.loads(capsys.readouterr().out)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(data)
    data["edges"][2]["own_channelwise"] = {"scale": 0}
    assert not validator.is_valid(data)
    Path("net.yaml").write_text(block("yaml").replace("scale: 0.5", "scalee: 0.5"), encoding="utf-8")
    assert run(["check", "net.yaml", "--plugin", "own_channelwise.py"]) == 1
    assert "net.yaml:11:42: unknown key 'scalee'; did you mean 'scale'?" in capsys.readouterr().err
    Path("net.yaml").write_text(block("yaml").replace("h1, to: h2, own", "x, to: h2, own"), encoding="utf-8")
    assert run(["check", "net.yaml", "--plugin", "own_channelwise.py"]) == 1
    assert (
        "shape mismatch: own_channelwise x→h2 gives 1×8×8 from 1×8×8, but the target is 8×4×4 (fixed by the edge "
        "h1→h2); own_channelwise joins equal shapes; use 'dense: {}' between others"
    ) in capsys.readouterr().err


def test_the_example_runs_everywhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = ["--plugin", "own_channelwise.py"]
    assert run(["render", "net.yaml", "-o", "net.dot", *plugin]) == 0
    assert "own_channelwise" in Path("net.dot").read_text(encoding="utf-8")
    assert run(["train", "net.yaml", "--data", "digits", "--limit", "64", "--out", "run", *plugin]) == 0
    assert run(["eval", "run", "--data", "digits", "--limit", "32", *plugin]) == 0
    assert run(["gradcheck", "net.yaml", "--quick", "--examples", "2", *plugin]) == 0
    assert run(["compile", "net.yaml", "-o", "engine.py", "--dtype", "float64", *plugin]) == 0
    architecture = ep.load("net.yaml")
    assert ep.load(to_yaml(architecture)) == architecture
    code = (
        "import torch, json, engine\n"
        "found = engine.Engine(torch.load('weights.pt')).relax(torch.load('x.pt'))\n"
        "torch.save(found if isinstance(found, dict) else dict(found), 'states.pt')\n"
    )
    made = ep.compile(architecture, dtype=torch.float64)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    torch.save(made.state_dict(), "weights.pt")
    torch.save(x, "x.pt")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    states = torch.load("states.pt")
    for name, value in made.relax(x).states.items():
        if name in states:
            assert torch.equal(states[name], value)
    assert "h2" in states


def test_a_sweep_is_the_equations(folder: Path) -> None:
    """One sequential sweep from zeros beside the sums written down by hand."""
    plugins.run_plugin(Path("own_channelwise.py"))
    text = (
        block("yaml")
        .replace("coloring", "sequential")
        .replace("  - {from: h1, to: h2, conv: {kernel: 3, padding: 1}}\n", "")
    )
    engine = ep.compile(ep.load(text), dtype=torch.float64, seed=1)
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    p = {name: value.detach() for name, value in engine.named_parameters()}
    bias = {name: p[f"states.{name}.bias"].view(1, -1, 1, 1) for name in ("h1", "h2")}
    drive = torch.nn.functional.conv2d(x, p["edges.x_h1.weight"], stride=2, padding=1) + bias["h1"]
    factors = 0.5 * p["edges.h1_h2.weight"].view(1, 8, 1, 1)
    head, shift = p["edges.h2_y.weight"], p["states.y.bias"]
    h1 = drive.clamp(0, 6)
    h2 = (factors * h1 + bias["h2"]).clamp(0, 6)
    y = h2.flatten(1) @ head.T + shift
    for steps in (1, 2):
        found = engine.relax(x, steps=steps).states
        for name, expected in (("h1", h1), ("h2", h2), ("y", y)):
            torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-12)
        h1 = (drive + factors * h2).clamp(0, 6)
        h2 = (factors * h1 + (y @ head).view_as(h2) + bias["h2"]).clamp(0, 6)
        y = h2.flatten(1) @ head.T + shift


def test_an_entry_point_brings_a_kind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    entries = [EntryPoint("mine", "own_channelwise", plugins.GROUP)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    assert run(["check", "net.yaml"]) == 0
    assert run(["check", "net.yaml"]) == 0  # loaded again by every command
    sys.modules.pop("own_channelwise")


class Base(ep.EdgeKind):
    """A right kind, from which the wrong ones below differ in one thing each."""

    name: ClassVar[str] = "mine"

    def target_shape(self, source: Any, channels: Any) -> Any:
        return (channels, *source[1:]) if channels else None

    def weight_shape(self, source: Any, target: Any) -> Any:
        return (target[0], source[0])

    def macs(self, source: Any, target: Any) -> int:
        return target[0] * prod(source)

    def forward(self, weight: Any, s: Any, target: Any) -> Any:
        pixels = prod(target[1:])
        return (weight @ s.flatten(1).view(-1, weight.shape[1], pixels)).reshape(-1, *target)

    def adjoint(self, weight: Any, t: Any, s: Any, source: Any) -> Any:
        pixels = prod(source[1:])
        return (weight.T @ t.flatten(1).view(-1, weight.shape[0], pixels)).reshape(-1, *source)

    def weight_gradient(self, weight: Any, s: Any, t: Any, source: Any) -> Any:
        pixels = prod(source[1:])
        s, t = (v.flatten(1).view(-1, n, pixels) for v, n in ((s, weight.shape[1]), (t, weight.shape[0])))
        return torch.einsum("bop,bip->oi", t, s)


class NotTheTranspose(Base):
    def adjoint(self, weight: Any, t: Any, s: Any, source: Any) -> Any:
        return super().adjoint(weight, t.flip(1), s, source)


class HalfTheAdjoint(Base):
    def adjoint(self, weight: Any, t: Any, s: Any, source: Any) -> Any:
        return 0.5 * super().adjoint(weight, t, s, source)


class TwiceTheGradient(Base):
    def weight_gradient(self, weight: Any, s: Any, t: Any, source: Any) -> Any:
        return 2 * super().weight_gradient(weight, s, t, source)


class GradientOfTheMean(Base):
    def weight_gradient(self, weight: Any, s: Any, t: Any, source: Any) -> Any:
        return super().weight_gradient(weight, s, t, source) / s.shape[0]


class WritesIntoItsArgument(Base):
    def forward(self, weight: Any, s: Any, target: Any) -> Any:
        return super().forward(weight, s.mul_(1.0001), target)


class HandsItsArgumentBack(Base):
    def target_shape(self, source: Any, channels: Any) -> Any:
        return source

    def weight_shape(self, source: Any, target: Any) -> Any:
        return None

    def macs(self, source: Any, target: Any) -> int:
        return 0

    def forward(self, weight: Any, s: Any, target: Any) -> Any:
        return s

    def adjoint(self, weight: Any, t: Any, s: Any, source: Any) -> Any:
        return t.clone()


class LiesAboutShapes(Base):
    def target_shape(self, source: Any, channels: Any) -> Any:
        return (channels, source[1] + 1, *source[2:]) if channels and len(source) > 1 else None


class LiesAboutTheSource(Base):
    def source_shape(self, target: Any, channels: Any) -> Any:
        return (1, *target[1:])


class WeightOfAnotherShape(Base):
    def weight_gradient(self, weight: Any, s: Any, t: Any, source: Any) -> Any:
        return super().weight_gradient(weight, s, t, source).T.contiguous().unsqueeze(0)


class NotLinear(Base):
    def forward(self, weight: Any, s: Any, target: Any) -> Any:
        return super().forward(weight, s, target) + 0.1


class NotLinearAndSaysSo(NotLinear):
    """Its derivatives are right, but the pair maps of a linear edge add 0.1 to the odd part as well."""

    linear: ClassVar[bool] = False


class QuadraticInTheWeight(Base):
    def forward(self, weight: Any, s: Any, target: Any) -> Any:
        return super().forward(weight * weight, s, target)

    def adjoint(self, weight: Any, t: Any, s: Any, source: Any) -> Any:
        return super().adjoint(weight * weight, t, s, source)

    def weight_gradient(self, weight: Any, s: Any, t: Any, source: Any) -> Any:
        return 2 * weight * super().weight_gradient(weight, s, t, source)


class TooManyMacs(Base):
    def macs(self, source: Any, target: Any) -> int:
        return 2 * super().macs(source, target)


class BranchesOnValues(Base):
    def forward(self, weight: Any, s: Any, target: Any) -> Any:
        return super().forward(weight, s if s.sum() > -1e30 else -s, target)


class MakesATensor(Base):
    def forward(self, weight: Any, s: Any, target: Any) -> Any:
        return super().forward(weight, s, target) * torch.ones((), dtype=torch.float64)


class RecordsAnother(Base):
    """What the compiler gets is not what the checks above have seen."""

    def forward(self, weight: Any, s: Any, target: Any) -> Any:
        return super().forward(weight, s, target) * (1 if isinstance(s, torch.Tensor) else 1.5)


class ChangesThePrecision(Base):
    def adjoint(self, weight: Any, t: Any, s: Any, source: Any) -> Any:
        return super().adjoint(weight, t, s, source).double()


class Fails(Base):
    def adjoint(self, weight: Any, t: Any, s: Any, source: Any) -> Any:
        raise KeyError("nothing")


class UntiedForgetsTheFeedback(Base):
    def adjoint_untied(self, weight: Any, feedback: Any, t: Any, s: Any, source: Any) -> Any:
        return self.adjoint(weight, t, s, source)


class WrongContrast(Base):
    def weight_contrast(self, weight: Any, s: Any, t: Any, source: Any) -> Any:
        return 2 * super().weight_contrast(weight, s, t, source)


WRONG = {
    NotTheTranspose: [r"⟨s, Aᵀ t⟩ is .* that is not ⟨A s, t⟩: the adjoint is not the transpose", "adjoint is off by"],
    HalfTheAdjoint: [r"adjoint is 0\.5 times what it should be; expected ∂⟨t, A s⟩/∂s"],
    TwiceTheGradient: ["weight_gradient is 2 times what it should be; expected ∂⟨t, A s⟩/∂w, summed over the batch"],
    GradientOfTheMean: [r"weight_gradient is 0\.5 times what it should be"],
    WritesIntoItsArgument: ["forward writes into its argument s"],
    HandsItsArgumentBack: ["forward hands its argument s back: the result has to be a tensor of its own"],
    LiesAboutShapes: [r"forward (gives the shape|fails)|shape rules: RuntimeError"],
    LiesAboutTheSource: ["source_shape gives 1×6×6, which is not the source"],
    WeightOfAnotherShape: ["weight_gradient gives the shape 1×3×4, and should give 4×3"],
    NotLinear: ["forward of 2a − 3b is off by .*; the kind says that it is linear in its source"],
    NotLinearAndSaysSo: [r"forward_pair is off by .*; expected forward of c \+ o"],
    QuadraticInTheWeight: ["forward by twice the weight is 2 times what it should be; .* with d the degree 1"],
    TooManyMacs: ["macs says 864, and forward takes 432 multiply-accumulates for one example"],
    BranchesOnValues: ["forward cannot be recorded by torch.fx: TraceError: symbolically traced variables"],
    MakesATensor: ["forward cannot be recorded by torch.fx: ValueError: a tensor made by the method itself"],
    RecordsAnother: [r"forward as recorded by torch.fx is 1\.5 times what it should be; expected what it gives itself"],
    ChangesThePrecision: ["adjoint gives float64 from float32"],
    Fails: ["KeyError: 'nothing'"],
    UntiedForgetsTheFeedback: ["adjoint_untied is .*; expected it to go back through the feedback"],
    WrongContrast: ["weight_contrast is 2 times what it should be; expected half the difference"],
}


def test_a_right_kind_is_right() -> None:
    assert ep.verify_kind(Base) == []
    assert ep.verify_kind(Base(), [((3, 5, 4), (2, 5, 4))]) == []


@pytest.mark.parametrize("kind", WRONG, ids=lambda k: k.__name__)
def test_a_wrong_kind_is_caught(kind: type[ep.EdgeKind]) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        ep.verify_kind(kind)
    said = str(caught.value)
    assert all(line.startswith("mine: ") for line in said.splitlines())
    for expected in WRONG[kind]:
        assert re.search(expected, said), said


def test_check_verify_names_the_line_of_a_wrong_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = block("python").replace("self.scale * product", "2 * self.scale * product")
    Path("wrong.py").write_text(text, encoding="utf-8")
    assert run(["check", "net.yaml", "--plugin", "wrong.py"]) == 0
    capsys.readouterr()
    assert run(["check", "net.yaml", "--plugin", "wrong.py", "--verify"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        "net.yaml:11:41: own_channelwise: weight_gradient is 2 times what it should be; expected ∂⟨t, A s⟩/∂w, summed "
        "over the batch (on 8×4×4 → 8×4×4)\n"
    )


def test_large_shapes_are_verified_on_smaller_ones() -> None:
    conv = KINDS["conv"](kernel=3, padding=1, stride=2)  # type: ignore[call-arg]
    assert smaller(conv, (512, 32, 33), (256, 16, 17)) == ((3, 8, 9), (4, 4, 5))
    assert smaller(conv, (3, 8, 8), (4, 4, 4)) == ((3, 8, 8), (4, 4, 4))
    grouped = KINDS["conv"](kernel=1, groups=4)  # type: ignore[call-arg]
    assert smaller(grouped, (512, 32, 32), (256, 32, 32)) == ((512, 32, 32), (256, 32, 32))


class NoName(ep.EdgeKind):
    pass


class NoMethods(ep.EdgeKind):
    name: ClassVar[str] = "nothing"


class Renamed(Base):
    name: ClassVar[str] = "conv"


class Key(Base):
    name: ClassVar[str] = "gain"


class NotAName(Base):
    name: ClassVar[str] = "my kind"


class Misspelled(Base):
    name: ClassVar[str] = "misspelled"

    def weight_contrasts(self) -> None: ...


class Needy(Base):
    name: ClassVar[str] = "needy"
    width: int


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (
            NoName,
            "edge kind NoName cannot be registered: it has no name, its key in YAML; "
            'write in it: name: ClassVar[str] = "noname"',
        ),
        (
            NoMethods,
            "edge kind 'nothing' cannot be registered: the class NoMethods has no adjoint, forward, macs, "
            "target_shape, weight_gradient, weight_shape; write them; docs/edge-kinds.md has an example",
        ),
        (Renamed, "edge kind 'conv' cannot be registered: it is built in; choose another name"),
        (Key, "edge kind 'gain' cannot be registered: every edge has something of that name; choose another name"),
        (
            NotAName,
            "edge kind 'my kind' cannot be registered: it is not a name; "
            "a name is a letter followed by at most 63 letters, digits or '_'",
        ),
        (
            Misspelled,
            "edge kind 'misspelled' cannot be registered: the class Misspelled has an unknown method weight_contrasts; "
            "did you mean 'weight_contrast'?",
        ),
        (
            Base(),
            "an edge kind cannot be registered: expected a class derived from EdgeKind, found a Base; "
            "pass the class Base",
        ),
        (
            int,
            "an edge kind cannot be registered: expected a class derived from EdgeKind, found the class int; "
            "derive it from ep.EdgeKind",
        ),
    ],
)
def test_what_cannot_be_registered(cls: Any, message: str) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        ep.register_kind(cls)
    assert str(caught.value) == message


def test_a_name_is_registered_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ep.register_kind(Base) is Base
    ep.register_kind(Base)
    other = type(
        "Other", (Base,), {"__module__": "elsewhere", "name": "mine", "__annotations__": {"name": ClassVar[str]}}
    )
    with pytest.raises(ep.EpgraphError, match=r"the class Base of .*test_own_kinds has that name already"):
        ep.register_kind(other)
    Path("again.py").write_text(block("python"), encoding="utf-8")
    assert run(["check", "net.yaml", "--plugin", "own_channelwise.py", "--plugin", "again.py"]) == 1
    said = capsys.readouterr().err
    assert (
        f"the class Channelwise of {folder / 'own_channelwise.py'} has that name already; choose another name" in said
    )


def test_a_plugin_that_fails_names_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.py").write_text("import epgraph\n\nepgraph.nothing\n", encoding="utf-8")
    assert run(["check", "net.yaml", "--plugin", "broken.py", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert found["rule"] == "plugin"
    assert found["message"] == (
        "plugin broken.py cannot be run: AttributeError: module 'epgraph' has no attribute 'nothing', in line 3"
    )


def test_a_kind_that_needs_options_says_so() -> None:
    with pytest.raises(ep.EpgraphError, match=r"Needy needs the options width; pass one with .* Needy\(width=…\)"):
        ep.verify_kind(Needy)
    assert ep.verify_kind(Needy(width=3)) == []


@pytest.mark.parametrize("command", ["check", "render", "train", "eval", "gradcheck", "compile", "tune", "schema"])
def test_every_command_takes_plugins(command: str) -> None:
    from epgraph.cli import app

    assert any("--plugin" in option.opts for option in app.commands[command].params)


class HalfTheForce(Self):
    """As if φ were its quadratic form, without the factor ½ that W s has then."""

    def potential(self, weight: Any, s: Any, shape: Any) -> Any:
        return 2 * super().potential(weight, s, shape)


class TwiceTheGradientOfMemory(Memory):
    def weight_gradient(self, weight: Any, s: Any, t: Any, source: Any) -> Any:
        return 2 * super().weight_gradient(weight, s, t, source)


class TooSmallABound(Self):
    def concavity(self, weight: Any, shape: Any) -> Any:
        return 0.1 * super().concavity(weight, shape)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (Self(), (6,)),
        (Self(), (2, 3, 3)),
        (Self(kernel=3), (3, 5, 4)),
        (Memory(patterns=5), (6,)),
        (Memory(patterns=5, sharpness=2.0), (2, 3, 3)),
        (Memory(patterns=5, per_pixel=True), (3, 5, 4)),
    ],
    ids=str,
)
def test_kinds_of_one_state_are_right(kind: ep.EdgeKind, shape: tuple[int, ...]) -> None:
    assert ep.verify_kind(kind, [(shape, shape)]) == []


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (HalfTheForce(), r"self: forward is 0\.5 times what it should be; expected ∂φ/∂s"),
        (TwiceTheGradientOfMemory(patterns=4), "weight_gradient is 2 times what it should be; expected ∂φ/∂w"),
        (TooSmallABound(), r"concavity says [0-9.]+, and ∂²φ/∂s² has the eigenvalue -"),
    ],
    ids=["force", "gradient", "bound"],
)
def test_a_wrong_kind_of_one_state_is_caught(kind: ep.EdgeKind, message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=message):
        ep.verify_kind(kind, [((6,), (6,))])
