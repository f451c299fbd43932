"""Training: batches, optimiser, trainer, evaluation, metrics, checkpoints."""

from epgraph.learning.batches import bar, batches, default_workers
from epgraph.learning.checkpoint import Checkpoint, engine_from_checkpoint, load_checkpoint, load_parameters
from epgraph.learning.evaluate import evaluate
from epgraph.learning.initialise import initialise
from epgraph.learning.loaded import LoadedRun, load_run
from epgraph.learning.optimizer import make_optimizer
from epgraph.learning.stop import Stopped, StopSignals
from epgraph.learning.threads import set_threads
from epgraph.learning.trainer import Run, Trainer

__all__ = [
    "Checkpoint",
    "LoadedRun",
    "Run",
    "StopSignals",
    "Stopped",
    "Trainer",
    "bar",
    "batches",
    "default_workers",
    "engine_from_checkpoint",
    "evaluate",
    "initialise",
    "load_checkpoint",
    "load_parameters",
    "load_run",
    "make_optimizer",
    "set_threads",
]
