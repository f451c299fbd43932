"""The networks that statements about gradients are tested on in the usual run stand for all that are listed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.qualified import ACTIVE, QUICK, SEEDS, SMOOTH, WANTED, population
from tests.helpers.topologies import coverage, random_graph


@pytest.mark.parametrize("options", [SMOOTH, {}, ACTIVE], ids=["smooth", "any", "active"])
def test_the_first_networks_have_every_feature_of_all(options: dict[str, Any]) -> None:
    drawn = {key: value for key, value in options.items() if key not in ("bias", "fit")}
    name = population(options.get("bias", 0.0), random_graph, options.get("fit"), drawn)
    seeds = [seed for seed, _ in json.loads(SEEDS.read_text())[name]]
    assert len(seeds) == WANTED
    features = [set(+coverage(random_graph(seed, min_states=6, **drawn).architecture)) for seed in seeds]
    assert set().union(*features[:QUICK]) == set().union(*features)
    assert set().union(*features[:5]) != set().union(*features)  # there is something to lose
