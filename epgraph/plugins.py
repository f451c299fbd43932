"""Plugins: files and installed packages that register members, and whose exceptions are theirs."""

from __future__ import annotations

import dis
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from itertools import islice, takewhile
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from epgraph.contract import HINT
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.files import FileError, read_bytes
from epgraph.registry import PLUGIN_MODULE, own_classes

GROUP = "epgraph.plugins"
"""Group of entry points in installed packages that the command line loads."""

MAX_BYTES = 8 * 2**20
"""Largest size of a plugin's file."""


def run_plugin(path: Path) -> None:
    """Run a Python file that registers members.

    Raises
    ------
    EpgraphError
        If it cannot be read, or fails.
    """
    hint = "it is Python that calls a register_… of epgraph, such as register_kind, register_energy, register_solver"
    try:
        text = read_bytes(path, MAX_BYTES)
    except FileError as error:
        raise EpgraphError(f"plugin {path} cannot be run: {error.reason}", hint, "plugin") from None
    # The module's name tells a file that runs again from another file that registers the same name.
    module = ModuleType(f"{PLUGIN_MODULE}{path.resolve()}")
    module.__file__ = str(path)
    # pydantic and dataclasses resolve annotations there.
    sys.modules[module.__name__] = module
    try:
        with _without_shadow_warnings():
            exec(compile(text, str(path), "exec"), vars(module))
    except EpgraphError as error:
        raise _at_the_call(error) from error
    except BaseException as error:  # it is the user's own code, sys.exit included
        if _interrupted(error):
            raise
        reason = getattr(error, "strerror", None) or _error_text(error)
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f", in line {lines[-1]}" if lines else ""
        raise EpgraphError(
            f"plugin {path} cannot be run: {reason}{where}",
            hint,
            "plugin",
        ) from error


def load_installed() -> None:
    """Load the entry points of installed packages in the group ``epgraph.plugins``: modules, or functions to call."""
    for entry in entry_points(group=GROUP):
        try:
            with _without_shadow_warnings():
                plugin = entry.load()
                if callable(plugin):
                    plugin()
        except EpgraphError as error:
            raise _at_the_call(error) from error
        except BaseException as error:
            if _interrupted(error):
                raise
            raise EpgraphError(
                f"plugin '{entry.name}' ({entry.value}) cannot be loaded: {_error_text(error)}",
                "fix or uninstall the package that declares it",
                "plugin",
            ) from error


@contextmanager
def _without_shadow_warnings() -> Iterator[None]:
    """Leave out what pydantic says of an option that hides something of its class: registration refuses it in words."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Field name .* shadows an attribute in parent", UserWarning)
        yield


def _at_the_call(error: EpgraphError) -> EpgraphError:
    """Give diagnostics without a position that of the plugin's last line before epgraph: its call of a function."""
    own = Path(__file__).parent
    frames = (frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen "))
    outside = takewhile(lambda frame: own not in Path(frame.filename).parents, islice(frames, 1, None))
    calls = list(outside)
    if not calls:
        return error
    return EpgraphError(
        one if one.file or one.at else one.located(calls[-1].filename, calls[-1].lineno, None)
        for one in error.diagnostics
    )


@contextmanager
def blaming_plugins() -> Iterator[None]:
    """Turn an exception from a method of a user's kind, activation or cost into an EpgraphError that names it.

    ``sys.exit`` is included: it would end the command without an error. The user's interrupt passes.
    """
    try:
        yield
    except EpgraphError:
        raise
    except BaseException as error:
        problem = None if _interrupted(error) else _plugin_error(error)
        if problem is None and isinstance(error, SystemExit):
            message = f"the program was ended by {_error_text(error)}"
            problem = Diagnostic(message, "look for sys.exit in a plugin", rule="plugin")
        if problem is None:
            raise
        raise EpgraphError(problem) from error


def _interrupted(error: BaseException) -> bool:
    """Whether the user interrupted the program: a KeyboardInterrupt that does not come from a ``raise`` statement."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is None or last.tb_frame.f_code.co_code[last.tb_lasti] != dis.opmap["RAISE_VARARGS"]


def _error_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _plugin_error(error: BaseException) -> Diagnostic | None:
    """Return the diagnostic of an exception from a method of a registered class, or None."""
    for what, cls in own_classes():
        place = raising_method(error, cls)
        if place is not None:
            message = f"{what}: {place.method} raises {_error_text(error)}"
            return Diagnostic(message, HINT, file=place.file, line=place.line, rule="plugin")
    return None


@dataclass(frozen=True)
class Place:
    """Origin of an exception: the method, its file, and the line."""

    method: str
    file: str
    line: int


def raising_method(error: BaseException, cls: type) -> Place | None:
    """Find the method of ``cls`` that raised, or whose signature did not match the call; None if it is no method."""
    methods: dict[CodeType, str] = {}
    for name, value in vars(cls).items():
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        function = getattr(function, "held", function)
        if isinstance(function, FunctionType):
            methods[function.__code__] = name
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    for position, (code, _) in enumerate(frames):
        if code in methods:
            # The innermost line in the same file is the most precise one.
            lines = [line for inner, line in frames[position:] if inner.co_filename == code.co_filename]
            return Place(methods[code], code.co_filename, lines[-1])
    for code, name in methods.items():
        # A call with wrong arguments does not enter the method.
        if isinstance(error, TypeError) and str(error).startswith(f"{code.co_qualname}() "):
            return Place(name, code.co_filename, code.co_firstlineno)
    return None
