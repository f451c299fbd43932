"""The comments of emitted code say what the code below them computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from epgraph.cli import run

NETWORK = """
epgraph: 2
input: {name: x, shape: [4]}
output: {name: y, classes: 3}
defaults: {activation: ACTIVATION}
states: {h: {shape: [5]}}
edges:
  - {from: x, to: h, dense: {}}
  - {from: h, to: y, dense: {}}
"""
HOPFIELD = "c[h] + A[h_y]ᵀ y"
BACK = "A[h_y]ᵀ(σ′ ⊙ ε)[y]"


@pytest.mark.parametrize(
    ("activation", "overrides", "comment"),
    [
        ("relu6", [], f"h ← relu6({HOPFIELD})"),
        ("relu6", ["dynamics.over_relaxation=1.5"], f"h ← relu6(h + ω({HOPFIELD} − h))"),
        ("logistic", ["dynamics.over_relaxation=0.8"], f"h ← h + ω(logistic({HOPFIELD}) − h)"),
        ("logistic", ["dynamics.flow=0.5"], f"h ← logistic(σ⁻¹(h) + ω({HOPFIELD} − σ⁻¹(h)))"),
        ("relu6", ["energy=predictive"], f"h ← relu6(a[h] + {BACK})"),
        ("relu6", ["energy=predictive", "dynamics.update=pgd"], f"h ← relu6(relu6(a[h]) + {BACK})"),
        ("logistic", ["energy=predictive"], f"h ← logistic(a[h]) + {BACK}"),
        ("identity", ["energy=predictive"], f"h ← identity(a[h] + {BACK})"),
    ],
)
def test_an_update(activation: str, overrides: list[str], comment: str, tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(NETWORK.replace("ACTIVATION", activation), encoding="utf-8")
    options = [part for override in overrides for part in ("--set", override)]
    assert run(["compile", str(file), "-o", str(tmp_path / "engine.py"), *options]) == 0
    lines = (tmp_path / "engine.py").read_text(encoding="utf-8").splitlines()
    assert f"# {comment}" in [line.strip() for line in lines]
