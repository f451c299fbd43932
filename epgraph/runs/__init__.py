"""Run folders: the files of a training, the lock on them, and resuming a run. Loads no torch."""

from epgraph.runs.folder import RunFolder
from epgraph.runs.lock import locked
from epgraph.runs.record import Record
from epgraph.runs.resume import Resumed, resume

__all__ = ["Record", "Resumed", "RunFolder", "locked", "resume"]
