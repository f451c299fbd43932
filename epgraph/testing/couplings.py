"""All linear edges of a network in one matrix: A_e applied once to every unit vector, and sparse products from then on.

With s the units of the input and of all states in one vector, the terms ⟨s^j, A_e s^i⟩ of linear edges are ½⟨s, K s⟩,
where K has A_e in block (j, i) and A_eᵀ in block (i, j). Their part of ∂Φ/∂s is K s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import accumulate, pairwise

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from epgraph.graph import Edge, NetworkGraph

MOST_UNITS = 512
"""Units of a source above which an edge is left out: its matrix would take longer than the sweeps of a test."""


class Couplings:
    """K of a network, by states.

    A row of a CSR matrix is summed from its first entry to its last. Equal patches of an image therefore give equal
    pixels, to the bit; a dense product does not promise that, and then it is an accident which pixel of a constant
    region max pooling picks.

    Parameters
    ----------
    graph
        The network.
    edges
        Its linear edges.
    image
        A_e of an edge, from a source (batch, *shape) to (batch, ...) in float64, with the target's units in order.
    """

    def __init__(self, graph: NetworkGraph, edges: Iterable[Edge], image: Callable[[Edge, Tensor], Tensor]) -> None:
        self._shapes = {name: state.shape for name, state in graph.states.items()}
        ends = pairwise(accumulate((state.units for state in graph.states.values()), initial=0))
        self._units = {name: np.arange(*some) for name, some in zip(graph.states, ends, strict=True)}
        total = sum(state.units for state in graph.states.values())
        rows, columns, values = [], [], []
        for edge in edges:
            source, target = self._units[edge.source], self._units[edge.target]
            unit_vectors = torch.eye(len(source), dtype=torch.float64).view(-1, *self._shapes[edge.source])
            matrix = image(edge, unit_vectors).flatten(1).numpy()
            i, j = matrix.nonzero()
            rows += [target[j], source[i]]
            columns += [source[i], target[j]]
            values += [matrix[i, j]] * 2
        places = [np.concatenate(part) if part else np.zeros(0, int) for part in (rows, columns)]
        self._matrix = csr_array((np.concatenate(values) if values else np.zeros(0), places), shape=(total, total))
        self._rows: dict[tuple[str, ...], csr_array] = {}

    def forces(self, states: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
        """Return K s on the states in ``names``, each (batch, *shape); ``states`` has the input too."""
        key = tuple(names)
        if key not in self._rows:
            self._rows[key] = self._matrix[np.concatenate([self._units[name] for name in key])]
        s = np.concatenate([states[name].detach().flatten(1).numpy() for name in self._units], 1)
        forces = torch.from_numpy((self._rows[key] @ s.T).T)
        parts = forces.split_with_sizes([len(self._units[name]) for name in key], dim=1)
        return {name: part.reshape(-1, *self._shapes[name]) for name, part in zip(key, parts, strict=True)}

    def block(self, names: Collection[str], units: Tensor) -> Tensor:
        """Return the dense K between some units, counted through the states in ``names``."""
        chosen = np.concatenate([self._units[name] for name in names])[units.numpy()]
        return torch.from_numpy(self._matrix[chosen][:, chosen].toarray())
