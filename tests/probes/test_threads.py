"""The number of threads: the rule on times that are made up, and that a network is left as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import epgraph as ep
from epgraph.probes import threads
from epgraph.probes.threads import ThreadChoice, choose_threads, measure_threads, thread_counts


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("seconds", "count"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.59}, 2),
        ({1: 1.0, 2: 0.97}, 1),
        ({1: 1.0, 2: 0.94}, 2),
        ({1: 1.0, 2: 50.0}, 1),
        ({1: 4.0, 2: 3.0, 4: 2.0, 8: 1.0}, 8),
        ({1: 0.0}, 1),
    ],
)
def test_the_fewest_threads_that_are_as_fast_as_any(seconds: dict[int, float], count: int) -> None:
    assert choose_threads(seconds).threads == count


def test_the_reason_in_words() -> None:
    assert choose_threads({1: 0.0}).sentence == "1 thread: there is one core"
    assert choose_threads({1: 3.0, 2: 2.0}).sentence == "2 threads; times of others, relative to it: 1: 1.50"


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8])])
def test_the_numbers_that_are_tried(cores: int, counts: list[int]) -> None:
    assert thread_counts(cores) == counts


def test_times_are_interleaved_and_what_is_hopeless_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def timed(*arguments: object) -> float:
        tried.append(torch.get_num_threads())
        return {1: 2.0, 2: 1.0, 4: 1.2}[tried[-1]] + 0.01 * len(tried)

    monkeypatch.setattr(threads, "timed", timed)
    engine = ep.compile("examples/mlp.yaml")
    x, y = torch.rand(2, *engine.graph.input.shape), torch.tensor([0, 1])
    assert measure_threads(engine, x, y, cores=4).threads == 2
    assert tried == [1, 2, 4, 2, 4, 2, 4]
    assert torch.get_num_threads() == 2


def test_a_measurement_leaves_the_network_and_the_generator_as_they_were() -> None:
    engine = ep.compile("examples/mlp.yaml")
    before = {name: value.clone() for name, value in engine.state_dict().items()}
    generator = torch.get_rng_state()
    x, y = torch.rand(2, *engine.graph.input.shape), torch.tensor([0, 1])
    torch.set_rng_state(generator)
    found = measure_threads(engine, x, y, cores=2)
    assert found.threads in (1, 2)
    assert set(found.seconds) == {1, 2}
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in engine.state_dict().items())
    assert all(p.grad is None for p in engine.parameters())


def test_on_another_device_nothing_is_measured() -> None:
    engine = ep.compile("examples/mlp.yaml", device="meta", initialised=False)
    found = measure_threads(engine, torch.empty(0), torch.empty(0))
    assert found == ThreadChoice(
        torch.get_num_threads(),
        {},
        f"{threads._count(torch.get_num_threads())}, as torch has it: the network runs on meta",
    )
