"""A plugin whose methods fail: what is said names the kind, the method, the exception and the line of the plugin."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import epgraph as ep
from epgraph.activations import NAMED
from epgraph.cli import run
from epgraph.data import DATA_SETS
from epgraph.drawing import dot
from epgraph.registry import PLUGIN_MODULE
from tests.helpers.runs import NET as TINY
from tests.helpers.snippets import plugins, registered

ROOT = Path(__file__).parents[2]


def written(tmp_path: Path, old: str, new: str) -> tuple[str, str]:
    """The example of the docs with one line replaced, and the network that uses it."""
    docs = (ROOT / "docs" / "edge-kinds.md").read_text(encoding="utf-8")
    plugin, net = (re.findall(rf"```{kind}\n(.*?)```", docs, re.S)[0] for kind in ("python", "yaml"))
    assert plugin.count(old) == 1
    (tmp_path / "plugin.py").write_text(plugin.replace(old, new), encoding="utf-8")
    (tmp_path / "net.yaml").write_text(net, encoding="utf-8")
    return str(tmp_path / "plugin.py"), str(tmp_path / "net.yaml")


def line_of(path: str, text: str) -> int:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return 1 + next(i for i, line in enumerate(lines) if text in line)


SIGNATURE = ("def target_shape(self, source, channels):", "def target_shape(self, source):")
TYPO = ("return (source[0], 1)", "return (sorce[0], 1)")
FORWARD = ("return s * self._factors(weight, target)", "return s * slf._factors(weight, target)")
INNER = ("return self.scale * weight.reshape(", "return self.scale * wight.reshape(")


@pytest.mark.parametrize(("fault", "method"), [(SIGNATURE, "target_shape"), (TYPO, "weight_shape")])
def test_check(fault: tuple[str, str], method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin, net = written(tmp_path, *fault)
    line = line_of(plugin, fault[1])
    assert run(["check", net, "--plugin", plugin]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{plugin}:{line}: edge kind 'own_channelwise': {method} raises ")
    assert "TypeError: Channelwise.target_shape() takes" in err or "NameError: name 'sorce' is not" in err
    assert "internal error" not in err


@pytest.mark.parametrize(("fault", "method"), [(FORWARD, "forward"), (INNER, "forward")])
def test_running_and_verifying(
    fault: tuple[str, str], method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, net = written(tmp_path, *fault)
    line = line_of(plugin, fault[1])
    assert run(["gradcheck", net, "--plugin", plugin, "-o", str(tmp_path / "out.svg")]) == 1
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith(f"{plugin}:{line}: edge kind 'own_channelwise': {method} ")
    )
    assert run(["check", net, "--plugin", plugin, "--verify"]) == 1
    assert f"NameError: name '{fault[1].partition('* ')[2].partition('.')[0]}' is not defined, in line {line} of " in (
        capsys.readouterr().err
    )


def test_what_epgraph_does_wrong_is_still_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("epgraph.checking.report", broken)
    assert run(["check", str(ROOT / "examples" / "digits.yaml")]) == 2
    assert "internal error: RuntimeError: ours" in capsys.readouterr().err


ENDS = [
    "sys.exit(0)",
    "sys.exit('bye')",
    "raise SystemExit",
    "raise KeyboardInterrupt",
    "raise GeneratorExit",
    "raise BaseException('odd')",
    "raise EOFError",
    "raise BrokenPipeError",
    "raise StopIteration",
    "raise MemoryError",
    "import click; raise click.Abort",
    "import click; raise click.exceptions.Exit(0)",
    "import click; raise click.UsageError('odd')",
]
"""What would end a command as if all was well, as if the user had stopped it, or with a message of somebody else."""


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_method_that_ends_the_program_is_named(
    end: str, as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, net = written(tmp_path, "return prod(source)\n", f"import sys; {end}\n")
    assert run(["check", net, "--plugin", plugin, *["--json"] * as_json]) == 1
    out, err = capsys.readouterr()
    kind = re.findall(r"\w+", end)[-2 if end.endswith(")") and "exit(" not in end.lower() else -1]
    name = "SystemExit" if "sys.exit" in end else {"0": "Exit"}.get(kind, kind)
    start = f"edge kind 'own_channelwise': macs raises {name}"
    if as_json:
        (found,) = json.loads(out)["diagnostics"]
        assert (found["rule"], found["line"], err) == ("plugin", line_of(plugin, end), "")
        assert found["message"].startswith(start)
    else:
        assert err.startswith(f"{plugin}:{line_of(plugin, end)}: {start}")
        assert out == ""


@pytest.mark.parametrize("end", ENDS)
def test_a_plugin_that_ends_the_program_when_it_is_run_is_named(
    end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, net = written(tmp_path, '"""An edge with one weight a channel."""', f"import sys\n\n{end}")
    assert run(["check", net, "--plugin", plugin]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"plugin {plugin} cannot be run: ")
    assert ", in line 3; it is Python that calls" in err
    assert out == ""


def test_a_helper_of_the_plugin_that_ends_the_program_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, net = written(tmp_path, "return s * self._factors(weight, target)", "return leave()")
    with Path(plugin).open("a", encoding="utf-8") as file:
        file.write("\n\ndef leave():\n    raise SystemExit(0)\n")
    assert run(["gradcheck", net, "--plugin", plugin, "--quick"]) == 1
    line = line_of(plugin, "raise SystemExit(0)")
    assert capsys.readouterr().err.startswith(
        f"{plugin}:{line}: edge kind 'own_channelwise': forward raises SystemExit: 0; fix the plugin"
    )


@pytest.mark.parametrize("where", ["a method", "the file"])
def test_an_interrupt_by_the_user_is_one(where: str, tmp_path: Path) -> None:
    """Whatever runs then: a plugin that takes long is interrupted, and not at fault."""
    wait = 'print("there", flush=True)\nwhile True: pass'
    if where == "a method":
        inside = wait.replace("\n", "\n        ")
        plugin, net = written(tmp_path, "return prod(source)\n", f"{inside}\n")
    else:
        plugin, net = written(tmp_path, '"""An edge with one weight a channel."""', wait)
    command = [sys.executable, "-c", "from epgraph.cli import main; main()", "check", net, "--plugin", plugin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "epgraph: interrupted" in err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return prod(source)", "return None", "macs returns None: expected a whole number, 0 or more"),
        ("return prod(source)", "return -1", "macs returns -1: expected a whole number, 0 or more"),
        ("return prod(source)", "return True", "macs returns True: expected a whole number"),
        ("return prod(source)", "return 1.5", "macs returns 1.5: expected a whole number"),
        ("return (source[0], 1)", 'return "ab"', "weight_shape returns 'ab': expected a tuple of whole"),
        ("return (source[0], 1)", "return (source[0], 0)", "weight_shape returns (8, 0): expected a tuple"),
        ("return (source[0], 1)", "return (source[0], None)", "weight_shape returns (8, None): expected a tuple"),
        ("return (source[0], 1)", "return ()", "weight_shape returns (): expected a tuple"),
        ("        return source\n", "        return 8\n", "target_shape returns 8: expected a tuple"),
        ("        return target\n", "        return [8, 'b', 4]\n", "source_shape returns [8, 'b', 4]: expected"),
        ("name: ClassVar", "linear = 3\n    name: ClassVar", "linear is 3: expected True or False"),
    ],
)  # fmt: skip
def test_a_method_that_returns_something_else_is_named(
    old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, net = written(tmp_path, old, new)
    if "source_shape" in said:
        # It is asked where the target alone is known.
        text = Path(net).read_text(encoding="utf-8")
        text = text.replace("h1: {channels: 8}", "h1: {}").replace("h2: {channels: 8}", "h2: {shape: [8, 4, 4]}")
        text = text.replace("  - {from: x,  to: h1, conv: {kernel: 3, padding: 1, stride: 2}}\n", "")
        Path(net).write_text(text + "  ", encoding="utf-8")
    assert run(["check", net, "--plugin", plugin]) == 1
    out, err = capsys.readouterr()
    assert f"edge kind 'own_channelwise': {said}" in err
    assert "fix the plugin" in err
    assert out == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (FORWARD[0], "return None", "forward returns None: expected a tensor"),
        (FORWARD[0], "return 0", "forward returns 0: expected a tensor"),
        # What torch would broadcast without a word.
        (FORWARD[0], "return s[:, :1]", "forward gives the shape 1×4×4, and should give 8×4×4"),
        (FORWARD[0], "return s.sum()", "forward gives the shape (), and should give 2×8×4×4"),
        ("return t * self._factors(weight, source)", "return t[..., :1]", "adjoint gives the shape"),
        (".reshape(source[0], 1)", ".reshape(1, source[0])", "weight_gradient gives the shape 1×8, and should"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", [["compile"], ["gradcheck", "--quick"]])
def test_a_tensor_of_another_shape_is_named(
    command: list[str], old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, net = written(tmp_path, old, new)
    assert run([command[0], net, *command[1:], "--plugin", plugin]) == 1
    out, err = capsys.readouterr()
    assert f"edge kind 'own_channelwise': {said.partition(' ')[0]}" in err
    assert "fix the plugin" in err
    assert out == ""


def test_whole_numbers_and_lists_of_other_types_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What can only mean one thing is no mistake."""
    plugin, net = written(tmp_path, "return (source[0], 1)", "import numpy; return [numpy.int64(source[0]), 1]")
    text = Path(plugin).read_text(encoding="utf-8")
    Path(plugin).write_text(text.replace("return prod(source)", "import numpy; return numpy.prod(source)"), "utf-8")
    assert run(["check", net, "--plugin", plugin, "--json"]) == 0
    edge = json.loads(capsys.readouterr().out)["edges"][2]
    assert (edge["weight_shape"], edge["macs"]) == ([8, 1], 8 * 4 * 4)


