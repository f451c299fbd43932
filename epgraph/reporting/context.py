"""What every section is told, and how a section that cannot be made says so and spoils no other."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from epgraph.comparison.result import CompareResult
from epgraph.errors import EpgraphError
from epgraph.reporting.blocks import Block, Picture, Text
from epgraph.reporting.pictures import picture
from epgraph.reporting.runs import Loaded, ReportedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Missing:
    """A part of a report that is not there, and why."""

    section: str
    run: str
    reason: str


@dataclass
class Context:
    """What a report is made of.

    Attributes
    ----------
    runs, shown
        All runs; and those that are shown one by one, one of each setting.
    comparison, notes
        The finished runs compared; None without one, or where they cannot be, as ``notes`` say.
    gradients
        Examples on which gradients are checked; 0 leaves it out.
    examples
        Examples that are let settle.
    figures
        Whether figures are made as files too.
    missing
        What could not be made so far.
    """

    runs: Sequence[ReportedRun]
    shown: Sequence[ReportedRun]
    comparison: CompareResult | None
    notes: Sequence[str]
    loaded: Loaded
    gradients: int
    examples: int
    figures: bool
    missing: list[Missing] = field(default_factory=list)

    def picture(self, name: str, caption: str, description: str, draw: Callable[[], Figure]) -> Picture:
        """Make a picture of a figure that ``draw`` returns."""
        return picture(name, caption, description, draw, files=self.figures)

    def attempt(self, section: str, run: ReportedRun | None, make: Callable[[], Iterable[Block]]) -> Iterator[Block]:
        """Yield what ``make`` gives; where it fails, what it gave so far, and a sentence that says why."""
        try:
            yield from make()
        except EpgraphError as error:
            reason = "; ".join(str(diagnostic) for diagnostic in error.diagnostics)
        except Exception as error:  # whatever it is: the other sections are worth having
            if os.environ.get("EPGRAPH_TRACEBACK"):
                traceback.print_exc()
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'failed'}"
        else:
            return
        self.missing.append(Missing(section, "" if run is None else run.label, reason))
        yield Text(f"Not in this report: {reason}", missing=True)


@dataclass(frozen=True)
class Part:
    """A section: what is made once, and what is made of each run that is shown.

    ``slow``: whether the latter takes seconds.
    """

    title: str
    anchor: str
    whole: Callable[[Context], Iterable[Block]] | None = None
    each: Callable[[Context, ReportedRun], Iterable[Block]] | None = None
    slow: bool = False
