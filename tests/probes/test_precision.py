"""The rule by which a precision is chosen, on measurements that are made up."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import pytest

from epgraph.probes.precision import CANDIDATES, Agreement, PrecisionChoice, choose_precision


@dataclass
class Made:
    """Measurements by precision: speed over float32 (of a few sweeps, and of whole iterations), lowest cosine."""

    speed: dict[str, float]
    cosine: dict[str, float | None]
    whole: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    asked: list[str] = field(default_factory=list)

    def unusable(self, dtype: str) -> str:
        return self.reason

    def seconds(self, dtype: str, *, whole: bool) -> tuple[float, float]:
        self.asked.append(f"{'whole' if whole else 'short'} {dtype}")
        speed = self.whole.get(dtype, self.speed[dtype]) if whole else self.speed[dtype]
        return 3.0 / speed, 3.0

    def agreement(self, dtype: str) -> Agreement | None:
        self.asked.append(f"cosine {dtype}")
        cosine = self.cosine.get(dtype, 1.0)
        return None if cosine is None else Agreement(cosine, "states.h4b.bias")


def chosen(
    speed: float,
    cosine: float | None,
    *,
    whole: float | None = None,
    reason: str = "",
    usual: float | None = 1.0,
) -> tuple[PrecisionChoice, list[str]]:
    """Choose between bfloat16, of this speed and cosine, and the usual precision."""
    probe = Made(
        {"bfloat16": speed},
        {"bfloat16": cosine, "float32": usual},
        {} if whole is None else {"bfloat16": whole},
        reason,
    )
    return choose_precision(probe, ["bfloat16"]), probe.asked


@pytest.mark.parametrize(
    ("made", "dtype", "sentence"),
    [
        ({"speed": 1 / 12.4, "cosine": 1.0}, "float32", "float32: bfloat16 is 12 times slower here"),
        ({"speed": 1 / 1.3, "cosine": 1.0}, "float32", "float32: bfloat16 is 1.3 times slower here"),
        (
            {"speed": 1.54, "cosine": 0.9931},
            "bfloat16",
            "bfloat16: 1.5 times as fast as float32, lowest cosine to float64 0.9931 (states.h4b.bias)",
        ),
        (
            {"speed": 1.54, "cosine": 0.9899},
            "float32",
            "float32: bfloat16 is 1.5 times as fast, but has a lowest cosine to float64 of 0.9899 (states.h4b.bias), "
            "below 0.99",
        ),
        ({"speed": 1.0, "cosine": 1.0}, "float32", "float32: bfloat16 is no faster here"),
        ({"speed": 1.04, "cosine": 1.0}, "float32", "float32: bfloat16 is no faster here"),
        ({"speed": 1.5, "whole": 1.0, "cosine": 1.0}, "float32", "float32: bfloat16 is no faster here"),
        ({"speed": 1.5, "whole": 0.5, "cosine": 1.0}, "float32", "float32: bfloat16 is 2.0 times slower here"),
        ({"speed": 1.5, "whole": 1.7, "cosine": None}, "bfloat16", "bfloat16: 1.7 times as fast as float32"),
        (
            {"speed": 9.0, "cosine": 1.0, "reason": "no instructions"},
            "float32",
            "float32: bfloat16 cannot be used: no instructions",
        ),
        (
            {"speed": 0.5, "cosine": 1.0, "usual": 0.7},
            "float64",
            "float64: float32 has a lowest cosine to float64 of 0.7000 (states.h4b.bias), below 0.99",
        ),
    ],
)
def test_the_choice_and_its_reason(made: dict[str, float], dtype: str, sentence: str) -> None:
    found, _ = chosen(**made)  # type: ignore[arg-type]
    assert (found.dtype, found.sentence) == (dtype, sentence)


def test_the_bar_itself_is_good_enough() -> None:
    assert chosen(1.5, 0.99)[0].dtype == "bfloat16"


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    found, _ = chosen(1.5, math.nan)
    assert found.dtype == "float32"
    assert "has a lowest cosine to float64 of nan" in found.sentence


def test_what_is_slow_is_dropped_before_its_gradient_is_computed() -> None:
    assert chosen(0.08, 1.0)[1] == ["short bfloat16", "cosine float32"]
    assert chosen(1.5, 0.5)[1] == ["short bfloat16", "cosine bfloat16", "cosine float32"]
    assert chosen(1.5, 1.0)[1] == ["short bfloat16", "cosine bfloat16", "whole bfloat16"]


def test_the_fastest_of_those_that_are_good_is_taken() -> None:
    speed = {"a": 1.2, "b": 3.0, "c": 2.0, "d": 0.5}
    found = choose_precision(Made(speed, {"b": 0.9}), ["a", "b", "c", "d"])
    assert found.dtype == "c"
    assert [one.dtype for one in found.candidates if one.refused] == ["b", "d"]


def test_what_was_measured_is_kept() -> None:
    found = chosen(2.0, 0.995)[0].to_dict()
    assert json.loads(json.dumps(found)) == {
        "chosen": "bfloat16",
        "why": "bfloat16: 2.0 times as fast as float32, lowest cosine to float64 0.9950 (states.h4b.bias)",
        "candidates": [
            {"dtype": "bfloat16", "speed": 2.0, "seconds": 1.5, "cosine": 0.995, "parameter": "states.h4b.bias"}
        ],
    }
    refused = chosen(0.1, 1.0)[0].to_dict()["candidates"]
    assert refused[0] == {"dtype": "bfloat16", "speed": 0.1, "seconds": 30.0, "refused": "is 10 times slower here"}
    assert refused[1] == {"dtype": "float32", "speed": 1.0, "cosine": 1.0, "parameter": "states.h4b.bias"}


def test_float16_is_no_candidate() -> None:
    assert CANDIDATES == ("bfloat16",)
