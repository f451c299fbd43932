"""Training: batches, optimiser, trainer, evaluation, metrics, checkpoints."""

from epgraph.learning.batches import bar, batches, default_workers
from epgraph.learning.checkpoint import engine_from_checkpoint, load_checkpoint, save_checkpoint
from epgraph.learning.evaluate import evaluate
from epgraph.learning.initialise import initialise
from epgraph.learning.optimizer import make_optimizer
from epgraph.learning.threads import set_threads
from epgraph.learning.trainer import Run, Trainer

__all__ = [
    "Run",
    "Trainer",
    "bar",
    "batches",
    "default_workers",
    "engine_from_checkpoint",
    "evaluate",
    "initialise",
    "load_checkpoint",
    "make_optimizer",
    "save_checkpoint",
    "set_threads",
]
