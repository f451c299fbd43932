"""Run folders: what a training leaves on disk, who may write there, and how a stopped run goes on. No torch."""

from epgraph.runs.folder import RunFolder
from epgraph.runs.lock import locked
from epgraph.runs.record import Record
from epgraph.runs.resume import Resumed, resume

__all__ = ["Record", "Resumed", "RunFolder", "locked", "resume"]
