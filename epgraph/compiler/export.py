"""The emitted module: a network as one Python file that needs torch alone."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable
from types import ModuleType

import torch

from epgraph.compiler import loading, runtime, standalone, sweep, winograd
from epgraph.compiler.helpers import HELPERS, namespace
from epgraph.compiler.program import CompiledProgram, Function, calls
from epgraph.compiler.program_cache import ProgramCache
from epgraph.compiler.text import source
from epgraph.compiler.trace.gradient import How
from epgraph.compiler.verify import verify_module, verify_text
from epgraph.errors import EpgraphError, visible
from epgraph.version import __version__

HEADER = '''\
"""{network}: an energy-based network as plain PyTorch, written by epgraph {version}. It needs torch alone.

    import torch
    from engine import Engine                # the name of this file

    engine = Engine(parameters)              # state_dict() of the epgraph engine, or your own: see PARAMETERS
    states = engine.relax(x)                 # free phase, {free}
    classes = engine.readout(states).argmax(1)
    energy = engine.energy(x, states)        # per example
    gradient = engine.gradient(x, labels)    # of the mean loss, by centred equilibrium propagation

Run as a program, it relaxes random numbers and prints where they come to rest.

backend   {backend}
rewrites  {rewrites}
{order}
{learning}dtype     {dtype}
torch     {torch} (when it was written)

