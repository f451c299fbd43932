"""What a training calls as it goes: the base class of callbacks. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epgraph.data import Data
    from epgraph.engine import Engine


class Callback:
    """Called by ``ep.train`` and ``Trainer`` as a training goes; every method does nothing until it is overridden.

    Callbacks are called in the order in which they are given. An exception out of one ends the training.
    """

    def start(self, engine: Engine, data: Data) -> None:
        """Take the network and the data before the first batch; the record of the run is in its folder."""

    def measured(self, sentence: str) -> None:
        """Take what a measurement before the training has chosen, in words; it comes before ``start``."""

    def epoch(self, metrics: dict[str, float]) -> None:
        """Take the metrics of an epoch whose checkpoint is written: those of a line of ``metrics.jsonl``."""

    def end(self) -> None:
        """Clean up when the training ends: after the last epoch, by a signal, or by an error."""
