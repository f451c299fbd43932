"""What the user writes beyond states and edges, as pydantic models: blocks, instances, patterns, groups.

``language/expand`` checks the structure of sugar against these, and writes it out; values, in whose place expressions
may stand, are checked where they arrive in the flat form.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from epgraph.language.model import Model, Name
from epgraph.language.sweep import SweepSpec

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
    """A template of states and edges, with any number of instances."""

    parameters: Parameters = Field(
        default_factory=dict,
        description="Parameters by name with their defaults; every instance must give a parameter with null.",
        examples=[{"channels": 64, "stride": 2}],
    )
    ports: list[Name] = Field(
        default_factory=list,
        description="Names of further states outside that the block's edges may join, beside 'in'.",
        examples=[["other"]],
    )
    defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="As the file's 'defaults', for the states and edges of the block.",
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
        default=None, description="State that the name of an instance means; by default the last.", examples=["b"]
    )


class InstanceSpec(Model):
    """An instance of a block in place of a state, or a row of instances."""

    block: Name = Field(description="Name of the block.", examples=["residual"])
    source: Reference | None = Field(
        default=None,
        alias="from",
        description="State of the port 'in'; with 'repeat', of the first instance: each later one continues from the "
        "output of the one before.",
        examples=["x"],
    )
    repeat: Annotated[int, Field(ge=0, le=4_000)] | None = Field(
        default=None, description="Number of instances, with 1, 2, … appended to the name; 0 gives none.", examples=[4]
    )
    given: dict[Name, Any] = Field(
        default_factory=dict,
        alias="with",
        description="Values of the block's parameters; {each: […]} has one value for each instance.",
        examples=[{"channels": {"each": [64, 128]}}],
    )
    ports: dict[Name, Any] = Field(
        default_factory=dict, description="States of the further ports.", examples=[{"other": "h1"}]
    )
    defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="Defaults of these instances, which override those of the block.",
        examples=[{"gain": 0.6}],
    )
    join: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{0,8}$")] = Field(
        default="_",
        description="Text between the names of an instance and of its states in the flat form.",
        examples=[""],
    )


class PatternSpec(Model):
    """Keys of an entry for several edges, beside its kind: every 'from' with every 'to', or all pairs 'among'."""

    source: Selection | None = Field(default=None, alias="from", description="First ends of the edges.")
    target: Selection | None = Field(default=None, alias="to", description="Second ends of the edges.")
    at: Selection | None = Field(default=None, description="States on which a unary kind acts.")
    among: Selection | None = Field(
        default=None,
        description="States to join in all pairs, from the earlier to the later; in place of 'from' and 'to'.",
        examples=["late"],
    )
    apart: Annotated[int, Field(ge=1)] | list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="With 'among', join only states at this distance in their order.", examples=[2]
    )
    without: Selection | None = Field(
        default=None, alias="except", description="States that the pattern leaves out.", examples=[["h3.a"]]
    )


GroupField = Annotated[Selection, Field(description="States of the group: names, globs, other groups.")]


class SugarSpec(Model):
    """Sections of sugar, which expansion removes before a network is checked."""

    include: Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="Files to merge, which this file overrides; paths are relative to this file.",
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
        description="Names for several states, to use as ends of edges.",
        examples=[{"late": ["h3.*", "h4.*"]}],
    )
    sweep: SweepSpec | None = Field(
        default=None,
        description="Runs that 'epgraph sweep' makes of this network; all other commands ignore it.",
        examples=[{"grid": {"learning.beta": [0.1, 0.2]}, "seeds": "0..4"}],
    )
