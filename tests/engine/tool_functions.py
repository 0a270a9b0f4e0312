"""Functions as people write them, to be made tools of; `benchmarks/tool_schemas.py` shows them to other libraries too.

Nothing here imports this library.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeAlias, TypeVar, Union
from uuid import UUID

from pydantic import AnyUrl, BaseModel, Field, JsonValue
from typing_extensions import TypedDict

T = TypeVar("T")


class Unit(Enum):
    """A scale of temperature."""

    CELSIUS = "c"
    FAHRENHEIT = "f"


class Priority(IntEnum):
    LOW = 1
    HIGH = 2


class Place(BaseModel):
    """A place on earth."""

    latitude: float = Field(ge=-90, le=90, description="Degrees north.")
    longitude: float = Field(ge=-180, le=180, description="Degrees east.")
    label: str | None = None


class Trip(BaseModel):
    """A way from one place to another."""

    start: Place = Field(description="Where it begins.")
    end: Place = Field(description="Where it ends.")
    unit: Unit = Unit.CELSIUS


@dataclass
class Address:
    """Where a letter goes."""

    street: str
    zip_code: Annotated[str, Field(pattern=r"^\d{5}$", description="Five digits.")]
    lines: list[str] = field(default_factory=list[str])


class Filters(TypedDict, total=False):
    """What to look for."""

    author: Annotated[str, Field(description="The last name.")]
    year: int


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Tree(BaseModel):
    """A name with others below it."""

    name: str
    children: list["Tree"] = Field(default=[], description="What is below it.")


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    breed: str


class Page(BaseModel, Generic[T]):
    """A part of a list."""

    items: list[T]
    number: int = Field(ge=1, description="From 1.")


Pet: TypeAlias = Annotated[Cat | Dog, Field(discriminator="kind")]


def no_parameters() -> str:
    """Tell the time."""
    raise NotImplementedError


def no_docstring(city: str) -> str:
    raise NotImplementedError


def no_annotation(city: object) -> str:
    """Get the weather."""
    raise NotImplementedError


del no_annotation.__annotations__["city"]


def google(city: str, days: int = 3) -> str:
    """Get the weather.

    The forecast is made by hand.

    Args:
        city: Name of the city,
            in English.
        days: How many days: at most ten.

    Returns:
        A sentence.

    Raises:
        ValueError: There is no such city.
    """
    raise NotImplementedError


def google_with_types(city: str, days: int = 3) -> str:
    """Get the weather.

    Args:
        city (str): Name of the city.
        days (int, optional): How many days. Defaults to 3.
    """
    raise NotImplementedError


def numpy(city: str, days: int = 3) -> str:
    """Get the weather.

    Parameters
    ----------
    city : str
        Name of the city.
    days : int, optional
        How many days.

    Returns
    -------
    str
        A sentence.
    """
    raise NotImplementedError


def rest(city: str, days: int = 3) -> str:
    """Get the weather.

    :param city: Name of the city.
    :param int days: How many days.
    :returns: A sentence.
    """
    raise NotImplementedError


def limits(
    count: Annotated[int, Field(ge=1, le=10, multiple_of=2, description="An even number.")],
    share: Annotated[float, Field(gt=0, lt=1)],
    code: Annotated[str, Field(min_length=2, max_length=3, pattern="^[A-Z]+$")],
    names: Annotated[list[str], Field(min_length=1, max_length=5)],
) -> None:
    """Set limits."""


def field_as_default(city: str, days: int = Field(default=3, ge=1, description="How many.")) -> None:
    """Get the weather."""


def description_in_both(city: Annotated[str, Field(description="Of the annotation.")]) -> None:
    """Get the weather.

    Args:
        city: Of the docstring.
    """


def literals(mode: Literal["fast", "good"], level: Literal[1, 2] = 1) -> None:
    """Choose."""


def enums(unit: Unit, priority: Priority = Priority.LOW) -> None:
    """Choose.

    Args:
        unit: For the answer.
    """


def enum_twice(first: Unit, second: Unit = Unit.FAHRENHEIT) -> None:
    """Convert.

    Args:
        first: From here.
        second: To there.
    """


def optional(city: str | None = None, days: Optional[int] = None) -> None:  # noqa: UP045 - people write it
    """Get the weather."""


def required_but_nullable(city: str | None) -> None:
    """Get the weather."""


def union(where: Union[int, str, list[str]]) -> None:  # noqa: UP007 - people write it
    """Find it."""


def tagged_union(pet: Pet) -> None:
    """Feed it.

    Args:
        pet: The animal.
    """


def model(place: Place) -> None:
    """Go there.

    Args:
        place: Where to go.
    """


def optional_model(place: Place | None = None) -> None:
    """Go there.

    Args:
        place: Where to go.
    """


def nested_models(trip: Trip, home: Place) -> None:
    """Plan it."""


def list_of_models(places: list[Place], by_name: dict[str, Place]) -> None:
    """Visit all.

    Args:
        places: In this order.
        by_name: Each with its name.
    """


def model_default(place: Place = Place(latitude=1, longitude=2)) -> None:  # noqa: B008 - people write it
    """Go there."""


def recursive_model(tree: Tree) -> None:
    """Grow it.

    Args:
        tree: From its root.
    """


def generic_model(page: Page[Place]) -> None:
    """Turn it."""


def a_dataclass(address: Address) -> None:
    """Send a letter."""


def typed_dict(filters: Filters) -> None:
    """Search."""


def named_tuple(point: Point, pair: tuple[int, str], many: tuple[int, ...]) -> None:
    """Draw it."""


def moments(day: date, at: datetime, clock: time, lasting: timedelta = timedelta(minutes=5)) -> None:
    """Plan it."""


def formats(key: UUID, raw: bytes, file: Path, link: AnyUrl, price: Decimal) -> None:
    """Store it."""


def collections(tags: set[str], scores: dict[str, float], rows: Sequence[list[int]], names: frozenset[str]) -> None:
    """Count it."""


def anything(value: Any, thing: object, data: JsonValue, record: dict[str, Any]) -> None:  # noqa: ANN401 - people write it
    """Store it."""


def keyword_only(city: str, *, days: int = 3, unit: Literal["c", "f"] = "c") -> None:
    """Get the weather.

    Args:
        city: Name of the city.
        days: How many days.
    """


def open_arguments(name: str, **labels: int) -> None:
    """Label it."""


def odd_names(schema: str, copy: int, model_config: float, self_: str, json: str = "{}", *, _x: bool = False) -> None:
    """Use names that libraries use.

    Args:
        schema: One.
        copy: Two.
        _x: Three.
    """


TAGS = ["a"]


def defaults(
    *, flag: bool = True, ratio: float = 0.5, text: str = "a", tags: list[str] = TAGS, none: None = None
) -> None:
    """Set it."""


async def asynchronous(city: str) -> str:
    """Get the weather.

    Args:
        city: Name of the city.
    """
    raise NotImplementedError


class Agent:
    """Something with a method."""

    def method(self, query: str, limit: Annotated[int, Field(le=100)] = 10) -> list[str]:
        """Search the index.

        Args:
            query: Words.
            limit: How many to find.
        """
        raise NotImplementedError


FUNCTIONS: dict[str, Callable[..., object]] = {
    "no_parameters": no_parameters,
    "no_docstring": no_docstring,
    "no_annotation": no_annotation,
    "google": google,
    "google_with_types": google_with_types,
    "numpy": numpy,
    "rest": rest,
    "limits": limits,
    "field_as_default": field_as_default,
    "description_in_both": description_in_both,
    "literals": literals,
    "enums": enums,
    "enum_twice": enum_twice,
    "optional": optional,
    "required_but_nullable": required_but_nullable,
    "union": union,
    "tagged_union": tagged_union,
    "model": model,
    "optional_model": optional_model,
    "nested_models": nested_models,
    "list_of_models": list_of_models,
    "model_default": model_default,
    "recursive_model": recursive_model,
    "generic_model": generic_model,
    "a_dataclass": a_dataclass,
    "typed_dict": typed_dict,
    "named_tuple": named_tuple,
    "moments": moments,
    "formats": formats,
    "collections": collections,
    "anything": anything,
    "keyword_only": keyword_only,
    "open_arguments": open_arguments,
    "odd_names": odd_names,
    "defaults": defaults,
    "asynchronous": asynchronous,
    "method": Agent().method,
}
