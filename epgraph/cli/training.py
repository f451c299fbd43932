"""What ``epgraph train`` does: decide what to train and where, train it, and keep the record of the run."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.cli.console import Console
from epgraph.cli.options import load_for, pick_device, settings
from epgraph.errors import EpgraphError
from epgraph.graph import build, check, checked, inspect, load
from epgraph.language import Architecture, raise_for, to_yaml
from epgraph.runs import Record, Resumed, RunFolder, locked, resume
from epgraph.runs.folder import WriteError, replace, slug
from epgraph.runs.record import Given, Options, finished, invocation
from epgraph.runs.resume import refusals

if TYPE_CHECKING:
    from epgraph.data import Data
    from epgraph.engine import Engine
    from epgraph.training import Checkpoint, Trainer
    from epgraph.training.metrics import Metrics

CURVES_SECONDS = 10.0
"""Least time between two drawings of the learning curves; the last one is always drawn."""

DRAWING_SECONDS = 15.0
"""How long a finished training waits for the drawing of its network."""


class Training:
    """One call of ``epgraph train``.

    Parameters
    ----------
    file
        A network file, or a run folder to go on with.
    options
        All options of the command by name.
    given
        Names of those that the user gave.
    """

    def __init__(self, file: Path, options: dict[str, Any], given: set[str]) -> None:
        if options["overwrite"] and options["resume"]:
            raise EpgraphError("--overwrite and --resume exclude each other")
        if options["weights"] and options["resume"]:
            raise EpgraphError("--from and --resume exclude each other", "--resume has the weights of the run")
        self.file, self.options, self.given = file, options, given
        self.console = Console()
        self.overrides = settings(options["overrides"], options["schedule"])
        self.allowed = options["allow_include"]
        for name, key in (("epochs", "training.epochs"), ("seed", "training.seed")):
            if options[name] is not None:
                self.overrides.append(f"{key}={options[name]}")

    def run(self) -> int:
        """Train; return the exit code."""
        architecture, diagnostics = inspect(self.file, self.overrides, self.allowed)
        raise_for(diagnostics)
        assert architecture is not None
        folder = RunFolder(self._path(architecture))
        if not (self.options["resume"] and folder.has_checkpoint):
            self._check_new(folder)
        with locked(folder):
            folder.recover()
            given = Given(file=str(self.file), settings=self._file_alone(architecture))
            if self.options["resume"] and folder.has_checkpoint:
                before = Record.read(folder.path)
                merged = self._merged(folder, before, given, architecture)
                self.console.say(check(checked(merged.architecture)))
                session = _Session(self, folder, merged, given, before)
            else:
                self.console.say(diagnostics)
                session = _Session(self, folder, Resumed(architecture, self._chosen(), {}), given)
            return session.train()

    def _path(self, architecture: Architecture) -> Path:
        if self.options["out"] is not None:
            return Path(self.options["out"])
        if self.options["resume"] and self.file.is_dir():
            return self.file
        if self.options["data"] is None:
            raise EpgraphError("--data is missing", "e.g. --data digits; with --resume, FILE may be the run folder")
        return Path("runs") / f"{slug(architecture.name)}-{slug(self.options['data'])}"

    def _check_new(self, folder: RunFolder) -> None:
        """Refuse a folder in which no run can be started."""
        if self.options["data"] is None:
            raise EpgraphError("--data is missing", "e.g. --data digits")
        if not folder.in_use:
            return
        if self.options["resume"] and folder.never_started:
            return
        if not self.options["overwrite"]:
            raise EpgraphError(
                f"the run folder {folder.path} is in use",
                "go on with --resume, start over with --overwrite, or name --out",
            )
        folder.check_replaceable()

    def _file_alone(self, architecture: Architecture) -> dict[str, Any]:
        """Settings of the network file without what the command line overrides."""
        if self.overrides:
            try:
                return load(self.file, (), self.allowed).to_dict(complete=True)
            except EpgraphError:
                pass  # it is a network only with the overrides
        return architecture.to_dict(complete=True)

    def _chosen(self) -> dict[str, Any]:
        options = {name: self.options[name] for name in Options.model_fields}
        return options | {"data_root": str(options["data_root"].absolute())}

    def _merged(self, folder: RunFolder, before: Record, given: Given, now: Architecture) -> Resumed:
        chosen = self._chosen()
        if self.file.resolve() in (folder.path.resolve(), (folder / "architecture.yaml").resolve()):
            # The run's own copy of its settings is the file that was edited, if one was.
            before = before.model_copy(update={"given": Given(file=before.given.file, settings=before.settings)})
        return resume(
            before,
            folder.path,
            given.settings,
            now.to_dict(complete=True),
            {text.partition("=")[0].strip() for text in self.overrides},
            {name: chosen[name] for name in Options.model_fields if name in self.given},
        )


class _Session:
    """A training whose settings are decided; ``before`` is the record of the run that goes on."""

    def __init__(
        self, call: Training, folder: RunFolder, merged: Resumed, given: Given, before: Record | None = None
    ) -> None:
        self.call, self.folder, self.given, self.before = call, folder, given, before
        self.architecture, self.options, self.changed = merged.architecture, dict(merged.options), merged.changed
        self.console = call.console
        self.quiet: bool = call.options["as_json"]

    def train(self) -> int:
        """Train to the last epoch, or to a signal; return the exit code."""
        # Loading torch takes seconds; every mistake that can be found without it has been found.
        from epgraph.training import Run, Stopped, StopSignals, Trainer

        data = self._data()
        engine, checkpoint = self._engine(data)
        overwrite = self.call.options["overwrite"]
        pictures = _Pictures(self.folder, self.console) if self.call.options["pictures"] else None

        def report(metrics: Metrics) -> None:
            self.console.out(json.dumps(metrics) if self.quiet else _line(metrics, self.architecture.training.epochs))
            if pictures is not None:
                pictures.curves()

        with StopSignals() as stop:
            run = Run(self.folder.path, self.options["workers"], not self.quiet, report, self.console.warn, stop)
            trainer = Trainer(engine, data, run)
            if checkpoint is not None:
                trainer.restore(checkpoint)
            if overwrite:
                self.folder.set_aside(finished)
            try:
                record = self._record(data, trainer)
                self._write(record)
                if not self.quiet:
                    self.console.out(data.sentence())
                if pictures is not None:
                    pictures.network(self.architecture)
                metrics = trainer.train()
                self._write(record.model_copy(update={"finished": True}))
            except Stopped as stopped:
                self.console.err(f"epgraph: {stopped}; {trainer.safe()}; go on with --resume")
                return stopped.exit_code
            except BaseException:
                if overwrite and trainer.epoch == 0:  # the old run stays
                    self.folder.restore_replaced()
                raise
            finally:
                if pictures is not None:
                    pictures.finish()
            self.folder.forget_replaced()
        if not self.quiet:
            self._say_result(metrics, len(data.test), trainer.epoch)
        return 0

    def _data(self) -> Data:
        options = self.options
        data = load_for(
            self.architecture,
            options["data"],
            Path(options["data_root"]),
            self.call.options["download"],
            options["limit"],
            augment=options["augment"],
        )
        if self.before is not None:
            facts, known = data.facts(), self.before.data
            if changed := {f"data.{k}": (known.get(k), facts.get(k)) for k in known if known[k] != facts.get(k)}:
                raise EpgraphError(refusals(self.folder.path, changed))
        return data

    def _engine(self, data: Data) -> tuple[Engine, Checkpoint | None]:
        """Compile and fill the network; what was left to choose among the options is chosen here."""
        import torch

        from epgraph.compiling import compile
        from epgraph.runtime.memory import refuse_too_large
        from epgraph.training import default_workers, initialise, load_checkpoint, load_parameters, set_threads

        options = self.options
        options["device"] = pick_device(options["device"])
        dtype, batch = getattr(torch, options["dtype"]), self.architecture.training.batch_size
        # Weights, gradients and momentum.
        refuse_too_large(build(self.architecture), options["device"], dtype, copies=3, batch=batch)
        engine = compile(
            self.architecture,
            device=options["device"],
            dtype=dtype,
            backend=options["backend"],
            initialised=False,
        )
        training = self.architecture.training
        engine.batches = training.epochs * math.ceil(len(data.train) / training.batch_size)
        options["threads"] = set_threads(engine, options["threads"])
        if options["workers"] is None:
            options["workers"] = default_workers(data.train)
        path = self.folder.path if self.before is not None else self.call.options["weights"]
        checkpoint = None if path is None else load_checkpoint(path)
        if checkpoint is None:
            initialise(engine, data.train)
        else:
            load_parameters(engine, checkpoint, str(path))
        options["backend"] = engine.machine.backend.name  # refused here if it cannot be used
        return engine, checkpoint if self.before is not None else None

    def _record(self, data: Data, trainer: Trainer) -> Record:
        start = invocation()
        start.epoch, start.batch, start.changed = trainer.epoch, trainer.batch, self.changed
        weights = self.call.options["weights"]
        settings = self.architecture.to_dict(complete=True)
        if self.before is None:
            return Record(
                settings=settings,
                given=self.given,
                options=Options(**self.options),
                data=data.facts(),
                weights_from=None if weights is None else str(weights.absolute()),
                history=[start],
            )
        return self.before.model_copy(
            update={
                "settings": settings,
                "given": self.given,
                "options": Options(**self.options),
                "finished": False,
                "history": [*self.before.history, start],
            }
        )

    def _write(self, record: Record) -> None:
        try:
            record.write(self.folder.path)
            text = to_yaml(self.architecture, complete=True)
            replace(self.folder / "architecture.yaml", lambda path: path.write_text(text, encoding="utf-8"))
        except WriteError as error:
            raise EpgraphError(str(error), "make room, or name another folder with --out") from None

    def _say_result(self, metrics: Mapping[str, float], tested: int, epoch: int) -> None:
        training, options, folder = self.architecture.training, self.options, self.folder.path
        if not metrics:
            self.console.out(f"{folder} is trained to epoch {epoch} already; raise --epochs to go on")
            return
        self.console.out(
            f"accuracy of the last epoch: {1 - metrics['test_error']:.2%} on {tested} held-out examples of "
            f"{options['data']} (seed {training.seed}, {options['dtype']} on {options['device']}, "
            f"backend {options['backend']})"
        )
        self.console.out(f"run folder: {folder}")


class _Pictures:
    """The pictures of a run: drawn out of the way of the training, and never a reason to stop it."""

    def __init__(self, folder: RunFolder, console: Console) -> None:
        self._folder, self._console = folder, console
        self._drawn_at = float("-inf")
        self._thread: threading.Thread | None = None

    def network(self, architecture: Architecture) -> None:
        """Start drawing network.svg beside the training."""

        def draw() -> None:
            from epgraph.drawing import render

            try:
                render(architecture, self._folder / "network.svg", report=self._console.warn)
            except Exception as error:
                self._console.warn(f"network.svg is not drawn: {error}")

        self._thread = threading.Thread(target=draw, daemon=True)
        self._thread.start()

    def curves(self, *, last: bool = False) -> None:
        """Draw curves.png, unless it was drawn a moment ago."""
        from epgraph.drawing import curves

        log = self._folder / "metrics.jsonl"
        if not log.exists() or not (last or time.monotonic() - self._drawn_at >= CURVES_SECONDS):
            return
        try:
            curves(log, self._folder / "curves.png")
        except Exception as error:
            self._console.warn(f"curves.png is not drawn: {error}")
        self._drawn_at = time.monotonic()

    def finish(self) -> None:
        """Draw the last curves, and wait a moment for the network."""
        self.curves(last=True)
        if self._thread is not None:
            self._thread.join(DRAWING_SECONDS)


def _line(metrics: Mapping[str, float], total: int) -> str:
    nudged = f" free {metrics['nudged_residual']:.1e} nudged" if "nudged_residual" in metrics else ""
    return (
        f"epoch {metrics['epoch']:.0f}/{total}: "
        f"train loss {metrics['train_loss']:.4f} error {metrics['train_error']:.2%}, "
        f"test loss {metrics['test_loss']:.4f} error {metrics['test_error']:.2%}, "
        f"residual {metrics['train_residual']:.1e}{nudged}, "
        f"{metrics['seconds']:.1f} s"
    )
