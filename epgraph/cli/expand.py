"""``epgraph expand``: the flat form of a network, with the origin of every state and edge."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.cli.groups import File
from epgraph.cli.options import options, plugin_option
from epgraph.cli.output import check_output, echo_json, write_out
from epgraph.graph import inspect
from epgraph.language import origins, raise_for, to_yaml


@click.command()
@plugin_option
@options(network=File)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; left out, print it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the architecture and the origins.")
def expand(network: File, output: Path | None, as_json: bool) -> None:
    """Write out the flat form of a network: what its blocks become.

    FILE is a network file or a run folder. Blocks, parameters, groups and patterns become one state and one edge a
    line, with where each comes from. What is written loads as the same network.

    \b
    Example:
      epgraph expand examples/hopfield_resnet13.yaml
      epgraph expand examples/hopfield_resnet13.yaml -o flat.yaml
    """
    architecture, diagnostics = inspect(network.file, network.overrides, network.allow_include)
    raise_for(diagnostics)
    check_output(output)
    assert architecture is not None
    notes = origins(architecture)
    if as_json:
        states = {str(at[-1]): note for at, note in notes.items() if at[0] == "states"}
        edges = [note for at, note in notes.items() if at[0] == "edges"]
        origin = {"states": states, "edges": edges}
        echo_json({"architecture": architecture.to_dict(), "origins": origin}, output)
    else:
        write_out(to_yaml(architecture, f"Written out by 'epgraph expand {network.file}'.", notes), output)
