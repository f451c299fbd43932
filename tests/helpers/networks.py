"""Networks that several test modules use, as what YAML would give."""

from __future__ import annotations

from typing import Any

import torch

RING: dict[str, Any] = {
    "epgraph": 2,
    "name": "ring",
    "input": {"name": "x", "shape": [2, 6, 6]},
    "output": {"name": "y", "classes": 3},
    "states": {name: {"channels": 3} for name in "abcd"},
    "edges": [
        {"from": "x", "to": "a", "conv": {"kernel": 3, "padding": 1}, "gain": 1.5},
        {"from": "a", "to": "b", "conv": {"kernel": 3, "padding": 1}, "gain": 0.8},
        {"from": "b", "to": "c", "conv": {"kernel": 3, "padding": 1}, "gain": 0.8},
        {"from": "c", "to": "d", "conv": {"kernel": 3, "padding": 1, "stride": 2}, "gain": 0.8},
        {"from": "a", "to": "c", "identity": {"scale": 0.2}},
        {"from": "a", "to": "d", "skip": {"stride": 2}, "gain": 0.5},
        {"from": "d", "to": "y", "dense": {}},
    ],
}


OPTIONS: dict[str, Any] = {
    "epgraph": 2,
    "name": "options",
    "input": {"name": "x", "shape": [4, 9, 8]},
    "output": {"name": "y", "classes": 3},
    "states": {
        **{name: {"channels": c} for name, c in (("a", 4), ("b", 6), ("c", 4), ("e", 3))},
        **{name: {} for name in ("d", "f", "g")},
    },
    "edges": [
        {"from": "x", "to": "a", "conv": {"kernel": [3, 1], "padding": "same"}},
        {"from": "a", "to": "b", "conv": {"kernel": 3, "padding": "same", "dilation": 2, "groups": 2}},
        {"from": "a", "to": "b", "conv": {"kernel": [1, 5], "padding": [0, 2]}},
        {"from": "a", "to": "b", "conv": {"kernel": 3, "padding": 1, "groups": 2}},
        {"from": "a", "to": "c", "conv": {"kernel": [2, 3], "stride": [2, 1], "padding": [0, 1]}},
        {"from": "a", "to": "d", "conv": {"kernel": 3, "stride": 2, "padding": 1, "groups": "depthwise"}},
        {"from": "d", "to": "e", "conv_transpose": {"kernel": 4, "stride": 2, "padding": 1}},
        {"from": "c", "to": "a", "conv_transpose": {"kernel": [2, 1], "stride": [2, 1], "output_padding": [1, 0]}},
        {"from": "e", "to": "f", "conv": {"kernel": 3, "padding": 1, "groups": "depthwise", "pool": "average"}},
        {"from": "a", "to": "g", "lateral": {"kernel": [3, 5]}},
        {"from": "b", "to": "y", "dense": {"rank": 2}},
        {"from": "e", "to": "y", "dense": {}},
        {"from": "f", "to": "y", "dense": {"rank": 3}},
        {"from": "g", "to": "a", "lateral": {}},
        {"from": "g", "to": "y", "dense": {}},
    ],
}
"""Every option of the convolutional and dense kinds, without max pooling."""


def repeated(blocks: int, **dynamics: Any) -> dict[str, Any]:
    """A chain of blocks, each with every kind of edge, a skip over it and two parallel edges."""
    states: dict[str, Any] = {"h0": {"channels": 2}}
    edges: list[dict[str, Any]] = [{"from": "x", "to": "h0", "conv": {"kernel": 3, "padding": 1}}]
    for i in range(blocks):
        a, b, c, d, after = f"h{i}", f"b{i}", f"c{i}", f"d{i}", f"h{i + 1}"
        states |= {b: {"channels": 3}, c: {"channels": 2}, d: {"shape": [4], "activation": "tanh"}}
        states[after] = {"channels": 2, "activation": {"relu": [0.5, 4.0]}}
        edges += [
            {"from": a, "to": b, "conv": {"kernel": 3, "padding": 1, "pool": "max"}},
            {"from": a, "to": c, "conv": {"kernel": 3, "padding": 1}},
            {"from": a, "to": d, "dense": {}, "name": f"one{i}"},
            {"from": a, "to": d, "dense": {}, "name": f"two{i}"},
            {"from": b, "to": d, "dense": {}},
            {"from": c, "to": after, "skip": {}},
            {"from": a, "to": after, "identity": {"scale": 0.5}},
            {"from": d, "to": after, "dense": {}},
        ]
    edges.append({"from": f"h{blocks}", "to": "y", "dense": {}})
    return {
        "epgraph": 2,
        "name": "repeated",
        "input": {"name": "x", "shape": [1, 4, 4]},
        "output": {"name": "y", "classes": 3},
        "dynamics": dynamics,
        "states": states,
        "edges": edges,
    }


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels for RING."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, 2, 6, 6, dtype=torch.float64, generator=generator), torch.tensor([0, 1, 2, 0])
