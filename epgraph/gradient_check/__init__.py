"""``epgraph gradcheck``: the gradient of EP beside exact ones, the signal at every state, and a verdict.

``pipeline`` calls a file a step: ``examples`` draws inputs and targets, ``check`` computes equilibrium and gradients
once, ``sections`` compares them with ``agreement``, ``signal`` and ``stepwise``, ``verdict`` judges the report, and
``result`` shows it with ``text`` and ``figure``.
"""

from epgraph.gradient_check.pipeline import check_gradient
from epgraph.gradient_check.result import GradcheckResult

__all__ = ["GradcheckResult", "check_gradient"]
