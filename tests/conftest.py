from __future__ import annotations

import os

# Before torch is loaded. Test networks are tiny, and on shared cores threads that wait for each other made the suite
# ten times slower; subprocesses inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile

# Backends that this machine's user has tuned must not change what is tested.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="epgraph-tests-")

import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

# What a script starts in the background or under nohup ignores these, and so would the runs that tests stop by them.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# What is drawn follows from the test, so that a tree passes or fails twice. `make test-fresh` draws anew.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
settings.register_profile("fresh", derandomize=False, print_blob=True)
# Hypothesis also draws from the constants of our modules that are loaded: in each worker of a parallel run others.
assert callable(providers._get_local_constants)  # type: ignore[attr-defined]
providers._get_local_constants = lambda constants=providers._local_constants: constants  # type: ignore[attr-defined]

pytest_plugins = ["tests.helpers.tally", "tests.helpers.browser"]

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the files in tests/golden")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector from the modules and tests that stay to the end: it read them again and again.

    What a test makes is collected as ever, only less often: at Python's own thresholds the collector took a tenth of
    the time of all tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        gc.enable()


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """Take out what a test registers: left there, it changed the schema of the language for the tests after it."""
    from tests.helpers.registries import kept_registries  # it loads torch

    with kept_registries():
        yield


@pytest.fixture(autouse=True)
def _progress() -> None:
    """Count the half minute to a line of progress from the start of a test.

    It is counted over all that a process does: on a busy machine some test had such a line in what it compares.
    """
    from epgraph.progress import current

    current().said()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with ``tests/golden/<name>``, byte by byte; ``--update-golden`` writes it instead."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        if not path.exists():
            pytest.fail(f"{path} is missing; write it with: pytest --update-golden", pytrace=False)
        # Decoded for a readable difference; the bytes decide.
        assert path.read_bytes().decode() == text

    return compare
