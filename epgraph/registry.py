"""Activations and costs of the user's own, and the files that bring them."""

from __future__ import annotations

import re
import runpy
from importlib.metadata import entry_points
from pathlib import Path

from epgraph.activations import NAMED, Activation
from epgraph.activations.language import FAMILIES
from epgraph.costs import COSTS, Cost
from epgraph.errors import EpgraphError

GROUP = "epgraph.plugins"
"""Entry points of installed packages that the command line loads."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RESERVED = re.compile(r"relu[0-9.]*")
_BUILT_IN = frozenset({*NAMED, *FAMILIES, *COSTS})


def register_activation(name: str, activation: Activation) -> None:
    """Let ``activation: name`` in YAML stand for an activation of your own.

    A name registered before is replaced. ``verify_activation`` checks what the activation claims.

    Raises
    ------
    EpgraphError
        If it is no ``Activation``, or the name is built in or not a name.
    """
    _check(name, activation, Activation, "an activation")
    NAMED[name] = activation


def register_cost(name: str, cost: Cost) -> None:
    """Let ``cost: name`` of the output stand for a cost of your own; as ``register_activation``."""
    _check(name, cost, Cost, "a cost")
    COSTS[name] = cost


def run_plugin(path: Path) -> None:
    """Run a Python file that registers activations and costs.

    Raises
    ------
    EpgraphError
        If it cannot be read, or fails.
    """
    try:
        runpy.run_path(str(path))
    except EpgraphError:
        raise
    except Exception as error:  # it is the user's own code
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise EpgraphError(
            f"plugin {path} cannot be run: {reason}", "it is Python that calls epgraph.register_activation"
        ) from error


def load_installed() -> None:
    """Load what installed packages declare in the group ``epgraph.plugins``: a module, or a function to call."""
    for entry in entry_points(group=GROUP):
        try:
            found = entry.load()
            if callable(found):
                found()
        except EpgraphError:
            raise
        except Exception as error:
            raise EpgraphError(
                f"plugin '{entry.name}' ({entry.value}) cannot be loaded: {type(error).__name__}: {error}",
                "mend or uninstall the package that declares it",
            ) from error


def _check(name: str, value: object, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        # A class in place of an instance is the likeliest mistake.
        made = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        raise EpgraphError(f"'{name}' cannot be registered: expected {what}, found {made}", f"pass {kind.__name__}()")
    if not _NAME.fullmatch(name):
        raise EpgraphError(
            f"'{name[:64]}' cannot be registered: it is not a name",
            "a name is a letter followed by at most 63 letters, digits or '_'",
        )
    if name in _BUILT_IN or _RESERVED.fullmatch(name):
        raise EpgraphError(f"'{name}' cannot be registered: it is built in", "choose another name")
