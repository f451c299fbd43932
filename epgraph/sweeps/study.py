"""The trials of a sweep in Optuna's journal: which are there, which one a process takes next, and what each came to.

A trial belongs to the process that holds its lock, which the operating system releases when that process dies. So a
trial without a value whose lock is free was left by a dead process, and is taken up again.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from epgraph.errors import EpgraphError
from epgraph.language.sweep import MAX_SEED, Range
from epgraph.runs.folder import slug
from epgraph.sweeps.definition import Definition, Point

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial, TrialState

JOURNAL = "journal.log"
TRIALS = "trials"
LOCKS = ".locks"
ATTEMPTS = 100
"""Choices of a sampler that were made before, until its space is taken for exhausted."""


Fingerprint = Callable[[Point, int], str]


@dataclass(frozen=True)
class Choice:
    """What a trial is: a point, its seed, and its run folder.

    Attributes
    ----------
    state
        ``complete``, ``pruned``, ``failed``, or ``open``: under way, or left by a dead process.
    value
        The objective at the last epoch; None without one.
    error
        Why a trial failed.
    """

    number: int
    label: str
    seed: int
    folder: Path
    point: Point
    settings: str
    state: str
    value: float | None
    error: str


class Trials:
    """The trials of a sweep folder.

    Parameters
    ----------
    folder
        The sweep folder.
    definition
        What may be chosen; None to read alone.
    first_seed
        ``training.seed``, for choices without seeds of their own.
    """

    def __init__(self, folder: Path, definition: Definition | None = None, first_seed: int = 0) -> None:
        self._folder, self._definition, self._first_seed = folder, definition, first_seed
        self._study = _open(folder, "none" if definition is None else definition.spec.pruner)

    def all(self) -> list[Choice]:
        """Return all trials in the order of their numbers."""
        return [self._choice(trial) for trial in self._study.get_trials(deepcopy=False)]

    @property
    def planned(self) -> int:
        """Number of trials that the sweep has in the end."""
        assert self._definition is not None
        spec = self._definition.spec
        points = len(self._definition.points) if spec.trials is None else spec.trials
        return points * len(spec.seeds or (0,))

    @contextmanager
    def claimed(self, fingerprint: Fingerprint) -> Iterator[tuple[Choice, Trial] | None]:
        """Take a trial that no living process has, or make the next one; None where neither is left.

        ``fingerprint`` says what a point and a seed stand for.
        """
        from filelock import FileLock

        with FileLock(self._folder / LOCKS / "sweep"):
            taken = self._left() or self._next(fingerprint)
        if taken is None:
            yield None
            return
        number, lock = taken
        try:
            yield self._of(number)
        finally:
            lock.release()

    def _of(self, number: int) -> tuple[Choice, Trial]:
        from optuna.trial import Trial

        frozen = self._study.get_trials(deepcopy=False)[number]
        return self._choice(frozen), Trial(self._study, frozen._trial_id)

    def _left(self) -> tuple[int, Any] | None:
        """Lock the first trial that a dead process left, if it belongs to what the sweep is now."""
        assert self._definition is not None
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.is_finished() or not self._definition.has(trial.params):
                continue
            if (lock := self._lock(trial.number)) is None:
                continue
            # It may have been finished, and its lock released, since it was looked at.
            if not self._study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                return trial.number, lock
            lock.release()
        return None

    def _next(self, fingerprint: Fingerprint) -> tuple[int, Any] | None:
        """Make and lock the next trial: one line of the journal, so that it is there whole or not at all."""
        from optuna.trial import TrialState

        assert self._definition is not None
        while (chosen := self._missing(trials := self._study.get_trials(deepcopy=False))) is not None:
            (point, seed), number = chosen, len(trials)
            label = self._definition.label(point)
            attributes = {
                "seed": seed,
                "label": label,
                "folder": f"{TRIALS}/{number:03d}-{slug(label)[:60]}-seed-{seed}",
            }
            try:
                attributes["settings"] = fingerprint(point, seed)
            except EpgraphError as error:  # a sampler joined values that exclude each other
                self._add(TrialState.FAIL, point, {**attributes, "settings": "", "error": str(error)})
                continue
            lock = self._lock(number)
            if lock is None:
                raise EpgraphError(f"{self._folder}: trial {number} is locked", "wait until the other process ends")
            self._add(TrialState.RUNNING, point, attributes)
            return number, lock
        return None

    def _add(self, state: TrialState, point: Point, attributes: dict[str, Any]) -> None:
        from optuna.trial import create_trial

        assert self._definition is not None
        distributions = _distributions(self._definition)
        self._study.add_trial(
            create_trial(state=state, params=point, distributions=distributions, user_attrs=attributes)
        )

    def _missing(self, trials: Sequence[FrozenTrial]) -> tuple[Point, int] | None:
        """Return the next point and seed without a trial, after a sampler's new choice where it has one left."""
        assert self._definition is not None
        spec = self._definition.spec
        there = {(_key(trial.params), trial.user_attrs["seed"]) for trial in trials}
        if spec.trials is None:
            # Every point with the first seed, then with the second: a comparison begins early.
            pairs = ((point, seed) for seed in spec.seeds or (self._first_seed,) for point in self._definition.points)
            return next((pair for pair in pairs if (_key(pair[0]), pair[1]) not in there), None)
        points = {_key(trial.params): trial.params for trial in trials}
        for number, (key, point) in enumerate(points.items()):
            for seed in spec.seeds or (self._seed(number),):
                if (key, seed) not in there:
                    return point, seed
        for attempt in range(ATTEMPTS if len(points) < spec.trials else 0):
            point = self._sampled(trials, len(points), attempt)
            if _key(point) not in points:
                return point, (spec.seeds or (self._seed(len(points)),))[0]
        return None

    def _seed(self, number: int) -> int:
        return (self._first_seed + number) % (MAX_SEED + 1)

    def _sampled(self, trials: Sequence[FrozenTrial], number: int, attempt: int) -> Point:
        """Let the sampler choose: a function of the trials so far, the first seed and the number of the choice alone.

        It works on a copy in memory. In the journal, a process that dies would leave half a choice.
        """
        import optuna

        assert self._definition is not None
        text = f"{self._first_seed}/{number}/{attempt}".encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")
        distributions = _distributions(self._definition)
        with _quietly():
            study = optuna.create_study(sampler=_sampler(self._definition.spec.sampler, seed))
            # Since the sweep was extended, earlier trials may have chosen from less.
            study.add_trials([trial for trial in trials if trial.distributions == distributions])
            return study.ask(distributions).params

    def finish(self, trial: Trial, value: float) -> None:
        """Keep the objective of a trial."""
        self._study.tell(trial, value)

    def prune(self, trial: Trial) -> None:
        """Say that a trial fell behind."""
        from optuna.trial import TrialState

        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        """Say why a trial has no value."""
        from optuna.trial import TrialState

        trial.set_user_attr("error", reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def _lock(self, number: int) -> Any:
        """Lock a trial; None where another process has it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._folder / LOCKS / str(number))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        return lock

    def _choice(self, trial: FrozenTrial) -> Choice:
        attributes = trial.user_attrs
        state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(trial.state.name, "open")
        return Choice(
            number=trial.number,
            label=attributes["label"],
            seed=attributes["seed"],
            folder=self._folder / attributes["folder"],
            point=trial.params,
            settings=attributes["settings"],
            state=state,
            value=trial.value if state == "complete" else None,
            error=attributes.get("error", ""),
        )


def _key(point: Point) -> str:
    return json.dumps(point, sort_keys=True)


def _open(folder: Path, pruner: str) -> Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    (folder / LOCKS).mkdir(parents=True, exist_ok=True)
    path = folder / JOURNAL
    settings: dict[str, Any] = {"study_name": "sweep", "sampler": optuna.samplers.RandomSampler()}
    try:
        with _quietly():
            settings["storage"] = JournalStorage(JournalFileBackend(str(path), lock_obj=cast(Any, _JournalLock(path))))
            settings["pruner"] = _pruner(pruner)
            try:
                return optuna.load_study(**settings)
            except KeyError:  # there is none yet
                return optuna.create_study(**settings, load_if_exists=True)
    except ValueError as error:
        raise EpgraphError(f"{path}: damaged: {error}", "name another folder with --out") from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep Optuna from printing that a study was created, and which of its parts are new."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


class _JournalLock:
    """Released by the operating system when its holder dies; Optuna's own locks would wait half a minute then."""

    def __init__(self, journal: Path) -> None:
        from filelock import FileLock

        self._journal, self._lock = journal, FileLock(journal.parent / LOCKS / "journal")

    def acquire(self) -> bool:
        """Lock the journal, and cut off the line that a process did not finish when it died."""
        self._lock.acquire()
        with self._journal.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Unlock the journal."""
        self._lock.release()


def _distributions(definition: Definition) -> dict[str, BaseDistribution]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for key, choice in definition.choices.items():
        if not isinstance(choice, Range):
            found[key] = CategoricalDistribution(choice)
        elif choice.whole:
            found[key] = IntDistribution(int(choice.low), int(choice.high), log=choice.log)
        else:
            found[key] = FloatDistribution(choice.low, choice.high, log=choice.log)
    return found


def _sampler(name: str, seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler, RandomSampler, TPESampler

    samplers: dict[str, Callable[..., BaseSampler]] = {"random": RandomSampler, "tpe": TPESampler, "gp": GPSampler}
    return samplers[name](seed=seed)


def _pruner(name: str) -> BasePruner:
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

    pruners: dict[str, Callable[[], BasePruner]] = {
        "none": NopPruner,
        "median": MedianPruner,
        "halving": SuccessiveHalvingPruner,
        "hyperband": HyperbandPruner,
    }
    return pruners[name]()
