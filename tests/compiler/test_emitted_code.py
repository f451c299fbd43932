"""Identifiers of emitted code, its text, and the verifier on functions that are wrong by hand."""

from __future__ import annotations

import ast
import operator
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx

import epgraph as ep
from epgraph.compiler.names import RESERVED, ROLES, SHARED, Names, Scope
from epgraph.compiler.program import Call, Function, Passed, calls
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.text import load, source
from epgraph.compiler.verify import verify, verify_apart, verify_calls, verify_module, verify_text
from tests.helpers.lookalikes import names as alike


def function(
    *arguments: str, results: tuple[str, ...] = ("r",), calls: tuple[Call, ...] = (Call(),), name: str = "f"
) -> Function:
    """A function that adds up its arguments."""
    graph = fx.Graph()
    values = [graph.placeholder(argument) for argument in arguments]
    summed = values[0]
    for value in values[1:]:
        summed = graph.call_function(operator.add, (summed, value))
    graph.output((summed,) * len(results))
    return Function(name, graph, results, calls=calls)


def recorded(body: Callable[..., Any], *arguments: str) -> Function:
    recorder = Recorder()
    return recorder.finish("f", {"r": body(*(recorder.argument(argument) for argument in arguments))})


# Identifiers.


def test_identifiers_are_one_to_one() -> None:
    """Of every role and name, and the user's own names are kept as they are."""
    names = Names()
    given: dict[str, tuple[str, ...]] = {}
    for seed in range(200):
        for name in alike(random.Random(seed), 6):
            for role, prefix in ROLES.items():
                found = names(role, name)
                assert found == f"{prefix}_{name}" == names(role, name)
                assert given.setdefault(found, (role, name)) == (role, name)
                assert names.role(found) == role
                assert names.name(found) == name
            for key in (("free", name), ("free", name, 1), ("free", f"{name}_1"), ("gradient", name)):
                found = names("function", *key)
                assert given.setdefault(found, ("function", *map(str, key))) == ("function", *map(str, key))
    assert not given.keys() & {*RESERVED, *SHARED}
    assert all(found.isidentifier() and found.isascii() for found in given)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (("a", "a", "a_2", "a"), ("a", "a_2", "a_2_2", "a_3")),
        (("True", "sum", "torch", "total", "if"), ("True_2", "sum_2", "torch_2", "total_2", "if_2")),
        (("1a", "", "a.b", "a b"), ("_1a", "_", "a_b", "a_b_2")),
        # To Python the two of each pair are one identifier.
        (("ﬁ", "fi", "µ", "μ", "é", "e\u0301"), ("_", "fi", "__2", "__3", "__4", "e_")),
    ],
)
def test_a_scope_gives_each_identifier_once(wanted: tuple[str, ...], found: tuple[str, ...]) -> None:
    scope = Scope()
    assert tuple(scope.take(name) for name in wanted) == found


# Text.


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (lambda x, y: x + 2 * y, "return (add,)"),
        (lambda x, y: torch.conv2d(x, y, stride=(1, 2)), "torch.conv2d(s_x, s_y, stride=(1, 2));  s_x = s_y = None"),
        (lambda x, y: (-2.0) ** x + y, "(-2.0) ** s_x"),
        (lambda x, y: -x + y, "neg = -s_x"),
        (lambda x, y: x.T.flatten(1) @ y, "part = s_x.T;"),
        (lambda x, y: x[:, None, ..., -1] + y, "s_x[(slice(None, None, None), None, Ellipsis, -1)]"),
        (lambda x, y: x.clamp(float("-inf"), float("nan")) + y, "clamp(-inf, nan)"),
        (lambda x, y: x.to(torch.float64, memory_format=torch.channels_last) + y, "memory_format=torch.channels_last)"),
        (lambda x, y: torch.zeros(x.shape, device=torch.device("cpu")) + y, "device=device(type='cpu'))"),
        (
            lambda x, y: torch.nn.functional.gelu(x, approximate="tanh") + y,
            "torch._C._nn.gelu(s_x, approximate='tanh')",
        ),
        (lambda x, y: torch.linalg.vector_norm(x, dim=[0]) + y, "torch._C._linalg.linalg_vector_norm(s_x, dim=[0])"),
        (lambda x, y: x.abs().sum() + abs(1j) * y, "sum_2 = abs_2.sum()"),
        (lambda x, y: x * complex(-0.0, float("inf")) + y, "s_x * complex(-0.0, inf)"),
    ],
)
def test_the_text_of_an_expression(body: Callable[..., Any], text: str) -> None:
    made = recorded(body, "s_x", "s_y")
    assert text in source(made)
    load((made,))


