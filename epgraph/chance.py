"""Whether answers are better than guesses: the test behind what is said of networks that do not learn. No torch."""

from __future__ import annotations

LEVEL = 0.01
"""An accuracy is better than chance where guessing would reach it with at most this probability."""

FEWEST = 30
"""Examples below which nothing is said about chance."""


def at_chance(error: float, examples: int, largest: float) -> bool:
    """Whether an error is what always answering the most frequent class may give, by a binomial test.

    Parameters
    ----------
    error
        Share of the examples with a wrong answer.
    largest
        Share of the most frequent class; with one class, or too few examples, nothing is at chance.
    """
    if examples < FEWEST or not 0 < largest < 1:
        return False
    return guessed(round((1 - error) * examples), examples, largest) > LEVEL


def guessed(right: int, examples: int, chance: float) -> float:
    """Probability that at least ``right`` of so many answers are right, if each is with probability ``chance``."""
    from scipy.special import betainc

    return 1.0 if right <= 0 else float(betainc(right, examples - right + 1, chance))
