"""What is known of a network from a publication."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from epgraph.language.model.fields import Model


class PublishedSpec(Model):
    """A published result of this experiment, which a training is printed beside."""

    accuracy: Annotated[float, Field(gt=0, le=100)] = Field(description="Test accuracy in percent.", examples=[93.92])
    source: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        description="Where it is published.", examples=["Table I"]
    )
