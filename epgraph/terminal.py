"""``epgraph check`` on a terminal: tables in color, which fold where the terminal is narrow. Nothing is cut unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from epgraph.checking import conflict_reason, order_text, solver_text, step_word, verified, weight_text
from epgraph.errors import visible
from epgraph.resources import sentences

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

MOST_ROWS = 200
"""Rows of a table; of more, the first and the last ones are shown, and between them how many are not."""

LONG = 20
"""Characters of a word above which it is folded on a narrow terminal."""

CLASS_STYLES = ("cyan", "yellow", "green", "magenta", "blue", "bright_red", "bright_cyan", "bright_yellow")
"""Colors of the classes of states that move together, in turn; the number of the class is written as well."""


def show_check(report: dict[str, Any], console: Console) -> None:
    """Print the report of a network that has no mistake.

    Parameters
    ----------
    report
        ``CheckResult.report``.
    console
        Where to print. It knows the width, and whether there are colors.
    """
    for part in (_text(report["name"], "bold"), _states(report), _edges(report)):
        console.print(part)
        console.print()
    console.print(_facts(report))


def _states(report: dict[str, Any]) -> Table:
    rows = []
    for state in report["states"]:
        number = state["color"]
        style = "dim" if number is None else CLASS_STYLES[number % len(CLASS_STYLES)]
        rows.append(
            (
                _text(state["name"], f"bold {style}"),
                _text("×".join(map(str, state["shape"]))),
                _text("clamped" if state["clamped"] else state["activation"]),
                _text("–" if number is None else str(number + 1), style),
                _text(", ".join(state["pre"])),
                _text(", ".join(state["post"])),
            )
        )
    return _table(("state", "shape", "activation", step_word(report), "pre", "post"), rows)


def _edges(report: dict[str, Any]) -> Table:
    clash = {conflict["edge"] for conflict in report["schedule"]["conflicts"]}
    rows = []
    for edge in report["edges"]:
        between = f"{edge['from']} → {edge['to']}" if edge["from"] != edge["to"] else f"at {edge['from']}"
        mark = ", same class" if edge["name"] in clash else ""
        rows.append(
            (
                _text(edge["name"], "bold red" if mark else "bold"),
                _text(between + mark, "red" if mark else ""),
                _text(edge["kind"]),
                _text(weight_text(edge)),
                _text(f"{edge['macs']:,}"),
            )
        )
    table = _table(("edge", "from → to", "kind", "weight", "MACs"), rows)
    table.columns[-1].justify = "right"
    return table


def _facts(report: dict[str, Any]) -> Table:
    """What holds for the whole network, a line for each fact."""
    from rich.table import Table
    from rich.text import Text

    schedule, one_pass = report["schedule"], report.get("one_pass", False)
    head, order = order_text(report)
    facts = [(head, _text(order, "" if one_pass else "green" if schedule["proper"] else "red"))]
    for conflict in schedule["conflicts"]:
        together = f"{' and '.join(conflict['states'])} move together but {conflict_reason(conflict)}"
        facts.append(("conflict", _text(together, "red")))
    if not one_pass:
        facts.append(("energy", _text(report["energy"])))
        facts.append(("solver", _text(solver_text(report["solver"]))))
    for i, sentence in enumerate(report["guarantees"]):
        what, _, rest = sentence.partition(": ")
        facts.append(("" if i else "guarantees", Text.assemble(_text(f"{what}: ", "bold"), _text(rest))))
    frozen = f", and {report['frozen']:,} frozen" if "frozen" in report else ""
    facts.append(("parameters", _text(f"{report['parameters']:,}{frozen}")))
    facts.append(("MACs", _text(f"{report['macs_per_sweep']:,} a {'pass' if one_pass else 'sweep'} and example")))
    memory, time = sentences(report["resources"])
    facts += [("memory", _text(memory)), ("time", _text(time))]
    for sentence, remarks in verified(report):
        facts.append(("verified", _text("; ".join([sentence, *remarks]))))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for head, text in facts:
        table.add_row(head, text)
    return table


def _table(head: Sequence[str], rows: Sequence[Sequence[Text]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0), show_edge=False)
    for i, name in enumerate(head):
        # Lists of names fold between the names. Short words stay whole: the lists give way on a narrow terminal.
        longest = max((len(row[i].plain) for row in rows), default=0)
        listing = any(" " in row[i].plain for row in rows)
        table.add_column(name, overflow="fold", no_wrap=longest <= LONG and not listing)
    half = MOST_ROWS // 2
    for row in rows if len(rows) <= MOST_ROWS else rows[:half]:
        table.add_row(*row)
    if len(rows) > MOST_ROWS:
        more = f"… {len(rows) - 2 * half:,} more; not on a terminal, as in a pipe, all are printed …"
        table.add_section()
        table.add_row(_text(more, "dim"))
        table.add_section()
        for row in rows[-half:]:
            table.add_row(*row)
    return table


def _text(text: str, style: str = "") -> Text:
    """Return text of users as it is: no markup in it counts."""
    from rich.text import Text

    return Text(visible(text), style)
