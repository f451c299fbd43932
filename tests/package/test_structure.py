"""The shape of the code: imports run one way, and nothing loads torch before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import networkx as nx
import pytest

ROOT = Path(__file__).parents[2] / "epgraph"

# Each may import from what stands before it, and from itself. `drawing` stands beside the engine.
ORDER = (
    "version",
    "source",
    "errors",
    "files",
    "process_memory",
    "chance",
    "progress",
    "arguments",
    "plain",
    "html",
    "display",
    "discovery",
    "activations",
    "costs",
    "rates",
    "learning_rules",
    "init_rules",
    "optimizers",
    "augmentation",
    "data",
    "kinds",
    "energies",
    "solvers",
    "contract",
    "traits",
    "language",
    "registry",
    "plugins",
    "result_shapes",
    "graph",
    "testing",
    "builder",
    "topologies",
    "lowering",
    "timings",
    "resources",
    "checking",
    "terminal",
    "compiler",
    "runtime",
    "linearization",
    "estimators",
    "initialization",
    "engine",
    "equilibrium",
    "compiling",
    "probes",
    "tuning",
    "runs",
    "callbacks",
    "training",
    "gradient_check",
    "sweeps",
    "comparison",
    "api_arguments",
    "convergence",
    "reporting",
    "api",
    "api_predict",
    "api_studies",
    "api_report",
    "explorer",
    "api_explore",
    "notebook",
    "cli",
)
ALLOWED = {name: set(ORDER[: i + 1]) for i, name in enumerate(ORDER)}
ALLOWED["drawing"] = {*ORDER[: ORDER.index("lowering") + 1], "drawing"}
ALLOWED["data"] = {"source", "errors", "files", "progress", "arguments", "augmentation", "discovery", "data"}
ALLOWED["runs"] = {*ORDER[: ORDER.index("testing")], "runs"}
ALLOWED["callbacks"] = {"callbacks", "data", "engine"}  # the latter two for type checkers alone; see test_no_torch
DRAWS = "runtime training gradient_check comparison convergence reporting explorer notebook cli"
for name in DRAWS.split():
    ALLOWED[name] |= {"drawing"}
for name in ORDER[ORDER.index("lowering") :]:  # what makes networks is for users, and beside what compiles them
    ALLOWED[name] -= {"builder", "topologies"} if name != "cli" else set()


MODULES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}

MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_CLASS = 350
MOST_LINES_OF_A_COMMAND = 80
MOST_LINES_OF_A_FUNCTION = 60
"""Its docstring is not counted."""
MOST_BRANCHES = 15
EXCEPTIONS = {
    "language/expand/expression.py:_node": "a case for every node of an expression, one line each",
}
"""What may be larger, as "file" or "file:name", and why."""

CIRCLES: dict[frozenset[str], str] = {}
"""Files that import one another, and why they may."""


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imported(path: Path) -> list[str]:
    """Modules of epgraph that a file imports, wherever in the file, for type checkers too."""
    found: list[str] = []
    for node in ast.walk(_tree(path)):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parent = name.rpartition(".")[0]
            found += [n for n in (name, f"{name}.__init__", parent, f"{parent}.__init__") if n in MODULES][:1]
    return found


def _parts(path: Path) -> set[str]:
    """Parts of epgraph that a file imports; what it takes from ``epgraph`` itself stands above every part."""
    return {name.split(".")[1] for name in _imported(path)}


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = nx.DiGraph([(name, other) for name, path in MODULES.items() for other in _imported(path) if other != name])
    circles = {frozenset(part) for part in nx.strongly_connected_components(graph) if len(part) > 1}
    assert circles == CIRCLES.keys()


def _too_large(path: Path) -> Iterator[str]:
    file = str(path.relative_to(ROOT))
    if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES_OF_A_FILE:
        yield file
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        assert node.end_lineno is not None
        lines = node.end_lineno - node.lineno + 1
        if isinstance(node, ast.ClassDef):
            large = lines > MOST_LINES_OF_A_CLASS
        else:
            branches = ast.If | ast.IfExp | ast.For | ast.While | ast.ExceptHandler | ast.match_case
            lines -= len((ast.get_docstring(node, clean=False) or "").splitlines())
            large = lines > MOST_LINES_OF_A_FUNCTION
            large |= sum(isinstance(inner, branches) for inner in ast.walk(node)) > MOST_BRANCHES
        if large:
            yield f"{file}:{node.name}"


def test_nothing_is_too_large_to_read() -> None:
    """Every exception has its reason, and none is left that is not needed."""
    assert {name for path in MODULES.values() for name in _too_large(path)} == EXCEPTIONS.keys()


def test_a_command_is_a_thin_layer() -> None:
    """Its file has the wording of the command line; the work is below, where Python reaches it too."""
    from epgraph.cli.application import COMMANDS

    lines = {name: len(MODULES[name].read_text(encoding="utf-8").splitlines()) for name in map(_module, COMMANDS)}
    assert len(lines) == len(COMMANDS), "a file each"
    assert {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_COMMAND} == {}


def _module(command: click.Command) -> str:
    assert command.callback is not None
    return command.callback.__module__


def test_no_other_part_imports_what_checks_it() -> None:
    """``epgraph.testing`` is for tests and for 'check --verify': a network is compiled and trained without it."""
    users = {name for name, path in MODULES.items() if "testing" in _parts(path)}
    assert {name for name in users if not name.startswith("epgraph.testing.")} == {
        "epgraph.__init__",
        "epgraph.checking",
    }


PATCHED = {
    "test_data.py: _get_redirect_url": "torchvision's own: it would ask the network",
    "test_data.py: _load_meta": "torchvision's own: it would read files of a real data set",
    "test_data.py: _urlretrieve": "torchvision's own: it would ask the network",
    **dict.fromkeys(
        (
            "test_api.py: ROUNDS",
            "test_builder.py: _add",
            "test_folder.py: MAX_BYTES",
            "test_folder.py: MAX_HASHED_FILES",
            "test_memory.py: _room",
            "test_pieces.py: ROWS",
            "test_pieces.py: VALUES",
            "test_rules.py: ROWS",
            "test_rules.py: VALUES",
            "test_tune.py: ROUNDS",
        ),
        "to become an argument",
    ),
}
"""Tests that patch a constant or a private name, as "file: name", and why they have to."""


def _patched(path: Path) -> Iterator[str]:
    """Names that a test file patches, as ``monkeypatch.setattr`` and ``mock.patch`` are told them."""
    for node in ast.walk(_tree(path)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        called = ast.unparse(node.func)
        if not called.endswith(("monkeypatch.setattr", "patch.object", "mock.patch")):
            continue
        texts = [argument.value for argument in node.args[:2] if isinstance(argument, ast.Constant)]
        yield from (text.rpartition(".")[2] for text in texts[:1] if isinstance(text, str))


def test_no_test_patches_constants_or_private_names() -> None:
    """A constant that a test has to change is an argument; a private name that it has to know is public."""
    tests = Path(__file__).parents[1]
    names = {f"{path.name}: {name}" for path in tests.rglob("*.py") for name in _patched(path)}
    assert {n for n in names if n.split(": ")[1].isupper() or n.split(": ")[1].startswith("_")} == PATCHED.keys()


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if part in ("__init__", "__main__"):
        return  # the public surface stands above everything
    assert part in ALLOWED, f"say in ORDER where '{part}' stands"
    assert _parts(path) - {"__init__"} <= ALLOWED[part]


@pytest.mark.parametrize(
    "statement",
    [
        "import epgraph",
        "import epgraph.language",
        "import epgraph.graph",
        "import epgraph.lowering",
        "import epgraph.drawing",
        "import epgraph.explorer",
        "import epgraph.runs",
        "import epgraph.callbacks",
        "import epgraph.cli",
        "import epgraph.api",
        "import epgraph as ep; ep.build(ep.topologies.unet()); ep.from_networkx(ep.to_networkx(ep.topologies.ring()))",
        "import epgraph as ep; ep.build(ep.load('examples/hopfield_resnet13.yaml'))",
        "from epgraph.cli import run; run(['check', 'examples/hopfield_resnet13.yaml', '--json'])",
        "from epgraph.drawing import dot; import epgraph as ep; dot(ep.load('examples/vgg5.yaml'))",
    ],
)
def test_no_torch(statement: str) -> None:
    code = f"{statement}\nimport sys\nassert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent, capture_output=True)


def test_python_runs_the_package_as_the_command() -> None:
    command = [sys.executable, "-m", "epgraph", "check"]
    found = subprocess.run([*command, "examples/digits.yaml"], cwd=ROOT.parent, capture_output=True, text=True)
    assert (found.returncode, found.stdout.split()[0], found.stderr) == (0, "digits", "")
    missing = subprocess.run([*command, "nothing.yaml"], cwd=ROOT.parent, capture_output=True, text=True)
    assert (missing.returncode, missing.stderr.startswith("nothing.yaml: cannot be read")) == (1, True)


def test_the_public_surface_is_there() -> None:
    import epgraph as ep

    for name in ep.__all__:
        assert getattr(ep, name) is not None
    # A package of the same name as a public function would replace it once something imports the package.
    for path in ROOT.iterdir():
        assert path.name.removesuffix(".py") not in ep.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ep.nothing
