"""The network as a graph on networkx: shapes, neighbours, schedules, checks."""

from epgraph.graph.doubts import doubts
from epgraph.graph.guarantees import guaranteed
from epgraph.graph.load import declared, inspect, load, no_collection, read, survey
from epgraph.graph.network import Edge, NetworkGraph, State, build
from epgraph.graph.rules import check_rule
from epgraph.graph.schedule import SCHEDULES, Schedule, make_schedule
from epgraph.graph.solver import check_solver

__all__ = [
    "SCHEDULES",
    "Edge",
    "NetworkGraph",
    "Schedule",
    "State",
    "build",
    "check_rule",
    "check_solver",
    "declared",
    "doubts",
    "guaranteed",
    "inspect",
    "load",
    "make_schedule",
    "no_collection",
    "read",
    "survey",
]
