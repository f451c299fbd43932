"""Networks whose names look alike: in another case, without '_', numbered, or words of Python and of epgraph."""

from __future__ import annotations

import copy
import random
from typing import Any

ALIKE = tuple(
    words.split()
    for words in (
        "h H h_1 H_1 h1 H1 h_2 h_1_1",
        "hA h_a HA Ha ha h_A hA_1",
        "conv1A conv1a conv1_a conv_1a conv_1A",
        "upA up_a UpA Up_A upA_1 up_a_1",
        "Y y y_1 Y_1 yY y_Y",
        "True true TRUE None none False self Self",
        "if class lambda def return not import is",
        "sum abs len print type id range slice getattr complex",
        "torch inf nan device total fill_ taps inner launch correlate interleave run",
        "s_x s_h w_h b_h c_h t_h p_h k_free_1 pair p q alpha",
        "beta omega phi own energy output residuals relax gradient readout",
        "forward training keys values pop weight feedback bias train eval",
        "biases bias level kind update relaxed pulled prepare warm free local constants all",
    )
)
"""Names that something could take for one another, or for its own."""


def plain(name: str) -> str:
    """What is left of a name where case and '_' do not count."""
    return name.lower().replace("_", "")


def names(rng: random.Random, count: int) -> list[str]:
    """Draw different names: two that differ in case or '_' alone, others of a row of ``ALIKE`` or of few letters."""
    row = rng.choice(ALIKE)
    found = [rng.choice(row)]
    while len(found) < count:
        drawn = rng.choice("aA") + "".join(rng.choices("aA_1", k=rng.randint(1, 4)))
        twin = rng.choice((found[0].swapcase(), f"{found[0]}_", found[0].title(), f"{found[0][0]}_{found[0][1:]}"))
        name = twin if len(found) == 1 else rng.choice(row) if rng.random() < 0.7 else drawn
        if name not in found:
            found.append(name)
    rng.shuffle(found)
    return found


def renamed(data: dict[str, Any], states: dict[str, str], edges: dict[str, str | None]) -> dict[str, Any]:
    """Return a network in the flat form with other names of states and edges.

    An edge that is given None, or nothing, is left without a name.
    """
    made = copy.deepcopy(data)
    for part in ("input", "output"):
        made[part]["name"] = states[data[part]["name"]]
    made["states"] = {states[name]: value for name, value in made["states"].items()}
    for edge in made["edges"]:
        for key in ("from", "to", "at"):
            if key in edge:
                edge[key] = states[edge[key]]
        if "tie" in edge:
            edge["tie"] = edges[edge["tie"]]
        name = edges.get(edge.pop("name", ""))
        if name is not None:
            edge["name"] = name
    return made


def lookalike(data: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return a network with names that look alike."""
    states = [data["input"]["name"], *data["states"], data["output"]["name"]]
    edges = [edge["name"] for edge in data["edges"]]
    tied = any("tie" in edge for edge in data["edges"])
    given = names(rng, len(edges))
    unnamed = [None if not tied and rng.random() < 0.3 else name for name in given]
    return renamed(
        data, dict(zip(states, names(rng, len(states)), strict=True)), dict(zip(edges, unnamed, strict=True))
    )
