"""How diagnostics look on a terminal, and what editors get of them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.cli.diagnostics import MOST, lines, print_diagnostics
from epgraph.errors import RULES, Diagnostic
from epgraph.language import parse
from epgraph.language.validate import _RULES as BY_ERROR
from epgraph.source import WIDTH, Source

ROOT = Path(__file__).parents[2]

TEXT = """\
epgraph: 2
input:  {name: x, shape: [3, 8, 8]}
output: {name: y, classes: 10}
edges:
  - {from: x, to: y, dense: {}}
  - {from: x, to: q, dense: {}}
dynamics: {flow: 3}
"""


def excerpt(text: str, start: tuple[int, int], end: tuple[int, int] | None = None) -> tuple[str, str]:
    return Source(text).excerpt(start, end)


def test_the_whole_text_is_underlined() -> None:
    assert excerpt("a: bcd, e\n", (1, 4), (1, 7)) == ("a: bcd, e", "   ^^^")
    assert excerpt("a: bcd\n", (1, 4)) == ("a: bcd", "   ^")


def test_text_of_several_lines_is_underlined_in_its_first() -> None:
    assert excerpt("a: [b,\n  c]\n", (1, 4), (2, 5)) == ("a: [b,", "   ^^^")


def test_positions_beyond_the_text() -> None:
    assert excerpt("ab\n", (1, 3)) == ("ab", "  ^")
    assert excerpt("ab\n", (1, 30)) == ("ab", "  ^")
    assert excerpt("ab\n", (9, 1)) == ("", "^")


def test_tabs_wide_characters_and_marks() -> None:
    assert excerpt("\ta: b\n", (1, 5), (1, 6)) == ("    a: b", "       ^")
    assert excerpt("平衡: é\n", (1, 1), (1, 3)) == ("平衡: é", "^^^^")
    # An accent of its own takes no column.
    assert excerpt("e\u0301: b\n", (1, 5), (1, 6)) == ("e\u0301: b", "   ^")


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    line, carets = excerpt("a: \x1b[31m\u202eb\n", (1, 4), (1, 9))
    assert line == "a: �[31m�b"
    assert carets == "   ^^^^^"
    assert str(Diagnostic("'\x1b[2J\n' is bad")) == r"'\x1b[2J\n' is bad"


def test_long_lines_are_cut_around_the_carets() -> None:
    text = "".join(f"k{i}: {i}, " for i in range(500))
    at = text.index("k250")
    line, carets = excerpt(text, (1, at + 1), (1, at + 5))
    assert line.startswith("…")
    assert line.endswith("…")
    assert len(line) <= WIDTH + 2
    assert line[carets.index("^") : carets.rindex("^") + 1] == "k250"
    # Long text is underlined as far as it is shown.
    line, carets = excerpt("a: " + "x" * 500, (1, 4), (1, 504))
    assert len(carets) <= len(line) <= WIDTH + 2
    assert carets.count("^") > WIDTH // 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"])
def test_lines_are_counted_as_the_parser_counts_them(end: str) -> None:
    text = f"a: 1{end}b: [2,{end}  wrong]{end}"
    document = parse(text)
    wrong = document.find(("b", 1))[1]
    assert wrong is not None
    assert wrong.mark == (3, 3)
    assert document.source is not None
    assert document.source.line(3) == "  wrong]"
    assert document.source.mark(text.index("wrong")) == (3, 3)
    assert wrong.end == (3, 8)


def test_ends_of_all_sorts_of_values() -> None:
    document = parse("a: {b: [1, 'two'], c: \"x y\"}\nd: &e 5\nf: *e\n")
    spans = {
        ("a",): ((1, 4), (1, 29)),
        ("a", "b"): ((1, 8), (1, 18)),
        ("a", "b", 1): ((1, 12), (1, 17)),
        ("a", "c"): ((1, 23), (1, 28)),
        ("f",): ((3, 4), (3, 6)),
    }
    for at, span in spans.items():
        _, value, depth = document.find(at)
        assert value is not None
        assert (value.mark, value.end, depth) == (*span, len(at))


def test_errors_and_warnings_are_json_with_ranges_and_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(TEXT + "  \n", encoding="utf-8")
    assert run(["check", str(path), "--json"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)["diagnostics"]
    assert [(d["rule"], d["severity"]) for d in found] == [("unknown-state", "error"), ("out-of-range", "error")]
    assert found[0] == {
        "severity": "error", "rule": "unknown-state", "message": "'to' names no state: 'q'", "hint": "known: x, y",
        "at": "edges[1].to", "on_key": False, "file": str(path),
        "line": 6, "column": 19, "end_line": 6, "end_column": 20, "trail": [], "related": [],
    }  # fmt: skip
    good = TEXT.replace("to: q", "to: y, name: z").replace("flow: 3", "flow: 0")
    path.write_text(good + "learning: {beta: 3}\n", encoding="utf-8")
    assert run(["check", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [d["rule"] for d in found["diagnostics"]] == ["twin-edges", "beta"]
    # Warnings stay when there is an error beside them.
    path.write_text(TEXT.replace("to: q", "to: y").replace("flow: 3", "anderson: 5, flow: 0.1"), encoding="utf-8")
    assert run(["check", str(path), "--json", "--set", "learning.feedback=untied"]) == 1
    assert "dynamics" in [d["rule"] for d in json.loads(capsys.readouterr().out)["diagnostics"]]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["nothing.yaml"], "file"),
        (["."], "file"),
        (["net.yaml", "--set", "nonsense"], "override"),
        (["net.yaml", "--schedule", "nonsense"], "other"),
        (["net.yaml", "--nonsense"], "other"),
        ([], "other"),
        (["net.yaml", "--plugin", "nothing.py"], "plugin"),
    ],
)
def test_every_failure_is_json(
    arguments: list[str],
    rule: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(TEXT, encoding="utf-8")
    assert run(["check", *arguments, "--json"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert [d["rule"] for d in json.loads(out)["diagnostics"]] == [rule]


def test_colors_are_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    diagnostic = parse("a: bcd\n").locate(Diagnostic("wrong", at=("a",), severity="warning"))
    colored = lines(diagnostic)
    assert colored[0] == click.style("warning", fg="yellow") + ": <text>:1:4: wrong"
    assert colored[2] == "     |    " + click.style("^^^", fg="yellow", bold=True)
    print_diagnostics([diagnostic])
    assert capsys.readouterr().err == "warning: <text>:1:4: wrong\n   1 | a: bcd\n     |    ^^^\n"


def test_very_many_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_diagnostics(Diagnostic(f"mistake {i}") for i in range(MOST + 1234))
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == MOST + 1
    assert printed[-1] == "… and 1,234 more; 'epgraph check --json' prints all of them"


def test_no_example_is_warned_of_without_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """But the published network, whose even/odd schedule moves three skips at both ends."""
    checked = 0
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        if run(["check", str(path), "--json"]) != 0:
            capsys.readouterr()
            continue  # a part that another file includes
        checked += 1
        rules = [d["rule"] for d in json.loads(capsys.readouterr().out)["diagnostics"]]
        published = path.stem.startswith("hopfield_resnet13") and not path.stem.endswith("noskip")
        assert rules == (["not-proper"] if published else []), path.name
    assert checked >= 20


def test_the_table_of_rules_is_that_of_the_code() -> None:
    reference = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    table = reference.partition("| rule | meaning |\n| --- | --- |\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| `{rule}` | {what} |" for rule, what in RULES.items()]


def made(path: Path) -> Iterator[tuple[str, ast.expr | None]]:
    """Everything in a file that makes a diagnostic, with the rule that it states."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        place = {"Diagnostic": 8, "EpgraphError": 2, "_warning": 0, "PydanticCustomError": 0}.get(node.func.id)
        if place is not None and not any(isinstance(argument, ast.Starred) for argument in node.args):
            stated = [keyword.value for keyword in node.keywords if keyword.arg == "rule"]
            yield node.func.id, (stated or node.args[place:] or [None])[0]


def test_every_rule_that_is_stated_is_a_rule() -> None:
    stated = 0
    for path in (ROOT / "epgraph").rglob("*.py"):
        for what, rule in made(path):
            if not isinstance(rule, ast.Constant):
                continue
            if what == "PydanticCustomError" and "language" in path.relative_to(ROOT).parts:
                assert BY_ERROR.get(rule.value, rule.value.replace("_", "-")) in RULES, path
            elif what != "PydanticCustomError":
                assert rule.value in RULES, path
            stated += 1
    assert stated > 50


@pytest.mark.parametrize("package", ["builder", "graph", "language", "topologies"])
def test_every_diagnostic_of_the_language_states_its_rule(package: str) -> None:
    found = [(path, *one) for path in (ROOT / "epgraph" / package).rglob("*.py") for one in made(path)]
    assert len(found) >= 5
    for path, what, rule in found:
        assert rule is not None or what == "EpgraphError" or path.parent.name == "expand", path
        assert not isinstance(rule, ast.Constant) or rule.value != "other"


def test_half_a_character_from_python() -> None:
    with pytest.raises(ep.EpgraphError, match=r"^<text>:2:8: half of a character \(a surrogate\); remove it$"):
        ep.load("epgraph: 2\nname: a\ud800\n")
