"""Verifier of emitted code: every value has a name of its own, and is computed before it is used.

Two values of one name would be wrong numbers without a message. Functions are checked after recording and after every
rewrite (``verify``), their calls once all rewrites are done, and their text before it runs, from the text alone.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NoReturn

from torch import fx

from epgraph.compiler import runtime
from epgraph.compiler.effects import memory_of
from epgraph.compiler.names import RESERVED, Names
from epgraph.compiler.program import Function, Named
from epgraph.errors import EpgraphError


def verify(function: Function) -> None:
    """Check a recorded function: its arguments, the order of its values, and its results.

    Raises
    ------
    EpgraphError
        Where a name is no identifier or hides one that emitted code needs, where two values have one name, and where a
        value is used before it is computed.
    """
    known: set[fx.Node] = set()
    returned: object = None
    for node in function.graph.nodes:
        if node.op == "placeholder":
            _check_name(function, str(node.target))
        elif node.op == "output":
            returned = node.args[0]
        for value in node.all_input_nodes:
            if value not in known:
                _refuse(function, f"'{value.name}' is used before it is computed")
        known.add(node)
    _distinct(function, "arguments", function.arguments)
    _distinct(function, "results", function.results)
    if not isinstance(returned, tuple) or len(returned) != len(function.results):
        _refuse(function, f"it does not return a value for each of {', '.join(function.results)}")


def verify_effects(function: Function, names: Names) -> None:
    """Check what a function writes into.

    Raises
    ------
    EpgraphError
        Where it writes into a parameter, or into what is computed once per batch, and where a value is read after it
        was overwritten: what is there then has the name of the operation that wrote it.
    """
    writers: dict[fx.Node, fx.Node] = {}
    roots: dict[fx.Node, fx.Node] = {}
    for node in function.graph.nodes:
        memory = memory_of(node)
        fills = node.target in (runtime.fill_, runtime.fill_pair_)
        for value in node.all_input_nodes:
            # What fills a memory does not look at what is there: two sums may have one working memory in turn.
            if value in writers and not (fills and value is memory):
                _refuse(function, f"it reads '{value.name}' after '{writers[value].name}' has overwritten it")
        if isinstance(memory, fx.Node):
            root = roots.setdefault(memory, memory)
            writers |= {value: node for value, its in roots.items() if its is root} if fills else {memory: node}
            roots[node] = root
            if memory.op == "placeholder" and names.role(str(memory.target)) not in _WRITABLE:
                _refuse(function, f"it writes into '{memory.target}', which is only to be read")


_WRITABLE = frozenset({"state", "next", "scratch", "carried", None})
"""Roles of arguments that may be written into; None: what the network has no name for."""


def verify_calls(parts: Sequence[Sequence[Named]], names: Names, given: Collection[str] = ()) -> None:
    """Check calls of functions, in the order in which they are made, part after part.

    Parameters
    ----------
    given
        Values that functions of other programs have returned.

    Raises
    ------
    EpgraphError
        Where two arguments or two results of a call have one name, where a value is unknown or taken before a function
        has returned it, and where a value that is computed once is returned a second time.
    """
    made: set[str] = set(given)
    known: set[str] = set()
    for part in parts:
        for function, arguments, results in part:
            taken = set(arguments)
            if len(taken) < len(arguments):
                _distinct(function, "arguments of a call", arguments)
            if len(results) > 1:
                _distinct(function, "results of a call", results)
            for name in taken - known:
                role = names.role(name)
                if role is None:
                    _refuse(function, f"it takes '{name}', which the network does not have")
                if role in _HANDED and name not in made:
                    _refuse(function, f"it takes '{name}' before a function has returned it")
                known.add(name)
            for name in made.intersection(results):
                if names.role(name) not in _MOVING:
                    _refuse(function, f"it returns '{name}', which was computed before")
            made.update(results)


_HANDED = frozenset({"next", "prepared", "carried"})
"""Roles of values that functions alone compute."""

_MOVING = frozenset({"state", "next", "carried", "result"})
"""Roles of values that are computed again and again."""


def verify_text(text: str, function: Function, known: Collection[str]) -> ast.Module:
    """Check the text of a function, and return it parsed.

    Parameters
    ----------
    known
        Names that it may use from outside, which nothing in it may hide.

    Raises
    ------
    EpgraphError
        Where an argument or a value hides a name from outside or another value, and where a name is used that has no
        value there.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        _refuse(function, f"its text is not Python: {error.msg}")
    definition = tree.body[0] if tree.body else None
    if not isinstance(definition, ast.FunctionDef) or len(tree.body) > 1 or definition.name != function.name:
        _refuse(function, "its text does not define it")
    arguments = [argument.arg for argument in definition.args.args]
    if tuple(arguments) != function.arguments:
        _refuse(function, f"its text takes {arguments}, and it is called with {list(function.arguments)}")
    taken: set[str] = set()
    for name in arguments:
        _check_new(function, name, taken, known)
    alive = set(taken)
    for statement in definition.body:
        if isinstance(statement, ast.Return | ast.Assign):
            value = statement.value
        else:
            _refuse(function, f"line {statement.lineno} of its text is neither a value nor the end")
        for name in _names(value) if value else ():
            if not (name in alive or name in known or name in RESERVED):
                _refuse(function, f"line {statement.lineno} of its text uses '{name}', which has no value there")
        if isinstance(statement, ast.Return):
            break
        targets = [target.id if isinstance(target, ast.Name) else "" for target in statement.targets]
        if isinstance(value, ast.Constant) and value.value is None and alive.issuperset(targets):
            alive.difference_update(targets)  # values that nothing needs any more
            continue
        for name in targets:
            _check_new(function, name, taken, known)
        alive.update(targets)
    return tree


