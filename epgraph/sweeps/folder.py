"""A sweep folder: ``sweep.json`` with the arguments, the journal, the schema, and the run folders of the trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from epgraph.errors import EpgraphError
from epgraph.files import read_bytes, write_bytes
from epgraph.graph import SWEEP
from epgraph.language import RUN_SCHEMA, schema_text

RECORD = SWEEP
VERSION = 1
MAX_BYTES = 1 << 24


def is_sweep(path: Path) -> bool:
    """Whether a sweep was started in a folder."""
    return (path / RECORD).is_file()


def enter(path: Path, arguments: Mapping[str, Any]) -> None:
    """Create a sweep folder, or enter one that is there.

    Raises
    ------
    EpgraphError
        If the folder holds anything else, or cannot be written.
    """
    if is_sweep(path):
        return
    if path.exists() and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir())):
        raise EpgraphError(f"{path} is no sweep folder", "name a new folder with --out, e.g. runs/my-sweep")
    keep(path, arguments)


def keep(path: Path, arguments: Mapping[str, Any]) -> None:
    """Write the arguments with which a sweep goes on, and the schema of its trials, unless they stand there."""
    record = (json.dumps({"epgraph_sweep": VERSION, "arguments": arguments}, indent=1) + "\n").encode()
    for name, content in ((RECORD, record), (RUN_SCHEMA, schema_text(indent=None).encode())):
        if not (path / name).is_file() or (path / name).read_bytes() != content:
            write_bytes(path / name, content)


def read_arguments(path: Path) -> dict[str, Any]:
    """Return the arguments of a sweep folder.

    Raises
    ------
    EpgraphError
        If there are none, or they are damaged.
    """
    record = path / RECORD
    hint = "give the network file again, with --out"
    try:
        content = json.loads(read_bytes(record, MAX_BYTES, "name a folder that 'epgraph sweep' left"))
    except (ValueError, RecursionError) as error:
        raise EpgraphError(f"{record}: damaged: {error}", hint) from None
    if not isinstance(content, dict) or content.get("epgraph_sweep") != VERSION:
        raise EpgraphError(f"{record}: written by another version of epgraph", hint)
    arguments: dict[str, Any] = content["arguments"]
    return arguments
