"""Probes: short measurements on this machine that decide in what precision, and on how many threads, a network runs."""

from epgraph.probes.measuring import NetworkProbe
from epgraph.probes.precision import AUTO, PrecisionChoice, choose_precision
from epgraph.probes.threads import ThreadChoice, choose_threads, measure_threads

__all__ = [
    "AUTO",
    "NetworkProbe",
    "PrecisionChoice",
    "ThreadChoice",
    "choose_precision",
    "choose_threads",
    "measure_threads",
]
