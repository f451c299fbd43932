"""Training: batches, optimizer, trainer, evaluation, metrics, checkpoints."""

from epgraph.runs.stop import Stopped, StopSignals
from epgraph.training.batches import batches, default_workers
from epgraph.training.checkpoint import Checkpoint, engine_from_checkpoint, load_checkpoint, load_parameters
from epgraph.training.evaluate import EvaluateResult, evaluate, evaluate_on
from epgraph.training.initialise import initialise
from epgraph.training.loaded import LoadedRun, load_run
from epgraph.training.optimizer import make_optimizer
from epgraph.training.predict import PredictResult, predict_on
from epgraph.training.session import Session, TrainResult
from epgraph.training.threads import set_threads
from epgraph.training.trainer import Run, Trainer

__all__ = [
    "Checkpoint",
    "EvaluateResult",
    "LoadedRun",
    "PredictResult",
    "Run",
    "Session",
    "StopSignals",
    "Stopped",
    "TrainResult",
    "Trainer",
    "batches",
    "default_workers",
    "engine_from_checkpoint",
    "evaluate",
    "evaluate_on",
    "initialise",
    "load_checkpoint",
    "load_parameters",
    "load_run",
    "make_optimizer",
    "predict_on",
    "set_threads",
]
