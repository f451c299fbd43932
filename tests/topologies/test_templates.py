"""Templates and ``epgraph new``: every family checks, draws, relaxes and learns; bad parameters say so."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.drawing import dot
from epgraph.topologies import TEMPLATES

EXAMPLES = Path(__file__).parents[2] / "examples"

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    *((name, {"widths": (4, 6)} if name == "vgg" else {"width": 4}) for name in TEMPLATES),
    ("chain", {"depth": 1}),
    ("chain", {"depth": 9, "width": 3, "input": (2, 5, 9)}),
    ("chain", {"depth": 3, "input": (64,)}),
    ("residual_chain", {"depth": 1}),
    ("residual_chain", {"depth": 9, "width": 3, "input": (2, 5, 9)}),
    ("residual_chain", {"depth": 4, "input": (64,)}),
    ("vgg", {"widths": (4, 6, 8), "convolutions": 2}),
    ("vgg", {"widths": (3,), "input": (3, 11, 14), "classes": 4}),
    ("hopfield_resnet", {"depth": 4, "width": 3}),
    ("hopfield_resnet", {"depth": 16, "width": 2, "recipe": "published"}),
    ("hopfield_resnet", {"depth": 4, "width": 2, "input": (1, 1, 1)}),
    ("densenet", {"blocks": 3, "layers": 2, "width": 3}),
    ("densenet", {"blocks": 2, "layers": 2, "width": 7, "input": (12,)}),
    ("densenet", {"blocks": 1, "layers": 1, "width": 2, "input": (1, 1, 3)}),
    ("unet", {"depth": 1, "width": 2, "input": (2, 6, 7)}),
    ("unet", {"depth": 2, "width": 2, "targets": (3, 8, 8)}),
    ("unet", {"depth": 2, "width": 2, "targets": (5,)}),
    ("ladder", {"rungs": 1, "width": 3}),
    ("ladder", {"rungs": 5, "width": 3, "input": (20,)}),
    ("ring", {"states": 3, "width": 2}),
    ("ring", {"states": 9, "width": 5, "input": (10,)}),
    ("small_world", {"states": 7, "neighbors": 2, "rewired": 0.5, "seed": 3, "width": 3}),
    ("small_world", {"states": 12, "seed": 2, "width": 6, "input": (10,)}),
    ("scale_free", {"states": 6, "links": 1, "seed": 4, "width": 3, "input": (1, 28, 28)}),
    ("scale_free", {"states": 6, "links": 3, "width": 5, "input": (9,)}),
    ("random_dag", {"states": 5, "density": 0.0, "width": 3}),
    ("random_dag", {"states": 6, "density": 1.0, "width": 5, "input": (9,)}),
    ("all_to_all", {"states": 1, "width": 3}),
    ("all_to_all", {"states": 4, "width": 6, "input": (9,)}),
)

IDS = [
    f"{name}-{'-'.join(f'{k}={v}' for k, v in parameters.items()) or 'plain'}".replace(" ", "")
    for name, parameters in CASES
]


@pytest.mark.parametrize(("name", "parameters"), CASES, ids=IDS)
def test_every_template_checks_draws_relaxes_and_takes_a_gradient(name: str, parameters: dict[str, Any]) -> None:
    architecture = TEMPLATES[name](**parameters)
    graph = ep.build(architecture)
    assert all(f'"{state}"' in dot(architecture) or f"\t{state} " in dot(architecture) for state in graph.states)
    engine = ep.compile(architecture, dtype=torch.float64, seed=1, backend="eager")
    x = torch.rand(3, *graph.input.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(3) % graph.output.units
    if architecture.output.classes is None:
        y = torch.rand(3, *graph.output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    relaxation = engine.relax(x, steps=100, tolerance=1e-6)
    assert float(relaxation.residual) < 1e-3
    engine.backward(x, y)
    for key, parameter in engine.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all(), key
    # The nudge comes to the weights at the far end.
    first = next(edge for edge in graph.edges.values() if edge.source == "x")
    assert float(engine.get_parameter(f"edges.{first.name}.weight").grad.norm()) > 0


@pytest.mark.parametrize(("name", "parameters"), CASES, ids=IDS)
def test_its_yaml_is_the_same_network_and_says_how_it_was_made(
    name: str, parameters: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    template = TEMPLATES[name]
    text = template.yaml(**parameters)
    assert ep.load(text) == template(**parameters)
    assert " ".join(line[2:] for line in text.splitlines() if line.startswith("# ")).startswith(template.description)
    (command,) = re.findall(r"^# Made by: epgraph (.*)$", text, flags=re.MULTILINE)
    assert ("--seed" in command) == ("seed" in template.parameters)
    assert run(shlex.split(command)) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(("name", "parameters"), CASES, ids=IDS)
def test_no_key_of_it_is_without_effect(name: str, parameters: dict[str, Any]) -> None:
    warned = [str(found) for found in ep.check(TEMPLATES[name].yaml(**parameters)).diagnostics]
    assert not [text for text in warned if "has no effect" in text]


def test_sizes_stand_behind_states() -> None:
    assert "  h3: {channels: 16}   # 2×2\n" in ep.topologies.chain.yaml()


def test_the_published_resnet_comes_out() -> None:
    """Up to the order of edges: the first block of the file is written in another order than the others."""
    made = ep.topologies.hopfield_resnet(depth=13, width=128, input=(3, 32, 32), recipe="published")
    known = ep.load(EXAMPLES / "hopfield_resnet13.yaml")

    def by_ends(architecture: ep.Architecture) -> dict[str, Any]:
        values = architecture.to_dict()
        values.pop("data", None)  # a template is for any data
        return {**values, "edges": sorted(values["edges"], key=lambda edge: (edge["from"], edge["to"]))}

    assert by_ends(made) == by_ends(known)


def test_the_published_vgg_comes_out() -> None:
    """Up to the gains, which were tuned by hand."""
    made = ep.topologies.vgg(widths=(128, 256, 512, 512), input=(3, 32, 32))
    known = ep.load(EXAMPLES / "vgg5.yaml")
    assert made.states == known.states
    assert [(e.source, e.target, e.kind) for e in made.edges] == [(e.source, e.target, e.kind) for e in known.edges]


def graph_of(architecture: ep.Architecture) -> nx.Graph[int]:
    """The states h1, h2, … as nodes 0, 1, …, and the edges between them."""
    ends = [(edge.source, edge.target) for edge in architecture.edges]
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(len(architecture.states)))
    graph.add_edges_from((int(a[1:]) - 1, int(b[1:]) - 1) for a, b in ends if "x" not in (a, b) and "y" not in (a, b))
    return graph


def test_graphs_are_those_of_networkx() -> None:
    t = ep.topologies
    for seed in range(3):
        small = graph_of(t.small_world(states=12, neighbors=4, rewired=0.3, seed=seed))
        assert nx.utils.edges_equal(small.edges, nx.connected_watts_strogatz_graph(12, 4, 0.3, seed=seed).edges)
        free = graph_of(t.scale_free(states=15, links=2, seed=seed))
        assert nx.utils.edges_equal(free.edges, nx.barabasi_albert_graph(15, 2, seed=seed).edges)
    assert t.small_world(seed=1) != t.small_world(seed=2)
    assert nx.is_isomorphic(graph_of(t.ring(states=7)), nx.cycle_graph(7))
    assert nx.is_isomorphic(graph_of(t.all_to_all(states=6)), nx.complete_graph(6))
    # Skips of a random DAG: none, all, and about as many as asked for.
    assert nx.is_isomorphic(graph_of(t.random_dag(states=9, density=0.0)), nx.path_graph(9))
    assert nx.is_isomorphic(graph_of(t.random_dag(states=9, density=1.0)), nx.complete_graph(9))
    skips = [graph_of(t.random_dag(states=40, density=0.25, seed=s)).number_of_edges() - 39 for s in range(5)]
    possible = 39 * 38 / 2
    deviation = (possible * 0.25 * 0.75 / len(skips)) ** 0.5
    assert abs(sum(skips) / len(skips) - 0.25 * possible) < 4 * deviation


def test_a_resnet_halves_where_pixels_allow() -> None:
    graph = ep.build(ep.topologies.hopfield_resnet(depth=25, width=2, input=(3, 32, 32)))
    sides = [graph.states[f"h{i}b"].shape for i in range(1, 9)]
    assert sides == [(2, 16, 16), (2, 16, 16), (4, 8, 8), (4, 8, 8), (8, 4, 4), (8, 4, 4), (8, 2, 2), (8, 2, 2)]


def test_every_parameter_is_described_and_keyword_only() -> None:
    for template in TEMPLATES.values():
        for parameter in inspect.signature(template.__wrapped__).parameters.values():
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert template.parameters[parameter.name].description


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--template une", "unknown template 'une'; did you mean 'unet'?"),
        ("--depth 3", "'--depth' belongs to no template; name one with --template NAME"),
        ("--template unet --dept 3", "unet.dept: unknown parameter 'dept'; did you mean 'depth'?"),
        ("--template unet --depth", "--depth has no value; write --NAME VALUE, e.g. --width 16"),
        ("--template unet depth", "'depth' is no parameter; write --NAME VALUE, e.g. --width 16"),
        ("--template unet --depth 1 --depth=2", "--depth is given twice; keep one of them"),
        ("--template unet --depth two", "unet.depth: 'depth' expects an integer, found text 'two'"),
        ("--template unet --depth 0", "unet.depth: 'depth' must be ≥ 1, found 0"),
        ("--template unet --depth 9", "unet.depth: an image of 8×8 cannot be halved 9 times; depth may be at most 2"),
        ("--template unet --input [64]", "unet.input: 'unet' needs an image, found [64]; e.g. [1, 8, 8]"),
        (
            "--template unet --input 64",
            "unet.input: 'input' expects a list, found 64; e.g. input: {name: x, shape: [3, 32, 32]}",
        ),
        ("--template unet --input [1,8,0]", "unet.input[2]: 'input[2]' must be ≥ 1, found 0"),
        (
            "--template vgg --widths [8,8,8,8]",
            "vgg.widths: 4 poolings leave nothing of 8 pixels; give at most 3 widths",
        ),
        (
            "--template hopfield_resnet --depth 12",
            "hopfield_resnet.depth: a Hopfield-ResNet has 3k + 1 weights, found depth 12; 13 would fit",
        ),
        (
            "--template hopfield_resnet --recipe mine",
            "hopfield_resnet.recipe: 'recipe' expects 'common' or 'published', found text 'mine'",
        ),
        (
            "--template small_world --neighbors 3",
            "small_world.neighbors: 3 of 10 states cannot be the nearest on both sides; an even number below 10, "
            "e.g. neighbors: 2",
        ),
        (
            "--template small_world --states 1000 --neighbors 2 --rewired 1 --seed 13",
            "small_world.rewired: in 20 draws the states were never all connected; use more neighbors, or rewire less",
        ),
        (
            "--template scale_free --links 12",
            "scale_free.links: a new state cannot have 12 edges to fewer than 12 older ones; links may be at most 11",
        ),
        ("--template random_dag --density 1.5", "random_dag.density: 'density' must be ≤ 1, found 1.5"),
        ("--template random_dag --seed -1", "random_dag.seed: 'seed' must be ≥ 0, found -1"),
    ],
)
def test_bad_parameters_say_so(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", *arguments.split()]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"{message}\n"
    assert told.err.count("\n") == 1


def test_without_a_template_it_is_a_file_with_comments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "net.yaml"
    assert run(["new", "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_text(encoding="utf-8").count("#") >= 8
    assert ep.build(ep.load(path)).parameters() > 0
    assert run(["check", str(path)]) == 0
    assert capsys.readouterr().err == ""
    before = path.read_bytes()
    assert run(["new", "--template", "ring", "-o", str(path)]) == 1
    assert capsys.readouterr().err == f"{path}: exists already; name another file, or delete it\n"
    assert path.read_bytes() == before


@pytest.mark.parametrize("option", ["--help", "--list"])
def test_the_list_has_every_template_and_parameter(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", option]) == 0
    sections = capsys.readouterr().out.split("Template ")[1:]
    assert [section.split(":")[0] for section in sections] == list(TEMPLATES)
    for section, template in zip(sections, TEMPLATES.values(), strict=True):
        assert re.findall(r"^ +--(\S+)", section, flags=re.MULTILINE) == [
            name.replace("_", "-") for name in template.parameters
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_learns_the_digits(name: str, tmp_path: Path) -> None:
    """By the one common recipe, in 3 of its 10 epochs: errors of 4 to 21 % were measured, and chance is 90 %."""
    path = tmp_path / "net.yaml"
    assert run(["new", "--template", name, "-o", str(path)]) == 0
    folder = tmp_path / "run"
    assert run(["train", str(path), "--data", "digits", "--epochs", "3", "--out", str(folder)]) == 0
    last = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert last["test_error"] < 0.3
