"""A plugin whose methods fail: what is said names the kind, the method, the exception and the line of the plugin."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from epgraph.cli import run
from epgraph.edges import KINDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(before)


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
    assert err.startswith(f"{plugin}:{line}: edge kind 'channelwise': {method} raises ")
    assert "TypeError: Channelwise.target_shape() takes" in err or "NameError: name 'sorce' is not" in err
    assert "internal error" not in err


@pytest.mark.parametrize(("fault", "method"), [(FORWARD, "forward"), (INNER, "adjoint")])
def test_running_and_verifying(
    fault: tuple[str, str], method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, net = written(tmp_path, *fault)
    line = line_of(plugin, fault[1])
    assert run(["gradcheck", net, "--plugin", plugin, "-o", str(tmp_path / "out.svg")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{plugin}:{line}: edge kind 'channelwise': {method} ")
    assert run(["check", net, "--plugin", plugin, "--verify"]) == 1
    assert f"NameError: name '{fault[1].partition('* ')[2].partition('.')[0]}' is not defined, in line {line} of " in (
        capsys.readouterr().err
    )


def test_what_epgraph_does_wrong_is_still_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(sys.modules["epgraph.cli.check"], "report", broken)
    assert run(["check", str(ROOT / "examples" / "digits.yaml")]) == 2
    assert "internal error: RuntimeError: ours" in capsys.readouterr().err
