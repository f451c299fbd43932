"""A training whose settings are decided: load data, compile, train, and keep the record of the run."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from epgraph.callbacks import Callback
from epgraph.compiling import compile
from epgraph.data import Data
from epgraph.display import Shown
from epgraph.drawing.curves import Epochs, draw_curves, read_metrics
from epgraph.engine import Engine
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph import SWEEP, NetworkGraph, build
from epgraph.language import RUN_SCHEMA, modeline, schema_text, to_yaml
from epgraph.probes import AUTO, CANDIDATES, USUAL, measure_threads
from epgraph.runs.folder import RunFolder, WriteError
from epgraph.runs.folder import replace as replace_file
from epgraph.runs.record import Options, Record, finished, invocation
from epgraph.runs.resume import refusals
from epgraph.runs.start import Flags, Start
from epgraph.runs.stop import Stopped, StopSignals
from epgraph.runtime.memory import refuse_too_large
from epgraph.training.batches import default_workers
from epgraph.training.checkpoint import Best, Checkpoint, averaged, load_checkpoint, load_parameters
from epgraph.training.data import data_for
from epgraph.training.initialise import initialise
from epgraph.training.metrics import Metrics
from epgraph.training.pictures import Pictures
from epgraph.training.probing import PrecisionLostError, PrecisionWatch, first_batch, probed_precision
from epgraph.training.ranks import ALONE, Ranks, refuse_divided
from epgraph.training.threads import set_threads
from epgraph.training.trainer import Run, Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Warn = Callable[[Sequence[Diagnostic]], None]

_TOLD = ("train_loss", "test_loss", "test_error")
"""Metrics that stand in the one line of a result."""


@dataclass(frozen=True)
class TrainResult(Shown):
    """What ``ep.train`` returns.

    Attributes
    ----------
    folder
        The run folder; ``ep.load_run`` reads it.
    engine
        The trained network.
    data
        What it was trained on.
    options
        The options in force: device, dtype, backend, threads and the others of ``run.json``.
    epoch
        Finished epochs.
    metrics
        Those of the last epoch, as in ``metrics.jsonl``; empty where the run had reached its last epoch before.
    best
        The epoch with the lowest test error, whose parameters ``best.pt`` holds.
    measured
        What ``dtype="auto"`` and ``threads="auto"`` measured, by the name of the option; as in ``run.json``.
    """

    folder: Path
    engine: Engine
    data: Data
    options: dict[str, Any]
    epoch: int
    metrics: Metrics
    best: Best | None
    measured: dict[str, dict[str, Any]]

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items() if name in _TOLD)
        return f"TrainResult({str(self.folder)!r}, epoch={self.epoch}{metrics and '; '}{metrics})"

    def epochs(self) -> Epochs:
        """Return the metrics of all epochs by their numbers, as they are in the run folder now.

        Raises
        ------
        EpgraphError
            If ``metrics.jsonl`` is not there any more, or cannot be read.
        """
        return read_metrics(self.folder / "metrics.jsonl")

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the learning curves, as ``LoadedRun.plot``."""
        return draw_curves(self.epochs(), path)


