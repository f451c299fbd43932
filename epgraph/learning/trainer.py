"""Training by EP: batches, optimiser, metrics, checkpoints, and stopping before damage is done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from epgraph.data import Data
from epgraph.engine import Engine, Estimate
from epgraph.engine.relaxation import States
from epgraph.errors import EpgraphError
from epgraph.learning.batches import bar, batches
from epgraph.learning.checkpoint import save_checkpoint
from epgraph.learning.evaluate import errors, evaluate
from epgraph.learning.metrics import BatchLog, Log, Mean, Metrics
from epgraph.learning.optimizer import make_optimizer


@dataclass(frozen=True)
class Run:
    """How and where to run; what to learn is in the architecture.

    Attributes
    ----------
    folder
        Receives ``last.pt``, ``metrics.jsonl``, ``batches.jsonl`` and ``tensorboard/``.
    workers
        Processes that load data; 0 loads in the training process. The order of batches does not depend on it,
        random augmentation does.
    report
        Called with the metrics of each finished epoch.
    """

    folder: Path
    workers: int = 0
    progress: bool = True
    report: Callable[[Metrics], None] = lambda metrics: None


class Trainer:
    """Trains an engine on a data set; ``train`` runs it to the last epoch."""

    def __init__(self, engine: Engine, data: Data, run: Run) -> None:
        self.engine = engine
        self.data = data
        self.run = run
        self.training = engine.architecture.training
        self.optimizer, self.scheduler = make_optimizer(engine)
        self.generator = torch.Generator().manual_seed(self.training.seed)
        self.epoch = 0

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint that ``train`` wrote, whose parameters the engine already has."""
        if checkpoint["data"] != self.data.name:
            raise EpgraphError(f"this run was trained on {checkpoint['data']}, not on {self.data.name}")
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scheduler.load_state_dict(checkpoint["scheduler"])
        self.generator.set_state(checkpoint["generator"].cpu())
        self.epoch = int(checkpoint["epoch"])

    def train(self) -> Metrics:
        """Train to the last epoch; return its metrics.

        Raises
        ------
        EpgraphError
            If a state or a gradient diverges: the epoch, the batch and the state are named, and ``last.pt``
            still holds the end of the epoch before.
        """
        if self.engine.device.type == "cuda":
            torch.backends.cudnn.deterministic = True  # the seed promises equal runs
        metrics: Metrics = {}
        log = Log(self.run.folder, keep_epochs=self.epoch)
        batch_log = BatchLog(self.run.folder, keep_epochs=self.epoch)
        try:
            if self.epoch == 0:
                self._save()
            while self.epoch < self.training.epochs:
                started = time.perf_counter()
                # Seeded per epoch, so that a resumed run augments as the uninterrupted one did.
                torch.manual_seed(self.training.seed * 1_000_003 + self.epoch)
                rate = max(group["lr"] for group in self.optimizer.param_groups)
                train = self._train_epoch(batch_log)
                test = self.test()
                self.scheduler.step()
                self.epoch += 1
                metrics = {
                    "epoch": self.epoch,
                    **{f"train_{k}" if k != "nudged_residual" else k: v for k, v in train.items()},
                    **{f"test_{k}": v for k, v in test.items()},
                    "learning_rate": rate,
                    "seconds": round(time.perf_counter() - started, 3),
                }
                log.write(metrics)
                self._save()
                self.run.report(metrics)
        finally:
            batch_log.flush()
            log.close()
        return metrics

    def test(self) -> Metrics:
        """Evaluate on the test set."""
        return evaluate(self.engine, self._bar(self.data.test, "test"), what=f"the test of epoch {self.epoch + 1}")

    def _train_epoch(self, log: BatchLog) -> Metrics:
        mean = Mean()
        start: States | None = None
        shown = self._bar(self.data.train, f"epoch {self.epoch + 1}", self.generator)
        for batch, (x, y) in enumerate(shown, 1):
            y = y.to(self.engine.device)
            # As published: from where the previous batch's +β phase ended, from zeros if the size changed.
            fits = start is not None and len(next(iter(start.values()))) == len(x)
            self.optimizer.zero_grad(set_to_none=True)
            estimate = self.engine.backward(x, y, start=start if fits else None, keep=False, energy=True)
            self._log_batch(log, batch, estimate)
            if estimate.diverged:
                self._stop(batch, f"state '{estimate.diverged[0]}' grew without bound or became NaN")
            self._step(batch)
            # A gradient without a nudged phase leaves the free states.
            last = estimate.nudged[0] if estimate.nudged else estimate.free
            start = last.states if self.training.warm_start else None
            mean.add(
                loss=estimate.losses,
                **errors(estimate.output, y),
                residual=estimate.free.residuals,
            )
            if estimate.nudged:
                mean.add(nudged_residual=last.residuals)
            if not shown.disable:
                now = mean.means()
                error = f"error {now['error']:.2%}, " if "error" in now else ""
                shown.set_postfix_str(f"loss {now['loss']:.4f}, {error}residual {now['residual']:.1e}")
        return mean.means()

    def _log_batch(self, log: BatchLog, batch: int, estimate: Estimate) -> None:
        free, adjoint = estimate.free, estimate.adjoint
        more: dict[str, float | str | torch.Tensor] = {}
        if estimate.nudged:
            nudged = estimate.nudged[0]
            more |= {
                "nudged_steps": nudged.steps,
                "nudged_residual": nudged.residuals.max(),
                "nudged_status": nudged.status.name.lower(),
            }
        if adjoint is not None:
            more |= {
                "adjoint_products": adjoint.products,
                "adjoint_residual": adjoint.residuals.max(),
                "indefinite": adjoint.indefinite.float().mean(),
            }
        log.add(
            epoch=self.epoch + 1,
            batch=batch,
            loss=estimate.losses.mean(),
            energy=math.nan if estimate.energies is None else estimate.energies.mean(),  # none: untied feedback
            free_steps=free.steps,
            free_residual=free.residuals.max(),
            free_status=free.status.name.lower(),
            **more,
        )

    def _step(self, batch: int) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        limit = self.training.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(parameters, math.inf if limit is None else limit)
        if not math.isfinite(float(norm)):
            gradients = {n: p.grad for n, p in self.engine.named_parameters() if p.grad is not None}
            name = next((n for n, g in gradients.items() if not bool(g.isfinite().all())), "the network")
            self._stop(batch, f"the gradient of {name} is not finite")
        self.optimizer.step()

    def _stop(self, batch: int, what: str) -> None:
        raise EpgraphError(
            f"training stopped in epoch {self.epoch + 1}, batch {batch}: {what}",
            f"lower training.learning_rate, learning.beta or the gains; {self.run.folder / 'last.pt'} holds "
            f"the end of epoch {self.epoch}",
        )

    def _bar(self, dataset: Any, what: str, shuffle: torch.Generator | None = None) -> Any:
        size, device = self.training.batch_size, self.engine.device
        loader = batches(dataset, size, device=device, workers=self.run.workers, shuffle=shuffle)
        return bar(loader, what, self.run.progress)

    def _save(self) -> None:
        save_checkpoint(
            self.run.folder / "last.pt",
            self.engine,
            data=self.data.name,
            epoch=self.epoch,
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            generator=self.generator.get_state(),
        )
