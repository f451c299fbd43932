"""How fast a training goes: what is said of it as it goes, and when it will be done."""

from __future__ import annotations

from epgraph.estimators import Estimate
from epgraph.progress import Progress, duration
from epgraph.training.metrics import Mean

PARTS = ("train", "validation", "test")
"""Parts of an epoch, in their order."""


class Pace:
    """What each part of an epoch took the last time.

    Parameters
    ----------
    epochs
        Number of epochs of the whole training.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._seconds: dict[str, float] = {}

    def note(self, part: str, shown: Progress) -> None:
        """Take what a whole part takes, as far as it is known."""
        if shown.seconds_each:
            self._seconds[part] = shown.seconds_each * shown.total

    def left(self, part: str, epoch: int, shown: Progress) -> str:
        """Say how much time is left, in the part ``part`` of an epoch that counts from 0.

        A part that has never begun is not counted.
        """
        self.note(part, shown)
        later = PARTS[PARTS.index(part) + 1 :]
        of_epoch = shown.seconds_left + sum(self._seconds.get(name, 0.0) for name in later)
        of_run = of_epoch + max(0, self._epochs - epoch - 1) * sum(self._seconds.values())
        return f"{duration(of_epoch)} left of the epoch, {duration(of_run)} of the run"


def of_training(mean: Mean, estimate: Estimate | None, examples: int, shown: Progress) -> str:
    """Say how an epoch goes in which so many examples have been trained on; waits for the device."""
    if estimate is None:
        return ""
    sweeps = [estimate.free.steps, *(one.steps for one in estimate.nudged[:1])]
    return _facts(mean, sweeps, examples, shown)


def of_evaluation(mean: Mean, steps: int, examples: int, shown: Progress) -> str:
    """Say how an evaluation goes in which so many examples have been seen; waits for the device."""
    return _facts(mean, [steps], examples, shown)


def _facts(mean: Mean, sweeps: list[int], examples: int, shown: Progress) -> str:
    means = mean.means()
    top1 = [f"top-1 {1 - means['error']:.2%}"] if "error" in means else []
    rate = [f"{examples / shown.elapsed:.4g} images/s"] if shown.elapsed else []
    parts = [f"loss {means['loss']:.4f}", *top1, f"residual {means['residual']:.1e}"]
    return ", ".join([*parts, f"{'+'.join(map(str, sweeps))} sweeps", *rate])
