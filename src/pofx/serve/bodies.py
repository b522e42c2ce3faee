"""What requests to the server and its answers look like: typed bodies with examples, which make its OpenAPI page."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST = 1_000_000  # of any count in a body; the server's own limits are lower
Seed = Annotated[int, Field(ge=-(1 << 62), le=1 << 62, examples=[0])]
Condition = Annotated[
    Any,
    Field(description="One value for all items, or a list of one for each; a row as {column: value}.", examples=[3]),
]
Options = Annotated[
    dict[str, Annotated[bool, Field(strict=True)] | int | float | str],
    Field(
        default_factory=dict,
        max_length=32,
        description="Sampling options of the model, such as temperature, sampler_steps, guidance.",
        examples=[{"temperature": 0.9}],
    ),
]
Values = Annotated[
    Any,
    Field(
        description="Items as the data has them: nested lists of levels for images, of numbers for points; texts; rows "
        "as objects; lists of samples for sound."
    ),
]


class Body(BaseModel):
    """A request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Sample(Body):
    """n items by a seed; item i depends on the seed and i alone."""

    n: int = Field(default=1, ge=1, le=MOST, examples=[4])
    seed: Seed = 0
    condition: Condition = None
    prefix: Any = Field(
        default=None, description="Items to complete: the beginnings of texts, the first rows of images."
    )
    given: dict[str, Any] | None = Field(
        default=None, description="Known columns of rows.", examples=[None], max_length=1000
    )
    options: Options
    format: str = Field(
        default="json", max_length=10, description="json, or the ending of a file: png, csv, npz, wav, txt …"
    )


class Stream(Body):
    """As `Sample`, answered line by line while the items are drawn."""

    n: int = Field(default=1, ge=1, le=MOST, examples=[4])
    seed: Seed = 0
    condition: Condition = None
    options: Options
    chunk: int = Field(default=16, ge=1, le=1000, description="Items per line.")


class Given(Body):
    """Items, with their conditions where the model has them."""

    items: Values = Field(examples=[[[0.5, -1.0]]])
    condition: Condition = None


class Score(Given):
    """Items to score."""

    draws: int = Field(default=8, ge=1, le=1000, description="Dequantisation draws per item, where there are any.")


class Encode(Given):
    """Items to encode."""


class Decode(Body):
    """Codes, as `encode` returns them."""

    codes: list[Any] = Field(examples=[[[0.1, -0.3]]], min_length=1)
    condition: Condition = None


class Edit(Given):
    """Items to edit by a diffusion run, with one of mask, strength, enlarge and colour."""

    mask: Any = Field(default=None, description="True where items are drawn anew, of the shape of an item.")
    strength: float | None = Field(default=None, gt=0, le=1, examples=[0.5])
    enlarge: int | None = Field(default=None, ge=2, le=256, examples=[None])
    colour: bool = Field(default=False, description="Draw given the means of channels: colour grey pictures.")
    steps: int = Field(default=50, ge=1, le=1000)
    repeats: int = Field(default=4, ge=1, le=32)
    eta: float = Field(default=1.0, ge=0, le=1)
    seed: Seed = 0


class Drawn(BaseModel):
    """Drawn, decoded or edited items, and the conditions under which they were drawn."""

    kind: str = Field(examples=["points"])
    items: Any = Field(examples=[[[0.5, -1.0]]])
    condition: Any = None


class Scored(BaseModel):
    """log p of each item; null where it is -inf: the item cannot occur, for the reason given by its number."""

    value: list[float | None] = Field(examples=[[-2.31]])
    stderr: list[float | None] | None = None
    density: str = Field(examples=["exact"])
    unit: str = Field(examples=["nats"])
    measure: str = Field(examples=["Lebesgue"])
    reasons: dict[str, str] = Field(default_factory=dict)


class Encoded(BaseModel):
    """The code of each item."""

    codes: list[Any] = Field(examples=[[[0.1, -0.3]]])


class Info(BaseModel):
    """What is served, and its limits."""

    model: str = Field(examples=["nsf"])
    kind: str = Field(examples=["points"])
    facts: dict[str, Any] = Field(description="What the kind knows of its items, such as the levels of images.")
    about: dict[str, str] = Field(description="Model, data, density, training in words.")
    can: list[Literal["sample", "score", "encode", "decode", "edit", "complete"]]
    options: list[str] = Field(description="Sampling options.", examples=[["temperature"]])
    condition: str | None = Field(default=None, description="The kind of the condition, where there is one.")
    formats: list[str] = Field(examples=[["json", "csv"]])
    limits: dict[str, float]


class Error(BaseModel):
    """What is wrong, and what to do instead."""

    error: str = Field(examples=["n must be at most 1000 (got 5000): request them in parts"])
