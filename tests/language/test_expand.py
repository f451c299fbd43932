"""Blocks, patterns and includes stand for exactly the flat form that one would write by hand."""

from __future__ import annotations

import json
import textwrap
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import epgraph as ep
from epgraph.cli import run
from epgraph.graph import inspect
from epgraph.language import Architecture, json_schema, origins, parse, to_yaml
from epgraph.lowering import lower

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
FLAT = sorted((ROOT / "tests" / "flat").glob("*.yaml"))

HEAD = "epgraph: 2\ninput:  {name: x, shape: [3, 16, 16]}\noutput: {name: y, classes: 10}\n"
LAYER = "blocks:\n  layer:\n    states: {s: {shape: [4]}}\n    edges: [{from: in, to: s, dense: {}}]\n"


def plan(architecture: Architecture) -> Any:
    """What a plan is made of: states and edges with shapes, kinds and scales, and which states move together."""
    found = lower(ep.build(architecture), architecture.dynamics.schedule)
    return (
        list(found.graph.states.values()),
        list(found.graph.edges.values()),
        found.schedule.classes,
    )


def ends(text: str) -> list[tuple[str, str]]:
    return [(edge.source, edge.target) for edge in ep.load(text).edges]


# --- the same network, sugared and written out by hand -------------------------------------------------------------


