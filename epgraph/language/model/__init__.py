"""What the user writes, as pydantic models: ``Architecture`` and its parts, one section of a file in each module.

Numbers are strict (``"3"`` and ``true`` are not integers), unknown keys are refused, and every field has a
description, from which the JSON Schema in ``schemas/`` is generated.
"""

from epgraph.language.model.architecture import LANGUAGE, Architecture
from epgraph.language.model.data import DataSpec, NormalizationSpec
from epgraph.language.model.dynamics import DynamicsSpec, ScheduleName
from epgraph.language.model.edge import EdgeBase, edge_spec, one_end
from epgraph.language.model.fields import MAX_UNITS, NAME_PATTERN, Model, Name, ShapeField, Size
from epgraph.language.model.initialization import InitSpec
from epgraph.language.model.keys import field_at, known_keys
from epgraph.language.model.learning import LearningSpec
from epgraph.language.model.network import BiasSpec, DefaultsSpec, InputSpec, OutputSpec, StateSpec
from epgraph.language.model.training import TrainingSpec

__all__ = [
    "LANGUAGE",
    "MAX_UNITS",
    "NAME_PATTERN",
    "Architecture",
    "BiasSpec",
    "DataSpec",
    "DefaultsSpec",
    "DynamicsSpec",
    "EdgeBase",
    "InitSpec",
    "InputSpec",
    "LearningSpec",
    "Model",
    "Name",
    "NormalizationSpec",
    "OutputSpec",
    "ScheduleName",
    "ShapeField",
    "Size",
    "StateSpec",
    "TrainingSpec",
    "edge_spec",
    "field_at",
    "known_keys",
    "one_end",
]
