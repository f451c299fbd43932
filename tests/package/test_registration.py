"""What cannot be registered, on every axis: the message names the axis, and the plugin's file and line."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.activations import NAMED
from epgraph.activations.relu import ReLU
from epgraph.cli import run
from epgraph.compiler import BACKENDS
from epgraph.costs import COSTS
from epgraph.energies import ENERGIES
from epgraph.energies.hopfield import Hopfield
from epgraph.kinds import KINDS
from epgraph.plugins import load_installed, run_plugin
from epgraph.solvers import SOLVERS
from epgraph.traits import mistakes

NET = "epgraph: 2\ninput: {shape: [4]}\noutput: {classes: 3}\nedges: [{from: x, to: y, dense: {}}]\n"


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


class Sweeper(ep.Solver):
    """Has a step, and says nothing of it."""

    seen: ClassVar[list[Tensor]] = []

    def step(self, memory: Any, before: Tensor, after: Tensor) -> tuple[Any, Tensor | None]:
        self.seen.append(after)
        return None, None


class Softsign(ep.Activation):
    """x/(1 + |x|), which has an inverse, and says nothing of it."""

    label = "softsign"

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return x / (1 + x.abs())

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return -s.abs() - (1 - s.abs()).log()

    def inverse(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return s / (1 - s.abs())


def test_traits_follow_from_methods() -> None:
    """A trait that can be forgotten was, and then plain sweeps ran in place of the solver without a message."""
    assert (Sweeper.mixes, Sweeper().mixes, ep.Solver.mixes, SOLVERS["plain"].mixes) == (True, True, False, False)
    assert {name for name, solver in SOLVERS.items() if solver.mixes} >= {"anderson"}
    ep.register_solver("sweeper", Sweeper)
    ep.register_activation("softsign", Softsign())
    assert (Softsign().invertible, NAMED["tanh"].invertible, NAMED["identity"].invertible) == (True, True, False)
    for dynamics in ("solver: sweeper", "flow: 0.1"):
        hidden = f"defaults: {{activation: softsign}}\nstates: {{h: {{shape: [3]}}}}\ndynamics: {{{dynamics}}}\nedges"
        net = NET.replace("edges", hidden).replace("to: y", "to: h").replace("}]", "}, {from: h, to: y, dense: {}}]")
        assert ep.compile(net).relax(torch.ones(2, 4), steps=3, tolerance=0).steps == 3
    assert len(Sweeper.seen) == 2, "it is called between two sweeps"


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pydantic warns of what is refused below

    class Shadowing(ep.Solver):
        """A trait without ClassVar, which would be an option of users."""

        mixes: bool = True  # type: ignore[misc]

    class Relaxing(ep.Solver):
        """An option with the name of a property, which would never be read."""

        omega: float = 0.5  # type: ignore[assignment]

    class Judge(ep.Solver):
        """Judges proposals, and makes none."""

        def accept(self, proposed: Tensor, swept: Tensor) -> Tensor:
            return proposed < swept

    class Labeled(ep.Dense):
        """An option with the name of a method."""

        name: ClassVar[str] = "labeled"
        label: int = 3  # type: ignore[assignment]


class Concave(ep.Memory):
    """Bounds a concavity, and does not say that it has one."""

    name: ClassVar[str] = "concave"

    def concavity(self, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
        return weight.norm()


class Continued(Softsign):
    """Has σ′ of complex numbers, and says nothing of complex numbers."""

    def holomorphic_derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return x


class Paired(ep.Activation):
    """Has the inverse of a pair alone."""

    label = "paired"
    apply_, self_energy = Softsign.apply_, Softsign.self_energy

    def inverse_pair(self, c: Tensor, o: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        return c, o


class Unlearnt(Softsign):
    """Has what a level learns from, and no level."""

    def excess_contrast(self, p: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
        return p


class Learnt(Softsign):
    """Has a level, and nothing that it learns from."""

    learnt = True


class ComplexCost(ep.Cost):
    """Has the gradient of complex numbers, and says nothing of them."""

    def value(self, s: Tensor, y: Tensor) -> Tensor:
        return (s - y).square().sum(1)

    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        return 2 * (s - y)

    def holomorphic_gradient(self, s: Tensor, y: Tensor) -> Tensor:
        return 2 * (s - y)


class Replying(Hopfield):
    """Has one method of error sweeps, and says nothing of them."""

    def reply(self, at: Any, state: Any, bottom_up: Tensor, error: Tensor) -> Tensor:
        return bottom_up + error


class Forward(Hopfield):
    """Says that it has a forward pass, and has no method of it."""

    feedforward = True


OPTION = "cannot be registered: its option '{}' has the name of a trait or method; write '{}: ClassVar[…]'"


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda: ep.register_solver("own", Shadowing), "solver 'own' " + OPTION.format("mixes", "mixes")),
        (lambda: ep.register_solver("own", Relaxing), "solver 'own' " + OPTION.format("omega", "omega")),
        (lambda: ep.register_kind(Labeled), "edge kind 'labeled' " + OPTION.format("label", "label")),
        (lambda: ep.register_kind(Concave), "nothing calls its 'concavity' without 'damps'; set the trait 'damps'"),
        (lambda: ep.register_solver("own", Judge), "nothing calls its 'accept' without 'step'; write 'step' too"),
        (
            lambda: ep.register_activation("own", Continued()),
            "nothing calls its 'holomorphic_derivative' without 'holomorphic'; set the trait 'holomorphic'",
        ),
        (lambda: ep.register_activation("own", Paired()), "nothing calls its 'inverse_pair' without 'inverse'; write"),
        (lambda: ep.register_activation("own", Unlearnt()), "nothing calls its 'excess_contrast' without 'learnt'"),
        (lambda: ep.register_activation("own", Learnt()), "it sets 'learnt' and has no 'excess_contrast'; write what"),
        (lambda: ep.register_cost("own", ComplexCost()), "nothing calls its 'holomorphic_gradient' without"),
        (lambda: ep.register_energy("own", Replying()), "energy 'own' cannot be registered: nothing calls its 'reply'"),
        (
            lambda: ep.register_energy("own", Forward()),
            "it sets 'feedforward' and has no 'feedback', 'send', 'reply', 'input_gradient'; write what is missing",
        ),
    ],
)
def test_what_would_have_no_effect_is_refused(register: Callable[[], Any], message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        register()


def test_of_an_option_that_hides_a_trait_our_message_alone_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pydantic warns when the class is written, in words that do not say what to do."""
    plugin = tmp_path / "own_plugin.py"
    lines = ["import epgraph as ep", "class Own(ep.Solver):", "    mixes: bool = True"]
    plugin.write_text("\n".join([*lines, 'ep.register_solver("own", Own)']), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("mine", "own_plugin", "epgraph.plugins")
    for bring in (lambda: run_plugin(plugin), load_installed):
        with (
            mock.patch("epgraph.plugins.entry_points", return_value=[entry]),
            warnings.catch_warnings(record=True, action="always") as said,
            pytest.raises(ep.EpgraphError, match=re.escape(OPTION.format("mixes", "mixes"))),
        ):
            bring()
        assert said == []
    sys.modules.pop("own_plugin", None)


def test_what_is_built_in_is_held_to_the_same() -> None:
    tables: list[dict[str, Any]] = [NAMED, COSTS, ENERGIES, SOLVERS, KINDS]
    members = [ReLU(6, 6, True), *(member for table in tables for member in table.values())]
    assert [m for m in members for _ in mistakes(m if isinstance(m, type) else type(m), m)] == []
