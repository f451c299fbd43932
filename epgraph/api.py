"""The functions of epgraph, as the command line calls them: from what a user names to a result.

Each takes a network as a path, YAML text or an ``Architecture``, reads its arguments once, and returns a dataclass that
holds everything that the command prints. torch is imported within the functions that need it, after every mistake that
can be found without it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from epgraph.api_arguments import (
    DTYPES,
    Paths,
    Source,
    Warn,
    all_overrides,
    as_architecture,
    as_source,
    data_overrides,
    engine_of,
    examples_of_run,
    holds_weights,
    own_examples,
    run_options,
    telling,
    threads_or_auto,
    trained,
    weights_in_words,
    whole,
)
from epgraph.arguments import choice, flag, instance, several, whole_number
from epgraph.arguments import path as file_path
from epgraph.callbacks import Callback
from epgraph.checking import CheckResult, examine
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph import SCHEDULES, load
from epgraph.graph.plugged import with_plugins
from epgraph.runs.launch import launch
from epgraph.runs.start import Flags, Request, prepared

if TYPE_CHECKING:
    from epgraph.data import Data
    from epgraph.engine import Engine
    from epgraph.gradient_check.result import GradcheckResult
    from epgraph.training import EvaluateResult, TrainResult
    from epgraph.tuning import TuneResult

__all__ = ["check", "evaluate", "gradcheck", "load", "load_data", "train", "tune"]


def check(
    source: Source,
    overrides: Sequence[str] = (),
    allow_include: Paths = (),
    *,
    schedule: str | None = None,
    verify: bool = False,
    batch: int | None = None,
) -> CheckResult:
    """Check a network, and describe its states, edges, schedule, cost, and what is guaranteed for it.

    Mistakes in the network are returned as diagnostics, not raised.

    Parameters
    ----------
    source, overrides, allow_include
        As for ``load``; or an ``Architecture``.
    schedule
        Overrides ``dynamics.schedule``.
    verify
        Whether to test that the mathematics of every edge kind, activation and cost is what it says. This loads torch.
    batch
        Examples in the batch whose memory and time are estimated; left out, ``training.batch_size``.

    Example
    -------
    >>> import epgraph as ep
    >>> result = ep.check("examples/digits.yaml")
    >>> result.ok, result.report["parameters"]
    (True, 53194)
    """
    schedule = None if schedule is None else choice("schedule", schedule, SCHEDULES)
    return examine(as_source(source), overrides, allow_include, schedule, flag("verify", verify), whole("batch", batch))


def load_data(
    architecture: Source,
    name: str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    limit: int | None = None,
    augment: bool = True,
) -> Data:
    """Load a data set, prepared for the input and the output of a network.

    Parameters
    ----------
    architecture
        The network; its section ``data`` says how examples are prepared.
    name
        A name of ``docs/data.md`` such as ``cifar10``, one that was registered, ``folder:PATH`` or ``tensors:PATH``;
        left out, the one of the section ``data``.
    root, download, limit
        As for ``epgraph.data.load_data``; left out, those of the section ``data``.
    augment
        False leaves the augmentation out.

    Raises
    ------
    EpgraphError
        If the name is unknown, the data set does not fit the network, or its files are missing or damaged.

    Example
    -------
    >>> import epgraph as ep
    >>> data = ep.load_data("examples/digits.yaml", "digits", limit=100)
    >>> len(data.train), data.shape
    (100, (1, 8, 8))
    """
    network = as_architecture(architecture)

    from epgraph.training.data import data_for

    return data_for(network, name, root=root, download=download, limit=limit, augment=flag("augment", augment))


def train(
    source: Source,
    data: str | Data | Any = None,
    *,
    out: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    allow_include: Paths = (),
    schedule: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    limit: int | None = None,
    augment: bool | None = None,
    device: str | None = None,
    dtype: str | None = None,
    backend: str | None = None,
    threads: int | str | None = None,
    workers: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    pictures: bool = True,
    histograms: bool = True,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    warn: Warn | None = None,
) -> TrainResult:
    """Train a network by equilibrium propagation, and leave a run folder behind.

    ``docs/runs.md`` says what is in the folder, and what may change when a run goes on. An option that is left out has
    the value of the run that goes on, and its default for a new run. On the main thread SIGINT, SIGTERM and SIGHUP end
    the training with a checkpoint. Under torchrun all processes call it, and train together (``docs/scaling.md``);
    callbacks, warnings and files are those of the first.

    Parameters
    ----------
    source
        As for ``load``; or an ``Architecture``. With ``resume`` a run folder as well.
    data
        Name of a data set; or examples of one's own: ``Data``, or two of torch's data sets, (train, test). Left out,
        the data set of the network's section ``data``.
    out
        The run folder; left out, ``runs/NAME-DATA``.
    overrides, allow_include
        As for ``load``.
    schedule, epochs, seed
        Override ``dynamics.schedule``, ``training.epochs`` and ``training.seed``.
    data_root, limit, augment
        Override ``data.root``, ``data.limit`` and ``data.augment``: True for ``published``, False for ``none``.
    download
        As for ``load_data``.
    device, dtype, backend
        As for ``compile``, by name; for a new run a GPU if there is one, ``float32`` and ``auto``. The dtype ``auto``
        is the fastest precision that keeps the gradient, as measured on the first training examples.
    threads
        CPU threads; ``auto``: the fewest that are as fast as any, as measured; left out, one for a small network, else
        all.
    workers
        Processes that load data; left out, chosen by the size of the data.
    weights
        Run folder or checkpoint whose weights a new run starts from.
    resume
        Go on from the last checkpoint of the run folder, if there is one.
    overwrite
        Replace the run in the folder. It comes back if the new one fails before its first epoch is done.
    pictures
        Whether to draw ``network.svg`` and ``curves.png``.
    histograms
        Whether TensorBoard gets histograms of parameters and states after each epoch.
    progress
        Whether to show how far it is on standard error: a bar on a terminal, elsewhere a line every half minute.
    callbacks
        Called as the training goes.
    warn
        Called with what is doubtful; left out, Python's ``warnings`` show it.

    Raises
    ------
    EpgraphError
        If the network, the data or an option has a mistake, the folder cannot be taken, or the training diverges.
    Stopped
        If a signal ended the training, after a checkpoint.

    Example
    -------
    >>> import epgraph as ep
    >>> result = ep.train("examples/digits.yaml", "digits", out="runs/demo", limit=64, epochs=1, pictures=False)
    >>> result.epoch, sorted(result.metrics)[:2]
    (1, ['epoch', 'images_per_second'])
    """
    own = own_examples(data)
    if own is not None and own.train is own.test:
        raise EpgraphError("one data set cannot be trained and tested on", "write (train, test)", "data")
    name = data if isinstance(data, str) else None
    options = run_options(dtype=dtype, device=device, backend=backend, threads=threads, workers=workers)
    request = Request(
        as_source(source),
        [*all_overrides(overrides, schedule, epochs, seed), *data_overrides(name, data_root, limit, augment)],
        [file_path("allow_include", one) for one in several("allow_include", allow_include)],
        options,
        None if own is None else {"name": own.name, "limit": own.limit},
        None if out is None else file_path("out", out),
        None if weights is None else file_path("weights", weights),
        flag("resume", resume),
        flag("overwrite", overwrite),
    )
    called = [instance("an entry of callbacks", one, Callback) for one in several("callbacks", callbacks)]
    beside = {"download": download, "progress": progress, "pictures": pictures, "histograms": histograms}
    flags = Flags(**{name: flag(name, value) for name, value in beside.items()})
    here, warn = launch(), telling(warn)
    if here.size > 1:
        from epgraph.training.parallel import train_together

        return train_together(request, own, flags, called, warn, here)
    with prepared(request) as start:
        # Loading torch takes seconds; every mistake that can be found without it has been found.
        from epgraph.training.session import Session

        return Session(start, own, flags, called, warn).train()


def evaluate(
    network: str | os.PathLike[str] | Engine,
    data: str | Data | Any = None,
    *,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    limit: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    free_steps: int | None = None,
    progress: bool = False,
    warn: Warn | None = None,
) -> EvaluateResult:
    """Evaluate a trained network on the test examples of a data set.

    Parameters
    ----------
    network
        Run folder, checkpoint, or an engine.
    data
        Name of a data set, or examples of one's own; left out, the data of the training. Images of another data set
        are normalized as those of the run were, with a warning, as is given where classes have other names.
    data_root, download, limit
        As for ``load_data``.
    device
        Where to run what is read from a folder; left out, a GPU if there is one.
    threads
        CPU threads; left out, one for a small network, else all.
    progress, warn
        As for ``train``.
    free_steps
        Overrides ``dynamics.free_steps``.

    Raises
    ------
    EpgraphError
        If there is no checkpoint, the data set does not fit the network, or a state diverges.

    Example
    -------
    >>> import epgraph as ep
    >>> result = ep.evaluate(ep.compile("examples/digits.yaml", initialised=False), "digits", limit=64)
    >>> result.examples, 0 <= result.accuracy <= 1
    (64, True)
    """
    steps = whole("free_steps", free_steps)

    from epgraph.training import evaluate_on, set_threads
    from epgraph.training.data import as_in_the_run, data_for

    engine, facts = trained(network, device)
    set_threads(engine, threads)
    examples = own_examples(data)
    if examples is None:
        name = None if data is None else str(data)
        try:
            examples = data_for(
                engine.architecture, name, root=data_root, download=download, limit=limit, augment=False, check=False
            )
        except EpgraphError as error:
            # The network is trained: only another data set can mend a misfit.
            said = [
                Diagnostic(d.message, "choose the data that the run was trained on" if d.at else d.hint)
                for d in error.diagnostics
            ]
            if name is None and isinstance(network, str | os.PathLike):
                said = with_plugins(said, network)
            raise EpgraphError(said) from None
    examples = as_in_the_run(examples, facts)
    telling(warn)(examples.warnings)
    return evaluate_on(engine, examples, free_steps=steps, progress=flag("progress", progress))


def gradcheck(
    network: Source | Engine,
    data: str | Data | Any = None,
    *,
    overrides: Sequence[str] = (),
    allow_include: Paths = (),
    schedule: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    examples: int = 8,
    quick: bool = False,
    stepwise: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    device: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
    progress: bool = False,
    warn: Warn | None = None,
) -> GradcheckResult:
    """Check the gradient of a network: against backpropagation and implicit differentiation, edge by edge.

    Parameters
    ----------
    network
        As for ``load``; or an ``Architecture``, with initial weights; or a run folder, a checkpoint (``.pt``) or an
        engine, with the weights that it has.
    data
        Name of a data set, or examples of one's own; left out, the data set of the section ``data``. Where that names
        none, or its files cannot be read, noise in [0, 1] and random labels or targets. The report says which.
    overrides, allow_include, schedule
        As for ``train``.
    checkpoint
        Run folder or ``.pt`` file with the weights to check at, in place of those of ``network``.
    examples
        Number of examples.
    quick
        Leave out how β and the numbers of sweeps change the gradient.
    stepwise
        Compare EP with backpropagation through time sweep by sweep as well.
    data_root, download
        As for ``load_data``.
    device, dtype, threads, progress, warn
        As for ``train``; ``dtype`` is ``float32`` or ``float64``.

    Raises
    ------
    EpgraphError
        If the network, the data or an option has a mistake, or no reference gradient exists.

    Example
    -------
    >>> import epgraph as ep
    >>> result = ep.gradcheck("examples/mlp.yaml", quick=True, examples=2)
    >>> result.level, result.report["network"]["reference"]
    ('rough', 'implicit')
    """
    quick, stepwise = flag("quick", quick), flag("stepwise", stepwise)
    count, dtype = whole_number("examples", examples, 1), choice("dtype", dtype, ("float32", "float64"))
    from epgraph.gradient_check import check_gradient
    from epgraph.runtime.arguments import chosen_device
    from epgraph.training import load_checkpoint, load_parameters
    from epgraph.training.checkpoint import averaged

    changes, initial = all_overrides(overrides, schedule), checkpoint is None
    held = network if holds_weights(network) else None
    content = None if held is None else load_checkpoint(held, chosen_device(device))
    engine = engine_of(
        network, changes, allow_include, device, dtype, threads, batch=count, initialised=initial, content=content
    )
    if checkpoint is not None:
        held, content = checkpoint, load_checkpoint(checkpoint, engine.device)
        load_parameters(engine, averaged(content), str(checkpoint))
    own, lacking = examples_of_run(engine.architecture, data, data_root, download, held, warn)
    return check_gradient(
        engine,
        own,
        count,
        lacking=lacking,
        quick=quick,
        stepwise=stepwise,
        weights=weights_in_words(network if held is None else held, content),
        progress=flag("progress", progress),
    )


def tune(
    network: Source | Engine,
    data: str | Data | Any = None,
    *,
    overrides: Sequence[str] = (),
    allow_include: Paths = (),
    schedule: str | None = None,
    batch: int | None = None,
    backends: Sequence[str] = (),
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    device: str | None = None,
    dtype: str = "float32",
    threads: int | str | None = None,
    progress: bool = False,
) -> TuneResult:
    """Measure how fast each backend runs a network on this machine, and record the times for ``backend="auto"``.

    Then choose a precision as ``train`` does with ``dtype="auto"``, and record what was measured.

    Parameters
    ----------
    network
        As for ``gradcheck``.
    data
        Name of a data set, or examples of one's own, whose first training batch is measured on; left out, noise in
        [0, 1] and random labels or targets, which say little about the accuracy of a precision.
    overrides, allow_include, schedule, device, dtype, threads, progress
        As for ``train``; ``dtype`` names the precision in which backends are measured.
    batch
        Examples in a batch; left out, ``training.batch_size``.
    backends
        Those to measure; left out, all. ``inductor`` compiles first, which may take minutes.
    data_root, download
        As for ``load_data``.

    Raises
    ------
    EpgraphError
        If the network, the data or an option has a mistake, none of the backends can be used, or the record cannot be
        written.

    Example
    -------
    >>> import epgraph as ep
    >>> result = ep.tune("examples/digits.yaml", batch=4, backends=["eager"], device="cpu")
    >>> result.backend, result.batch
    ('eager', 4)
    """
    size, names = whole("batch", batch), several("backends", backends)
    dtype = choice("dtype", dtype, DTYPES)
    wanted = None if threads is None else threads_or_auto("threads", threads)
    from epgraph.compiler import BACKENDS
    from epgraph.engine import Engine
    from epgraph.gradient_check.examples import draw_examples
    from epgraph.probes import measure_threads
    from epgraph.training.data import data_for
    from epgraph.training.initialise import initialise
    from epgraph.training.probing import first_batch
    from epgraph.tuning import NOISE, tune_on

    names = [choice("backend", name, BACKENDS) for name in names]
    has_weights = isinstance(network, Engine) or holds_weights(network)
    fixed = None if isinstance(wanted, str) else wanted
    changes = all_overrides(overrides, schedule)
    engine = engine_of(network, changes, allow_include, device, dtype, fixed, batch=size, initialised=False)
    own, examples = own_examples(data), NOISE
    if data is not None and own is None:
        own = data_for(engine.architecture, str(data), root=data_root, download=download, check=False)
    if own is None:
        x, y = draw_examples(engine, None, size or engine.architecture.training.batch_size)
        if not has_weights:
            engine.initialise(x[:32])
    else:
        x, y = first_batch(engine.architecture, own, engine, size)
        examples = f"the first training examples of {own.name}"
        if not has_weights:
            initialise(engine, own.train)
    counted = measure_threads(engine, x, y) if wanted == "auto" else None
    return tune_on(engine, x, y, names or None, examples=examples, threads=counted, progress=flag("progress", progress))
