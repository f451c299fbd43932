"""The sections of a report, in their order, one file each."""

from epgraph.reporting.parts.comparison import COMPARISON
from epgraph.reporting.parts.cost import COST
from epgraph.reporting.parts.equilibrium import EQUILIBRIUM
from epgraph.reporting.parts.gradients import GRADIENTS
from epgraph.reporting.parts.learning import LEARNING
from epgraph.reporting.parts.networks import NETWORKS
from epgraph.reporting.parts.overview import OVERVIEW
from epgraph.reporting.parts.predictions import PREDICTIONS
from epgraph.reporting.parts.settings import SETTINGS
from epgraph.reporting.parts.weights import WEIGHTS

PARTS = (
    OVERVIEW,
    NETWORKS,
    LEARNING,
    COMPARISON,
    WEIGHTS,
    EQUILIBRIUM,
    GRADIENTS,
    PREDICTIONS,
    COST,
    SETTINGS,
)

__all__ = ["PARTS"]
