"""What a run says of its test examples: confusion matrix, accuracy of each class, best and worst images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from epgraph.drawing.figures import new_figure, plain
from epgraph.errors import EpgraphError
from epgraph.reporting.blocks import Block, Details, Gallery, Image, Picture, Table, Text
from epgraph.reporting.context import Context, Part
from epgraph.reporting.pictures import short, stem
from epgraph.reporting.runs import ReportedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from epgraph.data import Data
    from epgraph.reporting.tested import Tested

MOST_CLASSES = 20
"""Classes up to which the confusion matrix is a table; of more it is a picture."""

MOST_ROWS = 200
"""Classes that the table of accuracies lists."""

CONFUSIONS = 15
"""Most frequent confusions that are listed where the matrix is a picture."""

IMAGES = 12
"""Images that are shown of the best, and of the worst."""


def _predictions(context: Context, run: ReportedRun) -> Iterator[Block]:
    from epgraph.reporting.tested import has_images, run_test

    engine = context.loaded.engine(run)
    data = context.loaded.data(run)
    tested = run_test(engine, data)
    if tested.confusion is None:
        yield Text(f"Loss {tested.loss:.4g} on {tested.examples:,} test examples of {data.name}.")
        raise EpgraphError("the targets are no labels, so there is no class to confuse with another")
    right = sum(row[i] for i, row in enumerate(tested.confusion))
    yield Text(
        f"{right / tested.examples:.2%} of {tested.examples:,} test examples of {data.name} are right; loss "
        f"{tested.loss:.4g}. Weights of the last checkpoint."
    )
    number = context.shown.index(run) + 1
    yield from _confusion(context, tested, run, number)
    if not has_images(data):
        raise EpgraphError("the examples are no images, so the best and the worst ones are not shown")
    best, worst = tested.extremes(IMAGES)
    which = (("best", "Right by the widest margin", best), ("worst", "Wrong by the widest margin", worst))
    for word, caption, positions in which:
        if positions:
            explained = f"{caption}: true class → predicted class, with its {tested.kind}."
            yield _gallery(context, tested, data, positions, f"{run.label}. {explained}", stem(word, number))
        else:
            yield Text(f"{caption}: there is none.")


def _confusion(context: Context, tested: Tested, run: ReportedRun, number: int) -> Iterator[Block]:
    from epgraph.training.outcomes import shares

    confusion, classes = tested.confusion or (), tested.classes
    accuracy = ["–" if share is None else f"{share:.1%}" for share in shares(confusion)]
    counts = [f"{sum(row):,}" for row in confusion]
    if len(classes) <= MOST_CLASSES:
        rows = [
            [name, *pair, *map(str, row)] for name, *pair, row in zip(classes, accuracy, counts, confusion, strict=True)
        ]
        yield Table(
            "Confusion matrix: rows are true classes, columns predicted ones",
            ("true class", "accuracy", "examples", *classes),
            rows,
            numbers=True,
            shades=[[0, 0, 0, *_shades(row)] for row in confusion],
        )
        return
    yield _matrix(context, confusion, run, number)
    wrong = sorted((-n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n)
    most = [[classes[i], classes[j], str(-n), counts[i]] for n, i, j in wrong[:CONFUSIONS]]
    if most:
        yield Table("Most frequent confusions", ("true class", "predicted", "times", "of"), most)
    listed = list(zip(classes, accuracy, counts, strict=True))[:MOST_ROWS]
    table = Table("Accuracy of each class", ("class", "accuracy", "examples"), listed, numbers=True)
    yield Details(f"Accuracy of each of {len(classes)} classes", [table])


def _shades(row: Sequence[int]) -> list[int]:
    """Return the level of the ground of each cell: its share of the row, from 0 to 10; 1 for the least share."""
    whole = sum(row)
    return [max(1, round(10 * count / whole)) if count else 0 for count in row]


def _matrix(context: Context, confusion: Sequence[Sequence[int]], run: ReportedRun, number: int) -> Picture:
    def draw() -> Figure:
        import numpy as np

        counts = np.array(confusion, dtype=float)
        part = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        figure = new_figure(5.4, 4.8)
        axes = figure.subplots()
        image = axes.imshow(part, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        plain(axes, "Confusion matrix", "true class", "predicted class")
        axes.grid(visible=False)
        figure.colorbar(image, label="share of the true class")
        return figure

    return context.picture(
        stem("confusion", number),
        f"Confusion matrix of {run.label}: rows are true classes, columns predicted ones.",
        f"Confusion matrix of {run.label} of {len(confusion)} classes. The tables below have the accuracies.",
        draw,
    )


def _gallery(
    context: Context, tested: Tested, data: Data, positions: Sequence[int], caption: str, name: str
) -> Gallery:
    from epgraph.reporting.tested import as_png, stored_images

    images = stored_images(data, positions)
    labels = [tested.says(position) for position in positions]
    sheet = context.picture(name, caption, f"{caption} {'; '.join(labels)}.", lambda: _sheet(images, labels))
    return Gallery(caption, [Image(as_png(one), label) for one, label in zip(images, labels, strict=True)], sheet)


def _sheet(images: Sequence[Any], labels: Sequence[str]) -> Figure:
    columns = min(6, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(1.75 * columns, 1.95 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, image, label in zip(panels, images, labels, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(short(label).replace(", ", "\n", 1), fontsize="small")
    for axes in panels:
        axes.set_axis_off()
    return figure


PREDICTIONS = Part("Predictions", "predictions", None, _predictions, slow=True)
