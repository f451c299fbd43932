"""The topologies on which ways to draw initial weights are compared (``initialisation.py``).

``LISTED`` was committed before any of them had been run. ``DEVELOPMENT`` are others, on which the rule and the recipe
were chosen. All read the 8×8 digits of scikit-learn; no state and no edge says anything about its gain.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

Content = dict[str, Any]
"""Plain values of an architecture, without dynamics, learning and training."""

INPUT = {"name": "x", "shape": [1, 8, 8]}
OUTPUT = {"name": "y", "classes": 10}
SAME = {"kernel": 3, "padding": 1}
HALVED = {**SAME, "stride": 2}
POOLED = {**SAME, "pool": "max"}


def join(source: str, target: str, kind: str, **options: Any) -> Content:
    """One edge."""
    return {"from": source, "to": target, kind: options}


def network(name: str, states: dict[str, Content], edges: Iterable[Content], activation: str = "relu6") -> Content:
    """Put a topology together."""
    return {
        "epgraph": 2,
        "name": name,
        "input": INPUT,
        "output": OUTPUT,
        "defaults": {"activation": activation},
        "states": states,
        "edges": list(edges),
    }


def dense(name: str, *widths: int, skips: Iterable[tuple[int, int]] = (), activation: str = "relu6") -> Content:
    """Chain of dense layers; a skip (i, j) joins the layers i and j, counted from 1."""
    names = ["x", *(f"h{i}" for i in range(1, len(widths) + 1)), "y"]
    edges = [join(a, b, "dense") for a, b in pairwise(names)]
    edges += [join(names[i], names[j], "dense") for i, j in skips]
    states = {n: {"shape": [w]} for n, w in zip(names[1:], widths, strict=False)}
    return network(name, states, edges, activation)


def conv(
    name: str,
    channels: Iterable[int],
    steps: Iterable[Content],
    *,
    skips: Iterable[Content] = (),
    activation: str = "relu6",
) -> Content:
    """Chain of convolutions with a dense head; ``skips`` are edges of their own."""
    states: dict[str, Content] = {}
    edges = []
    last = "x"
    for number, (width, options) in enumerate(zip(channels, steps, strict=True), 1):
        states[f"h{number}"] = {"channels": width}
        edges.append(join(last, f"h{number}", "conv", **options))
        last = f"h{number}"
    return network(name, states, [*edges, join(last, "y", "dense"), *skips], activation)


def blocks(name: str, *channels: int, halved: Iterable[int] = (), kind: str = "skip") -> Content:
    """Residual blocks as in Hopfield-ResNet13: two convolutions a block and a skip around both.

    ``halved`` counts the blocks, from 1, that halve the image; ``kind`` is that of the skips around the others.
    """
    halved = set(halved)
    widths, steps, skips = [], [], []
    last, before = "x", 1
    for number, width in enumerate(channels, 1):
        end = f"h{2 * number}"
        widths += [width, width]
        steps += [SAME, HALVED if number in halved else SAME]
        if kind == "identity" and width == before and number not in halved:
            skips.append(join(last, end, "identity"))
        else:
            skips.append(join(last, end, "skip", stride=2 if number in halved else 1))
        last, before = end, width
    return conv(name, widths, steps, skips=skips)


LISTED: dict[str, Content] = {
    found["name"]: found
    for found in (
        # 4 states: what trains at any gain.
        dense("dense4", 64, 48, 32),
        # 5 states, max pooling.
        conv("pooled5", (16, 24, 24, 32), (POOLED, SAME, POOLED, SAME)),
        # 6 states of a hard sigmoid, whose box is narrow.
        dense("sigmoid6", 48, 48, 48, 32, 32, activation="relu1"),
        # 7 states of tanh, widths that narrow to a waist and widen again.
        dense("waist7", 48, 24, 8, 8, 24, 48, activation="tanh"),
        # 9 states, 8 channels, no skips: narrow and deep.
        conv("chain9", (8,) * 8, (SAME, SAME, HALVED, SAME, SAME, HALVED, SAME, SAME)),
        # 9 states: the topology of Hopfield-ResNet13 at a sixteenth of its width.
        blocks("resnet9", 8, 16, 32, 32, halved=(1, 2, 3)),
        # 12 states, skips over two to seven layers, two of them into the output.
        dense("woven12", *(32,) * 11, skips=((1, 3), (2, 6), (3, 9), (5, 12), (8, 12), (4, 10))),
        # 13 states, 12 channels, residual blocks.
        blocks("resnet13", *(12,) * 6, halved=(2, 4)),
        # 16 states, dense, no skips.
        dense("chain16", *(24,) * 15),
        # 24 states, 8 channels, a skip around every second pair of convolutions.
        conv(
            "ladder24",
            (8,) * 23,
            (HALVED, *(SAME,) * 11, HALVED, *(SAME,) * 10),
            skips=[join(f"h{i}", f"h{i + 2}", "skip") for i in (*range(1, 11, 2), *range(13, 22, 2))],
        ),
    )
}
"""The topologies of the comparison."""

DEVELOPMENT: dict[str, Content] = {
    found["name"]: found
    for found in (
        dense("dense5", 40, 40, 24, 24),
        dense("chain11", *(20,) * 10),
        conv("chain8", (10,) * 7, (SAME, HALVED, SAME, SAME, HALVED, SAME, SAME)),
        conv("pooled4", (12, 16, 24), (POOLED, POOLED, SAME)),
        blocks("resnet7", 10, 20, 20, halved=(1, 2)),
        blocks("resnet17", *(8,) * 8, halved=(1, 5), kind="identity"),
        dense("woven9", *(24,) * 8, skips=((1, 4), (2, 5), (3, 9), (6, 9)), activation="tanh"),
    )
}
"""The topologies on which rule and recipe were chosen."""
