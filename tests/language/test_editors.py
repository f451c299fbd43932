"""An editor completes, explains and checks files by the schema that ``epgraph new`` and run folders name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.kinds import KINDS
from epgraph.language import INSTALLED_SCHEMA, json_schema, parse
from tests.helpers.language_server import ROOT, LanguageServer, find_server, language_server

SERVER = find_server()
needs_server = pytest.mark.skipif(
    SERVER is None, reason="no yaml-language-server in $EPGRAPH_YAML_LANGUAGE_SERVER, PATH or .tools; run 'make tools'"
)


def new(path: Path, *options: str) -> Path:
    """Write a file as a user gets it."""
    assert run(["new", *options, "-o", str(path)]) == 0
    return path


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def place(path: Path, text: str) -> tuple[int, int]:
    """Line and column of a text in a file, from 0."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if text in line:
            return number, line.index(text)
    raise AssertionError(f"{text} is not in {path}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    assert SERVER is not None
    with language_server(SERVER, tmp_path_factory.mktemp("workspace")) as running:
        yield running


@needs_server
def test_a_new_file_has_no_mistake_and_explains_its_keys(server: LanguageServer, tmp_path: Path) -> None:
    path = new(tmp_path / "a folder" / "net.yaml")
    assert server.open(path) == []
    schema = json_schema()
    for key, said in (
        ("free_steps", schema["$defs"]["DynamicsSpec"]["properties"]["free_steps"]["description"]),
        ("channels", schema["$defs"]["StateSpec"]["properties"]["channels"]["description"]),
        ("kernel", schema["$defs"]["Conv"]["properties"]["kernel"]["description"]),
        ("beta", schema["$defs"]["LearningSpec"]["properties"]["beta"]["description"]),
    ):
        assert plain(said) in plain(server.hover(path, *place(path, f"{key}:"))), key


def plain(text: str) -> str:
    """Text without the marks and escapes of Markdown."""
    return " ".join(re.sub(r"[\\`*#]|&nbsp;", " ", text).split())


@needs_server
def test_a_new_file_is_completed(server: LanguageServer, tmp_path: Path) -> None:
    path = new(tmp_path / "net.yaml")
    edited(path, "learning: {estimator: centered, beta: 0.1}", "learning:\n  \n")
    server.open(path)
    line, _ = place(path, "learning:")
    keys = json_schema()["$defs"]["LearningSpec"]["properties"]
    assert set(server.complete(path, line + 1, 2)) >= set(keys)
    other = edited(new(tmp_path / "other.yaml"), "schedule: coloring", "schedule: ")
    server.open(other)
    line, column = place(other, "schedule: ")
    offered = set(server.complete(other, line, column + len("schedule: ")))
    assert offered >= {"coloring", "even_odd", "synchronous"}


@needs_server
@pytest.mark.parametrize(
    ("old", "wrong", "told"),
    [
        ("dynamics: {schedule", "dynamics: {sweeps: 3, schedule", "Property sweeps is not allowed."),
        ("epochs: 10", "epochs: ten", 'Incorrect type. Expected "integer".'),
        ("classes: 10", "classes: [10]", 'Incorrect type. Expected "integer'),
    ],
    ids=["unknown key", "wrong type", "wrong type of a section"],
)
def test_a_mistake_is_underlined_where_it_is(
    server: LanguageServer, tmp_path: Path, old: str, wrong: str, told: str
) -> None:
    path = edited(new(tmp_path / "net.yaml"), old, wrong)
    diagnostics = server.open(path)
    assert diagnostics
    line, column = place(path, wrong)
    for found in diagnostics:
        start, end = found["range"]["start"], found["range"]["end"]
        assert start["line"] == line
        assert column <= start["character"] < end["character"]
    assert any(told in found["message"] for found in diagnostics), diagnostics


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was moved after its training."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"epochs": 1, "limit": 32, "pictures": False, "warn": lambda found: None}
    ep.train(new(folder / "net.yaml"), "digits", out=folder / "first", **options)
    return Path(shutil.move(folder / "first", folder / "elsewhere"))


@needs_server
def test_a_run_folder_explains_itself_wherever_it_is(server: LanguageServer, run_folder: Path) -> None:
    """Its schema lies beside its network: nothing outside of the folder is needed."""
    path = run_folder / "architecture.yaml"
    assert server.open(path) == []
    described = json_schema()["$defs"]["TrainingSpec"]["properties"]["clip_norm"]["description"]
    assert plain(described) in plain(server.hover(path, *place(path, "clip_norm")))
    wrong = path.with_name("edited.yaml")
    shutil.copy(path, wrong)
    (found,) = server.open(edited(wrong, "clip_norm", "clip_norms"))
    assert "Property clip_norms is not allowed." in found["message"]


def test_the_schema_of_a_run_accepts_its_network(run_folder: Path) -> None:
    schema = json.loads((run_folder / "architecture.schema.json").read_text(encoding="utf-8"))
    assert schema == json_schema()
    text = (run_folder / "architecture.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=architecture.schema.json\n")
    jsonschema.Draft202012Validator(schema).validate(parse(text).data)


def test_a_new_file_names_the_installed_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = new(tmp_path / "net.yaml", "--template", "ring").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={INSTALLED_SCHEMA.as_uri()}"
    capsys.readouterr()
    assert run(["schema", "--path"]) == 0
    assert capsys.readouterr().out == f"{INSTALLED_SCHEMA}\n"
    assert run(["new", "--template", "ring"]) == 0
    assert "yaml-language-server" not in capsys.readouterr().out, "what is printed may go anywhere"


def test_the_schema_has_one_source_and_a_versioned_name() -> None:
    schema = json_schema()
    for path in (INSTALLED_SCHEMA, ROOT / "schemas" / "architecture.schema.json"):
        assert json.loads(path.read_text(encoding="utf-8")) == schema, "run `make schema`"
    assert schema["$id"] == f"urn:epgraph:architecture:{schema['properties']['epgraph']['const']}"


def test_every_key_is_described() -> None:
    """A hover shows it; at every depth, and for every kind of edge."""

    def walk(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                # A condition, such as 'a classes that is an integer', describes no key of its own.
                if set(value) - {"type", "minItems", "minProperties"} and not value.get("description"):
                    yield f"{path}.{key}"
            for key, value in node.items():
                yield from walk(value, f"{path}.{key}")
        elif isinstance(node, list):
            for value in node:
                yield from walk(value, path)

    assert list(walk(json_schema(), "")) == []
    assert len(json_schema()["$defs"]) > len(KINDS)


def test_the_wheel_has_the_schema(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "epgraph", source / "epgraph", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    made = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True, check=True
    )
    wheel = tmp_path / made.stdout.splitlines()[-1]
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("epgraph/language/architecture.schema.json") == INSTALLED_SCHEMA.read_bytes()
