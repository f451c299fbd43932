"""Value numbering: what a node computes from which arguments, as text that is equal where the value is."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx


def structure(node: fx.Node, names: Mapping[str, str] | None = None, known: Mapping[fx.Node, str] | None = None) -> str:
    """Return every value that a node depends on, and the node, once each and one a line; equal text is equal value.

    ``names`` replaces the names of arguments; what is ``known`` counts as an argument of that name.
    """
    lines: dict[str, int] = {}
    numbers: dict[fx.Node, int] = {}

    def number(value: fx.Node) -> int:
        if value not in numbers:
            numbers[value] = lines.setdefault(line(value), len(lines))
        return numbers[value]

    def line(value: fx.Node) -> str:
        if known and value in known:
            return known[value]
        if value.op == "placeholder":
            return str(value.target) if names is None else names[str(value.target)]
        parts = fx.node.map_arg((value.args, value.kwargs), lambda n: _Number(number(n)))  # type: ignore[arg-type,return-value]
        return f"{value.op} {value.target} {parts!r}"

    number(node)
    return "\n".join(lines)


def form(node: fx.Node) -> tuple[str, tuple[str, ...]]:
    """Return what a node computes from arguments that are numbered, and the arguments."""
    arguments = sources(node)
    return structure(node, {name: str(number) for number, name in enumerate(arguments)}), tuple(arguments)


def sources(node: fx.Node) -> list[str]:
    """Names of the arguments that a node depends on, depth first."""
    names: dict[str, None] = {}
    seen: set[fx.Node] = set()

    def visit(value: fx.Node) -> None:
        if value in seen:
            return
        seen.add(value)
        if value.op == "placeholder":
            names[str(value.target)] = None
        for argument in value.all_input_nodes:
            visit(argument)

    visit(node)
    return list(names)


class _Number:
    """The number of a value inside written arguments."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"<{self.number}>"
