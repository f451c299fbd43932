"""A report from end to end: runs, sections, and the files that they are written to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from epgraph.errors import EpgraphError, listed
from epgraph.files import check_writable, size_text, write_bytes
from epgraph.progress import Progress
from epgraph.reporting.blocks import Block, Document, Format, Heading, Section, pictures
from epgraph.reporting.context import Context, Missing, Part
from epgraph.reporting.markdown import markdown
from epgraph.reporting.page import page
from epgraph.reporting.parts import PARTS
from epgraph.version import __version__

SUFFIXES: dict[str, Format] = {".html": "html", ".htm": "html", ".md": "md"}


@dataclass(frozen=True)
class ReportResult:
    """What ``ep.report`` returns.

    Attributes
    ----------
    path
        The report.
    figures
        The folder of its figures, as PNG and SVG; None where they were left out.
    runs
        Run folders that are in it.
    missing
        What could not be made, and why.
    bytes
        Size of the report.
    seconds
        Time that it took.
    """

    path: Path
    figures: Path | None
    runs: tuple[Path, ...]
    missing: tuple[Missing, ...]
    bytes: int
    seconds: float

    def lines(self) -> list[str]:
        """Return the text that ``epgraph report`` prints."""
        count = len(self.runs)
        lines = [f"{self.path}: {count} run{'s' * (count != 1)}, {size_text(self.bytes)}, {self.seconds:.0f} s"]
        lines += [f"{self.figures}: figures as PNG and SVG"] if self.figures else []
        for one in self.missing:
            lines.append(f"not in it: {one.section}{f' of {one.run}' if one.run else ''}: {one.reason}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        paths = {"path": str(self.path), "figures": None if self.figures is None else str(self.figures)}
        return {**asdict(self), **paths, "runs": [str(run) for run in self.runs]}


def format_of(path: Path, given: Format | None) -> Format:
    """Return the format of a report: the one given, or that of the suffix.

    Raises
    ------
    EpgraphError
        If none is given and the suffix names none.
    """
    if given is not None:
        return given
    if path.suffix.lower() not in SUFFIXES:
        hint = f"known: {', '.join(SUFFIXES)}; or --format html, --format md"
        raise EpgraphError(f"{path}: unknown suffix '{path.suffix}'", hint)
    return SUFFIXES[path.suffix.lower()]


def write_report(context: Context, path: Path, format: Format, *, progress: bool = False) -> ReportResult:
    """Make every section of a report, and write it, with a folder of figures beside it where they are wanted.

    Raises
    ------
    EpgraphError
        If a file cannot be written. What is wrong with a section is said in its place.
    """
    started = time.monotonic()
    folder = path.with_name(f"{path.name}-figures") if context.figures else None
    # Before minutes are spent on what goes into it.
    check_writable(path)
    if folder is not None:
        _check_folder(folder)
    document = make(context, progress)
    relative = None if folder is None else folder.name
    text = page(document) if format == "html" else markdown(document, relative)
    write_bytes(path, text.encode())
    for picture in pictures(document) if folder is not None else ():
        for suffix, content in picture.files.items():
            write_bytes(folder / f"{picture.name}.{suffix}", content)  # type: ignore[operator]
    runs = tuple(run.folder for run in context.runs)
    seconds = time.monotonic() - started
    return ReportResult(path, folder, runs, tuple(context.missing), len(text.encode()), seconds)


def _check_folder(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise EpgraphError(f"{folder}: cannot be written: it is no folder", "name another report, or --no-figures")
    parent = next(one for one in folder.absolute().parents if one.exists())
    if not os.access(folder if folder.exists() else parent, os.W_OK):
        raise EpgraphError(f"{folder}: cannot be written", "give a path that can be written")


def make(context: Context, progress: bool = False) -> Document:
    """Make every section."""
    total = sum(len(context.shown) if part.slow else 1 for part in PARTS)
    with Progress("report", total, "parts", show=progress) as shown:
        sections = [Section(part.title, part.anchor, list(_blocks(context, part, shown))) for part in PARTS]
    names = list(dict.fromkeys(str(run.record.settings.get("name")) for run in context.runs))
    now = datetime.now(UTC).isoformat(timespec="minutes")
    count = len(context.runs)
    lead = [f"{count} run{'s' * (count != 1)}. Written by epgraph {__version__}, {now}."]
    return Document(f"Report on {listed(names)}", lead, sections)


def _blocks(context: Context, part: Part, shown: Progress) -> Iterator[Block]:
    if not part.slow:
        shown.begin(part.title.lower())
    if part.whole is not None:
        yield from context.attempt(part.title, None, partial(part.whole, context))
    for run in context.shown:
        if part.each is None:
            break
        if part.slow:
            shown.begin(f"{part.title.lower()} of {run.label}", slow=True)
        yield Heading(_titled(context.shown, run))
        yield from context.attempt(part.title, run, partial(part.each, context, run))


def _titled(runs: Sequence[Any], run: Any) -> str:
    same = [one for one in runs if one.label == run.label]
    return run.label if len(same) == 1 else f"{run.label} ({run.folder})"