@st.composite
def networks(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw a file with blocks, and the states and edges that it stands for, put together without epgraph."""
    base = draw(st.integers(1, 5))
    file_gain, block_gain, instance_gain = (draw(st.sampled_from([None, 0.3, 0.7])) for _ in range(3))
    inner_size = draw(st.integers(1, 3))
    inner_repeat = draw(st.integers(1, 3))
    repeat = draw(st.integers(1, 4))
    join = draw(st.sampled_from(["_", "", "of"]))
    each = draw(st.lists(st.integers(1, 6), min_size=repeat, max_size=repeat))
    skip = draw(st.booleans())
    apart = draw(st.sampled_from([None, 1, 2, [1, 3]]))

    gain = {} if block_gain is None else {"gain": block_gain}
    inner = {
        "parameters": {"units": "$(base + 1)"},
        "defaults": gain,
        "states": {f"s{k}": {"shape": [f"$(units * {k + 1} + i)"]} for k in range(inner_size)},
        "edges": [{"from": "in" if k == 0 else f"s{k - 1}", "to": f"s{k}", "dense": {}} for k in range(inner_size)],
        "out": "s0",
    }
    outer = {
        "parameters": {"width": None},
        "ports": ["side"],
        "states": {
            "a": {"shape": ["$width"], "bias": "$(i > 1)"},
            "r": {"block": "inner", "from": "a", "repeat": inner_repeat, "with": {"units": "$(width + i)"}},
        },
        "edges": [
            {"from": "in", "to": "a", "dense": {}, "gain": 0.9},
            {"from": "side", "to": "r", "dense": {}, "name": "aside"},
        ],
    }
    instance: dict[str, Any] = {
        "block": "outer",
        "from": "x",
        "repeat": "$(count)",
        "join": join,
        "with": {"width": {"each": each}},
        "ports": {"side": "x"},
    }
    if instance_gain is not None:
        instance["defaults"] = {"gain": instance_gain}
    sugared: dict[str, Any] = {
        "epgraph": 2,
        "parameters": {"base": base, "count": repeat},
        "input": {"shape": [3]},
        "output": {"classes": 2},
        "blocks": {"inner": inner, "outer": outer},
        "states": {"h": instance, "z": {"shape": ["$base"]}},
        "edges": [{"from": ["h", "z"], "to": "y", "dense": {}}, {"from": "h*.a", "to": "z", "dense": {}}],
    }
    if file_gain is not None:
        sugared["defaults"] = {"gain": file_gain}

    states: dict[str, Any] = {}
    edges: list[dict[str, Any]] = []
    of_outer = {} if instance_gain is None else {"gain": instance_gain}
    of_inner = {**of_outer, **gain}
    before = "x"
    for i in range(1, repeat + 1):
        prefix = f"h{i}{join}"
        states[f"{prefix}a"] = {"shape": [each[i - 1]], "bias": i > 1}
        inside = f"{prefix}a"
        rows = []
        for j in range(1, inner_repeat + 1):
            row = f"{prefix}r{j}_"
            for k in range(inner_size):
                states[f"{row}s{k}"] = {"shape": [(each[i - 1] + j) * (k + 1) + j]}
                source = inside if k == 0 else f"{row}s{k - 1}"
                rows.append({"from": source, "to": f"{row}s{k}", "dense": {}, **of_inner})
            inside = f"{row}s0"
        edges += rows
        edges.append({"from": before, "to": f"{prefix}a", "dense": {}, "gain": 0.9})
        edges.append({"from": "x", "to": inside, "dense": {}, "name": f"{prefix}aside", **of_outer})
        before = inside
    states["z"] = {"shape": [base]}
    edges += [{"from": before, "to": "y", "dense": {}}, {"from": "z", "to": "y", "dense": {}}]
    edges += [{"from": f"h{i}{join}a", "to": "z", "dense": {}} for i in range(1, repeat + 1)]
    firsts = [f"h{i}{join}a" for i in range(1, repeat + 1)]
    steps = range(1, repeat) if apart is None else [apart] if isinstance(apart, int) else apart
    pairs = [
        {"from": firsts[i], "to": firsts[k], "dense": {}} for i, k in combinations(range(repeat), 2) if k - i in steps
    ]
    if skip and pairs:
        sugared["groups"] = {"firsts": ["h*.a"]}
        pattern: dict[str, Any] = {"among": "firsts", "dense": {}}
        sugared["edges"].append(pattern if apart is None else {**pattern, "apart": apart})
        edges += pairs
    flat = {key: sugared[key] for key in ("epgraph", "input", "output", "defaults") if key in sugared}
    return sugared, {**flat, "states": states, "edges": edges}


@settings(max_examples=60, deadline=None)
@given(networks())
def test_blocks_are_what_one_would_write_by_hand(drawn: tuple[dict[str, Any], dict[str, Any]]) -> None:
    sugared, flat = drawn
    found = ep.load(yaml.safe_dump(sugared, sort_keys=False))
    assert plan(found) == plan(Architecture.model_validate(flat))
    assert ep.load(to_yaml(found, notes=origins(found))) == found, "expanding is the identity on architectures"


def by_name(architecture: Architecture) -> Any:
    states, edges, classes = plan(architecture)
    return states, {edge.name: edge for edge in edges}, classes


@pytest.mark.parametrize("flat", FLAT, ids=lambda p: p.stem)
def test_the_examples_in_blocks_are_the_published_networks(flat: Path) -> None:
    """Initial parameters are drawn by name, so that equal names, shapes and scales are equal parameters to the bit."""
    blocks = ep.load(ROOT / "examples" / flat.name)
    assert by_name(blocks) == by_name(ep.load(flat))
    assert blocks.training == ep.load(flat).training


@pytest.mark.parametrize("name", ["hopfield_resnet13", "hopfield_resnet13_noskip", "vgg5"])
def test_the_published_networks_take_the_dynamics_of_their_energy(name: str) -> None:
    """No key of ``dynamics`` is written, so one ``--set`` turns them into networks with sensible dynamics."""
    found = []
    for changes in ([], ["energy=predictive"], ["energy=predictive", "dynamics.solver=error_sweeps"]):
        dynamics = ep.load(ROOT / "examples" / f"{name}.yaml", changes).dynamics
        found.append((dynamics.schedule, dynamics.free_steps, dynamics.nudged_steps))
    assert found == [("even_odd", 120, 50), ("backward", 120, 5), ("backward", 120, 2)]


def test_hopfield_resnet13_takes_about_twenty_lines() -> None:
    lines = (ROOT / "examples" / "hopfield_resnet13.yaml").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.split("#")[0].strip()]) <= 22


def test_fifty_blocks_take_no_more_lines_than_four() -> None:
    text = HEAD + LAYER + "states: {h: {block: layer, from: x, repeat: 4}}\nedges: [{from: h, to: y, dense: {}}]\n"
    many = text.replace("repeat: 4", "repeat: 50")
    assert len(many.splitlines()) == len(text.splitlines())
    assert (len(ep.load(text).states), len(ep.load(many).states)) == (4, 50)


@pytest.mark.parametrize("path", [*EXAMPLES, *FLAT], ids=lambda p: p.stem)
def test_expand_prints_the_same_network(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "flat.yaml"
    assert run(["expand", str(path), "-o", str(out)]) == 0
    assert plan(ep.load(out)) == plan(ep.load(path))
    assert ep.load(out) == ep.load(path)


def test_expand_says_where_everything_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(
        HEAD + LAYER + "states: {h: {block: layer, from: x, repeat: 2}}\nedges: [{from: h, to: y, dense: {}}]\n"
    )
    assert run(["expand", str(file)]) == 0
    text = capsys.readouterr().out
    assert f"h2_s: {{shape: [4]}}   # {file}:6, in block 'layer' as h2, at {file}:8:10\n" in text
    assert run(["expand", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["origins"]["states"]["h1_s"] == f"{file}:6, in block 'layer' as h1, at {file}:8:10"
    assert found["origins"]["edges"][-1] == f"{file}:9"
    assert list(found["architecture"]["states"]) == ["h1_s", "h2_s"]


# --- patterns ----------------------------------------------------------------------------------------------------

FOUR = HEAD + "states:\n" + "".join(f"  h{k}: {{shape: [4]}}\n" for k in range(1, 5))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{from: x, to: [h1, h3]", [("x", "h1"), ("x", "h3")]),
        ("{from: [h1, h2], to: [h2, h3]", [("h1", "h2"), ("h1", "h3"), ("h2", "h3")]),
        ("{from: h*, to: y, except: [h2, h4]", [("h1", "y"), ("h3", "y")]),
        ("{from: 'h[12]', to: late", [("h1", "h3"), ("h1", "h4"), ("h2", "h3"), ("h2", "h4")]),
        ("{among: [h3, h1, h2]", [("h1", "h2"), ("h1", "h3"), ("h2", "h3")]),
        ("{among: h*, apart: 3", [("h1", "h4")]),
        ("{among: h*, apart: [2, 3]", [("h1", "h3"), ("h1", "h4"), ("h2", "h4")]),
        ("{among: h*, apart: 1, except: [h2]", [("h1", "h3"), ("h3", "h4")]),
    ],
)
def test_patterns(entry: str, expected: list[tuple[str, str]]) -> None:
    chain = "".join(f"  - {{from: {'x' if k == 1 else f'h{k - 1}'}, to: h{k}, dense: {{}}}}\n" for k in range(1, 5))
    chain += "  - {from: h4, to: y, dense: {}}\n"
    text = f"{FOUR}groups: {{late: [h3, h4]}}\nedges:\n{chain}  - {entry}, dense: {{}}}}\n"
    assert ends(text)[5:] == expected


# --- include, --set, versions ------------------------------------------------------------------------------------


def test_include_merges_by_key_and_this_file_wins(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.yaml").write_text(
        "include: [b.yaml]\nparameters: {units: 3, more: 1}\ndefaults: {gain: 0.1, conv: {kernel: 3, padding: 1}}\n"
        "edges: [{from: x, to: y, dense: {}}]\n"
    )
    (tmp_path / "parts" / "b.yaml").write_text(LAYER.replace("[4]", "[$units]") + "parameters: {units: 2}\n")
    net = tmp_path / "net.yaml"
    net.write_text(
        "epgraph: 2\ninclude: [parts/a.yaml, parts/b.yaml]\ninput: {shape: [1, 4, 4]}\noutput: {classes: 2}\n"
        "parameters: {units: 5}\ndefaults: {conv: {padding: 2}}\n"
        "states: {h: {block: layer, from: x}, k: {channels: 1}}\n"
        "edges: [{from: h, to: y, dense: {}}, {from: x, to: k, conv: {}}, {from: k, to: y, dense: {}}]\n"
    )
    found = ep.load(net)
    assert found.states["h_s"].shape == (5,)
    assert [(e.source, e.target) for e in found.edges] == [
        ("x", "h_s"),
        ("x", "y"),
        ("h_s", "y"),
        ("x", "k"),
        ("k", "y"),
    ]
    kind = found.edges[3].kind.model_dump()
    assert (kind["kernel"], kind["padding"], found.defaults.gain) == (3, 2, 0.1)


def test_a_mistake_in_an_included_file_names_both_places(tmp_path: Path) -> None:
    blocks, net = tmp_path / "blocks.yaml", tmp_path / "net.yaml"
    blocks.write_text(LAYER.replace("shape", "shap"))
    net.write_text(
        HEAD + "include: [blocks.yaml]\nstates: {h: {block: layer, from: x}}\nedges: [{from: h, to: y, dense: {}}]\n"
    )
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load(net)
    (found,) = caught.value.diagnostics
    assert (found.file, found.line, found.column) == (str(blocks), 3, 18)
    assert found.trail == (f"in block 'layer' as h, at {net}:5:10", f"included at {net}:4:11")


def test_includes_that_cannot_be(tmp_path: Path) -> None:
    net = tmp_path / "net.yaml"
    rest = "\n".join(FOUR.splitlines()[1:]) + "\nedges: [{from: x, to: h*, dense: {}}, {from: h*, to: y, dense: {}}]\n"
    (tmp_path / "a.yaml").write_text("include: b.yaml\n")
    (tmp_path / "b.yaml").write_text("include: [a.yaml]\n")
    (tmp_path / "c.yaml").write_text("- 1\n")
    (tmp_path / "d.yaml").write_text("epgraph: 9\n")
    net.write_text(f"epgraph: 2\ninclude: [a.yaml, no.yaml, 3, '.', c.yaml, d.yaml]\n{rest}")
    _, diagnostics = inspect(net)
    assert [d.message for d in diagnostics] == [
        "the file includes itself: a.yaml → b.yaml → a.yaml",
        "'no.yaml' cannot be included: there is no such file",
        "'include' expects names of files, found 3",
        "'.' cannot be included: it is a directory",
        "expected a mapping of keys, found a list",
        "this file is written in language version 9, and this epgraph reads up to version 2",
    ]


def test_set_reaches_parameters_and_blocks() -> None:
    text = (
        HEAD
        + "parameters: {size: 4}\n"
        + LAYER.replace("    states", "    parameters: {units: $size}\n    states").replace("[4]", "[$units]")
        + "states: {h: {block: layer, from: x, repeat: 2}}\nedges: [{from: h, to: y, dense: {}}]\n"
    )
    for assignment in ("parameters.size=7", "blocks.layer.parameters.units=7", "states.h.with.units=7"):
        assert ep.load(text, [assignment]).states["h2_s"].shape == (7,)
    assert len(ep.load(text, ["states.h.repeat=5"]).states) == 5
    with pytest.raises(ep.EpgraphError, match=r"^--set states.h.repeat=-1: 'repeat' must be ≥ 0, found -1"):
        ep.load(text, ["states.h.repeat=-1"])


TIED = """\
epgraph: 2
input:  {name: x, shape: [4]}
output: {name: y, classes: 4}
blocks:
  pair:
    states: {a: {shape: [4]}, c: {shape: [4]}, b: {shape: [4]}}
    edges:
      - {from: in, to: a, dense: {}, name: up}
      - {from: in, to: [b, c], dense: {}}
      - {from: c, to: b, dense: {}}
      - {from: a, to: b, dense: {}}
      - {at: a, self: {}}
      - EDGE
  outer:
    states: {r: {block: pair, from: in, repeat: 2, join: _}, s: {shape: [4]}}
    edges:
      - {from: r, to: s, dense: {}, name: w}
      - OUTER
states:
  h: {block: pair, from: x, repeat: 2, join: _}
  o: {block: outer, from: h}
edges:
  - {from: h, to: y, dense: {}}
  - {from: h1, to: y, dense: {}, name: first}
  - FILE
"""


@pytest.mark.parametrize("join", ["_", "", "0"])
@pytest.mark.parametrize(
    ("where", "edge", "owners"),
    [
        ("EDGE", "from: b, to: a, dense: {}, tie: up", "x>h1.a h1.b>h2.a h2.b>o.r1.a o.r1.b>o.r2.a"),
        ("EDGE", "from: b, to: a, dense: {}, tie: in_b", "x>h1.b h1.b>h2.b h2.b>o.r1.b o.r1.b>o.r2.b"),
        ("EDGE", "from: b, to: a, dense: {}, tie: a_b", "h1.a>h1.b h2.a>h2.b o.r1.a>o.r1.b o.r2.a>o.r2.b"),
        ("EDGE", "from: a, to: b, dense: {}, tie: a_b", "h1.a>h1.b h2.a>h2.b o.r1.a>o.r1.b o.r2.a>o.r2.b"),
        ("EDGE", "at: b, self: {}, tie: a_self", "h1.a>h1.a h2.a>h2.a o.r1.a>o.r1.a o.r2.a>o.r2.a"),
        ("EDGE", "from: [b], to: [a], dense: {}, tie: in_c", "x>h1.c h1.b>h2.c h2.b>o.r1.c o.r1.b>o.r2.c"),
        ("OUTER", "from: r1.a, to: s, dense: {}, tie: r1.up", "h2.b>o.r1.a"),
        ("OUTER", "from: r1.a, to: s, dense: {}, tie: r.up", "o.r1.b>o.r2.a"),
        ("OUTER", "from: r1.a, to: s, dense: {}, tie: r1.a_b", "o.r1.a>o.r1.b"),
        ("OUTER", "at: s, self: {}, tie: r1.a_self", "o.r1.a>o.r1.a"),
        ("OUTER", "from: r1.a, to: s, dense: {}, tie: w", "o.r2.b>o.s"),
        ("FILE", "from: h1.a, to: y, dense: {}, tie: h.up", "h1.b>h2.a"),
        ("FILE", "from: h1.a, to: y, dense: {}, tie: h1.up", "x>h1.a"),
        ("FILE", "from: h1.a, to: y, dense: {}, tie: h_y", "h2.b>y"),
        ("FILE", "from: h1.a, to: y, dense: {}, tie: first", "h1.b>y"),
        ("FILE", "from: h1.a, to: y, dense: {}, tie: o.r.up", "o.r1.b>o.r2.a"),
        ("FILE", "from: h1.a, to: y, dense: {}, tie: o.r2.a_b", "o.r2.a>o.r2.b"),
        ("FILE", "at: o.s, self: {}, tie: h1.a_self", "h1.a>h1.a"),
    ],
)
def test_ties_through_blocks(where: str, edge: str, owners: str, join: str) -> None:
    """The edge whose weight is shared is the one meant, told by its ends, however names are joined."""

    def flat(name: str) -> str:
        whole, dot, state = name.rpartition(".")
        return (whole.replace(".", "_") + (join if whole != "o" else "_") if dot else "") + state

    text = TIED.replace(f"- {where}", f"- {{{edge}}}").replace("join: _", f'join: "{join}"')
    text = "\n".join(line for line in text.splitlines() if line.strip() not in ("- EDGE", "- OUTER", "- FILE"))
    architecture = ep.load(text)
    by_name = ep.build(architecture).edges
    tied = [by_name[edge.tie] for edge in architecture.edges if edge.tie is not None]
    assert [(edge.source, edge.target) for edge in tied] == [
        tuple(map(flat, pair.split(">"))) for pair in owners.split()
    ]


def test_ties_that_name_no_edge_of_the_block() -> None:
    text = (
        TIED.replace("- OUTER", "- {from: r1.a, to: s, dense: {}, tie: r1.uo}")
        .replace("- EDGE", "")
        .replace("- FILE", "")
    )
    with pytest.raises(ep.EpgraphError, match=r"'tie' names no edge: 'r1.uo'; .*\[in block 'outer' as o, at "):
        ep.load(text)


def test_globs_match_instances_and_mean_their_outputs() -> None:
    row = HEAD + LAYER + "states: {h: {block: layer, from: x, repeat: 3}, h9: {shape: [4]}}\nedges:\n"
    last = "  - {from: h, to: [h9, y], dense: {}}\n"
    cases = {"h?": "h1_s h2_s h3_s h9", "h[12]": "h1_s h2_s", "?2": "h2_s", "h?.s": "h1_s h2_s h3_s"}
    for glob, expected in cases.items():
        text = row + last + f"  - {{from: '{glob}', to: y, dense: {{}}, gain: 0.125}}\n"
        edges = [edge for edge in ep.load(text).edges if edge.gain == 0.125]
        assert [edge.source for edge in edges] == expected.split()


def test_blocks_of_edges_alone() -> None:
    text = HEAD + "blocks: {b: {ports: [to], edges: [{from: in, to: to, dense: {}}]}}\n"
    text += "states: {a: {shape: [4]}, j: {block: b, from: x, ports: {to: a}}}\nedges: [{from: a, to: y, dense: {}}]\n"
    assert [(e.source, e.target) for e in ep.load(text).edges] == [("x", "a"), ("a", "y")]
    row = text.replace("from: x", "from: x, repeat: 2", 1).replace("dense: {}}]}}", "dense: {}, gain: $(i / 10)}]}}")
    made = [(e.source, e.target, e.gain) for e in ep.load(row).edges]
    assert made[:2] == [("x", "a", 0.1), ("x", "a", 0.2)], "the port is the same for all"
    _, found = inspect(text.replace("from: a, to: y", "from: [a, j], to: y"))
    assert [d.message for d in found] == ["'from' names no state: block 'b' of 'j' has none"]
    _, found = inspect(text.replace("{ports: [to], edges: [{from: in, to: to, dense: {}}]}", "{ports: [to]}"))
    assert "the block has neither states nor edges" in [d.message for d in found]


def test_a_row_of_none_is_nothing() -> None:
    rest = "edges: [{from: x, to: a, dense: {}}, {from: a, to: y, dense: {}}]\n"
    text = HEAD + LAYER + "states: {a: {shape: [4]}, h: {block: layer, from: a, repeat: 0}}\n" + rest
    assert plan(ep.load(text)) == plan(ep.load(HEAD + "states: {a: {shape: [4]}}\n" + rest))
    _, found = inspect(text.replace("from: a, to: y", "from: [a, h], to: y"))
    assert [f"{d.message}; {d.hint}" for d in found] == [
        "'from' names no state: 'h'; the row 'h' has no instances: repeat: 0"
    ]


@pytest.mark.parametrize("name", ["i", "n", "min", "ceil", "lambda", "true", "a-b"])
def test_names_that_parameters_cannot_have(name: str) -> None:
    bare = HEAD + "edges: [{from: x, to: y, dense: {}}]\n"
    _, found = inspect(bare + f"parameters: {{{name}: 3}}\n")
    assert [d.rule for d in found] == ["not-a-name" if name == "a-b" else "duplicate-name"]
    _, found = inspect(bare + LAYER.replace("    states", f"    parameters: {{{name}: 3}}\n    states"))
    assert [d.rule for d in found] == (["not-a-name"] if name == "a-b" else ["duplicate-name", "unused-block"])


def test_files_are_not_included_by_set(tmp_path: Path) -> None:
    with pytest.raises(ep.EpgraphError, match="write include in the file"):
        ep.load(HEAD + "edges: [{from: x, to: y, dense: {}}]\n", ["include=blocks.yaml"])
    library = tmp_path / "library.yaml"
    library.write_text(LAYER + "parameters: {spare: 3}\n")
    main = tmp_path / "net.yaml"
    main.write_text("include: library.yaml\n" + HEAD + "edges: [{from: x, to: y, dense: {}}]\n")
    assert inspect(main)[1] == [], "what a library has and this network does not use is not doubtful"
    library.write_text("edges: 3\nstates: [a]\n")
    assert [d.message for d in inspect(main)[1]] == [
        "'edges' expects a list, found 3",
        "'states' expects a mapping, found a list",
    ]


def test_set_refuses_parameters_that_are_not_declared() -> None:
    text = (
        HEAD + "parameters: {width: 4}\n" + LAYER.replace("    states", "    parameters: {units: $width}\n    states")
    )
    text = (
        text.replace("[4]", "[$units]") + "states: {h: {block: layer, from: x}}\nedges: [{from: h, to: y, dense: {}}]\n"
    )
    cases = {
        "parameters.widht=8": "the file has no parameter 'widht'; did you mean 'width'?",
        "blocks.layer.parameters.unit=8": "block 'layer' has no parameter 'unit'; did you mean 'units'?",
    }
    for assignment, expected in cases.items():
        with pytest.raises(ep.EpgraphError) as caught:
            ep.load(text, [assignment])
        assert str(caught.value) == f"--set {assignment}: {expected}"
    bare = HEAD + "edges: [{from: x, to: y, dense: {}}]\n"
    with pytest.raises(ep.EpgraphError, match="the file has no parameter 'w'; declare it under 'parameters'"):
        ep.load(bare, ["parameters.w=8"])


def test_parameters_that_nothing_uses_are_doubtful() -> None:
    """A block's parameter hides the file's of the same name; a default may use the file's all the same."""
    text = HEAD + "parameters: {P}\n" + LAYER.replace("    states", "    parameters: {Q}\n    states")
    text = (
        text.replace("[4]", "[$units]") + "states: {h: {block: layer, from: x}}\nedges: [{from: h, to: y, dense: {}}]\n"
    )
    cases = {
        ("units: 4", "units: 3"): ["'units' of the file"],
        ("units: 4", "units: $units"): [],
        ("a: 4, b: $a", "units: $b"): [],
        ("a: 4, b: 3", "spare: $b, units: $a"): ["'spare' of block 'layer'"],
        ("a: 4", "units: $(a if true else c), c: 1"): ["'c' of block 'layer'"],
    }
    for (outer, inner), expected in cases.items():
        _, found = inspect(text.replace("{P}", f"{{{outer}}}").replace("{Q}", f"{{{inner}}}"))
        assert [d.message for d in found] == [f"parameter {e} is not used" for e in expected]
        assert {d.rule for d in found} <= {"unused-parameter"}


# --- the schema ---------------------------------------------------------------------------------------------------


def accepted(text: str) -> bool:
    import jsonschema

    return jsonschema.Draft202012Validator(json_schema()).is_valid(parse(text).data)


SUGAR = HEAD + textwrap.dedent(
    """\
        defaults: {conv: {kernel: 3, padding: 1}}
        parameters: {widths: [8, 16]}
        include: []
        blocks:
          pair:
            parameters: {channels: null}
            ports: [other]
            states: {a: {channels: $channels, activation: $act}, b: {shape: [$channels, 4, "$(n + 1)"]}}
            edges:
              - {from: in, to: a, conv: {}, gain: $g}
              - {from: a, to: b, conv: {stride: $s}}
            out: b
        states:
          h: {block: pair, from: x, repeat: $n, with: {channels: {each: $widths}}, ports: {other: x},
              defaults: {gain: 1}}
        groups: {all: [h*]}
        edges:
          - {from: [h, h.a], to: y, dense: {}}
          - {among: all, apart: [1, 2], except: [h1], identity: {scale: $s}}
        training: {epochs: $epochs}
        """
)


@pytest.mark.parametrize(
    ("old", "new"), [("apart: [1, 2]", "apart: $n"), ("conv: {}, gain: $g}", "conv: {}, gain: $g, tie: h1.up}")]
)
def test_the_schema_accepts_more_sugar(old: str, new: str) -> None:
    assert SUGAR.count(old) == 1
    assert accepted(SUGAR.replace(old, new))


def test_the_schema_accepts_sugar() -> None:
    assert accepted(SUGAR)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    ports: [other]", "    port: [other]"),
        ("out: b", "out: 3"),
        ("repeat: $n", "repeat: -1"),
        ("with: {channels: {each: $widths}}", "with: $widths"),
        ("block: pair", "blok: pair"),
        ("conv: {kernel: 3", "conv: {kernl: 3"),
        ("{among: all", "{among: all, from: h"),
        ("{from: [h, h.a], to: y", "{from: [h, 3], to: y"),
        ("{from: [h, h.a], to: y", "{from: [h, h.a]"),
        ("groups: {all: [h*]}", "groups: [h*]"),
        ("conv: {}, gain: $g}", "conv: {}, gain: big}"),
        ("apart: [1, 2]", "apart: 0"),
        ("epochs: $epochs", "epochs: many"),
        ("epgraph: 2", "epgraph: 1"),
    ],
)
def test_the_schema_refuses_nonsense_in_sugar(old: str, new: str) -> None:
    assert SUGAR.count(old) == 1
    assert not accepted(SUGAR.replace(old, new))


