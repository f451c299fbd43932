"""``epgraph compile``: a network as a Python file that needs torch alone."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.cli.groups import Network, Target
from epgraph.cli.options import options, plugin_option
from epgraph.cli.output import check_output, write_out


@click.command(name="compile")
@plugin_option
@options(network=Network)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; left out, print it.")
@click.option("--dump", is_flag=True, help="Print the sweeps after each pass of the compiler instead of the module.")
@options(target=Target)
def compile_command(network: Network, target: Target, output: Path | None, dump: bool) -> None:
    """Write a network as Python that runs without epgraph.

    FILE is a network file or a run folder. The module holds every update as plain PyTorch under its equation, and
    computes what epgraph's engine computes: bit by bit on the same device, with the same number of threads and the same
    torch. Run as a program, it relaxes random numbers and prints where they come to rest. --device is where it is to
    run, and --backend auto chooses for --device.

    \b
    Example:
      epgraph compile examples/digits.yaml -o engine.py
      epgraph compile examples/vgg5.yaml -o engine.py --backend onednn --device cpu
      epgraph compile examples/vgg5.yaml --backend onednn --dump
    """
    architecture = network.load()
    check_output(output)

    from epgraph.compiler.export import module_text
    from epgraph.compiling import compile
    from epgraph.runtime.arguments import chosen_device
    from epgraph.runtime.feedforward import refuse_norm

    chosen = {"dtype": "float32", **target.chosen(), "device": chosen_device(target.device)}
    engine = compile(architecture, **chosen, initialised=False)
    refuse_norm(engine.graph)
    machine = engine.machine
    write_out(machine.dump() if dump else module_text(machine), output)