class Session:
    """A training whose settings are decided.

    Parameters
    ----------
    start
        What was asked for, and what follows.
    data
        Examples of one's own; None loads the data set of the file.
    flags, callbacks
        What is done beside learning, and what is called as the training goes.
    warn
        Called with what is doubtful.
    ranks
        The processes that train together.
    """

    def __init__(
        self,
        start: Start,
        data: Data | None,
        flags: Flags,
        callbacks: list[Callback],
        warn: Warn,
        ranks: Ranks = ALONE,
    ) -> None:
        self.request, self.start, self.own_data, self.flags = start.request, start, data, flags
        self.callbacks, self.warn, self.ranks = callbacks, warn, ranks
        self.options = dict(start.options)
        self.measured = {} if start.before is None else dict(start.before.measured)
        self.training = start.architecture.training

    def train(self) -> TrainResult:
        """Train to the last epoch.

        Raises
        ------
        EpgraphError
            As ``Trainer.train``. A run that was to be replaced is back then, unless an epoch was done.
        Stopped
            If a signal asked for it, after a checkpoint.
        """
        self.warn(self.start.diagnostics)
        data = self._load_data()
        engine, checkpoint = self._load_engine(data)
        folder, first = self.start.folder, self.ranks.first
        replaces = self.request.overwrite and first
        if self.flags.pictures:
            self.callbacks.append(Pictures(folder, self._warn_of))
        chosen = "dtype" in self.measured and self.options["dtype"] in CANDIDATES
        watch = PrecisionWatch(self.ranks) if chosen else None
        self.callbacks.extend([watch] if watch is not None else [])
        # Python lets no other thread set handlers of signals.
        main = threading.current_thread() is threading.main_thread()
        with StopSignals(launched=self.ranks.size > 1) if main else nullcontext() as stop:
            run = Run(
                folder.path,
                self.options["workers"],
                self.flags.progress,
                self.flags.histograms,
                self.callbacks,
                self._warn_of,
                stop,
                self.ranks,
            )
            trainer = Trainer(engine, data, run)
            if checkpoint is not None:
                trainer.restore(checkpoint)
            if replaces:
                folder.set_aside(finished)
            try:
                record = self._record(data, trainer)
                self._write(record)
                try:
                    if watch is not None and trainer.epoch and not trainer.examples:
                        watch.ask(engine, data, trainer.epoch)  # the run may have been stopped before it was
                    metrics = trainer.train()
                except PrecisionLostError as lost:
                    trainer = self._widened(str(lost), data, run)
                    record = record.model_copy(update=self._present())
                    self._write(record)
                    metrics = trainer.train()
                self._write(record.model_copy(update={"finished": True}))
            except Stopped:
                raise
            except BaseException:
                if replaces and trainer.epoch == 0:  # the old run stays
                    folder.restore_replaced()
                raise
            if first:
                folder.forget_replaced()
        engine = trainer.engine
        return TrainResult(folder.path, engine, data, self.options, trainer.epoch, metrics, trainer.best, self.measured)

    def _warn_of(self, sentence: str) -> None:
        self.warn([Diagnostic(sentence, severity="warning")])

    def _load_data(self) -> Data:
        data, before = self.own_data, self.start.before
        if data is None:
            data = self.ranks.in_turn(lambda: data_for(self.start.architecture, download=self.flags.download))
        elif self.start.architecture.data.validation is not None and data.validation is None:
            message = f"{data.name} has no validation examples, which data.validation asks for"
            raise EpgraphError(message, "give ep.Data with validation, or write validation: null", "data")
        self.warn(data.warnings)
        # It hashes all files.
        facts = data.facts() if before is not None or self.ranks.size > 1 else {}
        for rank, there in enumerate(self.ranks.gather(facts)):
            if there != facts:
                raise EpgraphError(f"process {rank} has other data than this one", "copy the same files")
        if before is not None:
            changed = {f"data.{k}": (value, facts.get(k)) for k, value in before.data.items() if value != facts.get(k)}
            if changed:
                raise EpgraphError(refusals(self.start.folder.path, changed))
        return data

    def _load_engine(self, data: Data) -> tuple[Engine, Checkpoint | None]:
        """Compile and fill the network; what was left to choose among the options is chosen here."""
        options, architecture, before = self.options, self.start.architecture, self.start.before
        options["device"] = self.ranks.device(options["device"], self.request.options.get("device"))
        graph = build(architecture)
        if self.ranks.size > 1:
            refuse_divided(graph)
        asked = {name for name in ("dtype", "threads") if options[name] == AUTO}
        if "dtype" in asked:
            options["dtype"] = "float32"
        self._refuse_too_large(graph)
        engine = self._compiled(data)
        if "threads" not in asked:
            options["threads"] = set_threads(engine, options["threads"])
        if options["workers"] is None:
            options["workers"] = math.ceil(default_workers(data.train) / self.ranks.local_size)
        path = self.start.folder.path if before is not None else self.request.weights
        checkpoint = None if path is None else self.ranks.once(lambda: load_checkpoint(path))
        self._fill(engine, checkpoint, data)
        if asked:
            engine = self._measure(asked, engine, checkpoint, data)
        options["backend"] = engine.machine.backend.name
        return engine, checkpoint if before is not None else None

    def _refuse_too_large(self, graph: NetworkGraph) -> None:
        """Refuse a network whose weights, gradients and momentum do not fit."""
        dtype, batch = getattr(torch, self.options["dtype"]), math.ceil(self.training.batch_size / self.ranks.size)
        refuse_too_large(graph, self.options["device"], dtype, copies=3, batch=batch)

    def _compiled(self, data: Data) -> Engine:
        """Compile the network by the present options."""
        options = self.options
        return compile(
            self.start.architecture,
            device=options["device"],
            dtype=options["dtype"],
            backend=options["backend"],
            initialised=False,
            batches=self.training.epochs * math.ceil(len(data.train) / self.training.batch_size),
        )

    def _fill(self, engine: Engine, checkpoint: Checkpoint | None, data: Data) -> None:
        """Give the network the weights with which it begins."""
        goes_on = self.start.before is not None
        path = self.start.folder.path if goes_on else self.request.weights
        if checkpoint is None:
            initialise(engine, data.train)
        else:
            # A run goes on from its own parameters, a new one from those that were evaluated.
            load_parameters(engine, checkpoint if goes_on else averaged(checkpoint), str(path))
        if self.ranks.size > 1:  # drawn with the same seed, but maybe on another kind of machine
            engine.load_state_dict(self.ranks.once(lambda: {n: v.cpu() for n, v in engine.state_dict().items()}))

    def _measure(self, asked: Collection[str], engine: Engine, checkpoint: Checkpoint | None, data: Data) -> Engine:
        """Choose what was left to a measurement, the threads first; return the network in the chosen precision.

        The first process measures for all, on its share of a batch, while the others wait.
        """
        options, size = self.options, math.ceil(self.training.batch_size / self.ranks.size)
        batch = first_batch(self.start.architecture, data, engine, size)
        if "threads" in asked:
            threads = self.ranks.once(lambda: measure_threads(engine, *batch))
            options["threads"] = threads.threads
            self.measured["threads"] = {**threads.to_dict(), "batch": len(batch[0])}
            torch.set_num_threads(threads.threads)
            self._say(f"threads: {threads.sentence}")
        if "dtype" in asked:
            about = f"the first training examples of {data.name}"
            choice, self.measured["dtype"] = self.ranks.once(lambda: probed_precision(engine, batch, about))
            options["dtype"] = choice.dtype
            self._say(choice.sentence)
        self._refuse_too_large(engine.graph)
        # Another number of threads may have another backend on record.
        engine = self._compiled(data)
        self._fill(engine, checkpoint, data)
        return engine

    def _widened(self, why: str, data: Data, run: Run) -> Trainer:
        """Go on in ``USUAL`` precision from the checkpoint of the last epoch: a resumption in the same process."""
        self.callbacks[:] = [one for one in self.callbacks if not isinstance(one, PrecisionWatch)]
        sentence = f"{why}; the run goes on in {USUAL}"
        self.measured["dtype"] = {**self.measured["dtype"], "later": sentence}
        self._say(sentence)
        self.options["dtype"] = USUAL
        checkpoint = self.ranks.once(lambda: load_checkpoint(self.start.folder.path))
        engine = self._compiled(data)
        load_parameters(engine, checkpoint, str(self.start.folder.path))
        self.options["backend"] = engine.machine.backend.name
        trainer = Trainer(engine, data, replace(run, callbacks=self.callbacks))
        trainer.restore(checkpoint)
        return trainer

    def _say(self, sentence: str) -> None:
        for callback in self.callbacks:
            callback.measured(sentence)

    def _record(self, data: Data, trainer: Trainer) -> Record:
        now = invocation()
        now.epoch, now.batch, now.changed = trainer.epoch, trainer.batch, self.start.changed
        weights, before, present = self.request.weights, self.start.before, self._present()
        if before is not None:
            return before.model_copy(update={**present, "finished": False, "history": [*before.history, now]})
        weights_from = None if weights is None else str(weights.absolute())
        return Record(**present, data=data.facts(), weights_from=weights_from, history=[now])

    def _present(self) -> dict[str, Any]:
        return {
            "settings": self.start.architecture.to_dict(complete=True),
            "given": self.start.given,
            "options": Options(**self.options),
            "measured": self.measured,
        }

    def _write(self, record: Record) -> None:
        folder = self.start.folder
        if not self.ranks.first:
            return
        try:
            record.write(folder.path)
            text = modeline(_schema(folder)) + to_yaml(self.start.architecture, complete=True)
            replace_file(folder / "architecture.yaml", lambda path: path.write_text(text, encoding="utf-8"))
        except WriteError as error:
            raise EpgraphError(str(error), "make room, or name another folder with --out") from None


def _schema(folder: RunFolder) -> str:
    """Return the path, from a run folder, of the schema of its network; write the schema there if it has none.

    The trials of a sweep share the one in the folder of the sweep.
    """
    schema = schema_text(indent=None).encode()
    sweep = folder.path.absolute().parent.parent
    if (sweep / SWEEP).is_file() and _holds(sweep / RUN_SCHEMA, schema):
        return f"../../{RUN_SCHEMA}"
    if not _holds(folder / RUN_SCHEMA, schema):
        replace_file(folder / RUN_SCHEMA, lambda path: path.write_bytes(schema))
    return RUN_SCHEMA


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
