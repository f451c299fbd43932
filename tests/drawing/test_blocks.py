"""Blocks, layouts and sizes: what a diagram shows of a network."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

import epgraph as ep
from epgraph.drawing.blocks import LEGIBLE_BOXES, PAGE_BOXES
from epgraph.drawing.choose import choose
from epgraph.drawing.layout import place
from epgraph.drawing.model import Diagram, diagram
from epgraph.drawing.source import Direction
from epgraph.drawing.style import size, width
from epgraph.errors import EpgraphError
from epgraph.graph import checked
from epgraph.language import Architecture
from epgraph.lowering import lower

EXAMPLES = Path(__file__).parents[2] / "examples"

BLOCKS = """
epgraph: 2
input: {shape: [4, 8, 8]}
output: {classes: 4}
blocks:
  layer:
    states: {a: {channels: 4}, b: {channels: 4}}
    edges:
      - {from: in, to: a, conv: {kernel: 3, padding: 1}}
      - {from: a, to: b, conv: {kernel: 3, padding: 1}}
      - {from: in, to: b, skip: {}}
  stage:
    states: {p: {block: layer, from: in, repeat: 3}, z: {channels: 4}}
    edges: [{from: p, to: z, conv: {kernel: 3, padding: 1}}]
states:
  s: {block: stage, from: x, repeat: 4}
edges:
  - {from: s, to: y, dense: {}}
