"""Whatever README and docs/ show works: networks load, Python runs, and commands exist with their options.

The commands of the tutorial and of the how-to guides are run, one after the other, as a reader would.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import jsonschema
import pytest
import yaml

import epgraph as ep
from epgraph.cli import app, run
from epgraph.graph import inspect
from epgraph.language import json_schema
from tests.helpers.lightning import stand_in
from tests.helpers.registries import kept_registries
from tests.helpers.snippets import ROOT, Block, arguments_of, blocks_of, commands_between, commands_in, name_of, pages

FILES = {"docs/language.md": {"blocks.yaml": "Defaults"}}
"""Files that the blocks of a page include: by name, the section of the page whose blocks they hold."""

SHORTER: dict[str, list[str]] = {
    "train": ["--limit", "60", "--epochs", "1", "--no-pictures"],
    "sweep": ["--limit", "20", "--epochs", "1"],
    "gradcheck": ["--examples", "1"],
}
"""What is added to a command of a guide, so that it takes a second."""

GUIDES = {"docs/tutorial.md", *(name_of(page) for page in (ROOT / "docs" / "howto").glob("*.md"))}


def api(names: dict[str, Any]) -> None:
    assert (names["result"].epoch, len(names["losses"].losses)) == (2, 2)
    assert Path("settling.png").exists()


def report(names: dict[str, Any]) -> None:
    assert [one.section for one in names["result"].missing] == ["Comparison"]


def sweeps(names: dict[str, Any]) -> None:
    assert [trial.state for trial in names["result"].trials] == ["complete"] * 4


def learnt(names: dict[str, Any]) -> None:
    """What Lightning drove is well above chance after two epochs of 160 digits, and its losses were logged."""
    metrics = names["trainer"].callback_metrics
    assert float(metrics["accuracy"]) > 0.3
    assert 0 < float(metrics["train_loss"]) < 0.5


def drawn(names: dict[str, Any]) -> None:
    assert Path("net.svg").exists()


AFTER: dict[str, Callable[[dict[str, Any]], None]] = {
    "docs/api.md": api,
    "docs/howto/lightning.md": learnt,
    "docs/report.md": report,
    "docs/sweeps.md": sweeps,
    "docs/tour.md": drawn,
}
"""What holds after all blocks of a page, beside that they run."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the examples, where pages are read."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", pages(), ids=name_of)
@pytest.mark.filterwarnings("ignore::UserWarning")  # what is doubtful about a network of a page, trained for a moment
def test_what_a_page_shows_works(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = name_of(page)
    # Dataclasses look for their module.
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    names = vars(module)
    printed = ""
    if name == "docs/howto/lightning.md" and find_spec("lightning") is None:
        monkeypatch.setitem(sys.modules, "lightning", stand_in())
    with kept_registries():
        for file, section in FILES.get(name, {}).items():
            Path(file).write_text(included(page, section), encoding="utf-8")
        for block in blocks_of(page):
            if block.mark == "not run":
                assert block.said, f"{block.place}: say why it is not run"
                if block.language == "python":
                    compile(block.text, block.place, "exec")
                elif block.language == "sh":
                    for words in commands_in(block.text):
                        command(words, block.place)
                continue
            if block.file:
                Path(block.file).write_text(block.text, encoding="utf-8")
            if block.language == "yaml":
                network_or_fragment(block)
            elif block.language == "python":
                exec(compile(block.text, block.place, "exec"), names)
                if re.search(r"^architecture = ", block.text, flags=re.MULTILINE):
                    assert isinstance(names["architecture"], ep.Architecture)
                    assert ep.build(names["architecture"]).parameters() > 0
            elif block.language == "sh":
                capsys.readouterr()
                for words in commands_in(block.text):
                    command(words, block.place, runs=name in GUIDES)
                printed = capsys.readouterr().out
            elif block.mark == "output":
                assert block.text in printed, f"{block.place}: the command prints something else:\n{printed}"
            else:
                assert block.language in ("", "toml", "tex"), f"{block.place}: what is '{block.language}'?"
        if name in AFTER:
            AFTER[name](names)


def included(page: Path, section: str) -> str:
    """Return a file with the blocks of the network in a section."""
    text = page.read_text(encoding="utf-8").split(f"\n## {section}\n")[1]
    content = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    return yaml.safe_dump({"defaults": {"conv": {"kernel": 3}}, "blocks": content["blocks"]})


def network_or_fragment(block: Block) -> None:
    """A network loads, with no doubt but those that the page names; a fragment is what the schema says."""
    content = yaml.safe_load(block.text)
    if isinstance(content, dict) and "epgraph" in content:
        source = Path(block.file or "shown.yaml")
        source.write_text(block.text, encoding="utf-8")
        network, diagnostics = inspect(source, allow_include=[ROOT / "examples"])
        assert network is not None, (block.place, diagnostics)
        rules = [rule.strip() for rule in block.said.split(",")] if block.mark == "warns" else []
        assert sorted({found.rule for found in diagnostics}) == sorted(rules), (block.place, diagnostics)
        assert ep.build(network).parameters() > 0
        return
    schema = json_schema()
    parts = schema["properties"] if isinstance(content, dict) else {"edges": schema["properties"]["edges"]}
    for key, value in content.items() if isinstance(content, dict) else [("edges", content)]:
        assert key in parts, f"{block.place}: '{key}' is no section; if this is no network, mark it as not run"
        jsonschema.Draft202012Validator({**parts[key], "$defs": schema["$defs"]}).validate(value)


def command(words: list[str], place: str, *, runs: bool = False) -> None:
    """A command exists, with all of its options; that of a guide is run. Of ``make`` the target exists."""
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets), f"{place}: {words}"
    if words[0] == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file() or Path(words[1]).is_file(), f"{place}: {words[1]} does not exist"
    arguments = arguments_of(words)
    if arguments is None:
        return
    parsed(arguments, place)
    if runs and words[0] == "epgraph":
        arguments += SHORTER.get(arguments[0], [])
        assert run(arguments) == 0, (place, words)


