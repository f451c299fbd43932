"""The official code of the paper as a peer: loaded from a checkout, given an engine's weights, run as it is.

Nothing of it is copied here. Its objects are built and called the way its driver ``EquiProp/dhcnresnet.py``
does, and two kinds of private names are read: the ends of its ``_interactions``, to learn which parameter
joins which states, and ``_standard_param_grads``, to see the gradient before ``compute_gradient`` clips it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from epgraph.engine import Engine

NETWORKS = {"VGG5": "ConvHopfieldEnergy32", "Hopfield-ResNet13": "ConvHopfieldResEnergy32"}
"""The official class by the name of our architecture."""

PRECISIONS = (torch.float32, torch.float64)
"""Its targets are float32, which lower precisions do not mix with."""


class PeerError(Exception):
    """The official code cannot be loaded, or its network is not the engine's."""


def load(checkout: Path) -> SimpleNamespace:
    """Import the official modules from the folder that contains ``EquiProp/``."""
    root = checkout / "EquiProp"
    if not (root / "model" / "hopfield" / "network.py").is_file():
        raise PeerError(f"{checkout} holds no EquiProp/model/hopfield/network.py: not a checkout of the official code")
    if "wandb" not in sys.modules:
        # Imported by the model itself, and used only where a run is under way.
        stub = ModuleType("wandb")
        stub.run = None  # type: ignore[attr-defined]
        sys.modules["wandb"] = stub
    sys.path.insert(0, str(root))
    try:
        return SimpleNamespace(
            network=import_module("model.hopfield.network"),
            minimizer=import_module("model.hopfield.minimizer"),
            wrapper=import_module("model.function.network"),
            cost=import_module("model.function.cost"),
            training=import_module("training.sgd"),
        )
    finally:
        sys.path.remove(str(root))


class Peer:
    """The official network with the states, weights, device and precision of an engine.

    Parameters
    ----------
    checkout
        Folder that contains ``EquiProp/``.
    engine
        A VGG5 or Hopfield-ResNet13; its parameters are copied.

    Raises
    ------
    PeerError
        If the checkout or the engine is something else.
    """

    def __init__(self, checkout: Path, engine: Engine) -> None:
        official = load(checkout)
        graph = engine.graph
        name = graph.architecture.name
        if name not in NETWORKS:
            raise PeerError(f"the official code has no '{name}', only {' and '.join(NETWORKS)}")
        if engine.plan.schedule.name != "even_odd":
            raise PeerError(f"the official driver sweeps even_odd, not {engine.plan.schedule.name}")
        if engine.dtype not in PRECISIONS:
            raise PeerError(f"the official code runs in float32 and float64, not in {engine.dtype}")
        self.dtype = engine.dtype
        with self._precision():
            # The gains only scale the initial weights, which are replaced; there must be one for each weight.
            self.energy = getattr(official.network, NETWORKS[name])(
                graph.input.shape[0],
                graph.output.units,
                weight_gains=[1.0] * len(graph.edges),
                activation="relu6",
            )
            self.energy.set_device(engine.device)
        self.layers = dict(zip(graph.states, self.energy.layers(), strict=True))
        self.network = official.wrapper.Network(self.energy)
        self.cost = official.cost.SquaredError(self.energy.layers()[-1])
        moving = self.network.free_layers()
        augmented = official.training.AugmentedFunction(self.energy, self.cost)
        self.free = official.minimizer.FixedPointMinimizer(self.energy, moving)
        self.nudged = official.minimizer.FixedPointMinimizer(augmented, moving)
        self.estimator = official.training.EquilibriumProp(
            self.energy.params(), self.energy.layers(), augmented, self.cost, self.nudged
        )
        self.estimator.variant = "centered"
        self.unclipped: list[Tensor] = []
        self._keep_unclipped()
        self.shapes = {name: tuple(parameter.shape) for name, parameter in engine.named_parameters()}
        self.names = self._parameter_names(engine)
        for parameter in self.energy.params():
            ours = engine.get_parameter(self.names[parameter])
            parameter.state = _to_official(ours.detach(), tuple(parameter.shape))

    def relax(self, x: Tensor, steps: int, *, reset: bool = True) -> dict[str, Tensor]:
        """Take free iterations, from zeros or (``reset=False``) the present states; return the states."""
        with self._precision():
            self.network.set_input(x, reset=reset)
        self.free.num_iterations = steps
        self.free.compute_equilibrium()
        return self.states()

    def states(self) -> dict[str, Tensor]:
        """Return the states that move, by our names."""
        return {name: layer.state for name, layer in list(self.layers.items())[1:]}

    def gradient(self, y: Tensor, *, beta: float, steps: int) -> list[Tensor]:
        """Run the official ``compute_gradient`` from the present states; return its clipped gradient."""
        self.cost.set_target(y)
        self.estimator.nudging = beta
        self.nudged.num_iterations = steps
        found: list[Tensor] = self.estimator.compute_gradient()
        return found

    def unclipped_gradient(self, y: Tensor, *, beta: float, steps: int) -> dict[str, Tensor]:
        """Return the gradient as it was before clipping, by our names and in our layouts."""
        self.gradient(y, beta=beta, steps=steps)
        found = {}
        for parameter, gradient in zip(self.energy.params(), self.unclipped, strict=True):
            name = self.names[parameter]
            found[name] = _from_official(gradient, self.shapes[name])
        return found

    def _keep_unclipped(self) -> None:
        standard = self.estimator._standard_param_grads

        def keep(*phases: dict[str, Tensor]) -> list[Tensor]:
            self.unclipped = standard(*phases)
            return self.unclipped

        self.estimator._standard_param_grads = keep

    def _parameter_names(self, engine: Engine) -> dict[Any, str]:
        """Name each official parameter as the engine does, by the states that it joins."""
        for name, layer in self.layers.items():
            if tuple(layer.shape) != engine.graph.states[name].shape:
                raise PeerError(f"state '{name}' is {engine.graph.states[name].shape}, officially {layer.shape}")
        at = {layer: name for name, layer in self.layers.items()}
        edges = {(edge.source, edge.target): edge.name for edge in engine.graph.edges.values()}
        names = {}
        for part in self.energy._interactions:
            if hasattr(part, "_bias"):
                names[part._bias] = f"states.{at[part._layer]}.bias"
            else:
                ends = at[part._layer_pre], at[part._layer_post]
                if ends not in edges:
                    raise PeerError(f"the architecture has no edge from {ends[0]} to {ends[1]}")
                names[part._weight] = f"edges.{edges[ends]}.weight"
        if set(names.values()) != set(self.shapes):
            raise PeerError("the official network and the architecture have different parameters")
        return names

    @contextmanager
    def _precision(self) -> Iterator[None]:
        # New official states take torch's default precision.
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def relative_difference(a: Tensor, b: Tensor) -> float:
    """‖a − b‖/‖b‖ in float64."""
    a, b = a.double(), b.double()
    difference = float((a - b).norm())
    return difference / float(b.norm()) if difference else 0.0


def _to_official(ours: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Convolutions and biases as they are; dense (out, in) to (*source shape, out)."""
    if tuple(ours.shape) == shape:
        return ours.clone()
    if ours.ndim != 2 or ours.numel() != torch.Size(shape).numel():
        raise PeerError(f"a parameter of shape {tuple(ours.shape)} is officially {shape}")
    return ours.t().reshape(shape).contiguous()


def _from_official(theirs: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo ``_to_official``."""
    return theirs if tuple(theirs.shape) == shape else theirs.flatten(0, -2).t()
