"""Members of an axis found in the files of its package: a file is enough, and no table elsewhere names it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from types import ModuleType
from typing import Any


def classes_by_name(package: str, base: type) -> dict[str, type[Any]]:
    """Return the classes that the files of a package define, by their class attribute ``name``.

    Parameters
    ----------
    package
        Name of the package. Its files are imported in the order of their names.
    base
        Base class of the members. It is no member itself, and neither is an abstract class.

    Raises
    ------
    TypeError
        If a class does not set ``name`` itself, or sets one that another class has. Otherwise a member could be left
        out without a message.
    """
    found: dict[str, type[Any]] = {}
    for module in _files(package):
        for cls in vars(module).values():
            here = isinstance(cls, type) and issubclass(cls, base) and cls.__module__ == module.__name__
            if not here or cls is base or isabstract(cls):
                continue
            name = vars(cls).get("name")
            if not isinstance(name, str):
                raise TypeError(f"{module.__name__}: the class {cls.__name__} needs a class attribute 'name'")
            if name in found:
                raise TypeError(f"{module.__name__}: {cls.__name__} has the name '{name}' of {found[name].__name__}")
            found[name] = cls
    return found


def entries_by_name(package: str, table: str) -> dict[str, Any]:
    """Return the entries of the tables of one name that the files of a package define.

    Parameters
    ----------
    package
        Name of the package. Its files are imported in the order of their names.
    table
        Name of the dictionary that every file has.

    Raises
    ------
    TypeError
        If a file has no such dictionary, or an entry whose name another file has. Otherwise a member could be left out
        without a message.
    """
    found: dict[str, Any] = {}
    for module in _files(package):
        entries = vars(module).get(table)
        if not isinstance(entries, dict):
            raise TypeError(f"{module.__name__}: it needs a dictionary '{table}'")
        for name in entries.keys() & found.keys():
            raise TypeError(f"{module.__name__}: the entry '{name}' of '{table}' is in another file too")
        found |= entries
    return found


def _files(package: str) -> Iterator[ModuleType]:
    for module in iter_modules(import_module(package).__path__, f"{package}."):
        yield import_module(module.name)
