"""The keys that the language knows at each place of a file."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pydantic.fields import FieldInfo

from epgraph.augmentation import Augmentation
from epgraph.errors import Location
from epgraph.kinds import KINDS
from epgraph.language.choices import OPTIMIZER, SCHEDULE, SOLVER
from epgraph.language.model.architecture import Architecture
from epgraph.language.model.data import NormalizationSpec
from epgraph.language.model.edge import edge_spec
from epgraph.language.model.network import BiasSpec, StateSpec

_CHOICES = {"solver": SOLVER.members, "optimizer": OPTIMIZER.members, "schedule": SCHEDULE.members}


def known_keys(at: Location) -> list[str]:
    """Keys that the language knows at a location, for 'did you mean'."""
    fields = getattr(_model_at(at), "model_fields", {})
    return [f.alias or name for name, f in fields.items()]


def field_at(at: Location) -> FieldInfo | None:
    """Field of the language at a location; None where there is none, or a name of the user's."""
    fields: dict[str, FieldInfo] = getattr(_model_at(at[:-1]), "model_fields", {})
    return next((f for name, f in fields.items() if (f.alias or name) == at[-1]), None)


def _model_at(at: Location) -> Any:
    model: Any = Architecture
    for before, part in pairwise((None, *at)):
        if model is None or isinstance(part, int):
            continue
        if part == "bias":
            model = BiasSpec
        elif part == "augment":
            model = Augmentation
        elif part == "normalization":
            model = NormalizationSpec
        elif part == "edges":
            model = edge_spec()
        elif part in KINDS:
            model = KINDS[str(part)]
        elif before in _CHOICES and part in _CHOICES[str(before)]:
            model = _CHOICES[str(before)][str(part)]
        elif model is Architecture and part == "states":
            model = dict
        elif model is dict:
            model = StateSpec
        else:
            fields = getattr(model, "model_fields", {})
            model = fields[part].annotation if part in fields else None
    return model
