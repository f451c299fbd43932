"""What all plots share: the scale of an axis, and rows of axes."""

from __future__ import annotations

import math

import pytest

from epgraph.drawing.curves import draw_curves
from epgraph.drawing.figures import new_figure, plain, scaled


@pytest.mark.parametrize("low", [3e-7, 0.04, 1.0, 7.3])
@pytest.mark.parametrize("decades", [1.0, 1.4, 1.9, 2.5, 3.2, 9.0])
@pytest.mark.parametrize("height", [2.9, 6.8])
def test_a_logarithmic_axis_has_three_labels_or_more(low: float, decades: float, height: float) -> None:
    values = [low * 10 ** (decades * i / 7) for i in range(8)]
    figure = new_figure(4, height)
    axes = figure.subplots()
    axes.plot(values)
    plain(axes, "Residual", "relative residual", "sweep")
    scaled(axes, values, log=True)
    figure.draw_without_rendering()
    first, last = axes.get_ylim()
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    labels = {tick.label1.get_text() for tick in ticks if first <= tick.get_loc() <= last} - {""}
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "relative residual, log scale"
    assert 3 <= len(labels) <= 12


@pytest.mark.parametrize(
    ("values", "limits"),
    [([0.2, 1.9], (0, 2.128)), ([700.0, 700.5], (0, 784.56)), ([0.0, 0.0], (0, 1)), ([math.nan, 2.0], (0, 2.24))],
)
def test_less_than_a_decade_is_linear_from_zero(values: list[float], limits: tuple[float, float]) -> None:
    axes = new_figure(4, 3).subplots()
    axes.plot(values)
    scaled(axes, values, log=True)
    assert (axes.get_yscale(), axes.get_ylim()) == ("linear", pytest.approx(limits))


def test_values_below_zero_keep_their_range_and_nothing_is_said_to_be_nothing() -> None:
    figure = new_figure(4, 3)
    energy, empty = figure.subplots(1, 2)
    energy.plot([-3.7, -3.5])
    scaled(energy, [-3.7, -3.5], log=False)
    scaled(empty, [math.nan], log=True)
    assert -3.8 < energy.get_ylim()[0] < energy.get_ylim()[1] < -3.4
    assert [text.get_text() for text in empty.texts] == ["not recorded"]


def recorded(**metrics: float) -> dict[int, dict[str, float]]:
    return {epoch: {"epoch": epoch, "train_loss": 0.5, "train_error": 0.1, **metrics} for epoch in (1, 2)}


@pytest.mark.parametrize(
    ("metrics", "rows"),
    [
        ({"train_residual": 1e-3}, [3]),
        ({"train_residual": 1e-3, "gradient_cosine": 0.9, "images_per_second": 9.0, "peak_memory_mib": 8.0}, [3, 3]),
        ({"train_residual": 0.0}, [2]),  # of a forward pass: there is nothing to show
    ],
)
def test_panels_of_a_training_stand_in_rows_without_holes(metrics: dict[str, float], rows: list[int]) -> None:
    figure = draw_curves(recorded(**metrics))
    places = [axes.get_subplotspec().rowspan.start for axes in figure.axes]
    assert [places.count(row) for row in sorted(set(places))] == rows


def test_what_a_logarithmic_axis_cannot_show_is_not_named() -> None:
    """With the energy 'predictive' the free residual is 0, and that of the nudged phases is not."""
    axes = draw_curves(recorded(train_residual=0.0, nudged_residual=1e-3)).axes[2]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train, nudged"]