class Flat(ep.Activation):
    """An activation whose methods are what a test makes of them."""

    label = "flat"
    smooth = True

    def apply_(self, x: Any, alpha: Any) -> Any:
        return x * 0.5

    def self_energy(self, s: Any, alpha: Any) -> Any:
        return s * s


class Plain(ep.Cost):
    """A cost likewise."""

    def value(self, s: Any, y: Any) -> Any:
        return (s - y).square().flatten(1).sum(1)

    def gradient(self, s: Any, y: Any) -> Any:
        return 2 * (s - y)


NET = """\
epgraph: 2
input: {shape: [4]}
output: {classes: 2, cost: COST}
states: {h: {shape: [4], activation: ACTIVATION}}
edges: [{from: x, to: h, dense: {}}, {from: h, to: y, dense: {}}]
"""


@pytest.mark.parametrize(
    ("base", "changed", "said"),
    [
        (Flat, {"apply_": lambda self, x, alpha: None}, "activation 'own': apply_ returns None: expected a tensor"),
        (Flat, {"apply_": lambda self, x, alpha: x.sum()}, "apply_ gives the shape (), and should give 2×3"),
        (Flat, {"pair": lambda self, p, q, alpha: p}, "activation 'own': pair returns "),
        (Flat, {"self_energy": lambda self, s, alpha: s.sum(1)}, "self_energy gives the shape 2, and should give 2×3"),
        (Flat, {"smooth": "yes"}, "activation 'own': smooth is 'yes': expected True or False"),
        (Flat, {"label": property(lambda self: None)}, "activation 'own': label returns None: expected text"),
        (Plain, {"value": lambda self, s, y: s.sum()}, "value gives the shape () on two examples, and should"),
        (Plain, {"gradient": lambda self, s, y: 0.0}, "cost 'own': gradient returns 0.0: expected a tensor"),
        (Plain, {"gradient": lambda self, s, y: s[:, :1]}, "gradient gives the shape 2×1, and should give 2×2"),
    ],
)  # fmt: skip
def test_activations_and_costs_are_held_too(base: type, changed: dict[str, Any], said: str) -> None:
    made = type("Own", (base,), {**changed, "__module__": "their_own"})()
    register = ep.register_activation if base is Flat else ep.register_cost
    text = NET.replace("COST", "own" if base is Plain else "squared_error")
    text = text.replace("ACTIVATION", "own" if base is Flat else "relu1")

    def use() -> None:
        register("own", made)
        dot(ep.load(text))
        assert ep.compile(text).machine

    with pytest.raises(ep.EpgraphError, match=re.escape(said)):
        use()


