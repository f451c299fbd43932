"""Instances of blocks: add their states in order, with prefixed names."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator
from typing import Any

from epgraph.errors import Diagnostic, Location
from epgraph.language.document import Origin
from epgraph.language.expand.context import ExpansionContext
from epgraph.language.expand.defaults import add_defaults, read_defaults
from epgraph.language.expand.expression import FUNCTIONS, UNKNOWN
from epgraph.language.expand.frames import BROKEN, Broken, Cascade, Frame
from epgraph.language.expand.limits import MAX_NESTING, TooMuchError
from epgraph.language.expand.parameter_origins import ParameterOrigins
from epgraph.language.names import check_name
from epgraph.language.sugar import BlockSpec, InstanceSpec
from epgraph.language.validate import describe

IN = "in"
"""The port that every block has."""

NUMBERS = ("i", "n")
"""Names in expressions: the number of an instance, and the length of its row."""


class Blocks:
    """The blocks of a file, each checked once.

    Attributes
    ----------
    known, broken
        Valid blocks by name, and names of invalid ones.
    used, made
        Names of blocks that an instance names, and of blocks that have an instance.
    unknown
        Whether an instance names an unknown block: it may mean any of them.
    """

    def __init__(self, context: ExpansionContext) -> None:
        self.context = context
        self.used: set[str] = set()
        self.made: set[str] = set()
        self.unknown = False
        self.broken: set[str] = set()
        self.known: dict[str, BlockSpec] = {}
        given = context.data.get("blocks")
        for name, value in (given if isinstance(given, dict) else {}).items():
            at: Location = ("blocks", name)
            if problem := check_name(name, at):
                context.report(problem)
            spec = context.check(BlockSpec, value, at)
            if spec is None:
                self.broken.add(name)
            else:
                if not spec.states and not spec.edges:
                    found = "the block has neither states nor edges"
                    context.report(Diagnostic(found, "e.g. states: {a: {channels: 64}}", at, True, rule="missing-key"))
                check_parameters(context, spec.parameters, (*at, "parameters"))
                self.known[name] = self._with_ports(spec, at)
        if given is not None and not isinstance(given, dict):
            found = f"'blocks' expects a mapping of names to settings, found {describe(given)}"
            context.report(
                Diagnostic(found, "e.g. blocks: {pair: {states: …, edges: …}}", ("blocks",), rule="wrong-type")
            )

    def _with_ports(self, spec: BlockSpec, at: Location) -> BlockSpec:
        """Report duplicate ports, and return the block without them."""
        kept: dict[str, None] = {}
        for index, port in enumerate(spec.ports):
            where = (*at, "ports", index)
            if port == IN:
                found, hint = f"the port '{IN}' is always there", "leave it out; use from at the instance to bind it"
                self.context.report(Diagnostic(found, hint, where, rule="duplicate-name"))
            elif port in kept:
                found, hint = f"duplicate name '{port}': another port has it", "leave it out"
                self.context.report(Diagnostic(found, hint, where, rule="duplicate-name"))
            kept[port] = None
        return spec.model_copy(update={"ports": [port for port in kept if port != IN]})


def check_parameters(context: ExpansionContext, names: Iterable[str], at: Location) -> None:
    """Refuse names of parameters that expressions could not say, or that mean something else there."""
    for name in names:
        found = ""
        if name in NUMBERS:
            found = f"'{name}' is the number of an instance, or how many its row has, and no name of a parameter"
        elif name in FUNCTIONS:
            found = f"'{name}' is a function of expressions, and no name of a parameter"
        elif keyword.iskeyword(name) or name in ("true", "false", "null"):
            found = f"'{name}' is a word of expressions, and no name of a parameter"
        if found:
            context.report(Diagnostic(found, "choose another name", (*at, name), True, rule="duplicate-name"))
        elif problem := check_name(name, (*at, name)):
            context.report(problem)


def read_parameters(
    context: ExpansionContext, given: dict[str, Any], at: Location, scope: dict[str, Any], frame: Frame | None = None
) -> dict[str, Any]:
    """Evaluate parameters in order, each over those before it, and return the scope with them."""
    scope = dict(scope)
    for name, value in given.items():
        scope[name] = context.resolve(value, (*at, name), scope, frame)
    return scope


def declare(context: ExpansionContext, blocks: Blocks, frame: Frame, states: dict[str, Any]) -> None:
    """Add the states of a frame and of the instances in it, in order."""
    for name, entry in states.items():
        at = (*frame.at, "states", name)
        if frame.spec is not None and not _free(context, frame, name, at):
            continue
        if isinstance(entry, dict) and "block" in entry:
            _instances(context, blocks, frame, name, entry, at)
        else:
            _state(context, frame, name, entry, at)


def _free(context: ExpansionContext, frame: Frame, name: str, at: Location) -> bool:
    """Whether a name inside a block is legal and not a port."""
    if problem := check_name(name, at):
        context.report(problem, frame)
    elif name in frame.ports:
        found = f"duplicate name '{name}': a port of block '{frame.block}' has it"
        context.report(Diagnostic(found, "choose another name", at, True, rule="duplicate-name"), frame)
    else:
        return True
    frame.members.setdefault(name, BROKEN)
    return False


def _state(context: ExpansionContext, frame: Frame, name: str, entry: Any, at: Location) -> None:
    flat = frame.prefix + name
    if name in frame.members or flat in context.states:
        _taken(context, frame, name, flat, at)
        return
    if frame.spec is not None:
        context.budget.make()
    resolved = context.resolve(entry, at, frame.scope, frame)
    if len(flat) > 64 and frame.spec is not None:
        found = f"the name '{flat[:64]}…' is longer than 64 characters"
        context.report(
            Diagnostic(found, "shorten the names of the state and of the instance", at, True, rule="not-a-name"), frame
        )
    # A state with broken keys still exists for the edges that refer to it.
    context.states[flat] = state = {} if resolved is UNKNOWN else resolved
    where: Location = ("states", flat)
    context.origins[where] = Origin(context.source, at, frame.trail, frame.parameter_origins, frame.dotted)
    if isinstance(resolved, dict):
        add_defaults(context, state, where, frame)
    frame.members[name] = flat
    reached: Frame | None = frame
    dotted = name
    while reached is not None:
        reached.reach[dotted] = flat
        reached.reach_flat[flat] = dotted
        dotted = f"{reached.dotted.rpartition('.')[2]}.{dotted}"
        reached = reached.parent


def _taken(context: ExpansionContext, frame: Frame, name: str, flat: str, at: Location) -> None:
    frame.members.setdefault(name, BROKEN)
    other = context.origins.get(("states", flat))
    where = context.source.locate(Diagnostic("", at=other.at, on_key=True)) if other else None
    place = f" at {where.file}:{where.line}:{where.column}" if where and where.line else ""
    found = f"duplicate name '{flat}': a state{place} has it"
    context.report(Diagnostic(found, "choose another name", at, True, rule="duplicate-name"), frame)


def _instances(
    context: ExpansionContext, blocks: Blocks, frame: Frame, name: str, entry: dict[str, Any], at: Location
) -> None:
    frame.members.setdefault(name, BROKEN)
    spec = _instance_spec(context, blocks, frame, entry, at)
    if spec is None:
        return
    template = blocks.known[spec.block]
    problems = list(_mismatches(context, spec, template, at)) or _recursion(frame, spec.block, at)
    for problem in problems:
        context.report(problem, frame)
    if problems:
        return
    count = 1 if spec.repeat is None else spec.repeat
    if count == 0:
        del frame.members[name]
        frame.empty.add(name)
    where = context.source.locate(Diagnostic("", at=at, on_key=True))
    place = f"{where.file}:{where.line}:{where.column}" if where.line else str(where.file)
    before: Frame | None = None
    for number in range(1, count + 1):
        own = f"{name}{number}" if spec.repeat else name
        if spec.repeat and own in frame.members:
            _taken(context, frame, own, frame.prefix + own, at)
            continue
        child = _child(frame, own, spec, template, at, place)
        child.before = before
        # An instance without repeat keeps the numbers of the row around it.
        if spec.repeat or frame.parent is None:
            child.scope |= {"i": number, "n": count}
        blocks.made.add(spec.block)
        _open(context, child, spec, template, number, count)
        try:
            declare(context, blocks, child, template.states)
        except TooMuchError as error:
            raise TooMuchError(str(error), error.at or at) from None
        _output(context, child, template)
        frame.members[own] = child
        frame.members[name] = child
        frame.children.append(child)
        # A block without states has no output for the next instance: all instances have the same 'in'.
        before = child if template.states else None


def _instance_spec(
    context: ExpansionContext, blocks: Blocks, frame: Frame, entry: dict[str, Any], at: Location
) -> InstanceSpec | None:
    """Return the instances that an entry declares, of a block that is well formed; None where either is wrong.

    The block counts as used also where its instance is wrong.
    """
    outer = {key: value for key, value in entry.items() if key in ("block", "repeat", "join")}
    resolved = context.resolve(outer, at, frame.scope, frame)
    if resolved is UNKNOWN:
        if isinstance(entry["block"], str) and entry["block"] in blocks.known:
            blocks.used.add(entry["block"])
        else:
            blocks.unknown = True
        return None
    block = resolved["block"]
    template = blocks.known.get(block) if isinstance(block, str) else None
    parameters = template.parameters if template else ()
    hints = {name: f"it is a parameter: write with: {{{name}: …}}" for name in parameters}
    spec = context.check(InstanceSpec, {**_null(entry), **resolved}, at, frame, hints)
    if template is not None:
        blocks.used.add(block)
        return spec
    if isinstance(block, str) and block not in blocks.broken:
        blocks.unknown = True
        names = [*blocks.known, *sorted(blocks.broken)]
        hint = context.budget.nearest(block, names, "block") if names else "declare it under 'blocks'"
        context.report(Diagnostic(f"there is no block '{block[:64]}'", hint, (*at, "block"), rule="block"), frame)
    return None


def _recursion(frame: Frame, block: str, at: Location) -> list[Diagnostic]:
    """Return what is wrong with an instance of a block inside the blocks around it."""
    path = frame.path()
    if block in path:
        circle = " → ".join([*path[path.index(block) :], block])
        message = f"block '{block}' contains itself: {circle}"
        return [Diagnostic(message, "leave one of these instances out", (*at, "block"), rule="recursion")]
    if len(path) >= MAX_NESTING:
        raise TooMuchError(f"blocks inside one another, deeper than {MAX_NESTING} levels", at)
    return []


def _child(frame: Frame, own: str, spec: InstanceSpec, template: BlockSpec, at: Location, place: str) -> Frame:
    """Return the frame of one instance, empty; ``place`` is where the file declares it."""
    dotted = f"{frame.dotted}.{own}" if frame.dotted else own
    return Frame(
        dotted=dotted,
        prefix=f"{frame.prefix}{own}{spec.join}",
        at=("blocks", spec.block),
        scope=dict(frame.scope),
        cascade=Cascade(),
        parent=frame,
        block=spec.block,
        spec=template,
        instance=at,
        trail=(f"in block '{spec.block}' as {dotted}, at {place}", *frame.trail),
        ports=dict.fromkeys((IN, *template.ports)),
        bindings={"from": spec.source, "ports": spec.ports},
    )


def _null(entry: dict[str, Any]) -> dict[str, Any]:
    # An empty `with:` means `with: {}`.
    empty = ("with", "ports", "defaults")
    return {key: {} if value is None and key in empty else value for key, value in entry.items()}


def _mismatches(
    context: ExpansionContext, spec: InstanceSpec, template: BlockSpec, at: Location
) -> Iterator[Diagnostic]:
    """Yield parameters and ports of an instance that its block does not have, values that are missing or too many."""
    for name in spec.given:
        if name not in template.parameters:
            hint = context.budget.nearest(name, template.parameters) if template.parameters else "it has none"
            message = f"block '{spec.block}' has no parameter '{name[:64]}'"
            yield Diagnostic(message, hint, (*at, "with", name), True, rule="block")
    for name, value in template.parameters.items():
        if value is None and name not in spec.given:
            message = f"block '{spec.block}' needs a value of '{name}'"
            yield Diagnostic(message, f"e.g. with: {{{name}: …}}", at, True, rule="block")
    for name in spec.ports:
        if name in template.ports:
            continue
        message, hint = f"block '{spec.block}' has no port '{name[:64]}'", "it has 'in' alone, which 'from' binds"
        if name == IN:
            message, hint = f"the port '{IN}' is bound by 'from'", "use from in place of ports: {in: …}"
        elif template.ports:
            hint = context.budget.nearest(name, template.ports)
        yield Diagnostic(message, hint, (*at, "ports", name), True, rule="block")
    count = 1 if spec.repeat is None else spec.repeat
    for name, value in spec.given.items():
        each = _each(value)
        if isinstance(each, list) and len(each) != count:
            message = f"'each' needs one value for each of {count} instances, found {len(each)}"
            yield Diagnostic(message, "", (*at, "with", name, "each"), rule="wrong-length")


def _each(value: Any) -> Any:
    return value["each"] if isinstance(value, dict) and list(value) == ["each"] else None


def _open(
    context: ExpansionContext, child: Frame, spec: InstanceSpec, template: BlockSpec, number: int, count: int
) -> None:
    """Give an instance its parameters and defaults."""
    outer, frame = child.scope, child.parent
    assert frame is not None
    values = {name: _value(context, child, name, value, number, count) for name, value in spec.given.items()}
    numbers: dict[str, Any] = {name: outer[name] for name in NUMBERS if name in outer}
    given = {k: v for k, v in template.parameters.items() if k not in values}
    # A block can use the file's parameters and its own, not those of a block around it.
    scope = {**_file_scope(frame), **numbers}
    for name in template.parameters:
        if name in values:
            scope[name] = values[name]
        else:
            scope = read_parameters(context, {name: given[name]}, ("blocks", spec.block, "parameters"), scope, child)
    child.scope = scope
    child.parameter_origins = _places(child, spec, template, number)
    of_block = read_defaults(context, template.defaults, (*child.at, "defaults"), scope, child, child.trail)
    of_instance = read_defaults(context, spec.defaults, (*child.instance, "defaults"), outer, frame, frame.trail)
    child.cascade = frame.cascade.under(of_block).under(of_instance)


def _value(context: ExpansionContext, child: Frame, name: str, value: Any, number: int, count: int) -> Any:
    """Return the value that the entry of an instance gives to a parameter; UNKNOWN where it is wrong."""
    at: Location = (*child.instance, "with", name)
    each = _each(value)
    if each is None:
        return context.resolve(value, at, child.scope, child.parent)
    at = (*at, "each")
    if isinstance(each, list):
        return context.resolve(each[number - 1], (*at, number - 1), child.scope, child.parent)
    values = context.resolve(each, at, child.scope, child.parent)
    if values is UNKNOWN:
        return UNKNOWN
    if isinstance(values, list) and len(values) == count:
        return values[number - 1]
    size = str(len(values)) if isinstance(values, list) else describe(values)
    message = f"'each' needs one value for each of {count} instances, found {size}"
    context.report(Diagnostic(message, "", at, rule="wrong-length"), child.parent)
    return UNKNOWN


def _places(child: Frame, spec: InstanceSpec, template: BlockSpec, number: int) -> ParameterOrigins:
    """Origins of the values of an instance's parameters: the instance, or the block's defaults."""
    frame = child.parent
    assert frame is not None
    root = frame
    while root.parent is not None:
        root = root.parent
    places: dict[str, tuple[Location, ParameterOrigins | None, bool]] = {}
    for name in template.parameters:
        if name in spec.given:
            each = _each(spec.given[name])
            at: Location = (*child.instance, "with", name)
            if each is not None:
                at = (*at, "each", number - 1) if isinstance(each, list) else (*at, "each")
            places[name] = (at, frame.parameter_origins, bool(spec.repeat) and each is None)
        else:
            before = ParameterOrigins(dict(places), root.parameter_origins)
            places[name] = ((*child.at, "parameters", name), before, False)
    return ParameterOrigins(places, root.parameter_origins)


def _file_scope(frame: Frame) -> dict[str, Any]:
    while frame.parent is not None:
        frame = frame.parent
    return frame.scope


def _output(context: ExpansionContext, frame: Frame, template: BlockSpec) -> None:
    """Find the state that the name of an instance means as an end of an edge."""
    found: str | Frame | Broken | None
    if template.out is None:
        if not template.states:
            return
        found = frame.members.get(list(template.states)[-1], BROKEN)
    else:
        at = (*frame.at, "out")
        out = context.resolve(template.out, at, frame.scope, frame)
        if out is UNKNOWN:
            return
        found = find(frame, str(out))
        if found is None:
            message = f"'out' names no state of the block: '{str(out)[:64]}'"
            hint = context.budget.nearest(str(out), frame.members)
            context.report(Diagnostic(message, hint, at, rule="unknown-state"), frame)
            return
    frame.out = found.out if isinstance(found, Frame) else found


def find(frame: Frame, name: str) -> str | Frame | Broken | None:
    """Resolve a name among the states and instances of a frame: a flat name, an instance, BROKEN or None."""
    found: str | Frame | Broken | None = frame
    for part in name.split("."):
        if not isinstance(found, Frame):
            return BROKEN if found is BROKEN else None
        found = found.members.get(part)
    if found is not None:
        return found
    flat = frame.prefix + name
    return flat if flat in frame.reach_flat else None