# --- caps ---------------------------------------------------------------------------------------------------------

ROW = HEAD + LAYER + "states: {h: {block: layer, from: x, repeat: 1990}}\nedges:\n"
BOMBS = {
    "nested repeats": HEAD
    + LAYER
    + "".join(
        f"  b{k}: {{states: {{s: {{block: {f'b{k - 1}' if k else 'layer'}, from: in, repeat: 50}}}}}}\n"
        for k in range(8)
    )
    + "states: {h: {block: b7, from: x, repeat: 100}}\n",
    "all pairs": ROW + "  - {among: '*', dense: {}}\n",
    "products": ROW + "  - {from: '*', to: '*', dense: {}}\n" * 20,
    "lists of lists": HEAD
    + "parameters:\n  a: $(range(1000))\n"
    + "".join(f"  b{k}: $([a]*1000)\n" for k in range(30)),
    "powers": HEAD + "parameters: {a: $(9**64**64), b: $(9**64), c: \"$('a'*10**9)\"}\n",
    "brackets": HEAD + f"parameters: {{a: $({'(' * 400}1{')' * 400})}}\n",
    "a list in every state": ROW.replace("[4]", "$(range(1000))"),
    "groups of groups": FOUR + "groups:\n" + "".join(f"  g{k}: [g{k + 1}, g{k + 1}]\n" for k in range(25)),
    "blocks in blocks": HEAD
    + "blocks:\n"
    + "".join(f"  b{k}: {{states: {{s: {{block: b{k + 1}, from: in}}}}}}\n" for k in range(17))
    + "  b17: {states: {s: {shape: [1]}}}\nstates: {h: {block: b0, from: x}}\n",
    "a mistake in every instance": ROW.replace("dense", "dens"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_short_files_cannot_take_long(name: str) -> None:
    start = time.process_time()
    _, diagnostics = inspect(BOMBS[name])
    assert any(d.severity == "error" for d in diagnostics)
    assert time.process_time() - start < 1.0
    assert len(BOMBS[name]) < 1100


STATES = "states:\n" + "".join(f"  h{k}: {{shape: [4]}}\n" for k in range(1500))
LONG = {
    "instances of nothing": HEAD
    + LAYER
    + "states:\n"
    + "".join(f"  h{k}: {{block: layer, from: w{k}rong}}\n" for k in range(1500)),
    "unknown parameters": HEAD
    + f"parameters: {{{', '.join(f'p{k}: 1' for k in range(1500))}}}\n"
    + STATES.replace("4", "$q4"),
    "unknown ends": HEAD
    + STATES
    + "edges:\n"
    + "".join(f"  - {{from: [w{k}rong], to: y, dense: {{}}}}\n" for k in range(1500)),
    "unused blocks": HEAD + "blocks:\n" + "".join(f"  b{k}: {{states: {{s: {{shape: [$p]}}}}}}\n" for k in range(3000)),
}


@pytest.mark.parametrize("name", LONG)
def test_many_mistakes_take_no_longer(name: str) -> None:
    """Only the first misspelled names are compared with all that there are."""
    start = time.process_time()
    _, diagnostics = inspect(LONG[name])
    assert len(diagnostics) >= 1000
    assert time.process_time() - start < 1.0
