"""What a user sees of the convolutional and dense edge kinds: shapes, options, hints that work, labels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from math import prod
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import epgraph as ep
from epgraph.drawing import dot
from epgraph.initialization import INITIAL
from epgraph.kinds import KINDS, Conv, ConvTranspose, Dense, EdgeKind, Identity, Lateral, Pool, Shape, ShapeError, Skip
from epgraph.kinds.convolution import check_groups
from epgraph.language import json_schema
from epgraph.language.dump import to_yaml

DRAWN = settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))


def shown(kind: str, target: str = "{channels: 6}", source: str = "[6, 8, 8]") -> list[str]:
    """Messages of a network with such an edge, without their places; none where it is right."""
    text = f"""\
epgraph: 2
input: {{shape: {source}}}
output: {{classes: 10}}
states: {{a: {target}}}
edges:
  - {{from: x, to: a, {kind}}}
  - {{from: a, to: y, dense: {{}}}}
"""
    try:
        ep.build(ep.load(text))
    except ep.EpgraphError as error:
        return [line.partition(": ")[2] for line in str(error).splitlines()]
    return []


def shape(kind: str, target: str = "{channels: 6}", source: str = "[6, 8, 8]") -> Shape:
    content = {
        "epgraph": 2,
        "input": {"shape": yaml.safe_load(source)},
        "output": {"classes": 10},
        "states": {"a": yaml.safe_load(target)},
        "edges": [{"from": "x", "to": "a", **yaml.safe_load(f"{{{kind}}}")}, {"from": "a", "to": "y", "dense": {}}],
    }
    return ep.build(ep.Architecture.model_validate(content)).states["a"].shape


@pytest.mark.parametrize(
    ("kind", "target", "expected"),
    [
        ("conv: {kernel: [3, 1]}", "{channels: 4}", (4, 6, 8)),
        ("conv: {kernel: 5, padding: same}", "{channels: 4}", (4, 8, 8)),
        ("conv: {kernel: [1, 3], dilation: 2, padding: same, pool: max}", "{channels: 4}", (4, 4, 4)),
        ("conv: {kernel: 3, dilation: [1, 3]}", "{channels: 4}", (4, 6, 2)),
        ("conv: {kernel: 3, stride: [1, 2], padding: [1, 0]}", "{channels: 4}", (4, 8, 3)),
        ("conv: {kernel: 3, padding: 1, groups: 3}", "{channels: 9}", (9, 8, 8)),
        ("conv: {kernel: 3, padding: 1, groups: depthwise}", "{}", (6, 8, 8)),
        ("skip: {stride: [2, 1]}", "{channels: 4}", (4, 4, 8)),
        ("pool: {kind: average}", "{}", (6, 4, 4)),
        ("pool: {kind: max, size: [3, 1]}", "{}", (6, 2, 8)),
        ("conv_transpose: {kernel: 4, stride: 2, padding: 1}", "{channels: 4}", (4, 16, 16)),
        ("conv_transpose: {kernel: 3, stride: 2, output_padding: [0, 1]}", "{channels: 4}", (4, 17, 18)),
        ("lateral: {kernel: 3}", "{}", (6, 8, 8)),
        ("lateral: {}", "{}", (6, 8, 8)),
        ("dense: {rank: 3}", "{shape: [5]}", (5,)),
    ],
)
def test_shapes_follow_from_the_source(kind: str, target: str, expected: Shape) -> None:
    assert shape(kind, target) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("conv: {kernel: [3, 5], padding: [1, 0]}", (6, 8, 12)),
        ("conv: {kernel: 3, padding: same, dilation: 2, groups: 2}", (6, 8, 8)),
        ("conv: {kernel: 3, groups: depthwise}", (6, 10, 10)),
        ("conv_transpose: {kernel: 4, stride: 2, padding: 1}", (6, 4, 4)),
        ("conv_transpose: {kernel: 3, stride: [2, 3], padding: 1, output_padding: [1, 1]}", (6, 4, 3)),
        ("lateral: {kernel: [1, 3]}", (6, 8, 8)),
        ("lateral: {}", (6, 8, 8)),
    ],
)
def test_shapes_follow_from_the_target(kind: str, expected: Shape) -> None:
    """The upper state alone is given; the lower one is inferred against the direction of its edge."""
    channels = {} if "depthwise" in kind or "lateral" in kind else {"channels": 6}
    content = {
        "epgraph": 2,
        "input": {"shape": [5]},
        "output": {"classes": 10},
        "states": {"low": channels, "top": {"shape": [6, 8, 8]}},
        "edges": [
            {"from": "low", "to": "top", **yaml.safe_load(f"{{{kind}}}")},
            {"from": "x", "to": "low", "dense": {}},
            {"from": "top", "to": "y", "dense": {}},
        ],
    }
    assert ep.build(ep.Architecture.model_validate(content)).states["low"].shape == expected


MESSAGES = {
    "conv: {kernel: [3]}": "'kernel' needs 2 entries, found 1; one number for both sides, or [rows, columns]",
    "conv: {kernel: [3, 0]}": "'kernel[1]' must be ≥ 1, found 0",
    "conv: {kernel: [3, 1.5]}": "'kernel[1]' expects an integer, found 1.5",
    "conv: {kernel: 3, padding: sam}": "'padding' expects an integer, [rows, columns] or 'same', found text 'sam'; "
    "did you mean 'same'?",
    "conv: {kernel: 3, groups: deep}": "'groups' expects an integer or 'depthwise', found text 'deep'; "
    "known: depthwise",
    "conv: {kernel: 3, groups: 0}": "'groups' must be ≥ 1, found 0",
    "conv: {kernel: 3, padding: 1, groups: 4}": "shape mismatch: conv x→a has 4 groups, which do not divide the 6 "
    "channels of the source; groups: 3 or groups: 6 would fit",
    "conv: {kernel: [3, 4], padding: same}": "'padding: same' needs an odd kernel, found 3×4; use kernel: [3, 5], or "
    "padding: [1, 2]",
    "conv: {kernel: 3, padding: same, stride: 2}": "'padding: same' keeps the size at stride 1 alone, found stride: 2; "
    "use padding: 1",
    "conv: {kernel: 5, dilation: 3}": "shape mismatch: conv x→a has a kernel of 5, dilated to 13×13 pixels, with "
    "padding 0, which does not fit into 6×8×8; use a smaller kernel, less dilation, more padding or no pooling",
    "conv: {kernel: [9, 1]}": "shape mismatch: conv x→a has a kernel of 9×1 with padding 0, which does not fit into "
    "6×8×8; use a smaller kernel, more padding or no pooling",
    "conv_transpose: {kernel: 3, stride: 2, output_padding: 2}": "'output_padding' must be smaller than the stride, "
    "found 2 at stride 2; a larger kernel, less padding or a larger stride makes a larger target",
    "conv_transpose: {kernel: 1, padding: 4}": "shape mismatch: conv_transpose x→a has padding 4, which cuts off all "
    "that a kernel of 1 makes from 6×8×8; use less padding or a larger kernel",
    "pool: {}": "missing key 'kind'; e.g. kind: average",
    "pool: {kind: max, size: 9}": "shape mismatch: pool x→a has a window of 9×9, which does not fit into 6×8×8; "
    "use size: 8",
    "lateral: {kernel: [2, 3]}": "'kernel' of lateral must be odd, found [2, 3]; use kernel: 3",
    "dense: {rank: 0}": "'rank' must be ≥ 1, found 0",
    "conv: {kernel: 3, pad: 1}": "unknown key 'pad'; did you mean 'padding'?",
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_messages(kind: str) -> None:
    assert shown(kind) == [MESSAGES[kind]]


MISMATCHES = {
    ("conv: {kernel: 3, padding: 1, groups: depthwise}", "[9, 8, 8]"): "conv x→a is depthwise and keeps the 6 channels "
    "of its source, but the target has 9; give the target channels: 6, or use groups: 3",
    ("conv: {kernel: 3, padding: 1, groups: depthwise}", "[12, 8, 8]"): "conv x→a is depthwise and keeps the 6 "
    "channels of its source, but the target has 12; give the target channels: 6, or use groups: 6",
    ("conv: {kernel: 3, padding: same}", "[6, 4, 4]"): "conv x→a gives 6×8×8 from 6×8×8, but the target is 6×4×4; "
    "stride: 2 with padding: 1 would fit",
    ("conv: {kernel: 3, padding: 1}", "[6, 4, 8]"): "conv x→a gives 6×8×8 from 6×8×8, but the target is 6×4×8; "
    "stride: [2, 1] would fit",
    ("conv_transpose: {kernel: 3}", "[6, 16, 16]"): "conv_transpose x→a gives 6×10×10 from 6×8×8, but the target is "
    "6×16×16; stride: 2 with padding: 1 and output_padding: 1 would fit",
    ("conv_transpose: {kernel: 3}", "[6, 4, 4]"): "conv_transpose x→a gives 6×10×10 from 6×8×8, but the target is "
    "6×4×4; use 'conv: {…}' towards the smaller state; an edge acts both ways",
    ("pool: {kind: average}", "[6, 2, 2]"): "pool x→a gives 6×4×4 from 6×8×8, but the target is 6×2×2; "
    "size: 4 would fit",
    ("pool: {kind: average}", "[9, 4, 4]"): "pool x→a gives 6×4×4 from 6×8×8, but the target is 9×4×4; pooling keeps "
    "the channels: give both states 6, or use 'conv: {kernel: 1, pool: average}'",
    ("lateral: {kernel: 5}", "[6, 4, 4]"): "lateral x→a gives 6×8×8 from 6×8×8, but the target is 6×4×4; use "
    "'conv: {kernel: 5, padding: 2, stride: 2}' between different shapes",
    ("lateral: {}", "[7]"): "lateral x→a gives 6×8×8 from 6×8×8, but the target is 7; lateral joins equal shapes only; "
    "use 'dense: {}' between different ones",
    ("dense: {rank: 8}", "[7]"): "dense x→a has rank 8, but the smaller of the two states has 7 units; use rank: 7 or "
    "less, or 'dense: {}' for a full matrix",
}


@pytest.mark.parametrize(("kind", "target"), MISMATCHES)
def test_mismatches(kind: str, target: str) -> None:
    message = MISMATCHES[kind, target]
    # Where two shapes differ, the declared one may be the mistake.
    declared = f"; or here: <text>:4:21: 'a' is declared as {'×'.join(target.strip('[]').split(', '))}"
    said = message + declared if " gives " in message else message
    assert shown(kind, f"{{shape: {target}}}") == [f"shape mismatch: {said}"]


def test_a_kernel_needs_pixels() -> None:
    for kind in ("conv: {kernel: 3}", "conv_transpose: {kernel: 3}", "pool: {kind: max}"):
        (message,) = shown(kind, "{shape: [6]}", "[6]")
        assert message.endswith("write its shape as [channels, height, width], or use 'dense: {}'"), kind
    (message,) = shown("lateral: {kernel: 3}", "{shape: [6]}", "[6]")
    assert message.endswith("leave out the kernel: 'lateral: {}'")


@st.composite
def misfits(draw: Callable[..., Any]) -> tuple[EdgeKind, Shape, Shape]:
    """A kind with options at random, and two shapes at random."""
    number = st.integers(1, 4)

    def pixels(low: int = 1) -> Any:
        return draw(st.integers(low, 4) | st.tuples(st.integers(low, 4), st.integers(low, 4)))

    groups = draw(st.sampled_from([1, 1, 2, 3, "depthwise"]))
    try:
        kind: EdgeKind = draw(st.sampled_from([lambda: Conv(
            kernel=pixels(), stride=pixels(), padding=draw(st.sampled_from([0, 1, (0, 2)])), dilation=pixels(),
            groups=groups, pool=draw(st.sampled_from([None, None, "max"])),
        ), lambda: Conv(kernel=pixels(), padding="same", dilation=pixels()), lambda: ConvTranspose(
            kernel=pixels(), stride=pixels(), padding=pixels(0), output_padding=pixels(0), groups=groups,
        ), lambda: Skip(stride=pixels()), lambda: Pool(kind="average", size=pixels())]))()  # fmt: skip
    except ep.EpgraphError:
        assume(False)
        raise
    sizes = (st.integers(1, 24), st.integers(1, 24))
    source, target = ((draw(number), draw(sizes[0]), draw(sizes[1])) for _ in range(2))
    return kind, source, target


@DRAWN
@given(case=misfits())
def test_hints_work_when_followed(case: tuple[EdgeKind, Shape, Shape]) -> None:
    """Every option that is said to fit does fit, all others as they were."""
    kind, source, target = case
    try:
        kind.check(source, target)
    except ShapeError as error:
        hint = error.hint
    else:
        return
    assert hint
    if not hint.endswith(" would fit"):
        return  # towards another state, or another kind
    written = re.findall(r"(\w+): (\[\d+, \d+\]|\w+)", hint)
    values = {
        key: None if value == "null" else json.loads(value) if value != "max" else value for key, value in written
    }
    given_ = {**kind.model_dump(), **values}
    changed = type(kind).model_validate(given_)
    if set(values) == {"groups"}:
        for option in (int(value) for _, value in written):
            check_groups(option, source[0], target[0])
    else:
        changed.check(source, target)


def test_hints_take_no_time_whatever_the_options() -> None:
    """A million is the largest number that an option may be."""
    for kind in (
        "conv: {kernel: 1000000, padding: 1000000, dilation: 1000000, stride: 1000000}",
        "conv_transpose: {kernel: 1000000, dilation: 1000000, stride: 1000000}",
        "conv: {kernel: 1000000, padding: 500000}",
    ):
        assert shown(kind, "{shape: [6, 3, 5]}")


def test_options_survive_yaml() -> None:
    text = "{kernel: [3, 5], padding: same, groups: depthwise}"
    architecture = ep.Architecture.model_validate(
        {
            "epgraph": 2,
            "input": {"shape": [6, 8, 8]},
            "output": {"classes": 3},
            "states": {"a": {"channels": 6}},
            "edges": [{"from": "x", "to": "a", "conv": yaml.safe_load(text)}, {"from": "a", "to": "y", "dense": {}}],
        }
    )
    again = ep.load(to_yaml(architecture))
    assert again == architecture
    assert again.edges[0].kind == Conv(kernel=(3, 5), padding="same", groups="depthwise")
    assert hash(again.edges[0].kind) == hash(architecture.edges[0].kind)


def test_square_options_are_one_kind_however_they_are_written() -> None:
    assert Conv(kernel=3, padding="same").geometry == Conv(kernel=(3, 3), padding=(1, 1)).geometry


def test_labels_show_every_option() -> None:
    labels = {
        Conv(kernel=3): "conv 3×3",
        Conv(kernel=3, stride=2, pool="max"): "conv 3×3 /2, max pool",
        Conv(kernel=(1, 5), stride=(2, 1)): "conv 1×5 /2×1",
        Conv(kernel=3, dilation=2, groups=4): "conv 3×3 dilated 2, 4 groups",
        Conv(kernel=3, groups="depthwise", pool="average"): "conv 3×3, depthwise, average pool",
        Skip(stride=(1, 2)): "skip 1×1 /1×2",
        ConvTranspose(kernel=4, stride=2): "conv_transpose 4×4 ·2",
        Pool(kind="average", size=(2, 1)): "average pool 2×1",
        Lateral(kernel=3): "lateral 3×3",
        Lateral(): "lateral",
        Dense(rank=8): "dense, rank 8",
        Identity(scale=-0.5): "identity ×-0.5",
    }
    assert {kind: kind.label() for kind in labels} == labels


def test_diagrams_show_the_options() -> None:
    architecture = ep.Architecture.model_validate(
        {
            "epgraph": 2,
            "input": {"shape": [4, 8, 8]},
            "output": {"classes": 3},
            "states": {"a": {}, "b": {}, "c": {}, "d": {"channels": 2}},
            "edges": [
                {"from": "x", "to": "a", "conv": {"kernel": [1, 3], "padding": "same", "groups": "depthwise"}},
                {"from": "a", "to": "b", "pool": {"kind": "average"}},
                {"from": "b", "to": "c", "lateral": {"kernel": 3}},
                {"from": "c", "to": "d", "conv_transpose": {"kernel": 2, "stride": 2}},
                {"from": "d", "to": "y", "dense": {"rank": 2}},
            ],
        }
    )
    source = dot(architecture)
    for text in ("conv 1×3", "depthwise", "average pool 2×2", "lateral 3×3", "conv_transpose 2×2 ·2", "rank 2"):
        assert f">{text}<" in source, text


def test_fan_in_of_a_transposed_convolution_counts_what_meets() -> None:
    """Units of a source of ones that a target unit feels, with weights of one, away from the border."""
    for kernel, stride in ((4, 2), (3, 1), (2, 2), (6, 3), (3, 2)):
        kind = ConvTranspose(kernel=kernel, stride=stride)
        source = (5, 12, 12)
        target = kind.target_shape(source, 2)
        assert target is not None
        felt = kind.forward(torch.ones(kind.weight_shape(source, target)), torch.ones(1, *source), target)
        inside = felt[:, :, 3 * stride : 6 * stride, 3 * stride : 6 * stride]
        assert kind.fan_in(source, target) == round(float(inside.mean())), (kernel, stride)
    assert Conv(kernel=3, groups=2).fan_in((6, 8, 8), (4, 6, 6)) == 27
    assert Dense(rank=2).fan_in((3, 4, 4), (7,)) == 48
    assert Lateral(kernel=(3, 1)).fan_in((5, 4, 4), (5, 4, 4)) == 15


def test_a_dense_edge_starts_alike_at_every_rank() -> None:
    """Entries of U Vᵀ have the variance gain²/(3 · fan_in) of the full matrix."""
    source, target, gain = (400,), (300,), 0.7
    spread = []
    for rank in (None, 1, 4, 64):
        content = {
            "epgraph": 2,
            "input": {"shape": list(source)},
            "output": {"classes": target[0]},
            "edges": [{"from": "x", "to": "y", "dense": {} if rank is None else {"rank": rank}, "gain": gain}],
        }
        graph = ep.build(ep.Architecture.model_validate(content))
        weight = INITIAL["published"](graph, 0, None)["edges.x_y.weight"]
        kind = graph.edges["x_y"].kind
        matrix = kind.forward(weight, torch.eye(prod(source), dtype=weight.dtype), target)
        spread.append(float(matrix.var()) / (gain**2 / (3 * prod(source))))
    # The variance of a product of two vectors of 300 and 400 numbers is itself known to 5 %.
    assert spread == pytest.approx([1.0] * 4, rel=0.1)


NEEDED: dict[str, dict[str, Any]] = {
    "conv": {"kernel": 3},
    "conv_transpose": {"kernel": 3, "stride": 2},
    "pool": {"kind": "max"},
    "memory": {"patterns": 4},
}


def test_every_option_is_explained_by_examples_that_are_right() -> None:
    for kind in KINDS.values():
        for name, field in kind.model_fields.items():
            assert field.description, (kind.name, name)
            assert field.examples, (kind.name, name)
            for example in field.examples:
                kind.model_validate({**NEEDED.get(kind.name, {}), name: example})


def test_the_schema_takes_what_the_language_takes() -> None:
    """Numbers, pairs and words, by an independent validator."""
    validator = jsonschema.Draft202012Validator(json_schema())

    def accepts(conv: dict[str, Any]) -> bool:
        content = {
            "epgraph": 2,
            "input": {"shape": [6, 8, 8]},
            "output": {"classes": 3},
            "edges": [{"from": "x", "to": "y", "conv": conv}],
        }
        return not list(validator.iter_errors(content))

    for right in ({"kernel": 3}, {"kernel": [3, 1]}, {"kernel": 3, "padding": "same", "groups": "depthwise"}):
        assert accepts(right), right
    for wrong in ({"kernel": [3]}, {"kernel": [3, 1, 1]}, {"kernel": [3, 0]}, {"kernel": 3, "padding": "sam"}):
        assert not accepts(wrong), wrong
