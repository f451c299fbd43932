"""Every recipe is complete: it checks, has the published size and preparation, and trains at a width for a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

import epgraph as ep
from epgraph.cli import run
from epgraph.cli.progress import result_lines
from epgraph.data.registry import DATA_SETS
from epgraph.graph import build, inspect

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPES = sorted((EXAMPLES / "recipes").glob("*.yaml"))
PARAMETERS = {"vgg5_cifar10": 3_859_210, "dchn_cifar10": 3_859_210, "hopfield_resnet13_cifar10": 9_742_858}
UNKNOWN = ("relu1", "random_alpha", "noskip")
"""Ablations, of which only curves are published."""

named = pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])


@named
def test_a_recipe_is_complete_and_without_doubt(path: Path) -> None:
    """The one doubt is the paper's own: its order of updates moves the ends of skips together."""
    architecture, diagnostics = inspect(path)
    assert architecture is not None
    skips = path.stem.startswith("hopfield_resnet13") and "noskip" not in path.stem
    assert [d.rule for d in diagnostics] == (["not-proper"] if skips else [])
    data = architecture.data
    assert data.name in ("cifar10", "cifar100", "fashion-mnist")
    assert not isinstance(data.augment, str)
    assert not isinstance(data.normalization, str)
    assert (architecture.published is None) == path.stem.endswith(UNKNOWN)
    base = path.stem.removesuffix("_relu1").removesuffix("_random_alpha")
    if base in PARAMETERS:
        assert build(architecture).parameters() == PARAMETERS[base]
    small = ep.load(path, ["parameters.width=$(1/8)"])
    assert [state.channels for state in small.states.values()] == [
        (state.channels or 0) // 8 for state in architecture.states.values()
    ]


@pytest.mark.parametrize(
    ("recipe", "example"),
    [
        ("vgg5_cifar10", "vgg5"),
        ("hopfield_resnet13_cifar10", "hopfield_resnet13"),
        ("hopfield_resnet13_cifar10_noskip", "hopfield_resnet13_noskip"),
        ("pcn_vgg5_cifar10", "pcn_vgg5"),
    ],
)
def test_a_recipe_is_the_example_of_its_network(recipe: str, example: str) -> None:
    one, two = (ep.load(EXAMPLES / f"{name}.yaml") for name in (f"recipes/{recipe}", example))
    for part in ("input", "output", "states", "edges", "defaults", "dynamics", "learning"):
        assert getattr(one, part) == getattr(two, part), part
    assert one.training.model_copy(update={"schedule": None}) == two.training


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_data_are_prepared_as_the_official_code_does(name: str) -> None:
    data = ep.load(EXAMPLES / "recipes" / f"vgg5_{name}.yaml").data
    published = DATA_SETS[data.name or ""].recipe
    assert data.augment == published.augmentation
    assert isinstance(data.normalizing, tuple)
    mean, std = data.normalizing
    assert [*mean, *std] == pytest.approx([*published.mean, *published.std], rel=1e-9)


@named
def test_a_recipe_trains_two_batches_at_a_width_for_a_cpu(path: Path, tmp_path: Path) -> None:
    overrides = ["parameters.width=$(1/16)", "training.epochs=1", "training.batch_size=4"]
    network = ep.load(path, overrides)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(8, *network.input.shape, generator=draw)
    y = torch.randint(network.output.units[0], (8,), generator=draw)
    warned: list[str] = []
    result = ep.train(
        network,
        (TensorDataset(x, y), TensorDataset(x[:4], y[:4])),
        out=tmp_path / "run",
        threads=1,
        pictures=False,
        warn=lambda found: warned.extend(d.message for d in found),
    )
    assert [sentence for sentence in warned if "moves states together" not in sentence] == []
    assert result.epoch == 1
    said = [line for line in result_lines(result) if line.startswith("published accuracy: ")]
    known = network.published
    assert said == ([] if known is None else [f"published accuracy: {known.accuracy:g} % ({known.source})"])


def test_width_on_the_command_line_is_the_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(EXAMPLES / "recipes" / "vgg5_cifar10.yaml")
    assert run(["expand", path, "--width", "1/8"]) == 0
    assert "h4: {channels: 64}" in capsys.readouterr().out
    assert run(["expand", path, "--width", "1/8", "--set", "parameters.width=2"]) == 0  # --set has the last word
    assert "h4: {channels: 1024}" in capsys.readouterr().out
    assert run(["expand", path, "--width", "wide"]) == 1
    assert "'--width': 'wide' is no fraction; write e.g. 1/8 or 0.125" in capsys.readouterr().err
    assert run(["check", str(EXAMPLES / "digits.yaml"), "--width", "1/8"]) == 1
    assert capsys.readouterr().err == (
        "--width 1/8: the file has no parameter 'width'; declare it under 'parameters'\n"
    )


@pytest.mark.parametrize("path", sorted((EXAMPLES / "recipes" / "base").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_fragment_says_that_it_is_one(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(path)]) == 1
    assert "if this is a fragment, check a file that includes it" in capsys.readouterr().err


def test_the_pages_say_what_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recipe is listed with its published number and its size; what the pages show loads without a doubt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    docs = EXAMPLES.parent / "docs"
    page, training = ((docs / name).read_text(encoding="utf-8") for name in ("recipes.md", "training.md"))
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    for path in RECIPES:
        architecture = ep.load(path)
        row = next(row for row in rows if f"`{path.stem}`" in row)
        assert f"{build(architecture).parameters():,}" in row
        assert architecture.published is None or f"| {architecture.published.accuracy:g} % |" in row
    Path("own.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    assert inspect("own.yaml", allow_include=[EXAMPLES])[0] is not None
    shown = training.partition("```yaml\n")[2].partition("```")[0]
    digits = (EXAMPLES / "digits.yaml").read_text(encoding="utf-8")
    _, diagnostics = inspect("\n".join(line for line in digits.splitlines() if "training:" not in line) + "\n" + shown)
    assert diagnostics == []
