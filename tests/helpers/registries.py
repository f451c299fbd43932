"""What a test registers is taken out again, and the plugins that it ran."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from epgraph.activations import NAMED
from epgraph.activations.language import FAMILIES
from epgraph.compiler import BACKENDS
from epgraph.costs import COSTS
from epgraph.data import DATA_SETS
from epgraph.energies import ENERGIES
from epgraph.init_rules import INITIAL
from epgraph.kinds import KINDS
from epgraph.learning_rules import ESTIMATORS
from epgraph.optimizers import OPTIMIZERS
from epgraph.rates import RATE_SCHEDULES
from epgraph.registry import PLUGIN_MODULE
from epgraph.solvers import SOLVERS

REGISTRIES = (
    NAMED,
    FAMILIES,
    KINDS,
    COSTS,
    ENERGIES,
    SOLVERS,
    ESTIMATORS,
    INITIAL,
    BACKENDS,
    DATA_SETS,
    OPTIMIZERS,
    RATE_SCHEDULES,
)


@contextmanager
def kept_registries() -> Iterator[None]:
    """Restore every registry at the end, and forget the plugins that were run: a message names those that were not."""
    with ExitStack() as stack:
        stack.callback(_forget_plugins, set(sys.modules))
        for table in REGISTRIES:
            stack.enter_context(mock.patch.dict(table))
        yield


def _forget_plugins(before: set[str]) -> None:
    for name in sys.modules.keys() - before:
        if name.startswith(PLUGIN_MODULE):
            del sys.modules[name]