def test_what_is_right_is_left_as_it_is() -> None:
    ep.register_activation("own", Flat())
    ep.register_activation("own", Flat())
    ep.register_cost("own", Plain())
    assert ep.compile(NET.replace("COST", "own").replace("ACTIVATION", "own")).machine
    # A class that is registered again is held once.
    assert not hasattr(getattr(Flat.apply_, "held"), "held")  # noqa: B009


def test_a_run_says_which_plugin_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read by a process that has not run the plugin, as every later command is."""
    docs = (ROOT / "docs" / "extending.md").read_text()
    (tmp_path / "my own.py").write_text(re.findall(r"# own_algebraic.py\n(.*?)```", docs, re.S)[0])
    net = (ROOT / "examples" / "digits.yaml").read_text().replace("activation: relu1", "activation: own_algebraic")
    (tmp_path / "net.yaml").write_text(net)
    command = ["train", "net.yaml", "--plugin", "my own.py", "--data", "digits", "--limit", "40", "--epochs", "1"]
    command += ["--out", "run", "--no-pictures", "--no-histograms"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["epgraph", *command])
    assert run(command) == 0
    module = f"{PLUGIN_MODULE}{tmp_path / 'my own.py'}"
    plugin = sys.modules.pop(module)
    NAMED.pop("own_algebraic")
    for name in ("check", "eval", "explore", "gradcheck", "render"):
        capsys.readouterr()
        assert run([name, "run", *(["-o", "net.svg"] if name == "render" else [])]) == 1
        said = capsys.readouterr().err
        assert "unknown activation 'own_algebraic'; the run was trained with --plugin 'my own.py': give" in said
    monkeypatch.chdir(tmp_path / "run")
    assert run(["check", "."]) == 1
    assert f"with --plugin '{tmp_path / 'my own.py'}'" in capsys.readouterr().err
    # One that was run is not missing: the mistake is another.
    monkeypatch.setitem(sys.modules, module, plugin)
    assert run(["check", "."]) == 1
    assert "was trained with" not in capsys.readouterr().err


def test_a_run_says_which_plugin_brought_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands that would take noise in the place of the data say so, and how to have the data."""
    monkeypatch.chdir(tmp_path)
    name = registered("dataset")
    Path("own.py").write_text(plugins()[name], encoding="utf-8")
    Path("net.yaml").write_text(TINY, encoding="utf-8")
    command = ["train", "net.yaml", "--plugin", "own.py", "--data", name, "--epochs", "1", "--out", "run"]
    monkeypatch.setattr(sys, "argv", ["epgraph", *command])
    assert run([*command, "--no-pictures"]) == 0
    sys.modules.pop(f"{PLUGIN_MODULE}{tmp_path / 'own.py'}")
    DATA_SETS.pop(name)
    hint = "the run was trained with --plugin own.py: give it again"
    capsys.readouterr()
    assert run(["explore", "run", "--examples", "2"]) == 0
    noise = f"warning: there is no data set '{name}': the examples are noise; {hint}"
    assert capsys.readouterr().err.count(noise) == 1
    assert run(["explore", "run", "--download"]) == 1
    assert f"there is no data set '{name}'; {hint}" in capsys.readouterr().err
    assert run(["gradcheck", "run", "--quick", "--examples", "2"]) == 0
    assert f"noise (there is no data set '{name}'; {hint})" in " ".join(capsys.readouterr().out.split())
    with pytest.warns(UserWarning, match=f"{re.escape(hint)}$"):
        assert "noise" in ep.converge("run", examples=2).source
    assert run(["explore", "run", "--examples", "2", "--plugin", "own.py"]) == 0
    assert "noise" not in capsys.readouterr().err