def _names(value: ast.expr) -> Iterator[str]:
    """Yield the names in an expression. ``ast.walk`` would look at all that is below names and numbers as well."""
    left: list[ast.AST] = [value]
    while left:
        node = left.pop()
        if isinstance(node, ast.Name):
            yield node.id
        elif not isinstance(node, ast.Constant):
            left += ast.iter_child_nodes(node)


def verify_apart(names: Iterable[str]) -> None:
    """Check that no two functions, or a function and what it may call, have one name; raise EpgraphError otherwise."""
    if twice := _twice(names):
        raise EpgraphError(f"emitted code defines {', '.join(twice)} twice", HINT)


def verify_module(text: str) -> str:
    """Return the text of a module, which defines nothing twice; raise EpgraphError otherwise."""
    defined: list[str] = []
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            defined.append(statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            defined += [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            defined += [alias.asname or alias.name.split(".")[0] for alias in statement.names]
    verify_apart(defined)
    return text


HINT = "this is a fault of epgraph, not of the network; please report it with the network's file"


def _check_name(function: Function, name: str) -> None:
    if not (name.isidentifier() and name.isascii()):
        _refuse(function, f"its argument '{name}' is not an identifier")
    if name in RESERVED:
        _refuse(function, f"its argument '{name}' hides a name that emitted code needs")


def _check_new(function: Function, name: str, taken: set[str], known: Collection[str]) -> None:
    if name in known or name in RESERVED:
        _refuse(function, f"its value '{name}' hides a name that emitted code needs")
    if not name or name in taken:
        _refuse(function, f"two of its values have the name '{name}'")
    taken.add(name)


def _distinct(function: Function, what: str, names: Collection[str]) -> None:
    if len(set(names)) < len(names):
        _refuse(function, f"two {what} have the name {', '.join(_twice(names))}")


def _twice(names: Iterable[str]) -> list[str]:
    return [f"'{name}'" for name, count in Counter(names).items() if count > 1]


def _refuse(function: Function, problem: str) -> NoReturn:
    raise EpgraphError(f"emitted function '{function.name}': {problem}", HINT)
