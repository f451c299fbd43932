"""What cannot be registered, on every axis: the message names the axis, and the plugin's file and line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import epgraph as ep
from epgraph.activations import NAMED
from epgraph.cli import run
from epgraph.compiler import BACKENDS
from epgraph.costs import COSTS
from epgraph.energies import ENERGIES
from epgraph.kinds import KINDS
from epgraph.plugins import load_installed
from tests.helpers.registries import kept_registries

NET = "epgraph: 2\ninput: {shape: [4]}\noutput: {classes: 3}\nedges: [{from: x, to: y, dense: {}}]\n"


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    with kept_registries():
        yield


@pytest.mark.parametrize(
    ("axis", "register"),
    [
        ("activation 'tanh'", lambda: ep.register_activation("tanh", NAMED["tanh"])),
        ("activation 'relu7'", lambda: ep.register_activation("relu7", NAMED["tanh"])),
        ("cost 'squared_error'", lambda: ep.register_cost("squared_error", COSTS["squared_error"])),
        ("energy 'hopfield'", lambda: ep.register_energy("hopfield", ENERGIES["hopfield"])),
        ("solver 'anderson'", lambda: ep.register_solver("anderson", ep.Solver)),
        ("estimator 'centered'", lambda: ep.register_estimator("centered", len)),
        ("rule of initial parameters 'published'", lambda: ep.register_initialization("published", lambda *_: {})),
        ("edge kind 'dense'", lambda: ep.register_kind(KINDS["dense"])),
        ("backend 'eager'", lambda: ep.register_backend(BACKENDS["eager"])),
        ("data set 'digits'", lambda: ep.register_dataset("digits", lambda *_: None, shape=(1, 8, 8), classes=10)),
        ("optimizer 'sgd'", lambda: ep.register_optimizer("sgd", len)),
        ("schedule 'cosine'", lambda: ep.register_schedule("cosine", lambda first, last, progress: first)),
    ],
)
def test_the_axis_is_named(axis: str, register: Callable[[], Any]) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        register()
    assert str(caught.value).startswith(f"{axis} cannot be registered: it is built in; ")


def test_the_line_of_the_plugin_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of its call of epgraph, within a function too. A position that is known already stays."""
    plugin, net, broken = (tmp_path / name for name in ("plugin.py", "net.yaml", "broken.yaml"))
    broken.write_text("epgraph: 2\nstats: {}\n", encoding="utf-8")
    net.write_text(NET, encoding="utf-8")
    register = 'import epgraph as ep\n\ndef register():\n    ep.register_solver("anderson", ep.Solver)\n\nregister()\n'
    for text, start in (
        (register, f"{plugin}:4: solver 'anderson' cannot be registered: it is built in"),
        (f"import epgraph as ep\nep.load({str(broken)!r})\n", f"{broken}:"),
    ):
        plugin.write_text(text, encoding="utf-8")
        assert run(["check", str(net), "--plugin", str(plugin)]) == 1
        out, err = capsys.readouterr()
        assert (out, err[: len(start)]) == ("", start)


def test_the_line_of_an_installed_plugin_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "installed_plugin.py"
    module.write_text("import epgraph as ep\n\nep.register_solver('plain', ep.Solver)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("mine", "installed_plugin", "epgraph.plugins")
    with mock.patch("epgraph.plugins.entry_points", return_value=[entry]), pytest.raises(ep.EpgraphError) as caught:
        load_installed()
    sys.modules.pop("installed_plugin", None)
    assert str(caught.value).startswith(f"{module}:3: solver 'plain' cannot be registered: it is built in")
