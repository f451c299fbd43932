"""The shape of the code: imports run one way, and nothing loads torch before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

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
    "rates",
    "optimizers",
    "augmentation",
    "kinds",
    "energies",
    "solvers",
    "contract",
    "language",
    "registry",
    "result_shapes",
    "graph",
    "testing",
    "builder",
    "topologies",
    "lowering",
    "checking",
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
    "callbacks",
    "training",
    "gradient_check",
    "api_arguments",
    "api",
    "cli",
)
ALLOWED = {name: set(ORDER[: i + 1]) for i, name in enumerate(ORDER)}
ALLOWED["drawing"] = {*ORDER[: ORDER.index("lowering") + 1], "drawing"}
ALLOWED["data"] = {"source", "errors", "files", "arguments", "augmentation", "data"}
ALLOWED["runs"] = {*ORDER[: ORDER.index("testing")], "runs"}
ALLOWED["callbacks"] = {"callbacks"}
for name in ("training", "gradient_check", "cli"):
    ALLOWED[name] |= {"drawing"}
for name in ORDER[ORDER.index("lowering") :]:  # what makes networks is for users, and beside what compiles them
    ALLOWED[name] -= {"builder", "topologies"} if name != "cli" else set()


def _imports(path: Path) -> set[str]:
    """Parts of epgraph that a file imports, wherever in the file; type-checking imports excepted."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("epgraph.")}
    return found


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