def test_the_text_computes_what_was_recorded() -> None:
    def body(x: Any, y: Any) -> Any:
        z = (-2) ** x - 3 % y // 2
        return torch.where((z < x) | (z != y), z / 4, -z)

    x, y = torch.tensor([1, 2, 3]), torch.tensor([5, 6, 7])
    (found,) = load((recorded(body, "a", "b"),))["f"](x, y)
    assert torch.equal(found, body(x, y))


def test_values_are_named_apart_whatever_they_are_about() -> None:
    """An edge called like an argument, a helper, or another value with its number."""
    recorder = Recorder()
    s = recorder.argument("view_h")
    parts: list[Tensor] = []
    for about in ("h", "h", "h_2", "x y", "", "ﬁ"):
        with recorder.about(about):
            parts.append(s.view(-1))
    made = recorder.finish("f", {str(number): part for number, part in enumerate(parts)})
    verify(made)
    text = source(made)
    assert "return (view_h_2, view_h_3, view_h_2_2, view_x_y, view, view__)" in text
    verify_text(text, made, ())


def test_what_cannot_be_written_is_refused() -> None:
    class Odd:
        """A value of the user's own."""

    def own(x: Tensor) -> Tensor:
        return x

    graph = fx.Graph()
    x = graph.placeholder("s_x")
    for target, argument, message in ((torch.neg, Odd(), "a value of type Odd"), (own, x, "the function 'own' of")):
        node = graph.call_function(target, (argument,))
        made = Function("f", graph, ("r",))
        graph.output((node,))
        with pytest.raises(ep.EpgraphError, match=message):
            source(made)
        graph.erase_node(next(iter(reversed(graph.nodes))))
        graph.erase_node(node)


def test_what_is_passed_on_needs_a_name_of_its_own() -> None:
    class Callee(Passed):
        """Stands for a kernel."""

        def __init__(self, identifier: str) -> None:
            self.identifier = identifier

    def passing(*passed: Callee) -> Function:
        graph = fx.Graph()
        x = graph.placeholder("s_x")
        for one in passed:
            x = graph.call_function(torch.add, (x, one))  # type: ignore[arg-type]
        graph.output((x,))
        return Function("f", graph, ("r",))

    kernel = Callee("add")
    assert "add_2 = torch.add(s_x, add)" in source(passing(kernel, kernel))
    load((passing(kernel, kernel),))
    for pair in ((kernel, Callee("add")), (Callee("total"),), (Callee("f"),)):
        with pytest.raises(ep.EpgraphError, match=r"emitted code defines '(add|total|f)' twice"):
            load((passing(*pair),))
    with pytest.raises(ep.EpgraphError, match="defines 'f' twice"):
        load((function("s_x"), function("s_y")))


# The verifier.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("s_a", "s_b", "s_a"), "two arguments have the name 's_a'"),
        (("torch", "s_a"), "its argument 'torch' hides a name that emitted code needs"),
        (("total",), "its argument 'total' hides"),
        (("slice",), "its argument 'slice' hides"),
        (("lambda",), "its argument 'lambda' hides"),
        (("s a",), "its argument 's a' is not an identifier"),
        (("s_ﬁ",), "its argument 's_ﬁ' is not an identifier"),
    ],
)
def test_arguments_are_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=f"emitted function 'f': {message}"):
        verify(function(*arguments))


def test_a_value_before_its_computation_is_refused() -> None:
    made = function("s_a", "s_b")
    verify(made)
    nodes = {node.name: node for node in made.graph.nodes}
    nodes["s_a"].prepend(nodes["add"])
    with pytest.raises(ep.EpgraphError, match="'s_a' is used before it is computed"):
        verify(made)
    other = function("s_a")
    nodes["add"].args = (next(iter(other.graph.nodes)), nodes["s_b"])
    with pytest.raises(ep.EpgraphError, match="'s_a' is used before it is computed"):
        verify(made)


def test_results_are_refused() -> None:
    with pytest.raises(ep.EpgraphError, match="two results have the name 'r'"):
        verify(function("s_a", results=("r", "r")))
    made = function("s_a", results=("r", "q"))
    with pytest.raises(ep.EpgraphError, match="it does not return a value for each of r, q, t"):
        verify(Function("f", made.graph, ("r", "q", "t")))


