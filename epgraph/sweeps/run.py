"""The work of a sweep: take a trial, train it in its run folder, keep its objective, and take the next one."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.callbacks import Callback
from epgraph.errors import Diagnostic, EpgraphError, path_text
from epgraph.language import Architecture
from epgraph.language.sweep import METRICS
from epgraph.progress import current
from epgraph.runs.record import Record
from epgraph.runs.resume import flat
from epgraph.runs.stop import Stopped
from epgraph.sweeps.definition import Definition, Point
from epgraph.sweeps.folder import enter, keep
from epgraph.sweeps.study import Choice, Trials

if TYPE_CHECKING:
    from optuna.trial import Trial

WAIT_SECONDS = 0.5
"""Time between two looks at the trials of other processes."""

AGAIN = "the same command goes on"
"""How to go on with a sweep that a signal ended: it has no ``--resume``."""

Train = Callable[[Architecture, Path, Sequence[Callback]], object]
"""Trains a network in a run folder, or goes on with it."""


@dataclass(frozen=True)
class Sweep:
    """A sweep whose settings are decided.

    Attributes
    ----------
    arguments
        Those with which ``ep.sweep`` goes on, as plain values.
    identity
        Options that make other runs of the same networks: a folder that has others is refused.
    say
        Called with a line about each trial.
    """

    folder: Path
    definition: Definition
    train: Train
    arguments: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] = lambda line: None

    def run(self) -> list[Choice]:
        """Train until every trial of the sweep has ended, here or in another process; return all trials.

        Raises
        ------
        EpgraphError
            If a trial cannot be trained for a reason that is not its own, or the folder holds another sweep.
        Stopped
            If a signal ended the training, after a checkpoint, or came between two trainings.
        """
        enter(self.folder, self.arguments)
        trials = Trials(self.folder, self.definition, self.definition.networks[0].training.seed)
        self._refuse_others(trials)
        keep(self.folder, self.arguments)
        self._say_what_is_there(trials)
        try:
            return self._trained(trials)
        except KeyboardInterrupt:  # between two trainings, or a second one within one
            place = f"{self._ended(trials)} of {trials.planned} trials"
            raise Stopped(signal.SIGINT, place, f"{self.folder} holds their results", AGAIN) from None
        except Stopped as stopped:  # within one
            stopped.advice = AGAIN
            raise

    def _trained(self, trials: Trials) -> list[Choice]:
        started, done, waiting = time.monotonic(), 0, False
        while True:
            with trials.claimed(self._fingerprint) as taken:
                if taken is not None:
                    choice, trial = taken
                    self.say(self._begins(choice, trials.planned, started, done))
                    with current().within(f"trial {choice.number + 1} of {trials.planned}"):
                        self._train(trials, choice, trial)
                    done, waiting = done + 1, False
                    continue
            found = trials.all()
            busy = sum(choice.state == "open" and self.definition.has(choice.point) for choice in found)
            if not busy:
                return found
            if not waiting:
                self.say(f"waiting for {busy} {'trial' if busy == 1 else 'trials'} of other processes")
                waiting = True
            time.sleep(WAIT_SECONDS)

    def _say_what_is_there(self, trials: Trials) -> None:
        if trials.all():
            self.say(f"going on with {self.folder}: {self._ended(trials)} of {trials.planned} trials are done")

    def _ended(self, trials: Trials) -> int:
        return sum(choice.state != "open" and self.definition.has(choice.point) for choice in trials.all())

    def _network(self, point: Point, seed: int) -> Architecture:
        architecture, diagnostics = self.definition.architecture(point, seed)
        if architecture is None:
            raise EpgraphError(one for one in diagnostics if one.severity == "error")
        return architecture

    def _fingerprint(self, point: Point, seed: int) -> str:
        what = {**self.identity, "network": self._settings(point, seed)}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def _settings(self, point: Point, seed: int) -> dict[str, Any]:
        """Return the settings of a trial; where the data are differs between machines that share a sweep."""
        found = self._network(point, seed).to_dict(complete=True)
        return {**found, "data": {key: value for key, value in found["data"].items() if key != "root"}}

    def _refuse_others(self, trials: Trials) -> None:
        """Refuse a folder whose trials are of other settings."""
        for choice in trials.all():
            if choice.point.keys() != self.definition.choices.keys():
                raise EpgraphError(f"{self.folder} holds a sweep over {', '.join(choice.point)}", _OTHER)
            if not choice.settings or not self.definition.has(choice.point):
                continue
            if self._fingerprint(choice.point, choice.seed) == choice.settings:
                continue
            raise EpgraphError(
                Diagnostic(f"{self.folder} holds a sweep with other settings: {what}", _OTHER)
                for what in self._differences(choice)
            )

    def _differences(self, choice: Choice) -> list[str]:
        """Settings of a trial that are others now; at least one sentence."""
        try:
            record = Record.read(choice.folder)
        except EpgraphError:
            return [f"trial {choice.number} ({choice.label}, seed {choice.seed})"]
        kept = record.options.model_dump()
        before = flat({**record.settings, **{name: kept.get(name) for name in self.identity}})
        now = flat({**self._network(choice.point, choice.seed).to_dict(complete=True), **self.identity})
        return [
            f"{path_text(at)} is {before.get(at)} there and {now.get(at)} now"
            for at in {**before, **now}
            # Where the data are makes no other sweep.
            if before.get(at) != now.get(at) and at != ("data", "root")
        ][:10] or [f"trial {choice.number} ({choice.label}, seed {choice.seed})"]

    def _train(self, trials: Trials, choice: Choice, trial: Trial) -> None:
        import optuna
        import torch

        from epgraph.training.evaluate import Diverged

        reports = Reports(trial, self.definition.spec.objective)
        threads = torch.get_num_threads()
        try:
            reports.replay(choice.folder)
            self.train(self._network(choice.point, choice.seed), choice.folder, [reports])
            value = reports.last(choice.folder)
        except optuna.TrialPruned:
            trials.prune(trial)
            self.say("  pruned: it fell behind")
        except Diverged as error:
            trials.fail(trial, str(error))
            self.say(f"  failed: {error}")
        else:
            if value is None or not math.isfinite(value):
                trials.fail(trial, f"no finite {self.definition.spec.objective}")
                return
            _to_board(choice, self.definition.spec.objective)
            trials.finish(trial, value)
            self.say(f"  {self.definition.spec.objective} {value:.4g}")
        finally:
            # A small network takes one thread, and must not leave it to the next.
            torch.set_num_threads(threads)

    def _begins(self, choice: Choice, planned: int, started: float, done: int) -> str:
        left = ""
        if done:
            seconds = (time.monotonic() - started) / done * (planned - choice.number)
            left = f" (about {seconds / 60:.0f} min left)" if seconds >= 60 else f" (about {seconds:.0f} s left)"
        return f"trial {choice.number + 1} of {planned}: {choice.label}, seed {choice.seed}{left}"


class Reports(Callback):
    """Tells a trial the objective of every epoch, and ends it where the pruner says so.

    Raises
    ------
    optuna.TrialPruned
        Out of ``epoch`` and ``replay``.
    """

    def __init__(self, trial: Trial, objective: str) -> None:
        self._trial, self._objective = trial, objective
        self._told = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of an epoch."""
        import optuna

        epoch, value = int(metrics["epoch"]), metrics.get(self._objective)
        if value is None:
            known = ", ".join(name for name in metrics if name in METRICS)
            raise EpgraphError(f"the run has no {self._objective}", f"choose another objective: {known}")
        if epoch not in self._told:
            self._trial.report(value, epoch)
            self._told.add(epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned

    def replay(self, folder: Path) -> None:
        """Take the epochs that a run has so far."""
        for row in self._rows(folder):
            self.epoch(row)

    def last(self, folder: Path) -> float | None:
        """Return the objective of the last epoch of a run, None without one."""
        rows = self._rows(folder)
        return float(rows[-1][self._objective]) if rows else None

    def _rows(self, folder: Path) -> list[dict[str, Any]]:
        from epgraph.training.metrics import JsonLines

        return JsonLines(folder / "metrics.jsonl").rows()


def _to_board(choice: Choice, objective: str) -> None:
    """Write what a trial chose beside the scalars of its run, for the tab HPARAMS of TensorBoard."""
    from contextlib import suppress

    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard import summary as summaries

    # TensorBoard is a convenience: where it cannot be written, the sweep goes on.
    with suppress(Exception), SummaryWriter(str(choice.folder / "tensorboard")) as board:
        # The metric has the name of its scalar; its values are there.
        hparams: Callable[..., Sequence[Any]] = summaries.hparams
        for summary in hparams({**choice.point, "seed": choice.seed}, {objective.replace("_", "/", 1): None}):
            board.file_writer.add_summary(summary)


_OTHER = "name another folder with --out, or undo the change"