In the functions below s_ is a state, w_ a weight, b_ a bias, a_ a level of ReLUα, c_ what input and biases contribute,
p_ what is computed once per batch, k_ what one sweep hands to the next, t_ working memory. A[e] is the linear map of
the edge e. In phases named `pair` a state is the common part (s⁺+s⁻)/2 of the states nudged by +β and −β stacked on
their odd part (s⁺−s⁻)/2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, device, inf, nan
'''

LEARNING = """\
learning  the architecture asks for the estimator {estimator}, which this module does not have: its gradient is the
          centred one
"""


def module_text(machine: ProgramCache) -> str:
    """Write a machine's network as a Python module.

    It contains the very text that the engine runs, so on the same device, threads and torch its states and gradients
    are those of the engine to the bit. A compiled backend's functions are written as they are before compilation.

    Raises
    ------
    EpgraphError
        Where the network asks for a solver that mixes states or for untied feedback, or the backend for Triton: the
        module has none of them.
    """
    _refuse(machine)
    graph, dynamics = machine.tracer.graph, machine.tracer.graph.architecture.dynamics
    phases = {name: machine.program(name, relaxed=dynamics.stepped) for name in ("free", "pair")}
    parameters = _parameters(machine)
    learnt = {f"states.{s.name}.alpha" for s in graph.states.values() if s.activation.learnt}
    frozen = {f"edges.{edge.name}.weight" for edge in graph.edges.values() if edge.frozen}
    trainable = frozenset(
        name for name in parameters if name not in frozen and (not name.endswith(".alpha") or name in learnt)
    )
    # The nudged sweeps hand on the sums and, if they are a way back and a way forward, the errors.
    how = How(errors=machine.tracer.two_way)
    functions: dict[str, tuple[Function, ...]] = {
        "constants": machine.tracer.constants(),
        "energy": machine.tracer.energy(),
        "gradient": machine.tracer.gradient(trainable, how=how),
        "local": machine.tracer.local(trainable),
        "readout": machine.tracer.readout(),
    }
    emitted = [
        *(pair.function for pair in machine.tracer.pairs.values()),
        *(function.function for function in machine.tracer.functions.values()),
        *functions["constants"],
        *(function for phase in phases.values() for function in phase.program.functions),
        *(function for name in ("energy", "gradient", "local", "readout") for function in functions[name]),
    ]
    written = [source(function) for function in emitted]
    known = {*namespace(), *(function.name for function in emitted)}
    for function, text in zip(emitted, written, strict=True):
        verify_text(text, function, known)
    parts = [
        _header(machine),
        _title("What the functions call"),
        *_helpers("\n".join(written)),
        _title("The network"),
        *written,
        _title("The loop over sweeps"),
        _body(sweep),
        _title("What sweeps take"),
        _body(loading),
        _title("Tables"),
        _tables(machine, phases, functions, parameters),
        _title("The engine"),
        inspect.getsource(standalone.Engine),
        inspect.getsource(standalone.self_check),
        'if __name__ == "__main__":\n    self_check()',
    ]
    return verify_module("\n\n\n".join(part.strip("\n") for part in parts) + "\n")


def _refuse(machine: ProgramCache) -> None:
    dynamics = machine.tracer.graph.architecture.dynamics
    untied = next((edge for edge in machine.tracer.graph.edges.values() if edge.untied), None)
    if untied is not None:
        raise EpgraphError(
            f"an emitted module has an energy, and there is none where edge '{untied.name}' has a feedback weight of "
            "its own",
            "set learning.feedback: tied, or use the engine of epgraph.compile",
        )
    if dynamics.chosen_solver.mixes:
        key = dynamics.solver_key
        raise EpgraphError(
            f"an emitted module has no {dynamics.chosen_solver.title}, and dynamics.{key.key} is {key.value}",
            f"set dynamics.{key.key} to {key.plain} for plain sweeps, or use the engine of epgraph.compile",
        )
    if not machine.backend.exportable:
        raise EpgraphError(
            f"an emitted module has no kernels of backend '{machine.backend.name}'", "use another backend"
        )


def _header(machine: ProgramCache) -> str:
    graph = machine.tracer.graph
    # The network's name is free text, and stands in a docstring.
    name = visible(graph.architecture.name).replace("\\", "\\\\").replace('"', '\\"')
    rewrites = ", ".join(one.name for one in machine.backend.passes)
    estimator, solver = graph.architecture.learning.estimator, graph.architecture.dynamics.chosen_solver
    backend = machine.backend.name
    if machine.backend.compiled:
        backend += " (torch.compile; the functions are written here as they are before compilation)"
    return HEADER.format(
        network=name,
        version=__version__,
        backend=backend,
        rewrites=textwrap.fill(rewrites or "none", 120, initial_indent=" " * 10, subsequent_indent=" " * 10).strip(),
        free="one forward pass" if graph.energy.feedforward else "from zeros",
        order=f"solver    {solver.name}" if solver.errors else f"schedule  {machine.tracer.plan.schedule.name}",
        learning="" if estimator == "centered" else LEARNING.format(estimator=estimator),
        dtype=_dtype(machine.tracer.dtype),
        torch=torch.__version__,
    )


def _title(text: str) -> str:
    return f"# ---- {text} " + "-" * (112 - len(text))


def _body(module: ModuleType) -> str:
    """Source of a module without its imports, which the header has."""
    text = inspect.getsource(module)
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(text.splitlines()[imports[-1].end_lineno :])


def _helpers(written: str) -> list[str]:
    """Source of ``runtime``, without what the header has already, and of other helpers where they are called."""
    whole = [runtime, *([winograd] if "winograd_kernels(" in written else [])]
    texts = [_body(module) for module in whole]
    own = {runtime.__name__, winograd.__name__}
    # A helper stands in the table before those that it calls.
    for function in (f for f in HELPERS.values() if f.__module__ not in own):
        if f"{function.__name__}(" in written:
            texts.append(inspect.getsource(function))
            written += texts[-1]
    return texts


def _parameters(machine: ProgramCache) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names as in ``Engine.state_dict`` → argument names and shapes."""
    names, graph = machine.tracer.names, machine.tracer.graph
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for state in graph.states.values():
        if state.bias_shape is not None:
            found[f"states.{state.name}.bias"] = names("bias", state.name), state.bias_shape
        if state.activation.stored:
            found[f"states.{state.name}.alpha"] = names("alpha", state.name), ()
    for edge in graph.edges.values():
        if edge.weight_shape is not None and not edge.tied:
            found[f"edges.{edge.name}.weight"] = names("weight", edge.name), edge.weight_shape
    return found


def _tables(
    machine: ProgramCache,
    phases: dict[str, CompiledProgram],
    functions: dict[str, tuple[Function, ...]],
    parameters: dict[str, tuple[str, tuple[int, ...]]],
) -> str:
    graph, dtype = machine.tracer.graph, machine.tracer.dtype
    dynamics, learning = graph.architecture.dynamics, graph.architecture.learning
    states = {name: (machine.tracer.names("state", name), graph.states[name].shape) for name in graph.states}
    kept = torch.promote_types(dtype, torch.float32) if machine.tracer.cast else dtype
    feedforward = graph.energy.feedforward
    lines = [
        f"NETWORK, BACKEND = {visible(graph.architecture.name)!r}, {machine.backend.name!r}",
        f"INPUT, OUTPUT = {graph.input.name!r}, {graph.output.name!r}",
        f"CLASSES = {graph.architecture.output.classes!r}",
        f"DTYPE = torch.{_dtype(dtype)}",
        f"PARAMETER_DTYPE = torch.{_dtype(kept)}",
        f"ONE_PASS = {feedforward}  # whether the free phase is one forward pass, whatever steps and tolerance are",
        f"FREE_STEPS, NUDGED_STEPS = {1 if feedforward else dynamics.free_steps}, {dynamics.nudged_steps}",
        f"TOLERANCE, BETA, OMEGA = {dynamics.tolerance!r}, {learning.beta!r}, {dynamics.step!r}",
        "# What a phase hands to the next one, and to the gradient alone.",
        f"HANDED = {machine.tracer.handed!r}",
        f"RETURNED = {machine.tracer.returned!r}",
        f"WEIGHT_BITS = {dynamics.weight_bits}  # to which the weights that relax are rounded; 0: not at all",
        "",
        "# Name → name in the functions, and shape of one example.",
        *_table("STATES", ((name, repr(row)) for name, row in states.items())),
        "",
        "# Name, as in state_dict → name in the functions, and shape.",
        *_table("PARAMETERS", ((name, repr(row)) for name, row in parameters.items())),
        "",
        "# Function, what it takes, and what it returns.",
        *_table("FUNCTIONS", ((name, _steps(made, 1)) for name, made in functions.items())),
        "",
        *_table("PHASES", ((name, _phase(phase)) for name, phase in phases.items())),
    ]
    return "\n".join(lines)


def _table(name: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name} = {{", *(f"    {key!r}: {row}," for key, row in rows), "}"]


def _phase(phase: CompiledProgram) -> str:
    prepare, warm, opening, sweep = phase.program.parts
    return "\n".join(
        (
            "Phase(",
            f"        prepare={_steps(prepare, 2)},",
            f"        warm={_steps(warm, 2)},",
            f"        opening={_steps(opening, 2)},",
            f"        sweep={_steps(sweep, 2)},",
            f"        scratch={dict(phase.program.scratch)!r},",
            f"        channels_last={phase.program.channels_last},",
            "    )",
        )
    )


def _steps(functions: tuple[Function, ...], depth: int) -> str:
    indent = "    " * depth
    rows = [
        f"{indent}    (\n{indent}        {function.name},\n{indent}        {arguments!r},\n"
        f"{indent}        {results!r},\n{indent}    ),\n"
        for function, arguments, results in calls(functions)
    ]
    return f"(\n{''.join(rows)}{indent})" if rows else "()"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
