"""What random populations covered, printed at the end of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.topologies import coverage_table

_COVERED: dict[str, Counter[str]] = {}
_NETWORKS: Counter[str] = Counter()
_NOTES: list[str] = []


@pytest.fixture(scope="session")
def tally() -> Callable[[str, Counter[str]], None]:
    """Count the features of one more random network of a population."""

    def count(population: str, features: Counter[str]) -> None:
        _COVERED.setdefault(population, Counter()).update(features)
        _NETWORKS[population] += 1

    return count


@pytest.fixture(scope="session")
def note() -> Callable[[str], None]:
    """Print a line in the summary of the run: how many graphs qualified, say."""
    return _NOTES.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for population, features in _COVERED.items():
        terminalreporter.section(f"{population}: {_NETWORKS[population]} random networks")
        terminalreporter.write_line(coverage_table(features, _NETWORKS[population]))
    if _NOTES:
        terminalreporter.section("random graphs that qualified")
        for line in _NOTES:
            terminalreporter.write_line(line)
