"""``epgraph new``: a file to begin with, from a template or with everything explained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from epgraph.cli.output import check_output, echo, write_out
from epgraph.errors import EpgraphError, nearest
from epgraph.language import parse

if TYPE_CHECKING:
    from epgraph.topologies import Template

STARTER = """\
# A small network for the 8×8 digits of scikit-learn, to edit. What is left out has its default (docs/language.md).
#   epgraph check FILE                     states, edges, schedule and cost; every mistake with its line
#   epgraph render FILE -o net.svg         the diagram
#   epgraph train FILE --data digits       training
epgraph: 2
name: my-network
input:  {name: x, shape: [1, 8, 8]}                 # channels, height, width; or [units]
output: {name: y, classes: 10}
defaults: {activation: relu1}                       # of states that say nothing
states:
  h1: {channels: 16}                                # height and width follow from the edges
  h2: {channels: 16}
  h3: {shape: [64]}                                 # units without pixels
edges:                                              # each acts both ways: write it as the signal flows
  - {from: x,  to: h1, conv: {kernel: 3, padding: 1, stride: 2}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1}}
  - {from: h2, to: h3, dense: {}}
  - {from: h1, to: h3, dense: {}}                   # a skip is one more line
  - {from: h3, to: y,  dense: {}}
init: {rule: graph_aware}                           # weights drawn from the graph, so that it settles
dynamics: {schedule: coloring, free_steps: 40, nudged_steps: 20}
learning: {estimator: centered, beta: 0.2}
training: {epochs: 10, batch_size: 32, learning_rate: 0.05, weight_decay: 1e-3, warm_start: false}
"""


def _parameters(template: Template[Any]) -> list[tuple[str, str]]:
    return [
        (
            f"--{parameter.name.replace('_', '-')}",
            f"{parameter.description.rstrip('.')} ({_shown(parameter.default)}).",
        )
        for parameter in template.parameters.values()
    ]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return "none" if value is None else str(value)


class _New(click.Command):
    """A command whose help ends with the templates and their parameters."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the templates below the options."""
        _describe(formatter)


def _describe(formatter: click.HelpFormatter) -> None:
    from epgraph.topologies import TEMPLATES

    for template in TEMPLATES.values():
        with formatter.section(f"Template {template.name}"):
            formatter.write_text(template.description)
            formatter.write_dl(_parameters(template))


@click.command(cls=_New, context_settings={"ignore_unknown_options": True})
@click.option("--template", metavar="NAME", help="Family of networks, with parameters of its own; see below.")
@click.option("--list", "listed", is_flag=True, help="Print the templates and their parameters.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; left out, print it.")
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--PARAMETER VALUE]...")
def new(template: str | None, listed: bool, output: Path | None, parameters: tuple[str, ...]) -> None:
    """Write a file to begin with: a small network with comments, or one of a family.

    \b
    Example:
      epgraph new -o net.yaml
      epgraph new --template unet --depth 2 --width 16 -o net.yaml
      epgraph new --template small_world --states 12 --seed 3 -o net.yaml
    """
    if listed:
        formatter = click.HelpFormatter(width=100)
        _describe(formatter)
        echo(*formatter.getvalue().strip().splitlines())
        return
    from epgraph.topologies import TEMPLATES

    if template is None:
        if parameters:
            raise EpgraphError(f"'{parameters[0]}' belongs to no template", "name one with --template NAME")
        text = STARTER
    elif template not in TEMPLATES:
        raise EpgraphError(f"unknown template '{template[:64]}'", nearest(template, list(TEMPLATES)))
    else:
        text = TEMPLATES[template].yaml(**_read(parameters))
    check_output(output)
    if output is not None and output.exists():
        raise EpgraphError(f"{output}: exists already", "name another file, or delete it")
    write_out(text, output)


def _read(parts: tuple[str, ...]) -> dict[str, Any]:
    """Values of ``--name value`` and ``--name=value``, read as YAML."""
    found: dict[str, Any] = {}
    rest = list(parts)
    while rest:
        part = rest.pop(0)
        name, equals, text = part.partition("=")
        if not name.startswith("--") or len(name) < 3:
            raise EpgraphError(f"'{part[:64]}' is no parameter", "write --NAME VALUE, e.g. --width 16")
        if not equals:
            if not rest:
                raise EpgraphError(f"{part[:64]} has no value", "write --NAME VALUE, e.g. --width 16")
            text = rest.pop(0)
        key = name[2:].replace("-", "_")
        if key in found:
            raise EpgraphError(f"{name} is given twice", "keep one of them")
        found[key] = parse(text, name).data if text.strip() else None
    return found
