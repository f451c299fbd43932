"""Files that are broken at random, and on purpose: clean diagnostics or a network, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from epgraph.cli import run
from tests.fuzz import MUTATIONS, check, mutant

SEEDS = 300


def test_broken_at_random(tmp_path: Path) -> None:
    """A short run; ``make fuzz`` has ten thousand."""
    path = tmp_path / "net.yaml"
    became: Counter[str] = Counter()
    ways = set()
    for seed in range(SEEDS):
        how, content = mutant(seed)
        path.write_bytes(content)
        try:
            became[check(path)] += 1
        except Exception as error:
            pytest.fail(f"python -m tests.fuzz 1 --seed {seed} ({how}): {error!r}", pytrace=False)
        ways |= set(how.split())
    assert ways == {mutation.__name__ for mutation in MUTATIONS}
    # The population is worth something: it comes through the parser, and breaks in many ways.
    assert became["network"] >= SEEDS // 20
    assert became["yaml"] <= SEEDS // 2
    assert len(became) >= 12


HEAD = "epgraph: 2\ninput: {shape: [4]}\noutput: {classes: 2}\n"
EDGES = "edges: [{from: x, to: y, dense: {}}]\n"

HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "200,000 open brackets": ("[" * 200_000, "too-large"),
    "200,000 brackets": ("[" * 200_000 + "]" * 200_000, "too-large"),
    "200,000 open braces": ("{a: " * 200_000, "too-large"),
    "200,000 dashes": ("- " * 200_000, "too-large"),
    "2,000 levels of indentation": ("".join(" " * i + "a:\n" for i in range(2000)), "too-large"),
    "a billion laughs": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
        "too-large",
    ),
    "levels that aliases pile up": (
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} {'[' * 20}*a{i - 1} {']' * 20}\n" for i in range(1, 900)),
        "too-large",
    ),
    "an alias inside of itself": ("epgraph: 2\nedges: &a [[*a]]\n", "alias"),
    "a number of 100,000 digits": ("epgraph: " + "9" * 100_000, "too-large"),
    "a hexadecimal number of 100,000 digits": ("epgraph: 0x" + "f" * 100_000, "too-large"),
    "an exponent of 300 digits": (HEAD + EDGES + "learning: {beta: 1e" + "9" * 300 + "}\n", "out-of-range"),
    "NUL bytes": ("epgraph: 2\n\0\0\0\n", "yaml"),
    "only NUL bytes": (b"\0" * 1000, "yaml"),
    "control characters": ("epgraph: 2\nname: \x1b[2J\n", "yaml"),
    "half a character": (b"epgraph: 2\nname: \xf0\x9f\n", "file"),
    "a surrogate in bytes": (b"epgraph: 2\nname: \xed\xa0\x80\n", "file"),
    "a surrogate by escape": ('epgraph: 2\nname: "\\ud800"\n', "yaml"),
    "a key of a million characters": ("epgraph: 2\n" + "x" * 1_000_000 + ": 1\n", "yaml"),
    "a line of a megabyte": (HEAD + EDGES.replace("dense: {}", " " * 1_000_000 + "dens: {}"), "unknown-key"),
    "a text of four megabytes": (HEAD + EDGES + "name: " + "x" * 4_000_000 + "\n", "wrong-length"),
    "a file of nine megabytes": ("#" * 9_000_000, "file"),
    "3,000 unknown keys": (HEAD + EDGES + "".join(f"k{i}: 1\n" for i in range(3000)), "unknown-key"),
    "3,000 broken edges": (HEAD + "edges:\n" + "- {a: 1}\n" * 3000, "missing-key"),
    "a network with 10²⁰ units": (HEAD.replace("[4]", "[16777216, 16777216, 16777216]") + EDGES, "out-of-range"),
    "a kernel of a million": (
        HEAD.replace("[4]", "[1, 8, 8]")
        + "states: {h: {shape: [1, 7, 7]}}\nedges: [{from: x, to: h, conv: {kernel: 1000000}}]\n",
        "shape-mismatch",
    ),
    "words of a YAML bomb for Python": ("epgraph: !!python/object/apply:os.system [ls]\n", "yaml"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_broken_on_purpose(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, rule = HOSTILE[name]
    path = tmp_path / "net.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run(["check", str(path), "--json"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)["diagnostics"]
    assert rule in [d["rule"] for d in found]
    assert len(found) <= 1001
    assert all(len(d["message"]) < 500 for d in found)
    assert run(["check", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{path}:")
    assert max(map(len, err.splitlines())) < 1000
    assert len(err.splitlines()) <= 301


def test_a_line_of_megabytes_is_cut_around_the_caret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(HEAD + EDGES.replace("dense: {}", " " * 1_000_000 + "dens: {}"), encoding="utf-8")
    assert run(["check", str(path)]) == 1
    first, source, carets = capsys.readouterr().err.splitlines()[-3:]
    assert first.endswith("unknown key 'dens'; did you mean 'dense'?")
    assert len(source) < 120
    assert source[carets.index("^") : carets.rindex("^") + 1] == "dens"