def parsed(arguments: list[str], place: str) -> None:
    """Let click parse a command, without any of its callbacks."""
    if not arguments or arguments[0] in ("--version", "--help", "-h"):
        return
    if arguments[0].isupper():  # COMMAND stands for any
        return
    assert arguments[0] in app.commands, f"{place}: there is no command '{arguments[0]}'"
    found = app.commands[arguments[0]]
    context = click.Context(found, info_name=arguments[0], parent=click.Context(app), **found.context_settings)
    try:
        values, left, _ = found.make_parser(context).parse_args(list(arguments[1:]))
        for parameter in found.params:
            value = values.get(parameter.name or "")
            if isinstance(value, str) and isinstance(parameter.type, click.Choice):
                parameter.type.convert(value, parameter, context)
    except click.UsageError as error:
        raise AssertionError(f"{place}: {' '.join(arguments)}: {error.format_message()}") from None
    assert not left, f"{place}: {' '.join(arguments)}: nothing reads {left}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_commands_in_the_text_exist(page: Path) -> None:
    for words in commands_between(page):
        command(words, name_of(page))


def test_the_check_of_commands_can_fail() -> None:
    for wrong in ("fly net.yaml", "train net.yaml --fast", "tune net.yaml --dtype float7", "check net.yaml --data"):
        with pytest.raises(AssertionError):
            parsed(wrong.split(), "here")
    with pytest.raises(AssertionError, match="here"):
        command(["make", "coffee"], "here")


def test_the_check_of_fragments_can_fail() -> None:
    for wrong in ("training: {epoch: 3}", "- {from: a, to: b, conv: {kernels: 3}}", "spec: {replicas: 4}"):
        with pytest.raises((AssertionError, jsonschema.ValidationError)):
            network_or_fragment(Block("here", "yaml", wrong, "", ""))
