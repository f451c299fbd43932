"""Random changes of training images: the options of ``data.augment``, which the preparation of data applies."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


class Augmentation(BaseModel):
    """Random changes of training images, in this order: flip, RandAugment, crop. By default there are none."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    flip: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="Probability with which an image is mirrored left to right.", examples=[0.5]
    )
    randaugment: Annotated[int, Field(ge=0, le=20)] = Field(
        default=0, description="Number of RandAugment operations on an image; 0 leaves it out.", examples=[3]
    )
    magnitude: Annotated[int, Field(ge=0, le=30)] = Field(
        default=9, description="Strength of the operations of RandAugment, from 0 to 30.", examples=[9]
    )
    crop: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=0,
        description="Pixels by which an image is extended on each side before it is cropped at random to its size.",
        examples=[4],
    )

    @model_validator(mode="after")
    def _magnitude_needs_randaugment(self) -> Augmentation:
        if not self.randaugment and self.magnitude != type(self).model_fields["magnitude"].default:
            raise PydanticCustomError(
                "conflicting_keys",
                "'magnitude' is the strength of the operations of 'randaugment', and there are none",
                {"hint": "add e.g. randaugment: 3, or remove magnitude"},
            )
        return self

    def facts(self) -> dict[str, Any]:
        """Return the active changes, as numbers by name."""
        names = ["flip", "randaugment", *(["magnitude"] if self.randaugment else []), "crop"]
        return {name: value for name in names if (value := getattr(self, name)) or name == "magnitude"}


NO_AUGMENTATION = Augmentation()
