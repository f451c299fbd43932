"""What a paired test says, in words, and what too few seeds cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from epgraph.comparison.statistics import LEVEL, MOST_NEEDED, PairedTest

LEAST = 3
"""Seeds below which a t test has one degree of freedom, and its p is no evidence."""

ONE_SEED = "One common seed has no spread, so there is no test; begin with 5 seeds."


def quantity(metric: str, value: float, unit: bool = True) -> str:
    """Write a value: an error in percent, anything else with four digits."""
    if metric.endswith("_error"):
        return f"{100 * value:.2f}{' %' if unit else ''}"
    return f"{value:.4g}"


def verdict(metric: str, test: PairedTest) -> str:
    """Say what a test found."""
    pair, n = f"{test.other} against {test.baseline}", len(test.seeds)
    if test.difference is None:
        return f"{pair}: no seed in common, so nothing can be paired."
    unit = " points" if metric.endswith("_error") else ""
    name = metric.replace("_", " ")
    found = f"{pair}: {name} {_signed(metric, test.difference)}{unit}"
    if n == 1:
        return f"{found}. {ONE_SEED}"
    if test.t_p is None or test.effect is None or test.low is None or test.high is None:
        same = "the values are equal" if not test.difference else "the difference is the same"
        return f"{found}; on all {n} common seeds {same}, so there is no spread to test against."
    figures = (
        f"{found} (95 % interval {_signed(metric, test.low)} to {_signed(metric, test.high)}), {n} seeds, "
        f"paired t p = {_p(test.t_p)}, Wilcoxon p = {_p(test.wilcoxon_p or 0.0)}, d_z = {test.effect:+.2f}"
    )
    if n < LEAST:
        return f"{figures}. Two seeds decide nothing, whatever p is: train at least {LEAST}, better 5."
    p, corrected = test.t_p, ""
    if test.holm_p is not None and test.holm_p != test.t_p:
        p, corrected = test.holm_p, f" (p = {_p(test.holm_p)} corrected for several comparisons)"
    if p < LEVEL:
        return f"{figures}. {test.other} is {'worse' if test.difference > 0 else 'better'}{corrected}."
    settled = f"more than {MOST_NEEDED}" if test.needed is None else f"about {max(test.needed, n + 1)}"
    return f"{figures}. Not settled{corrected}: {settled} seeds would settle a difference of this size (power 0.8)."


def untrained(label: str, seeds: Sequence[int], count: int, compared: bool) -> str:
    """Say of a setting that its accuracy is that of guessing on some of its ``count`` seeds.

    ``compared``: whether there is another setting, whose comparison with it then says little.
    """
    here = f"on all {count} seeds" if count > 1 else f"on its one seed, {seeds[0]}"
    if len(seeds) < count:
        here = f"on {len(seeds)} of {count} seeds ({', '.join(map(str, seeds))})"
    said = f"{label} is at chance {here}: it did not train {'here' if len(seeds) == count else 'there'}"
    if not compared:
        return f"{said}."
    what = label.removeprefix("without ")
    of = f"how much {what} helps" if label.startswith("without ") else "how much the settings differ for"
    return f"{said}, so this does not say {of} a network that trains."


def few(tests: Sequence[PairedTest]) -> list[str]:
    """Say what the number of seeds keeps the tests from saying."""
    counts = sorted({len(test.seeds) for test in tests if test.t_p is not None and len(test.seeds) < 6})
    return [
        f"With {n} seeds Wilcoxon's p is at least {2 / 2**n:.4g}: it needs 6 seeds to fall below 0.05." for n in counts
    ]


def _signed(metric: str, value: float) -> str:
    return f"{100 * value:+.2f}" if metric.endswith("_error") else f"{value:+.4g}"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"
