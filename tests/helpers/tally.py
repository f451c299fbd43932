"""What random populations covered, printed at the end of the run, by whichever process ran them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

_COVERED: dict[str, Counter[str]] = {}
_NETWORKS: Counter[str] = Counter()
_NOTES: list[str] = []


_running: pytest.Item


def pytest_runtest_call(item: pytest.Item) -> None:
    """Remember the test that runs: what it says goes into its report, which reaches the process that prints."""
    global _running
    _running = item


@pytest.fixture(scope="session")
def tally() -> Callable[[str, Counter[str]], None]:
    """Count the features of one more random network of a population."""

    def count(population: str, features: Counter[str]) -> None:
        _running.user_properties.append(("covered", (population, dict(features))))

    return count


@pytest.fixture(scope="session")
def note() -> Callable[[str], None]:
    """Print a line in the summary of the run: how many graphs qualified, say."""
    return lambda line: _running.user_properties.append(("note", line))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "call":
        return
    for kind, value in report.user_properties:
        if kind == "note":
            _NOTES.append(str(value))
        elif kind == "covered":
            population, features = value  # type: ignore[misc]
            _COVERED.setdefault(population, Counter()).update(features)
            _NETWORKS[population] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from tests.helpers.topologies import coverage_table  # torch, which runs without random networks do not need

    for population, features in _COVERED.items():
        terminalreporter.section(f"{population}: {_NETWORKS[population]} random networks")
        terminalreporter.write_line(coverage_table(features, _NETWORKS[population]))
    if _NOTES:
        terminalreporter.section("random graphs that qualified")
        for line in _NOTES:
            terminalreporter.write_line(line)
