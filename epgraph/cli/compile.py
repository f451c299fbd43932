"""``epgraph compile``: a network as a Python file that needs torch alone."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.cli.options import (
    allow_include_option,
    backend_option,
    device_option,
    dtype_option,
    file_argument,
    pick_device,
    plugin_option,
    schedule_option,
    set_option,
    settings,
)
from epgraph.cli.output import check_output, write_out
from epgraph.graph import load


@click.command(name="compile")
@plugin_option
@file_argument
@allow_include_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; left out, print it.")
@click.option("--dump", is_flag=True, help="Print the sweeps after each pass of the compiler instead of the module.")
@backend_option
@schedule_option
@set_option
@device_option
@dtype_option
def compile_command(
    file: Path,
    allow_include: tuple[Path, ...],
    output: Path | None,
    dump: bool,
    backend: str,
    schedule: str | None,
    overrides: tuple[str, ...],
    device: str | None,
    dtype: str,
) -> None:
    """Write a network as a Python module that runs with torch alone.

    It holds every update as plain PyTorch under its equation, and computes what epgraph's engine computes: bit by bit
    on the same device, with the same number of threads and the same torch.
    Run as a program, it relaxes random numbers and prints where they come to rest. --device is where it is to run:
    auto chooses by it.

    \b
    Example:
      epgraph compile examples/digits.yaml -o engine.py
      epgraph compile examples/vgg5.yaml -o engine.py --backend onednn --device cpu
      epgraph compile examples/vgg5.yaml --backend onednn --dump
    """
    architecture = load(file, settings(overrides, schedule), allow_include)
    check_output(output)

    import torch

    from epgraph.compiler.export import module_text
    from epgraph.compiling import compile

    made = compile(
        architecture,
        device=pick_device(device),
        dtype=getattr(torch, dtype),
        backend=backend,
        initialised=False,
    )
    text = made.machine.dump() if dump else module_text(made.machine)
    write_out(text, output)
