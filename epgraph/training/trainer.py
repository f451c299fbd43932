"""Training by EP: batches, optimizer, metrics, checkpoints, and stopping before damage is done."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from epgraph.arguments import instance, path, several, whole_number
from epgraph.callbacks import Callback
from epgraph.data import Data
from epgraph.engine import Engine
from epgraph.errors import EpgraphError
from epgraph.estimators import ESTIMATORS, Estimate
from epgraph.progress import Progress
from epgraph.runs.folder import WriteError
from epgraph.runs.stop import Stopped, StopSignals
from epgraph.runtime.relaxation import States
from epgraph.training.average import Average
from epgraph.training.batches import Batches, batches, fetched, mixed, shuffled
from epgraph.training.checkpoint import Best, Checkpoint, save_checkpoint
from epgraph.training.evaluate import Diverged, errors, evaluate
from epgraph.training.health import troubles
from epgraph.training.histograms import histograms
from epgraph.training.metrics import BatchLog, EpochLog, Mean, Metrics
from epgraph.training.noise import SharedNoise
from epgraph.training.optimizer import load_optimizer_state, make_optimizer, optimizer_state, set_learning_rates
from epgraph.training.pace import Pace, of_training
from epgraph.training.peak_memory import peak_memory
from epgraph.training.probing import gradient_check
from epgraph.training.progress import check_progress, generators, set_generators
from epgraph.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Run:
    """How and where to run; what to learn is in the architecture.

    Attributes
    ----------
    folder
        Receives ``last.pt``, ``best.pt``, ``metrics.jsonl``, ``batches.jsonl`` and ``tensorboard/``.
    workers
        Processes that load data; 0 loads in the training process. Results do not depend on it.
    progress
        Whether to show how far it is: bars on a terminal, elsewhere a line every half minute.
    histograms
        Whether TensorBoard gets histograms of parameters and states after each epoch.
    callbacks
        Called as the training goes.
    warn
        Called with a sentence where something fails that the training does not need.
    stop
        Signals that end the training with a checkpoint; None leaves signals alone.
    ranks
        The processes that train together, one ``Trainer`` in each; the first one writes.

    Raises
    ------
    EpgraphError
        If ``folder`` is no path, or ``workers`` no whole number from 0 on.
    """

    folder: Path
    workers: int = 0
    progress: bool = True
    histograms: bool = True
    callbacks: Sequence[Callback] = ()
    warn: Callable[[str], None] = lambda sentence: None
    stop: StopSignals | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", path("folder", self.folder))
        object.__setattr__(self, "workers", whole_number("workers", self.workers, 0))
        callbacks = [instance("an entry of callbacks", one, Callback) for one in several("callbacks", self.callbacks)]
        object.__setattr__(self, "callbacks", tuple(callbacks))


class Trainer:
    """Trains an engine on a data set; ``train`` runs it to the last epoch.

    Attributes
    ----------
    epoch
        Epochs that are finished.
    batch, examples
        Batches and examples of the next one that have been trained on.
    best
        The epoch with the lowest validation error so far (test error without validation examples), whose parameters
        ``best.pt`` holds.
    """

    def __init__(self, engine: Engine, data: Data, run: Run) -> None:
        self.engine = engine
        self.data = data
        self.run = run
        self.ranks = run.ranks
        self.training = engine.architecture.training
        self.optimizer = make_optimizer(engine)
        self.average = Average(engine, self.training.ema)
        self.epoch = self.batch = self.examples = 0
        self.best: Best | None = None
        self._mean = Mean()
        self._seconds = 0.0
        self._warm: States | None = None  # of this process's share of the last batch,
        self._warm_examples = 0  # which had so many in all
        # One forward pass starts from nothing.
        rule = ESTIMATORS[engine.architecture.learning.estimator]
        self._warms = self.training.warm_start and not (rule.feedforward or engine.graph.energy.feedforward)
        self._generators: dict[str, Tensor] | None = None
        self._seen = _Seen()
        self._pace = Pace(self.training.epochs)
        self._troubled = False
        self._batch_log: BatchLog | None = None
        self._saved_at = -math.inf
        self._saved_place = ""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint that ``train`` wrote, whose parameters the engine already has.

        Raises
        ------
        EpgraphError
            If it is of another data set, or holds what no training leaves.
        """
        if checkpoint["data"] != self.data.name:
            raise EpgraphError(f"the checkpoint was trained on {checkpoint['data']}, not on {self.data.name}")
        check_progress(checkpoint, self.engine, len(self.data.train))
        load_optimizer_state(self.optimizer, self.engine, checkpoint["optimizer"])
        self.average.restore(checkpoint.get("average"))
        self.epoch, self.batch, self.examples = (checkpoint[key] for key in ("epoch", "batch", "examples"))
        self.best = checkpoint["best"]
        if self.ranks.first:
            self._mean = Mean(checkpoint["sums"], checkpoint["counts"])
        self._seconds = checkpoint["seconds"]
        warm = checkpoint["warm"]
        if warm is not None:
            self._warm_examples = len(next(iter(warm.values())))
            rows = self.ranks.share(self._warm_examples)
            self._warm = {name: s[rows].to(self.engine.device) for name, s in warm.items()}
        # Between two epochs they do not matter: each epoch begins with seeds of its own.
        self._generators = checkpoint["generators"] if self.examples else None
        self._saved_place = self.place()

    def train(self) -> Metrics:
        """Train to the last epoch; return its metrics, none if there is nothing left to do.

        Raises
        ------
        EpgraphError
            If a state or a gradient diverges, data cannot be read, or a file of the run cannot be written. The place
            is named, and what ``last.pt`` holds.
        Stopped
            If a signal asked for it. ``last.pt`` holds everything up to there.
        """
        if self.engine.device.type == "cuda":
            torch.backends.cudnn.deterministic = True  # the seed promises equal runs
        for callback in self.run.callbacks:
            callback.start(self.engine, self.data)
        try:
            return self._train()
        finally:
            for callback in self.run.callbacks:
                callback.end()

    def _train(self) -> Metrics:
        metrics: Metrics = {}
        log = EpochLog(self.run.folder, self.run.warn, keep_epochs=self.epoch) if self.ranks.first else None
        self._batch_log = BatchLog(self.run.folder, self.epoch, self.batch, self.ranks)
        try:
            if not self._saved_place:
                self._save()
            self._saved_at = time.monotonic()
            while self.epoch < self.training.epochs:
                metrics = self._epoch(log, self._batch_log)
                for callback in self.run.callbacks:
                    callback.epoch(metrics)
        except WriteError as error:
            raise EpgraphError(f"training stopped at {self.place()}: {error}", self.safe()) from None
        finally:
            if self.ranks.size == 1:  # others may not be there any more; what was done, a checkpoint has flushed
                with suppress(WriteError):
                    self._batch_log.flush()
            if log is not None:
                log.close()
        self.average.apply()
        return metrics

    def test(self) -> Metrics:
        """Evaluate on the test set."""
        seen = self._seen = _Seen()
        return self._evaluated(self.data.test, "test", seen.note)

    def _evaluated(self, dataset: Any, what: str, see: Callable[[States, Tensor], None] = lambda s, y: None) -> Metrics:
        # Noise of states is drawn anew, so that a test that is repeated after a stop is the same.
        rank = str(self.ranks.rank or "")  # other examples, other noise
        torch.manual_seed(mixed(self.training.seed, self.epoch, what + rank))
        loader = self._batches(dataset)
        called = f"the {what} of epoch {self.epoch + 1}"
        with self._progress(what, called, len(loader)) as shown:
            found = evaluate(self.engine, self._pausing(loader), what=called, see=see, ranks=self.ranks, shown=shown)
            self._pace.note(what, shown)
        return found

    def place(self) -> str:
        """How far training has come, in words."""
        if self.examples:
            return f"epoch {self.epoch + 1}, batch {self.batch}"
        return f"the end of epoch {self.epoch}"

    def safe(self) -> str:
        """What the last checkpoint holds, in words."""
        return f"{self.run.folder / 'last.pt'} holds {self._saved_place or 'nothing yet'}"

    def _epoch(self, log: EpochLog | None, batch_log: BatchLog) -> Metrics:
        started = time.perf_counter() - self._seconds
        torch.manual_seed(mixed(self.training.seed, self.epoch, "noise"))
        if self._generators is not None:
            set_generators(self._generators, self.engine.device)
            self._generators = None
        rate = set_learning_rates(self.optimizer, self.engine, self.epoch)
        train = self._train_epoch(batch_log, started)
        held = self.data.validation
        with self.average.applied():
            validation = None if held is None else self._evaluated(held, "validation")
            test = self.test()
        metrics: Metrics = {
            "epoch": self.epoch + 1,
            **{f"train_{k}" if k != "nudged_residual" else k: v for k, v in train.items()},
            **{f"validation_{k}": v for k, v in (validation or {}).items()},
            **{f"test_{k}": v for k, v in test.items()},
            **gradient_check(self.engine, self.data, self.epoch + 1, self._warm, self.ranks),
            "learning_rate": rate,
            "seconds": round(time.perf_counter() - started, 3),
            "images_per_second": round(len(self.data.train) / max(self._seconds, 1e-9), 2),
            **peak_memory(self.engine.device, self.ranks),
        }
        classes = self._seen.classes(self.ranks)
        if log is not None:
            drawn = histograms(self.engine, self._seen.states) if self.run.histograms else ()
            log.write(metrics, drawn)
            sentences = troubles(self.engine, metrics, *classes, self._seen.states, self.run.folder)
            if sentences and not self._troubled:  # said again only after an epoch without
                # The advice goes with the last trouble: of a sweep's trials equal warnings are printed once, and the
                # advice names the run.
                for sentence in (*sentences[:-2], "; ".join(sentences[-2:])):
                    self.run.warn(sentence)
            self._troubled = bool(sentences)
        self.epoch += 1
        self.batch = self.examples = 0
        self._mean, self._seconds = Mean(), 0.0
        choosing = validation or test
        value = choosing.get("error", choosing["loss"])
        if self.best is None or value < self.best["value"]:
            self.best = {"epoch": self.epoch, "value": value}
            # Before last.pt, which says that it is there.
            with self.average.applied():
                self._write("best.pt", averaged=True)
        if self.training.checkpoint_epochs and self.epoch % self.training.checkpoint_epochs == 0:
            self._write(f"epoch-{self.epoch:03d}.pt")
        self._save()
        return metrics

    def _train_epoch(self, log: BatchLog, started: float) -> Metrics:
        seed = self.training.seed
        order = shuffled(len(self.data.train), seed, self.epoch)[self.examples :]
        loader = self._batches(self.data.train, order, (seed, self.epoch))
        what = f"epoch {self.epoch + 1}/{self.training.epochs}"
        with self._progress("train", what, self.batch + len(loader), self.batch) as shown:
            self._train_batches(log, started, loader, shown)
            self._pace.note("train", shown)
        return self._mean.over(self.ranks).means()

    def _train_batches(self, log: BatchLog, started: float, loader: Batches, shown: Progress) -> None:
        before = self.examples
        for x, y in self._loaded(loader):
            y = y.to(self.engine.device)
            examples = min(self.training.batch_size, len(self.data.train) - self.examples)
            set_learning_rates(self.optimizer, self.engine, self.epoch + self.examples / len(self.data.train))
            self.optimizer.zero_grad(set_to_none=True)
            estimate = self._estimate(x, y, examples) if len(x) else None
            log.add(len(x), estimate, epoch=self.epoch + 1, batch=self.batch + 1)
            if estimate is not None and estimate.diverged:
                self._stop(self.batch + 1, f"state '{estimate.diverged[0]}' grew without bound or became NaN")
            asked = self._asked()
            self._step(self.batch + 1, len(x) / examples)
            self._note(estimate, y)
            self._warm_examples = examples
            self.batch += 1
            self.examples += examples
            self._seconds = time.perf_counter() - started
            shown.step(facts=partial(of_training, self._mean, estimate, self.examples - before, shown))
            self._pause(*asked)

    def _estimate(self, x: Tensor, y: Tensor, examples: int) -> Estimate:
        """Estimate the gradient of this process's share of a batch of so many examples."""
        # As published: from where the previous batch's +β phase ended, from zeros if the size changed.
        start = self._warm if self._warm_examples == examples else None
        try:
            with self._noise(examples):
                return self.engine.backward(x, self._target(y), start=start, keep=False, energy=True)
        except EpgraphError as problem:  # no memory, or no numbers in the data
            where = f"epoch {self.epoch + 1}, batch {self.batch + 1}"
            raise EpgraphError(f"training stopped in {where}: {problem}", self.safe()) from problem

    def _noise(self, examples: int) -> AbstractContextManager[object]:
        if self.ranks.size == 1 or not self.engine.architecture.dynamics.noise:
            return nullcontext()
        seed = mixed(self.training.seed, self.epoch, f"noise of batch {self.batch} on {self.ranks.rank}")
        return SharedNoise(self.ranks.share(examples), examples, seed)

    def _note(self, estimate: Estimate | None, y: Tensor) -> None:
        """Keep what a batch leaves: its states for the next one, and its part of the means."""
        if estimate is None:
            self._warm = None
            return
        # A gradient without a nudged phase leaves the free states.
        last = estimate.nudged[0] if estimate.nudged else estimate.free
        self._warm = last.states if self._warms else None
        self._mean.add(loss=estimate.losses, **errors(estimate.output, y), residual=estimate.free.residuals)
        if estimate.nudged:
            self._mean.add(nudged_residual=last.residuals)

    def _step(self, batch: int, weight: float) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.ranks.average(parameters, weight)
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm, limit = torch.nn.utils.get_total_norm(gradients), self.training.clip_norm
        # Before clipping, which would spread the NaN of one gradient to all.
        if not math.isfinite(float(norm)):
            named = {n: p.grad for n, p in self.engine.named_parameters() if p.grad is not None}
            name = next((n for n, g in named.items() if not bool(g.isfinite().all())), "the network")
            self._stop(batch, f"the gradient of {name} is not finite")
        if limit is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        self.optimizer.step()
        self.average.update()

    def _target(self, y: Tensor) -> Tensor:
        """Labels as they are, or smoothed: y′ = (1 − ε) y + ε/K over K classes; targets as they are."""
        part = self.training.label_smoothing
        if not part or y.ndim != 1 or y.is_floating_point():
            return y
        target = self.engine.executor.inputs.targets(y, len(y))
        return (1 - part) * target + part / target.shape[1]

    def _stop(self, batch: int, what: str) -> None:
        raise Diverged(
            f"training stopped in epoch {self.epoch + 1}, batch {batch}: {what}",
            f"lower training.learning_rate, learning.beta or the gains; {self.safe()}",
        )

    def _batches(
        self, dataset: Any, order: Sequence[int] | None = None, draw: tuple[int, int] | None = None
    ) -> Batches:
        size, device = self.training.batch_size, self.engine.device
        share = self.ranks.share
        return batches(dataset, size, device=device, workers=self.run.workers, order=order, draw=draw, share=share)

    def _progress(self, part: str, what: str, total: int, done: int = 0) -> Progress:
        """Show how far a part of the epoch is, and the training."""
        left = partial(self._pace.left, part, self.epoch)
        return Progress(what, total, "batches", done=done, show=self.run.progress, left=left)

    def _loaded(self, loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches; what was trained on is saved before a fault of the data ends the training."""
        pairs = fetched(loader)
        while True:
            try:
                pair = next(pairs)
            except StopIteration:
                return
            except Exception:
                if self.ranks.size == 1:  # else the others are in the middle of the batch
                    self._save()
                raise
            yield pair

    def _pausing(self, loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of a test, between which a signal ends the training."""
        for pair in fetched(loader):
            self._pause(*self._asked())
            yield pair

    def _asked(self) -> list[int]:
        """Signal that has come to any process, or 0, and whether a checkpoint is due."""
        signal = None if self.run.stop is None else self.run.stop.received
        due = time.monotonic() - self._saved_at >= 60 * self.training.checkpoint_minutes
        return self.ranks.agree(signal or 0, due)

    def _pause(self, signal: int, due: int) -> None:
        """Between two batches: write a checkpoint where one is due, and stop where a signal asked for it."""
        if signal or due:
            self._save()
        if signal:
            raise Stopped(signal, self.place(), self.safe())

    def _save(self) -> None:
        if self._batch_log is not None:
            self._batch_log.flush()
        self._write("last.pt")
        self._saved_at = time.monotonic()
        self._saved_place = self.place()

    def _write(self, name: str, *, averaged: bool = False) -> None:
        average = {} if averaged or not self.average.values else {"average": self.average.values}
        # A test, which takes place with the averaged parameters, may be stopped by a checkpoint.
        own = {} if averaged else self.average.own
        mean, warm = self._mean.over(self.ranks), self.ranks.joined(self._warm)
        if not self.ranks.first:
            return
        save_checkpoint(
            self.run.folder / name,
            self.engine,
            model={**self.engine.state_dict(), **own},
            data=self.data.name,
            optimizer=optimizer_state(self.optimizer, self.engine),
            epoch=self.epoch,
            batch=self.batch,
            examples=self.examples,
            sums=mean.sums,
            counts=mean.counts,
            seconds=self._seconds,
            warm=warm,
            generators=generators(self.engine.device),
            best=self.best,
            **average,
        )


class _Seen:
    """What a test leaves: how often each label stood there, and the states of its last batch."""

    def __init__(self) -> None:
        self.states: States = {}
        self._labels: Counter[int] = Counter()

    def note(self, states: States, y: Tensor) -> None:
        """Take a batch."""
        self.states = states
        if y.ndim == 1 and not y.is_floating_point():
            self._labels.update(y.tolist())

    def classes(self, ranks: Ranks) -> tuple[list[float], int]:
        """Share of each label, and the number of examples, over all processes."""
        labels = sum(ranks.gather(self._labels), Counter[int]())
        total = labels.total()
        return [count / total for count in labels.values()], total
