"""The shape of the code: imports run one way, and nothing loads torch before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[2] / "epgraph"

# Each may import from what stands before it, and from itself. `drawing` stands beside the engine.
ORDER = (
    "version",
    "source",
    "errors",
    "files",
    "arguments",
    "activations",
    "costs",
    "augmentation",
    "kinds",
    "contract",
    "language",
    "registry",
    "graph",
    "testing",
    "builder",
    "topologies",
    "lowering",
    "compiler",
    "runtime",
    "linearization",
    "estimators",
    "initialization",
    "engine",
    "equilibrium",
    "compiling",
    "tuning",
    "data",
    "runs",
    "training",
    "gradient_check",
    "cli",
)
ALLOWED = {name: set(ORDER[: i + 1]) for i, name in enumerate(ORDER)}
ALLOWED["drawing"] = {*ORDER[: ORDER.index("lowering") + 1], "drawing"}
ALLOWED["data"] = {"source", "errors", "files", "arguments", "augmentation", "data"}
ALLOWED["runs"] = {*ORDER[: ORDER.index("graph")], "runs"}
ALLOWED["gradient_check"] |= {"drawing"}
ALLOWED["cli"] |= {"drawing"}
for name in ORDER[ORDER.index("lowering") :]:  # what makes networks is for users, and beside what compiles them
    ALLOWED[name] -= {"builder", "topologies"} if name != "cli" else set()


MODULES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}

MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_CLASS = 350
MOST_LINES_OF_A_FUNCTION = 60
"""Its docstring is not counted."""
MOST_BRANCHES = 15
EXCEPTIONS: dict[str, str] = {}
"""What may be larger, as "file" or "file:name", and why."""


def _imported(path: Path) -> Iterator[str]:
    """Modules of epgraph that a file imports, wherever in the file, for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parent = name.rpartition(".")[0]
            found = [n for n in (name, f"{name}.__init__", parent, f"{parent}.__init__") if n in MODULES]
            yield from found[:1]


def _imports(path: Path) -> set[str]:
    """Parts of epgraph that a file imports."""
    return {name.split(".")[1] for name in _imported(path)} - {"__init__"}


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = nx.DiGraph([(name, other) for name, path in MODULES.items() for other in _imported(path) if other != name])
    assert [sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1] == []


def _too_large(path: Path) -> Iterator[str]:
    text, file = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
    if len(text.splitlines()) > MOST_LINES_OF_A_FILE:
        yield file
    for node in ast.walk(ast.parse(text)):
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


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if part in ("__init__", "__main__"):
        return  # the public surface stands above everything
    assert part in ALLOWED, f"say in ORDER where '{part}' stands"
    assert _imports(path) <= ALLOWED[part]


@pytest.mark.parametrize(
    "statement",
    [
        "import epgraph",
        "import epgraph.language",
        "import epgraph.graph",
        "import epgraph.lowering",
        "import epgraph.drawing",
        "import epgraph.runs",
        "import epgraph.cli",
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
