"""Golden messages: every file in ``tests/golden/broken`` is wrong in its own way, every one in ``doubtful`` is legal.

``pytest --update-golden`` rewrites the messages; read them as someone who has never seen the language.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from epgraph.cli import run
from epgraph.errors import RULES, Diagnostic, EpgraphError
from epgraph.graph import build, inspect
from epgraph.passes import lower
from epgraph.spec import json_schema, parse, raise_for
from epgraph.spec.document import plain_scalar
from tests.conftest import GOLDEN

BROKEN = sorted((GOLDEN / "broken").glob("*.yaml"))
DOUBTFUL = sorted((GOLDEN / "doubtful").glob("*.yaml"))

Compare = Callable[[str, str], None]


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[p.stem for p in paths])


def command(path: Path, tmp_path: Path) -> list[str]:
    """How the mistake shows: in ``check``, or only beside data."""
    if path.stem.startswith("data_"):
        return ["train", path.name, "--data", "digits", "--out", str(tmp_path / "run")]
    return ["check", path.name]


@named(BROKEN)
def test_broken(
    path: Path,
    golden: Compare,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(path.parent)
    assert run(command(path, tmp_path)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    golden(f"broken/{path.stem}.txt", err)
