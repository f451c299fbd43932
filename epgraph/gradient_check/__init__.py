"""``epgraph gradcheck``: the gradient of EP beside exact ones, the signal at every state, and a verdict.

One pipeline, a file a step: ``examples`` draws inputs and targets, ``check`` computes equilibrium and gradients once,
``sections`` makes the report of them with ``agreement``, ``signal`` and ``stepwise``, ``verdict`` judges it, and
``text`` and ``figure`` show it.
"""

from epgraph.gradient_check.result import GradcheckResult
from epgraph.gradient_check.sections import check_gradient

__all__ = ["GradcheckResult", "check_gradient"]