"""


def shown(source: Architecture | str | Path, depth: object = None) -> Diagram:
    graph = checked(source)
    plan = lower(graph, graph.architecture.dynamics.schedule)
    return diagram(graph, plan, depth=depth)  # type: ignore[arg-type]


def test_depth_opens_levels_of_blocks() -> None:
    closed, outer, inner, full = (shown(BLOCKS, depth) for depth in (0, 1, 2, "all"))
    assert [box.name for box in closed.boxes.values()] == ["x", "s1 … s4  × 4", "y"]
    assert [box.name for box in outer.boxes.values()] == ["x", "s1.p1 … p3  × 3", "s1_z", "y"]
    assert [frame.label for frame in outer.frames] == ["s1 … s4  × 4"]
    assert [box.name for box in inner.boxes.values()] == ["x", "s1_p1_a", "s1_p1_b", "s1_z", "y"]
    assert [frame.label for frame in inner.frames] == ["s1 … s4  × 4", "s1.p1 … p3  × 3"]
    assert len(full.boxes) == 4 * 7 + 2
    assert len(full.lines) == len(checked(BLOCKS).edges)
    assert len(full.frames) == 4 + 12


def test_equal_blocks_are_drawn_once_with_every_kind_of_edge_between_them() -> None:
    lines = [(line.tail, line.head, line.kind) for line in shown(BLOCKS, 2).lines]
    # Edges from one of the equal blocks to the next are what "× n" stands for.
    assert lines == [
        ("x", "s1_p1_a", "conv"),
        ("s1_p1_a", "s1_p1_b", "conv"),
        ("x", "s1_p1_b", "skip"),
        ("s1_p1_b", "s1_z", "conv"),
        ("s1_z", "y", "dense"),
    ]


def test_blocks_that_differ_are_drawn_apart() -> None:
    changed = BLOCKS.replace("repeat: 4}", "repeat: 4, with: {wide: {each: [4, 4, 8, 8]}}}").replace(
        "  stage:\n", "  stage:\n    parameters: {wide: null}\n"
    )
    changed = changed.replace("z: {channels: 4}", "z: {channels: $wide}")
    assert [box.name for box in shown(changed, 0).boxes.values()] == ["x", "s1 … s2  × 2", "s3", "s4", "y"]


def test_a_deep_network_is_collapsed_to_a_page(tmp_path: Path) -> None:
    network = ep.topologies.hopfield_resnet(depth=103, input=(3, 32, 32))
    assert len(checked(network).states) > LEGIBLE_BOXES
    found = shown(network)
    assert len(found.boxes) <= PAGE_BOXES
    times = [n for n, _ in found.view.times.values()]
    assert sum(times) + sum(box.role == "block" for box in found.boxes.values()) - len(times) == 34
    wide, high = drawn_size(network, tmp_path)
    assert max(wide, high) < 2000
    assert len(shown(network, "all").boxes) == len(checked(network).states)


def drawn_size(network: Architecture, folder: Path) -> tuple[float, float]:
    text = ep.render(network, folder / "net.svg").read_text(encoding="utf-8")
    wide, high = re.findall(r'<svg width="(\d+)pt" height="(\d+)pt"', text)[0]
    return float(wide), float(high)


def test_a_small_network_is_opened() -> None:
    found = shown(EXAMPLES / "hopfield_resnet13.yaml")
    assert set(found.boxes) == set(checked(EXAMPLES / "hopfield_resnet13.yaml").states)
    assert [frame.label for frame in found.frames] == ["h1", "h2", "h3", "h4"]


def test_blocks_are_read_from_names_where_the_file_has_none() -> None:
    # A run folder and Python keep no blocks, but the names of states.
    flat = ep.load(ep.to_yaml(ep.load(EXAMPLES / "hopfield_resnet13.yaml")))
    assert [f.label for f in shown(flat).frames] == ["h1", "h2", "h3", "h4"]
    assert shown(ep.topologies.chain(depth=12)).frames == []
    assert shown(EXAMPLES / "u12.yaml").frames == []


def flat(states: int, *more: str, wide: int = 0) -> str:
    """A chain of equal states without blocks; the one with the number ``wide`` has more channels."""
    names = ["x", *(f"c{i}" for i in range(1, states + 1))]
    edges = [f"from: {a}, to: {b}, conv: {{kernel: 3, padding: 1}}" for a, b in itertools.pairwise(names)]
    lines = [f"  - {{{edge}}}" for edge in (*edges, f"from: {names[-1]}, to: y, dense: {{}}", *more)]
    shapes = [f"  {name}: {{channels: {6 if name == f'c{wide}' else 4}}}" for name in names[1:]]
    head = "epgraph: 2\ninput: {shape: [4, 8, 8]}\noutput: {classes: 4}\nstates:\n"
    return "\n".join([head + "\n".join(shapes), "edges:", *lines, ""])


def test_equal_states_in_a_row_are_drawn_once_without_blocks() -> None:
    found = shown(flat(LEGIBLE_BOXES))
    assert list(found.boxes) == ["x", "c1", "y"]
    assert [frame.label for frame in found.frames] == [f"c1 … c{LEGIBLE_BOXES}  × {LEGIBLE_BOXES}"]
    assert [(line.tail, line.head) for line in found.lines] == [("x", "c1"), ("c1", "y")]
    closed = shown(flat(LEGIBLE_BOXES), 0).boxes["block c1"]
    assert (closed.name, closed.rows[:2]) == (f"c1 … c{LEGIBLE_BOXES}  × {LEGIBLE_BOXES}", ("4×8×8", "relu6"))
    # Every state of a network that fits, and every one that is asked for, is drawn, and none has a frame of its own.
    for depth, states in ((None, LEGIBLE_BOXES - 2), ("all", LEGIBLE_BOXES)):
        whole = shown(flat(states), depth)
        assert (len(whole.boxes), whole.frames) == (states + 2, [])


def test_states_that_differ_part_a_row() -> None:
    parted = [box.name for box in shown(flat(12, wide=6), 0).boxes.values()]
    assert parted == ["x", "c1 … c5  × 5", "c6", "c7", "c8 … c12  × 5", "y"]
    # Fewer than four are not worth a mark; an edge that its neighbors have not makes a state another one.
    assert list(shown(flat(3), 0).boxes) == ["x", "c1", "c2", "c3", "y"]
    joined = shown(flat(8, "from: x, to: c5, identity: {}"), 0)
    assert [box.name for box in joined.boxes.values()] == ["x", "c1 … c4  × 4", "c5", "c6", "c7", "c8", "y"]


def test_an_edge_of_every_block_to_one_state_says_how_many_there_are() -> None:
    text = BLOCKS + "".join(f"  - {{from: s{i}.z, to: y, name: e{i}, dense: {{}}}}\n" for i in range(1, 4))
    found = [line for line in shown(text, 0).lines if line.head == "y"]
    assert [line.title for line in found] == ["× 4"]


def placed(name: str, layout: str) -> tuple[Diagram, dict[str, tuple[float, float]]]:
    found, chosen = choose(shown(EXAMPLES / f"{name}.yaml"), layout)
    picture = place(found, chosen.direction, "full", 1.0, chosen.levels)
    return found, {key: (rect.x, rect.y) for key, rect in picture.boxes.items()}


def test_layouts_run_where_they_say() -> None:
    order = ["x", "h1a", "h1b", "h2a", "h2b", "h3a", "h3b", "h4a", "h4b", "y"]
    _, across = placed("hopfield_resnet13", "left-right")
    assert sorted(order, key=lambda name: across[name][0]) == order
    _, down = placed("hopfield_resnet13", "top-down")
    assert sorted(order, key=lambda name: -down[name][1]) == order


def test_a_u_has_level_skips_and_is_chosen_by_itself(tmp_path: Path) -> None:
    found, at = placed("u12", "auto")
    encoder, decoder = [f"e{i}" for i in range(1, 7)], [f"d{i}" for i in range(1, 7)]
    assert [at[name][1] for name in encoder] == sorted((at[name][1] for name in encoder), reverse=True)
    assert max(at[name][0] for name in encoder) < min(at[name][0] for name in decoder)
    for one, other in zip(encoder, decoder, strict=True):
        assert at[one][1] == at[other][1]
    picture = place(found, "TB", "full", 1.0, choose(found, "u")[1].levels)
    skips = [i for i, line in enumerate(found.lines) if line.kind == "skip"]
    assert len(skips) == 5
    for i in skips:
        assert len({round(y, 3) for curve in picture.routes[i] for _, y in curve.points}) == 1
    assert choose(shown(EXAMPLES / "hopfield_resnet13.yaml"), "auto")[1].levels is None


def test_stages_frame_states_of_one_size() -> None:
    found, at = placed("u12", "stages")
    assert [frame.label for frame in found.frames] == ["8×8", "4×4", "2×2", "4×4", "8×8"]
    inside = {f.path: [key for key, box in found.boxes.items() if box.frames == f.path] for f in found.frames}
    assert list(inside.values()) == [["e1", "e2"], ["e3", "e4"], ["e5", "e6", "d6", "d5"], ["d4", "d3"], ["d2", "d1"]]
    assert set(at) == set(found.boxes)


def test_boxes_grow_with_the_side_of_the_image_and_lines_with_the_number_of_weights() -> None:
    found = shown(EXAMPLES / "hopfield_resnet13.yaml")
    box, line = found.boxes["h1a"], found.lines[0]
    sizes = [size(replace(box, side=side)) for side in (1, 2, 4, 7, 32, 224, 256, 4096)]
    for axis in (0, 1):
        values = [found[axis] for found in sizes]
        assert values == sorted(values)
        assert len(set(values)) == 7  # bounded: 256 and more are one size
        assert values[-1] < 2 * values[0]
    for kind, most in (("conv", 3.2), ("dense", 1.5), ("conv_transpose", 1.2)):
        widths = [width(replace(line, kind=kind, parameters=n)) for n in (0, 10, 100, 10**4, 10**6, 10**7, 10**9)]
        assert widths == sorted(widths)
        assert widths[0] == widths[2] < widths[3] < widths[4] < widths[5] == widths[6] == most


def test_options_are_checked(tmp_path: Path) -> None:
    for options, message in (
        ({"depth": -1}, "depth must be at least 0, found -1"),
        ({"depth": "some"}, "depth expects a whole number or 'all', found text 'some'"),
        ({"depth": 1.5}, "depth expects a whole number"),
        ({"layout": "leftright"}, "unknown layout 'leftright'; did you mean 'left-right'?"),
        ({"layout": 3}, "layout expects a name, found 3"),
    ):
        with pytest.raises(EpgraphError, match=message):
            ep.render(EXAMPLES / "u12.yaml", tmp_path / "net.svg", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("direction", ["LR", "TB"])
def test_an_edge_of_one_state_ends_near_it(direction: Direction) -> None:
    """Also where a state has many other lines: once its label stood behind all of them, 860 points away."""
    names = [f"h{i}" for i in range(12)]
    net = ep.Network(input=(16,), classes=10, activation="relu1")
    for name in names:
        net.state(name, shape=(16,))
    for one, other in [("x", "h0"), ("h11", "y"), *itertools.combinations(names, 2)]:
        if "x" in one or "y" in other or (int(one[1:]) + int(other[1:])) % 2:
            net.edge(one, other, ep.Dense())
    for name in names:
        net.edge(name, ep.Self() if int(name[1:]) % 2 else ep.Memory(patterns=4))
    found = shown(net.build())
    picture = place(found, direction, "full")
    alone = [i for i, line in enumerate(found.lines) if line.unary]
    assert len(alone) == 12
    for i in alone:
        box, label = picture.boxes[found.lines[i].tail], picture.labels[i]
        assert max(abs(box.x - label.x), abs(box.y - label.y)) < 300
