"""Which precision to train in: the fastest one that keeps the gradient. The rule, without the measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

AUTO = "auto"
"""What stands for a choice by measurement."""

USUAL, EXACT = "float32", "float64"
"""The precision that is taken unless another one is faster, and the one whose gradient is the reference."""

CANDIDATES = ("bfloat16",)
"""Precisions that may be faster than ``USUAL``.

float16 is not among them. Its smallest number is 6e-8. The odd part of a pair falls with the error of the network, and
a probe at the present weights cannot see how far it will fall.
"""

LEAST_COSINE = 0.99
"""Least cosine to ``EXACT`` that the gradient of every parameter must have."""

FASTER = 1.05
"""How many times as fast as ``USUAL`` a precision must be. Less is within what two measurements differ by."""

NEGLIGIBLE = 1e-6
"""A parameter does not count if its gradient has less than this part of the norm of the whole gradient.

Both norms are those of the float64 gradient. The direction of what is left out is that of rounding errors, and it moves
no step.
"""


@dataclass(frozen=True)
class Agreement:
    """How well the gradient of a precision agrees with that of ``EXACT``.

    Attributes
    ----------
    cosine
        The lowest cosine of a parameter that counts.
    parameter
        Name of that parameter.
    """

    cosine: float
    parameter: str


@dataclass(frozen=True)
class Candidate:
    """What was measured of a precision.

    Attributes
    ----------
    dtype
        Its name.
    speed
        How many times as fast as ``USUAL`` it is; None where it was not timed.
    seconds
        Time of what was timed last: a few sweeps, or a whole iteration.
    cosine, parameter
        As in ``Agreement``; None where it was not measured.
    refused
        Why it was not taken; empty for the one that was.
    """

    dtype: str
    speed: float | None = None
    seconds: float | None = None
    cosine: float | None = None
    parameter: str | None = None
    refused: str = ""


class Probe(Protocol):
    """What ``choose_precision`` asks for; ``NetworkProbe`` measures it."""

    def unusable(self, dtype: str) -> str:
        """Return why the network cannot run in a precision; empty if it can."""

    def seconds(self, dtype: str, *, whole: bool) -> tuple[float, float]:
        """Time of a few sweeps, or of a whole iteration, in a precision and in ``USUAL``."""

    def agreement(self, dtype: str) -> Agreement | None:
        """Compare the gradient with that of ``EXACT``; None where the network has no gradient that counts."""


@dataclass(frozen=True)
class PrecisionChoice:
    """The precision that was chosen, and why.

    Attributes
    ----------
    dtype
        Its name.
    sentence
        The choice and its reason, in words.
    candidates
        What was measured.
    """

    dtype: str
    sentence: str
    candidates: tuple[Candidate, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the choice and the figures as plain values, ready for JSON."""
        figures = [{k: v for k, v in asdict(one).items() if v not in (None, "")} for one in self.candidates]
        return {"chosen": self.dtype, "why": self.sentence, "candidates": figures}


def choose_precision(probe: Probe, candidates: Sequence[str] = CANDIDATES) -> PrecisionChoice:
    """Choose the fastest precision that keeps the gradient of every parameter.

    A candidate that is not faster than ``USUAL`` over a few sweeps is dropped before anything else is measured. A
    candidate whose gradient is good is timed again over whole iterations. Without one that passes it is ``USUAL``, and
    ``EXACT`` where the gradient of ``USUAL`` is not good either.
    """
    found: list[Candidate] = []
    for dtype in candidates:
        found.append(_tried(probe, dtype))
    taken = [one for one in found if not one.refused]
    if taken:
        best = max(taken, key=lambda one: one.speed or 0.0)
        accuracy = "" if best.cosine is None else f", lowest cosine to {EXACT} {best.cosine:.4f} ({best.parameter})"
        sentence = f"{best.dtype}: {_times(best.speed or 0.0)} as fast as {USUAL}{accuracy}"
        return PrecisionChoice(best.dtype, sentence, tuple(found))
    usual = _accuracy(probe, USUAL, Candidate(USUAL, 1.0))
    found.append(usual)
    if usual.refused:
        return PrecisionChoice(EXACT, f"{EXACT}: {USUAL} {usual.refused}", tuple(found))
    reasons = ", and ".join(f"{one.dtype} {one.refused}" for one in found[:-1])
    return PrecisionChoice(USUAL, f"{USUAL}: {reasons}", tuple(found))


def lost(probe: Probe, dtype: str) -> str:
    """Say, in words, that a precision that was chosen does not keep the gradient any more; empty where it does."""
    found = _accuracy(probe, dtype, Candidate(dtype))
    return f"{dtype} {found.refused}" if found.refused else ""


def _tried(probe: Probe, dtype: str) -> Candidate:
    """Measure a candidate, the cheap things first."""
    reason = probe.unusable(dtype)
    if reason:
        return Candidate(dtype, refused=f"cannot be used: {reason}")
    for whole in (False, True):
        own, usual = probe.seconds(dtype, whole=whole)
        speed = usual / own
        found = Candidate(dtype, speed, own)
        if speed < 1 / FASTER:
            return Candidate(dtype, speed, own, refused=f"is {_times(1 / speed)} slower here")
        if speed < FASTER:
            return Candidate(dtype, speed, own, refused="is no faster here")
        if not whole:
            known = _accuracy(probe, dtype, found)
            if known.refused:
                return known
    return Candidate(dtype, speed, own, known.cosine, known.parameter)


def _accuracy(probe: Probe, dtype: str, timed: Candidate) -> Candidate:
    agreement = probe.agreement(dtype)
    if agreement is None:
        return timed
    cosine, parameter = agreement.cosine, agreement.parameter
    refused = ""
    if not cosine >= LEAST_COSINE:  # NaN is refused too
        fast = "" if timed.speed is None or dtype == USUAL else f"is {_times(timed.speed)} as fast, but "
        refused = f"{fast}has a lowest cosine to {EXACT} of {cosine:.4f} ({parameter}), below {LEAST_COSINE}"
    return Candidate(dtype, timed.speed, timed.seconds, cosine, parameter, refused)


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 9.95 else f"{ratio:.1f} times"
