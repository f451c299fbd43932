"""What README and docs say is true: networks are what they should be, messages are those printed, nothing is left out.

That everything shown runs at all is the matter of ``test_snippets.py``.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import epgraph as ep
from docs.reference_pages import GENERATED, MARK
from epgraph.data import DATA_SETS
from epgraph.graph import inspect
from epgraph.learning_rules import ESTIMATORS
from epgraph.optimizers import OPTIMIZERS
from epgraph.rates import RATE_SCHEDULES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
LEARNING = (ROOT / "docs" / "learning.md").read_text(encoding="utf-8")


def blocks(language: str, document: str = TOUR) -> list[str]:
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", document, flags=re.DOTALL | re.MULTILINE)
    return [text for tag, text in fences if tag == language]


def test_the_networks_load() -> None:
    texts = blocks("yaml")
    assert len(texts) == 2
    assert blocks("yaml", README) == texts[:1]
    for text in texts:
        assert ep.build(ep.load(text)).parameters() > 0
        assert inspect(text)[1] == [], "an example is free of doubts"


def section(title: str) -> str:
    text = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "states", "edges"),
    [
        ("Blocks", ["h1_a", "h1_b", "h2_a", "h2_b", "h3_a", "h3_b"], 14),
        ("Expressions", ["h1_s", "h2_s"], 3),
        ("Groups and patterns", ["h1", "h2", "h3", "h4"], 14),
        ("Include", ["h1_s", "h2_s", "h3_s"], 4),
        ("Defaults", ["h1_s", "h2_s", "k_s"], 4),
        ("Versions", [], 1),
    ],
)
def test_the_examples_of_the_language_load(
    title: str, states: list[str], edges: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layer = blocks("yaml", section("Defaults"))[0].split("blocks:\n")[1].split("states:\n")[0]
    (tmp_path / "blocks.yaml").write_text(f"defaults: {{conv: {{kernel: 3}}}}\nblocks:\n{layer}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (text,) = blocks("yaml", section(title))
    graph = ep.build(ep.load(text))
    assert (list(graph.architecture.states), len(graph.edges)) == (states, edges)
    assert inspect(text)[1] == [], "an example is free of doubts"


TABLED = (
    *("centered", "positive", "negative", "random_sign", "continual", "holomorphic", "contrastive"),
    *("coupled_positive", "coupled_negative", "coupled_centered", "implicit", "unrolled", "truncated", "backprop"),
)
"""Rules that the table of docs/learning.md compares."""


def test_every_rule_is_in_the_docs() -> None:
    """What is built in later is at least in the reference, whose table is that of the registry."""
    reference = GENERATED["estimators"]()
    assert [name for name in ESTIMATORS if f"| `{name}` |" not in reference] == []
    assert [name for name in ESTIMATORS if name in TABLED and f"`{name}`" not in LEARNING] == []
    rows = re.findall(r"^\| (`.*?) \|", LEARNING.split("\n## The table\n")[1].split("\n## ")[0], flags=re.MULTILINE)
    found = [name for cell in rows for name in re.findall(r"`(\w+)`", cell)]
    assert [name for name in found if name not in {"estimator", *ESTIMATORS}] == []
    assert set(TABLED) <= set(found)


def test_the_messages_are_real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = blocks("yaml")[0]
    (first, second) = blocks("")[-2:]
    monkeypatch.chdir(tmp_path)
    edits = (
        (("classes: 10", 'classes: "10"'), ("padding: 1, stride: 2", "padding: 1, strid: 2")),
        (("skip: {stride: 2}", "skip: {stride: 3}"),),
    )
    for changes, expected in zip(edits, (first, second), strict=True):
        broken = text
        for old, new in changes:
            assert broken.count(old) == 1
            broken = broken.replace(old, new)
        Path("net.yaml").write_text(broken, encoding="utf-8")
        with pytest.raises(ep.EpgraphError) as caught:
            ep.load("net.yaml")
        assert str(caught.value) == expected.strip()


def test_the_edges_of_the_language_reference_build() -> None:
    """Its list of edges is one network, whose shapes follow from the input."""
    from epgraph.kinds import KINDS

    (text,) = (block for block in blocks("yaml", LANGUAGE) if "conv_transpose" in block)
    content = {
        "epgraph": 2,
        "input": {"shape": [3, 16, 16]},
        "output": {"classes": 10},
        "states": {"h1": {"channels": 8}, "h2": {}, "h3": {}, "h4": {"channels": 8}},
        "edges": yaml.safe_load(text),
    }
    graph = ep.build(ep.Architecture.model_validate(content))
    assert {edge.kind.name for edge in graph.edges.values()} == {
        name for name, kind in KINDS.items() if not kind.unary
    } - {"skip", "identity"}


def names(text: str, key: str) -> bool:
    """Whether a text has a key, alone or with a value, as code."""
    return re.search(rf"`{{?{re.escape(key)}\b", text) is not None


def row(key: str, text: str) -> str:
    """The row of a table whose first cell names a key; empty without one."""
    rows = re.findall(r"^\| .*", text, flags=re.MULTILINE)
    return next((line for line in rows if names(line.split(" | ")[0], key)), "")


def item(key: str, text: str) -> str:
    """The item of a list that begins with a key; empty without one."""
    items = re.findall(r"^- .*\n(?:  .*\n)*", text, flags=re.MULTILINE)
    return next((one for one in items if names(one.split(" ")[1], key)), "")


def documented() -> dict[str, tuple[str, list[str]]]:
    """Where the language reference has to name each key: a part of the page, and the keys that belong into it."""
    from epgraph.activations.language import FAMILIES
    from epgraph.costs import COSTS
    from epgraph.energies import ENERGIES
    from epgraph.graph import SCHEDULES
    from epgraph.kinds import KINDS
    from epgraph.language.model import Architecture, known_keys
    from epgraph.language.sugar import BlockSpec, InstanceSpec, PatternSpec, SugarSpec
    from epgraph.solvers import SOLVERS

    def fields(*models: Any) -> list[str]:
        return [field.alias or name for model in models for name, field in model.model_fields.items()]

    table = LANGUAGE.split("\n## ")[0]
    parts = {f"section {key}": (row(key, table), [key]) for key in (*fields(Architecture, SugarSpec),)}
    for key in ("input", "output", "defaults", "dynamics", "learning", "training"):
        parts[f"keys of {key}"] = (row(key, table), list(known_keys((key,))))
    parts["keys of states"] = (row("states", table), list(known_keys(("states", "h"))))
    parts["keys of edges"] = (row("edges", table), [key for key in known_keys(("edges", 0)) if key not in KINDS])
    parts["blocks"] = (sections("Blocks"), fields(BlockSpec, InstanceSpec))
    parts["patterns"] = (sections("Groups and patterns"), fields(PatternSpec))
    parts["schedules"] = (sections("Schedules"), list(SCHEDULES))
    parts["energies"] = (row("energy", table), list(ENERGIES))
    parts["costs"] = ("".join(row(name, sections("Costs")) for name in COSTS), list(COSTS))
    for name, kind in KINDS.items():
        parts[f"kind {name}"] = (row(name, sections("Edges", "Unary terms")), [name, *kind.model_fields])
    for name, solver in SOLVERS.items():
        parts[f"solver {name}"] = (item(name, sections("Solvers")), [name, *solver.model_fields])
    for name in ESTIMATORS:
        parts[f"estimator {name}"] = (row(name, as_on_the_site(sections("Learning rules"))), [name])
    for name, family in FAMILIES.items():
        written = row(name, sections("Activations"))
        # {tanh: {slope: m, height: h}} is one piece of code.
        options = " ".join(f"`{key}`" for key in re.findall(r"(\w+):", written))
        parts[f"activation {name}"] = (options, [name, *(option.name for option in dataclasses.fields(family))])
    return parts


def test_the_language_reference_names_every_key() -> None:
    """Within the part of the page that is about it: many keys are words that stand elsewhere too."""
    assert [
        f"{where}: {key}" for where, (text, keys) in documented().items() for key in keys if not names(text, key)
    ] == []


def test_a_page_says_where_its_generated_part_is() -> None:
    """Every mark has text, every text a mark, and a reader on GitHub is told what is not there."""
    pages = {path: path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")}
    marks = [(path, match) for path, text in pages.items() for match in MARK.finditer(text)]
    assert {match[1] for _, match in marks} == GENERATED.keys()
    for path, match in marks:
        assert match[0].startswith("*"), path


@pytest.mark.parametrize(
    ("mark", "members"), [("data_sets", DATA_SETS), ("optimizers", OPTIMIZERS), ("rate_schedules", RATE_SCHEDULES)]
)
def test_a_member_is_described_from_its_entry_alone(mark: str, members: dict[str, Any]) -> None:
    text = GENERATED[mark]()
    assert [name for name in members if not row(name, text)] == []
    options = {option for one in members.values() for option in getattr(one, "model_fields", ())}
    assert [option for option in options if not names(text, option)] == []


def test_an_option_is_named_beside_its_solver() -> None:
    """An option that has the name of a key elsewhere on the page was taken for documented."""
    assert names(LANGUAGE, "momentum")
    assert not names(item("anderson", sections("Solvers")), "momentum")
    assert item("momentum", sections("Solvers")) == row("momentum", sections("Edges")) == ""


def as_on_the_site(text: str) -> str:
    """The text with what stands for its marks there."""
    return MARK.sub(lambda mark: GENERATED[mark[1]](), text)


def sections(*titles: str) -> str:
    """Sections of the language reference, one after the other."""
    parts = {part.split("\n", 1)[0]: part for part in LANGUAGE.split("\n## ")}
    return "\n".join(parts[title] for title in titles)


def test_templates_are_made_as_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from epgraph.cli import run
    from epgraph.topologies import TEMPLATES

    monkeypatch.chdir(tmp_path)
    (commands,) = blocks("sh", sections("Templates"))
    for command in commands.splitlines():
        program, *arguments = command.split()
        assert program == "epgraph"
        assert run(arguments) == 0
        assert ep.build(ep.load(arguments[-1])).parameters() > 0
    assert re.findall(r"^\| `(\w+)` \|", sections("Templates"), flags=re.MULTILINE) == list(TEMPLATES)


def test_the_mistake_of_the_tutorial_is_real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    first, second = blocks("yaml", page)
    assert [line for line in second.splitlines() if line not in first.splitlines()] == [
        "# skip.yaml",
        "name: skip",
        "  - {from: h1, to: h4, skip: {stride: 2}}",
    ]
    monkeypatch.chdir(tmp_path)
    Path("skip.yaml").write_text(second.replace("skip: {stride: 2}", "skip: {stride: 3}"), encoding="utf-8")
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load("skip.yaml")
    assert blocks("", page)[-1].strip() == str(caught.value)
