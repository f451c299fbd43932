"""Every example of docs/extending.md is a plugin that does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.activations import NAMED
from epgraph.cli import run
from epgraph.costs import COSTS
from tests.helpers.snippets import ROOT, blocks_of, pages, plugins, registered

EXAMPLES = plugins()
ENERGY, COST, ACTIVATION, SOLVER, ESTIMATOR, RULE, BACKEND, DATA, OPTIMIZER, SCHEDULE = map(
    registered,
    (
        "energy",
        "cost",
        "activation",
        "solver",
        "estimator",
        "initialization",
        "backend",
        "dataset",
        "optimizer",
        "schedule",
    ),
)

NET = """
epgraph: 2
name: net
input:  {name: x, shape: [1, 8, 8]}
output: {name: y, classes: 10}
defaults: {activation: tanh}
states: {h1: {channels: 4}, h2: {shape: [16]}}
edges:
  - {from: x, to: h1, conv: {kernel: 3, padding: 1, stride: 2}}
  - {from: h1, to: h2, dense: {}}
  - {from: h2, to: y, dense: {}}
dynamics: {schedule: coloring, free_steps: 30, nudged_steps: 15}
data: {augment: none}
training: {epochs: 1, batch_size: 20, learning_rate: 0.01}
"""

TREE = f"""
epgraph: 2
name: net
energy: {ENERGY}
input: {{name: x, shape: [1, 8, 8]}}
output: {{name: y, classes: 10}}
defaults: {{activation: identity}}
states: {{a: {{shape: [8]}}, b: {{shape: [6]}}}}
edges:
  - {{from: x, to: [a, b], gain: 0.3, dense: {{}}}}
  - {{from: [a, b], to: y, gain: 0.3, dense: {{}}}}
