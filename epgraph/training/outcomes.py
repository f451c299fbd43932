"""Which classes a network takes for which: counts over a data set, and their table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from epgraph.runtime.relaxation import States

TOP = 5
MOST_IN_A_TABLE = 12
"""With more classes the confusion matrix is no longer readable; the worst classes and confusions stand for it."""

Counts = tuple[tuple[int, ...], ...]


class Tally:
    """Counts of true and predicted classes; empty where targets are no labels."""

    def __init__(self, output: str) -> None:
        self._output, self._confusion, self._top = output, torch.zeros(0, 0, dtype=torch.long), 0

    def see(self, states: States, y: Tensor) -> None:
        """Count a batch."""
        output = states[self._output]
        if y.ndim != 1 or y.is_floating_point():
            return
        classes = output.shape[1]
        # Stable: of equal outputs the first counts, as for the largest one, and no more than five.
        ranked = output.sort(dim=1, descending=True, stable=True).indices
        self._top += int((ranked[:, :TOP] == y[:, None]).sum())
        pairs = (y * classes + output.argmax(1)).cpu()
        counted = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
        self._confusion = counted if not self._confusion.numel() else self._confusion + counted

    @property
    def confusion(self) -> Counts | None:
        """Examples by true class, then by predicted class."""
        return tuple(map(tuple, self._confusion.tolist())) or None

    @property
    def top5(self) -> float | None:
        """Share of the examples whose label is among the five largest outputs; None with five classes or fewer."""
        return self._top / int(self._confusion.sum()) if len(self._confusion) > TOP else None


def shares(confusion: Counts) -> tuple[float | None, ...]:
    """Accuracy of each class; None for a class without examples."""
    return tuple(row[i] / sum(row) if sum(row) else None for i, row in enumerate(confusion))


def table(confusion: Counts, classes: Sequence[str]) -> Iterator[str]:
    """Describe the classes: each with its row of the matrix; of many only the worst, and the most frequent confusions.

    A name that is wider than a column is cut.
    """
    accuracy = shares(confusion)
    if len(classes) > MOST_IN_A_TABLE:
        yield from _extremes(confusion, classes, accuracy)
        return
    wide = max(5, *map(len, classes))
    column = max(5, *(len(str(count)) for row in confusion for count in row))
    heads = (name if len(name) <= column else name[: column - 1] + "…" for name in classes)
    yield "rows: true class, with the share that is right; columns: predicted class"
    yield f"{'class':{wide}}  accuracy  predicted" + "".join(f" {head:>{column}}" for head in heads)
    for name, row, share in zip(classes, confusion, accuracy, strict=True):
        percent = "–" if share is None else f"{share:.1%}"
        yield f"{name:{wide}}  {percent:>8}  {'':9}" + "".join(f" {count:{column}}" for count in row)


def _extremes(confusion: Counts, classes: Sequence[str], accuracy: Sequence[float | None]) -> Iterator[str]:
    known = sorted((share, i) for i, share in enumerate(accuracy) if share is not None)
    yield f"worst of {len(known)} classes:"
    for share, i in known[:10]:
        yield f"  {classes[i]}: {share:.1%} of {sum(confusion[i])}"
    wrong = [(-n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
    if wrong:
        yield "most frequent confusions:"
    for n, i, j in sorted(wrong)[:10]:
        yield f"  {classes[i]} predicted as {classes[j]}: {-n} of {sum(confusion[i])}"
