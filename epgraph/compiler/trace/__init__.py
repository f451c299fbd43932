"""From a plan to programs: the mathematics of energies, kinds, activations and costs, recorded as torch.fx graphs.

``forward`` and ``adjoint`` of a kind, and the methods of an energy, are ordinary torch code; called with fx proxies in
place of tensors they write themselves down. What is recorded here is the plain form: every update a sum and an
activation, nothing packed, nothing reused. It is right on every device, and the passes make it fast.
"""

from __future__ import annotations

from epgraph.compiler.trace.context import SHARE_ABOVE, PhaseName
from epgraph.compiler.trace.gradient import How
from epgraph.compiler.trace.numbering import form, structure
from epgraph.compiler.trace.tracer import Tracer

__all__ = ["SHARE_ABOVE", "How", "PhaseName", "Tracer", "form", "structure"]