dynamics: {{schedule: coloring, free_steps: 30, nudged_steps: 15}}
data: {{augment: none}}
training: {{epochs: 1, batch_size: 20, learning_rate: 0.01}}
"""

USES: dict[str, tuple[str, ...]] = {
    ACTIVATION: ("--set", f"defaults.activation={{{ACTIVATION}: {{slope: 2}}}}"),
    COST: ("--set", f"output.cost={COST}"),
    ENERGY: (),
    SOLVER: ("--set", f"dynamics.solver={SOLVER}"),
    ESTIMATOR: ("--set", f"learning.estimator={ESTIMATOR}"),
    RULE: ("--set", f"init={RULE}"),
    BACKEND: ("--backend", BACKEND),
    DATA: ("--data", DATA),
    OPTIMIZER: ("--set", f"training.optimizer={OPTIMIZER}", "--set", f"training.schedule={SCHEDULE}"),
}
"""Options with which a command uses each example."""


def load(name: str) -> dict[str, object]:
    """Run an example, and return its names."""
    names: dict[str, object] = {}
    exec(compile(EXAMPLES[name], f"docs/extending.md, {name}.py", "exec"), names)
    return names


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 1, 8, 8, dtype=torch.float64, generator=generator), torch.tensor([1, 0, 7, 3])


def engine(*settings: str, **options: str) -> ep.Engine:
    return ep.compile(ep.load(NET, settings), dtype=torch.float64, **options)  # type: ignore[arg-type]


def test_every_example_is_used_and_named_as_ones_own() -> None:
    """A built-in member may get any other name: then an example of the name would be refused."""
    assert EXAMPLES.keys() == USES.keys()
    assert all(name.startswith("own_") for name in (*EXAMPLES, SCHEDULE))


def test_members_on_every_page_are_named_as_ones_own() -> None:
    """But for data sets, whose names are those of folders: no built-in one is called so."""
    call = re.compile(r"register_(?!dataset)\w+\(\s*\"([\w-]+)\"")
    found = [
        f"{block.place}: {name}" for page in pages() for block in blocks_of(page) for name in call.findall(block.text)
    ]
    assert len(found) > len(EXAMPLES)
    assert [one for one in found if not one.split(": ")[1].startswith("own_")] == []


def test_the_files_and_tests_of_each_axis_are_there() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    overview, places = (re.findall(r"^\| .* \|$", part, flags=re.MULTILINE) for part in page.split("\n1. ", 1))
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in places]
    header, _, *axes = [row for row in rows if len(row) == 5]
    assert header[3:] == ["tests", "files edited by hand"]
    assert [row[0] for row in axes] == [row.strip("| ").split(" | ")[0] for row in overview[2:]]
    for row in axes:
        for table, file in re.findall(r"`([A-Z_]+)`[^`|]* in `([\w/]+\.py)`", row[1]):
            assert table in (ROOT / "epgraph" / file).read_text(encoding="utf-8")
        files = re.findall(r"`([\w/]+\.py)`", row[1] + row[2])
        named = [file if file.startswith("tests/") else f"epgraph/{file}" for file in files]
        for path in (*named, *row[3].strip("`").split()):
            assert (ROOT / path).exists(), path
        for count, listed in re.findall(r"(\d): ([^;]+)", row[4]):
            assert int(count) == len(listed.split(", ")), row[0]


@pytest.mark.parametrize("name", USES)
def test_an_example_trains_as_a_plugin(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{name}.py").write_text(EXAMPLES[name], encoding="utf-8")
    Path("net.yaml").write_text(TREE if name == ENERGY else NET, encoding="utf-8")
    options = [*USES[name], "--plugin", f"{name}.py", "--limit", "60", "--no-pictures"]
    data = [] if name == DATA else ["--data", "digits"]
    assert run(["train", "net.yaml", *options, *data]) == 0


def test_the_classes_are_what_they_say() -> None:
    load(ACTIVATION)
    load(COST)
    ep.verify_activation(NAMED[ACTIVATION])
    ep.verify_cost(COSTS[COST])


def test_the_energy_is_what_the_sweeps_and_gradients_follow() -> None:
    load(ENERGY)
    net = ep.compile(TREE, dtype=torch.float64)
    x, y = batch()
    free = net.relax(x, steps=500, tolerance=1e-13).states
    rest = {name: s.clone().requires_grad_() for name, s in free.items()}
    weights = {name: p.detach() for name, p in net.named_parameters()}
    flat = {"x": x.flatten(1), **rest}
    drive = {name: weights[f"states.{name}.bias"] for name in rest}
    for edge in net.graph.edges.values():
        weight = weights[f"edges.{edge.name}.weight"].reshape(-1, flat[edge.source].shape[1])
        drive[edge.target] = drive[edge.target] + flat[edge.source] @ weight.T
    by_hand = 0.5 * sum((rest[name] - drive[name]).square().sum() for name in rest)
    assert isinstance(by_hand, Tensor)
    torch.testing.assert_close(net.energy(x, free).sum(), by_hand.detach())
    assert all(float(g.abs().max()) < 1e-10 for g in torch.autograd.grad(by_hand, list(rest.values())))
    net.backward(x, y, beta=1e-3, free_steps=500, nudged_steps=500, tolerance=1e-13)
    assert all(p.grad is not None for p in net.parameters())


def test_the_energy_takes_images() -> None:
    load(ENERGY)
    image = TREE.replace("a: {shape: [8]}", "a: {channels: 2}")
    image = image.replace("to: [a, b], gain: 0.3, dense: {}", "to: b, gain: 0.3, dense: {}")
    image = image.replace("edges:", "edges:\n  - {from: x, to: a, gain: 0.3, conv: {kernel: 3, padding: 1}}", 1)
    net, (x, y) = ep.compile(image, dtype=torch.float64), batch()
    found = []
    for estimator in ("centered", "implicit"):
        net.zero_grad(set_to_none=True)
        net.backward(x, y, estimator=estimator, beta=1e-3, free_steps=500, nudged_steps=500, tolerance=1e-13)
        found.append({name: p.grad for name, p in net.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "source, error, at.shape(edge.source))",
            "source, error, at.shape(edge.source)).sum(0)",
            "edge_gradient gives the shape (64,) for the weight of 'x_a': expected (8, 64)",
        ),
        (
            "return odd.sum(dim=[0, *range(2, 1 + len(state.shape))])",
            "return odd.sum()",
            "bias_gradient gives the shape () for the bias of 'a': expected (8,)",
        ),
    ],
)
def test_a_gradient_of_another_shape_is_refused(
    old: str,
    new: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert EXAMPLES[ENERGY].count(old) == 1
    Path("own.py").write_text(EXAMPLES[ENERGY].replace(old, new), encoding="utf-8")
    Path("net.yaml").write_text(TREE, encoding="utf-8")
    assert run(["train", "net.yaml", "--plugin", "own.py", "--data", "digits", "--limit", "20", "--no-pictures"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"training stopped in epoch 1, batch 1: energy '{ENERGY}': {message}; fix the plugin")


def test_the_solver_reaches_the_same_equilibrium_on_another_way() -> None:
    load(SOLVER)
    x, _ = batch()
    plain = engine().relax(x, steps=500, tolerance=1e-12)
    mixed = engine(f"dynamics.solver={SOLVER}").relax(x, steps=500, tolerance=1e-12)
    assert max(mixed.steps, plain.steps) < 500
    path = [engine(f"dynamics.solver={name}").relax(x, steps=18, tolerance=0) for name in ("plain", SOLVER)]
    assert not torch.equal(path[0].states["h2"], path[1].states["h2"])
    for name, s in plain.states.items():
        torch.testing.assert_close(mixed.states[name], s, rtol=0, atol=1e-9)


def test_the_estimator_is_of_fourth_order() -> None:
    load(ESTIMATOR)
    net, (x, y) = engine("learning.solver_tolerance=1e-13"), batch()

    def gradient(estimator: str, beta: float) -> Tensor:
        with net.aside() as gradients:
            net.backward(x, y, estimator=estimator, beta=beta, free_steps=500, nudged_steps=500, tolerance=1e-14)
        return torch.cat([g.flatten() for g in gradients.values()])

    exact = gradient("implicit", 0.1)
    errors = [float((gradient(ESTIMATOR, beta) - exact).norm()) for beta in (0.1, 0.05)]
    assert 12 < errors[0] / errors[1] < 20, "halving β divides an error of O(β⁴) by about 16"


def test_the_initial_weights_are_orthogonal() -> None:
    load(RULE)
    weight = engine(f"init={RULE}").edges["h2_y"].weight
    assert isinstance(weight, Tensor)
    gram = weight.detach() @ weight.detach().T
    torch.testing.assert_close(gram, 0.25 * torch.eye(10, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_backend_computes_what_eager_does() -> None:
    names = load(BACKEND)
    x, _ = batch()
    eager, counted = (engine(backend=name).relax(x, steps=5, tolerance=0).states for name in ("eager", BACKEND))
    assert all(torch.equal(counted[name], s) for name, s in eager.items())
    assert names["COUNTS"]
