"""``epgraph compile``: what it writes reads like the network, and its mistakes are messages."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from epgraph.cli import run

DIGITS = "examples/digits.yaml"


def written(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["compile", DIGITS, "--device", "cpu", *arguments]) == 0
    return capsys.readouterr().out


def test_help_has_an_example_and_every_backend(capsys: pytest.CaptureFixture[str]) -> None:
    from epgraph.compiler import BACKENDS

    assert run(["compile", "--help"]) == 0
    text = capsys.readouterr().out
    assert "epgraph compile examples/digits.yaml -o engine.py" in text
    # A module needs torch alone, so it has no Triton kernels.
    for name in {"auto", *BACKENDS} - {"triton"}:
        assert name in text


def test_the_text_speaks_of_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    text = written(capsys, "--backend", "eager")
    tree = ast.parse(text)
    header = ast.get_docstring(tree) or ""
    assert header.startswith("digits: ")
    for line in (
        "backend   eager",
        "rewrites  widen_sums, hoist_prepared",
        "schedule  coloring",
        "dtype     float32",
    ):
        assert line in header
    assert "# h3 ← relu1(c[h3] + A[h2_h3] h2 + A[h1_h3] h1 + A[h3_h4]ᵀ h4 + A[h3_y]ᵀ y)" in text
    assert "# c[h1] = b[h1] + A[x_h1] x" in text
    assert "sum_h3 = total(c_h3, conv_h2_h3, conv_h1_h3, back_h3_h4, view_h3_y)" in text
    assert "'edges.h1_h2.weight': ('w_h1_h2', (32, 32, 3, 3))" in text
    assert "BETA, OMEGA = 0.0, 0.3, 1.0" in text


def test_it_imports_torch_alone(capsys: pytest.CaptureFixture[str]) -> None:
    tree = ast.parse(written(capsys, "--backend", "onednn"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    assert found == {"__future__", "collections", "functools", "typing", "torch"}


def test_options_reach_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    text = written(capsys, "--schedule", "sequential", "--dtype", "float64", "--set", "learning.beta=0.25")
    for part in ("schedule  sequential", "dtype     float64", "BETA, OMEGA = 0.0, 0.25"):
        assert part in text
    assert "def free_5(" in text
    assert "(torch.compile; the functions are written here" in written(capsys, "--backend", "inductor")


def test_it_writes_a_file_and_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "engine.py"
    assert written(capsys, "-o", str(path)) == f"{path}\n"
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


def test_dump_prints_the_program_after_each_pass(capsys: pytest.CaptureFixture[str]) -> None:
    from epgraph.compiler import BACKENDS

    text = written(capsys, "--backend", "channels_last", "--dump")
    heads = [f"{phase}: {name}" for phase in ("free", "pair") for name in ("trace", *_names(BACKENDS["channels_last"]))]
    assert re.findall("# ==== (.*) ====", text) == heads
    parts = dict(zip(heads, re.split("# ==== .* ====", text)[1:], strict=True))
    assert "conv_transpose2d" in parts["free: trace"]
    assert "flip(2, 3)" in parts["free: flip_transposed"]
    assert "def free_prepare(" in parts["free: hoist_prepared"]
    assert "# h3 ← relu1(c[h3]" in parts["free: trace"]


def _names(backend: Any) -> list[str]:
    return [one.name for one in backend.passes]


def test_a_name_cannot_end_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    text = written(capsys, "--set", r'name="a\"\"\"\\ {b}\n\0\""')
    assert (ast.get_docstring(ast.parse(text)) or "").startswith('a"""\\ {b}\\n\\x00": ')
    compile(text, "engine.py", "exec")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "onednnn"], "unknown backend 'onednnn'; did you mean 'onednn'?"),
        (["--backend", "onednn", "--dtype", "float64"], "oneDNN packs float32, not float64; use 'auto' or 'eager'"),
        (["--set", "dynamics.anderson=5"], "no Anderson acceleration, and dynamics.anderson is 5; set dynamics"),
        (["--set", "dynamics.andersen=5"], "did you mean 'anderson'?"),
        (["--schedule", "colouring"], "unknown name 'colouring'; did you mean 'coloring'?"),
        (["-o", "README.md/engine.py"], "README.md/engine.py: cannot be written: README.md is not a directory"),
    ],
)
def test_mistakes_are_messages(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compile", DIGITS, "--device", "cpu", *arguments]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert not re.search("Traceback|internal", shown.err)
    assert shown.out == ""
