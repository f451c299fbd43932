"""The network as a graph on networkx: shapes, neighbors, schedules, checks."""

from epgraph.graph.assemble import build
from epgraph.graph.checks import check, mistakes
from epgraph.graph.checks.estimators import check_rule
from epgraph.graph.folders import SWEEP, refuse_sweep
from epgraph.graph.guarantees import guaranteed
from epgraph.graph.load import checked, declared, inspect, load, merged_document, no_collection, read, survey, surveyed
from epgraph.graph.network import Edge, NetworkGraph, State
from epgraph.graph.schedule import SCHEDULES, Schedule, forward_pass, make_schedule

__all__ = [
    "SCHEDULES",
    "SWEEP",
    "Edge",
    "NetworkGraph",
    "Schedule",
    "State",
    "build",
    "check",
    "check_rule",
    "checked",
    "declared",
    "forward_pass",
    "guaranteed",
    "inspect",
    "load",
    "make_schedule",
    "merged_document",
    "mistakes",
    "no_collection",
    "read",
    "refuse_sweep",
    "survey",
    "surveyed",
]
