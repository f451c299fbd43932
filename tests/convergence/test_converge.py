"""``ep.converge``: its curves are those of relaxations of one sweep each, and nothing of a network is left out."""

from __future__ import annotations

import json
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.drawing.settling import draw_settling
from epgraph.runtime.relaxation import Sweep
from epgraph.training.health import UNSETTLED
from tests.helpers.networks import RING, batch
from tests.helpers.runs import NET

MIXED = {**RING, "states": {**RING["states"], "b": {"channels": 3, "activation": "tanh"}}}
"""``RING`` with a smooth activation; its output has no bounds."""


def engine(text: dict[str, Any] | str = MIXED, *overrides: str) -> ep.Engine:
    source = text if isinstance(text, str) else json.dumps(text)
    return ep.compile(ep.load(source, list(overrides)), dtype=torch.float64)


def by_hand(
    network: ep.Engine, x: Tensor, start: dict[str, Tensor], steps: int, **nudge: Any
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The curves of a phase, from relaxations of one sweep each; and the states in the end."""
    found: dict[str, Any] = {"energy": [], "residual": [], "states": {}}
    now = start
    for _ in range(steps):
        after = network.relax(x, start=now, steps=1, tolerance=0, **nudge)
        found["energy"].append(float(network.energy(x, after.states).mean()))
        found["residual"].append(after.residual)
        for name, s in after.states.items():
            state = network.graph.states[name]
            before = now.get(name, torch.zeros_like(s))
            curves = found["states"].setdefault(name, {"activity": [], "saturation": [], "residual": []})
            curves["activity"].append(float(s.abs().mean()))
            curves["residual"].append(float((s - before).norm() / s.norm()))
            share = math.nan
            if state.activation.label == "relu6":
                share = float(((s == 0) | (s == 6)).double().mean())
            elif state.activation.label == "tanh":
                share = float((s.abs() >= 1 - 2 * 0.0025).double().mean())
            curves["saturation"].append(share)
        now = after.states
    return found, now


def assert_curve(found: ep.Convergence, phase: str, expected: dict[str, Any]) -> None:
    curve = found.to_dict()["phases"][phase]
    steps = len(expected["residual"])
    assert curve["sweeps"] == list(range(1, steps + 1))
    assert curve["energy"] == pytest.approx(expected["energy"], rel=1e-12)
    assert curve["residual"] == pytest.approx(expected["residual"], rel=1e-9, abs=1e-14)
    assert list(curve["states"]) == list(expected["states"])
    for name, values in expected["states"].items():
        for key, series in values.items():
            shown = [math.nan if value is None else value for value in curve["states"][name][key]]
            assert shown == pytest.approx(series, rel=1e-9, abs=1e-13, nan_ok=True), (name, key)


@pytest.mark.parametrize("energy", ["hopfield", "predictive"])
def test_curves_are_those_of_one_sweep_at_a_time(energy: str) -> None:
    network = engine(MIXED, f"energy={energy}", "defaults.activation=relu6")
    x, y = batch()
    found = ep.converge(network, x, y, beta=0.4, free_steps=6, nudged_steps=5)
    assert list(found.phases) == ["free", "+β", "−β"]
    assert (found.examples, found.beta, found.network) == (4, 0.4, "ring")
    one_pass = energy == "predictive"
    free, settled = by_hand(network, x, {}, 1 if one_pass else 6)
    if one_pass:  # another one would change nothing
        free["states"] = {name: {**curves, "residual": [0.0]} for name, curves in free["states"].items()}
    assert found.phases["free"].one_pass is one_pass
    assert_curve(found, "free", free)
    for phase, beta in (("+β", 0.4), ("−β", -0.4)):
        assert_curve(found, phase, by_hand(network, x, settled, 5, target=y, beta=beta)[0])
    shares = [found.phases["free"].states[name].saturation[-1] for name in "ab"]
    assert shares[0] > 0, "units of relu6 at 0"
    assert math.isnan(found.phases["free"].states["y"].saturation[-1]), "the output has no bounds"


def test_a_solver_keeps_its_memory_between_sweeps() -> None:
    """States of Anderson acceleration depend on those before, which relaxations of one sweep would forget."""
    network = engine(MIXED, "dynamics.anderson=4", "defaults.activation=relu6")
    x, _ = batch()
    found = ep.converge(network, x, free_steps=20, tolerance=0).phases["free"]
    recorded = network.relax(x, steps=20, tolerance=0, record=True).trajectory
    assert found.residual == [sweep.residual for sweep in recorded]
    assert found.energy == [float(sweep.energy.mean()) for sweep in recorded]
    assert by_hand(network, x, {}, 20)[0]["residual"] != pytest.approx(found.residual, rel=1e-3)


def test_phases_follow_from_targets_and_rule() -> None:
    x, y = batch()
    expected = {"centered": ["free", "+β", "−β"], "positive": ["free", "+β"], "implicit": ["free"]}
    for rule, phases in expected.items():
        network = engine(MIXED, f"learning.estimator={rule}")
        assert list(ep.converge(network, x, y).phases) == phases
        found = ep.converge(network, x)
        assert (list(found.phases), found.beta) == (["free"], None)


def test_the_feed_forward_network_is_one_pass() -> None:
    network = engine(MIXED, "learning.estimator=backprop")
    x, y = batch()
    (curve,) = ep.converge(network, x, y).phases.values()
    assert (curve.sweeps, curve.energy, curve.residual, curve.status) == ([1], None, [0.0], "CONVERGED")
    assert all(state.residual == [0.0] for state in curve.states.values())
    states = network.predict(x).states
    assert curve.states["d"].activity == [pytest.approx(float(states["d"].abs().mean()))]


def test_a_forward_pass_has_no_curve_of_its_own() -> None:
    """One point is no curve: panels that would hold nothing else are left out, and leave no hole."""

    def panels(*overrides: str) -> dict[str, list[str]]:
        axes = ep.converge(engine(MIXED, *overrides), *batch()).plot().axes
        return {one.get_title(): [line.get_label() for line in one.get_lines()] for one in axes if one.axison}

    predictive, both = panels("energy=predictive"), panels()
    assert "Energy, free phase" in both
    assert both["Residual"][:3] == ["free", "+β", "−β"]
    assert "Energy, free phase" not in predictive
    assert predictive["Residual"][:2] == ["+β", "−β"]
    assert list(panels("learning.estimator=backprop")) == ["Activity", "Units at a bound"]


@pytest.mark.parametrize(("count", "named", "title"), [(13, 13, "states"), (30, 15, "states (15 of 30)")])
def test_the_legend_names_every_state_or_says_how_many(count: int, named: int, title: str) -> None:
    state = {"activity": [0.5, 0.6], "saturation": [0.0, 0.1], "residual": [1.0, 0.1]}
    states = {f"s{i}": state for i in range(count)}
    phase = {"sweeps": [1, 2], "energy": [0.0, -1.0], "residual": [1.0, 0.1], "states": states}
    (legend,) = draw_settling("many", {"free": phase}).legends
    assert (len(legend.get_texts()), legend.get_title().get_text()) == (named, title)


def test_there_is_no_energy_with_untied_feedback() -> None:
    found = ep.converge(engine(MIXED, "learning.feedback=untied"), *batch())
    assert [phase.energy for phase in found.phases.values()] == [None] * 3
    assert "–" in found.lines()[3]
    found.plot()


def test_phases_stop_at_the_tolerance_and_no_nudge_follows_divergence() -> None:
    x, y = batch()
    settled = ep.converge(engine(), x, y, free_steps=500, tolerance=1e-6)
    assert settled.phases["free"].status == "CONVERGED"
    assert len(settled.phases["free"].sweeps) < 500
    wild = ep.converge(engine(MIXED, "defaults.activation=identity", "defaults.gain=9"), 1e3 * x, y, free_steps=60)
    assert [(name, phase.status) for name, phase in wild.phases.items()] == [("free", "DIVERGED")]
    json.dumps(wild.to_dict(), allow_nan=False)
    wild.plot()


def test_a_function_sees_every_sweep_and_nothing_is_kept() -> None:
    network, (x, _) = engine(), batch()
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def see(sweep: Sweep) -> None:
        nonlocal most
        alive.append(weakref.ref(sweep.states["a"]))
        most = max(most, sum(one() is not None for one in alive))

    found = network.relax(x, steps=12, tolerance=0, record=see)
    assert (len(alive), most, found.trajectory) == (12, 1, [])
    with pytest.raises(ep.EpgraphError, match="record expects True or False"):
        network.relax(x, record="yes")  # type: ignore[arg-type]


# Where the network and the examples are from


def test_a_run_is_looked_at_with_its_weights_and_its_own_test_examples(tmp_path: Path) -> None:
    result = ep.train(NET, "digits", out=tmp_path / "run", limit=60, epochs=1, pictures=False, warn=lambda _: None)
    options: dict[str, Any] = {"examples": 16, "warn": lambda _: None}
    found = ep.converge(tmp_path / "run", **options)
    assert (found.source, found.examples) == ("test examples of digits", 16)
    assert found == ep.converge(tmp_path / "run" / "last.pt", **options)
    of_engine = ep.converge(result.engine, data=result.data, **options)
    assert found.phases["−β"].energy == pytest.approx(of_engine.phases["−β"].energy)
    initial = ep.converge(NET, data=result.data, **options)
    assert initial.phases["free"].energy != pytest.approx(found.phases["free"].energy, rel=1e-3)
    # Settings may be others, and the weights stay.
    longer = ep.converge(tmp_path / "run", overrides=["dynamics.free_steps=12"], **options)
    assert longer.phases["free"].energy[:10] == pytest.approx(found.phases["free"].energy)  # type: ignore[index]
    assert len(longer.phases["free"].sweeps) == 12


def test_without_data_the_examples_are_noise(tmp_path: Path) -> None:
    found = ep.converge(NET, examples=3)
    assert (found.source, found.examples, len(found.phases)) == ("noise in [0, 1]", 3, 3)
    assert found == ep.converge(ep.load(NET), examples=3)
    missing = ep.converge(NET, examples=3, overrides=["data.name=mnist", f"data.root={tmp_path}"])
    assert missing.source.startswith("noise in [0, 1]: the data set mnist cannot be read")
    with pytest.raises(ep.EpgraphError, match="mnist"):
        ep.converge(NET, data="mnist", data_root=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": torch.zeros(2, dtype=torch.int64)}, "y is given without x"),
        ({"x": torch.rand(2, 1, 8, 8), "data": "digits"}, "leave one of them out"),
        ({"beta": -1}, "beta must be a positive number"),
        ({"examples": 0}, "examples must be at least 1"),
        ({"free_steps": 0}, "free_steps must be at least 1"),
        ({"x": torch.rand(2, 3)}, "input 'x' expects a batch of 1×8×8"),
        ({"dtype": "float12"}, "unknown dtype 'float12'"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=message):
        ep.converge(NET, **options)


# Text and picture


def test_advice_says_what_to_change_where_a_phase_does_not_settle() -> None:
    x, y = batch()
    short = ep.converge(engine(), x, y, free_steps=1, nudged_steps=1)
    assert [line.partition(":")[0] for line in short.advice] == list(short.phases)
    assert "raise dynamics.free_steps, or lower the gains" in short.advice[0]
    assert "raise dynamics.nudged_steps, or lower learning.beta" in short.advice[1]
    assert short.lines()[-len(short.advice) :] == list(short.advice)
    assert ep.converge(engine(), x, y, free_steps=500, nudged_steps=500).advice == ()
    # Who differentiates the sweeps, or adds noise, has no equilibrium to reach.
    assert ep.converge(engine(RING, "learning.estimator=unrolled"), x, y, free_steps=1).advice == ()
    # A residual that does not spoil the gradient is no reason for advice.
    assert min(phase.mean_residual for phase in short.phases.values()) > UNSETTLED
    near = ep.converge(engine(), x, y, free_steps=5, nudged_steps=3)
    assert min(phase.mean_residual for phase in near.phases.values()) > UNSETTLED
    assert near.advice == ()
    assert "after 1 sweep, and the gradient has a cosine of 0.89 to that of the network at rest" in short.advice[0]
    (wild,) = ep.converge(engine(MIXED, "defaults.activation=identity", "defaults.gain=9"), 1e3 * x, y).advice
    assert wild.startswith("free: states grew without bound")


def test_text_and_picture_show_names_as_they_are(tmp_path: Path) -> None:
    name = "<b>$a_$ 1\n2\u202e"
    found = ep.converge(json.dumps({**RING, "name": name.replace("$", "$$")}), *batch())
    assert found.lines()[0].startswith("<b>$a_$ 1\\n2\\u202e on 4 examples")
    figure = found.plot(tmp_path / "settling.svg")
    drawn = (tmp_path / "settling.svg").read_text()
    assert drawn.startswith("<?xml")
    assert "<b>" not in drawn.replace("<!-- <b>", "")
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    lines = {axes.get_title(): axes.get_lines() for axes in figure.axes}
    free, nudged = found.phases["free"], found.phases["−β"]
    assert list(lines["Energy, free phase"][0].get_ydata()) == free.energy
    assert free.energy is not None
    assert nudged.energy is not None
    positive, negative = lines["Energy, nudged phases"]
    assert (positive.get_label(), negative.get_label()) == ("+β", "−β")
    assert list(negative.get_ydata()) == [value - free.energy[-1] for value in nudged.energy]
    assert list(negative.get_xdata()) == [len(free.sweeps) + i for i in nudged.sweeps]
    # Every state in every phase, and the line at which the free phase ends.
    *curves, _ = lines["Activity"]
    assert [line.get_linestyle() for line in curves] == ["-"] * 2 * len(free.states) + ["--"] * len(free.states)
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()][-2:] == ["+β", "−β"]
    with pytest.raises(ep.EpgraphError, match=r"unknown suffix '\.bmp'"):
        found.plot(tmp_path / "settling.bmp")
