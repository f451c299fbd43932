"""How parameters are drawn before training, as the user writes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from epgraph.language.model.fields import InitRuleField, Model


class InitSpec(Model):
    """How parameters are drawn before training."""

    rule: InitRuleField = Field(
        default="published",
        description="published: uniform, scaled by the gains; graph_aware: from the graph, so that the network settles "
        "and the signal reaches every state.",
        examples=["graph_aware"],
    )
    norm: Annotated[float, Field(gt=0, le=4)] = Field(
        default=0.95, description="Norm of the coupling over all units, for graph_aware.", examples=[0.95]
    )


def _init(value: object) -> object:
    # `init: graph_aware` is the rule alone.
    return {"rule": value} if isinstance(value, str) else value


InitField = Annotated[
    InitSpec,
    BeforeValidator(_init, json_schema_input_type=InitSpec | InitRuleField),
    Field(description="The rule by name, or {rule, norm}.", examples=["graph_aware"]),
]
