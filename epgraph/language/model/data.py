"""What the network is trained and tested on, as the user writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from epgraph.arguments import shown
from epgraph.augmentation import Augmentation
from epgraph.language.model.fields import Model, PositiveFloat, to_tuple


def _word_or(model: type[BaseModel]) -> Callable[[object], object]:
    """Return a validator of 'published', 'none' or the mapping of a model."""

    def read(value: object) -> object:
        # `false` and `null` switch it off, as they do elsewhere.
        if value is None or value is False:
            return "none"
        if value in ("published", "none") or isinstance(value, dict | model):
            return value
        raise PydanticCustomError("literal_error", "{expected}", {"expected": "'published', 'none' or a mapping"})

    return read


def _tag(value: object) -> str:
    return "<word>" if isinstance(value, str) else "<options>"


def _held_out(value: Any) -> Any:
    whole, part = type(value) is int and value >= 1, type(value) is float and 0 < value < 1
    if value is None or whole or part:
        return value
    message = f"'validation' expects a fraction between 0 and 1, or a number of examples, found {shown(value)}"
    raise PydanticCustomError("out_of_range", message, {"hint": "e.g. 0.1, or 5000"})


class NormalizationSpec(Model):
    """Mean and standard deviation of the pixels."""

    mean: Annotated[tuple[float, ...], Field(min_length=1, max_length=3), BeforeValidator(to_tuple)] = Field(
        description="Mean of every channel, of pixels from 0 to 1.", examples=[[0.4914, 0.4822, 0.4465]]
    )
    std: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, max_length=3), BeforeValidator(to_tuple)] = Field(
        description="Deviation that every channel is divided by.", examples=[[0.2023, 0.1994, 0.2010]]
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> NormalizationSpec:
        if len(self.mean) != len(self.std):
            message = f"'mean' has {len(self.mean)} numbers and 'std' has {len(self.std)}"
            raise PydanticCustomError("wrong_length", message, {"hint": "write one of each for every channel"})
        return self


_Word = Annotated[Literal["published", "none"], Tag("<word>")]
AugmentField = Annotated[
    _Word | Annotated[Augmentation, Tag("<options>")],
    Discriminator(_tag),
    BeforeValidator(
        _word_or(Augmentation), json_schema_input_type=Literal["published", "none", False] | Augmentation | None
    ),
]
NormalizationField = Annotated[
    _Word | Annotated[NormalizationSpec, Tag("<options>")],
    Discriminator(_tag),
    BeforeValidator(
        _word_or(NormalizationSpec),
        json_schema_input_type=Literal["published", "none", False] | NormalizationSpec | None,
    ),
]
ValidationField = Annotated[
    float | int | None,
    BeforeValidator(
        _held_out,
        json_schema_input_type=Annotated[float, Field(gt=0, lt=1)] | Annotated[int, Field(ge=1)] | None,
    ),
]


class DataSpec(Model):
    """What the network is trained and tested on, and how examples are prepared."""

    name: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Name of the data set, folder:PATH for images, or tensors:PATH for arrays.",
        examples=["cifar10", "folder:pictures", "tensors:measured.npz"],
    )
    root: Annotated[str, Field(min_length=1)] = Field(
        default="data", description="Folder that holds, or receives, the files of named data sets.", examples=["data"]
    )
    augment: AugmentField = Field(
        default="published",
        description="Random changes of the training images: published, those of the data set (none for a folder); "
        "none; or a mapping of flip, randaugment, magnitude and crop, applied in this order.",
        examples=["none", {"flip": 0.5, "crop": 4}],
    )
    normalization: NormalizationField = Field(
        default="published",
        description="Mean and deviation of the pixels: published, those of the data set; none, pixels from 0 to 1; "
        "or a mapping of mean and std, with one number a channel.",
        examples=["none", {"mean": [0.5], "std": [0.25]}],
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Largest number of examples of every part; null: all of them.", examples=[1000]
    )
    validation: ValidationField = Field(
        default=None,
        description="Training examples that become validation examples, which choose the best epoch, as a fraction or "
        "a number; by default none, "
        "and the test set chooses.",
        examples=[0.1, 5000],
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(
        default=0, description="Seed of the choice of the validation examples.", examples=[0]
    )

    @property
    def augmentation(self) -> Augmentation | bool:
        """Random changes; True for those published, False for none."""
        return self.augment == "published" if isinstance(self.augment, str) else self.augment

    @property
    def normalizing(self) -> tuple[tuple[float, ...], tuple[float, ...]] | bool:
        """Mean and deviation; True for those published, False for none."""
        given = self.normalization
        return given == "published" if isinstance(given, str) else (given.mean, given.std)
