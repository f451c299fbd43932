"""Members of an axis found by their classes: a file in the package of the axis is enough, and no table names it."""

from __future__ import annotations

from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
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
    for module in iter_modules(import_module(package).__path__, f"{package}."):
        for cls in vars(import_module(module.name)).values():
            here = isinstance(cls, type) and issubclass(cls, base) and cls.__module__ == module.name
            if not here or cls is base or isabstract(cls):
                continue
            name = vars(cls).get("name")
            if not isinstance(name, str):
                raise TypeError(f"{module.name}: the class {cls.__name__} needs a class attribute 'name'")
            if name in found:
                raise TypeError(f"{module.name}: {cls.__name__} has the name '{name}' of {found[name].__name__}")
            found[name] = cls
    return found