def test_calls_are_refused() -> None:
    names = Names()
    a, b, c, p = (
        names(role, name) for role, name in (("state", "a"), ("state", "b"), ("state", "c"), ("prepared", "p"))
    )
    verify_calls([calls([function(a, b, results=(c,)), function(c, results=(a,))])], names)
    once = function(a, results=(p,))
    twice = (Call(0), Call(1, {b: a}))
    for parts, message in (
        ([[function(a, b, calls=twice)]], "two arguments of a call have the name 's_a'"),
        ([[function(a, results=(b, c), calls=(Call(0, {c: b}),))]], "two results of a call have the name 's_b'"),
        ([[function(a, "s_d")]], "it takes 's_d', which the network does not have"),
        ([[function(p)], [once]], "it takes 'p_p' before a function has returned it"),
        ([[once, once]], "it returns 'p_p', which was computed before"),
    ):
        with pytest.raises(ep.EpgraphError, match=message):
            verify_calls([calls(part) for part in parts], names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(a, b):\n    c = a + b;  a = b = None\n    return (c,)", ""),
        ("def f(a, b):\n    b = a\n    return (b,)", "two of its values have the name 'b'"),
        ("def f(a, b):\n    c = a\n    c = b\n    return (c,)", "two of its values have the name 'c'"),
        ("def f(a, b):\n    c = a;  a = None\n    a = b\n    return (a,)", "two of its values have the name 'a'"),
        ("def f(a, b):\n    torch = a\n    return (b,)", "its value 'torch' hides a name that emitted code needs"),
        ("def f(a, b):\n    helper = a\n    return (b,)", "its value 'helper' hides"),
        ("def f(a, b):\n    c = d + b\n    return (c,)", "line 2 of its text uses 'd', which has no value there"),
        (
            "def f(a, b):\n    c = a;  a = None\n    d = a + b\n    return (d,)",
            "line 3 of its text uses 'a', which has",
        ),
        ("def f(a, b):\n    return (c,)", "line 2 of its text uses 'c'"),
        ("def f(a, b):\n    c, d = a\n    return (c,)", "two of its values have the name ''"),
        ("def f(a, b):\n    a.b = b\n    return (a,)", "two of its values have the name ''"),
        (
            "def f(a, b):\n    for c in a: b.add_(c)\n    return (b,)",
            "line 2 of its text is neither a value nor the end",
        ),
        ("def f(b, a):\n    return (a,)", r"its text takes \['b', 'a'\], and it is called with \['a', 'b'\]"),
        ("def g(a, b):\n    return (a,)", "its text does not define it"),
        ("def f(a, b):\n    return (a,)\ntorch = 1", "its text does not define it"),
        ("def f(a, a):\n    return (a,)", "its text takes"),
        ("def f(a, b):\n    return (", "its text is not Python"),
    ],
)
def test_texts_are_refused(text: str, message: str) -> None:
    made = function("a", "b")
    if not message:
        assert isinstance(verify_text(text, made, {"helper"}), ast.Module)
        return
    with pytest.raises(ep.EpgraphError, match=message):
        verify_text(text, made, {"helper"})


def test_modules_are_refused() -> None:
    for text in ("def f(): ...\nf = 1", "import torch\nclass torch: ...", "A, B = 1, 2\nB: int = 3"):
        with pytest.raises(ep.EpgraphError, match=r"emitted code defines '(f|torch|B)' twice"):
            verify_module(text)
    verify_apart(["a", "A", "a_"])


def test_a_rewrite_that_gives_one_name_to_two_values_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verifier runs after every rewrite, before anything is executed."""
    from epgraph.compiler import BACKENDS, Backend, Pass

    def wrong(program: Any, tracer: Any) -> Any:
        for made in program.sweep:
            arguments = [node for node in made.graph.nodes if node.op == "placeholder"]
            arguments[1].target = arguments[0].target
        return type(program)(program.key, tuple(Function(f.name, f.graph, f.results) for f in program.sweep))

    monkeypatch.setitem(BACKENDS, "wrong", Backend("wrong", (Pass("wrong", wrong),)))
    with pytest.raises(ep.EpgraphError, match="emitted function 'free_1': two arguments have the name"):
        ep.compile("examples/digits.yaml", backend="wrong")
