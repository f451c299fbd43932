"""What the user writes beyond states and edges, as pydantic models: blocks, instances, patterns, groups.

``language/expand`` checks the structure of sugar against these, and writes it out; values, in whose place expressions
may stand, are checked where they arrive in the flat form.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from epgraph.language.model import Model, Name

Reference = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1000,
        description="A state, an instance (its output), a state inside one ('h2.b' or 'h2_b'), or a port.",
    ),
]
Selection = Annotated[
    Reference | list[Reference],
    Field(
        description="A state, a list of states, the name of a group, or a glob such as 'h*.b' over names of states.",
        examples=["h*.b", ["h1", "h2"]],
    ),
]
Parameters = Annotated[
    dict[Name, Any],
    Field(
        description="Parameters and their values: numbers, texts, lists; expressions over those before them.",
        examples=[{"widths": [128, 256, 512]}],
    ),
]


class BlockSpec(Model):
    """A template of states and edges, of which the network has any number of instances."""

    parameters: Parameters = Field(
        default_factory=dict,
        description="Parameters by name with their defaults; null has to be given by every instance.",
        examples=[{"channels": 64, "stride": 2}],
    )
    ports: list[Name] = Field(
        default_factory=list,
        description="Names of further states outside that the block's edges may join; 'in' is always there.",
        examples=[["other"]],
    )
    defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="As the file's 'defaults', for what stands in the block.",
        examples=[{"gain": 0.6}],
    )
    states: dict[Name, Any] = Field(
        default_factory=dict,
        description="States, and instances of other blocks, in order; a block of edges between its ports has none.",
        examples=[{"a": {"channels": "$channels"}}],
    )
    edges: list[Any] = Field(
        default_factory=list,
        description="Edges between the block's states and its ports.",
        examples=[[{"from": "in", "to": "a", "conv": {"kernel": 3}}]],
    )
    out: Reference | None = Field(
        default=None, description="State that the name of an instance stands for; left out, the last.", examples=["b"]
    )


class InstanceSpec(Model):
    """A state that is a block of states, or a row of them."""

    block: Name = Field(description="Name of the block.", examples=["residual"])
    source: Reference | None = Field(
        default=None,
        alias="from",
        description="State that the port 'in' is; with 'repeat' that of the first, and the output of the one before "
        "for every later one.",
        examples=["x"],
    )
    repeat: Annotated[int, Field(ge=0, le=4_000)] | None = Field(
        default=None, description="Number of instances, named with 1, 2, … behind the name; 0 makes none.", examples=[4]
    )
    given: dict[Name, Any] = Field(
        default_factory=dict,
        alias="with",
        description="Values of the block's parameters; {each: […]} gives one to each instance.",
        examples=[{"channels": {"each": [64, 128]}}],
    )
    ports: dict[Name, Any] = Field(
        default_factory=dict, description="State that each further port is.", examples=[{"other": "h1"}]
    )
    defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="Defaults of these instances, before those of the block.",
        examples=[{"gain": 0.6}],
    )
    join: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{0,8}$")] = Field(
        default="_",
        description="Text between the name of an instance and those of its states in the flat form.",
        examples=[""],
    )


class PatternSpec(Model):
    """Keys of an edge that stands for several, beside its kind: every 'from' with every 'to', or all pairs among."""

    source: Selection | None = Field(default=None, alias="from", description="Where the edges come from.")
    target: Selection | None = Field(default=None, alias="to", description="Where the edges go to.")
    at: Selection | None = Field(default=None, description="States that a kind of one state acts on.")
    among: Selection | None = Field(
        default=None,
        description="All pairs of these states, from the earlier to the later; in place of 'from' and 'to'.",
        examples=["late"],
    )
    apart: Annotated[int, Field(ge=1)] | list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="With 'among', only from every state to the one so many later.", examples=[2]
    )
    without: Selection | None = Field(
        default=None, alias="except", description="States that the pattern leaves out.", examples=[["h3.a"]]
    )


GroupField = Annotated[Selection, Field(description="States of the group: names, globs, other groups.")]


class SugarSpec(Model):
    """Sections that are written out before a network is checked."""

    include: Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="Files whose sections come before those of this one, which win; paths are relative to this file.",
        examples=[["blocks/residual.yaml"]],
    )
    parameters: Parameters = Field(default_factory=dict)
    blocks: dict[Name, BlockSpec] = Field(
        default_factory=dict,
        description="Templates of states and edges by name; an instance is a state with 'block'.",
        examples=[{"layer": {"states": {"s": {"channels": 8}}, "edges": [{"from": "in", "to": "s", "dense": {}}]}}],
    )
    groups: dict[Name, GroupField] = Field(
        default_factory=dict,
        description="Names of several states, for the ends of edges.",
        examples=[{"late": ["h3.*", "h4.*"]}],
    )
