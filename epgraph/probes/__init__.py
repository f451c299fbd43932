"""Probes: short measurements that decide in what precision, and on how many threads, a network runs, and whether its
gradient is that of an equilibrium."""

from epgraph.probes.measuring import EXAMPLES, NetworkProbe
from epgraph.probes.precision import AUTO, USUAL, PrecisionChoice, choose_precision, lost
from epgraph.probes.rest import RestComparison, compare_at_rest
from epgraph.probes.threads import ThreadChoice, choose_threads, measure_threads

__all__ = [
    "AUTO",
    "EXAMPLES",
    "USUAL",
    "NetworkProbe",
    "PrecisionChoice",
    "RestComparison",
    "ThreadChoice",
    "choose_precision",
    "choose_threads",
    "compare_at_rest",
    "lost",
    "measure_threads",
]
