"""Members that are found in the files of their package: every one, or a message that says which is left out and why."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from epgraph.activations import NAMED
from epgraph.activations.language import FAMILIES
from epgraph.data import DATA_SETS
from epgraph.discovery import classes_by_name, entries_by_name
from epgraph.solvers import SOLVERS

BASE = "from abc import ABC, abstractmethod\nclass Base(ABC):\n    @abstractmethod\n    def run(self): ...\n"
ONE = "from {package}.base import Base\nclass One(Base):\n    name = 'one'\n    def run(self): ...\n"


def write_package(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, **files: str) -> None:
    """Write a package that can be imported; ``{package}`` in its files is its name."""
    folder = root / name
    folder.mkdir()
    for file, text in {"__init__": "", **files}.items():
        (folder / f"{file}.py").write_text(text.replace("{package}", name), encoding="utf-8")
    monkeypatch.syspath_prepend(root)


def package(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, more: str) -> dict[str, type]:
    """Members of a package with a base class, a member, and more in a third file."""
    write_package(root, monkeypatch, name, base=BASE, one=ONE, two=more)
    return classes_by_name(name, import_module(f"{name}.base").Base)


def test_every_class_is_a_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = "from {package}.one import One\nclass Two(One):\n    name = 'two'\n"
    found = package(tmp_path, monkeypatch, "found_all", more)
    assert [(name, cls.__name__) for name, cls in found.items()] == [("one", "One"), ("two", "Two")]


def test_an_abstract_class_is_no_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = "from {package}.base import Base\nclass Half(Base): ...\n"
    assert list(package(tmp_path, monkeypatch, "found_half", more)) == ["one"]


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("unnamed", "class Two(One): ...", "unnamed.two: the class Two needs a class attribute 'name'"),
        ("twice", "class Two(One):\n    name = 'one'", "twice.two: Two has the name 'one' of One"),
    ],
)
def test_no_class_is_left_out(
    name: str, body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is inherited is that of the class it comes from."""
    with pytest.raises(TypeError) as caught:
        package(tmp_path, monkeypatch, name, f"from {{package}}.one import One\n{body}\n")
    assert str(caught.value) == message


def tables(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, more: str) -> dict[str, int]:
    """Entries of a package of a file with a table, and of a second file."""
    write_package(root, monkeypatch, name, one="TABLE = {'b': 1, 'a': 2}\n", two=more)
    return entries_by_name(name, "TABLE")


def test_every_entry_is_a_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(tables(tmp_path, monkeypatch, "tables_all", "TABLE = {'c': 3}").items()) == [
        ("b", 1),
        ("a", 2),
        ("c", 3),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tables_none", "", "tables_none.two: it needs a dictionary 'TABLE'"),
        ("tables_twice", "TABLE = {'a': 3}", "tables_twice.two: the entry 'a' of 'TABLE' is in another file too"),
    ],
)
def test_no_entry_is_left_out(
    name: str, text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TypeError) as caught:
        tables(tmp_path, monkeypatch, name, text)
    assert str(caught.value) == message


def test_the_built_in_members_are_found() -> None:
    assert {"identity", "tanh", "logistic", "softclip", "hard_sigmoid"} <= NAMED.keys()
    assert {"tanh", "logistic", "softclip"} <= FAMILIES.keys() <= NAMED.keys()
    assert {"plain", "anderson", "over_relaxed", "error_sweeps"} <= SOLVERS.keys()
    names = [name for name in DATA_SETS if name in ("digits", "mnist", "cifar10", "svhn")]
    assert names == ["digits", "mnist", "cifar10", "svhn"], "from the smallest images to the largest"
