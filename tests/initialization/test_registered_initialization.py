"""Rules of the user's own that draw initial parameters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.cli import run
from epgraph.init_rules import INITIAL
from tests.helpers.snippets import plugins, registered

NAME = registered("initialization")
PLUGIN = plugins()[NAME]
"""The example of docs/extending.md: weights with orthogonal rows or columns, and the gain 1/2."""

MLP: dict[str, Any] = {
    "epgraph": 2,
    "input": {"shape": [1, 8, 8]},
    "output": {"classes": 10},
    "states": {"h": {"shape": [16]}},
    "edges": [{"from": "x", "to": "h", "dense": {}}, {"from": "h", "to": "y", "dense": {}}],
    "dynamics": {"free_steps": 5, "nudged_steps": 5},
    "training": {"epochs": 1},
    "init": NAME,
}


def test_a_rule_draws_weights_and_leaves_the_rest_as_published() -> None:
    exec(PLUGIN, {})
    engine = ep.compile(ep.Architecture.model_validate(MLP), dtype=torch.float64)
    published = ep.compile(ep.Architecture.model_validate({**MLP, "init": "published"}), dtype=torch.float64)
    weight = engine.edges["h_y"].weight
    assert isinstance(weight, Tensor)
    torch.testing.assert_close(weight @ weight.T, 0.5**2 * torch.eye(10, dtype=torch.float64), atol=1e-6, rtol=0)
    for name in ("states.h.bias", "states.y.bias"):
        assert torch.equal(engine.state_dict()[name], published.state_dict()[name])
    assert ep.Architecture.model_validate(engine.architecture.to_dict()) == engine.architecture


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (
            {"edges.h_z.weight": torch.zeros(10, 16)},
            "init.rule 'mine' draws 'edges.h_z.weight', which the network",
        ),
        ({"edges.h_y.weight": torch.zeros(16, 10)}, "draws the shape (16, 10) for 'edges.h_y.weight': expected the"),
        ({"edges.h_y.weight": 0.5}, "draws 0.5 for 'edges.h_y.weight': expected the shape (10, 16)"),
    ],
)
def test_what_is_drawn_is_checked(drawn: dict[str, Any], message: str) -> None:
    ep.register_initialization("mine", lambda graph, seed, x: drawn)
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        ep.compile(ep.Architecture.model_validate({**MLP, "init": "mine"}))


@pytest.mark.parametrize(
    ("name", "draw", "traits", "message"),
    [
        ("published", len, {}, "'published' cannot be registered: it is built in"),
        ("mine", 3, {}, "'mine' cannot be registered: expected a function of (graph, seed, x), found 3"),
        ("mine", len, {"measure": True}, "an Initialization has no trait 'measure'; did you mean 'measures'?"),
    ],
)
def test_what_cannot_be_registered(name: str, draw: Any, traits: dict[str, Any], message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        ep.register_initialization(name, draw, **traits)


def test_a_rule_that_measures_sees_the_data_and_keys_that_it_does_not_read_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PLUGIN, encoding="utf-8")
    Path("net.yaml").write_text(json.dumps({**MLP, "init": {"rule": NAME, "norm": 0.5}}), encoding="utf-8")
    assert run(["check", "net.yaml"]) == 1
    said = capsys.readouterr().err
    assert "'rule' expects 'published'" in said
    assert "'graph_aware'" in said
    assert f", found text '{NAME}'" in said
    assert run(["check", "net.yaml", "--plugin", "mine.py"]) == 0
    assert f"'norm' has no effect: init.rule {NAME} does not use it" in capsys.readouterr().err
    seen = []

    def measuring(graph: object, seed: int, x: Tensor | None) -> dict[str, Tensor]:
        seen.append(None if x is None else tuple(x.shape))
        return {}

    ep.register_initialization("measuring", measuring, measures=True)
    Path("net.yaml").write_text(json.dumps({**MLP, "init": "measuring"}), encoding="utf-8")
    assert run(["train", "net.yaml", "--data", "digits", "--limit", "64", "--out", "run"]) == 0
    assert (32, 1, 8, 8) in seen


def test_the_schema_has_it() -> None:
    exec(PLUGIN, {})
    schema = ep.Architecture.model_json_schema()["$defs"]["InitSpec"]["properties"]["rule"]
    assert schema["enum"] == [*INITIAL]
    assert {"published", "graph_aware", NAME} <= INITIAL.keys()
